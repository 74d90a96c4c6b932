"""Back to the source: a changed byte anywhere is caught, and named."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from handmade import make_tree, role_te
from packs import Pack, quiet, request

from labelgen import base as bases
from labelgen import build, rpmdb
from labelgen.errors import InputError
from labelgen.packing import check, pack, rpmfile, sign
from labelgen.packing.check import Options
from labelgen.packing.package import unpacked
from labelgen.packing.rebuild import Sources
from labelgen.packing.report import Report
from labelgen.packing.rpmfile import Damaged
from labelgen.packing.sign import Key
from labelgen.shipped import packaged

NONET = "lxc-nonet-selinux-1.0-1.noarch.rpm"
SOURCES = Sources(packaged("roles"), None, packaged("templates"))


def checked(path: Path, key: Path | None = None, build: Path | None = None, sources: Sources | None = None) -> Report:
    """What a check of a path finds."""
    return check.check(path, Options(key, build), sources, quiet)


@pytest.fixture
def copy(packages: Path, tmp_path: Path) -> Path:
    """The packages of the shipped roles, for one test to spoil."""
    return Path(shutil.copytree(packages, tmp_path / "copy"))


def flip(path: Path, at: int, mask: int = 1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


# -- what is as it was


def test_what_was_packed_holds(packages: Path) -> None:
    report = checked(packages)
    assert report.wrong == []
    assert len(report.checked) == len(report.unsigned) == 6


def test_a_package_alone_holds(packages: Path, reference_build: Path) -> None:
    report = checked(packages / NONET, build=reference_build)
    assert report.wrong == []


def test_a_build_holds(reference_build: Path) -> None:
    assert checked(reference_build).wrong == []


def test_built_and_packed_again_the_bytes_are_the_same(packages: Path) -> None:
    report = checked(packages, sources=SOURCES)
    assert report.wrong == []
    assert sum("packed again, the same bytes" in line for line in report.checked) == 6


def test_a_build_made_again_is_the_same(reference_build: Path) -> None:
    assert checked(reference_build, sources=SOURCES).wrong == []


# -- one byte


def test_every_byte_of_a_package_counts(packages: Path) -> None:
    """Whatever byte of a package is changed, its form or one of its digests no longer holds."""
    path = packages / NONET
    data = path.read_bytes()
    size = unpacked(path, rpmfile.split(data)).size
    assert list(rpmfile.problems(rpmfile.split(data), size)) == []
    unseen = [at for at in range(len(data)) if not _is_seen(data, at, 1 << at % 8, size)]
    assert unseen == []


def _is_seen(data: bytes, at: int, mask: int, archive_size: int) -> bool:
    changed = bytearray(data)
    changed[at] ^= mask
    try:
        return bool(list(rpmfile.problems(rpmfile.split(bytes(changed)), archive_size)))
    except Damaged:
        return True


@pytest.mark.parametrize("at", [0, 50, 95, 100, 140, 3000, -2000, -1])
def test_a_changed_byte_of_a_package_is_named(packages: Path, tmp_path: Path, at: int) -> None:
    path = Path(shutil.copy(packages / NONET, tmp_path))
    flip(path, at)
    report = checked(path)
    assert report.wrong
    assert all(line.startswith(f"{path}: ") for line in report.wrong)


@pytest.mark.parametrize("size", [0, 3, 95, 110, 4000, -1])
def test_a_package_cut_off_is_told(packages: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / NONET
    path.write_bytes((packages / NONET).read_bytes()[:size])
    assert any(line.startswith(f"{path}: ") for line in checked(path).wrong)


def test_a_package_with_something_behind_it_is_told(packages: Path, tmp_path: Path) -> None:
    path = tmp_path / NONET
    path.write_bytes((packages / NONET).read_bytes() + b"\0")
    assert any(line.startswith(f"{path}: ") for line in checked(path).wrong)


def test_a_changed_byte_of_each_file_of_a_folder_is_named(packages: Path, copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        if path.name == "manifest.json":  # below
            continue
        flip(path, path.stat().st_size // 2)
        assert any(line.startswith(f"{path}: ") for line in checked(copy).wrong)
        shutil.copy(packages / path.name, path)
    assert checked(copy).wrong == []


def test_every_byte_of_a_packages_manifest_counts(copy: Path) -> None:
    path = copy / "manifest.json"
    data = path.read_bytes()
    generator = random.Random(7)
    for at in generator.sample(range(len(data)), 25):
        flip(path, at)
        try:
            assert checked(copy).wrong, f"byte {at} of the manifest: {path.read_bytes()[at - 20 : at + 20]!r}"
        except InputError as error:
            assert str(path) in error.message
        path.write_bytes(data)


def test_every_byte_of_a_builds_manifest_counts(reference_build: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reference_build, tmp_path / "build"))
    path = copy / "manifest.json"
    data = path.read_bytes()
    for at in random.Random(11).sample(range(len(data)), 60):
        flip(path, at)
        try:
            assert [line for line in checked(copy).wrong if line.startswith(f"{path}: ")], f"byte {at}"
        except InputError as error:
            assert str(path) in error.message
        path.write_bytes(data)
    assert checked(copy).wrong == []


def test_every_file_of_a_build_counts(reference_build: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reference_build, tmp_path / "build"))
    for path in sorted(file for file in copy.rglob("*") if file.is_file() and file.stat().st_size):
        if path.name == "manifest.json":
            continue
        before = path.read_bytes()
        flip(path, len(before) // 2)
        assert [line for line in checked(copy).wrong if line.startswith(f"{path}: ")]
        path.write_bytes(before)


# -- what is missing, added, exchanged


def test_a_missing_and_an_added_file_are_named(copy: Path) -> None:
    (copy / NONET).unlink()
    (copy / "notes.txt").write_text("mine")
    wrong = checked(copy).wrong
    assert f"{copy / NONET}: this file is missing" in wrong
    assert any(line.startswith(f"{copy / 'notes.txt'}: ") for line in wrong)


def test_a_package_of_another_build_is_told(copy: Path, tmp_path: Path, pack_tree: Pack) -> None:
    other = pack_tree(make_tree(tmp_path / "tree", {"nonet": role_te("nonet")}))
    shutil.copy(other / NONET, copy / NONET)
    assert any(line.startswith(f"{copy / NONET}: ") for line in checked(copy).wrong)


def test_a_package_is_compared_with_the_build_that_is_given(packages: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"nonet": role_te("nonet")})
    assert checked(packages / NONET, build=tree).wrong == [f"{packages / NONET}: was made of another build than {tree}"]


def repacked(packages: Path, top: Path, change: str, payload: str = "w9.gzdio") -> Path:
    """A package made by somebody else of the same source package, whole and well formed, with a `change` (sed) of the
    spec."""
    define: list[str] = ["--define", f"_topdir {top}"]
    subprocess.run(
        ["rpm", "-i", "--nodeps", *define, next(packages.glob("*.src.rpm"))], check=True, capture_output=True
    )
    spec = top / "SPECS/lxc-policy.spec"
    subprocess.run(["sed", "-i", change, spec], check=True)
    settings = {
        "_buildhost": "localhost",
        "_binary_payload": payload,
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "optflags": "%{nil}",
    }
    define += [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(
        ["rpmbuild", "-bb", "--nodeps", "--target", "noarch", *define, spec],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(pack.DEFAULT_EPOCH)},
        check=True,
    )
    return next(top.rglob(NONET))


@pytest.mark.parametrize("payload", ["w6.xzdio", "w3.zstdio"])
def test_a_package_that_somebody_packed_otherwise_holds(packages: Path, tmp_path: Path, payload: str) -> None:
    """As a build system does that makes packages of the source package, with its own compression."""
    package = repacked(packages, tmp_path, "", payload)
    packed = rpmfile.split(package.read_bytes()).payload[:4]
    assert packed == {"w6.xzdio": b"\xfd7zX", "w3.zstdio": b"\x28\xb5\x2f\xfd"}[payload]
    assert checked(package).wrong == []


def test_a_module_exchanged_in_a_whole_package_is_named(packages: Path, tmp_path: Path) -> None:
    """Its digests are in order, for it was built anew: only the build's manifest tells."""
    exchange = "install -p -m 0644 lxc_web.SUFFIX $RPM_BUILD_ROOTFOLDER/lxc_nonet.SUFFIX"
    folders = {"pp": "/usr/share/selinux/packages/targeted", "te": "/usr/share/lxc-selinux/lxc-nonet-selinux"}
    commands = [exchange.replace("SUFFIX", name).replace("FOLDER", folder) for name, folder in folders.items()]
    change = f"s|^module_holds lxc_nonet .*|true|; s|^find ..RPM_BUILD_ROOT|{'; '.join(commands)}; &|"
    package = repacked(packages, tmp_path, change)
    wrong = checked(package).wrong
    assert any(
        f"{package}: /usr/share/selinux/packages/targeted/lxc_nonet.pp is not what was verified" in x for x in wrong
    )
    assert any("lxc_nonet.te is not what was verified" in line for line in wrong)


