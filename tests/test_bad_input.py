"""Role directories and bases that are not what they should be."""

from __future__ import annotations

import bz2
import random
import re
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from commandline import NONET, Place, as_another_user, binds, public_place, shared_cache

from labelgen import base, programs

REFERENCE = Path(base.__file__).parent / "reference"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    place.role(NONET)
    return place


# -- the role directory


def test_a_folder_without_role_files_is_refused_with_what_to_do(place: Place) -> None:
    (place.folder / "empty").mkdir()
    place.build("--roles", "empty").refused("empty: ", "no role file", "labelgen init")
    (place.folder / "empty" / "notes.txt").write_text("name: web\n")
    place.build("--roles", "empty").refused("empty: ", "no role file")


@pytest.mark.parametrize("roles", ["nowhere", "roles/web.yaml", "link"])
def test_a_role_directory_that_is_none_is_refused(place: Place, roles: str) -> None:
    (place.folder / "link").symlink_to("nowhere")
    place.build("--roles", roles).refused(roles, "cannot be read", "--roles")


def test_a_dangling_link_is_refused_by_its_name(place: Place) -> None:
    (place.roles / "dns.yaml").symlink_to("/nowhere/dns.yaml")
    place.build().refused("roles/dns.yaml: ", "No such file")


def test_a_link_to_itself_is_refused(place: Place) -> None:
    (place.roles / "dns.yaml").symlink_to("dns.yaml")
    place.build().refused("roles/dns.yaml: ")


def test_a_link_to_a_role_file_is_a_role_file(place: Place) -> None:
    (place.roles / "web.yaml").rename(place.folder / "elsewhere")
    (place.roles / "web.yaml").symlink_to("../elsewhere")
    place.build().held()


def test_a_folder_called_like_a_role_file_is_refused(place: Place) -> None:
    (place.roles / "dns.yaml").mkdir()
    place.build().refused("roles/dns.yaml: ")


def test_what_editors_leave_beside_role_files_does_no_harm(place: Place) -> None:
    (place.roles / ".#web.yaml").symlink_to("somebody@host.1234")
    for name in (".web.yaml.swp", "web.yaml~", "#web.yaml#", ".web.yaml"):
        (place.roles / name).write_bytes(b"\x00not yaml: [")
    place.build().held()


@pytest.mark.parametrize("name", ["a\nallow lxc_web_t self:tcp_socket create;\n#", "a\x1b[2J", "a\udcff", "a\u2028b"])
def test_the_name_of_a_role_file_cannot_reach_a_policy(place: Place, name: str) -> None:
    (place.roles / "web.yaml").rename(place.roles / f"{name}.yaml")
    place.build().refused("roles/a", "rename", lines=6)


@pytest.mark.parametrize("name", ["a\n(nonsense", "a\udcff", "a b ' $(id) {{ x }} {% raw %}"])
def test_the_name_of_a_base_cannot_reach_a_policy(place: Place, name: str) -> None:
    as_modules(place.folder / name)
    place.build(base=place.folder / name).held()
    lines = (place.output / "lxc_web" / "lxc_web.te").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("# Base: a")]
    assert line.isprintable()
    assert not any(line.startswith("(nonsense") for line in lines)


def test_an_unreadable_role_directory_or_file_is_refused() -> None:
    prefix = as_another_user()
    with public_place() as place:
        path = place.role(NONET)
        place.roles.chmod(0o300)
        place.run("build", "--base", "reference", prefix=prefix).refused("roles: ", "Permission denied", "--roles")
        place.roles.chmod(0o755)
        path.chmod(0o200)
        place.run("build", "--base", "reference", prefix=prefix).refused("roles/web.yaml: ", "Permission denied")


