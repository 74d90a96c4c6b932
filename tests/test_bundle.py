"""A host's policy, captured in a bundle: elsewhere it is the same base, and what is no bundle is refused."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import tarfile
from pathlib import Path

import pytest
from commandline import NONET, Place, binds, shared_cache

from labelgen import base, bundle

REFERENCE = Path(base.__file__).parent / "reference"
PORT_OF_THE_HOST = "portcon tcp 8085 system_u:object_r:http_port_t:s0\n"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    place.role(NONET)
    return place


def host(root: Path) -> Path:
    """The / of a host with the reference as its policy, one port of its own, and a disabled module."""
    (root / "etc/selinux").mkdir(parents=True)
    (root / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    store = root / "var/lib/selinux/targeted/active"
    for path in REFERENCE.glob("*.cil"):
        (store / "modules/100" / path.stem).mkdir(parents=True)
        shutil.copy(path, store / "modules/100" / path.stem / "cil")
    (store / "modules/400/off").mkdir(parents=True)
    (store / "modules/400/off/cil").write_text("(type off_t)\n")
    (store / "modules/disabled").mkdir()
    (store / "modules/disabled/off").touch()
    (store / "ports.local").write_text(PORT_OF_THE_HOST)
    return store.parent


def archive(to: Path, contents: dict[str, bytes]) -> None:
    """A tar archive, packed, of anything."""
    with tarfile.open(to, "w:gz") as made:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))


ABOUT = {"capture.json": json.dumps({"format": 1, "type": "targeted", "selinux_policy": None}).encode()}


def test_a_captured_policy_is_the_hosts_own_base(place: Place) -> None:
    store = host(place.folder / "host")
    captured = place.run("base", "capture", "host.tar.gz", "--root", "host", "--json")
    captured.held()
    assert json.loads(captured.stdout)["modules"] == len(list(REFERENCE.glob("*.cil")))
    place.role(binds("8085"))
    place.build("--output", "here", base=str(store)).held()
    shutil.rmtree(place.folder / "host")
    place.build("--output", "there", base="host.tar.gz").held()
    here, there = (json.loads((place.folder / name / "manifest.json").read_text()) for name in ("here", "there"))
    assert there["base"]["sha256"] == here["base"]["sha256"] == json.loads(captured.stdout)["sha256"]
    # Without ports.local 8085 would have no neighbours: no service of the reference is known by it.
    place.run("can", "--build", "there", "web", "bind", "tcp/9000").held()


def test_the_same_policy_gives_the_same_bytes_and_a_bundle_may_be_replaced(place: Place) -> None:
    store = host(place.folder / "host")
    for name in ("one.gz", "two.gz", "one.gz"):
        place.run("base", "capture", name, "--root", "host").held()
    one = (place.folder / "one.gz").read_bytes()
    assert one == (place.folder / "two.gz").read_bytes()
    (store / "active/ports.local").unlink()
    place.run("base", "capture", "one.gz", "--root", "host").held()
    assert one != (place.folder / "one.gz").read_bytes()


def test_the_version_of_the_policy_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    modules = {path.stem: path for path in REFERENCE.glob("*.cil")}
    for name, path in modules.items():
        (tmp_path / name).mkdir()
        modules[name] = Path(shutil.copy(path, tmp_path / name / "cil"))
    bundle.pack(modules, (), "38.1.35-2.el9", tmp_path / "bundle.gz", "targeted")
    assert base.locate(str(tmp_path / "bundle.gz")).selinux_policy == "38.1.35-2.el9"


def test_what_stands_in_the_way_of_a_bundle_stays(place: Place) -> None:
    host(place.folder / "host")
    (place.folder / "notes").write_text("mine\n")
    (place.folder / "link").symlink_to("host.tar.gz")
    for name in ("notes", "link", "host", "nowhere/host.tar.gz"):
        place.run("base", "capture", name, "--root", "host").refused(f"{name}: ")


def test_a_host_without_a_policy_is_told_so(place: Place) -> None:
    (place.folder / "host").mkdir()
    place.run("base", "capture", "host.tar.gz", "--root", "host").refused("SELINUXTYPE")


@pytest.mark.parametrize(
    "contents",
    [
        {"notes.txt": b"mine"},
        {"modules/base/cil": b"(type a)"},
        {**ABOUT, "../outside": b"x"},
        {**ABOUT, "modules/../../outside/cil": b"x"},
        {**ABOUT, "modules/../cil": b"x"},
        {**ABOUT, "/modules/base/cil": b"x"},
        {**ABOUT, "modules/base/cil\n": b"x"},
        {"capture.json": b"[]"},
        {"capture.json": b"rubbish"},
        {"capture.json": b'{"format": 1}'},
        {"capture.json": b'{"format": 1, "selinux_policy": ["38"]}'},
    ],
)
def test_an_archive_that_is_no_bundle_is_refused(place: Place, contents: dict[str, bytes]) -> None:
    archive(place.folder / "host.tar.gz", contents)
    place.build(base="host.tar.gz").refused("host.tar.gz: this is no bundle")
    assert not list(place.folder.rglob("outside"))


def test_a_link_in_a_bundle_is_refused(place: Place) -> None:
    with tarfile.open(place.folder / "host.tar.gz", "w:gz") as made:
        member = tarfile.TarInfo("modules/base/cil")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/shadow"
        made.addfile(member)
    place.build(base="host.tar.gz").refused("host.tar.gz: this is no bundle")


def test_a_bundle_of_another_labelgen_is_refused(place: Place) -> None:
    archive(place.folder / "host.tar.gz", {"capture.json": b'{"format": 2, "selinux_policy": null}'})
    place.build(base="host.tar.gz").refused("host.tar.gz: ", "another labelgen")


def test_a_bundle_without_modules_is_refused(place: Place) -> None:
    archive(place.folder / "host.tar.gz", ABOUT)
    place.build(base="host.tar.gz").refused("host.tar.gz: ", "holds no module")


def test_a_bundle_that_unpacks_without_end_is_refused(place: Place) -> None:
    with gzip.open(place.folder / "host.tar.gz", "wb", compresslevel=1) as packed:
        member = tarfile.TarInfo("modules/base/cil")
        member.size = bundle.MOST_BYTES + 1
        packed.write(member.tobuf())
    place.build(base="host.tar.gz").refused("host.tar.gz: this is no bundle")


def test_the_checksum_of_a_bundle_counts(place: Place) -> None:
    """A changed checksum is that of changed content, which nothing else would tell of a module in CIL."""
    store = host(place.folder / "host")
    packed = place.folder / "host.tar.gz"
    bundle.pack({path.parent.name: path for path in store.glob("active/modules/100/*/cil")}, (), None, packed)
    content = bytearray(packed.read_bytes())
    content[-8] ^= 1  # CRC32 and size end the file (RFC 1952)
    packed.write_bytes(content)
    place.build(base="host.tar.gz").refused("host.tar.gz: this bundle is damaged or cut off: CRC check failed")


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_bundle_is_refused_and_never_a_traceback(place: Place, seed: int) -> None:
    store = host(place.folder / "host")
    packed = place.folder / "host.tar.gz"
    modules = {path.parent.name: path for path in store.glob("active/modules/100/*/cil")}
    bundle.pack(modules, (), None, packed)
    content, chance = bytearray(packed.read_bytes()), random.Random(seed)
    # Beyond its head, whose time and names no checksum is about (RFC 1952).
    where = chance.randrange(10, len(content))
    packed.write_bytes(
        content[:where] if seed % 2 else content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :]
    )
    place.build(base="host.tar.gz").refused("host.tar.gz: ")
