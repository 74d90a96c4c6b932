"""The claims of a role, checked on the linked policy.

Each claim is a function that yields findings; a claim without findings holds. A denial is checked with the booleans
at their worst, a grant at their least.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Callable, Optional, Union

from labelgen import atworst, conditions, hidden, labelling, labels, refused
from labelgen.access import Access, Grants, Key, Xperms
from labelgen.conditions import Condition
from labelgen.constraints import (
    FILES,
    OBJECT,
    ONE,
    PROCESSES,
    TWO,
    Constraints,
    Context,
    Parties,
    confined,
    confined_beside,
    ranged,
)
from labelgen.derivation import DOMAIN, FILE_TYPE, resolve_parent
from labelgen.filecontexts import FileContext, FileContexts
from labelgen.kin import Kin, acting_beyond, beyond, condition_of, given, opened_beyond, together
from labelgen.modules import FILE_ACCESS
from labelgen.network import (
    CAPABILITY_CLASSES,
    CATCH_ALL_PORT_TYPES,
    ICMP,
    INFINIBAND,
    LABELLED_NETWORKING,
    LEADING,
    NEWER,
    PROTOCOLS,
    RAW,
    READ_ROUTES,
    ROUTES,
    SERVE,
    SOCKET_USE,
    TALKS,
    Protocol,
    asked_of_packets,
    netlink_class,
    not_defined,
    unknown_permissions,
)
from labelgen.origins import Origins
from labelgen.policy import FILE_CLASSES, Constraint, Policy, members
from labelgen.ports import PortTable, Segment, own_port_type_names
from labelgen.reach import Need, Reach, Reacher, port_table
from labelgen.role import Network, Ports, Role, RoleFile

Where = tuple[Union[str, int], ...]

# What one container could do to another. MCS must refuse the first kind between two sets of categories, on every base;
# what a base leaves open of the second, for the parent as for its roles, is a limit and said with the verdict.
KEPT_APART = {
    # A transition to the domain's own type may change nothing but the categories.
    "process": ("dyntransition", "ptrace", "sigkill", "signal", "sigstop", "transition"),
    # Who relabels another's file takes it over; who creates or relabels to another's categories hands it something.
    "file": (
        *("append", "create", "execute", "link", "read", "relabelfrom", "relabelto", "rename", "setattr", "unlink"),
        "write",
    ),
    "dir": (
        *("add_name", "create", "read", "relabelfrom", "relabelto", "remove_name", "rename", "search", "setattr"),
        "write",
    ),
}
# By these a process takes another label for itself.
BECOMING = (("process", "dyntransition"), ("process", "transition"))
# What a process is asked about itself alone, or about what it becomes (hooks.c: selinux_bprm_creds_for_exec,
# selinux_setprocattr, file_map_prot_check, selinux_task_alloc). Everything else may be about another's.
_ALONE = (
    "execheap execmem execstack fork noatsecure rlimitinh setcurrent setexec setfscreate setkeycreate setsockcreate "
    "share siginh"
)
ALONE = frozenset(_ALONE.split())
# What containers have, besides processes and files, that others may come by: sockets and descriptors that are passed
# on, and what is named in the kernel.
_OF_CONTAINERS = (
    "anon_inode association binder bpf fd io_uring ipc kernel_service key msg msgq packet peer perf_event sem shm"
)
OF_CONTAINERS = frozenset(_OF_CONTAINERS.split())


@dataclass(frozen=True)
class Finding:
    """A claim that does not hold, with its evidence: the rules (with the attributes by which they mean the types),
    the booleans that must be set so, and the line of the role file that is meant."""

    claim: str
    role: str
    message: str
    rules: tuple[str, ...] = ()
    booleans: tuple[tuple[str, bool], ...] = ()
    line: str = ""


@dataclass
class Subject:
    """One role on the linked policy, with what the claims ask of it. plainly: by what is there to be seen, whatever a
    binary base may hide."""

    verification: Verification
    role: Role
    file: Optional[RoleFile]
    plainly: bool = False
    _lacking: dict[Need, tuple[tuple[str, tuple[str, ...], Condition], ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def policy(self) -> Policy:
        return self.verification.policy

    @cached_property
    def domain(self) -> str:
        return self.role.type

    @cached_property
    def bit(self) -> int:
        return self.policy.bits[self.domain]

    @cached_property
    def parent(self) -> str:
        return self.verification.parents[self.role.parent][0]

    @cached_property
    def parent_file_type(self) -> str:
        return self.verification.parents[self.role.parent][1]

    @cached_property
    def kin(self) -> Kin:
        """What it has in common with the roles that have the same attributes."""
        return self.verification.kin(self.domain, self.parent, self.parent)

    @cached_property
    def own(self) -> Grants:
        """What it may do by the rules that name it."""
        return self.verification.access.own(self.domain, True)

    @cached_property
    def own_incoming(self) -> Grants:
        """What others may do to it by the rules that name it."""
        return self.verification.access.own(self.domain, False, self.domain)

    def worst_of(self, domain: str) -> Mapping[Key, int]:
        """Everything that it or another domain may do, at the booleans' worst."""
        # mutate.py: 1 survives. It is the same either way, but not kept for all roles.
        return self.worst if domain == self.domain else self.verification.worst_of(domain)

    @cached_property
    def worst(self) -> dict[Key, int]:
        """Everything that it may do, at the booleans' worst."""
        return together(self.kin.outgoing.worst(), self.own.worst())

    @cached_property
    def touching(self) -> dict[Key, int]:
        """What it may do to roles, to their private types and to the parent, and by its own rules, at the booleans'
        worst."""
        return together(self.kin.touching, self.own.worst())

    def condition(self, key: Key, bit: int) -> Condition:
        """When it has a permission on the type of `bit`."""
        return conditions.either(self.own.condition(key, bit), self.kin.outgoing.condition(key, bit))

    @cached_property
    def xperms(self) -> dict[tuple[str, str, int], set[int]]:
        """(class, kind, number of the target type) -> the commands that its own rules leave."""
        return self.verification.reacher.xperms(self.domain).filters

    @cached_property
    def open_to_others(self) -> list[tuple[str, Key]]:
        """What no constraint keeps it from doing to another container of its own."""
        return not_kept_apart(self)

    @cached_property
    def not_taken(self) -> dict[str, atworst.NotTaken]:
        """claim -> what a binary base may hide that would break it, and is not taken to be so."""
        return {} if self.verification.exact else atworst.not_taken(self, _allowed)

    @cached_property
    def reach(self) -> Reach:
        return self.verification.reacher.of(self.domain)

    @cached_property
    def network(self) -> Optional[Network]:
        return self.role.declared_network

    @cached_property
    def declared_perms(self) -> dict[str, frozenset[str]]:
        """class -> what the role file allows on the role's own sockets and on itself."""
        return _declared_perms(self.network) if self.network else {}

    @cached_property
    def declared_whole(self) -> frozenset[str]:
        """The classes that the role file opens whole."""
        return _declared_whole(self.network) if self.network else frozenset()

    @cached_property
    def file_types(self) -> dict[str, str]:
        """access -> its private type for that."""
        return self.role.file_types

    @cached_property
    def own_port_types(self) -> frozenset[str]:
        """The types of ports with a name that its own may have, less those that are another role's here. What labels no
        port is none, whatever its name."""
        names = self.verification.own_port_types.get(self.role.name, frozenset())
        return names & self.verification.port_types

    def lacking(self, need: Need) -> tuple[tuple[str, tuple[str, ...], Condition], ...]:
        """What keeps it from what it needs."""
        if need not in self._lacking:
            self._lacking[need] = tuple(_lacking(self, need))
        return self._lacking[need]

    def line(self, *where: Union[str, int]) -> str:
        return self.file.line(*where) if self.file else ""

    def finding(
        self, claim: str, message: str, rules: Iterable[str] = (), condition: Condition = True, where: Where = ("name",)
    ) -> Finding:
        # mutate.py: 1 survives. No finding is about what no setting brings about.
        setting = conditions.smallest_setting(condition) or {}
        return Finding(claim, self.role.name, message, tuple(rules), tuple(sorted(setting.items())), self.line(*where))

    def excess(
        self,
        claim: str,
        grants: Mapping[Key, int],
        message: str,
        where: Where,
        unless: Callable[[Key, int], Condition] = lambda key, number: False,
    ) -> Iterator[Finding]:
        """A finding for each class and set of target types on which the domain has permissions that it should not.
        `unless` says when it may have one on the type of a number."""
        together: dict[tuple[str, int], list[str]] = defaultdict(list)
        for (tclass, perm), bits in sorted(item for item in grants.items() if item[1]):
            together[tclass, bits].append(perm)
        for (tclass, bits), perms in together.items():
            targets = self.policy.names(bits)
            keys = [(tclass, perm) for perm in perms]
            rules = (rule for key in keys for rule in self.verification.access.evidence(self.domain, targets[0], key))
            number = self.policy.types[targets[0]]
            condition = conditions.any_of(
                conditions.both(self.condition(key, 1 << number), conditions.negation(unless(key, number)))
                for key in keys
            )
            words = f"{self.domain} {message}: {_some(targets)}:{tclass} {' '.join(perms)}"
            yield self.finding(claim, words, dict.fromkeys(rules), condition, where)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more types"


