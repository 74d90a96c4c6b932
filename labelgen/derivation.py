"""The shared module, derived: everything the parent has, less the network.

Type enforcement has no subtraction, so a role is a sibling of the parent. Every rule of the base in which the parent
is source or target is sorted here, once, for a stated reason: granted by an attribute that the role joins, copied to
the attribute `lxc_domain` (or, what is labelled networking, to `lxc_net_domain`), or dropped.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Callable, NamedTuple, Optional

from labelgen import conditions
from labelgen.constraints import Constraints, confined_beside
from labelgen.errors import ParentError
from labelgen.network import LABELLED_NETWORKING, LEADING
from labelgen.policy import ACCESS_RULES, FILE_CLASSES, XPERM_RULES, Guard, Policy, Rule

DOMAIN = "lxc_domain"
NET_DOMAIN = "lxc_net_domain"
FILE_TYPE = "lxc_file_type"
OWN_ATTRIBUTES = (DOMAIN, NET_DOMAIN, FILE_TYPE)

# libsepol, module_to_cil.c: what stands for a set of types in a rule gets a name like this one, anew at each compile.
GENERATED = re.compile(r".+_typeattr_[0-9]+\Z|cil_gen_require\Z")

# What may be done with another type's file for its content, or to take it over, rather than to find it.
CONTENT = frozenset(
    {
        "append",
        "create",
        "entrypoint",
        "execute",
        "execute_no_trans",
        "link",
        "map",
        "open",
        "read",
        "relabelfrom",
        "relabelto",
        "rename",
        "setattr",
        "unlink",
        "write",
        "add_name",
        "remove_name",
        "reparent",
        "rmdir",
        "mounton",
    }
)

# Names under which eras and distributions know the file type of containers (SELINUX.md, section 1).
FILE_TYPE_NAMES = ("container_file_t", "svirt_sandbox_file_t", "svirt_lxc_file_t")

# reason -> what it says to a person
REASONS = {
    "kept": "granted by an attribute that the role joins",
    "copied": "copied to the roles' attribute",
    "labelled": "labelled networking: copied for networked roles only",
    "network": "dropped: network",
    "leads out": "dropped: becoming or tracing another domain, which may have more network",
    "between": "dropped: between containers; a role acts only on itself",
    "sysctl": "copied, but for writing to sysctls of the network",
    "silence": "dropped: would hide a refused network access from the audit log",
    "other label": "dropped: its result is the parent type itself",
}


class SharedRule(NamedTuple):
    """A rule of the shared module. `sources` and `targets` are sets as the module language writes them: names,
    `-name`, `self`; `condition` is empty or an expression over booleans."""

    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    perms: tuple[str, ...]
    condition: str = ""
    default: str = ""
    filename: str = ""
    xperms: str = ""


@dataclass(frozen=True)
class Derivation:
    """What the base says of the parent, ready to be rendered.

    joined: attributes a role joins; file_joined: those its private files join; rules: the shared module;
    own_sockets: class -> what the parent may do with its own sockets and capabilities, of the network;
    node_bind: class -> the nodes it may bind; port_types: permission (name_bind, name_connect) -> class -> port types;
    own_xperms: its extended permissions on its own sockets; own_transitions: labels of objects it makes of itself;
    own_files: class -> what it may do with its file type;
    selinux_roles: those that may have the parent; counts: reason -> number of rules of the base.
    All these grants hold in every setting of the booleans.
    """

    parent: str
    file_type: str
    joined: tuple[str, ...]
    file_joined: tuple[str, ...]
    rules: tuple[SharedRule, ...]
    own_sockets: dict[str, tuple[str, ...]]
    node_bind: dict[str, tuple[str, ...]]
    port_types: dict[str, dict[str, tuple[str, ...]]]
    own_xperms: tuple[SharedRule, ...]
    own_transitions: tuple[SharedRule, ...]
    own_files: dict[str, tuple[str, ...]]
    selinux_roles: tuple[str, ...]
    counts: dict[str, int]


def resolve_parent(policy: Policy, parent: str, base: str = "the base") -> tuple[str, str]:
    """The parent's type and its file type, through aliases. Raises ParentError where the `base`, as it is called to
    people, has none."""
    found = policy.resolve(parent)
    if found is None:
        what = " (it is an attribute)" if parent in policy.attributes else ""
        near = difflib.get_close_matches(parent, [*policy.types, *policy.aliases], n=1, cutoff=0.8)
        raise ParentError(
            f"{base} has no type '{parent}'{what}" + (f"; did you mean '{near[0]}'?" if near else ""),
            "choose a base that has: with container-selinux (Fedora, RHEL), or the module `container` (Debian)",
        )
    if not any(r.tclass == "process" and "fork" in r.perms and r.target == found for r in policy.naming_source(found)):
        raise ParentError(f"'{parent}' is no domain on {base}: nothing runs in it")
    for name in FILE_TYPE_NAMES:
        file_type = policy.resolve(name)
        if file_type is not None:
            return found, file_type
    raise ParentError(f"{base} has {parent} but no file type for containers (tried {', '.join(FILE_TYPE_NAMES)})")


def _named_by_constraints(policy: Policy) -> frozenset[str]:
    return frozenset(
        name
        for constraint in policy.constraints
        for part in constraint.expression
        if isinstance(part, frozenset)
        for name in part
    )


# Given attributes: the base linked once more with a type for each that has no other attribute, and those types.
# Only a base made of modules can be asked; a binary has forgotten what `self` was said of.
Probe = Callable[[Sequence[str]], tuple[Policy, list[str]]]


class Deriver:
    """Sorts the rules of one policy for one parent."""

    def __init__(self, policy: Policy, parent: str, probe: Optional[Probe] = None) -> None:
        self.policy = policy
        self.probe = probe
        self.network = policy.network
        self.parent, self.file_type = resolve_parent(policy, parent)
        self.parent_bit = policy.bits[self.parent]
        self.joined = self._attributes_to_join()
        self.beside = confined_beside(policy, Constraints(policy), self.parent, self.file_type)
        self.file_joined = self._file_attributes_to_join()
        self.counts: Counter[str] = Counter()

    def _attributes_to_join(self) -> tuple[str, ...]:
        """Those of the parent's attributes that constraints name, unless one grants network or reaches containers."""
        named = _named_by_constraints(self.policy)
        harmless = [
            a
            for a in self.policy.attributes_of[self.parent]
            if a in named and not GENERATED.match(a) and self._is_harmless(a)
        ]
        doubtful = [a for a in harmless if self._self_network(a)]
        refused = set(self._granting_network(doubtful) if doubtful and self.probe else doubtful)
        return tuple(a for a in harmless if a not in refused)

    def _granting_network(self, attributes: list[str]) -> Iterator[str]:
        """Those attributes that grant network to a type that has nothing else: asked of the linker."""
        assert self.probe is not None
        linked, types = self.probe(attributes)
        network = linked.network
        for attribute, name in zip(attributes, types):
            if any(network.of(rule.tclass, rule.perms) for rule in linked.rules_from(name)):
                yield attribute

    def _is_harmless(self, attribute: str) -> bool:
        return not any(
            self.network.of(rule.tclass, rule.perms)
            or self.policy.bits[rule.target] & self.parent_bit
            or rule.perms & LEADING.get(rule.tclass, frozenset())
            for rule in self.policy.naming_source(attribute)
        )

    def _self_network(self, attribute: str) -> bool:
        """Whether every type of the attribute has a network permission on itself that the parent has too: a `self`
        rule of the attribute, which a kernel policy shows only written out for each type (libsepol, expand.c). What
        every domain has of labelled networking opens no socket, and is said as a limit."""
        shared: Optional[set[tuple[str, str]]] = None
        for name in self.policy.names(self.policy.attributes[attribute]):
            own = {
                (rule.tclass, perm)
                for rule in self.policy.naming_source(name)
                if rule.target == name and rule.kind == "allow"
                for perm in self.network.of(rule.tclass, rule.perms)
                if rule.tclass not in LABELLED_NETWORKING
            }
            shared = own if shared is None else shared & own
        return bool(shared)

    def _file_attributes_to_join(self) -> tuple[str, ...]:
        """Those of the file type's attributes through which no container, of whatever kind, reaches content."""
        return tuple(
            a
            for a in self.policy.attributes_of[self.file_type]
            if not GENERATED.match(a) and not self._opens_content(a)
        )

    def _opens_content(self, attribute: str) -> bool:
        return any(
            self.policy.bits[rule.source] & (self.parent_bit | self.beside)
            and rule.kind == "allow"
            and rule.tclass in FILE_CLASSES
            and (rule.perms & CONTENT and not (rule.tclass == "dir" and rule.perms <= {"getattr", "open", "search"}))
            for rule in self.policy.naming_target(attribute)
        )

    # -- sets of types as the module language writes them

    def _set(self, symbol: str, without: Iterable[str] = (), minus: Iterable[str] = ()) -> tuple[str, ...]:
        """`symbol` as a set: the types `without` and the attributes `minus` taken out; empty when nothing is left."""
        bits = self.policy.bits[symbol]
        removed = [name for name in without if bits & self.policy.bits[name]]
        for name in removed:
            bits &= ~self.policy.bits[name]
        if not bits:
            return ()
        if GENERATED.match(symbol):
            return tuple(self.policy.names(bits))
        return (symbol, *(f"-{name}" for name in (*removed, *minus)))

    def _target_set(self, symbol: str, spared: Iterable[str] = ()) -> tuple[str, ...]:
        """The targets of a rule of the parent, without the parent, the types `spared`, other roles and their private
        files."""
        minus = [DOMAIN] if symbol in self.joined else []
        minus += [FILE_TYPE] if symbol in self.file_joined else []
        return self._set(symbol, (self.parent, *spared), minus)

    def _others(self, symbol: str, without: Iterable[str] = ()) -> tuple[str, ...]:
        """The sources of a rule about what is done to a role or its files, without the types `without`: no role is one
        of them, though somebody may have made a set that holds every type to come."""
        return self._set(symbol, without, [DOMAIN] if symbol in self.policy.attributes else [])

    # -- rules with the parent as source

    def outgoing(self) -> Iterator[SharedRule]:
        """The shared module's rules about what a role may do."""
        for rule in self.policy.rules_from(self.parent):
            if rule.source in self.joined:
                self.counts["kept"] += 1
            elif rule.kind in ACCESS_RULES:
                yield from self._outgoing_access(rule)
            elif rule.kind in XPERM_RULES:
                yield from self._outgoing_xperms(rule)
            else:
                yield from self._outgoing_transition(rule)

    def _outgoing_access(self, rule: Rule) -> Iterator[SharedRule]:
        network = self.network.of(rule.tclass, rule.perms)
        reason = "network" if network else ""
        if network and rule.kind != "allow":
            reason = "silence"
        elif network and rule.tclass in LABELLED_NETWORKING:
            reason = "labelled"
            yield from self._to_targets(rule, NET_DOMAIN, network)
        rest = rule.perms - network
        leading = rest & LEADING.get(rule.tclass, frozenset())
        if leading and not self._only_self(rule.target):
            rest -= leading
            reason = "leads out"
            yield from self._to_itself(rule, DOMAIN, leading)
        writes = (
            self.network.writes(rule.tclass, rest) if self.policy.bits[rule.target] & self.network.sysctls else None
        )
        if rest and not writes:
            reason = "copied"
            yield from self._to_targets(rule, DOMAIN, rest)
        elif writes:
            reason = "sysctl"
            yield from self._spared(rule, rest, writes)
        self.counts[reason] += 1

    def _spared(self, rule: Rule, perms: frozenset[str], writes: frozenset[str]) -> Iterator[SharedRule]:
        """A rule on files that are sysctls of the network among others: those are not written."""
        if perms - writes:
            yield from self._to_targets(rule, DOMAIN, perms - writes)
        yield from self._to_targets(rule, DOMAIN, writes, self.policy.names(self.network.sysctls))

    def _only_self(self, symbol: str) -> bool:
        return self.policy.bits[symbol] == self.parent_bit

    def _to_targets(
        self, rule: Rule, attribute: str, perms: frozenset[str], spared: Sequence[str] = ()
    ) -> Iterator[SharedRule]:
        yield from self._to_itself(rule, attribute, perms)
        targets = self._target_set(rule.target, spared)
        if targets:
            yield self._rule_of(rule, attribute, targets, perms)

    def _to_itself(self, rule: Rule, attribute: str, perms: frozenset[str]) -> Iterator[SharedRule]:
        if self.policy.bits[rule.target] & self.parent_bit:
            yield self._rule_of(rule, attribute, ("self",), perms)

    def _rule_of(self, rule: Rule, attribute: str, targets: tuple[str, ...], perms: frozenset[str]) -> SharedRule:
        condition = self._condition(rule.guard)
        return SharedRule(rule.kind, (attribute,), targets, (rule.tclass,), tuple(sorted(perms)), condition)

    @staticmethod
    def _condition(guard: Optional[Guard]) -> str:
        if guard is None:
            return ""
        return conditions.infix(guard.postfix if guard.branch else (*guard.postfix, "!"))

    def _outgoing_xperms(self, rule: Rule) -> Iterator[SharedRule]:
        if rule.tclass in self.network.classes:
            self.counts["network" if rule.kind == "allowxperm" else "silence"] += 1
            return
        self.counts["copied"] += 1
        for copy in self._to_targets(rule, DOMAIN, rule.perms):
            yield copy._replace(xperms=rule.xperms)

    def _outgoing_transition(self, rule: Rule) -> Iterator[SharedRule]:
        """Labels of what a role makes. A process that would leave the role stays in it: the permission to leave is
        dropped, and a label that may not be entered would make the program fail to start."""
        if rule.default == self.parent:
            self.counts["other label"] += 1
        elif rule.tclass == "process":
            self.counts["leads out"] += 1
        elif self.policy.bits[rule.target] & self.parent_bit:
            # Said in each role's module: `self` in a transition would need module version 21 (libsepol 3.4).
            self.counts["copied"] += 1
        else:
            self.counts["copied"] += 1
            yield SharedRule(
                rule.kind,
                (DOMAIN,),
                self._target_set(rule.target),
                (rule.tclass,),
                (),
                self._condition(rule.guard),
                rule.default,
                rule.filename,
            )

    def own_transitions(self) -> Iterator[SharedRule]:
        """The labels of objects that the parent makes of itself (anonymous inodes, say)."""
        for rule in self.policy.rules_from(self.parent):
            if (
                rule.kind.startswith("type_")
                and rule.default != self.parent
                and rule.tclass != "process"
                and rule.source not in self.joined
                and self.policy.bits[rule.target] & self.parent_bit
            ):
                yield SharedRule(
                    rule.kind,
                    (DOMAIN,),
                    ("self",),
                    (rule.tclass,),
                    (),
                    self._condition(rule.guard),
                    rule.default,
                    rule.filename,
                )

    # -- rules with the parent as target

    def incoming(self) -> Iterator[SharedRule]:
        """The shared module's rules about what others may do to a role."""
        for rule in self.policy.rules_to(self.parent):
            if self.policy.bits[rule.source] & self.parent_bit:
                yield from self._incoming_beside_parent(rule)
            elif rule.target in self.joined:
                self.counts["kept"] += 1
            elif rule.kind in ACCESS_RULES | XPERM_RULES:
                yield self._incoming_access(rule)
            else:
                yield from self._incoming_transition(rule)
        self.counts["other label"] += len(self.policy.labelling(self.parent))

    def _incoming_beside_parent(self, rule: Rule) -> Iterator[SharedRule]:
        """A rule by which the parent and others act on the parent: the others keep it, the parent gets none."""
        if rule.source == self.parent or rule.target in self.joined:
            return
        if self._others(rule.source, (self.parent,)) and rule.kind in ACCESS_RULES | XPERM_RULES:
            yield self._incoming_access(rule)
        else:
            self.counts["between"] += 1

    def _incoming_access(self, rule: Rule) -> SharedRule:
        network = self.network.of(rule.tclass, rule.perms)
        self.counts["labelled" if network else "copied"] += 1
        return SharedRule(
            rule.kind,
            self._others(rule.source, (self.parent,)),
            (NET_DOMAIN if network else DOMAIN,),
            (rule.tclass,),
            tuple(sorted(rule.perms)),
            self._condition(rule.guard),
            xperms=rule.xperms,
        )

    def _incoming_transition(self, rule: Rule) -> Iterator[SharedRule]:
        if rule.default == self.parent:
            return
        self.counts["copied"] += 1
        yield SharedRule(
            rule.kind,
            self._set(rule.source),
            (DOMAIN,),
            (rule.tclass,),
            (),
            self._condition(rule.guard),
            rule.default,
            rule.filename,
        )

    # -- private files

    def files(self) -> Iterator[SharedRule]:
        """The rules that let runtimes mount, admins relabel and filesystems hold a role's private files. Containers of
        other kinds reach the parent's files, and get none."""
        beside = self.policy.names(self.beside)
        for rule in self.policy.rules_to(self.file_type):
            reached_by_containers = self.policy.bits[rule.source] & self.parent_bit
            if rule.target in self.file_joined or reached_by_containers or rule.kind not in ACCESS_RULES | XPERM_RULES:
                continue
            sources = self._others(rule.source, beside)
            if not sources:
                continue
            yield SharedRule(
                rule.kind,
                sources,
                (FILE_TYPE,),
                (rule.tclass,),
                tuple(sorted(rule.perms)),
                self._condition(rule.guard),
                xperms=rule.xperms,
            )
        for rule in self.policy.rules_from(self.file_type):
            if rule.source in self.file_joined or rule.kind != "allow":
                continue
            targets = self._set(rule.target)
            yield SharedRule(
                rule.kind, (FILE_TYPE,), targets, (rule.tclass,), tuple(sorted(rule.perms)), self._condition(rule.guard)
            )

    # -- what a role may declare

    def _unconditional(self) -> Iterator[Rule]:
        return (rule for rule in self.policy.rules_from(self.parent) if rule.kind == "allow" and rule.guard is None)

    def own_sockets(self) -> dict[str, tuple[str, ...]]:
        """class -> the network permissions of the parent on itself."""
        found: dict[str, set[str]] = defaultdict(set)
        for rule in self._unconditional():
            if self.policy.bits[rule.target] & self.parent_bit:
                found[rule.tclass].update(self.network.of(rule.tclass, rule.perms))
        return _sorted(found)

    def node_bind(self) -> dict[str, tuple[str, ...]]:
        """class -> the node types that the parent may bind, as the base's rules name them."""
        found: dict[str, set[str]] = defaultdict(set)
        for rule in self._unconditional():
            if "node_bind" in rule.perms:
                found[rule.tclass].update(self._set(rule.target))
        return _sorted(found)

    def port_types(self, perm: str) -> dict[str, tuple[str, ...]]:
        """class -> the port types on which the parent has `perm` (name_bind or name_connect)."""
        found: dict[str, int] = defaultdict(int)
        for rule in self._unconditional():
            if perm in rule.perms:
                found[rule.tclass] |= self.policy.bits[rule.target]
        return {tclass: tuple(self.policy.names(bits)) for tclass, bits in sorted(found.items())}

    def own_xperms(self) -> Iterator[SharedRule]:
        """The parent's extended permissions on its own sockets: a role that gets ioctl on them must be filtered alike,
        for without any such rule every ioctl command would be allowed, and with one that only audits none
        (services.c, services_compute_xperms_drivers)."""
        for rule in self.policy.rules_from(self.parent):
            if (
                rule.kind in XPERM_RULES
                and rule.tclass in self.network.classes
                and self.policy.bits[rule.target] & self.parent_bit
            ):
                yield SharedRule(
                    rule.kind,
                    (DOMAIN,),
                    ("self",),
                    (rule.tclass,),
                    tuple(rule.perms),
                    self._condition(rule.guard),
                    xperms=rule.xperms,
                )

    def own_files(self) -> dict[str, tuple[str, ...]]:
        """class -> what the parent may do with its file type."""
        found: dict[str, set[str]] = defaultdict(set)
        for rule in self._unconditional():
            if rule.tclass in FILE_CLASSES and self.policy.bits[rule.target] & self.policy.bits[self.file_type]:
                found[rule.tclass] |= rule.perms
        return _sorted(found)


