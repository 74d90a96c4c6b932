"""Reach: what a domain can do on the network, with the rules behind it.

It is made of the linked policy once and kept with the build, so that a question costs no second look at the policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from labelgen import conditions
from labelgen.access import Xperms
from labelgen.addresses import Addresses
from labelgen.conditions import Condition
from labelgen.network import (
    CAPABILITY_CLASSES,
    EPHEMERAL_PORTS,
    KERNEL_SOCKET_CLASSES,
    PRIVILEGED_PORTS_BELOW,
    PROTOCOLS,
    RAW,
    UNIX_SOCKETS,
    Protocol,
    asked_class,
)
from labelgen.policy import Guard, Policy, Rule
from labelgen.ports import PortTable, Ranges, Segment, as_text, joined

if TYPE_CHECKING:
    from labelgen.origins import Origins


# A catch-all type has hundreds of ranges.
MOST_RANGES = 12
LOWEST = "s0"  # the level that ports have


class Need(NamedTuple):
    """One permission that an action takes, on any one of the `targets`, and why; of a port or an address also its whole
    label, which constraints look at."""

    tclass: str
    perm: str
    targets: tuple[str, ...]
    why: str
    label: str = ""

    def __str__(self) -> str:
        return f"{' or '.join(self.targets)}:{self.tclass} {self.perm} ({self.why})"


# What to know of sending to a port without connecting first, as these protocols can.
_SENDING = {
    "udp": "udp destinations are not checked by port",
    "tcp": "this is TCP Fast Open; net.ipv4.tcp_fastopen=0 closes it",
}


class NetworkRule(NamedTuple):
    """A rule that grants network permissions: `targets` are types, for port types and nodes expanded; `attribute` is
    the one that it names, and empty where it names the domain itself."""

    tclass: str
    perms: frozenset[str]
    targets: frozenset[str]
    text: str
    guard: Optional[Guard]
    attribute: str = ""

    @property
    def condition(self) -> Condition:
        """When it is in force."""
        return True if self.guard is None else self.guard.condition

    def said_of(self, domain: str) -> str:
        """Its text, and how it means a domain."""
        return f"{self.text} ({domain} is in {self.attribute})" if self.attribute else self.text


@dataclass(frozen=True)
class NetworkRules:
    """Rules by what they grant. Those about attributes are the same for all domains that have these."""

    rules: tuple[NetworkRule, ...] = ()

    def __reduce__(self) -> Any:
        return NetworkRules, (self.rules,)  # without the index, which is made again where it is asked for

    @cached_property
    def granting(self) -> dict[tuple[str, str], list[NetworkRule]]:
        """(class, permission) -> the rules that grant it."""
        found: dict[tuple[str, str], list[NetworkRule]] = defaultdict(list)
        for rule in self.rules:
            for perm in rule.perms:
                found[rule.tclass, perm].append(rule)
        return dict(found)

    def to_json(self) -> list[Any]:
        """The rules for programs."""
        return [
            [
                rule.tclass,
                sorted(rule.perms),
                sorted(rule.targets),
                rule.text,
                None if rule.guard is None else [list(rule.guard.postfix), rule.guard.branch],
                rule.attribute,
            ]
            for rule in self.rules
        ]

    @classmethod
    def from_json(cls, data: Any) -> NetworkRules:
        """The rules kept by `to_json`."""
        rules = (
            NetworkRule(
                tclass,
                frozenset(perms),
                frozenset(targets),
                text,
                Guard(tuple(guard[0]), guard[1]) if guard else None,
                attribute,
            )
            for tclass, perms, targets, text, guard, attribute in data
        )
        return cls(tuple(rules))


class NetworkConstraint(NamedTuple):
    """A constraint on some permissions of a class."""

    tclass: str
    perms: tuple[str, ...]
    text: str


class Met(NamedTuple):
    """A need, when it is met, and the rules that meet it."""

    need: Need
    condition: Condition
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The answer to one question: when it can, what each need rests on, and what SELinux does not check."""

    domain: str
    question: str
    met: tuple[Met, ...]
    notes: tuple[str, ...] = ()

    @property
    def condition(self) -> Condition:
        """When every need is met."""
        result: Condition = True
        for met in self.met:
            result = conditions.both(result, met.condition)
        return result

    @property
    def yes(self) -> bool:
        """Whether it can in at least one setting of the booleans: a denial must hold in all."""
        return self.condition is not False

    def to_json(self) -> dict[str, Any]:
        """The answer for programs."""
        setting = conditions.smallest_setting(self.condition)
        return {
            "domain": self.domain,
            "question": self.question,
            "answer": self.yes,
            "booleans": setting or {},
            "needs": [
                {
                    "class": met.need.tclass,
                    "permission": met.need.perm,
                    "targets": list(met.need.targets),
                    "granted": met.condition is not False,
                    "rules": list(met.rules),
                }
                for met in self.met
            ],
            "notes": list(self.notes),
        }