def test_a_file_more_in_a_whole_package_is_named(packages: Path, tmp_path: Path) -> None:
    extra = "/usr/share/lxc-selinux/lxc-nonet-selinux/more"
    change = f's|^find ..RPM_BUILD_ROOT|echo x >"$RPM_BUILD_ROOT{extra}"; &|; /^%files -n lxc-nonet/a {extra}'
    package = repacked(packages, tmp_path, change)
    assert f"{package}: holds {extra}, which labelgen does not put there" in checked(package).wrong


def test_a_changed_scriptlet_is_found_by_making_the_package_again(packages: Path, tmp_path: Path) -> None:
    package = repacked(packages, tmp_path, "s|^say() {|touch /tmp/gotcha; say() {|")
    assert checked(package).wrong == []
    again = checked(package, sources=SOURCES).wrong
    assert again == [f"{package}: packed again, its header (scripts, requirements, digests) is another"]


@pytest.mark.parametrize(
    "edit",
    [
        's/"epoch": [0-9]*/"epoch": -1/',
        's/"epoch": [0-9]*/"epoch": 4294967296/',
        f's/"roles": .*/"roles": {"[" * 9999}/',
        's/"roles": .*/"roles": [1,/',
    ],
    ids=["before 1970", "after 2106", "deep", "a number"],
)
def test_a_record_that_cannot_be_is_told(packages: Path, tmp_path: Path, edit: str) -> None:
    (tmp_path / "edit").write_text(edit)
    package = repacked(packages, tmp_path, f"/^done/a sed -i -f {tmp_path}/edit packing.json")
    assert any("its packing.json is not what labelgen writes" in line for line in checked(package).wrong)


