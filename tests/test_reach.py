"""Reach of rules made by hand: what each action takes (hooks.c), what an answer says besides, what is kept of it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Optional

import pytest

from labelgen.addresses import LAST, Addresses, Run
from labelgen.policy import Guard, Portcon
from labelgen.ports import PortTable
from labelgen.reach import (
    MOST_RANGES,
    NetworkConstraint,
    NetworkRule,
    NetworkRules,
    Reach,
    reaches_from_json,
    reaches_to_json,
)

PORTS = PortTable.of(
    [
        Portcon("tcp", 80, 80, "http_t", ""),
        Portcon("tcp", 8080, 8090, "http_t", ""),
        Portcon("udp", 53, 53, "dns_t", ""),
        *(Portcon("sctp", number, number, "many_t", "") for number in range(100, 100 + 2 * (MOST_RANGES + 2), 2)),
    ],
    "port_t",
    "",
)
ADDRESSES = Addresses(
    {4: (Run(0, 10, "node_t"), Run(11, LAST[4], "lo_t")), 6: (Run(0, LAST[6], "node_t"),)}, {"lo": "lo_if_t"}, "if_t"
)
OFF = Guard(("red",), False)


def rule(tclass: str, perms: str, target: str = "one_t", guard: Optional[Guard] = None) -> NetworkRule:
    return NetworkRule(
        tclass, frozenset(perms.split()), frozenset({target}), f"allow {target}:{tclass} {perms};", guard
    )


def reach(*rules: NetworkRule, extended: bool = True) -> Reach:
    return Reach("one_t", ADDRESSES, NetworkRules(rules), NetworkRules(), PORTS, extended)


def needs(found: object) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(need.tclass, need.perm, need.targets) for need in found]  # type: ignore[attr-defined]


OWN = ("one_t",)
CREATE, BIND = ("tcp_socket", "create", OWN), ("tcp_socket", "bind", OWN)
NODE = ("tcp_socket", "node_bind", ("lo_t", "node_t"))
CAPABILITY = ("capability", "net_bind_service", OWN)


@pytest.mark.parametrize(
    ("port", "more"),
    [
        (80, [("tcp_socket", "name_bind", ("http_t",)), CAPABILITY]),
        (1023, [("tcp_socket", "name_bind", ("port_t",)), CAPABILITY]),
        (1024, [("tcp_socket", "name_bind", ("port_t",))]),
        (8080, [("tcp_socket", "name_bind", ("http_t",))]),
        (32767, [("tcp_socket", "name_bind", ("port_t",))]),
        (32768, []),
        (60999, []),
        (61000, [("tcp_socket", "name_bind", ("port_t",))]),
    ],
)
def test_what_binding_takes_depends_on_the_range(port: int, more: list[tuple[str, str, tuple[str, ...]]]) -> None:
    """selinux_socket_bind: name_bind is asked below the privileged ports and outside of the local ones."""
    assert needs(reach().bind_needs("tcp", port)) == [CREATE, BIND, NODE, *more]
    notes = " ".join(reach().can_bind("tcp", port).notes)
    assert ("not checked inside the ephemeral range" in notes) == (32768 <= port <= 60999)


def test_other_ranges_of_a_container_are_asked_about_as_they_are() -> None:
    name = ("tcp_socket", "name_bind", ("port_t",))
    assert needs(reach().bind_needs("tcp", 500, (400, 600), 1024)) == [CREATE, BIND, NODE, name, CAPABILITY]
    assert needs(reach().bind_needs("tcp", 500, (400, 600), 0)) == [CREATE, BIND, NODE]
    assert needs(reach().bind_needs("tcp", 40000, (65535, 65535))) == [CREATE, BIND, NODE, name]


def test_what_connecting_takes_depends_on_the_protocol() -> None:
    """selinux_socket_connect_helper: name_connect is asked of tcp, dccp and sctp sockets alone."""
    name = ("tcp_socket", "name_connect", ("http_t",))
    assert needs(reach().connect_needs("tcp", 80)) == [CREATE, ("tcp_socket", "connect", OWN), name]
    for protocol in ("sctp", "dccp"):
        assert needs(reach().connect_needs(protocol, 9))[-1] == (f"{protocol}_socket", "name_connect", ("port_t",))
    udp = [("udp_socket", "create", OWN), ("udp_socket", "connect", OWN)]
    assert needs(reach().connect_needs("udp", 53)) == udp
    assert needs(reach().send_needs("udp")) == [udp[0], ("udp_socket", "write", OWN)]


def test_without_extended_sockets_another_class_is_asked_about() -> None:
    """socket_type_to_security_class: sctp is rawip_socket then, so that no port is asked about."""
    old, new = reach(extended=False), reach()
    assert needs(old.connect_needs("sctp", 9)) == [("rawip_socket", "create", OWN), ("rawip_socket", "connect", OWN)]
    (create,) = old.create_needs("bluetooth_socket")
    assert (create.tclass, "asked for bluetooth_socket" in create.why) == ("socket", True)
    (create,) = new.create_needs("bluetooth_socket")
    assert (create.tclass, create.why) == ("bluetooth_socket", "to open the socket")
    may = (rule("rawip_socket", "create connect"), rule("sctp_socket", "name_connect", "many_t"))
    assert reach(*may, extended=False).connectable("sctp") == []


def test_an_answer_is_yes_where_every_need_is_met_in_some_setting() -> None:
    may = [rule("tcp_socket", "create bind"), rule("tcp_socket", "node_bind", "node_t")]
    name = rule("tcp_socket", "name_bind", "http_t", OFF)
    answer = reach(*may, name).can_bind("tcp", 8080)
    assert answer.yes
    said = answer.to_json()
    assert (said["answer"], said["booleans"]) == (True, {"red": False})
    assert [need["granted"] for need in said["needs"]] == [True] * 4
    assert said["needs"][3]["rules"] == ["allow http_t:tcp_socket name_bind;"]
    for place in range(3):
        assert not reach(*(r for n, r in enumerate([*may, name]) if n != place)).can_bind("tcp", 8080).yes
    without = reach(*may).can_bind("tcp", 8080).to_json()
    assert (without["answer"], without["booleans"], without["needs"][3]["granted"]) == (False, {}, False)


def test_a_port_that_a_sysctl_may_make_unprivileged_is_not_denied_for_the_capability_alone() -> None:
    """inet_bind asks for net_bind_service below net.ipv4.ip_unprivileged_port_start, which engines set to 0."""
    may = [rule("tcp_socket", "create bind"), rule("tcp_socket", "node_bind", "node_t")]
    may.append(rule("tcp_socket", "name_bind", "http_t"))
    capable = rule("capability", "net_bind_service")
    for rules, words in ((may, True), ([*may, capable], False)):
        answer = reach(*rules).can_bind("tcp", 80)
        assert answer.yes
        assert any("ip_unprivileged_port_start" in note for note in answer.notes) == words
    assert not reach(*may[:2], capable).can_bind("tcp", 80).yes
    assert not any("ip_unprivileged_port_start" in note for note in reach(*may).can_bind("tcp", 8080).notes)


def test_an_answer_says_what_is_not_checked() -> None:
    may = [rule(f"{protocol}_socket", "create connect write") for protocol in ("tcp", "udp")]
    open_, closed = reach(*may), reach(may[0]._replace(perms=frozenset({"create", "connect"})))
    assert any("TCP Fast Open goes round" in note for note in open_.can_connect("tcp", 80).notes)
    assert not any("Fast Open" in note for note in closed.can_connect("tcp", 80).notes)
    assert any("does not check udp destinations" in note for note in open_.can_connect("udp", 53).notes)
    assert not any("destinations" in note for note in open_.can_connect("tcp", 80).notes)
    assert open_.can_send("udp", 53).notes == ("udp destinations are not checked by port",)
    assert "TCP Fast Open" in open_.can_send("tcp", 80).notes[0]


@pytest.mark.parametrize("protocol", ["sctp", "dccp"])
def test_who_sends_by_an_association_connects_first(protocol: str) -> None:
    """sctp_sendmsg_new_asoc asks as connect does (net/sctp/socket.c), and dccp_sendmsg only sends when connected."""
    tclass = f"{protocol}_socket"
    name = rule(tclass, "name_connect", "port_t")
    for perms, yes in (("create connect write", True), ("create write", False), ("create connect", False)):
        assert reach(rule(tclass, perms), name).can_send(protocol, 9).yes == yes
    answer = reach(rule(tclass, "create connect write")).can_send(protocol, 9)
    assert not answer.yes
    assert answer.notes == (f"who sends by {protocol} connects first",)


@pytest.mark.parametrize("tclass", ["rawip_socket", "packet_socket"])
def test_an_answer_says_what_goes_round_all_ports(tclass: str) -> None:
    for answer in (
        reach(rule(tclass, "create")).can_bind("tcp", 80),
        reach(rule(tclass, "create")).can_connect("tcp", 80),
        reach(rule(tclass, "create")).can_send("udp", 53),
    ):
        assert any("raw and packet sockets carry any protocol" in note for note in answer.notes)
    assert not any("raw and packet" in note for note in reach(rule(tclass, "read")).can_bind("tcp", 80).notes)


def test_an_answer_names_all_ports_of_the_type_as_far_as_they_fit() -> None:
    assert reach().can_bind("tcp", 80).notes[0] == "tcp/80 has the type http_t, the type of tcp 80, 8080-8090"
    assert "and 2 more ranges" in reach().can_bind("sctp", 100).notes[0]
    assert "more ranges" not in reach().can_bind("tcp", 80).notes[0]


def test_an_answer_says_of_a_port_with_another_level_that_a_constraint_may_ask_for_it() -> None:
    cons = [Portcon("tcp", port, port, "http_t", f"u:r:http_t:{level}") for port, level in ((80, "s0:c5"), (81, "s0"))]
    found = Reach("one_t", ADDRESSES, NetworkRules(), NetworkRules(), PortTable.of(cons, "port_t", "u:r:port_t:s0"))
    assert "s0:c5" in found.can_bind("tcp", 80).notes[0]
    assert [need.label for need in found.bind_needs("tcp", 80) if need.perm == "name_bind"] == ["u:r:http_t:s0:c5"]
    assert found.can_bind("tcp", 81).notes[0].endswith("the type of tcp 80-81")


def test_the_summary_is_what_sockets_ports_and_capabilities_it_has() -> None:
    found = reach(
        rule("tcp_socket", "create bind connect"),
        rule("tcp_socket", "name_bind", "http_t", OFF),
        rule("tcp_socket", "name_connect", "port_t"),
        rule("udp_socket", "create write"),
        rule("udp_socket", "name_bind", "dns_t"),
        rule("packet_socket", "create", "other_t"),
        rule("capability", "net_raw"),
        rule("cap_userns", "net_admin"),
    ).summary()
    assert found["sockets"] == ["tcp_socket", "udp_socket"]
    assert found["capabilities"] == ["net_admin", "net_raw"]
    assert found["bind"] == {"tcp": "80, 8080-8090"}
    assert found["connect"] == {"tcp": "1-79, 81-8079, 8091-65535"}
    assert found["send_udp_anywhere"] is True
    assert reach(rule("udp_socket", "create")).summary()["send_udp_anywhere"] is False


def test_what_is_kept_of_a_reach_is_the_same_reach() -> None:
    one = reach(rule("tcp_socket", "create"), rule("tcp_socket", "name_bind", "http_t", OFF), extended=False)
    one = replace(one, commands={"tcp_socket ioctl": [(0x5401, 0x5452), (0x8900, 0x8900)]})
    one = replace(one, constraints=(NetworkConstraint("peer", ("recv",), "constrain peer recv (t1 == t2);"),))
    shared = [
        NetworkRules((rule("udp_socket", perm)._replace(attribute="all"),)) for perm in ("create", "write", "create")
    ]
    found = [one, *(replace(one, domain=f"{number}_t", shared=rules) for number, rules in enumerate(shared))]
    kept = json.loads(json.dumps(reaches_to_json(found, PORTS, ADDRESSES, one.constraints)))
    read = reaches_from_json(kept)
    assert [replace(each, ports=PORTS) for each in read] == found
    assert all(each.ports.segments == PORTS.segments for each in read)
    assert len(kept["shared"]) == 3
    again = pickle.loads(pickle.dumps(found))
    assert [replace(each, ports=PORTS) for each in again] == found
    assert len(again[1].own.granting) == 2


def test_a_rule_about_an_attribute_is_said_with_it() -> None:
    through = replace(reach(), shared=NetworkRules((rule("tcp_socket", "create")._replace(attribute="all"),)))
    assert through.can_create("tcp_socket").met[0].rules == ("allow one_t:tcp_socket create; (one_t is in all)",)
