"""labelgen explain: what a denial means, and what would allow it. Why a policy refuses something is held against
libsepol's own answer (audit2why)."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bases import BuiltRoles
from commandline import NONET, Place, shared_cache
from judge import Audit2why

from labelgen import avc, denials
from labelgen import base as bases
from labelgen.built import open_tree
from labelgen.errors import LabelgenError
from labelgen.policy import Policy
from labelgen.reasons import Reasons

API = """name: api
summary: A role of the tests.
network: {bind: {tcp: [80]}}
files:
  - {path: "/srv/lxc/api(/.*)?", access: read}
  - {path: "/srv/lxc/spool(/.*)?", access: write}
"""
ME = "system_u:system_r:lxc_api_t:s0:c1,c2"


def line(perms: str, target: str, tclass: str, rest: str = "", source: str = ME) -> str:
    """A line as auditd writes it."""
    return (
        f'type=AVC msg=audit(1700000000.123:456): avc:  denied  {{ {perms} }} for  pid=1 comm="x" {rest} '
        f"scontext={source} tcontext={target} tclass={tclass} permissive=0\n"
    )


def of(type_name: str, categories: str = "", role: str = "object_r") -> str:
    return f"system_u:{role}:{type_name}:s0{categories}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workplace with a role that has files and a port, and one without a network, built."""
    place = Place(tmp_path_factory.mktemp("explain"), shared_cache(tmp_path_factory))
    place.role(API, "api.yaml")
    place.role(NONET.replace("web", "none"), "none.yaml")
    place.build().held()
    return place