@dataclass
class Verification:
    """The linked policy with the roles that are verified on it.

    exact: the policy was linked from modules; without it what a binary base may hide is taken to be there as far as
    policies of distributions allow, and with at_worst all of it (hidden).
    base_ports: the ports of the base alone; file_contexts: those that were linked; origins:
    which module states a rule. All only where known.
    """

    policy: Policy
    files: tuple[RoleFile, ...]
    exact: bool = True
    parents: dict[str, tuple[str, str]] = field(default_factory=dict, init=False)
    base_ports: Optional[PortTable] = None
    file_contexts: Optional[FileContexts] = None
    origins: Optional[Origins] = None
    at_worst: bool = False
    kept_apart: dict[tuple[object, ...], bool] = field(default_factory=dict, init=False, repr=False)
    ranges_alike: dict[tuple[int, tuple[Key, ...]], tuple[Range, ...]] = field(
        default_factory=dict, init=False, repr=False
    )
    open_to_alike: dict[tuple[object, ...], list[Key]] = field(default_factory=dict, init=False, repr=False)
    entries: dict[tuple[object, ...], tuple[tuple[Key, str], ...]] = field(default_factory=dict, init=False, repr=False)
    refusals: dict[tuple[object, ...], tuple[Constraint, ...]] = field(default_factory=dict, init=False, repr=False)
    labelled_alike: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)
    not_taken_alike: dict[tuple[object, ...], Optional[atworst.NotTaken]] = field(
        default_factory=dict, init=False, repr=False
    )
    beside_parent: dict[tuple[int, str], tuple[tuple[str, Key, Constraint], ...]] = field(
        default_factory=dict, init=False, repr=False
    )
    _supposed: dict[tuple[str, ...], Verification] = field(default_factory=dict, init=False, repr=False)
    _worst: dict[str, Mapping[Key, int]] = field(default_factory=dict, init=False, repr=False)
    _kin: dict[tuple[tuple[str, ...], str, str], Kin] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for file in self.files:
            self.parents[file.role.parent] = resolve_parent(self.policy, file.role.parent)

    @cached_property
    def access(self) -> Access:
        return Access(self.policy, self.origins)

    @cached_property
    def ports(self) -> PortTable:
        return port_table(self.policy)

    @cached_property
    def reacher(self) -> Reacher:
        return Reacher(self.policy, self.ports, self.origins)

    @cached_property
    def constraints(self) -> Constraints:
        return Constraints(self.policy)

    @cached_property
    def port_types(self) -> frozenset[str]:
        """The types that ports have."""
        return frozenset(segment.type for segments in self.ports.segments.values() for segment in segments)

    @property
    def subjects(self) -> Iterator[Subject]:
        """The roles, each anew: what was worked out for one is not kept for all."""
        return map(self.subject, self.files)

    def subject(self, file: RoleFile) -> Subject:
        """The role of a file."""
        return Subject(self, file.role, file)

    def supposing(self, claim: str) -> Verification:
        """The same, if all that a claim takes a binary base to hide is so."""
        taken_alike = next(claims for claims in hidden.TAKEN_ALIKE if claim in claims)
        if taken_alike not in self._supposed:
            policy = hidden.supposed(self.subjects, claim, _allowed)
            self._supposed[taken_alike] = replace(self, policy=policy)
        return self._supposed[taken_alike]

    def worst_of(self, domain: str) -> Mapping[Key, int]:
        """Everything that a domain may do, at the booleans' worst."""
        if domain not in self._worst:
            self._worst[domain] = self.access.outgoing(domain).worst()
        return self._worst[domain]

    def kin(self, type_name: str, counterpart: str, parent: str) -> Kin:
        """The types that have the same attributes as a type, held against another; `parent` is the parent's domain."""
        # mutate.py: 1 survives. Of domains nobody asks who is beside them.
        key = (self.policy.attributes_of[type_name], counterpart, parent)
        if key not in self._kin:
            beside = 0 if counterpart == parent else self._beside(parent, counterpart)
            self._kin[key] = Kin(self.access, *key, self.role_domains, self.private, beside)
        return self._kin[key]

    def _beside(self, parent: str, file_type: str) -> int:
        """The containers of other kinds, which reach the parent's files."""
        return confined_beside(self.policy, self.constraints, parent, file_type) & ~self.role_domains

    @cached_property
    def port_type_owners(self) -> dict[str, str]:
        """Each name that a port type of a role's own may have -> the role.

        Of several with one name for theirs (`ftp_unreserved` for its only one, `ftp` for one of several) it belongs to
        the one whose declared numbers have it, and else to the one with the longest name.
        """
        named: dict[str, list[Role]] = defaultdict(list)
        for file in sorted(self.files, key=lambda file: -len(file.role.name)):
            for name in own_port_type_names(file.role.name, self.catch_all):
                named[name].append(file.role)
        return {name: self._owner(name, roles).name for name, roles in named.items()}

    @cached_property
    def own_port_types(self) -> dict[str, frozenset[str]]:
        """role -> the names that are its own ones' and nobody else's."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, role in self.port_type_owners.items():
            found[role].add(name)
        return {role: frozenset(names) for role, names in found.items()}

    def _owner(self, port_type: str, roles: Sequence[Role]) -> Role:
        having = (role for role in roles if len(roles) > 1 and self._declares(role, port_type))
        return next(having, roles[0])

    def _declares(self, role: Role, port_type: str) -> bool:
        """Whether a role declares a number that has a type."""
        return any(
            _numbers(role.declared_network, protocol).intersection(range(segment.low, segment.high + 1))
            for protocol in PROTOCOLS
            for segment in self.ports.of_type(protocol, port_type)
        )

    @cached_property
    def catch_all(self) -> frozenset[str]:
        """The port types that mean no service in particular."""
        return CATCH_ALL_PORT_TYPES | {self.policy.initial_sids["port"]}

    @cached_property
    def role_domains(self) -> int:
        """The bitset of the domains of all roles, those installed before included."""
        bits = self.policy.attributes.get(DOMAIN, 0)
        for file in self.files:
            bits |= self.policy.bits[file.role.type]
        return bits

    @property
    def types_of_roles(self) -> int:
        """The bitset of the domains and the private types of all roles."""
        return self.role_domains | self.private

    @cached_property
    def private_types(self) -> dict[str, int]:
        """role -> the bitset of its private file types and own port types."""
        return {file.role.name: self.bits_of(file.role.file_types.values()) for file in self.files}

    @cached_property
    def private(self) -> int:
        """The bitset of the private types of all roles, those installed before included."""
        bits = self.policy.attributes.get(FILE_TYPE, 0)
        for types in self.private_types.values():
            bits |= types
        return bits

    @cached_property
    def range_transitions(self) -> list[tuple[str, str, str, str]]:
        """Those range_transitions by which roles or their parents make something."""
        bits = self.role_domains | self.bits_of(parent for parent, _ in self.parents.values())
        return [rule for rule in self.policy.range_transitions if self.policy.bits[rule[0]] & bits]

    @cached_property
    def unknown(self) -> dict[str, frozenset[str]]:
        """class -> the permissions that claims rest on, which the policy does not know and a kernel asks for."""
        classes = self.policy.classes
        return {
            **unknown_permissions(classes, self.policy.network.extended),
            **not_defined(rested_on(self.policy), classes),
        }

    def bits_of(self, names: Iterable[str]) -> int:
        """The bitset of those of the types that the policy has."""
        bits = 0
        for name in names:
            bits |= self.policy.bits.get(name, 0)
        return bits

    @cached_property
    def parent_xperms(self) -> dict[str, Xperms]:
        return {parent: Xperms(self.policy, parent) for parent, _ in self.parents.values()}


# -- network


def _own_perms(network: Network, protocol: Protocol) -> frozenset[str]:
    """What a declared protocol allows on the role's own sockets."""
    name = protocol.name
    serves = SERVE if network.bound(name) and protocol.accepts else ("bind",) if name == "udp" else ()
    connects = ("connect",) if network.reached(name) or (name == "udp" and network.connect.udp) else ()
    return frozenset((*SOCKET_USE, *serves, *connects))


