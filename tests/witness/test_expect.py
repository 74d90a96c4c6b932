"""The kernel's rules, one by one, on policies made up for each."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest

from labelgen.witness import trials
from labelgen.witness.answers import OK, Answer, Stretch
from labelgen.witness.calls import Address, Kept, Trial, call
from labelgen.witness.expect import Kernel, Socket, World, socket_class
from labelgen.witness.facts import Facts, PortLabel, node_label, type_of

V4, V6 = socket.AF_INET, socket.AF_INET6
WEB, OTHER = "u:r:web_t:s0", "u:r:other_t:s0"
SOCKETS = frozenset({"create", "bind", "connect", "listen", "write", "name_bind", "name_connect", "node_bind"})
CLASSES = dict.fromkeys(("tcp_socket", "udp_socket", "rawip_socket", "sctp_socket"), SOCKETS)
CLASSES["capability"] = frozenset({"net_bind_service", "net_raw", "net_admin"})
CLASSES["fd"] = frozenset({"use"})
Rule = tuple[str, str, str, str]


@dataclass(frozen=True)
class Rules:
    """Access by a set of (source, target, class, permission), all by type."""

    granted: frozenset[Rule]

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        return (type_of(source), type_of(target), tclass, perm) in self.granted


def _rules(text: str) -> Iterable[Rule]:
    for line in text.split(";"):
        if line.strip():
            source, target, tclass, *perms = line.split()
            yield from ((source, source if target == "self" else target, tclass, perm) for perm in perms)


TCP = "web_t self tcp_socket create bind connect listen write; web_t node_t tcp_socket node_bind;"


def _facts(rules: str) -> Facts:
    return Facts(
        access=Rules(frozenset(_rules(rules))),
        ports=(
            PortLabel(6, 80, 80, "u:r:http_port_t:s0"),
            PortLabel(6, 1, 1023, "u:r:reserved_port_t:s0"),
            PortLabel(17, 53, 53, "u:r:dns_port_t:s0"),
        ),
        nodes=(),
        initial={name: f"u:r:{name}_t:s0" for name in ("kernel", "port", "node")},
        polcaps=frozenset({"extended_socket_class"}),
        classes=CLASSES,
        unknown_allowed=False,
    )


def _answer(world: World, trial: Trial, port: int, baseline: Answer = OK, label: str = WEB) -> str:
    return str(world.answer(trial, label, port, baseline)[0])


BIND, CONNECT = trials.bind("tcp", V4, "0.0.0.0"), trials.connect("tcp", V4, "192.0.2.1")
UNREACHABLE = Answer(1, errno.ENETUNREACH)
REFUSED, PASSED = "EACCES at call 2", "ok"


ALL_CHECKED = Kernel((65535, 65535), 0)


def _world(rules: str, kernel: Kernel = ALL_CHECKED, **changes: object) -> World:
    return World(replace(_facts(rules), **changes), kernel)  # type: ignore[arg-type]


def test_the_first_portcon_wins() -> None:
    world = _world(TCP + "web_t http_port_t tcp_socket name_bind")
    assert [_answer(world, BIND, port) for port in (79, 80, 81)] == [REFUSED, PASSED, REFUSED]


def test_a_port_without_portcon_has_the_initial_label() -> None:
    world = _world(TCP + "web_t port_t tcp_socket name_bind")
    assert [_answer(world, BIND, port) for port in (1023, 1024)] == [REFUSED, PASSED]


def test_name_bind_is_not_asked_for_inside_the_local_port_range() -> None:
    world = _world(TCP, Kernel((40000, 40002), 0))
    assert [_answer(world, BIND, port) for port in (39999, 40000, 40002, 40003)] == [REFUSED, PASSED, PASSED, REFUSED]


def test_it_is_inside_the_range_where_the_port_is_privileged() -> None:
    world = _world(TCP + "web_t self capability net_bind_service", Kernel((500, 2000), 1024))
    assert [_answer(world, BIND, port) for port in (1023, 1024)] == [REFUSED, PASSED]


def test_a_low_port_needs_the_capability_too() -> None:
    rules = TCP + "web_t http_port_t tcp_socket name_bind;"
    assert _answer(_world(rules, Kernel(unprivileged_from=1024)), BIND, 80) == REFUSED
    assert _answer(_world(rules + "web_t self capability net_bind_service", Kernel()), BIND, 80) == PASSED


def test_node_bind_is_asked_for_even_for_port_0() -> None:
    trial = next(t for t in trials.node_trials() if t.name == "bind tcp ipv4 127.0.0.1 port 0")
    assert _answer(_world("web_t self tcp_socket create bind"), trial, 0) == REFUSED
    assert _answer(_world(TCP), trial, 0) == PASSED


def test_the_address_decides_the_node() -> None:
    nodes = (node_label("127.0.0.0", "255.0.0.0", "u:r:lo_node_t:s0"), node_label("::1", "ffff::", "u:r:v6_node_t:s0"))
    world = _world(TCP + "web_t port_t tcp_socket name_bind", nodes=nodes)
    assert _answer(world, trials.bind("tcp", V4, "127.0.0.1"), 5000) == REFUSED
    assert _answer(world, BIND, 5000) == PASSED


def test_connect_needs_the_port_and_keeps_the_kernels_answer() -> None:
    world = _world(TCP + "web_t http_port_t tcp_socket name_connect")
    assert _answer(world, CONNECT, 80, UNREACHABLE) == "ENETUNREACH at call 2"
    assert _answer(world, CONNECT, 81, UNREACHABLE) == REFUSED


def test_udp_is_not_checked_by_destination() -> None:
    world = _world("web_t self udp_socket create connect write")
    assert _answer(world, trials.connect("udp", V4, "192.0.2.1"), 53, UNREACHABLE) == "ENETUNREACH at call 2"
    assert _answer(world, trials.send("udp", V4, "192.0.2.1"), 53, UNREACHABLE) == "ENETUNREACH at call 2"


@pytest.mark.parametrize(("checked", "answer"), [(False, "ENETUNREACH at call 2"), (True, REFUSED)])
def test_fast_open_is_a_connect_where_the_kernel_checks_it(checked: bool, answer: str) -> None:
    world = _world(TCP, Kernel(fast_open_checked=checked))
    assert _answer(world, trials.fast_open("tcp", V4, "192.0.2.1"), 80, UNREACHABLE) == answer


def test_mptcp_has_the_ports_and_the_class_of_tcp() -> None:
    world = _world(TCP + "web_t http_port_t tcp_socket name_bind")
    assert [_answer(world, trials.bind("mptcp", V4, "0.0.0.0"), port) for port in (80, 81)] == [PASSED, REFUSED]


def test_udplite_is_a_raw_socket_on_ports_without_label() -> None:
    rules = (
        "web_t self rawip_socket create bind; web_t node_t rawip_socket node_bind; web_t port_t rawip_socket name_bind"
    )
    assert _answer(_world(rules), trials.bind("udplite", V4, "0.0.0.0"), 53) == PASSED


def test_without_the_policy_capability_sctp_is_a_raw_socket() -> None:
    assert socket_class(V4, socket.SOCK_STREAM, 132, True) == "sctp_socket"
    assert socket_class(V4, socket.SOCK_STREAM, 132, False) == "rawip_socket"
    world = _world("web_t self rawip_socket create connect", polcaps=frozenset())
    assert _answer(world, trials.connect("sctp", V4, "192.0.2.1"), 80, UNREACHABLE) == "ENETUNREACH at call 2"


def test_what_the_kernel_lacks_it_lacks_for_everybody() -> None:
    assert _answer(_world(TCP), BIND, 80, Answer(0, errno.EPROTONOSUPPORT)) == "EPROTONOSUPPORT at call 1"


def test_selinux_is_asked_before_the_kernel_finds_that_it_lacks_a_protocol() -> None:
    assert _answer(_world(""), BIND, 80, Answer(0, errno.EPROTONOSUPPORT)) == "EACCES at call 1"


def test_a_raw_socket_needs_the_capability_last() -> None:
    raw = Trial("raw", (call("socket", V4, socket.SOCK_RAW, 1),))
    world = _world("web_t self rawip_socket create")
    assert _answer(world, raw, 0) == "EPERM at call 1"
    assert _answer(world, raw, 0, Answer(0, errno.EPROTONOSUPPORT)) == "EPROTONOSUPPORT at call 1"


@pytest.mark.parametrize(("allowed", "answer"), [(True, "ok"), (False, "EACCES at call 1")])
def test_a_class_the_policy_does_not_know(allowed: bool, answer: str) -> None:
    vsock = Trial("vsock", (call("socket", 40, socket.SOCK_STREAM, 0),))
    assert _answer(_world("", unknown_allowed=allowed), vsock, 0) == answer


def test_a_permissive_domain_may() -> None:
    assert _answer(_world("", permissive=frozenset({"web_t"})), BIND, 80) == PASSED


def test_a_bounded_type_may_no_more_than_the_type_that_bounds_it() -> None:
    rules = TCP + "web_t http_port_t tcp_socket name_bind;" + TCP.replace("web_t", "parent_t")
    bounds = {"web_t": "parent_t"}
    # The parent of a rule of the type on itself is one of the parent on the parent.
    assert _answer(_world(rules, bounds=bounds), BIND, 80) == REFUSED
    assert _answer(_world(rules + "parent_t http_port_t tcp_socket name_bind", bounds=bounds), BIND, 80) == PASSED


def test_a_socket_may_be_labelled_by_a_type_transition() -> None:
    transitions = {("web_t", "tcp_socket"): "web_socket_t"}
    trial = Trial("socket", (call("socket", V4, socket.SOCK_STREAM, 6),))
    assert _answer(_world(TCP, transitions=transitions), trial, 0) == "EACCES at call 1"
    assert _answer(_world("web_t web_socket_t tcp_socket create", transitions=transitions), trial, 0) == PASSED


def _inherited(context: str, rules: str, name: str) -> str:
    made = Socket(context, "tcp_socket", V4, socket.SOCK_STREAM, 6, opened_by="u:r:kernel_t:s0")
    world = World(_facts(rules), Kernel(), {"theirs": made})
    calls = {
        "listen": call("listen", Kept("theirs"), 1),
        "write": call("write", Kept("theirs"), 0, 0),
        "bind": call("bind", Kept("theirs"), Address("0.0.0.0", 80), 16),
    }
    return _answer(world, Trial(name, (calls[name],)), 0)


def test_an_inherited_socket_is_checked_against_its_maker() -> None:
    assert _inherited(OTHER, "", "listen") == "EACCES at call 1"
    assert _inherited(OTHER, "web_t other_t tcp_socket listen", "listen") == PASSED


def test_its_ports_are_those_of_its_maker() -> None:
    mine = "web_t other_t tcp_socket bind; web_t self capability net_bind_service;"
    theirs = "other_t http_port_t tcp_socket name_bind; other_t node_t tcp_socket node_bind"
    assert _inherited(OTHER, mine, "bind") == "EACCES at call 1"
    assert _inherited(OTHER, mine + theirs, "bind") == PASSED


def test_writing_through_its_descriptor_needs_the_descriptor() -> None:
    rules = "web_t other_t tcp_socket write;"
    assert _inherited(OTHER, rules, "write") == "EACCES at call 1"
    assert _inherited(OTHER, rules + "web_t kernel_t fd use", "write") == PASSED


def test_a_socket_of_the_kernel_itself_is_never_checked() -> None:
    assert _inherited("u:r:kernel_t:s0", "", "listen") == PASSED


def test_a_sweep_is_worked_out_by_stretches() -> None:
    world = _world(TCP + "web_t http_port_t tcp_socket name_bind")
    refused = Answer(1, errno.EACCES)
    assert world.answers(BIND, WEB, (Stretch(1, 1, OK),)) == (
        Stretch(1, 79, refused),
        Stretch(80, 80, OK),
        Stretch(81, 65534, refused),
        Stretch(65535, 65535, OK),
    )


def test_every_call_of_every_trial_has_a_rule() -> None:
    world = _world(TCP)
    for trial in trials.network_trials((range(1, 3),), (range(1, 3),)):
        assert list(world.checks(trial, WEB, 1)) is not None
