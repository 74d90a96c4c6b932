"""Port types of a role's own: each number that no service is known by can be used as declared, and no other way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from bases import BuiltRoles
from hypothesis import given
from hypothesis import strategies as st

from labelgen.ownports import OwnPortType, own_port_types
from labelgen.policy import Portcon
from labelgen.ports import PortTable
from labelgen.role import Role

# What a base has: two catch-all types, and a service among the numbers of one of them.
CATCH_ALL = {"hi_reserved_port_t": ("reserved_port_type",), "unreserved_port_t": ("unreserved_port_type",)}
CONTEXT = "system_u:object_r:any_t:s0"
TABLE = PortTable.of(
    [
        Portcon(protocol, low, high, name, CONTEXT)
        for protocol in ("tcp", "udp", "sctp", "dccp")
        for low, high, name in (
            (20, 22, "http_port_t"),
            (1, 30, "hi_reserved_port_t"),
            (31, 65535, "unreserved_port_t"),
        )
    ],
    "port_t",
    CONTEXT,
)
SERVICE = {20, 21, 22}


def role(bind: dict[str, list[str]], connect: dict[str, list[str]], name: str = "api") -> Role:
    return Role.model_validate({"name": name, "summary": "S.", "network": {"bind": bind, "connect": connect}})


def made(bind: dict[str, list[str]], connect: dict[str, list[str]]) -> tuple[OwnPortType, ...]:
    item = role(bind, connect)
    return own_port_types(item, item.declared_network, TABLE, CATCH_ALL)


def numbers(ports: Iterable[str]) -> set[int]:
    """The numbers of a list of a role file, read here once more."""
    ends = [(port.split("-")[0], port.split("-")[-1]) for port in ports]
    return {number for low, high in ends for number in range(int(low), int(high) + 1)}


@st.composite
def lists(draw: st.DrawFn) -> list[str]:
    """One to three ranges that do not overlap."""
    edges = sorted(draw(st.sets(st.integers(1, 45), min_size=2, max_size=6)))
    return [f"{low}-{high - 1}" for low, high in zip(edges[::2], edges[1::2])]


PORTS = st.dictionaries(st.sampled_from(["tcp", "sctp", "dccp"]), lists(), max_size=2)


@given(PORTS, PORTS)
def test_each_number_can_be_used_as_declared_and_in_no_other_way(
    bind: dict[str, list[str]], connect: dict[str, list[str]]
) -> None:
    """As the module grants it: a rule for each action and protocol, on the types of the numbers declared for that."""
    if not bind and not connect:
        return
    types = made(bind, connect)
    for protocol in ("tcp", "sctp", "dccp"):
        labelled = {
            number: own.name
            for own in types
            for name, segment in own.portcons
            if name == protocol
            for number in range(segment.low, segment.high + 1)
        }
        declared = {
            action: numbers(ports.get(protocol, [])) - SERVICE for action, ports in (("b", bind), ("c", connect))
        }
        assert set(labelled) == declared["b"] | declared["c"]
        for ports in declared.values():
            granted = {labelled[number] for number in ports}
            assert {number for number, name in labelled.items() if name in granted} == ports


@pytest.mark.parametrize("bind,connect", [({"tcp": ["40"]}, {}), ({}, {"tcp": ["40"]}), ({"tcp": ["40"]},) * 2])
def test_numbers_of_one_kind_have_one_type(bind: dict[str, list[str]], connect: dict[str, list[str]]) -> None:
    assert [own.name for own in made(bind, connect)] == ["lxc_api_port_t"]


def test_numbers_of_several_protocols_share_a_type_where_no_rule_tells_them_apart() -> None:
    """A rule about tcp_socket is about no other protocol's numbers."""
    assert [own.name for own in made({"tcp": ["40"]}, {"sctp": ["50"]})] == ["lxc_api_port_t"]


def test_each_kind_of_number_has_a_type_that_says_what_it_is_for() -> None:
    types = {own.name: own.actions for own in made({"tcp": ["40", "60"]}, {"tcp": ["50", "60"]})}
    assert types == {
        "lxc_api_bind_port_t": ("bind",),
        "lxc_api_connect_port_t": ("connect",),
        "lxc_api_port_t": ("bind", "connect"),
    }


def test_several_catch_alls_are_told_apart_as_before() -> None:
    names = [own.name for own in made({"tcp": ["10", "40"]}, {"tcp": ["50"]})]
    assert names == [
        "lxc_api_hi_reserved_port_t",
        "lxc_api_bind_unreserved_port_t",
        "lxc_api_connect_unreserved_port_t",
    ]


def test_port_t_means_no_service_whatever_a_policy_gives_to_ports_that_it_does_not_name(
    more_roles: BuiltRoles, tmp_path: Path
) -> None:
    label = "(system_u object_r {} ((s0) (s0)))"
    edits = [
        (f"(sidcontext port {label.format('port_t')})", f"(sidcontext port {label.format('unreserved_port_t')})"),
        (f"(portcon tcp (1 511) {label.format('reserved_port_t')})", f"(portcon tcp (1 511) {label.format('port_t')})"),
    ]
    nothing = tmp_path / "nothing.cil"
    nothing.write_text("; nothing\n")
    (ports,) = (
        module.ports for module in more_roles.again_on(edits, nothing, tmp_path).compiled if module.name == "lxc_odd"
    )
    assert ports
    assert f"(portcon tcp 79 {label.format('lxc_odd_port_t')})" in ports.read_text()


def test_all_of_what_one_portcon_of_the_base_names_is_told_in_two() -> None:
    (own,) = made({"tcp": ["31-65535"]}, {})
    assert [(segment.low, segment.high) for _, segment in own.portcons] == [(31, 31), (32, 65535)]
    (own,) = made({"tcp": ["31-65534"]}, {})
    assert [(segment.low, segment.high) for _, segment in own.portcons] == [(31, 65534)]


def test_all_numbers_of_a_protocol_are_the_roles_own(tmp_path: Path) -> None:
    """Each stretch of them is one portcon of the base."""
    roles, modules = tmp_path / "roles", tmp_path / "modules"
    roles.mkdir()
    modules.mkdir()
    (roles / "all.yaml").write_text(
        "name: all\nsummary: S.\nnetwork: {bind: {dccp: [1-65535]}, connect: {sctp: [1-511]}}\n"
    )
    built = BuiltRoles.build("reference", roles, modules)
    assert built.verify(built.link(tmp_path)).holds