# -- bases


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reference as a binary, `policy.33`."""
    folder = tmp_path_factory.mktemp("bases")
    base.link(sorted(REFERENCE.glob("*.cil")), True, folder / "policy.33")
    return folder


def as_modules(folder: Path, **changed: str) -> Path:
    """The reference as a folder of modules, with modules changed or added."""
    shutil.copytree(REFERENCE, folder, ignore=shutil.ignore_patterns("*.md", "*.py", "__pycache__"))
    for name, text in changed.items():
        (folder / f"{name}.cil").write_text(text)
    return folder


# A policy that links and knows nothing of containers; `mls`, `sids` and `parent` are what the tests leave out.
SMALL = """
(handleunknown deny)
(mls {mls})
{sids}
(sidorder ({order}))
(class process (fork))
(class file (read write))
(class tcp_socket (create name_bind))
(classorder (process file tcp_socket))
(category c0)
(categoryorder (c0))
(sensitivity s0)
(sensitivityorder (s0))
(sensitivitycategory s0 (c0))
(level low (s0))
(user system_u)
(role system_r)
(role object_r)
(type kernel_t)
(type port_t)
{parent}
(userrole system_u system_r)
(userrole system_u object_r)
(roletype object_r port_t)
(userlevel system_u low)
(userrange system_u (low low))
(roletype system_r kernel_t)
(allow kernel_t self (process (fork)))
"""
# A binary knows initial SIDs by their number alone (the kernel's initial_sid_to_string.h): port is the ninth.
SIDS = (
    *("kernel", "security", "unlabeled", "fs", "file", "file_labels", "init", "any_socket"),
    *("port", "netif", "netmsg", "node"),
)
PARENT = "(type svirt_lxc_net_t)\n(roletype system_r svirt_lxc_net_t)\n(allow svirt_lxc_net_t self (process (fork)))"


def small(mls: str = "true", sids: Sequence[str] = SIDS, parent: str = "") -> str:
    contexts = (f"(sid {sid})\n(sidcontext {sid} (system_u object_r port_t (low low)))" for sid in sids)
    return SMALL.format(mls=mls, sids="\n".join(contexts), order=" ".join(sids), parent=parent)


def test_a_base_that_is_not_there_is_refused_with_what_there_may_be(place: Place) -> None:
    place.build(base="nowhere").refused("nowhere", "`reference`", "a folder of modules")


def test_an_empty_file_is_no_base(place: Place, tmp_path: Path) -> None:
    (tmp_path / "policy.33").touch()
    place.build(base="policy.33").refused("policy.33: ", "empty")


def test_a_folder_without_modules_is_no_base(place: Place) -> None:
    (place.folder / "modules").mkdir()
    place.build(base="modules").refused("modules: ", "no module")


@pytest.mark.parametrize(
    "content", [b"name: web\n", b"\x8c", b"\x8c\xff\x7c", b"\x7fELF", random.Random(1).randbytes(1000)]
)
def test_a_file_that_is_no_policy_is_no_base(place: Place, content: bytes) -> None:
    (place.folder / "policy.33").write_bytes(content)
    place.build(base="policy.33").refused("policy.33: ", "no binary policy")


@pytest.mark.parametrize("kept", [4, 7, 8, 12, 16, 19, 20, 24, 36, 100, 1000, 0.25, 0.5, 0.9, 0.999, -1])
def test_a_truncated_binary_is_refused(place: Place, bases: Path, kept: float) -> None:
    whole = (bases / "policy.33").read_bytes()
    length = int(len(whole) * kept) if isinstance(kept, float) else int(kept) % len(whole)
    (place.folder / "policy.33").write_bytes(whole[:length])
    outcome = place.build(base="policy.33")
    outcome.refused("policy.33: ", "truncated")
    assert not outcome.stderr.rstrip().endswith(":")


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_binary_is_refused_or_read_and_never_a_traceback(place: Place, bases: Path, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray((bases / "policy.33").read_bytes())
    for _ in range(8):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (place.folder / "policy.33").write_bytes(content)
    outcome = place.build(base="policy.33")
    assert outcome.status in (0, 1, 2)
    if outcome.status == 2:
        outcome.refused("policy.33")


@pytest.mark.parametrize("version", [34, 35, 99, 2**32 - 1])
def test_a_binary_of_a_newer_version_is_refused_with_both_versions(place: Place, bases: Path, version: int) -> None:
    content = bytearray((bases / "policy.33").read_bytes())
    # libsepol, policydb.c: magic, length of the string, "SE Linux", version; each number 32 bits, little-endian.
    assert content[8:16] == b"SE Linux"
    assert struct.unpack_from("<I", content, 16) == (33,)
    struct.pack_into("<I", content, 16, version)
    (place.folder / "policy.34").write_bytes(content)
    place.build(base="policy.34").refused("policy.34: ", f"version {version}", "33")


@pytest.mark.parametrize("form", ["modules", "binary"])
def test_a_base_without_mls_is_refused(place: Place, form: str) -> None:
    (place.folder / "modules").mkdir()
    cil = place.folder / "modules" / "all.cil"
    cil.write_text(small(mls="false", parent=PARENT))
    if form == "binary":
        base.link([cil], False, place.folder / "policy.33")
    place.build(base="modules" if form == "modules" else "policy.33").refused("MLS", "MCS")


@pytest.mark.parametrize("form", ["modules", "binary"])
def test_a_base_without_the_parent_is_refused(place: Place, form: str) -> None:
    (place.folder / "modules").mkdir()
    cil = place.folder / "modules" / "all.cil"
    cil.write_text(small())
    if form == "binary":
        base.link([cil], True, place.folder / "policy.33")
    place.build(base="modules" if form == "modules" else "policy.33").refused("svirt_lxc_net_t", "container")


@pytest.mark.parametrize("parent", ["", PARENT])
def test_a_base_without_a_label_for_ports_is_refused(place: Place, parent: str) -> None:
    (place.folder / "modules").mkdir()
    (place.folder / "modules" / "all.cil").write_text(small(sids=SIDS[: SIDS.index("port")], parent=parent))
    place.build(base="modules").refused()


def test_a_base_whose_parent_can_do_nothing_brings_no_traceback(place: Place) -> None:
    (place.folder / "modules").mkdir()
    (place.folder / "modules" / "all.cil").write_text(small(parent=PARENT))
    outcome = place.build(base="modules")
    assert outcome.status in (1, 2)
    outcome.changed_nothing()


def test_a_base_that_lacks_a_module_is_refused_with_the_linkers_words(place: Place) -> None:
    as_modules(place.folder / "modules")
    (place.folder / "modules" / "containers.cil").unlink()
    place.build(base="modules").refused("modules: ", "do not link", lines=8)


@pytest.mark.parametrize(
    "text",
    ["(allow", "hello", ")", "(allow nosuch_t self (file (read)))", "(", '("', "(type)", "\x00"],
)
def test_a_module_that_is_wrong_is_named(place: Place, text: str) -> None:
    as_modules(place.folder / "modules", extra=text)
    outcome = place.build(base="modules")
    outcome.refused("extra.cil", lines=10)
    assert str(place.cache) not in outcome.stderr


@pytest.mark.parametrize("name", ["extra.pp", "extra.cil", "extra.pp.bz2", "extra.cil.bz2"])
def test_an_empty_module_is_refused(place: Place, name: str) -> None:
    as_modules(place.folder / "modules")
    (place.folder / "modules" / name).touch()
    place.build(base="modules").refused(f"modules/{name}: ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("extra.pp", b"rubbish"),
        ("extra.pp", b"\x8f\xff\x7c\xf9"),
        ("extra.pp.bz2", b"BZh9rubbish"),
        ("extra.pp.bz2", bz2.compress(b"rubbish")),
        ("extra.pp.bz2", bz2.compress(b"x" * 1000)[:20]),
    ],
)
def test_a_package_that_is_damaged_is_named(place: Place, name: str, content: bytes) -> None:
    as_modules(place.folder / "modules")
    (place.folder / "modules" / name).write_bytes(content)
    place.build(base="modules").refused(f"modules/{name}: ")


@pytest.fixture
def package(tmp_path: Path) -> bytes:
    """A module package that links onto the reference."""
    te, mod, pp = (tmp_path / f"extra.{suffix}" for suffix in ("te", "mod", "pp"))
    te.write_text(
        "module extra 1.0;\nrequire { type container_t; class file read; }\nallow container_t self:file read;\n"
    )
    programs.run("checkmodule", "-M", "-m", "-o", mod, te)
    programs.run("semodule_package", "-o", pp, "-m", mod)
    return pp.read_bytes()


def test_a_package_that_is_whole_is_read(place: Place, package: bytes) -> None:
    (as_modules(place.folder / "modules") / "extra.pp").write_bytes(package)
    place.build(base="modules").held()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_package_that_is_cut_off_is_named(place: Place, package: bytes, kept: float) -> None:
    (as_modules(place.folder / "modules") / "extra.pp").write_bytes(package[: int(len(package) * kept)])
    place.build(base="modules").refused("modules/extra.pp: ", "truncated")


def test_a_package_of_a_newer_version_is_named(place: Place, package: bytes) -> None:
    # libsepol, policydb.c: the magic of a module, the length of its string, the string, the kind (2), the version.
    string = b"SE Linux Module"
    start = package.index(struct.pack("<II", 0xF97CFF8D, len(string)) + string) + 8 + len(string)
    kind, version = struct.unpack_from("<II", package, start)
    assert (kind, version) == (2, programs_version())
    newer = bytearray(package)
    struct.pack_into("<I", newer, start + 4, 99)
    (as_modules(place.folder / "modules") / "extra.pp").write_bytes(newer)
    place.build(base="modules").refused("modules/extra.pp: ", "newer")


def programs_version() -> int:
    """The highest module version of this machine's checkmodule, which it writes unless told otherwise."""
    said = programs.run("checkmodule", "-V").stdout.decode()
    return int(re.split(r"[-\s]+", said.strip())[-1])


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_module_that_cannot_be_read_is_named(place: Place, kind: str) -> None:
    as_modules(place.folder / "modules")
    path = place.folder / "modules" / "extra.cil"
    path.symlink_to("/nowhere") if kind == "link" else path.mkdir()
    place.build(base="modules").refused("modules/extra.cil: ", "cannot be read")


