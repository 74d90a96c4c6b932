"""Ports: which type each number has, the kernel's way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from labelgen.network import PROTOCOLS
from labelgen.policy import Portcon

LAST_PORT = 65535


class Segment(NamedTuple):
    """A run of port numbers, both ends included, that one portcon (or the initial SID `port`) labels."""

    low: int
    high: int
    type: str
    context: str

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class PortTable:
    """The type of every port of every protocol."""

    def __init__(self, segments: dict[str, list[Segment]]) -> None:
        self.segments = segments

    @classmethod
    def of(cls, portcons: Iterable[Portcon], initial_type: str, initial_context: str) -> PortTable:
        """The table that the kernel looks up: the first portcon that matches, in the policy's order; without one,
        the initial SID `port` (security_port_sid, ss/services.c)."""
        cons = list(portcons)
        return cls(
            {
                protocol: list(_runs(_painted(cons, protocol), cons, initial_type, initial_context))
                for protocol in PROTOCOLS
            }
        )

    def within(self, protocol: str, low: int, high: int) -> Iterator[Segment]:
        """The segments of a range, cut to it."""
        for segment in self.segments[protocol]:
            if segment.high >= low and segment.low <= high:
                yield segment._replace(low=max(low, segment.low), high=min(high, segment.high))

    def of_type(self, protocol: str, port_type: str) -> list[Segment]:
        """The segments that have a type."""
        return [segment for segment in self.segments[protocol] if segment.type == port_type]


def _painted(cons: list[Portcon], protocol: str) -> list[int]:
    """For each port the number of the first portcon that covers it; -1 for none. Port 0 is never looked up."""
    first = [-1] * (LAST_PORT + 1)
    for number in range(len(cons) - 1, -1, -1):
        con = cons[number]
        if con.protocol == protocol:
            first[con.low : con.high + 1] = [number] * (con.high - con.low + 1)
    return first


def _runs(first: list[int], cons: list[Portcon], initial_type: str, initial_context: str) -> Iterator[Segment]:
    low = 1
    while low <= LAST_PORT:
        number = first[low]
        # To the end of this portcon's run: it may cover thousands of ports, or be cut by a narrower one.
        high = low
        while high < LAST_PORT and first[high + 1] == number:
            high += 1
        con = cons[number] if number >= 0 else None
        yield Segment(low, high, con.type if con else initial_type, con.context if con else initial_context)
        low = high + 1


def own_port_type(role: str, replaced: str = "") -> str:
    """The name of the port type of a role's own, or of one of several, in the place of the type `replaced`."""
    stem = replaced[: -len("_t")] if replaced.endswith("_t") else replaced
    return f"lxc_{role}_{stem or 'port'}_t"


def as_text(ranges: Iterable[tuple[int, int]]) -> str:
    """`80, 443, 8000-8010`: ranges in order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in joined)
