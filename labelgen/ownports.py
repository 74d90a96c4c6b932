"""Port types of a role's own: for numbers that only a catch-all type covers, so that just the declared is granted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from labelgen.network import PROTOCOLS
from labelgen.ports import PortTable, Segment
from labelgen.role import Network, Ports, Role

ACTIONS = ("bind", "connect")


class Run(NamedTuple):
    """Numbers of one catch-all type with which the role does the same: bind them, connect to them, or both."""

    protocol: str
    segment: Segment
    actions: tuple[str, ...]


@dataclass(frozen=True)
class OwnPortType:
    """A port type of the role's own. actions: what the role does with its numbers; replaces: the catch-all type that
    they have on the base, attributes: the attributes of that."""

    name: str
    replaces: str
    attributes: tuple[str, ...]
    actions: tuple[str, ...]
    portcons: tuple[tuple[str, Segment], ...]

    def covers(self, protocol: str, segment: Segment) -> bool:
        """Whether numbers of a segment have it."""
        return any(
            name == protocol and own.low <= segment.high and segment.low <= own.high for name, own in self.portcons
        )


def _declared(network: Network, protocol: str) -> list[tuple[str, Ports]]:
    ports = {"bind": network.bound(protocol), "connect": network.reached(protocol)}
    return [(action, port) for action in ACTIONS for port in ports[action] if isinstance(port, Ports)]


def runs(network: Network, table: PortTable, catch_all: Mapping[str, object]) -> Iterator[Run]:
    """The declared numbers that have a catch-all type in the table, cut where what is declared of them changes."""
    for protocol in PROTOCOLS:
        declared = _declared(network, protocol)
        edges = sorted({edge for _, port in declared for edge in (port.low, port.high + 1)})
        for low, following in zip(edges, edges[1:]):
            actions = tuple(action for action, port in declared if port.low <= low <= port.high)
            for segment in table.within(protocol, low, following - 1) if actions else ():
                if segment.type in catch_all:
                    yield Run(protocol, segment, actions)


def _alike(found: Sequence[Run]) -> list[list[Run]]:
    """The runs that can share a type: rules are for a protocol, so only those of one protocol must be kept apart."""
    kinds = {(run.protocol, run.actions) for run in found}
    if len(kinds) == len({protocol for protocol, _ in kinds}):
        return [list(found)]
    return [[run for run in found if run.actions == actions] for actions in sorted({run.actions for run in found})]


def _parts(run: Run, table: PortTable) -> tuple[Segment, ...]:
    """The portcons of a run. Of two for the same numbers a linker keeps one and says nothing, while a narrower one
    counts before a wider (measured with secilc 3.4): what may be all of a portcon of the base is said in two."""
    segment = run.segment
    if segment.low == segment.high or segment not in table.of_type(run.protocol, segment.type):
        return (segment,)
    return segment._replace(high=segment.low), segment._replace(low=segment.low + 1)


def own_port_types(
    role: Role, network: Optional[Network], table: PortTable, catch_all: Mapping[str, tuple[str, ...]]
) -> tuple[OwnPortType, ...]:
    """The port types that a role needs on a base with these ports and catch-all types (name -> its attributes).

    Where it needs several, the name of each says what it takes the place of and which of binding and connecting it is
    for alone.
    """
    found = list(runs(network, table, catch_all)) if network else []
    needed = sorted({run.segment.type for run in found})
    types = []
    for replaced in needed:
        groups = _alike([run for run in found if run.segment.type == replaced])
        for group in groups:
            actions = tuple(action for action in ACTIONS if any(action in run.actions for run in group))
            only = actions[0] if len(groups) > 1 and len(actions) == 1 else ""
            name = role.port_type(replaced if len(needed) > 1 else "", only)
            portcons = tuple((run.protocol, part) for run in sorted(group) for part in _parts(run, table))
            types.append(OwnPortType(name, replaced, catch_all[replaced], actions, portcons))
    return tuple(types)