def test_a_policy_store_without_modules_is_refused(place: Place) -> None:
    (place.folder / "store" / "active" / "modules" / "100").mkdir(parents=True)
    place.build(base="store").refused("store: ", "no module")


def test_a_module_of_a_store_without_content_is_named(place: Place) -> None:
    (place.folder / "store" / "active" / "modules" / "100" / "base").mkdir(parents=True)
    place.build(base="store").refused("store/active/modules/100/base: ")


def test_a_line_of_local_ports_that_is_wrong_is_shown(place: Place) -> None:
    modules = place.folder / "store" / "active" / "modules" / "100"
    for path in REFERENCE.glob("*.cil"):
        (modules / path.stem).mkdir(parents=True)
        shutil.copy(path, modules / path.stem / "cil")
    ports = place.folder / "store" / "active" / "ports.local"
    ports.write_text("# written by semanage\nportcon tcp 8085 system_u:object_r:http_port_t:s0\n")
    place.build(base="store").held()
    ports.write_text("portcon tcp eighty system_u:object_r:http_port_t:s0\n")
    place.build("--output", "other", base="store").refused("ports.local", "eighty")


def test_an_unreadable_base_is_refused() -> None:
    prefix = as_another_user()
    with public_place() as place:
        place.role(NONET)
        policy = place.folder / "policy.33"
        policy.write_bytes(b"\x8c\xff\x7c\xf9")
        policy.chmod(0o200)
        place.run("build", "--base", "policy.33", prefix=prefix).refused("policy.33: ", "Permission denied")
        (place.folder / "modules").mkdir(mode=0o300)
        for name in ("modules", "modules/store"):
            place.run("build", "--base", name, prefix=prefix).refused(f"{name}: ", "Permission denied")