@dataclass
class Reach:
    """What one domain can do on the network, by its own rules and by those of its attributes.

    extended: whether the policy has the capability extended_socket_class, without which the kernel asks about another
    class for some sockets; commands: of classes of its own sockets and a permission with commands (ioctl), those that a
    filter leaves; constraints: those on the network, which stand beside the rules for all domains.
    """

    domain: str
    addresses: Addresses
    own: NetworkRules
    shared: NetworkRules
    ports: PortTable
    extended: bool = True
    commands: Mapping[str, Ranges] = field(default_factory=dict)
    constraints: tuple[NetworkConstraint, ...] = ()
    _met: dict[Need, Met] = field(default_factory=dict, init=False, repr=False, compare=False)
    _usable: dict[tuple[str, str], list[Segment]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> Any:
        own = (self.domain, self.addresses, self.own, self.shared)
        return Reach, (*own, self.ports, self.extended, self.commands, self.constraints)

    @property
    def rules(self) -> tuple[NetworkRule, ...]:
        """All of them."""
        return (*self.own.rules, *self.shared.rules)

    def _granting(self, tclass: str, perm: str) -> list[NetworkRule]:
        key = (tclass, perm)
        return [*self.own.granting.get(key, ()), *self.shared.granting.get(key, ())]

    def met(self, need: Need) -> Met:
        """When a need is met, and by which rules."""
        if need not in self._met:
            found = [
                rule for rule in self._granting(need.tclass, need.perm) if not rule.targets.isdisjoint(need.targets)
            ]
            self._met[need] = Met(
                need,
                conditions.any_of(rule.condition for rule in found),
                tuple(rule.said_of(self.domain) for rule in found),
            )
        return self._met[need]

    def condition(self, needs: Iterable[Need]) -> Condition:
        """When all needs are met."""
        return Answer(self.domain, "", tuple(map(self.met, needs))).condition

    # -- what actions need

    def asked(self, protocol: str) -> str:
        """The class that the kernel asks about for a protocol."""
        return self.asked_of(PROTOCOLS[protocol].tclass)

    def asked_of(self, tclass: str) -> str:
        """The class that the kernel asks about for sockets of a class."""
        return asked_class(tclass, self.extended)

    def checks_connect(self, protocol: Protocol) -> bool:
        """Whether connecting is checked by port (selinux_socket_connect_helper goes by the class it asks about)."""
        return protocol.connect_is_checked_by_port and self.asked(protocol.name) == protocol.tclass

    def create_needs(self, tclass: str) -> Iterator[Need]:
        """What opening a socket takes (selinux_socket_create)."""
        asked = asked_class(tclass, self.extended)
        instead = "" if asked == tclass else f", which without extended_socket_class is asked for {tclass}"
        yield Need(asked, "create", (self.domain,), f"to open the socket{instead}")

    def bind_needs(
        self,
        protocol: str,
        port: int,
        unchecked: tuple[int, int] = EPHEMERAL_PORTS,
        privileged_below: int = PRIVILEGED_PORTS_BELOW,
    ) -> Iterator[Need]:
        """What binding a port takes (selinux_socket_bind) with these values of net.ipv4.ip_local_port_range and
        net.ipv4.ip_unprivileged_port_start."""
        tclass = self.asked(protocol)
        yield from self.create_needs(PROTOCOLS[protocol].tclass)
        yield Need(tclass, "bind", (self.domain,), "to bind it")
        yield Need(tclass, "node_bind", self.addresses.types, "to bind an address")
        if port < privileged_below or not unchecked[0] <= port <= unchecked[1]:
            yield self._on_port(tclass, "name_bind", protocol, port)
        if port < privileged_below:
            yield Need("capability", "net_bind_service", (self.domain,), f"for ports below {privileged_below}")

    def connect_needs(self, protocol: str, port: int) -> Iterator[Need]:
        """What connecting takes (selinux_socket_connect_helper)."""
        tclass = self.asked(protocol)
        yield from self.create_needs(PROTOCOLS[protocol].tclass)
        yield Need(tclass, "connect", (self.domain,), "to connect it")
        if self.checks_connect(PROTOCOLS[protocol]):
            yield self._on_port(tclass, "name_connect", protocol, port)

    def send_needs(self, protocol: str) -> Iterator[Need]:
        """What sending on a fresh socket takes (selinux_socket_sendmsg)."""
        tclass = self.asked(protocol)
        yield from self.create_needs(PROTOCOLS[protocol].tclass)
        yield Need(tclass, "write", (self.domain,), "to send on it")

    def _segment(self, protocol: str, port: int) -> Segment:
        return next(self.ports.within(protocol, port, port))

    def _on_port(self, tclass: str, perm: str, protocol: str, port: int) -> Need:
        segment = self._segment(protocol, port)
        return Need(tclass, perm, (segment.type,), f"the type of {protocol}/{port}", segment.context)

    # -- questions

    def can_bind(self, protocol: str, port: int) -> Answer:
        """Whether the domain can bind a port."""
        notes = [self._about(protocol, port)] + (
            [
                f"name_bind is not checked inside the ephemeral range ({EPHEMERAL_PORTS[0]}-{EPHEMERAL_PORTS[1]}, "
                "net.ipv4.ip_local_port_range)"
            ]
            if EPHEMERAL_PORTS[0] <= port <= EPHEMERAL_PORTS[1]
            else []
        )
        needs = list(self.bind_needs(protocol, port))
        asked = [need for need in needs if need.tclass != "capability" or self.met(need).condition is True]
        if asked != needs:
            notes.append(
                f"ports below {PRIVILEGED_PORTS_BELOW} also take the capability net_bind_service, which this role "
                "lacks, unless net.ipv4.ip_unprivileged_port_start is lower: Docker sets it to 0"
            )
        return self._answer(f"bind {protocol}/{port}", asked, [*notes, *self._raw()])

    def can_connect(self, protocol: str, port: int) -> Answer:
        """Whether the domain can connect to a port."""
        notes = [self._about(protocol, port)]
        if not self.checks_connect(PROTOCOLS[protocol]):
            notes.append(
                f"SELinux does not check {protocol} destinations by port; a domain that may write to a "
                f"{protocol} socket can send to any"
            )
        elif self.condition(self.send_needs(protocol)) is not False and protocol == "tcp":
            notes.append("TCP Fast Open goes round name_connect on some kernels; net.ipv4.tcp_fastopen=0 closes it")
        return self._answer(f"connect {protocol}/{port}", self.connect_needs(protocol, port), [*notes, *self._raw()])

    def _raw(self) -> Iterator[str]:
        if any(self.condition(self.create_needs(tclass)) is not False for tclass in RAW):
            yield "raw and packet sockets carry any protocol to any port, and this role may have them"

    def _about(self, protocol: str, port: int) -> str:
        """The type of a port, and every port that has it: they are granted together."""
        port_type, label = self._segment(protocol, port)[2:]
        segments = self.ports.of_type(protocol, port_type)
        ranges = as_text((segment.low, segment.high) for segment in segments[:MOST_RANGES])
        if len(segments) > MOST_RANGES:
            ranges += f" and {len(segments) - MOST_RANGES} more ranges"
        words = f"{protocol}/{port} has the type {port_type}, the type of {protocol} {ranges}"
        level = ":".join(label.split(":")[3:])
        if level in ("", LOWEST):
            return words
        return f"{words}, and the level {level}: a constraint may ask for its categories"

    def can_create(self, tclass: str) -> Answer:
        """Whether the domain can open a socket of a class."""
        return self._answer(f"create {tclass}", self.create_needs(tclass), ())

    def can_send(self, protocol: str, port: int) -> Answer:
        """Whether the domain can send to a port on a fresh socket (for tcp: with TCP Fast Open).

        Sending by SCTP makes an association first, as connecting does (selinux_sctp_bind_connect:
        SCTP_SENDMSG_CONNECT), and DCCP sends only where it is connected (dccp_sendmsg).
        """
        needs, note = list(self.send_needs(protocol)), _SENDING.get(protocol, f"who sends by {protocol} connects first")
        if protocol not in _SENDING:
            needs = list(dict.fromkeys((*self.connect_needs(protocol, port), *needs)))
        return self._answer(f"send {protocol}/{port}", needs, [note, *self._raw()])

    def _answer(self, question: str, needs: Iterable[Need], notes: Iterable[str]) -> Answer:
        return Answer(self.domain, question, tuple(map(self.met, needs)), tuple(notes))

    # -- summaries, at the booleans' worst

    def sockets(self) -> list[str]:
        """The classes of socket it can open."""
        return sorted({rule.tclass for rule in self.rules if "create" in rule.perms and self.domain in rule.targets})

    def openable(self) -> list[str]:
        """The classes of socket that the kernel tells apart and lets it open, whichever class it asks about."""
        asked = self.sockets()
        return sorted({*asked, *(name for name in KERNEL_SOCKET_CLASSES if self.asked_of(name) in asked)})

    def capabilities(self) -> list[str]:
        """Its network capabilities."""
        return sorted({perm for rule in self.rules if rule.tclass in CAPABILITY_CLASSES for perm in rule.perms})

    def bindable(self, protocol: str) -> list[Segment]:
        """The segments of ports whose type lets it bind them; the ephemeral range aside, which is nobody's."""
        return self._segments(protocol, "name_bind", ("create", "bind"))

    def connectable(self, protocol: str) -> list[Segment]:
        """The segments of ports it can connect to by their type."""
        if not self.checks_connect(PROTOCOLS[protocol]):
            return []
        return self._segments(protocol, "name_connect", ("create", "connect"))

    def _segments(self, protocol: str, perm: str, own: tuple[str, ...]) -> list[Segment]:
        if (protocol, perm) not in self._usable:
            self._usable[protocol, perm] = self._find_segments(protocol, perm, own)
        return self._usable[protocol, perm]

    def _find_segments(self, protocol: str, perm: str, own: tuple[str, ...]) -> list[Segment]:
        tclass = self.asked(protocol)
        if any(self.met(Need(tclass, name, (self.domain,), "")).condition is False for name in own):
            return []
        types = {target for rule in self._granting(tclass, perm) for target in rule.targets}
        return self.ports.of_types(protocol, types)

    def summary(self) -> dict[str, Any]:
        """The reach for people and programs: sockets, capabilities, ports by protocol."""
        return {
            "domain": self.domain,
            "sockets": self.sockets(),
            "capabilities": self.capabilities(),
            "bind": {
                name: as_text((s.low, s.high) for s in self.bindable(name)) for name in PROTOCOLS if self.bindable(name)
            },
            "connect": {
                name: as_text((s.low, s.high) for s in self.connectable(name))
                for name in PROTOCOLS
                if self.connectable(name)
            },
            "send_udp_anywhere": self.condition(self.send_needs("udp")) is not False,
        }


def reaches_to_json(
    reaches: Iterable[Reach], ports: PortTable, addresses: Addresses, constraints: Sequence[NetworkConstraint]
) -> dict[str, Any]:
    """The reach of domains for programs, and the ports, addresses and constraints, which all share. What several have
    by the same attributes is there once, under `shared`; each has the number of its own there."""
    shared: list[NetworkRules] = []
    domains = []
    for reach in reaches:
        if reach.shared not in shared:
            shared.append(reach.shared)
        domains.append(
            {
                "domain": reach.domain,
                "extended_sockets": reach.extended,
                "commands": reach.commands,
                "rules": reach.own.to_json(),
                "shared": shared.index(reach.shared),
            }
        )
    return {
        "ports": ports.segments,
        "addresses": addresses.to_json(),
        "constraints": constraints,
        "domains": domains,
        "shared": [rules.to_json() for rules in shared],
    }


def reaches_from_json(data: Any) -> list[Reach]:
    """The reach kept by `reaches_to_json`. Raises KeyError, TypeError, ValueError, AttributeError or IndexError where
    it is not that."""
    ports = PortTable({protocol: [Segment(*row) for row in rows] for protocol, rows in data["ports"].items()})
    addresses = Addresses.from_json(data["addresses"])
    constraints = tuple(NetworkConstraint(tclass, tuple(perms), text) for tclass, perms, text in data["constraints"])
    shared = [NetworkRules.from_json(rules) for rules in data["shared"]]
    return [
        Reach(
            item["domain"],
            addresses,
            NetworkRules.from_json(item["rules"]),
            shared[item["shared"]],
            ports,
            item["extended_sockets"],
            {what: [(low, high) for low, high in left] for what, left in item["commands"].items()},
            constraints,
        )
        for item in data["domains"]
    ]


class Reacher:
    """Makes the Reach of domains of one policy."""

    def __init__(self, policy: Policy, ports: PortTable, origins: Optional[Origins] = None) -> None:
        self.policy = policy
        self.origins = origins
        self.ports = ports
        self.network = policy.network
        self.addresses = Addresses.of(policy)
        self.constraints = tuple(sorted(self._constraints()))
        self._shared = cache(self._of_attributes)
        # Of one role it is asked more than once, and then no more.
        self.xperms = lru_cache(maxsize=64)(lambda domain: Xperms(policy, domain))

    def of(self, domain: str) -> Reach:
        """What a domain can do on the network, and its unix sockets."""
        own, shared = NetworkRules(tuple(self._network_rules(domain))), self._shared(self.policy.attributes_of[domain])
        commands = dict(self._commands(domain))
        more = (self.network.extended, commands, self.constraints)
        return Reach(domain, self.addresses, own, shared, self.ports, *more)

    def _constraints(self) -> Iterator[NetworkConstraint]:
        for constraint in self.policy.constraints:
            if constraint.tclass in self.network.classes and not constraint.kind.endswith("validatetrans"):
                perms = tuple(sorted(constraint.perms))
                yield NetworkConstraint(constraint.tclass, perms, constraint.text.strip())

    def _commands(self, domain: str) -> Iterator[tuple[str, Ranges]]:
        itself = self.policy.types[domain]
        for (tclass, perm, number), left in self.xperms(domain).filters.items():
            if number == itself and tclass in self.network.classes:
                yield f"{tclass} {perm}", _ranges(frozenset(left))

    def _of_attributes(self, names: tuple[str, ...]) -> NetworkRules:
        """What all domains have that are in these attributes."""
        rules = (rule._replace(attribute=name) for name in names for rule in self._network_rules(name))
        return NetworkRules(tuple(rules))

    def _network_rules(self, symbol: str) -> Iterator[NetworkRule]:
        """The rules about a type or an attribute."""
        for rule in self.policy.naming_source(symbol):
            if rule.kind != "allow" or (rule.guard is not None and rule.guard.condition is False):
                continue
            perms = self.network.of(rule.tclass, rule.perms)
            if rule.tclass in UNIX_SOCKETS and "create" in rule.perms:
                perms = frozenset({"create"})
            if perms:
                # The rest of what a linker made one rule of may be of other modules.
                text = f"{rule._replace(perms=perms)}{self._origin(rule, perms)}"
                yield NetworkRule(rule.tclass, perms, self._targets(rule), text, rule.guard)

    def _origin(self, rule: Rule, perms: Iterable[str]) -> str:
        return self.origins.said(rule, perms) if self.origins else ""

    def _targets(self, rule: Rule) -> frozenset[str]:
        return frozenset(self.policy.names(self.policy.bits[rule.target]))


@cache  # most roles have the same
def _ranges(numbers: frozenset[int]) -> Ranges:
    return joined((number, number) for number in numbers)


def port_table(policy: Policy) -> PortTable:
    """The type of every port in a policy."""
    return PortTable.of(policy.portcons, policy.initial_sids["port"], policy.initial_contexts["port"])