def _declared_perms(network: Network) -> dict[str, frozenset[str]]:
    """class -> what the role file allows on the role's own sockets and on itself."""
    perms = {PROTOCOLS[name].tclass: _own_perms(network, PROTOCOLS[name]) for name in network.protocols}
    perms[ROUTES] = frozenset(READ_ROUTES)
    return perms


def _declared_whole(network: Network) -> frozenset[str]:
    """The classes that the role file opens whole."""
    return frozenset(
        (*(ICMP if network.icmp else ()), *(RAW if network.raw else ()), *map(netlink_class, network.netlink))
    )


def _declared_capabilities(network: Optional[Network]) -> frozenset[str]:
    if network is None:
        return frozenset()
    return frozenset((["net_bind_service"] if network.binds_privileged else []) + (["net_raw"] if network.raw else []))


def _numbers(network: Optional[Network], protocol: str, actions: Sequence[str] = ("bind", "connect")) -> set[int]:
    """The numbers that a role file declares for these actions."""
    if network is None:
        return set()
    ports = {"bind": network.bound(protocol), "connect": network.reached(protocol)}
    return {
        number
        for action in actions
        for port in ports[action]
        if isinstance(port, Ports)
        for number in range(port.low, port.high + 1)
    }


def _declared_port_types(subject: Subject, ports: Iterable[Union[Ports, str]], protocol: str) -> int:
    """The bitset of the port types behind the declared ports."""
    bits = 0
    for port in ports:
        if isinstance(port, str):
            bits |= subject.policy.bits.get(subject.policy.aliases.get(port, port), 0)
        else:
            for segment in subject.verification.ports.within(protocol, port.low, port.high):
                if segment.type not in subject.verification.catch_all:
                    bits |= subject.policy.bits[segment.type]
    return bits


def _allowed(subject: Subject, key: Key) -> int:
    """The bitset of the types on which the role file allows a network permission."""
    network, (tclass, perm) = subject.network, key
    if tclass in CAPABILITY_CLASSES:
        return subject.bit if perm in _declared_capabilities(network) else 0
    if network is None:
        return 0
    if tclass in LABELLED_NETWORKING:
        return -1  # what the parent has, which `contained` checks
    if tclass in subject.declared_whole:
        return -1 if perm == "node_bind" else subject.bit
    protocol = next((p for p in PROTOCOLS.values() if p.tclass == tclass and network.uses(p.name)), None)
    if protocol and perm == "node_bind":
        return -1 if network.bound(protocol.name) or protocol.name == "udp" else 0
    if protocol and perm in ("name_bind", "name_connect"):
        ports = network.bound(protocol.name) if perm == "name_bind" else network.reached(protocol.name)
        return _declared_port_types(subject, ports, protocol.name)
    return subject.bit if perm in subject.declared_perms.get(tclass, ()) else 0


def network(subject: Subject) -> Iterator[Finding]:
    """The ports, protocols and socket families the domain can use are those declared."""
    model = subject.policy.network
    own = ((key, model.part(*key, bits)) for key, bits in subject.own.worst().items())
    had = together(subject.kin.network, {key: bits for key, bits in own if bits})
    excess = {key: bits & ~_allowed(subject, key) for key, bits in had.items()}
    yield from subject.excess("network", excess, "has network that its role file does not declare", ("network",))
    yield from _ports_elsewhere(subject)
    yield from _retagged(subject)
    yield from _hidden(subject, "network")


def _hidden(subject: Subject, claim: str) -> Iterator[Finding]:
    """What a binary base may hide that would break a claim."""
    if subject.verification.exact or subject.plainly:
        return
    told = list(hidden.taken(subject, claim, _allowed))
    yield from told or _supposed(subject, claim)
    if subject.verification.at_worst and claim in subject.not_taken:
        left = subject.not_taken[claim]
        words = f"at the worst it cannot be shown {left.in_words(subject.domain)}"
        yield subject.finding(claim, f"{words}; verify on the modules of the base", left.rules)


def _supposed(subject: Subject, claim: str) -> Iterator[Finding]:
    """What breaks a claim where all that is taken to be hidden is so, and is not broken by what is there to be seen."""

    def found(verification: Verification) -> list[Finding]:
        return list(CLAIMS[claim](Subject(verification, subject.role, subject.file, plainly=True)))

    there = found(subject.verification.supposing(claim))
    known = {finding.message for finding in found(subject.verification)} if there else set()
    for finding in there:
        if finding.message not in known:
            words = f"it cannot be shown that this is not so: {finding.message}; verify on the modules of the base"
            yield replace(finding, message=words)


def _retagged(subject: Subject) -> Iterator[Finding]:
    """A port that became a neighbour by being retagged: it has a type that the role may use, and on the base it has
    another."""
    base = subject.verification.base_ports
    for protocol in PROTOCOLS if base else ():
        assert base is not None
        for segment in (*subject.reach.bindable(protocol), *subject.reach.connectable(protocol)):
            if segment.type in subject.own_port_types:
                continue
            for before in base.within(protocol, segment.low, segment.high):
                if before.type != segment.type:
                    words = f"{protocol}/{before} is {before.type} on the base and {segment.type} with the roles"
                    yield subject.finding("network", words, where=("network",))


# -- able


def able(subject: Subject) -> Iterator[Finding]:
    """Everything declared is granted, in every state of the booleans, and no constraint refuses it."""
    if subject.network is not None:
        for where, needs in _declared_needs(subject, subject.network):
            for need in needs:
                yield from _unmet(subject, need, where)
    yield from _files_able(subject)
    yield from labels.unusable(subject)
    yield from _hidden(subject, "able")


def _declared_needs(subject: Subject, network: Network) -> Iterator[tuple[Where, list[Need]]]:
    for name in network.protocols:
        for number, port in enumerate(network.bound(name)):
            for segment in _segments(subject, name, port):
                yield ("network", "bind", name, number), list(_bind_needs(subject, name, segment))
        for number, port in enumerate(network.reached(name)):
            for segment in _segments(subject, name, port):
                yield ("network", "connect", name, number), list(subject.reach.connect_needs(name, segment.low))
        yield ("network",), list(_use_needs(subject, subject.reach.asked(name)))
    if network.binds_privileged:
        yield ("network", "bind"), list(_capability_needs(subject, "net_bind_service", "for privileged ports"))
    if network.connect.udp:
        yield ("network", "connect", "udp"), [*subject.reach.connect_needs("udp", 1), *subject.reach.send_needs("udp")]
    for tclass in sorted(subject.declared_whole):
        asked = subject.reach.asked_of(tclass)
        yield ("network",), [*subject.reach.create_needs(tclass), *_whole_needs(subject, asked)]
        yield ("network",), list(_address_needs(subject, asked))
    yield ("network",), [need for need in packet_needs(subject) if _parent_has(subject, need)]
    if network.raw:
        yield ("network", "raw"), list(_capability_needs(subject, "net_raw", "for raw sockets"))