def test_a_wrong_base_leaves_nothing_in_the_cache(place: Place, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    place.cache = cache
    (place.folder / "policy.33").write_bytes(b"\x8c\xff\x7c\xf9rubbish")
    as_modules(place.folder / "modules", extra="(allow")
    for spec in ("policy.33", "modules"):
        assert place.build(base=spec).status == 2
        assert [path.name for path in (cache / "labelgen").iterdir()] == []


# -- templates


def test_templates_that_are_missing_are_told(place: Place) -> None:
    place.build("--templates", "nowhere").refused("nowhere: ", "--templates")
    (place.folder / "templates").mkdir()
    place.build("--templates", "templates").refused("templates", "shared.te.j2")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{{ role.summary }}", "{{ role.sumary }}", "role.te.j2:2: "),
        ("{{ role.summary }}", "{{ nobody }}", "nobody"),
        ("{{ role.summary }}", "{{ role.summary ", "role.te.j2"),
        ("{{ role.summary }}", "{% if %}", "role.te.j2:"),
        ("{{ role.summary }}", "{{ role.summary | nofilter }}", "nofilter"),
        ("{{ role.summary }}", "{{ 1 / 0 }}", "role.te.j2:2: "),
        ("{{ role.summary }}", "{{ role.summary + 1 }}", "role.te.j2:2: "),
        ("{{ role.summary }}", "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "role.te.j2:2: "),
        ("{{ role.summary }}", "{% include 'nobody.j2' %}", "nobody.j2"),
        ("typebounds", "typebonds", "checkmodule refuses"),
    ],
)
def test_a_template_that_is_wrong_is_told(place: Place, old: str, new: str, words: str) -> None:
    templates = place.folder / "templates"
    shutil.copytree(Path(__file__).parent.parent / "templates", templates, ignore=shutil.ignore_patterns("*.py"))
    text = (templates / "role.te.j2").read_text()
    assert old in text
    (templates / "role.te.j2").write_text(text.replace(old, new, 1))
    place.build("--templates", "templates").refused(words, lines=8)


