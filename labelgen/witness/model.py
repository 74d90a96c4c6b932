"""The policy as labelgen itself reads it, put to the kernel: Reach for the network, the rules added up for the rest.

`labelgen.witness.judge` reads the same policy with libsepol. What the kernel answers is held against both.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Optional

from labelgen import conditions
from labelgen.access import Access, Grants
from labelgen.conditions import Condition
from labelgen.constraints import Constraints, Context, Level
from labelgen.network import CAPABILITY_CLASSES, NETWORK_CAPABILITIES
from labelgen.policy import Policy
from labelgen.reach import Need, Reach, Reacher, port_table
from labelgen.witness.calls import Address, Query
from labelgen.witness.expect import SOCK_PACKET, Kernel, World, socket_class
from labelgen.witness.facts import PROTOCOL_NUMBERS, Facts, PortLabel, type_of


class Model:
    """Who may do what as the claims see it: Reach, the rules added up, the constraints, every boolean at its
    default."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.reacher = Reacher(policy, port_table(policy))
        self._access = Access(policy)
        self._constraints = Constraints(policy)
        self._reaches: dict[str, Reach] = {}
        self._grants: dict[str, Grants] = {}
        self._contexts: dict[str, Context] = {}

    def reach(self, domain: str) -> Reach:
        """The reach of a domain."""
        if domain not in self._reaches:
            self._reaches[domain] = self.reacher.of(domain)
        return self._reaches[domain]

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """Whether rules and constraints grant `perm` between two contexts."""
        granted = self._condition(type_of(source), type_of(target), tclass, perm)
        if not conditions.holds(granted, self.policy.booleans):
            return False
        return not self._constraints.refusing(self._context(source), self._context(target), tclass, perm)

    def _condition(self, source: str, target: str, tclass: str, perm: str) -> Condition:
        if tclass in self.policy.network.classes or (tclass in CAPABILITY_CLASSES and perm in NETWORK_CAPABILITIES):
            return self.reach(source).met(Need(tclass, perm, (target,), "")).condition
        if source not in self._grants:
            self._grants[source] = self._access.outgoing(source)
        return self._grants[source].condition((tclass, perm), self.policy.bits[target])

    def _context(self, text: str) -> Context:
        if text not in self._contexts:
            user, selinux_role, type_name, *level = text.split(":", 3)
            low, high = self.policy.levels(level[0]) if level else ((0, frozenset()), (0, frozenset()))
            self._contexts[text] = Context(user, selinux_role, type_name, Level(*low), Level(*high))
        return self._contexts[text]

    @cached_property
    def ports(self) -> tuple[PortLabel, ...]:
        """The labels of the ports as Reach sees them."""
        segments = self.reacher.ports.segments
        return tuple(
            PortLabel(PROTOCOL_NUMBERS[protocol], segment.low, segment.high, segment.context)
            for protocol in segments
            for segment in segments[protocol]
        )

    def facts(self, judged: Facts) -> Facts:
        """What the policy says, as labelgen reads it; `judged` is the same as libsepol and setools read it, for what
        labelgen does not look at: addresses, initial SIDs, labels of new sockets."""
        return replace(
            judged,
            access=self,
            ports=self.ports,
            polcaps=self.policy.polcaps,
            classes=self.policy.classes,
            unknown_allowed=self.policy.handle_unknown == "allow",
            permissive=frozenset(self.policy.permissive),
            bounds=self.policy.bounds,
        )


def _needs(reach: Reach, query: Query, value: int, kernel: Kernel) -> Iterator[Need]:
    protocol = query.protocol
    if query.action == "create":
        family = socket.AF_PACKET if query.type == SOCK_PACKET and query.family == socket.AF_INET else query.family
        yield from reach.create_needs(socket_class(family, query.type, value, extended=True))
    elif query.action == "bind":
        yield from reach.bind_needs(protocol, value, kernel.local_ports, kernel.unprivileged_from)
    elif query.action == "connect":
        yield from reach.connect_needs(protocol, value)
    else:
        yield from reach.send_needs(protocol)
        if query.action == "fastopen" and kernel.fast_open_checked:
            yield from reach.connect_needs(protocol, value)


def _target(world: World, label: str, need: Need, query: Query, value: int) -> str:
    """The context on which a need has to be met: Reach names types, and of the addresses all that there are."""
    if need.perm in ("name_bind", "name_connect"):
        return world.facts.port(PROTOCOL_NUMBERS[query.protocol], value)
    if need.perm == "node_bind":
        address = Address(query.host)
        return world.facts.node(address.packed_host)
    return label


@dataclass(frozen=True)
class Asked:
    """Reach's own answers to what the trials try. `world` is the policy as the model reads it, in the kernel that was
    asked."""

    model: Model
    world: World

    def missing(self, query: Query, label: str, value: int) -> Optional[Need]:
        """The first thing that the domain `label` lacks, as Reach sees it; None where it may."""
        reach = self.model.reach(type_of(label))
        for need in _needs(reach, query, value, self.world.kernel):
            target = _target(self.world, label, need, query, value)
            known = type_of(target) in need.targets
            if not known or not self.world.allows(label, target, need.tclass, need.perm):
                return need
        return None