def _sorted(sets: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(sorted(names)) for key, names in sorted(sets.items()) if names}


def _merged(rules: Iterable[SharedRule]) -> tuple[SharedRule, ...]:
    """The same rules in few statements, in a fixed order. Each is about one name of the base at either end, and what
    goes away with that name is no other's."""
    unique = {one for rule in rules for one in _one_by_one(rule)}
    for axis in ("perms", "classes"):
        groups: dict[SharedRule, set[str]] = defaultdict(set)
        for rule in unique:
            united = rule.kind in ACCESS_RULES
            groups[_with(rule, axis, ()) if united else rule].update(getattr(rule, axis) if united else ())
        unique = {_with(rule, axis, tuple(sorted(names))) if names else rule for rule, names in groups.items()}
    return tuple(sorted(unique))


def _with(rule: SharedRule, axis: str, names: tuple[str, ...]) -> SharedRule:
    return SharedRule(**{**rule._asdict(), axis: names})


def _one_by_one(rule: SharedRule) -> Iterator[SharedRule]:
    for sources, targets in product(_single(rule.sources), _single(rule.targets)):
        yield rule._replace(sources=sources, targets=targets)


def _single(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A set as sets of one name; one from which names are taken stays whole."""
    return [names] if any(name.startswith("-") for name in names) else [(name,) for name in names]


def derive(policy: Policy, parent: str, probe: Optional[Probe] = None) -> Derivation:
    """Derive the shared module of `parent` from the base `policy`; without a `probe`, what a binary may hide is taken
    at its worst.

    Raises InputError where the base has no such type.
    """
    deriver = Deriver(policy, parent, probe)
    rules = _merged([*deriver.outgoing(), *deriver.incoming(), *deriver.files()])
    return Derivation(
        parent=deriver.parent,
        file_type=deriver.file_type,
        joined=deriver.joined,
        file_joined=deriver.file_joined,
        rules=rules,
        own_sockets=deriver.own_sockets(),
        node_bind=deriver.node_bind(),
        port_types={perm: deriver.port_types(perm) for perm in ("name_bind", "name_connect")},
        own_xperms=tuple(sorted(set(deriver.own_xperms()))),
        own_transitions=tuple(sorted(set(deriver.own_transitions()))),
        own_files=deriver.own_files(),
        selinux_roles=tuple(sorted(r for r, bits in policy.roles.items() if bits & deriver.parent_bit)),
        counts=dict(sorted(deriver.counts.items())),
    )