def _use_needs(subject: Subject, tclass: str) -> Iterator[Need]:
    """What using an open socket takes, as far as the parent has it."""
    parent = subject.kin.theirs.always
    for perm in SOCKET_USE:
        if parent.get((tclass, perm), 0) & subject.policy.bits[subject.parent]:
            yield Need(tclass, perm, (subject.domain,), "to use the socket")


def _whole_needs(subject: Subject, tclass: str) -> Iterator[Need]:
    """What the parent may do with its own sockets of a class that the role file opens whole."""
    for (asked, perm), bits in sorted(subject.kin.theirs.always.items()):
        if asked == tclass and bits & subject.policy.bits[subject.parent]:
            yield Need(asked, perm, (subject.domain,), "to use the socket")


def _address_needs(subject: Subject, tclass: str) -> Iterator[Need]:
    """What binding each address takes that the parent may bind (selinux_socket_bind asks it of every class)."""
    parent = subject.kin.theirs.always.get((tclass, "node_bind"), 0)
    for node in subject.policy.node_types:
        if parent & subject.policy.bits[node]:
            yield Need(tclass, "node_bind", (node,), "to bind an address")


def packet_needs(subject: Subject) -> Iterator[Need]:
    """What packets without a label take where they are checked. What the parent lacks of it too is a limit, and of no
    claim (verdict._packet_limits)."""
    policy = subject.policy
    for sid, tclass, perm in asked_of_packets(policy.polcaps):
        label = policy.initial_contexts[sid]
        yield Need(tclass, perm, (policy.initial_sids[sid],), "for packets without a label", label)


def _parent_has(subject: Subject, need: Need) -> bool:
    bits = subject.kin.theirs.always.get((need.tclass, need.perm), 0)
    return any(bits & subject.policy.bits[target] for target in need.targets)


def _capability_needs(subject: Subject, perm: str, why: str) -> Iterator[Need]:
    """A capability, in user namespaces too where the parent has it there."""
    parent = subject.kin.theirs.always
    for tclass in CAPABILITY_CLASSES:
        if parent.get((tclass, perm), 0) & subject.policy.bits[subject.parent]:
            yield Need(tclass, perm, (subject.domain,), why)


def _bind_needs(subject: Subject, protocol: str, segment: Segment) -> Iterator[Need]:
    """What binding every port of a segment takes; its type counts inside the ephemeral range too, which may be
    narrowed."""
    yield from subject.reach.bind_needs(protocol, segment.low)
    tclass = subject.reach.asked(protocol)
    yield from _address_needs(subject, tclass)
    for label in subject.policy.any_address:
        yield Need(tclass, "node_bind", (label.split(":")[2],), "to bind any address", label)
    yield Need(tclass, "name_bind", (segment.type,), f"the type of {protocol}/{segment}", segment.context)
    yield from (
        Need(tclass, perm, (subject.domain,), "to serve")
        for perm in ("listen", "accept")
        if PROTOCOLS[protocol].accepts
    )


def _segments(subject: Subject, protocol: str, port: Union[Ports, str]) -> list[Segment]:
    table = subject.verification.ports
    if isinstance(port, str):
        return table.of_type(protocol, subject.policy.aliases.get(port, port))
    return list(table.within(protocol, port.low, port.high))


def _unmet(subject: Subject, need: Need, where: Where) -> Iterator[Finding]:
    for message, rules, condition in subject.lacking(need):
        yield subject.finding("able", message, rules, condition, where)


def _lacking(subject: Subject, need: Need) -> Iterator[tuple[str, tuple[str, ...], Condition]]:
    """What keeps the role from what it needs, whichever line of its file needs it: in words, the rules and when."""
    met = subject.reach.met(need)
    if met.condition is not True:
        how = "is not granted" if met.condition is False else "depends on booleans"
        words = f"{subject.domain} lacks what it declares: {need} {how}"
        yield words, met.rules, conditions.negation(met.condition)
    key = (need.tclass, need.perm)
    left = conditions.any_of(refused.unmasked(subject, key, target) for target in need.targets)
    if left is not True:
        words = f"{subject.domain} is refused what it declares by a bound (typebounds): {need}"
        yield words, (), conditions.negation(left)
    for constraint in (text for target in need.targets for text in refused.refusing(subject, key, target, need.label)):
        words = f"{subject.domain} is refused what it declares by a constraint: {need}"
        yield words, (constraint.text,), True


def _files_able(subject: Subject) -> Iterator[Finding]:
    for number, entry in enumerate(subject.role.files):
        name = subject.file_types[entry.access]
        if name not in subject.policy.types:
            yield subject.finding("able", f"the policy has no type {name}", where=("files", number))
            continue
        yield from _labelled(subject, number, entry.path, name)
        yield from labelling.refused(subject, number, name)
        for key in _files_needed(subject, entry.access):
            if subject.condition(key, subject.policy.bits[name]) is not True:
                yield subject.finding(
                    "able", f"{subject.domain} may not {key[1]} its own {name}:{key[0]}", where=("files", number)
                )
        yield from _files_refused(subject, number, name, entry.access)
        for context in _labelled_so(subject, entry.path, name):
            yield from _files_refused(subject, number, name, entry.access, context.label)


def _files_needed(subject: Subject, access: str) -> list[Key]:
    """What an access to a role's own files takes: the least of it, and what the parent may do of it with its own."""
    needed = {("file", "read"), ("file", "open"), ("dir", "search")}
    needed.update({("file", "write"), ("file", "create"), ("dir", "add_name")} if access == "write" else ())
    parents, always = subject.policy.bits[subject.parent_file_type], subject.kin.theirs.always
    wanted = ((tclass, perm) for tclass, perms in FILE_ACCESS[access].items() for perm in perms)
    return sorted(needed.union(key for key in wanted if always.get(key, 0) & parents))


def _labelled_so(subject: Subject, path: str, name: str) -> list[FileContext]:
    """The file contexts that give files of a path a type, maybe with other categories."""
    contexts = subject.verification.file_contexts or FileContexts()
    return [context for context in contexts.shadowing(path) if context.type == name and context.label.count(":") > 2]


def _files_refused(subject: Subject, number: int, name: str, access: str, label: str = "") -> Iterator[Finding]:
    """What the role may do to its own files by a rule, and a bound or a constraint refuses; to those with a label."""
    for key in ((tclass, perm) for tclass, perms in FILE_ACCESS[access].items() for perm in perms):
        if not subject.worst.get(key, 0) & subject.policy.bits[name]:
            continue
        if refused.unmasked(subject, key, name) is not True:
            words = f"a bound (typebounds) keeps {subject.domain} from {name}:{key[0]} {key[1]}"
            yield subject.finding("able", words, where=("files", number))
        for constraint in refused.refusing(subject, key, name, label):
            words = f"a constraint keeps {subject.domain} from {name}:{key[0]} {key[1]}"
            yield subject.finding("able", words, (constraint.text,), where=("files", number))


def _labelled(subject: Subject, number: int, path: str, name: str) -> Iterator[Finding]:
    """The path is labelled with the role's own type, and no part of it with another."""
    contexts = subject.verification.file_contexts
    if contexts is None:
        return
    if not any(context.path == path for context in contexts.by_type.get(name, ())):
        yield subject.finding("able", f"no file context gives {name} to {path}", where=("files", number))
    for context in labels.labelled_otherwise(subject, path, name):
        if context.type != subject.file_types.get("write"):
            words = f"the file context `{context}` takes files of {path} from the role"
            yield subject.finding("able", words, where=("files", number))
    for alias in contexts.hiding(path):
        words = f"the host looks up what is below {alias.path} as if it were below {alias.meant} (file_contexts.subs)"
        yield subject.finding("able", f"{words}: files of {path} do not get {name}", where=("files", number))