def explained(place: Place, *lines: str, options: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and what is said of a log."""
    log = place.folder / "log"
    log.write_text("".join(lines))
    outcome = place.call("explain", "--json", *options, log)
    assert outcome.stderr == ""
    return outcome.status, json.loads(outcome.stdout)


CASES = {
    "own files": (line("write", of("lxc_api_content_t"), "file"), "deliberate", "access: write", 0),
    "own files run": (line("execute", of("lxc_api_data_t"), "file"), "deliberate", "", 0),
    "files of another role": (line("read", of("lxc_none_data_t"), "file"), "stale", "", 1),
    "no label": (line("read open", of("user_home_t"), "file", 'path="/data/x"'), "label", ":Z", 1),
    "images": (line("write", of("container_ro_file_t"), "file"), "label", ":Z", 1),
    "of another container": (line("read", of("container_file_t", ":c3,c4"), "file"), "mcs", ":Z", 0),
    "kill another": (line("sigkill", of("lxc_api_t", ":c3,c4", "system_r"), "process"), "mcs", "", 0),
    "kill a plain one": (line("sigkill", of("container_t", ":c3,c4", "system_r"), "process"), "deliberate", "", 0),
    "granted": (line("read open", of("container_file_t", ":c1,c2"), "file"), "stale", "", 1),
    "a sysctl": (line("write", of("sysctl_net_t"), "file"), "deliberate", "", 0),
    "port": (line("name_connect", of("smtp_port_t"), "tcp_socket", "dest=25"), "deliberate", "connect: {tcp: [25]}", 0),
    "port granted": (line("name_bind", of("http_port_t"), "tcp_socket", "src=80"), "stale", "", 1),
    "administers the network": (line("net_admin", ME, "capability", "capability=12"), "deliberate", "", 0),
    "another starts it": (
        line("transition", of("lxc_api_t", "", "system_r"), "process", source=of("initrc_t", role="system_r")),
        "other",
        "",
        0,
    ),
    "a runtime starts it": (
        line(
            "transition", of("lxc_api_t", "", "system_r"), "process", source=of("container_runtime_t", role="system_r")
        ),
        "stale",
        "",
        1,
    ),
    "another opens its files": (
        line("read", of("lxc_api_content_t"), "file", source=of("container_init_t", role="system_r")),
        "deliberate",
        "",
        0,
    ),
    "port of another type now": (
        line("name_bind", of("reserved_port_t"), "tcp_socket", "src=80"),
        "stale",
        "verify --build",
        1,
    ),
    "port of an unknown type now": (
        line("name_bind", of("update_port_t"), "tcp_socket", "src=80"),
        "stale",
        "verify --build",
        1,
    ),
    "address of an unknown type now": (
        line("node_bind", of("update_node_t"), "tcp_socket", "src=80"),
        "stale",
        "verify --build",
        1,
    ),
    "socket of another": (
        line("read write", of("init_t", role="system_r"), "tcp_socket", "laddr=::1 lport=80"),
        "deliberate",
        "",
        0,
    ),
    "packet": (line("send", of("unlabeled_t"), "packet", source=ME.replace("api", "none")), "deliberate", "", 0),
    "not a role": (line("read", of("etc_t"), "file", source=of("sshd_t", role="system_r")), "other", "", 0),
}


@pytest.mark.parametrize("text,kind,allow,status", CASES.values(), ids=CASES.keys())
def test_each_cause_is_told_with_its_cure(place: Place, text: str, kind: str, allow: str, status: int) -> None:
    ended, (found,) = explained(place, text)
    assert found["kind"] == kind, found
    assert allow in found["allow"] if allow else not found["allow"], found
    assert ended == status


def test_a_label_of_containers_is_not_called_one_of_the_host(place: Place) -> None:
    for name in ("container_ro_file_t", "container_share_t"):
        _, (found,) = explained(place, line("write", of(name), "file"))
        assert "host's" not in found["message"]
        assert "containers read and do not change" in found["message"]
        assert "files:" not in found["allow"]
    _, (found,) = explained(place, CASES["no label"][0])
    assert "a label of the host's" in found["message"]


def test_what_a_role_declares_of_its_files_and_lacks_is_a_fault(place: Place, tmp_path: Path) -> None:
    """As by an older build, or one of another role file."""
    base = (place.output / "lxc_api" / "lxc_api.cil").read_text()
    assert "read" in base
    for name, perms, kind, claim in (
        ("lxc_api_content_t", "read", "parent", "able"),
        ("lxc_api_data_t", "write", "parent", "able"),
        ("lxc_api_content_t", "write", "deliberate", "contained"),
        ("lxc_api_data_t", "execute", "deliberate", "contained"),
    ):
        denial = avc.parse(line(perms, of(name), "file"))
        assert denial is not None
        reason = Reasons(_without_files(place, tmp_path), "this policy").of(denial)
        assert (reason.kind, reason.claim) == (kind, claim), (name, perms, reason)
        assert "access: read" not in reason.allow


def _without_files(place: Place, folder: Path) -> Policy:
    """The roles of the place, linked; of their own files nothing is granted."""
    reference = bases.open_base(bases.locate("reference"))
    modules = []
    for path in sorted(place.output.glob("*/*.cil")):
        modules.append(folder / path.name)
        modules[-1].write_text(re.sub(r"\(allow lxc_api_t lxc_api_(content|data)_t [^\n]*\n", "", path.read_text()))
    bases.link([reference.cil, *modules], reference.mls, folder / "policy", folder / "file_contexts")
    return Policy(folder / "policy")


def test_who_acts_on_plain_containers_only_is_told_apart(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """Who starts containers is to start roles too: what he may do to plain ones only is a fault."""
    more = tmp_path / "more.cil"
    more.write_text(
        "(allow container_runtime_t container_t (process (setpgid)))(allow httpd_t container_t (process (signal)))"
    )
    reasons = Reasons(Policy(reference_roles.link(tmp_path, [more])), "this policy")
    target, kinds = of("lxc_web_t", "", "system_r"), {}
    for source, perm in (("container_runtime_t", "setpgid"), ("httpd_t", "signal"), ("httpd_t", "sigkill")):
        denial = avc.parse(line(perm, target, "process", source=of(source, role="system_r")))
        assert denial is not None
        reason = reasons.of_another(denial, "web")
        kinds[source, perm] = (reason.kind, reason.claim)
    assert list(kinds.values()) == [("parent", "enterable"), ("deliberate", "separate"), ("other", "")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("comm=6E67696E7820776F726B6572", "nginx worker"),  # audit_log_n_hex of what has a space
        ('comm="6E67696E78"', "6E67696E78"),  # a name of such letters is in quotes
        ("comm=FFFE", "\ufffd\ufffd"),  # no text at all
        ("comm=4142", "4142"),  # ausearch -i: AB would stand in the log as it is
        ("comm=cafe", "cafe"),  # the kernel writes capital letters
        ("comm=1B5B324A", "\ufffd[2J"),  # nothing that commands a terminal
    ],
)
def test_what_the_log_has_in_hexadecimal_is_read(written: str, meant: str) -> None:
    denial = avc.parse(line("read", of("etc_t"), "file").replace('comm="x"', written))
    assert denial is not None
    assert denial.comm == meant


UNNUMBERED = {
    "by its type": ("smtp_port_t", "", "smtp_port_t"),
    "of no service in particular": ("unreserved_port_t", "", "PORT"),
    "of none below 1024": ("hi_reserved_port_t", "", "PORT"),
    "of a role's own": ("lxc_api_port_t", "", "PORT"),
    "no port type": ("etc_t", "", "PORT"),
    "unknown": ("nosuch_port_t", "", "PORT"),
    "no number of a port": ("smtp_port_t", "src=99999", "smtp_port_t"),
    "zero": ("unreserved_port_t", "src=0", "PORT"),
    "a number": ("unreserved_port_t", "src=9999", "9999"),
}


@pytest.mark.parametrize("target,fields,port", UNNUMBERED.values(), ids=UNNUMBERED.keys())
def test_a_port_is_suggested_as_a_role_file_takes_it(place: Place, target: str, fields: str, port: str) -> None:
    _, (found,) = explained(place, line("name_bind", of(target), "tcp_socket", fields))
    assert found["kind"] == "deliberate"
    assert found["allow"] == f"network: {{bind: {{tcp: [{port}]}}}}"
    suggested = found["allow"].replace("PORT", "9999")
    place.role(f"name: api\nsummary: As it was suggested.\n{suggested}\n", "api.yaml")
    try:
        place.build("api", "--output", "suggested").held()
    finally:
        place.role(API, "api.yaml")


SOCKETS = {
    "to serve or to reach": ("create", "tcp_socket", "", "{bind: {tcp: [PORT]}}  # or {connect: {tcp: [PORT]}}"),
    "to serve": ("listen", "tcp_socket", "", "{bind: {tcp: [PORT]}}"),
    "to serve, bound": ("bind", "tcp_socket", "", "{bind: {tcp: [PORT]}}"),
    "to serve, called": ("accept", "sctp_socket", "", "{bind: {sctp: [PORT]}}"),
    "to reach": ("connect", "tcp_socket", "", "{connect: {tcp: [PORT]}}"),
    "datagrams": ("create", "udp_socket", "", "{connect: {udp: any}}"),
    "an address": ("node_bind", "tcp_socket", "src=40000", "{bind: {tcp: [40000]}}"),
    "an address for datagrams": ("node_bind", "udp_socket", "src=40000", "{bind: {udp: [40000]}}"),
    "any port": ("node_bind", "udp_socket", "src=0", "{connect: {udp: any}}"),
    "a raw address": ("node_bind", "rawip_socket", "src=1", "{raw: true}"),
    "netlink": ("create", "netlink_generic_socket", "", "{netlink: [generic]}"),
    "ping": ("create", "icmp_socket", "", "{icmp: true}"),
    "a low port": (
        "net_bind_service",
        "capability",
        "capability=10",
        "{bind: {tcp: [PORT]}}  # of whatever protocol, with a number below 1024",
    ),
}


@pytest.mark.parametrize("perm,tclass,fields,network", SOCKETS.values(), ids=SOCKETS.keys())
def test_what_would_allow_a_socket_can_be_pasted(
    place: Place, perm: str, tclass: str, fields: str, network: str
) -> None:
    me = ME.replace("api", "none")
    _, (found,) = explained(place, line(perm, of("node_t") if perm == "node_bind" else me, tclass, fields, me))
    assert (found["kind"], found["allow"]) == ("deliberate", f"network: {network}")
    place.role(f"name: pasted\nsummary: As it was suggested.\n{found['allow'].replace('PORT', '99')}\n", "pasted.yaml")
    try:
        place.build("pasted", "--output", "suggested").held()
    finally:
        (place.roles / "pasted.yaml").unlink()


@pytest.mark.parametrize(
    "option,name,words",
    [
        ("--policy", "absent", "there is no policy absent"),
        ("--policy", "roles", "there is no policy roles"),
        ("--policy", "log", "log: this is no binary policy"),
        ("--base", "absent", "there is no base absent"),
    ],
)
def test_a_policy_that_is_not_there_is_told_whatever_the_log_holds(
    place: Place, option: str, name: str, words: str
) -> None:
    """A log of the network alone needs none."""
    (place.folder / "log").write_text(CASES["port"][0])
    place.call("explain", option, name, "log").refused(words)


def test_a_role_file_that_changed_since_is_told_once_for_each_role_of_the_log(place: Place) -> None:
    (place.folder / "log").write_text(CASES["port"][0] + CASES["port granted"][0] + CASES["packet"][0])
    place.role(f"{API}# changed\n", "api.yaml")
    try:
        done = place.call("explain", "log")
        other = place.call("explain", "log", "--roles", place.output)
    finally:
        place.role(API, "api.yaml")
    assert done.stderr == (
        "note: roles/api.yaml: the role file was changed after the build, and this is of that; run `labelgen build`\n"
    )
    assert other.stderr == ""


@pytest.mark.parametrize("tclass,perm", [("file", "frobnicate"), ("filet", "read")])
def test_what_the_policy_does_not_know_is_not_called_deliberate(place: Place, tclass: str, perm: str) -> None:
    ended, (found,) = explained(place, line(perm, of("var_t"), tclass))
    assert (ended, found["kind"]) == (1, "stale")
    assert f"no permission {perm} of the class {tclass}" in found["message"]


def test_alike_denials_of_many_containers_and_files_are_one(place: Place) -> None:
    lines = [
        line("write", of("lxc_api_content_t"), "file", f'name="f{n}"', ME.replace("c1,c2", f"c{n},c{n + 1}"))
        for n in range(50)
    ]
    _, both = explained(place, *lines, line("name_bind", of("smtp_port_t"), "tcp_socket", "src=25"))
    assert [(item["count"], item["name"]) for item in both] == [(50, "f0"), (1, "")]


def test_a_denial_of_the_network_needs_no_policy(place: Place) -> None:
    """Reading one would take most of the half second that an answer may take."""

    def refuse() -> LabelgenError:
        raise AssertionError("a policy was asked for")

    (reach,) = (found for found in open_tree(place.output).reach().values() if found.domain == "lxc_api_t")
    list(denials.explain_all(avc.Log([CASES["port"][0]]), {"lxc_api_t": reach}, refuse))


def test_the_policy_of_a_build_is_linked_once(place: Place) -> None:
    seal = json.loads((place.output / "manifest.json").read_text())["sha256"]
    explained(place, CASES["no label"][0])
    (policy,) = place.cache.glob(f"labelgen/linked-{seal[:32]}-*/policy")
    made = policy.stat().st_mtime_ns
    explained(place, CASES["no label"][0])
    assert policy.stat().st_mtime_ns == made


def test_without_the_base_of_the_build_nothing_is_guessed(place: Place) -> None:
    manifest = place.folder / "build" / "manifest.json"
    before = manifest.read_text()
    data = json.loads(before)
    data["base"].update(name="web1.tar.gz", sha256="0" * 64)
    manifest.write_text(json.dumps(data))
    try:
        ended, (found,) = explained(place, CASES["no label"][0])
    finally:
        manifest.write_text(before)
    assert (ended, found["kind"]) == (1, "unknown")
    assert "the build was made for web1.tar.gz" in found["message"]
    assert "--base" in found["allow"]


# -- why a policy refuses it, as libsepol says it

KINDS = {
    "ALLOW": {"stale"},
    "TERULE": {"deliberate", "label", "parent"},
    "DONTAUDIT": {"deliberate", "label", "parent"},
    "CONSTRAINT": {"mcs", "constraint"},
    "BOOLEAN": {"boolean"},
    "BOUNDS": {"parent"},
}
TARGETS = [
    *(of(name) for name in ("lxc_web_content_t", "lxc_ftp_data_t", "etc_t", "shadow_t", "user_home_t", "usr_t")),
    *(of(name) for name in ("container_file_t", "container_ro_file_t", "sysctl_net_t", "nfs_t", "tmpfs_t", "proc_t")),
    *(of("container_file_t", categories) for categories in (":c1,c2", ":c3,c4")),
    *(of(name, categories, "system_r") for name in ("lxc_web_t", "lxc_ftp_t", "container_t", "container_runtime_t")
      for categories in ("", ":c1,c2", ":c3,c4")),
]  # fmt: skip
# Off by a boolean, and where that is on a constraint refuses it: no boolean alone would help, says libsepol.
TWICE = (of("container_runtime_t", ":c3,c4", "system_r"), "connectto")
CLASSES = ("file", "dir", "process", "fd", "unix_stream_socket", "fifo_file", "key", "chr_file")


def test_why_it_is_refused_is_what_libsepol_says(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    path = reference_roles.link(tmp_path)
    policy, judge = Policy(path), Audit2why(path)
    reasons, seen, wrong = Reasons(policy, "this policy"), Counter[str](), []
    source = of("lxc_web_t", ":c1,c2", "system_r")
    for target in TARGETS:
        for tclass in CLASSES:
            for perm in sorted(policy.classes[tclass]):
                denial = avc.parse(line(perm, target, tclass, source=source))
                assert denial is not None
                why, kind = judge.reason(source, target, tclass, perm), reasons.of(denial).kind
                seen[why] += 1
                if kind not in (KINDS[why] if (target, perm) != TWICE else {"mcs"}):
                    wrong.append((target, tclass, perm, why, kind))
    assert wrong == []
    assert {"ALLOW", "BOOLEAN", "CONSTRAINT", "TERULE"} <= seen.keys()
