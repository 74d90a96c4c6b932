"""Role files that are YAML and wrong: what is said, and where; and what a role file can never do."""

from __future__ import annotations

import json
import re
import shutil
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import jsonschema
import pytest
import selinux
import yaml
from commandline import NONET, Place, as_another_user, binds, public_place, shared_cache, with_network
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelgen import base, programs, role
from labelgen.errors import RoleFileError
from labelgen.role import Ports
from labelgen.shipped import packaged

REFERENCE = Path(base.__file__).parent / "reference"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path, shared_cache(tmp_path_factory))


def named(name: str) -> str:
    return f"name: {name}\nsummary: A role of the tests.\nnetwork: none\n"


def summarised(summary: str) -> str:
    return f"name: web\nsummary: {summary}\nnetwork: none\n"


def with_file(path: str, access: str = "read") -> str:
    """A role file with one path, at 5:12."""
    return f"{NONET}files:\n  - {{path: {path}, access: {access}}}\n"


# -- keys


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (f"{NONET}sumary: x\n", "4:1", "unknown key 'sumary'; did you mean 'summary'?"),
        (f"{NONET}zzz: 1\n", "4:1", "unknown key 'zzz'; known are name, summary, parent, network, files"),
        (f"{NONET}'': 1\n", "4:1", "unknown key ''"),
        (f"{NONET}" + '"a\\nb": 1\n', "4:1", "unknown key 'a\\nb'"),
        (f"{NONET}{'a' * 900}: 1\n", "4:1", "unknown key 'aaa"),
        (with_network("  bnd: {}"), "4:3", "unknown key 'bnd'; did you mean 'bind'?"),
        (with_network("  bind: {tpc: [80]}"), "4:10", "unknown protocol 'tpc'; did you mean 'tcp'?"),
        (with_network("  bind: {icmp: [80]}"), "4:10", "unknown protocol 'icmp'; known are tcp, udp, sctp, dccp"),
        (with_network("  connect: {TCP: [80]}"), "4:13", "unknown protocol 'TCP'"),
        (with_file("/srv/lxc/x").replace("access", "acess"), "5:24", "unknown key 'acess'; did you mean 'access'?"),
        ("name: web\nsummary: x\n", "1:1", "the key 'network' is missing"),
        ("summary: x\nnetwork: none\n", "1:1", "the key 'name' is missing"),
    ],
)
def test_an_unknown_or_missing_key_is_named_with_the_nearest(
    place: Place, content: str, where: str, words: str
) -> None:
    place.role(content)
    place.build().refused(f"roles/web.yaml:{where}: ", words)


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (with_network("  bind: {tcp: 80}"), "4:15", "list"),
        (with_network("  bind:\n    tcp:"), "5:9", "list"),
        (with_network("  bind: {tcp: []}"), "4:15", "empty"),
        (with_network("  bind: [80]"), "4:9", "mapping is needed here, as in {tcp: [80]}"),
        (with_network("  connect: any"), "4:12", "mapping is needed here, as in {tcp: [5432], udp: any}"),
        (with_network("  connect: {tcp: any}"), "4:18", "only where UDP goes"),
        (with_network("  bind:"), "4:8", "mapping"),
        (with_network("  netlink: route"), "4:12", "list"),
        (with_network("  netlink: [rout]"), "4:13", "did you mean 'route'?"),
        (with_network("  netlink: [foo]"), "4:13", "'foo'; known are audit, "),
        (with_network('  netlink: ["a; b"]'), "4:13", "'a; b'"),
        (with_network("  icmp: maybe"), "4:9", "'maybe' is neither true nor false; write true, or leave the key out"),
        (with_network("  connect: {udp: [53]}"), "4:18", "any"),
        ("name: web\nsummary: x\nnetwork:\n", "3:9", "`network: none`"),
        ("name: web\nsummary: x\nnetwork: {}\n", "3:10", "`network: none`"),
        ("name: web\nsummary: x\nnetwork: all\n", "3:10", "'all'"),
        ("name: web\nsummary: x\nnetwork: [none]\n", "3:10", "none"),
        (f"{NONET}files: {{path: /srv/lxc/x, access: read}}\n", "4:8", "list"),
        (f"{NONET}files: [/srv/lxc/x]\n", "4:9", "mapping is needed here, as in {path: /srv/lxc/web, access: read}"),
        (with_file("/srv/lxc/x/*"), "5:12", "/srv/lxc/x(/.*)?"),
        (with_file("/srv/x/**"), "5:12", "/srv/x(/.*)?"),
        (with_file("/srv/lxc/x/*.html"), "5:12", "pattern of a shell"),
        ("name: web\nsummary: x\nnetwork:\n\tbind: x\n", "4:1", "with spaces, not with tabs"),
        ("name: web\nsummary: serves: all\n", "2:16", "needs quotes"),
        ("name:web\nsummary: x\n", "2:8", "a space behind its colon"),
        ('name: web\nsummary: "x\nnetwork: none\n', "2:10", "the quote that opens here is never closed"),
        (with_network("  bind: {tcp: [80}"), "4:18", "a bracket that opens before this is never closed"),
        (with_file("/srv/lxc/x", "execute"), "5:32", "'execute' is not allowed here; write 'read' or 'write'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_where_it_stands(place: Place, content: str, where: str, words: str) -> None:
    place.role(content)
    place.build().refused(f"roles/web.yaml:{where}: ", words)


def test_the_example_in_a_message_is_of_what_is_missing_there(place: Place) -> None:
    place.role(f"{NONET}files: {{path: /srv/lxc/x, access: read}}\n")
    assert "[80, 443]" not in place.build().stderr
    place.role(with_network("  netlink: route"))
    assert "[80, 443]" not in place.build().stderr


# -- ports

NO_NUMBERS = ["eighty", "80.0", "0x50", "1e3", "80:90", "'80-'", "'-'", "http_port", "port_type", "''"]
NO_NUMBERS += [
    "'\u0668\u0660'",
    "'\uff18\uff10'",
    "[80]",
    "{a: 1}",
    "null",
    "true",
    '"80\\n81"',
    '"80; id"',
    f"{'a' * 300}_t",
]


def test_a_mistyped_key_is_told_once_where_it_stands(place: Place) -> None:
    place.role("name: web\nsumary: A role.\nnetwrk: none\n")
    outcome = place.build()
    outcome.refused("roles/web.yaml:2:1: ", "'summary'?", "roles/web.yaml:3:1: ", "'network'?", lines=2)
    assert "is missing" not in outcome.stderr


@pytest.mark.parametrize("port", ["0", "65536", "-1", "99999999999999999999", "'0-80'", "'65535-65536'"])
def test_a_port_that_is_out_of_range_is_refused(place: Place, port: str) -> None:
    place.role(binds(port))
    place.build().refused("roles/web.yaml:5:11: ", "ports go from 1 to 65535")


@pytest.mark.parametrize(
    ("port", "meant"),
    [
        ("010", "write 10"),
        ("'010'", "write 10"),
        ("0080", "write 80"),
        ("'080-0090'", "write 80-90"),
        ("00", "write 0"),
    ],
)
def test_a_number_that_may_be_read_as_octal_is_refused(place: Place, port: str, meant: str) -> None:
    place.role(binds(port))
    place.build().refused("roles/web.yaml:5:11: ", "octal", meant)


def test_a_range_that_ends_before_it_starts_is_turned_round(place: Place) -> None:
    place.role(binds('"80-70"'))
    place.build().refused("roles/web.yaml:5:11: ", "80-70", "write 70-80")


@pytest.mark.parametrize("port", NO_NUMBERS)
def test_what_is_no_port_is_refused_with_what_would_be_one(place: Place, port: str) -> None:
    place.role(binds(port))
    place.build().refused("roles/web.yaml:5:11: ", 'write a number (80), a range ("8000-8010") or a port type')


@pytest.mark.parametrize(
    ("ports", "where", "words"),
    [
        ("80, 80", "5:15", "80"),
        ('80, "70-90"', "5:15", "70-90 overlaps 80"),
        ('"70-90", 85', "5:20", "85 overlaps 70-90"),
        ('22, "1-5", "5-9"', "5:22", "5-9 overlaps 1-5"),
        ("http_port_t, http_port_t", "5:24", "http_port_t"),
    ],
)
def test_ports_that_overlap_are_refused_at_the_second(place: Place, ports: str, where: str, words: str) -> None:
    place.role(binds(ports))
    place.build().refused(f"roles/web.yaml:{where}: ", words)


def test_the_same_port_may_be_bound_and_reached_and_in_two_protocols(place: Place) -> None:
    place.role(with_network("  bind: {tcp: [53], udp: [53]}\n  connect: {tcp: [53]}"))
    place.build().held()


def test_an_unknown_port_type_is_refused_with_the_nearest(place: Place) -> None:
    place.role(binds("http_prot_t"))
    place.build().refused("roles/web.yaml:5:11: ", "'http_prot_t'", "did you mean 'http_port_t'?")


def test_a_port_type_that_is_like_none_brings_no_far_fetched_suggestion(place: Place) -> None:
    place.role(binds("nosuch_port_t"))
    outcome = place.build()
    outcome.refused("roles/web.yaml:5:11: ", "'nosuch_port_t'")
    assert "did you mean" not in outcome.stderr


@pytest.mark.parametrize("name", ["container_t", "svirt_lxc_net_t", "container_file_t"])
def test_a_type_of_another_kind_is_no_port_type(place: Place, name: str) -> None:
    place.role(binds(name))
    place.build().refused("roles/web.yaml:5:11: ", name, "not a port type")


def test_two_roles_that_need_a_port_type_for_the_same_number_are_refused(place: Place) -> None:
    place.role(binds("30100"), "a.yaml")
    place.role(binds('"30000-30200"').replace("web", "other"), "b.yaml")
    place.build().refused("roles/a.yaml:5:11: ", "tcp/30100", "roles/b.yaml")


# -- names

NO_NAMES = ['"we\'b"', "'we\"b'", '"we\\nb"', '"web\\n"', "..", "../web", "we/b", "/web", '"$(id)"', "Web", "WEB"]
NO_NAMES += ["1web", "web_", "we__b", "_web", "we-b", "we.b", "wéb", "'web '", '"web\\0"', '"%post"', '"{{ x }}"', "''"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_no_identifier_is_refused(place: Place, name: str) -> None:
    place.role(named(name))
    place.build().refused("roles/web.yaml:1:7: ", "is no name for a role", "letter")


@pytest.mark.parametrize("length", [33, 300, 100_000])
def test_a_name_that_is_too_long_is_refused_with_the_most(place: Place, length: int) -> None:
    place.role(named("a" * length))
    place.build().refused("roles/web.yaml:1:7: ", str(length), "32 is the most")


@pytest.mark.parametrize("name", ["", "null", "[web]", "{a: b}"])
def test_a_name_that_is_no_text_is_refused(place: Place, name: str) -> None:
    place.role(named(name))
    place.build().refused("roles/web.yaml:1:", "text")


@pytest.mark.parametrize("name", ["base", "lxc_base"])  # of the second `labelgen show` could never tell
def test_the_name_of_the_shared_module_is_refused(place: Place, name: str) -> None:
    place.role(named(name))
    place.build().refused("roles/web.yaml:1:7: ", f"'{name}'", "lxc_base")


def test_words_that_yaml_takes_for_truth_are_names_in_quotes(place: Place) -> None:
    place.role(named("'on'"), "on.yaml")
    place.role(named('"no"'), "no.yaml")
    place.build().held()
    assert (place.output / "lxc_no" / "lxc_no.pp").is_file()


@pytest.fixture(scope="module")
def with_our_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that has types, an attribute and an alias called as roles would call theirs."""
    folder = tmp_path_factory.mktemp("bases") / "with_our_names"
    shutil.copytree(REFERENCE, folder)
    (folder / "taken.cil").write_text(
        "(type lxc_web_t)\n(type lxc_files_content_t)\n(type lxc_ports_port_t)\n"
        "(typeattribute lxc_attribute_t)\n(typeattributeset lxc_attribute_t (http_port_t))\n"
        "(allow lxc_attribute_t self (file (read)))\n"
        "(typealias lxc_alias_t)\n(typealiasactual lxc_alias_t http_port_t)\n"
    )
    return folder


@pytest.mark.parametrize(
    ("name", "rest", "taken"),
    [
        ("web", "network: none\n", "lxc_web_t"),
        ("attribute", "network: none\n", "lxc_attribute_t"),
        ("alias", "network: none\n", "lxc_alias_t"),
        ("ports", "network: {bind: {tcp: [30100]}}\n", "lxc_ports_port_t"),
        ("files", "network: none\nfiles: [{path: /srv/lxc/x, access: read}]\n", "lxc_files_content_t"),
    ],
)
def test_a_name_that_the_base_has_is_refused(
    place: Place, with_our_names: Path, name: str, rest: str, taken: str
) -> None:
    place.role(f"name: {name}\nsummary: x\n{rest}")
    place.build(base=with_our_names).refused("roles/web.yaml:1:7: ", taken, "choose another name")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (named("web"), named("web"), "lxc_web"),
        (named("web_content"), with_file("/srv/lxc/x"), "lxc_web_content_t"),
        (named("web_data"), with_file("/srv/lxc/x", "write"), "lxc_web_data_t"),
        (named("web_ports"), binds("30100"), "lxc_web_ports"),
        (named("web_port"), binds("30100"), "lxc_web_port_t"),
    ],
)
def test_two_files_that_make_one_name_are_refused(place: Place, one: str, other: str, words: str) -> None:
    place.role(one, "a.yaml")
    place.role(other, "b.yml")
    place.build().refused("roles/b.yml:1:7: ", words, "roles/a.yaml")


def test_a_role_that_is_asked_for_and_missing_is_named_with_the_nearest(place: Place) -> None:
    place.role(NONET)
    place.build("wbe").refused("'wbe'", "did you mean 'web'?")


# -- summaries

NO_SUMMARIES = ['"a\\nb"', '"a\\rb"', '"a\\tb"', '"a\\0b"', '"a\\e[31mb"', '"a\\u2028b"', '"a\\u0085b"', '"a\\u202eb"']
NO_SUMMARIES += ['"a\\u200bb"', "|\n  a\n  b", "''", "'   '"]


@pytest.mark.parametrize("summary", NO_SUMMARIES)
def test_a_summary_that_is_not_one_printable_line_is_refused(place: Place, summary: str) -> None:
    place.role(summarised(summary))
    place.build().refused("roles/web.yaml:2:10: ", "one line of printable text")


def test_a_summary_that_is_too_long_is_refused_with_the_most(place: Place) -> None:
    place.role(summarised("a" * 500))
    place.build().refused("roles/web.yaml:2:10: ", "summary", "500", "200")


@pytest.mark.parametrize("summary", ["", "null", "[a]", "{a: b}"])
def test_a_summary_that_is_no_text_is_refused(place: Place, summary: str) -> None:
    place.role(summarised(summary))
    place.build().refused("roles/web.yaml:2:", "text")


HOSTILE = string.punctuation + " ') %post {{ 7*7 }} {% raw %} ${HOME} `id` %{lua: x} \\n é 漢"


def test_a_summary_of_every_punctuation_reaches_no_policy(place: Place) -> None:
    def module() -> dict[str, str]:
        place.build().held()
        return {path.name: path.read_bytes().decode("latin-1") for path in (place.output / "lxc_web").iterdir()}

    text = with_network("  bind: {tcp: [80, 30100]}") + "files: [{path: /srv/lxc/x, access: write}]\n"
    place.role(text)
    plain = module()
    place.role(text.replace("A role of the tests.", "'" + HOSTILE.replace("'", "''") + "'"))
    hostile = module()
    assert sorted(plain) == ["lxc_web.cil", "lxc_web.fc", "lxc_web.pp", "lxc_web.te", "lxc_web_ports.cil"]
    source = hostile.pop("lxc_web.te").encode("latin-1").decode("utf-8").splitlines()
    assert [line for line in source if HOSTILE in line] == [f"# lxc_web: {HOSTILE}"]
    assert [line for line in source if not line.startswith("#")] == [
        line for line in plain.pop("lxc_web.te").splitlines() if not line.startswith("#")
    ]
    assert hostile == plain


def test_a_summary_is_printed_and_kept_as_it_was_written(place: Place) -> None:
    place.role(summarised("'" + HOSTILE.replace("'", "''") + "'"))
    assert HOSTILE in " ".join(place.build().stdout.split())
    assert json.loads((place.output / "verdict.json").read_bytes())["roles"][0]["summary"] == HOSTILE


@given(st.text(max_size=40))
def test_no_summary_that_is_accepted_ends_its_line(summary: str) -> None:
    data = {"name": "web", "summary": summary, "network": "none"}
    try:
        kept = role.Role.model_validate(data).summary
    except ValueError:
        return
    assert len(kept.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", kept)


# -- files

NO_PATHS = {
    "relative": ("srv/lxc/x", "relative"),
    "empty": ("''", "relative"),
    "with a space": ("'/srv/lxc/a b'", "space"),
    "of two lines": ('"/srv/lxc/x\\n/etc/y"', "'/srv/lxc/x\\n/etc/y'"),
    "with a tab": ('"/srv/lxc/x\\tsystem_u:object_r:etc_t:s0"', "space"),
    "a command": ("'/srv/lxc/$(id)'", "use letters"),
    "not ASCII": ("/srv/lxc/é", "use letters"),
    "an open parenthesis": ("'/srv/lxc/('", "no regular expression"),
    "an open bracket": ("'/srv/lxc/['", "no regular expression"),
    "two stars": ("'/srv/lxc/a**'", "no regular expression"),
    "a possessive star": ("'/srv/lxc/a*+'", "/srv/lxc/a*+"),
    "a range that ends before it starts": ("'/srv/lxc/[z-a]'", "no regular expression"),
    "a last backslash": ("'/srv/lxc/\\'", "no regular expression"),
    "an escape of Python's alone": ("'/srv/lxc/\\u0041'", "/srv/lxc/"),
    "a set in a set": ("'/srv/lxc/[[a]'", "/srv/lxc/[[a]"),
    "nested too deep": (f"'/srv/lxc/{'(' * 500}x{')' * 500}'", "/srv/lxc/((("),
    "the root": ("/", "too wide"),
    "all": ("'/.*'", "too wide"),
    "one folder": ("/srv", "too wide"),
    "one folder and all in it": ("'/srv(/.*)?'", "too wide"),
    "a first folder that any sign may end": ("'/sr./lxc'", "too wide"),
    "a second folder that may be away": ("'/srv/l?.*'", "too wide"),
    "a device behind a dot": ("'/de./sda'", "too wide"),
    "a way up": ("/srv/../etc/x", "'..'"),
    "the kernel's files": ("/proc/sys/x", "/proc/sys/x"),
    "an alternative that reaches out": ("'/srv/lxc/a|/etc'", "|"),
    "with a / at its end": ("/srv/lxc/x/", "write /srv/lxc/x(/.*)?"),
    "with two //": ("/srv//lxc/x", "'//'"),
    "a template of users": ("/srv/lxc/USERS(/.*)?", "USER"),
    "a template of SELinux roles": ("/srv/lxc/ROLES(/.*)?", "ROLE"),
    "too long": (f"/srv/lxc/{'a' * 2000}", "1024"),
}


@pytest.mark.parametrize("case", NO_PATHS)
def test_a_path_that_is_none_is_refused(place: Place, case: str) -> None:
    path, words = NO_PATHS[case]
    place.role(with_file(path))
    outcome = place.build()
    outcome.refused("roles/web.yaml:5:12: ", words)
    assert "items after validation" not in outcome.stderr


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/srv/lxc/x", True),
        ("/srv/lxc/example.org", True),
        ("'/srv/lxc/(a|b)'", True),
        ("'/srv/lxc/x(/.*)?'", False),
        ("'/srv/lxc/x/.*'", False),
        ("'/srv/lxc/x\\.conf'", False),
    ],
)
def test_what_may_be_a_folder_without_its_content_is_told_with_the_cure(place: Place, path: str, told: bool) -> None:
    """A file context without (/.*)? gives its label to the folder alone, and the role could not read what is in it."""
    place.role(with_file(path))
    outcome = place.build()
    outcome.held()
    plain = path.strip("'")
    assert (f'write "{plain}(/.*)?"' in " ".join(outcome.stdout.split())) is told
    assert f"read {plain} (lxc_web_content_t)" in outcome.stdout
    shown = place.call("show", "web").stdout
    assert ("(/.*)?" in shown.replace(f"read {plain}", "")) is told
    assert f"read {plain} (lxc_web_content_t)" in shown


@pytest.mark.parametrize("second", ["access: read", "access: write"])
def test_a_path_that_is_named_twice_in_a_role_is_refused(place: Place, second: str) -> None:
    place.role(f"{NONET}files:\n  - {{path: /srv/lxc/x, access: read}}\n  - {{path: /srv/lxc/x, {second}}}\n")
    place.build().refused("roles/web.yaml:6:", "/srv/lxc/x", "roles/web.yaml:5 already; name it once")


@pytest.mark.parametrize("accesses", [("read", "write"), ("write", "read")])
def test_two_paths_of_a_role_that_have_some_files_in_common_are_refused(
    place: Place, accesses: tuple[str, str]
) -> None:
    """/srv/lxc/x/c has one label, by the order in which a host sorts the expressions: what that is of is not the
    role's to say. Where one path is in the other, the inner one counts."""
    paths = ("/srv/lxc/x/[a-c](/.*)?", "/srv/lxc/x/[c-e](/.*)?")
    entries = "".join(f"  - {{path: '{path}', access: {access}}}\n" for path, access in zip(paths, accesses))
    place.role(f"{NONET}files:\n{entries}")
    done = place.build()
    assert done.status == 1
    assert "/srv/lxc/x/[a-c](/.*)?" in done.stdout
    done.changed_nothing()


def test_a_path_that_two_roles_name_is_refused(place: Place) -> None:
    place.role(with_file("/srv/lxc/x"), "a.yaml")
    place.role(with_file("/srv/lxc/x").replace("web", "other"), "b.yaml")
    place.build().refused("roles/b.yaml:5:12: ", "/srv/lxc/x", "roles/a.yaml:5 already; two roles")


# Paths of others: what a role's own path must never label, whatever it is.
ELSEWHERE = ["/", "/etc", "/etc/shadow", "/srv", "/srv/x", "/srv/lx", "/srv/other", "/srv/other/a", "/srv/la", "/srv/l"]
ELSEWHERE += ["/srv/a", "/srv/aa", "/srv/a/lxc", "/srv/lxa", "/proc/sys", "/dev/sda", "/var/lib/a", "/a", "/aa", "/x"]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file_contexts to write and to have read by libselinux (matchpathcon_init)."""
    yield tmp_path_factory.mktemp("contexts") / "file_contexts"
    selinux.matchpathcon_fini()


def accepted(path: str) -> bool:
    try:
        role.Files(path=path, access="read")
    except ValueError:
        return False
    return True


def labelled(path: str) -> bool:
    """Whether libselinux finds a label for a path in the file_contexts in use."""
    try:
        selinux.matchpathcon(path, 0)
    except FileNotFoundError:
        return False
    return True


# Paths in pieces, so that most are regular expressions.
PIECES = [
    "/",
    "/a",
    "a",
    "x",
    "-",
    "1",
    ".",
    ".*",
    "(/.*)?",
    "\\.",
    "[ax]",
    "[^/]+",
    "(a|x)",
    "?",
    "*",
    "+",
    "|",
    "^",
    "(",
    ")",
]
PIECES += ["[", "]", "\\", "\\u0041", "\\d", "\\b", "\\Z", "$", "(?", "{2}"]
PATHS = st.lists(
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda pieces: "/srv/lxc" + "".join(pieces)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100)
@example(["/srv/l?.*", "/srv/lxc?", "/srv/lxc*", "/srv/lxc|/etc/shadow", "/srv/lxc/a|/etc/shadow", "/srv/lxc(|/etc)"])
@example(["/srv/lxc(/.*)?", "/sr./lxc/x", "/srv/\\w/x", "/srv\\b/lxc/x"])
@given(PATHS)
def test_libselinux_labels_nothing_outside_the_two_folders_of_a_path(contexts: Path, paths: list[str]) -> None:
    contexts.write_text(
        "".join(f"{path}\tsystem_u:object_r:lxc_web_content_t:s0\n" for path in set(paths) if accepted(path))
    )
    assert selinux.matchpathcon_init(str(contexts)) == 0
    assert [path for path in ELSEWHERE if labelled(path)] == [], contexts.read_text()


@settings(max_examples=100)
@example(["/srv/lxc/\\u0041"])
@given(PATHS)
def test_libselinux_can_read_every_path_that_is_accepted(contexts: Path, paths: list[str]) -> None:
    contexts.write_text(
        "".join(f"{path}\tsystem_u:object_r:lxc_web_content_t:s0\n" for path in set(paths) if accepted(path))
    )
    # What semodule and restorecon need of a host's file_contexts.
    compiled = subprocess.run(
        # Renamed into place, so never /dev/null: as root that would replace the device itself. And never
        # file_contexts.bin: libselinux would read that in the place of the next file_contexts.
        [programs.find("sefcontext_compile"), "-o", contexts.with_name("compiled"), contexts],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr


@pytest.mark.parametrize(
    ("path", "inside", "outside"),
    [
        ("/srv/lxc/web(/.*)?", ["/srv/lxc/web", "/srv/lxc/web/a/b"], ["/srv/lxc/webs", "/srv/lxc"]),
        ("/srv/lxc/(a|b)/c", ["/srv/lxc/a/c", "/srv/lxc/b/c"], ["/srv/lxc/a", "/srv/lxc/a/c/d"]),
        ("/var/lib/lxc-1/[0-9]+\\.db", ["/var/lib/lxc-1/12.db"], ["/var/lib/lxc-1/x.db", "/var/lib/lxc-1/12xdb"]),
        ("/srv/lxc", ["/srv/lxc"], ["/srv/lxc/x"]),
    ],
)
def test_a_good_path_is_accepted_and_means_what_it_says(
    contexts: Path, path: str, inside: list[str], outside: list[str]
) -> None:
    assert accepted(path)
    contexts.write_text(f"{path}\tsystem_u:object_r:lxc_web_content_t:s0\n")
    assert selinux.matchpathcon_init(str(contexts)) == 0
    assert [labelled(one) for one in inside] == [True] * len(inside)
    assert [labelled(one) for one in outside] == [False] * len(outside)


# -- parents


@pytest.mark.parametrize("parent", ["'a b'", "'x;'", "''", "1", "'{{ x }}'", '"a\\n_t"', "a" * 300])
def test_a_parent_that_is_no_type_name_is_refused(place: Place, parent: str) -> None:
    place.role(f"{NONET}parent: {parent}\n")
    place.build().refused("roles/web.yaml:4:9: ", "is no type")


@pytest.mark.parametrize("parent", ["nosuch_t", "svirt_lxc_net", "domain"])
def test_a_parent_that_the_base_does_not_have_is_refused_where_it_stands(place: Place, parent: str) -> None:
    place.role(f"{NONET}parent: {parent}\n")
    place.build().refused("roles/web.yaml:4:9: ", f"'{parent}'")


def test_a_parent_that_is_no_domain_is_refused(place: Place) -> None:
    place.role(f"{NONET}parent: http_port_t\n")
    place.build().refused("roles/web.yaml:4:9: ", "http_port_t")


def test_two_parents_in_one_build_are_refused(place: Place) -> None:
    place.role(NONET, "a.yaml")
    place.role(named("other") + "parent: container_kvm_t\n", "b.yaml")
    place.build().refused("roles/", "parent", "container_kvm_t")


# -- whatever is written

WORDS = st.sampled_from(
    [
        "web",
        "none",
        "any",
        "tcp",
        "80",
        "8000-8010",
        "80-70",
        "http_port_t",
        "svirt_lxc_net_t",
        "true",
        "/srv/lxc/x",
        "read",
    ]
)
SCALARS = st.one_of(WORDS, st.text(max_size=8), st.integers(), st.none(), st.booleans(), st.floats())
KEYS = st.one_of(
    st.sampled_from([*role.Role.model_fields, *role.Network.model_fields, *role.Bind.model_fields, "path", "access"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.just("web"), VALUES),
        "summary": st.one_of(st.just("A role."), VALUES),
        "parent": VALUES,
        "network": st.one_of(
            st.just("none"),
            st.dictionaries(
                st.sampled_from(list(role.Network.model_fields)),
                st.one_of(st.dictionaries(st.sampled_from(list(role.Bind.model_fields)), VALUES), VALUES),
            ),
            VALUES,
        ),
        "files": st.lists(st.one_of(st.fixed_dictionaries({"path": VALUES, "access": VALUES}), VALUES), max_size=3),
    },
)


def read_text(factory: pytest.TempPathFactory, text: str) -> role.RoleFile:
    path = factory.getbasetemp() / "role.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return role.read(path)


@settings(max_examples=400)
@given(st.one_of(st.text(max_size=300), DOCUMENTS.map(lambda data: yaml.safe_dump(data, allow_unicode=True))))
def test_any_document_is_a_role_or_an_error_with_a_place_in_it(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        file = read_text(tmp_path_factory, text)
    except RoleFileError as error:
        lines = text.encode("utf-8", "surrogatepass").count(b"\n") + text.count("\r") + 2
        for problem in error.problems:
            assert 0 <= problem.line <= lines + sum(text.count(sign) for sign in "\x85\u2028\u2029")
            assert "\n" not in problem.message
            assert problem.message.strip()
    else:
        assert role.NAME.match(file.role.name)


@st.composite
def port_lists(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Ports and ranges that do not overlap, in any order."""
    ends = sorted(draw(st.sets(st.integers(1, 65535), min_size=2, max_size=20)))
    pairs = list(zip(ends[::2], ends[1::2]))
    chosen = [(low, low) if draw(st.booleans()) else (low, high) for low, high in pairs]
    return draw(st.permutations(chosen))


@settings(max_examples=150)
@given(
    port_lists(),
    st.lists(st.from_regex(r"[a-z]{1,8}_port_t", fullmatch=True), unique=True, max_size=3),
    st.sampled_from(["tcp", "udp", "sctp", "dccp"]),
    st.randoms(),
)
def test_every_valid_list_of_ports_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[tuple[int, int]],
    types: list[str],
    protocol: str,
    random: Any,
) -> None:
    written: list[Union[int, str]] = [
        (low if random.random() < 0.5 else str(low)) if low == high else f"{low}-{high}" for low, high in numbers
    ]
    data = {"name": "web", "summary": "x", "network": {"bind": {protocol: [*written, *types]}}}
    file = read_text(tmp_path_factory, yaml.safe_dump(data))
    network = file.role.declared_network
    assert network is not None
    assert network.bound(protocol) == [*(Ports(low, high) for low, high in numbers), *types]
    assert network.protocols == [protocol]


# -- the schema


class Editor(yaml.SafeLoader):
    """YAML as editors read it before they look at the schema: the core schema of YAML 1.2 (10.3.2)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


for kind, words in {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}.items():
    Editor.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rf"({words})\Z"), None)
Editor.add_constructor("tag:yaml.org,2002:int", _integer)


def as_an_editor_reads(text: str) -> Any:
    return yaml.load(text, Loader=Editor)


def test_an_editor_reads_yaml_1_2() -> None:
    assert as_an_editor_reads("[true, no, 0x10, 010, 1e3, ~, 1:30, 2024-01-01, web]") == [
        *(True, "no", 16, 10, 1000.0, None, "1:30", "2024-01-01", "web")
    ]


@pytest.fixture
def schema(place: Place) -> jsonschema.Draft202012Validator:
    outcome = place.call("schema")
    outcome.held()
    document = json.loads(outcome.stdout)
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("name", ["web", "dns", "ftp", "nonet"])
def test_the_schema_takes_the_shipped_roles(schema: jsonschema.Draft202012Validator, name: str) -> None:
    schema.validate(as_an_editor_reads((packaged("roles") / f"{name}.yaml").read_text()))


WRONG = {
    "a list": "- a\n",
    "no name": "summary: x\nnetwork: none\n",
    "no network": "name: web\nsummary: x\n",
    "an unknown key": f"{NONET}extra: 1\n",
    "an unknown key of the network": with_network("  listen: {tcp: [80]}"),
    "an unknown protocol": with_network("  bind: {tpc: [80]}"),
    "a name in upper case": named("Web"),
    "a name of 33 letters": named("a" * 33),
    "a name that is a number": named("80"),
    "a summary of 201 letters": summarised("a" * 201),
    "port 0": binds("0"),
    "port 65536": binds("65536"),
    "port -1": binds("-1"),
    "a port in letters": binds("eighty"),
    "a port that is a truth": binds("true"),
    "no port": binds(""),
    "ports that are no list": with_network("  bind: {tcp: 80}"),
    "a UDP destination": with_network("  connect: {udp: [53]}"),
    "a network of another word": "name: web\nsummary: x\nnetwork: all\n",
    "an access of another word": with_file("/srv/lxc/x", "execute"),
    "a relative path": with_file("srv/lxc/x"),
    "a path without access": f"{NONET}files: [{{path: /srv/lxc/x}}]\n",
    "files that are no list": f"{NONET}files: {{path: /srv/lxc/x, access: read}}\n",
}


@pytest.mark.parametrize("case", WRONG)
def test_the_schema_and_the_reader_refuse_the_same(
    schema: jsonschema.Draft202012Validator, tmp_path_factory: pytest.TempPathFactory, case: str
) -> None:
    with pytest.raises(RoleFileError):
        read_text(tmp_path_factory, WRONG[case])
    assert not schema.is_valid(as_an_editor_reads(WRONG[case]))


@settings(max_examples=150)
@given(DOCUMENTS)
def test_the_schema_is_never_stricter_than_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    try:
        read_text(tmp_path_factory, text)
    except RoleFileError:
        return
    assert jsonschema.Draft202012Validator(role.json_schema()).is_valid(as_an_editor_reads(text)), text


NOT_QUOTED = [
    "true",
    "True",
    "FALSE",
    "yes",
    "No",
    "on",
    "off",
    "y",
    "1",
    "0",
    "80",
    "0080",
    "010",
    "0x50",
    "0o17",
    "+80",
]
NOT_QUOTED += [
    "1e3",
    "80.0",
    ".5",
    "-.inf",
    ".NaN",
    "1_000",
    "1:30",
    "2024-01-01",
    "null",
    "~",
    "=",
    "none",
    "any",
    "web",
]


@pytest.mark.parametrize(
    "word", [*NOT_QUOTED, *(f"'{word}'" for word in NOT_QUOTED), "' 80 '", "'1 - 80'", "'80\u00a0'"]
)
def test_the_schema_takes_every_word_that_the_reader_takes(
    schema: jsonschema.Draft202012Validator, tmp_path_factory: pytest.TempPathFactory, word: str
) -> None:
    written = [
        named(word),
        summarised(word),
        f"{NONET}parent: {word}\n",
        f"name: web\nsummary: x\nnetwork: {word}\n",
        binds(word),
        with_network(f"  icmp: {word}"),
        with_network(f"  icmp: true\n  raw: {word}"),
        with_network(f"  netlink: [{word}]"),
        with_network(f"  icmp: true\n  connect: {{udp: {word}}}"),
        with_file(word),
        with_file("/srv/lxc/x", word),
    ]
    for text in written:
        try:
            read_text(tmp_path_factory, text)
        except RoleFileError:
            continue
        assert schema.is_valid(as_an_editor_reads(text)), text


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (named("true"), "1:7", 'true or false and no text; write "true"'),
        (named("no"), "1:7", 'true or false and no text; write "no"'),
        (named("On"), "1:7", "is no name for a role"),
        (summarised("Off"), "2:10", 'write "Off"'),
        (summarised("12:30"), "2:10", 'a number and no text; write "12:30"'),
        (summarised("1_000"), "2:10", 'a number and no text; write "1_000"'),
        (summarised("2001-12-14"), "2:10", 'a date and no text; write "2001-12-14"'),
        (summarised("404"), "2:10", 'a number and no text; write "404"'),
        (summarised(".inf"), "2:10", 'write ".inf"'),
        (f"{NONET}parent: false\n", "4:9", 'write "false"'),
        (with_network("  netlink: [generic, false]"), "4:22", 'write "false"'),
    ],
)
def test_a_text_that_everybody_else_takes_for_something_else_needs_quotes(
    place: Place, content: str, where: str, words: str
) -> None:
    place.role(content)
    place.build().refused(f"roles/web.yaml:{where}: ", words)


@pytest.mark.parametrize("name", ['"true"', "'false'"])
def test_a_text_in_quotes_is_a_text(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    assert read_text(tmp_path_factory, named(name)).role.name == name[1:-1]
    assert read_text(tmp_path_factory, summarised('"404"')).role.summary == "404"


@pytest.mark.parametrize(
    ("word", "truth"), [("true", True), ("yes", True), ("ON", True), ("False", False), ("off", False)]
)
def test_truths_are_written_as_people_write_them(
    tmp_path_factory: pytest.TempPathFactory, word: str, truth: bool
) -> None:
    network = read_text(tmp_path_factory, with_network(f"  bind: {{tcp: [80]}}\n  icmp: {word}")).role.declared_network
    assert network is not None
    assert network.icmp is truth


@pytest.mark.parametrize("word,meant", [('"no"', "false"), ("'false'", "false"), ('"true"', "true"), ("'yes'", "true")])
@pytest.mark.parametrize("key", ["icmp", "raw"])
def test_a_truth_in_quotes_is_refused(place: Place, key: str, word: str, meant: str) -> None:
    """Every other program takes it for text, and most of those text that is not empty for true."""
    place.role(with_network(f"  bind: {{tcp: [80]}}\n  {key}: {word}"))
    place.build().refused(f"roles/web.yaml:5:{len(key) + 5}: ", f"write {meant}, without quotes")


# -- the file that init writes


def test_the_file_that_init_writes_builds(place: Place) -> None:
    place.call("init", "shop").held()
    assert [path.name for path in place.roles.iterdir()] == ["shop.yaml"]
    place.build().held()
    assert (place.output / "lxc_shop" / "lxc_shop.pp").is_file()


def test_init_makes_the_folder_of_roles(place: Place) -> None:
    place.roles.rmdir()
    place.call("init", "shop").held()
    assert (place.roles / "shop.yaml").is_file()


def test_init_overwrites_nothing(place: Place) -> None:
    place.role("mine\n", "shop.yaml")
    place.call("init", "shop").refused("roles/shop.yaml", "already")


def test_init_takes_no_link_away(place: Place) -> None:
    (place.roles / "shop.yaml").symlink_to("nowhere")
    place.call("init", "shop").refused("roles/shop.yaml", "already")


@pytest.mark.parametrize("roles", ["file", "file/roles", "no/roles"])
def test_init_in_a_place_that_cannot_be_is_refused(place: Place, roles: str) -> None:
    (place.folder / "file").touch()
    place.call("init", "shop", "--roles", roles).refused(f"{roles}: ", "cannot be made")


def test_init_where_one_may_not_write_is_refused() -> None:
    prefix = as_another_user()
    with public_place() as place:
        place.roles.chmod(0o555)
        place.run("init", "shop", prefix=prefix).refused("roles: ", "--roles")


@pytest.mark.parametrize("name", ["../evil", "Shop", "a" * 300, "$(id)", "sh op", "", "base"])
def test_init_refuses_what_is_no_name(place: Place, name: str) -> None:
    place.call("init", name).refused("name")


def test_what_init_writes_commented_out_is_right_too(place: Place) -> None:
    place.call("init", "shop").held()
    path = place.roles / "shop.yaml"
    text = path.read_text()
    text = re.sub(r"^( *)# ((icmp|raw|netlink|files):|  - \{path)", r"\1\2", text, flags=re.M)
    text = re.sub(r"^( *)#   ((connect|  tcp|  udp):)", r"\1\2", text, flags=re.M)
    path.write_text(text)
    file = role.read(path)
    network = file.role.declared_network
    assert network is not None
    assert (network.icmp, network.raw, network.netlink, network.connect.udp) == (True, True, ["generic"], "any")
    assert [(one.path, one.access) for one in file.role.files] == [("/srv/lxc/shop(/.*)?", "read")]
    place.build().held()
