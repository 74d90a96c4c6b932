"""What a policy says, as far as the kernel's rules need it, without saying who read the policy.

Two readers provide it: Reach, from which the claims are made, and libsepol (`labelgen.witness.judge`), which knows
nothing of the claims.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

from labelgen.network import EPHEMERAL_PORTS
from labelgen.witness.calls import Values, values

# Numbers of the protocols that the policy language labels ports of (IANA "Protocol Numbers").
PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}


class Access(Protocol):
    """Who may do what, every boolean at its default."""

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """Whether the context `source` has `perm` on `tclass` of the context `target`: rules, conditions and
        constraints.

        Class and permission are known to the policy.
        """


class PortLabel(NamedTuple):
    """A portcon."""

    protocol: int
    low: int
    high: int
    context: str


class NodeLabel(NamedTuple):
    """A nodecon: addresses that, masked, are `address`; both 4 or 16 bytes."""

    address: bytes
    mask: bytes
    context: str

    def covers(self, host: bytes) -> bool:
        """Whether `host`, 4 or 16 bytes, is one of its addresses (kernel: match_ipv6_addrmask, security_node_sid)."""
        return len(host) == len(self.mask) and all(h & m == a & m for h, m, a in zip(host, self.mask, self.address))


def node_label(address: str, mask: str, context: str) -> NodeLabel:
    """The nodecon of an address and a mask in their usual spelling."""
    return NodeLabel(ipaddress.ip_address(address).packed, ipaddress.ip_address(mask).packed, context)


@dataclass(frozen=True)
class Facts:
    """A linked policy. `transitions` maps (type, class) to the type that a socket of a domain gets by a
    type_transition of the domain on itself; `bounds` maps a type to the one that bounds it; `types` are all types;
    `netifs` maps a network interface to its context;
    `queues` is the context of the file system of POSIX message queues and `queue_types` maps a type to the one that the
    queues it makes get otherwise."""

    access: Access
    ports: tuple[PortLabel, ...]
    nodes: tuple[NodeLabel, ...]
    initial: Mapping[str, str]
    polcaps: frozenset[str]
    classes: Mapping[str, frozenset[str]]
    unknown_allowed: bool
    permissive: frozenset[str] = frozenset()
    bounds: Mapping[str, str] = field(default_factory=dict)
    transitions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    types: tuple[str, ...] = ()
    netifs: Mapping[str, str] = field(default_factory=dict)
    queues: str = ""
    queue_types: Mapping[str, str] = field(default_factory=dict)

    def queue(self, context: str) -> str:
        """The context of a POSIX message queue that a process labelled `context` makes: the user and the low level of
        its maker, the type of the file system or that of a type_transition (kernel: inode_doinit_with_dentry,
        SECURITY_FS_USE_TRANS). "" where the policy gives queues no label."""
        if not self.queues:
            return ""
        user, _, type_name, *level = context.split(":", 3)
        made = self.queue_types.get(type_name, type_of(self.queues))
        return ":".join((user, "object_r", made, *(text.partition("-")[0] for text in level)))

    def port(self, protocol: int, number: int) -> str:
        """The context of a port: the first portcon that has it (kernel: security_port_sid)."""
        key = (protocol, number)
        if key not in self._looked_up:
            covering = (p.context for p in self.ports if p.protocol == protocol and p.low <= number <= p.high)
            self._looked_up[key] = next(covering, self.initial["port"])
        return self._looked_up[key]

    @cached_property
    def _looked_up(self) -> dict[tuple[int, int], str]:
        return {}

    def node(self, host: bytes) -> str:
        """The context of an address: the first nodecon that has it (kernel: security_node_sid)."""
        return next((n.context for n in self.nodes if n.covers(host)), self.initial["node"])

    def netif(self, name: str) -> str:
        """The context of a network interface (kernel: security_netif_sid)."""
        return self.netifs.get(name, self.initial["netif"])

    @cached_property
    def borders(self) -> Mapping[int, frozenset[int]]:
        """Protocol -> the ports at which a stretch of equal labels may begin."""
        return {
            protocol: frozenset(edge for p in self.ports if p.protocol == protocol for edge in (p.low, p.high + 1))
            for protocol in PROTOCOL_NUMBERS.values()
        }


# Where the kernel itself begins to treat ports otherwise (net.ipv4.ip_unprivileged_port_start, ip_local_port_range).
_KERNELS_BORDERS = (1024, EPHEMERAL_PORTS[0], EPHEMERAL_PORTS[1] + 1)


def edges(facts: Facts) -> Values:
    """The first and the last port of each stretch of ports with the same labels, whatever the protocol."""
    labels = (edge for borders in facts.borders.values() for edge in borders if 0 < edge < 65536)
    starts = {1, *_KERNELS_BORDERS, *labels}
    return values({*starts, *(start - 1 for start in starts if start > 1), 65535})


def type_of(context: str) -> str:
    """The type of a context."""
    return context.split(":", 3)[2]


def with_type(context: str, type_name: str) -> str:
    """The context with another type."""
    user, role, _, *rest = context.split(":", 3)
    return ":".join((user, role, type_name, *rest))
