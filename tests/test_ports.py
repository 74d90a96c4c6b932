"""The table of ports says of each port what the kernel's own look-up says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labelgen.policy import Portcon
from labelgen.ports import LAST_PORT, PortTable, Segment, as_text, own_port_type_names

EDGES = st.one_of(st.integers(0, 30), st.sampled_from([1, 2, 1023, 1024, LAST_PORT - 1, LAST_PORT]))
RANGES = st.tuples(EDGES, EDGES).map(sorted)
PROTOCOL = st.sampled_from(["tcp", "udp"])
PORTCONS = st.lists(st.tuples(PROTOCOL, RANGES, st.sampled_from("abcd")), max_size=12)


def looked_up(cons: list[Portcon], protocol: str, port: int) -> str:
    """security_port_sid (ss/services.c): the first in the list that has the protocol and the port in its range."""
    return next((con.type for con in cons if con.protocol == protocol and con.low <= port <= con.high), "initial_t")


def table(made: list[tuple[str, list[int], str]]) -> tuple[list[Portcon], PortTable]:
    cons = [Portcon(protocol, low, high, f"{name}_t", f"context of {name}") for protocol, (low, high), name in made]
    return cons, PortTable.of(cons, "initial_t", "context of initial")


@given(PORTCONS)
def test_every_port_has_the_type_that_the_kernel_finds(made: list[tuple[str, list[int], str]]) -> None:
    cons, ports = table(made)
    asked = {1, 1023, 1024, LAST_PORT} | {edge + step for con in cons for edge in con[1:3] for step in (-1, 0, 1)}
    for protocol in ("tcp", "udp", "sctp"):
        for port in sorted(port for port in asked if 1 <= port <= LAST_PORT):
            (segment,) = ports.within(protocol, port, port)
            assert (segment.low, segment.high, segment.type) == (port, port, looked_up(cons, protocol, port))
            assert segment.context == f"context of {segment.type[: -len('_t')]}"


@given(PORTCONS, RANGES)
def test_a_range_is_cut_into_segments_without_a_gap(made: list[tuple[str, list[int], str]], asked: list[int]) -> None:
    cons, ports = table(made)
    low, high = max(1, asked[0]), max(1, asked[1])
    found = list(ports.within("tcp", low, high))
    assert (found[0].low, found[-1].high) == (low, high)
    assert all(one.high + 1 == other.low for one, other in zip(found, found[1:]))
    for segment in found:
        assert {looked_up(cons, "tcp", port) for port in (segment.low, segment.high)} == {segment.type}


@given(PORTCONS)
def test_the_segments_of_types_are_all_that_have_them_in_order(made: list[tuple[str, list[int], str]]) -> None:
    _, ports = table(made)
    wanted = [segment for segment in ports.segments["tcp"] if segment.type in ("a_t", "initial_t")]
    assert ports.of_types("tcp", ["initial_t", "a_t", "a_t", "nobodys_t"]) == wanted
    assert ports.of_type("tcp", "a_t") == [segment for segment in wanted if segment.type == "a_t"]


def test_a_segment_is_written_as_a_number_or_a_range() -> None:
    assert [str(Segment(80, high, "http_t", "")) for high in (80, 90)] == ["80", "80-90"]


@given(st.lists(RANGES, max_size=6))
def test_ranges_are_written_in_order_with_neighbours_joined(ranges: list[list[int]]) -> None:
    text = as_text((low, high) for low, high in ranges)
    written = [tuple(map(int, part.split("-"))) for part in text.split(", ") if part]
    assert all(len(part) == 1 or part[0] < part[1] for part in written)
    assert all(one[-1] + 1 < other[0] for one, other in zip(written, written[1:]))
    assert {n for part in written for n in range(part[0], part[-1] + 1)} == {
        n for low, high in ranges for n in range(low, high + 1)
    }


def test_the_names_of_a_roles_own_port_types() -> None:
    """For its only one, for one in the place of another type, and for binding or connecting only."""
    assert own_port_type_names("web", ["hi_port_t"]) == {
        *("lxc_web_port_t", "lxc_web_bind_port_t", "lxc_web_connect_port_t"),
        *("lxc_web_hi_port_t", "lxc_web_bind_hi_port_t", "lxc_web_connect_hi_port_t"),
    }
