"""The kernel's rules, one by one, on policies made up for each."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest

from labelgen.witness import packets, trials
from labelgen.witness.answers import OK, Answer, Stretch
from labelgen.witness.calls import Address, Call, Kept, Result, Text, Trial, call
from labelgen.witness.expect import File, Kernel, Letterbox, Socket, Thing, World, socket_class
from labelgen.witness.facts import Facts, PortLabel, node_label, type_of
from labelgen.witness.plan import HARDENED

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


# -- packets

ALWAYS, PEERS = frozenset({"always_check_network", "network_peer_controls"}), frozenset({"network_peer_controls"})
PACKETS = {
    **CLASSES,
    "udp_socket": SOCKETS | {"read"},
    "tcp_socket": SOCKETS | {"accept"},
    "icmp_socket": frozenset({"create", "write", "read"}),
    "packet": frozenset({"send", "recv"}),
    "netif": frozenset({"ingress", "egress"}),
    "node": frozenset({"sendto", "recvfrom"}),
    "peer": frozenset({"recv"}),
    "association": frozenset({"sendto", "recvfrom"}),
}
OUT = "{0} unlabeled_t packet send; {0} lo_t netif egress; {0} lo_node_t node sendto;"
IN = "{0} unlabeled_t packet recv; {0} unlabeled_t peer recv;"
FROM_NOBODY = "unlabeled_t lo_t netif ingress; unlabeled_t lo_node_t node recvfrom;"
KERNELS = OUT.format("kernel_t") + IN.format("kernel_t") + FROM_NOBODY
WEBS = OUT.format("web_t") + IN.format("web_t")
UDP = "web_t self udp_socket create write read;"


PORTS = packets.Ports({"tcp": (80,), "mptcp": (80,), "sctp": (80,), "dccp": ()}, {"tcp": (80,)})


def _packets(trial: Trial, rules: str, polcaps: frozenset[str] = ALWAYS, kernel: Kernel = ALL_CHECKED) -> str:
    """What a trial of packets comes to, between the domain and sockets of the kernel."""
    extended = polcaps | {"extended_socket_class"}
    facts = replace(
        _facts(rules),
        polcaps=extended,
        classes=PACKETS,
        nodes=(node_label("127.0.0.0", "255.0.0.0", "u:r:lo_node_t:s0"), node_label("::1", "::1", "u:r:lo_node_t:s0")),
        netifs={"lo": "u:r:lo_t:s0"},
        initial={name: f"u:r:{name}_t:s0" for name in ("kernel", "port", "node", "unlabeled", "netif")},
    )
    ends = (*packets.ends_of_clients(PORTS), *packets.ends_of_servers())
    kept = {end.name: end.socket(facts) for end in ends}
    return _answer(World(facts, kernel, kept), trial, 0)


def _datagram(family: int = V4) -> Trial:
    made = trials.TRANSPORTS["udp"].socket(family)
    return packets.exchange("udp", "udp", family, (made,), Result(0))


@pytest.mark.parametrize("family", [V4, V6])
def test_no_packet_is_checked_without_labels_and_without_the_policy_capability(family: int) -> None:
    assert _packets(_datagram(family), UDP, PEERS) == "ok"


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize(
    ("missing", "answer"),
    [
        ("web_t unlabeled_t packet send;", "ECONNREFUSED at call 2"),
        ("web_t lo_t netif egress;", "ECONNREFUSED at call 2"),
        ("web_t lo_node_t node sendto;", "ECONNREFUSED at call 2"),
        ("unlabeled_t lo_t netif ingress;", "EAGAIN at call 4"),
        ("unlabeled_t lo_node_t node recvfrom;", "EAGAIN at call 4"),
        ("kernel_t unlabeled_t peer recv;", "EAGAIN at call 4"),
        ("kernel_t unlabeled_t packet recv;", "EAGAIN at call 4"),
        ("kernel_t unlabeled_t packet send;", "ECONNREFUSED at call 5"),
        ("web_t unlabeled_t peer recv;", "EAGAIN at call 7"),
        ("web_t unlabeled_t packet recv;", "EAGAIN at call 7"),
        ("", "ok"),
    ],
)
def test_with_it_both_ends_of_a_datagram_are(missing: str, answer: str, family: int) -> None:
    rules = UDP + WEBS + KERNELS
    assert missing in rules
    assert _packets(_datagram(family), rules.replace(missing, "")) == answer


@pytest.mark.parametrize(
    ("missing", "answer"),
    [
        ("web_t unlabeled_t association sendto;", "ECONNREFUSED at call 2"),
        ("kernel_t unlabeled_t association recvfrom;", "EAGAIN at call 4"),
        ("web_t unlabeled_t association recvfrom;", "EAGAIN at call 7"),
        ("", "ok"),
    ],
)
def test_without_network_peer_controls_ipsec_is_asked_for_in_any_case(missing: str, answer: str) -> None:
    both = "{0} unlabeled_t association sendto; {0} unlabeled_t association recvfrom;"
    rules = UDP + both.format("web_t") + both.format("kernel_t")
    assert missing in rules
    assert _packets(_datagram(), rules.replace(missing, ""), frozenset()) == answer


DIAL = "web_t self tcp_socket create connect; web_t http_port_t tcp_socket name_connect;"
SERVE = (
    "web_t self tcp_socket create bind listen accept; web_t lo_node_t tcp_socket node_bind;"
    "web_t http_port_t tcp_socket name_bind; kernel_t http_port_t tcp_socket name_connect;"
)


def _of_tcp(rules: str, trials_: Iterable[Trial], name: str, kernel: Kernel = ALL_CHECKED) -> str:
    return _packets(next(trial for trial in trials_ if trial.name == name), rules, kernel=kernel)


@pytest.mark.parametrize(
    ("missing", "dialled", "served"),
    [
        ("web_t lo_t netif egress;", "ECONNREFUSED at call 2", "EAGAIN at call 7"),
        ("web_t unlabeled_t peer recv;", "EAGAIN at call 4", "EAGAIN at call 7"),
        ("kernel_t lo_t netif egress;", "EAGAIN at call 4", "ECONNREFUSED at call 5"),
        ("kernel_t unlabeled_t packet recv;", "EAGAIN at call 4", "EAGAIN at call 7"),
        ("", "ok", "ok"),
    ],
)
def test_a_connection_takes_packets_of_both(missing: str, dialled: str, served: str) -> None:
    rules = WEBS + KERNELS
    assert missing in rules
    left = rules.replace(missing, "")
    assert _of_tcp(DIAL + left, packets.client_trials(PORTS), "dial tcp ipv4 80") == dialled
    assert _of_tcp(SERVE + left, packets.server_trials(PORTS), "serve tcp ipv4 80") == served


def test_sctp_does_not_tell_that_its_first_packet_was_lost() -> None:
    rules = "web_t self sctp_socket create connect; web_t port_t sctp_socket name_connect;" + WEBS + KERNELS
    lost = rules.replace("web_t lo_t netif egress;", "")
    assert _of_tcp(rules, packets.client_trials(PORTS), "dial sctp ipv4 80") == "ok"
    assert _of_tcp(lost, packets.client_trials(PORTS), "dial sctp ipv4 80") == "EAGAIN at call 4"


@pytest.mark.parametrize(("labels", "answer"), [(True, "ECONNREFUSED at call 2"), (False, "ok")])
def test_older_kernels_label_the_packets_of_mptcp_as_their_own(labels: bool, answer: str) -> None:
    kernel = replace(ALL_CHECKED, labels_subflows=labels)
    assert _of_tcp(DIAL + KERNELS, packets.client_trials(PORTS), "dial mptcp ipv4 80", kernel) == answer


@pytest.mark.parametrize(("ip", "lost"), [("ipv4", "ECONNREFUSED at call 2"), ("ipv6", "EAGAIN at call 4")])
def test_an_echo_comes_from_the_kernel(ip: str, lost: str) -> None:
    rules, name = "web_t self icmp_socket create write read;" + WEBS + KERNELS, f"ping icmp {ip}"
    assert _of_tcp(rules, packets.client_trials(PORTS), name) == "ok"
    unsent = rules.replace("web_t unlabeled_t packet send;", "")
    assert _of_tcp(unsent, packets.client_trials(PORTS), name) == lost
    unanswered = rules.replace("kernel_t lo_node_t node sendto;", "")
    assert _of_tcp(unanswered, packets.client_trials(PORTS), name) == "EAGAIN at call 4"


# -- what others made


FILES = "u:object_r:files_t:s0"


def _on(kept: object, rules: str, calls: tuple[Call, ...], **changes: object) -> str:
    granted = replace(_facts(rules), classes={**CLASSES, **OBJECTS}, **changes)  # type: ignore[arg-type]
    world = World(granted, ALL_CHECKED, {"it": kept}, {"queue": "it"})
    return _answer(world, Trial("attempt", calls), 0)


OBJECTS = {
    "file": frozenset({"read", "write", "append", "open", "getattr", "map", "execute", "unlink", "link"}),
    "dir": frozenset({"search", "read", "write", "open", "add_name", "remove_name"}),
    "cap_userns": frozenset({"net_raw"}),
    "user_namespace": frozenset({"create"}),
}
OPENED = (call("openat", Kept("it"), Text("file"), 1 | 0o2000),)
SEARCH = "web_t files_t dir search;"


@pytest.mark.parametrize(
    ("rules", "answer"),
    [
        ("", "EACCES at call 1"),
        (SEARCH, "EACCES at call 1"),
        (SEARCH + "web_t files_t file write open", "EACCES at call 1"),
        (SEARCH + "web_t files_t file append", "ok"),
    ],
)
def test_a_file_opened_to_append_takes_append_and_not_write(rules: str, answer: str) -> None:
    assert _on(Thing(FILES, "dir"), rules, OPENED) == answer


def test_opening_is_asked_for_with_the_policy_capability_alone() -> None:
    rules, capability = SEARCH + "web_t files_t file append", frozenset({"open_perms"})
    assert _on(Thing(FILES, "dir"), rules, OPENED, polcaps=capability) == "EACCES at call 1"
    assert _on(Thing(FILES, "dir"), f"{rules} open", OPENED, polcaps=capability) == "ok"


def test_mapping_to_execute_takes_map_and_execute() -> None:
    calls = (call("openat", Kept("it"), Text("file"), 0), call("mmap", 0, 4096, 5, 2, Result(0), 0))
    assert _on(Thing(FILES, "dir"), SEARCH + "web_t files_t file read execute", calls) == "EACCES at call 2"
    assert _on(Thing(FILES, "dir"), SEARCH + "web_t files_t file read map execute", calls) == "ok"


def test_a_descriptor_that_may_not_be_had_is_left_out_of_the_message() -> None:
    letterbox, calls = Letterbox(File(FILES, "file", OTHER)), (call("receive", Kept("it")),)
    assert _on(letterbox, "web_t files_t file read write", calls) == "ENOMSG at call 1"
    assert _on(letterbox, "web_t other_t fd use; web_t files_t file read", calls) == "ENOMSG at call 1"
    assert _on(letterbox, "web_t other_t fd use; web_t files_t file read write", calls) == "ok"


def test_a_message_queue_is_a_file_in_a_folder_of_its_own() -> None:
    calls, queues = (call("mq_open", Text("queue"), 0, 0, 0),), "u:object_r:tmpfs_t:s0"
    assert _on(Thing(FILES, "file"), "web_t files_t file read", calls, queues=queues) == "EACCES at call 1"
    rules = "web_t files_t file read; web_t tmpfs_t dir search"
    assert _on(Thing(FILES, "file"), rules, calls, queues=queues) == "ok"


def test_the_label_of_a_queue_is_that_of_its_file_system_or_of_a_transition() -> None:
    facts = replace(_facts(""), queues="u:object_r:tmpfs_t:s0", queue_types={"other_t": "other_queue_t"})
    assert facts.queue("u:r:web_t:s0:c1-s0:c1,c2") == "u:object_r:tmpfs_t:s0:c1"
    assert facts.queue(OTHER) == "u:object_r:other_queue_t:s0"


def test_in_a_user_namespace_another_class_of_capabilities_is_asked_for() -> None:
    raw = call("socket", V4, socket.SOCK_RAW, 1)
    world = _world("web_t self rawip_socket create; web_t self cap_userns net_raw", classes={**CLASSES, **OBJECTS})
    assert _answer(world, Trial("raw", (raw,), userns=True), 0) == "ok"
    assert _answer(world, Trial("raw", (raw,)), 0) == "EPERM at call 1"


@pytest.mark.parametrize(("asks", "answer"), [(True, "EACCES at call 1"), (False, "ok")])
def test_making_a_user_namespace_is_asked_for_by_newer_kernels(asks: bool, answer: str) -> None:
    world = _world("", Kernel(asks_userns=asks), classes={**CLASSES, **OBJECTS})
    assert _answer(world, trials.unshare_trial(), 0) == answer


@pytest.mark.parametrize(
    ("release", "asks", "labels"),
    [
        ("6.1.176", True, False),
        ("5.10.0-30-amd64", False, False),
        ("6.0.1", False, False),
        ("6.4.0", True, True),
        ("7.0", True, True),
    ],
)
def test_which_kernels_do(release: str, asks: bool, labels: bool) -> None:
    kernel = HARDENED.kernel(True, release)
    assert (kernel.asks_userns, kernel.labels_subflows) == (asks, labels)