# -- contained


def contained(subject: Subject) -> Iterator[Finding]:
    """No permission that the parent lacks, in any setting of the booleans; typebounds in force."""
    # mutate.py: 1 survives. It only puts the findings in order.
    if subject.policy.bounds.get(subject.domain) != subject.parent:
        yield subject.finding(
            "contained",
            f"{subject.domain} is not bounded by {subject.parent} (typebounds), so the "
            "kernel would not mask what it has too much",
            where=("parent",),
        )
    message = f"has what {subject.parent} lacks"
    shared, own = subject.kin.beyond, beyond(subject.own, subject.kin.theirs, _counterparts(subject))
    for branch in sorted({*shared, *own}, key=lambda branch: branch or ()):
        grants = together(shared.get(branch, {}), own.get(branch, {}))
        excess = {key: _beyond(subject, key, bits, condition_of(branch)) for key, bits in grants.items()}
        yield from subject.excess("contained", excess, message, ("parent",), lambda *of: _had(subject, *of))
    yield from _beyond_xperms(subject)
    yield from _beyond_access(subject)
    for name, bits in sorted(subject.policy.roles.items()):
        if name != OBJECT and bits & subject.bit and not bits & subject.policy.bits[subject.parent]:
            words = f"the SELinux role {name} may have {subject.domain} and not {subject.parent}"
            yield subject.finding("contained", words, where=("parent",))
    yield from _hidden(subject, "contained")


def _beyond_access(subject: Subject) -> Iterator[Finding]:
    """What the role may do with its own files beyond the access that its file declares."""
    for access, name in subject.file_types.items():
        if name not in subject.policy.types:
            continue
        bit, number = subject.policy.bits[name], [str(f.access) for f in subject.role.files].index(access)
        excess = {
            (tclass, perm): bit
            for (tclass, perm), bits in subject.touching.items()
            if bits & bit and perm not in FILE_ACCESS[access].get(tclass, ())
        }
        yield from subject.excess("contained", excess, f"has more than the declared {access}", ("files", number))
    for number, entry in enumerate(subject.role.files):
        for context in labels.labelled_otherwise(subject, entry.path, subject.file_types[entry.access]):
            if context.type == subject.file_types.get("write"):
                words = (
                    f"by the file context `{context}` it may write to files of {entry.path}, which it declares to read"
                )
                yield subject.finding("contained", words, where=("files", number))


def _counterpart(subject: Subject, number: int) -> int:
    """The type whose access the parent must have: the parent's own for the domain, the bounding type for one of the
    role's own types."""
    name = subject.policy.type_names[number]
    if name == subject.domain:
        return subject.policy.bits[subject.parent]
    is_own = name in subject.file_types.values() or name in subject.own_port_types
    return subject.policy.bits[subject.policy.bounds.get(name, name) if is_own else name]


def _counterparts(subject: Subject) -> list[tuple[int, int]]:
    """The bits of each of the role's types beside that of the type whose access the parent must have."""
    # mutate.py: 3 survive. Without one more is left to `_beyond`, which decides.
    names = (subject.domain, *subject.file_types.values(), *subject.own_port_types)
    numbers = [subject.policy.types[name] for name in names if name in subject.policy.types]
    return [(1 << number, _counterpart(subject, number)) for number in numbers]


def _beyond(subject: Subject, key: Key, bits: int, condition: Condition) -> int:
    """Those of the target types in `bits` on which the parent lacks a permission where `condition` grants it."""
    excess = 0
    for number in members(bits):
        if not conditions.implies(condition, _had(subject, key, number)):
            excess |= 1 << number
    return excess


def _had(subject: Subject, key: Key, number: int) -> Condition:
    """When the parent has a permission on a type, or on what stands for that with the parent."""
    parent = subject.kin.theirs
    return conditions.either(parent.condition(key, 1 << number), parent.condition(key, _counterpart(subject, number)))


def _beyond_xperms(subject: Subject) -> Iterator[Finding]:
    """Where the parent's ioctl commands are filtered, the role's must be filtered as tightly; on its own files as the
    parent's are on the parent's."""
    for (tclass, kind, number), numbers in sorted(subject.verification.parent_xperms[subject.parent].filters.items()):
        for name in _seen_as(subject, number):
            if not subject.worst.get((tclass, kind), 0) & subject.policy.bits[name]:
                continue
            mine = subject.xperms.get((tclass, kind, subject.policy.types[name]))
            if mine is None or mine - numbers:
                yield subject.finding(
                    "contained",
                    f"{subject.domain} is not limited to the {kind} commands that "
                    f"{subject.parent} is limited to on {name}:{tclass}",
                    where=("parent",),
                )


def _seen_as(subject: Subject, number: int) -> list[str]:
    """The types that are to the role what a type is to the parent: for the parent the role, for the parent's files the
    role's own too."""
    name = subject.policy.type_names[number]
    if name == subject.parent:
        return [subject.domain]
    return [name, *sorted(own for own in subject.file_types.values() if subject.policy.bounds.get(own) == name)]


# -- complete


def complete(subject: Subject) -> Iterator[Finding]:
    """Every non-network permission of the parent."""
    # mutate.py: 5 survive. One only puts the findings in order; without the others more is left to `_missing`, which
    # decides.
    kin, own = subject.kin, subject.own
    always = {key for key, bits in own.always.items() if bits & subject.bit}
    not_on_itself = [
        (branch, key, bits)
        for branch, key, bits in kin.on_itself
        if key not in always and not (given(own, branch, key) | given(kin.outgoing, branch, key)) & subject.bit
    ]
    for branch, key, bits in sorted({*kin.lacking, *not_on_itself}, key=lambda item: (item[0] or (), item[1])):
        have = given(own, branch, key) | given(kin.outgoing, branch, key)
        yield from _missing(subject, key, bits, have, condition_of(branch))
    yield from _narrower_xperms(subject)
    yield from labels.not_made_alike(subject)
    yield from labels.labelled_its_own(subject, "complete")
    for target, key in refused.masked(subject):
        words = f"a bound (typebounds) keeps {subject.domain} from what {subject.parent} may do: "
        yield subject.finding("complete", f"{words}{target}:{key[0]} {key[1]}", where=("parent",))
    for target, key, constraint in refused.refused_beside_parent(subject):
        words = f"a constraint keeps {subject.domain} from what {subject.parent} may do: "
        yield subject.finding("complete", f"{words}{target}:{key[0]} {key[1]}", (constraint.text,), where=("parent",))
    yield from _hidden(subject, "complete")


def _narrower_xperms(subject: Subject) -> Iterator[Finding]:
    """Where the role's ioctl commands are filtered, the parent's are as tightly."""
    theirs = subject.verification.parent_xperms[subject.parent].filters
    for (tclass, kind, number), mine in sorted(subject.xperms.items()):
        name = subject.policy.type_names[number]
        seen = subject.parent if name == subject.domain else name
        seen = subject.policy.bounds.get(name, name) if name in subject.file_types.values() else seen
        bit = subject.policy.bits[seen]
        has = subject.worst.get((tclass, kind), 0) & 1 << number
        if not (has and subject.kin.theirs.worst().get((tclass, kind), 0) & bit):
            continue  # there is nothing to limit
        numbers = theirs.get((tclass, kind, subject.policy.types[seen]))
        if numbers is None or numbers - mine:
            yield subject.finding(
                "complete",
                f"{subject.domain} is limited to fewer {kind} commands than {subject.parent} on {name}:{tclass}",
                where=("parent",),
            )