def test_ports_left_out_of_a_package_are_missed(packages: Path, tmp_path: Path) -> None:
    change = "/lxc_ftp_ports/d"
    repacked(packages, tmp_path, change)
    package = next(tmp_path.rglob("lxc-ftp-selinux*.rpm"))
    assert f"{package}: lacks lxc_ftp_ports.cil, without which lxc_ftp was not verified" in checked(package).wrong


# -- built again, from other sources


def test_a_changed_role_file_is_named(packages: Path, tmp_path: Path) -> None:
    roles = Path(shutil.copytree(packaged("roles"), tmp_path / "roles"))
    text = (roles / "web.yaml").read_text()
    assert "[80, 443]" in text
    (roles / "web.yaml").write_text(text.replace("[80, 443]", "[80, 443, 21]"))
    wrong = checked(packages, sources=Sources(roles, None, packaged("templates"))).wrong
    assert "lxc_web/lxc_web.pp: built again, it is another file" in wrong
    assert "since the build: the role file web is another one" in wrong
    assert not any("lxc_dns" in line for line in wrong)


def test_a_base_without_a_known_name_is_asked_for(tmp_path: Path, pack_tree: Pack) -> None:
    folder = pack_tree(make_tree(tmp_path / "tree", {"web": role_te("web")}))
    with pytest.raises(InputError, match="by hand"):
        checked(folder, sources=SOURCES)


def test_packages_for_a_host_hold_where_only_a_copy_of_its_policy_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built on the host, with its version of selinux-policy; built again elsewhere, with its store as base."""
    store = tmp_path / "stores/targeted"
    for module in (Path(build.__file__).parent / "reference").glob("*.cil"):
        place = store / "active/modules/100" / module.stem
        place.mkdir(parents=True)
        shutil.copy(module, place / "cil")
    (tmp_path / "config").write_text("SELINUXTYPE=targeted\n")
    rpm = tmp_path / "bin/rpm"
    rpm.parent.mkdir()
    rpm.write_text('#!/bin/sh\n[ "$3 $6" = "-q selinux-policy" ] && echo 41.9-1.fc42\n')
    rpm.chmod(0o755)
    with monkeypatch.context() as on_the_host:
        on_the_host.setattr(bases, "STORES", store.parent)
        on_the_host.setattr(bases, "SELINUX_CONFIG", tmp_path / "config")
        on_the_host.setattr(rpmdb, "PLACES", (str(rpm.parent.relative_to("/")),))
        on_the_host.setenv("PATH", str(rpm.parent), prepend=os.pathsep)
        build.build(build.Inputs(packaged("roles"), ("web",), "host", packaged("templates")), tmp_path / "b", quiet)
    pack.pack(request(tmp_path / "b"), packaged("templates"), None, tmp_path / "p", quiet)
    shared = next((tmp_path / "p").glob("lxc-base*"))
    needs = subprocess.run(["rpm", "-qp", "--requires", shared], capture_output=True, text=True, check=True).stdout
    assert "selinux-policy >= 41.9-1.fc42\n" in needs
    copy = store.rename(tmp_path / "copy")
    assert checked(tmp_path / "p", sources=Sources(packaged("roles"), str(copy), packaged("templates"))).wrong == []


# -- signatures


@dataclass(frozen=True)
class Signer:
    """A key of GnuPG's, made for the tests."""

    key: Key
    public: Path


