"""Ports: which type each number has, the kernel's way."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from heapq import heappop, heappush
from typing import NamedTuple

from labelgen.network import PROTOCOLS
from labelgen.policy import Portcon

LAST_PORT = 65535

Ranges = list[tuple[int, int]]


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

    def __init__(self, segments: Mapping[str, Sequence[Segment]]) -> None:
        self.segments = segments

    @classmethod
    def of(cls, portcons: Iterable[Portcon], initial_type: str, initial_context: str) -> PortTable:
        """The table that the kernel looks up: the first portcon that matches, in the policy's order; without one,
        the initial SID `port` (security_port_sid, ss/services.c)."""
        cons = list(portcons)
        return cls(
            {
                protocol: list(
                    _segments([con for con in cons if con.protocol == protocol], initial_type, initial_context)
                )
                for protocol in PROTOCOLS
            }
        )

    def within(self, protocol: str, low: int, high: int) -> Iterator[Segment]:
        """The segments of a range, cut to it."""
        segments = self.segments[protocol]
        place = max(0, bisect_right(self._lows[protocol], low) - 1)
        while place < len(segments) and segments[place].low <= high:
            segment = segments[place]
            if segment.high >= low:
                yield segment._replace(low=max(low, segment.low), high=min(high, segment.high))
            place += 1

    @cached_property
    def _lows(self) -> dict[str, list[int]]:
        return {protocol: [segment.low for segment in segments] for protocol, segments in self.segments.items()}

    @cached_property
    def _by_type(self) -> dict[str, dict[str, list[Segment]]]:
        found: dict[str, dict[str, list[Segment]]] = {protocol: {} for protocol in self.segments}
        for protocol, segments in self.segments.items():
            for segment in segments:
                found[protocol].setdefault(segment.type, []).append(segment)
        return found

    def of_type(self, protocol: str, port_type: str) -> list[Segment]:
        """The segments that have a type."""
        return list(self._by_type[protocol].get(port_type, ()))

    def of_types(self, protocol: str, port_types: Iterable[str]) -> list[Segment]:
        """The segments that have one of the types, in order."""
        return sorted(segment for port_type in set(port_types) for segment in self.of_type(protocol, port_type))


def runs(ranges: Sequence[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """The runs of numbers from `first` to `last` that the same range holds: of those that hold a number the first in
    order, which is what the kernel finds. Yields the ends of each, both included, and the place of its range; -1 where
    no range holds it."""
    starts = sorted((low, place) for place, (low, _) in enumerate(ranges))
    edges = sorted({first, *(edge for low, high in ranges for edge in (low, high + 1) if first < edge <= last)})
    covering: list[int] = []
    found: list[tuple[int, int]] = []
    taken = 0
    for edge in edges:
        while taken < len(starts) and starts[taken][0] <= edge:
            heappush(covering, starts[taken][1])
            taken += 1
        while covering and ranges[covering[0]][1] < edge:
            heappop(covering)
        place = covering[0] if covering else -1
        if not found or found[-1][1] != place:
            found.append((edge, place))
    for (low, place), (following, _) in zip(found, [*found[1:], (last + 1, 0)]):
        yield low, following - 1, place


def _segments(cons: Sequence[Portcon], initial_type: str, initial_context: str) -> Iterator[Segment]:
    """What labels the ports of one protocol. Port 0 is never looked up."""
    for low, high, place in runs([(con.low, con.high) for con in cons], 1, LAST_PORT):
        found = (cons[place].type, cons[place].context) if place >= 0 else (initial_type, initial_context)
        yield Segment(low, high, *found)


def own_port_type(role: str, replaced: str = "", only: str = "") -> str:
    """The name of the port type of a role's own; of one of several, in the place of the type `replaced`, and for `bind`
    or `connect` only."""
    stem = replaced[: -len("_t")] if replaced.endswith("_t") else replaced
    return "_".join(filter(None, ("lxc", role, only, stem or "port", "t")))


def own_port_type_names(role: str, replaced: Iterable[str]) -> set[str]:
    """Every name that a port type of a role's own may have, where the types `replaced` are those it may stand for."""
    return {own_port_type(role, name, only) for name in ("", *replaced) for only in ("", "bind", "connect")}


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in order, neighbours joined."""
    found: Ranges = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def without(ranges: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> Ranges:
    """The numbers of the `ranges` that no other range holds."""
    gone, found = joined(others), []
    for low, high in joined(ranges):
        rest = low
        for start, end in gone:
            if end < rest or start > high:
                continue
            if start > rest:
                found.append((rest, start - 1))
            rest = end + 1
        if rest <= high:
            found.append((rest, high))
    return found


def as_text(ranges: Iterable[tuple[int, int]]) -> str:
    """`80, 443, 8000-8010`: ranges in order, neighbours joined."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in joined(ranges))


def of_text(text: str) -> list[tuple[int, int]]:
    """The ranges that `as_text` wrote. Raises ValueError for anything else."""
    ends = (part.split("-") for part in text.split(", "))
    return [(int(part[0]), int(part[-1])) for part in ends]