def _missing(subject: Subject, key: Key, bits: int, have: int, condition: Condition) -> Iterator[Finding]:
    """What of a permission that the parent has on the types `bits` the role lacks, which has it on the types `have`
    whenever the parent does."""
    parent_bit = subject.kin.bit
    wanted = bits & ~parent_bit & ~_apart(subject) & ~subject.bit | (subject.bit if bits & parent_bit else 0)
    if key[1] in LEADING.get(key[0], ()):
        wanted &= subject.bit
    lacking = 0
    for number in members(wanted & ~have):
        if not conditions.implies(condition, subject.condition(key, 1 << number)):
            lacking |= 1 << number
    if lacking:
        names = subject.policy.names(lacking)
        target = names[0] if names[0] != subject.domain else subject.parent
        without = conditions.negation(subject.condition(key, subject.policy.bits[names[0]]))
        yield subject.finding(
            "complete",
            f"{subject.domain} lacks what {subject.parent} has: {_some(names)}:{key[0]} {key[1]}",
            subject.verification.access.evidence(subject.parent, target, key),
            conditions.both(condition, without),
            ("parent",),
        )


def _apart(subject: Subject) -> int:
    """The types that a role has nothing to do with: other roles and their private files."""
    return subject.verification.role_domains & ~subject.bit | subject.verification.private


# -- separate


def separate(subject: Subject) -> Iterator[Finding]:
    """MCS constrains it; no other role can act on its processes or private files; nobody may act on it who may not
    act on the parent."""
    yield from _constrained_alike(subject)
    yield from _constrained_as_another_kind(subject)
    yield from _kept_apart_by_mcs(subject)
    yield from _acts_on_others(subject)
    yield from _acted_upon(subject)
    yield from _permissive_beside(subject)
    yield from labels.given_elsewhere(subject)
    yield from labels.other_categories(subject)
    yield from labels.made_otherwise(subject)
    yield from _hidden(subject, "separate")


def _constrained_alike(subject: Subject) -> Iterator[Finding]:
    """No constraint is easier to meet for the role and its files than for the parent and its files because it names
    one of them."""
    bits, told = subject.policy.bits, set()
    pairs = [(subject.domain, subject.parent)]
    pairs += [(name, subject.parent_file_type) for name in subject.file_types.values() if name in bits]
    for ((named, easier), (names, text)), (mine, theirs) in product(
        subject.verification.constraints.sets.items(), pairs
    ):
        is_in, are_in = bool(named & bits[mine]), bool(named & bits[theirs])
        if is_in != are_in and is_in == easier:
            which = next(name for name in sorted(names) if bits[name] & bits[mine if is_in else theirs])
            words = f"{mine} is {'in' if is_in else 'not in'} {which}"
            if words not in told:
                told.add(words)
                yield subject.finding("separate", f"{words}, unlike {theirs}, so a constraint binds it less", (text,))


Range = tuple[tuple[str, ...], tuple[str, ...]]  # the categories of the low and of the high level

_ALL = (*ONE, *TWO)
# What a container may be at that has its own categories alone, and ranges that have another's: as they lie to a
# container's own level, one for each way that constraints can know.
OWN_RANGES: tuple[Range, ...] = ((ONE, ONE), (ONE[:1], ONE), ((), ONE), ((), ()))
OTHER_RANGES: tuple[Range, ...] = (
    *((low, TWO) for low in ((), TWO[:1], TWO)),
    *((low, _ALL) for low in ((), ONE, TWO, _ALL)),
    (_ALL, (*_ALL, "c5")),
)


def _ranges(subject: Subject) -> tuple[Range, ...]:
    """The ranges without others' categories at which a container of the role may be: as it is started, and what it can
    become by itself, under one SELinux user and role."""
    constraints, answers = subject.verification.constraints, subject.verification.ranges_alike
    keys = tuple(key for key in BECOMING if subject.worst.get(key, 0) & subject.bit)
    seen = (constraints.seen_as(subject.domain), keys)
    if seen not in answers:
        reached, left = [OWN_RANGES[0]], list(OWN_RANGES[1:])
        for one in reached:
            further = [other for other in left if any(_becomes(subject, one, other, key) for key in keys)]
            reached += further
            left = [other for other in left if other not in further]
        answers[seen] = tuple(reached)
    return answers[seen]


def _becomes(subject: Subject, one: Range, other: Range, key: Key) -> bool:
    """Whether constraints let a container change its range, under any SELinux user and role."""
    constraints = subject.verification.constraints
    for mine in constraints.identities(constraints.asking(*key), (PROCESSES,)):
        before, after = (ranged(*mine, subject.domain, *levels) for levels in (one, other))
        if not constraints.refusing(before, after, *key):
            return True
    return False


def _pairs(subject: Subject, target: str, key: Key) -> Iterator[tuple[Context, Context]]:
    """A container of the role and what belongs to another with other categories, each under every SELinux user and role
    that constraints can tell apart. What it becomes itself may have its own categories and the other's."""
    constraints = subject.verification.constraints
    asked = constraints.asking(*key)
    is_process = bool(subject.policy.bits[target] & subject.verification.role_domains)
    identities = constraints.identities(asked, (PROCESSES,))
    others = constraints.identities(asked, (PROCESSES,) if is_process else (FILES,))
    mine = _ranges(subject) if must_be_refused(key) else OWN_RANGES[:1]
    # Another container may have done without its categories at the low level, too.
    lowered = OTHER_RANGES[:2] if is_process and len(mine) > 1 else ()
    theirs: tuple[Range, ...] = OTHER_RANGES if key in BECOMING else ((TWO, TWO), *lowered)
    for one, other, itself, its in product(mine, theirs, identities, others):
        yield ranged(*itself, subject.domain, *one), ranged(*its, target, *other)


def _refused(subject: Subject, target: str, key: Key) -> bool:
    """Whether constraints refuse a permission between two containers, whoever they belong to. Types that constraints
    cannot tell apart, and permissions of which they ask the same, have one answer."""
    constraints, answers = subject.verification.constraints, subject.verification.kept_apart
    # A constraint may compare the two types, as in `t1 == t2`, whatever sets they are in.
    types = (constraints.seen_as(subject.domain), constraints.seen_as(target), subject.domain == target)
    ranges = _ranges(subject) if must_be_refused(key) else ()
    seen = (*types, key in BECOMING, ranges, constraints.asking(*key))
    if seen not in answers:
        answers[seen] = all(constraints.refusing(one, two, *key) for one, two in _pairs(subject, target, key))
    return answers[seen]


def not_kept_apart(subject: Subject) -> list[tuple[str, Key]]:
    """What one container of the role may do to another with other categories: the target's type, and the permission.
    A rule allows it and no constraint refuses it."""
    # mutate.py: 1 survives. What it may do to itself, a process, it may not do to files.
    policy, seen_as = subject.policy, subject.verification.constraints.seen_as
    kinds = OF_CONTAINERS | policy.socket_classes
    found = []
    for target in (subject.domain, *_types_of_files(subject)):
        bit, is_domain = policy.bits[target], target == subject.domain
        had = frozenset(key for key, bits in subject.worst.items() if bits & bit)
        # Roles that constraints cannot tell apart, and that may do the same to their own, have one answer.
        alike = (seen_as(subject.domain), seen_as(target), is_domain, had, _ranges(subject))
        answers = subject.verification.open_to_alike
        if alike not in answers:
            # Files have the type of the domain too: those below /proc.
            asked = (k for k in had if k[0] in FILE_CLASSES or (is_domain and _is_about_another(k, kinds)))
            answers[alike] = [key for key in asked if not _refused(subject, target, key)]
        found += [(target, key) for key in answers[alike]]
    return sorted(found)


def must_be_refused(key: Key) -> bool:
    """Whether categories that do not keep two containers from it fail the claim; anything else is a limit."""
    return key[1] in KEPT_APART.get(key[0], ())


def _is_about_another(key: Key, kinds: frozenset[str]) -> bool:
    tclass, perm = key
    if tclass == "process":
        return perm not in ALONE
    return tclass in kinds and perm != "create"