def make_signer(folder: Path, address: str, kind: str = "rsa2048") -> Signer:
    """Make a key with a passphrase in the keyring that GNUPGHOME names. RSA is what every target's rpm knows."""
    passphrase, public = folder / f"{address}.passphrase", folder / f"{address}.asc"
    passphrase.write_text("correct horse\n")
    options = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file", str(passphrase)]
    subprocess.run(["gpg", *options, "--quick-generate-key", address, kind, "sign", "never"], check=True)
    subprocess.run(["gpg", "--batch", "--armor", "--output", public, "--export", address], check=True)
    return Signer(Key(address, passphrase), public)


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A keyring of the tests' own, and its agent ended afterwards."""
    # The agent's socket has a path of at most 107 bytes.
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    # Passphrases of the tests need not hold out against anybody.
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")
    before = os.environ.get("GNUPGHOME")
    os.environ["GNUPGHOME"] = str(home)
    yield tmp_path_factory.mktemp("keys")
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    os.environ.pop("GNUPGHOME") if before is None else os.environ.update(GNUPGHOME=before)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def signer(keyring: Path) -> Signer:
    """Who signs."""
    return make_signer(keyring, "packager@example.org")


@pytest.fixture(scope="module")
def signed(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages signed."""
    folder = tmp_path_factory.mktemp("signed")
    tree = make_tree(folder / "tree", {"web": role_te("web")})
    pack.pack(request(tree), packaged("templates"), signer.key, folder / "packages", quiet)
    return folder / "packages"


def test_signed_packages_hold_with_the_key(signed: Path, signer: Signer) -> None:
    report = checked(signed, key=signer.public)
    assert report.wrong == []
    assert report.unsigned == []
    assert all("signature" in line for line in report.checked)


def test_rpm_itself_accepts_the_signature(signed: Path, signer: Signer, tmp_path: Path) -> None:
    db = ["--dbpath", str(tmp_path / "db")]
    subprocess.run(["rpmkeys", *db, "--import", signer.public], check=True)
    done = subprocess.run(["rpmkeys", *db, "-K", *signed.glob("*.rpm")], capture_output=True, text=True, check=True)
    assert all(line.endswith("digests signatures OK") for line in done.stdout.splitlines())


def test_another_key_is_told(signed: Path, keyring: Path) -> None:
    other = make_signer(keyring, "somebody@example.org", "ed25519")
    wrong = checked(signed, key=other.public).wrong
    for path in (*signed.glob("*.rpm"), signed / "SHA256SUMS"):
        assert any(line.startswith(f"{path}: ") and "signature" in line for line in wrong), path


def test_a_signature_by_a_key_that_nobody_named_is_told(signed: Path) -> None:
    wrong = checked(signed).wrong
    assert len(wrong) == 3
    assert all("give it with --key" in line for line in wrong)


def test_a_damaged_signature_of_the_digests_is_told_in_gpgs_words(signed: Path, signer: Signer, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(signed, copy)
    signature = copy / "SHA256SUMS.asc"
    lines = signature.read_text().splitlines()
    lines[4] = lines[4].swapcase()
    signature.write_text("\n".join(lines))
    line = next(line for line in checked(copy, key=signer.public).wrong if "its signature SHA256SUMS.asc" in line)
    assert "does not hold: gpg: " in line


def test_unsigned_packages_are_told_where_a_key_is_named(packages: Path, signer: Signer) -> None:
    wrong = checked(packages, key=signer.public).wrong
    assert f"{packages / NONET}: is not signed" in wrong
    assert f"{packages / 'SHA256SUMS'}: is not signed" in wrong


def test_a_signature_taken_away_is_told(signed: Path, signer: Signer, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(signed, tmp_path / "copy"))
    path = next(copy.glob("lxc-web*"))
    subprocess.run(["rpmsign", "--delsign", path], check=True, capture_output=True)
    assert f"{path}: is not signed" in checked(path, key=signer.public).wrong


def test_every_byte_of_a_signed_package_counts(signed: Path, signer: Signer, tmp_path: Path) -> None:
    """A byte that the form leaves open is one of the signature: there rpm, with the key, must see it."""
    path = next(signed.glob("lxc-web*"))
    data = path.read_bytes()
    size = unpacked(path, rpmfile.split(data)).size
    left = [at for at in range(len(data)) if not _is_seen(data, at, 1 << at % 8, size)]
    assert 0 < len(left) < 600
    changed = tmp_path / path.name
    for at in [*left[:60:3], *random.Random(3).sample(left, 15)]:
        changed.write_bytes(data)
        flip(changed, at, 1 << at % 8)
        assert sign.package_signature(changed, signer.public, 1), f"byte {at}"


def recorder(folder: Path, program: str) -> None:
    """Put into a folder a program that writes down its arguments and its environment, and then does its work."""
    real = shutil.which(program)
    path = folder / program
    path.write_text(f'#!/bin/sh\n{{ printf "%s\\n" "$@"; env; }} >>{folder}/log\nexec {real} "$@"\n')
    path.chmod(0o755)


def test_the_passphrase_is_in_no_command_line_and_no_environment(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web")})
    recorders = tmp_path / "bin"
    recorders.mkdir()
    for program in ("gpg", "rpmsign", "rpmbuild"):
        recorder(recorders, program)
    monkeypatch.setenv("PATH", str(recorders), prepend=os.pathsep)
    pack.pack(request(tree), packaged("templates"), signer.key, tmp_path / "out", quiet)
    said = (recorders / "log").read_text()
    assert "--passphrase-file" in said, "the programs that sign were not the recorders"
    assert "--addsign" in said
    assert "correct horse" not in said


# What gpg-agent asks for a passphrase, in the protocol of pinentry.
PINENTRY = """#!/bin/sh
echo "OK"
while read -r word rest; do
    case $word in
        GETPIN) echo asked >>{log}; echo "D correct horse"; echo "OK" ;;
        BYE) echo "OK"; exit 0 ;;
        *) echo "OK" ;;
    esac