@pytest.mark.parametrize(
    "statement",
    ["allow container_t self:process fork;", "typealias container_t alias lxc_web_t;", "attribute lxc_web_t;"],
)
def test_a_template_that_declares_no_type_is_told(place: Place, statement: str) -> None:
    templates = place.folder / "templates"
    shutil.copytree(Path(__file__).parent.parent / "templates", templates, ignore=shutil.ignore_patterns("*.py"))
    needs = "require { type container_t; class process fork; }"
    (templates / "role.te.j2").write_text(f"module {{{{ role.module }}}} 1.0;\n{needs}\n{statement}\n")
    place.build("--templates", "templates").refused("lxc_web_t", "template")


def test_what_a_tool_says_of_a_module_names_no_folder_that_is_gone(place: Place) -> None:
    templates = place.folder / "templates"
    shutil.copytree(Path(__file__).parent.parent / "templates", templates, ignore=shutil.ignore_patterns("*.py"))
    for name, words in (("role.te.j2", "lxc_web.te:"), ("ports.cil.j2", "line 9 of lxc_web_ports.cil")):
        text = (templates / name).read_text()
        place.role(binds("30100"))
        (templates / name).write_text(f"{text}(nonsense\n")
        outcome = place.build("--templates", "templates")
        outcome.refused(words, lines=10)
        assert "unfinished" not in outcome.stderr
        (templates / name).write_text(text)