def _types_of_files(subject: Subject) -> list[str]:
    """The types of the files that the role's containers have: the parent's, its own, and those that what it makes gets
    by a type_transition."""
    made = {
        rule.default
        for rule in subject.policy.labelling_from(subject.domain)
        if rule.kind == "type_transition" and rule.tclass in FILE_CLASSES
    }
    own = (name for name in subject.file_types.values() if name in subject.policy.types)
    return list(dict.fromkeys((subject.parent_file_type, *own, *sorted(made))))


def _constrained_as_another_kind(subject: Subject) -> Iterator[Finding]:
    """No constraint keeps the parent's containers from each other and not from the role's, as it compares types."""
    constraints, parties = subject.verification.constraints, Parties((PROCESSES,), (PROCESSES,))
    parent = subject.policy.bits[subject.parent]
    done = together(subject.kin.incoming.worst(), subject.own_incoming.worst())
    for key in sorted(key for key, bits in done.items() if bits & parent):
        apart, other = (subject.parent, subject.parent), (subject.parent, subject.domain)
        for constraint in constraints.harder(key, apart, other, parties):
            words = (
                f"a constraint keeps {subject.parent} from {key[1]} ({key[0]}) of its own kind, not {subject.domain}'s"
            )
            rules = subject.verification.access.evidence(subject.parent, subject.domain, key)
            yield subject.finding("separate", words, (constraint.text, *rules))


def _kept_apart_by_mcs(subject: Subject) -> Iterator[Finding]:
    """Between two sets of categories, what the domain may do by type is refused by a constraint."""
    for target, key in subject.open_to_others:
        if must_be_refused(key):
            yield subject.finding(
                "separate",
                f"MCS does not keep two containers of {subject.domain} apart: "
                f"{target}:{key[0]} {key[1]} is refused by no constraint",
                subject.verification.access.evidence(subject.domain, target, key),
            )


def _acts_on_others(subject: Subject) -> Iterator[Finding]:
    """The domain has no permission on another role, its private files or the parent's processes."""
    others = _apart(subject) & ~subject.verification.private_types[subject.role.name]
    others |= subject.policy.bits[subject.parent]
    reached = {key: bits & others for key, bits in subject.touching.items()}
    yield from subject.excess("separate", reached, "can act on another container's", ("name",))


def _acted_upon(subject: Subject) -> Iterator[Finding]:
    """Whoever may act on the domain may act on the parent, under the same booleans; whoever may act on its files may
    act on the parent's, and no container of another kind reaches what is in them."""
    yield from _acts_beyond(subject, subject.domain, subject.kin, subject.own_incoming)
    yield from _acted_upon_by_roles(subject, subject.domain, subject.kin, subject.own_incoming)
    for name in subject.file_types.values():
        if name in subject.policy.types:
            kin = subject.verification.kin(name, subject.parent_file_type, subject.parent)
            own = subject.verification.access.own(name, False, subject.domain)
            yield from _acts_beyond(subject, name, kin, own)
            yield from _acted_upon_by_roles(subject, name, kin, own)
            yield from _opened_by_containers(subject, name, kin, own)


def _acted_upon_by_roles(subject: Subject, target: str, kin: Kin, own: Grants) -> Iterator[Finding]:
    """Which other roles may act on `target`: also those that are installed and not verified now."""
    others = subject.verification.role_domains & ~subject.bit
    for key, bits in sorted(together(kin.done_by_roles, own.worst()).items()):
        for source in subject.policy.names(bits & others):
            words = f"another role, {source}, can act on {target}: {target}:{key[0]} {key[1]}"
            yield subject.finding("separate", words, subject.verification.access.evidence(source, target, key))


def _acts_beyond(subject: Subject, target: str, kin: Kin, own: Grants) -> Iterator[Finding]:
    """Who may act on `target`, whose own rules `own` are, and may not act so on the other that its kin is held
    against."""
    for key, number in sorted(kin.acting_beyond.union(acting_beyond(own, kin.done_to_theirs))):
        source, bit = subject.policy.type_names[number], 1 << number
        if source != subject.domain:
            mine = conditions.either(own.condition(key, bit), kin.incoming.condition(key, bit))
            when = conditions.both(mine, conditions.negation(kin.done_to_theirs.condition(key, bit)))
            words = f"{source} can act on {target} and not on {kin.counterpart}: {target}:{key[0]} {key[1]}"
            rules = subject.verification.access.evidence(source, target, key)
            yield subject.finding("separate", words, rules, when)


def _opened_by_containers(subject: Subject, name: str, kin: Kin, own: Grants) -> Iterator[Finding]:
    """No container of another kind opens the role's files: whoever does may open the parent's by a rule that does not
    mean the parent too."""
    opened = sorted(kin.opened_beyond.union(opened_beyond(own, kin.openers)), reverse=True)
    first = {key: number for key, number in opened if 1 << number != subject.bit}
    for key, number in sorted(first.items()):
        source = subject.policy.type_names[number]
        words = f"another container's domain, {source}, can act on {name}: {name}:{key[0]} {key[1]}"
        yield subject.finding("separate", words, subject.verification.access.evidence(source, name, key))


def _permissive_beside(subject: Subject) -> Iterator[Finding]:
    """No other role, no parent and no container of another kind is permissive: nothing, neither rules nor categories,
    would keep it from the role (avc.c: avc_denied). Permissive services of the host are a limit."""
    verification, policy = subject.verification, subject.policy
    permissive = verification.bits_of(policy.permissive) & ~subject.bit
    containers = verification.role_domains | policy.bits[subject.parent]
    containers |= confined(policy, verification.constraints, permissive, subject.parent_file_type)
    for name in policy.names(permissive & containers):
        words = f"{name} is permissive: it is refused nothing, and so acts on {subject.domain} and on its files"
        yield subject.finding("separate", words)


def _ports_elsewhere(subject: Subject) -> Iterator[Finding]:
    """A port type of the role's own labels nothing but declared numbers, and lets it do with each what is declared."""
    for protocol in PROTOCOLS:
        declared = _numbers(subject.network, protocol)
        for segment in subject.verification.ports.of_types(protocol, subject.own_port_types):
            if not declared.issuperset(range(segment.low, segment.high + 1)):
                words = f"{protocol}/{segment} has the role's own port type {segment.type} and is not declared"
                yield subject.finding("network", words, where=("network",))
            else:
                yield from _ports_otherwise(subject, protocol, segment)


def _ports_otherwise(subject: Subject, protocol: str, segment: Segment) -> Iterator[Finding]:
    """A declared number of an own port type with which the role can do what is declared of another number only."""
    able = {"bind": subject.reach.bindable(protocol), "connect": subject.reach.connectable(protocol)}
    for action, segments in able.items():
        declared = _numbers(subject.network, protocol, (action,))
        if segment in segments and not declared.issuperset(range(segment.low, segment.high + 1)):
            words = f"{subject.domain} can {action} {protocol}/{segment}, which it does not declare"
            need = Need(subject.reach.asked(protocol), f"name_{action}", (segment.type,), "")
            yield subject.finding("network", words, subject.reach.met(need).rules, where=("network",))


# -- enterable


def enterable(subject: Subject) -> Iterator[Finding]:
    """Every runtime that can start the parent can start it."""
    for key, number, wanted in subject.kin.not_entering:
        bit = 1 << number
        have = conditions.either(subject.own_incoming.condition(key, bit), subject.kin.incoming.condition(key, bit))
        if not conditions.implies(wanted, have):
            runtime = subject.policy.type_names[number]
            yield subject.finding(
                "enterable",
                f"{runtime} may {key[1]} {subject.parent}:{key[0]} and not {subject.domain}:{key[0]}",
                subject.verification.access.evidence(runtime, subject.parent, key),
                where=("parent",),
            )
    for runtime in subject.policy.names(subject.kin.runtimes):
        yield from _refused_entry(subject, runtime)
    yield from _entered_alike(subject)
    yield from _hidden(subject, "enterable")