done
"""


def test_gpgs_agent_is_asked_where_no_file_holds_the_passphrase(signer: Signer, keyring: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web")})
    pinentry, log = tmp_path / "pinentry", tmp_path / "asked"
    pinentry.write_text(PINENTRY.format(log=log))
    pinentry.chmod(0o755)
    settings = Path(os.environ["GNUPGHOME"]) / "gpg-agent.conf"
    before = settings.read_text()
    settings.write_text(f"{before}pinentry-program {pinentry}\n")
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    try:
        pack.pack(request(tree), packaged("templates"), Key(signer.key.name, None), tmp_path / "out", quiet)
    finally:
        settings.write_text(before)
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    assert log.read_text() == "asked\n", "once for all: the agent keeps it"
    assert checked(tmp_path / "out", key=signer.public).wrong == []


def test_a_secret_key_that_is_not_there_is_told_before_anything_is_made(reference_build: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GnuPG has no secret key nobody"):
        key = Key("nobody@example.org", None)
        pack.pack(request(reference_build), packaged("templates"), key, tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "%(id)", "--output", "a b", "x'; id; '", "packager"])
def test_what_is_no_key_goes_to_no_program(name: str) -> None:
    with pytest.raises(InputError, match="is no key"):
        sign.check_key(Key(name, None))


def test_a_wrong_passphrase_leaves_nothing(signer: Signer, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web")})
    wrong = tmp_path / "passphrase"
    wrong.write_text("wrong\n")
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    with pytest.raises(InputError, match="could not be signed") as refused:
        key = Key(signer.key.name, wrong)
        pack.pack(request(tree), packaged("templates"), key, tmp_path / "out", quiet)
    assert str(refused.value).splitlines()[1:] == ["gpg: signing failed: Bad passphrase"]
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_public_key_is_told(packages: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("no key\n")
    with pytest.raises(InputError, match="no public key"):
        checked(packages / NONET, key=key)


# -- what is none of ours


@pytest.mark.parametrize("content", [b"", b"text", b"\xed\xab\xee\xdb", b"\xed\xab\xee\xdb" + bytes(200)])
def test_a_file_that_is_no_package_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.rpm"
    path.write_bytes(content)
    assert [line for line in checked(path).wrong if line.startswith(f"{path}: ")]


def test_a_package_of_somebody_elses_is_told(provider: Path) -> None:
    assert any("not packed by labelgen" in line for line in checked(provider).wrong)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"target": 1, "files": 3}', '{"files": {"../x": "0"}, "target": 1}'])
def test_a_folder_that_is_none_of_ours_is_told(tmp_path: Path, text: str) -> None:
    if text:
        data = json.loads(text)
        (tmp_path / "manifest.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    with pytest.raises(InputError, match=str(tmp_path)):
        checked(tmp_path)