def refused_to_runtime(subject: Subject, runtime: str, of_the_system: bool) -> tuple[tuple[Key, str], ...]:
    """What a constraint refuses a runtime for the role and lets it do to the parent (start it, for one), with the
    constraint: under any SELinux users and roles of the two, or only those of the system's own. Types that constraints
    cannot tell apart have one answer; a runtime is neither of the two."""
    constraints, answers = subject.verification.constraints, subject.verification.entries
    asked = subject.kin.done_by_runtimes[runtime]
    seen = (*map(constraints.seen_as, (subject.domain, subject.parent, runtime)), asked, of_the_system)
    if seen not in answers:
        telling = constraints.telling_apart(subject.domain, subject.parent)
        first = sorted(filter(telling.__contains__, asked), key=lambda key: key not in BECOMING)
        mine, theirs = (runtime, subject.domain), (runtime, subject.parent)
        parties = Parties((PROCESSES,), (PROCESSES,), of_the_system=of_the_system)
        answers[seen] = tuple((key, c.text) for key in first for c in constraints.harder(key, mine, theirs, parties))
    return answers[seen]


def _refused_entry(subject: Subject, runtime: str) -> Iterator[Finding]:
    """What a constraint refuses a runtime for the role and not for the parent. A binary base cannot show whether an
    attribute that eases it is free of network; there, other identities than the system's are told as a limit."""
    for (tclass, perm), text in refused_to_runtime(subject, runtime, not subject.verification.exact)[:1]:
        does = "start" if (tclass, perm) == ("process", "transition") else f"{perm} ({tclass})"
        words = f"a constraint lets {runtime} {does} {subject.parent} and not {subject.domain}"
        yield subject.finding("enterable", words, (text,), where=("parent",))


def _entered_alike(subject: Subject) -> Iterator[Finding]:
    key = ("file", "entrypoint")
    if not subject.worst.get(key, 0):
        yield subject.finding(
            "enterable", f"{subject.domain} has no entrypoint: no program can be started in it", where=("parent",)
        )
    for name, bits in sorted(subject.policy.roles.items()):
        if bits & subject.policy.bits[subject.parent] and not bits & subject.bit:
            yield subject.finding(
                "enterable",
                f"the SELinux role {name} may have {subject.parent} and not {subject.domain}",
                where=("parent",),
            )


# -- closed


def closed(subject: Subject) -> Iterator[Finding]:
    """No transition, dyntransition, trace of another or permissive statement leads to more network, and the role
    cannot do away with the policy."""
    if subject.domain in subject.policy.permissive:
        yield subject.finding("closed", f"{subject.domain} is permissive: nothing is refused to it")
    yield from _undoes_policy(subject, (subject.domain,))
    seen = {subject.domain}
    paths: list[tuple[str, ...]] = [(subject.domain,)]
    while paths:
        path = paths.pop(0)
        for target, key in _led_to(subject, path[-1]):
            if target in seen:
                continue
            seen.add(target)
            found = list(_led_too_far(subject, (*path, target), key))
            yield from found
            if not found:  # what lies behind one that is told already would only drown it
                paths.append((*path, target))
    yield from _hidden(subject, "closed")


def _led_too_far(subject: Subject, path: tuple[str, ...], key: Key) -> Iterator[Finding]:
    """What is wrong with the last domain of a path, to which a permission leads."""
    if path[-1] in subject.policy.permissive:
        words = f"{' -> '.join(path)}: {key[1]} leads to a permissive domain"
        yield subject.finding("closed", words, subject.verification.access.evidence(path[-2], path[-1], key))
        return
    yield from _more_network(subject, path, key)
    yield from _undoes_policy(subject, path)


def _undoes_policy(subject: Subject, path: tuple[str, ...]) -> Iterator[Finding]:
    """The permissions by which the last domain of a path does away with the policy."""
    worst = subject.worst_of(path[-1])
    for key, targets in subject.policy.undoing.items():
        for target in subject.policy.names(worst.get(key, 0) & targets):
            words = f"{' -> '.join(path)} can do away with the policy: {target}:{key[0]} {key[1]}"
            yield subject.finding("closed", words, subject.verification.access.evidence(path[-1], target, key))


def _led_to(subject: Subject, source: str) -> Iterator[tuple[str, Key]]:
    worst = subject.worst_of(source)
    for key in sorted((tclass, perm) for tclass, perms in LEADING.items() for perm in perms):
        for target in subject.policy.names(worst.get(key, 0)):
            yield target, key


def _more_network(subject: Subject, path: tuple[str, ...], key: Key) -> Iterator[Finding]:
    target = path[-1]
    more = next(_had_there(subject, target), None)
    if more:
        words = f"{' -> '.join(path)}: {key[1]} leads to more network ({more})"
        yield subject.finding("closed", words, subject.verification.access.evidence(path[-2], target, key))


def _had_there(subject: Subject, target: str) -> Iterator[str]:
    """What another domain has of the network, and the role has not."""
    there, mapped = subject.worst_of(target), subject.policy.bits[target]
    for other, granted in sorted(there.items()):
        bits = subject.policy.network.part(*other, granted)
        seen_as_own = bits & ~mapped | (subject.bit if bits & mapped else 0)
        if seen_as_own & ~subject.worst.get(other, 0):
            yield " ".join(other)
    numbers, filters = subject.policy.types, subject.verification.reacher.xperms(target).filters
    for (tclass, perm, number), mine in sorted(subject.xperms.items()):
        if number == numbers[subject.domain] and subject.policy.network.part(
            tclass, perm, there.get((tclass, perm), 0) & mapped
        ):
            left = filters.get((tclass, perm, numbers[target]))
            if left is None or left - mine:
                yield f"other commands of {tclass} {perm}"


# -- known


def rested_on(policy: Policy) -> dict[str, frozenset[str]]:
    """class -> the permissions besides the network's that a claim rests on, of those that all kernels ask for: what
    leads to another domain or does away with the policy, what categories must refuse, and talking to others."""
    found: dict[str, set[str]] = defaultdict(set)
    for tclass, perms in (*LEADING.items(), *KEPT_APART.items()):
        found[tclass].update(perms)
    for tclass, perm in (*policy.undoing, *TALKS):
        found[tclass].add(perm)
    asked = {tclass: {perm for perm in perms if (tclass, perm) not in NEWER} for tclass, perms in found.items()}
    return {tclass: frozenset(perms) for tclass, perms in asked.items() if perms}


def known(subject: Subject) -> Iterator[Finding]:
    """No permission that a claim rests on is decided by handle_unknown."""
    if subject.policy.handle_unknown != "allow":
        return
    lacking = {name: perms for name, perms in subject.verification.unknown.items() if _matters(subject, name)}
    undefined = [name for name in lacking if name not in subject.policy.classes]
    unknown = [f"{name} {' '.join(sorted(perms))}" for name, perms in lacking.items() if name not in undefined]
    if undefined or unknown:
        yield subject.finding(
            "known",
            f"the policy does not define {', '.join((*undefined, *unknown))}, so handle_unknown=allow lets "
            f"{subject.domain} use them",
        )


def _matters(subject: Subject, tclass: str) -> bool:
    """Whether the role gains by what handle_unknown allows of a class: a permission on sockets that it cannot open and
    is not handed opens nothing, nor does InfiniBand without its devices."""
    if tclass in INFINIBAND:
        return opens_infiniband(subject)
    if tclass not in subject.policy.socket_classes or "create" in subject.verification.unknown[tclass]:
        return True
    return any(subject.worst.get((tclass, perm), 0) for perm in ("create", "read", "write"))


def opens_infiniband(subject: Subject) -> bool:
    """Whether the role may write to the devices of InfiniBand that the host has: to their types or, where the policy
    has none, to that of any device."""
    names = [name for name in subject.policy.types if name.startswith("infiniband") and name.endswith("device_t")]
    devices = subject.verification.bits_of(names or ["device_t"])
    return not devices or bool(subject.worst.get(("chr_file", "write"), 0) & devices)


CLAIMS: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    check.__name__: check for check in (network, able, contained, complete, separate, enterable, closed, known)
}
