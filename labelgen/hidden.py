"""What a binary base may hide: a set of types has a name in it and no expression (`not shadow_t`), so that a role which
joins the policy later may be in the set though nothing in the binary says so. It is taken to be. Rules that label what
is made are written out for each type there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar

from labelgen import conditions, ours
from labelgen.access import Grants, Key, xperm_ranges
from labelgen.derivation import GENERATED, OWN_ATTRIBUTES
from labelgen.kin import Kin, condition_of, opened_beyond
from labelgen.modules import FILE_ACCESS
from labelgen.network import LABELLED_NETWORKING, LEADING
from labelgen.policy import FILE_CLASSES, XPERM_RULES, Policy, Rule, members

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject

Item = TypeVar("Item", bound=Any)
Holding = Callable[[Policy, frozenset[str], int], tuple[str, ...]]
Filters = Mapping[tuple[str, str, int], set[int]]

# Attributes that the policies of distributions declare and give to one type at a time (`attribute domain;` in the
# sources of refpolicy, fedora-selinux/selinux-policy and container-selinux). These are the ones that hold most of what
# roles join, on the policies seen; nobody made them by leaving types out.
_NAMES = """
application_domain_type container_domain container_net_domain corenet_unlabeled_type dbusd_system_bus_client domain
file_type kernel_system_state_reader mountpoint non_auth_file_type non_security_file_type nsswitch_domain
pulseaudio_client sandbox_net_domain svirt_file_type svirt_sandbox_domain syslog_client_type ubac_constrained_type
virt_domain
"""
DECLARED = frozenset(_NAMES.split())

# The claims for which the same sets are taken to hold a role.
TAKEN_ALIKE = (("network", "closed"), ("able", "contained", "complete", "enterable"), ("separate",))
FEW = 3  # so many types at most are taken to have been left out of a set one by one


def _number(bits: int) -> int:
    return bin(bits).count("1")


def _hold_most(bits: int, of: int) -> bool:
    return 2 * _number(bits & of) > _number(of)


def _joined(policy: Policy, mine: frozenset[str], roles: int) -> set[int]:
    """The attributes of the base that a type with the attributes `mine` joins, without the roles that are in them."""
    return {policy.attributes[name] & ~roles for name in mine if name not in OWN_ATTRIBUTES}


# Roles of one parent join the same attributes.
@lru_cache(maxsize=64)
def _holding(policy: Policy, mine: frozenset[str], roles: int) -> tuple[str, ...]:
    """The sets that may hold a type with the attributes `mine` though it is not in them: those that somebody else than
    a distribution named and that hold most types there are, or most of an attribute that it joins."""
    wholes = _joined(policy, mine, roles) | {policy.every_type & ~roles}
    return tuple(
        name
        for name, bits in sorted(policy.attributes.items())
        if name not in DECLARED and not ours.is_of_shared(name) and any(_hold_most(bits, whole) for whole in wholes)
    )


@lru_cache(maxsize=64)
def _holding_rather(policy: Policy, mine: frozenset[str], roles: int) -> tuple[str, ...]:
    """The same without those that lie in an attribute which the type does not join (`domain`): they are rather parts of
    that one, unless they are parts of one that it joins, too. What is asked of them is not the network."""
    joined = _joined(policy, mine, roles)
    elsewhere = [policy.attributes[name] for name in DECLARED.intersection(policy.attributes).difference(mine)]

    def is_part(bits: int) -> bool:
        return any(_hold_most(bits, whole) and not bits & ~whole for whole in joined)

    return tuple(
        name
        for name in _holding(policy, mine, roles)
        if is_part(policy.attributes[name]) or not any(not policy.attributes[name] & ~whole for whole in elsewhere)
    )


@lru_cache(maxsize=16)
def _without_a_name(policy: Policy, alike: int) -> tuple[str, ...]:
    """The sets to which a compiler gave their name, and which hold some of the types `alike`. In modules a set that
    leaves types out has none (libsepol, module_to_cil.c: NAME_typeattr_1)."""
    return tuple(
        name
        for name, bits in sorted(policy.attributes.items())
        if GENERATED.match(name) and not ours.is_of_shared(name) and bits & alike
    )


def _attributes_and_roles(subject: Subject, type_name: str) -> tuple[frozenset[str], int]:
    """A type's attributes, and the bitset of the types of all roles."""
    return frozenset(subject.policy.attributes_of[type_name]), subject.verification.types_of_roles


def _written_out(subject: Subject, items: Callable[[Policy, str], set[Item]]) -> list[Item]:
    """What all domains but a few, or all others of an attribute but the parent, have by rules that name them: a binary
    says of each type what was said of `self`, or of an attribute that was written out (CIL's expandtypeattribute)."""
    groups = _groups(subject, subject.domain)
    found = {item for names, few, _ in groups for item in _common(subject.policy, names, few, items)}
    return sorted(found, key=str)


def _groups(subject: Subject, type_name: str) -> list[tuple[tuple[str, ...], int, str]]:
    """The types of which a rule may have been said before it was written out, if it was said of one of the role's types
    too; how many may have been left out, and what they are in words."""
    policy = subject.policy
    mine, roles = _attributes_and_roles(subject, type_name)
    is_domain = type_name == subject.domain
    counterpart = subject.parent if is_domain else subject.parent_file_type
    groups = [(_domains(policy, roles), FEW, "nearly all domains")] if is_domain else []
    for attribute in sorted(mine.difference(OWN_ATTRIBUTES)):
        others = policy.attributes[attribute] & ~roles & ~policy.bits[counterpart]
        groups.append((tuple(policy.names(others)), 0, f"all others of {attribute} but {counterpart}"))
    return groups


@lru_cache(maxsize=4)
def _domains(policy: Policy, roles: int) -> tuple[str, ...]:
    """The domains that are no roles, those with the fewest rules first: what may do something to its own processes. (An
    SELinux role may have types that are none.)"""
    found = [
        name
        for name in policy.names(policy.every_type & ~roles)
        if any(rule.tclass == "process" and rule.target == name for rule in policy.naming_source(name))
    ]
    return tuple(sorted(found, key=lambda name: len(policy.naming_source(name))))


@lru_cache(maxsize=4)
def _domain_bits(policy: Policy, roles: int) -> int:
    """The domains that are no roles, and the types of which nothing says what they are, as a bitset."""
    domains = sum(policy.bits[name] for name in _domains(policy, roles))
    return domains | ~_of_files(policy) & policy.every_type & ~roles


@lru_cache(maxsize=4)
def _file_bits(policy: Policy, roles: int) -> int:
    """The types of files that are no roles', and those of which nothing says what they are, as a bitset."""
    domains = sum(policy.bits[name] for name in _domains(policy, roles))
    return (_of_files(policy) | ~domains) & policy.every_type & ~roles


@lru_cache(maxsize=4)
def _of_files(policy: Policy) -> int:
    """The types that files may have (filesystem associate), as a bitset."""
    found = 0
    for names in (policy.types, policy.attributes):
        for name in names:
            if any("associate" in rule.perms for rule in policy.naming_source(name) if rule.tclass == "filesystem"):
                found |= policy.bits[name]
    return found


@lru_cache(maxsize=64)
def _common(
    policy: Policy, names: tuple[str, ...], few: int, items: Callable[[Policy, str], set[Item]]
) -> tuple[Item, ...]:
    """The items that all of the types have, but for a `few`."""
    # Most of what one has is not in all of them: the first of them tell.
    sample = 2 * few + 1
    if len(names) < sample:
        return ()
    counts: Counter[Item] = Counter()
    for name in names[:sample]:
        counts.update(items(policy, name))
    asked = {item for item, count in counts.items() if sample - count <= few}
    for name in names[sample:] if asked else ():
        counts.update(asked & items(policy, name))
    return tuple(sorted((item for item in asked if len(names) - counts[item] <= few), key=str))


def _own(policy: Policy, domain: str) -> set[tuple[Key, str]]:
    """What a domain may do by the rules that name it, and on what; of itself without a name."""
    return {
        ((rule.tclass, perm), "" if rule.target == domain else rule.target)
        for rule in policy.naming_source(domain)
        if rule.kind == "allow"
        for perm in rule.perms
    }


def _done_by_all(subject: Subject) -> list[tuple[Key, str]]:
    """What was written out, and on what. Labelled networking on itself that the parent has is told as a limit."""
    theirs, bit = subject.kin.theirs.worst(), subject.policy.bits[subject.parent]
    return [
        (key, target)
        for key, target in _written_out(subject, _own)
        if target or key[0] not in LABELLED_NETWORKING or not theirs.get(key, 0) & bit
    ]


def _own_limits(policy: Policy, domain: str) -> set[Rule]:
    """The rules that limit a domain to commands and name it, as if they were said of all."""
    return {_of_all(rule, domain) for rule in policy.naming_source(domain) if rule.kind in XPERM_RULES}


def _of_all(rule: Rule, domain: str) -> Rule:
    return rule._replace(source="*", target="self" if rule.target == domain else rule.target)


@dataclass(frozen=True)
class Reading:
    """What a binary is taken to hide from one role, as a claim asks: the sets that may hold its types, and the rules
    that may have been said of it before they were written out. With a `name` (of a set or a type) it is, of all that
    stands in this name, what is not taken so. `allowed`: a bitset of the types on which the role may use a permission
    on the network."""

    subject: Subject
    claim: str
    allowed: Callable[[Subject, Key], int]
    name: str = ""

    def findings(self) -> Iterator[Finding]:
        """What breaks the claim."""
        return CHECKS[self.claim](self)

    def sets(self) -> tuple[str, ...]:
        """The sets that may hold the domain."""
        holding = _holding if self.claim in ("network", "closed") else _holding_rather
        return self._or_name(self.subject.domain, holding, _domain_bits)

    def rules_of_role_on(self, name: str) -> list[Rule]:
        """The rules about what a role may do to what stands by a name, or to that without a few types: this role, or
        others where these are asked about (`separate`)."""
        policy, (mine, roles) = self.subject.policy, _attributes_and_roles(self.subject, self.subject.domain)
        asked = _holding(policy, mine, roles) if self.claim == "separate" else self.sets()
        acting: Container[str] = policy.bits if self.name else asked
        bit, names = self.subject.bit, (name, *_less_a_few(policy, policy.bits[name], roles))
        rules = (rule for one in names for rule in policy.naming_target(one))
        return [rule for rule in rules if policy.bits[rule.source] & bit or rule.source in acting]

    def of_files(self) -> Iterator[tuple[str, str, str]]:
        """The access and the name of each private file type, and the sets that may hold it."""
        for access, type_name in self.subject.file_types.items():
            if type_name in self.subject.policy.types:
                for name in self.of(type_name):
                    yield access, type_name, name

    def of(self, type_name: str) -> tuple[str, ...]:
        """The sets that may hold one of the role's types."""
        if type_name == self.subject.domain:
            return self.sets()
        return self._or_name(type_name, _holding_rather, _file_bits)

    def _or_name(self, type_name: str, holding: Holding, alike: Callable[[Policy, int], int]) -> tuple[str, ...]:
        # mutate.py: 1 survives. What is said of a set that the type is in is said, and told, of the type.
        policy, (mine, roles) = self.subject.policy, _attributes_and_roles(self.subject, type_name)
        taken = {*holding(policy, mine, roles)}
        if self.claim != "separate":
            taken.update(_without_a_name(policy, alike(policy, roles)))
        if not self.name:
            return tuple(sorted(taken - mine))
        return (self.name,) if self.name not in taken | mine else ()

    def written_out(self) -> list[tuple[Key, str, int]]:
        """What the role may do, and on what, by rules that name others one by one: the name of it, which is empty for
        the role itself, and its types."""
        subject, bits = self.subject, self.subject.policy.bits
        found = [] if self.name else _done_by_all(subject)
        return [(key, target, bits[target] if target else subject.bit) for key, target in found]

    def groups(self, type_name: str) -> list[tuple[tuple[str, ...], int, str]]:
        """The types whose labels may be given to what the role makes or makes it in (_groups)."""
        if not self.name:
            return _groups(self.subject, type_name)
        is_type = self.name in self.subject.policy.types
        return [((self.name,), 0, self.name)] if is_type and self.of(type_name) else []

    @property
    def types(self) -> list[str]:
        """The role's domain and private file types."""
        names = (self.subject.domain, *self.subject.file_types.values())
        return [name for name in names if name in self.subject.policy.types]

    def told_of_all(self, key: Key, target: int) -> Finding:
        """A finding about what was written out."""
        on = "themselves" if target == self.subject.bit else self.subject.policy.names(target)[0]
        may_not = f"{self.subject.domain} may not {key[1]} ({key[0]}) as nearly all like it may on {on}"
        return self.finding(may_not)

    def told(self, type_name: str, name: str, does: str, why: str) -> Finding:
        """A finding about a set that may hold one of the role's types, or without a name about nearly all domains."""
        what = f"in the set that the binary calls {name}" if name else "among nearly all that are like it"
        return self.finding(f"{type_name} is not {what}, {does}", why)

    def finding(self, what: str, *rules: str) -> Finding:
        """A finding that something cannot be shown."""
        words = f"it cannot be shown that {what}; verify on the modules of the base"
        return self.subject.finding(
            self.claim, words, rules, where=("network",) if self.claim == "network" else ("name",)
        )


def _first(rules: Iterable[Rule], counts: Callable[[Rule, Key], object]) -> Iterator[tuple[Rule, Key]]:
    """The first of some rules, and of what it grants, that counts."""
    for rule in rules:
        for perm in sorted(rule.perms) if rule.kind == "allow" else ():
            if counts(rule, (rule.tclass, perm)):
                yield rule, (rule.tclass, perm)
                return


def _network(reading: Reading) -> Iterator[Finding]:
    """Network that such a set has, beyond what is allowed to the role."""
    subject = reading.subject
    for name in reading.sets():
        for rule, key, part in _network_of(subject.policy, name):
            if part & ~reading.allowed(subject, key):
                yield reading.told(subject.domain, name, f"which has {key[0]} {key[1]}", str(rule))
                break
    for key, _, target in reading.written_out():
        if subject.policy.network.part(*key, target) & ~reading.allowed(subject, key):
            yield reading.told_of_all(key, target)


@lru_cache(maxsize=8192)
def _network_of(policy: Policy, name: str) -> tuple[tuple[Rule, Key, int], ...]:
    """The rules by which what stands by a name has network, the permission, and on which types it counts as that."""
    found: dict[tuple[Key, int], Rule] = {}
    for rule in policy.naming_source(name):
        for perm in sorted(rule.perms) if rule.kind == "allow" else ():
            key = (rule.tclass, perm)
            part = policy.network.part(*key, policy.bits[rule.target])
            if part:
                found.setdefault((key, part), rule)
    return tuple((rule, *which) for which, rule in found.items())


def _closed(reading: Reading) -> Iterator[Finding]:
    """Another domain that such a set may become, or the policy that it may do away with."""
    subject = reading.subject
    bits = subject.policy.bits
    for name in reading.sets():
        rules = subject.policy.naming_source(name)
        for rule, key in _first(rules, lambda rule, key: _leads(subject, bits[rule.target], key)):
            does = f"which has {key[0]} {key[1]} on {rule.target}"
            yield reading.told(subject.domain, name, does, str(rule))
    for key, _, target in reading.written_out():
        if _leads(subject, target, key):
            yield reading.told_of_all(key, target)


def _leads(subject: Subject, targets: int, key: Key) -> bool:
    is_another = key[1] in LEADING.get(key[0], ()) and bool(targets & ~subject.bit)
    return is_another or bool(targets & subject.policy.undoing.get(key, 0))


def _contained(reading: Reading) -> Iterator[Finding]:
    """What such a set may do and the parent may not, and what the role may do to one that holds its files."""
    subject = reading.subject
    theirs = subject.kin.theirs
    does = f"which has what {subject.parent} lacks"
    for name in reading.sets():
        rules = subject.policy.naming_source(name)
        for rule, _ in _first(rules, lambda rule, key: _is_more(subject.policy, rule, rule.target, key, theirs)):
            yield reading.told(subject.domain, name, does, str(rule))
    for key, _, target in reading.written_out():
        counterpart = subject.kin.bit if target == subject.bit else target
        left = counterpart & ~theirs.always.get(key, 0)
        if any(theirs.condition(key, 1 << number) is not True for number in members(left)):
            yield reading.told_of_all(key, target)
    for name in reading.sets():
        # What a role may do to itself its parent may do to itself.
        done = reading.rules_of_role_on(name)
        for rule, key in _first(done, lambda rule, key: not _may_itself(subject, rule, key)):
            yield reading.told(subject.domain, name, f"to which {subject.domain} may {key[1]} ({key[0]})", str(rule))
    for type_name, name, rule, commands, had in _limited(reading):
        if any(known is not None and commands - known for known in had):
            yield reading.told(type_name, name, does, str(rule))
    for access, type_name, name in reading.of_files():
        yield from _beyond_access(reading, access, type_name, name)


def _may_itself(subject: Subject, rule: Rule, key: Key) -> bool:
    """Whether the parent may do to itself what a rule grants, wherever the rule is in force."""
    return conditions.implies(condition_of(rule.guard), subject.kin.theirs.condition(key, subject.kin.bit))


def _is_more(policy: Policy, rule: Rule, other_end: str, key: Key, theirs: Grants) -> bool:
    """Whether a rule grants a permission at its other end in a setting in which `theirs` does not."""
    left = policy.bits[other_end] & ~theirs.always.get(key, 0)
    when = condition_of(rule.guard)
    return any(not conditions.implies(when, theirs.condition(key, 1 << number)) for number in members(left))


def _beyond_access(reading: Reading, access: str, type_name: str, name: str) -> Iterator[Finding]:
    """What the role may do to a set that holds its files beyond the access that it declares."""
    subject, may = reading.subject, FILE_ACCESS[access]
    rules = reading.rules_of_role_on(name)
    for rule, key in _first(rules, lambda _, key: key[1] not in may.get(key[0], ())):
        does = f"to which {subject.domain} may {key[1]} ({key[0]})"
        yield reading.told(type_name, name, does, str(rule))


def _complete(reading: Reading) -> Iterator[Finding]:
    """What of the parent's such a set would take away from the role."""
    for type_name, name, rule, _, had in _limited(reading):
        if None in had:
            yield reading.told(type_name, name, "which is limited in its commands", str(rule))
    yield from _constrained(reading, False)


def _separate(reading: Reading) -> Iterator[Finding]:
    """Who may act on such a set and not on the parent or its files; constraints that bind one less; and labels."""
    subject = reading.subject
    yield from _acted_upon(reading, subject.domain, subject.kin, reading.sets())
    # What it may do to other roles' files is said of roles with the same attributes, and counts without its own, too.
    private = subject.policy.names(subject.verification.private)
    alike = {subject.policy.attributes_of[name]: name for name in (*private, *reading.types)}
    for type_name in alike.values():
        yield from _acted_upon_by_roles(reading, type_name)
    yield from _acting_on_it(reading)
    yield from _acting_on_parent(reading)
    for _, type_name, name in reading.of_files():
        kin = subject.verification.kin(type_name, subject.parent_file_type, subject.parent)
        yield from _acted_upon(reading, type_name, kin, (name,))
        yield from _opened(reading, type_name, name, kin)
    yield from _constrained(reading, True)
    yield from _labelled(reading)


def _opened(reading: Reading, type_name: str, name: str, kin: Kin) -> Iterator[Finding]:
    """A container of another kind that opens a set which holds the role's files."""
    subject = reading.subject
    opening = {key for key, _ in opened_beyond(subject.verification.access.through((name,), False), kin.openers)}
    for rule, key in _first(subject.policy.naming_target(name), lambda _, key: key in opening):
        does = f"which a container of another kind may {key[1]} ({key[0]})"
        yield reading.told(type_name, name, does, str(rule))


def _acted_upon(reading: Reading, type_name: str, kin: Kin, sets: Iterable[str]) -> Iterator[Finding]:
    subject = reading.subject
    for name in sets:
        rules = [rule for rule in subject.policy.naming_target(name) if rule.source != subject.domain]
        for rule, _ in _first(
            rules, lambda rule, key: _is_more(subject.policy, rule, rule.source, key, kin.done_to_theirs)
        ):
            yield reading.told(type_name, name, f"on which {rule.source} can act", str(rule))


def _acted_upon_by_roles(reading: Reading, type_name: str) -> Iterator[Finding]:
    """Roles that act on a set which may hold other roles, or their files: by their own rules, or as they may be in a
    set, too."""
    for name in reading.of(type_name):
        for rule in reading.rules_of_role_on(name):
            if rule.kind == "allow":
                does = f"on which {rule.source} can act, which may hold other roles"
                yield reading.told(type_name, name, does, str(rule))
                break


def _acting_on_it(reading: Reading) -> Iterator[Finding]:
    """Sets that may hold other roles and act on the role or its files."""
    policy, subject = reading.subject.policy, reading.subject
    own = subject.verification.bits_of(reading.types)
    for name in reading.sets():
        acting = [rule for rule in policy.naming_source(name) if policy.bits[rule.target] & own]
        for rule, key in _first(acting, lambda rule, key: True):
            yield reading.finding(
                f"no other role is in {name}, which may {key[1]} ({key[0]}) {subject.domain} or its files", str(rule)
            )


def _acting_on_parent(reading: Reading) -> Iterator[Finding]:
    """Sets that may hold the role and act on the processes of its parent, or on other roles and their files; and what
    nearly all may do, roles among them, to the parent, to the role or to its files."""
    policy, subject = reading.subject.policy, reading.subject
    parent, own = policy.bits[subject.parent], subject.verification.bits_of(reading.types)
    others = subject.verification.types_of_roles & ~own
    for name in reading.sets():
        acting = [rule for rule in policy.naming_source(name) if policy.bits[rule.target] & (parent | others)]
        for rule, key in _first(acting, lambda rule, key: True):
            yield reading.told(subject.domain, name, f"which may {key[1]} ({key[0]}) {rule.target}", str(rule))
    holding = {name for type_name in reading.types for name in reading.of(type_name)}
    for key, name, target in reading.written_out():
        if name and (target & (parent | own) or name in holding):
            yield reading.told_of_all(key, target)


def _less_a_few(policy: Policy, whole: int, roles: int) -> list[str]:
    """Those sets of our own modules that are `whole` without a few types, such as the parent."""
    alike = ((name, bits) for name, bits in _of_shared(policy) if not bits & ~whole)
    return [name for name, bits in alike if _number(whole & ~bits & ~roles) <= FEW]


@lru_cache(maxsize=4)
def _of_shared(policy: Policy) -> tuple[tuple[str, int], ...]:
    return tuple((name, bits) for name, bits in policy.attributes.items() if ours.is_of_shared(name))


Limit = tuple[str, str, Rule, set[int], list[Optional[set[int]]]]


def _limited(reading: Reading) -> Iterator[Limit]:
    """One of the role's types, a set that may hold it, a rule that limits the set to commands, or others on it, these
    commands, and those to which the parent is limited in its place (access.Xperms)."""
    subject, policy = reading.subject, reading.subject.policy
    filters = subject.verification.parent_xperms[subject.parent].filters
    for name in reading.sets():
        for rule in policy.naming_source(name):
            yield from _limiting(subject.domain, name, rule, policy.bits[rule.target], filters)
        for rule in reading.rules_of_role_on(name):
            yield from _limiting(subject.domain, name, rule, subject.kin.bit, filters)
    for rule in [] if reading.name else _written_out(subject, _own_limits):
        others = subject.kin.bit if rule.target == "self" else policy.bits[rule.target]
        yield from _limiting(subject.domain, "", rule, others, filters)
    for _, type_name, name in reading.of_files():
        for rule in reading.rules_of_role_on(name):
            yield from _limiting(type_name, name, rule, policy.bits[subject.parent_file_type], filters)


def _limiting(type_name: str, name: str, rule: Rule, others: int, filters: Filters) -> Iterator[Limit]:
    if rule.kind in XPERM_RULES:
        commands = xperm_ranges(rule.xperms) if rule.kind == "allowxperm" else set()
        had = [filters.get((rule.tclass, perm, number)) for perm in rule.perms for number in members(others)]
        yield type_name, name, rule, commands, had


def _constrained(reading: Reading, easier: bool) -> Iterator[Finding]:
    """Constraints that name such a set, which what the role's type is held against is not in; what is declared is to be
    granted whatever the parent has."""
    subject, policy = reading.subject, reading.subject.policy
    naming = subject.verification.constraints.naming
    pairs = [(subject.domain, subject.parent, name) for name in reading.sets()]
    pairs += [(type_name, subject.parent_file_type, name) for _, type_name, name in reading.of_files()]
    for type_name, counterpart, name in pairs:
        is_told = reading.claim == "able" or not policy.bits[name] & policy.bits[counterpart]
        if (name, easier) in naming and is_told:
            does = f"which a constraint binds {'less' if easier else 'more'} than {counterpart}"
            yield reading.told(type_name, name, does, naming[name, easier])
    # Of what eases a constraint only the system's own SELinux user and role are asked about, but at the worst.
    eases = reading.claim in ("complete", "enterable") and (reading.name, True) in naming
    if eases and policy.bits[reading.name] & policy.bits[subject.parent]:
        does = f"in which {subject.parent} is, and which a constraint asks for"
        yield reading.told(subject.domain, reading.name, does, naming[reading.name, True])


def _able(reading: Reading) -> Iterator[Finding]:
    """Labels that keep the role from what it declares, and constraints that do."""
    yield from _constrained(reading, False)
    yield from _labelled(reading)
    yield from _labelled_in_own_files(reading)
    yield from _of_another_role(reading)


def _of_another_role(reading: Reading) -> Iterator[Finding]:
    """SELinux roles that what is made in all others of an attribute gets, or in nearly all domains: as with labels."""
    subject, policy = reading.subject, reading.subject.policy
    started_as = {name for name, bits in policy.roles.items() if bits & subject.bit}
    for type_name in reading.types:
        for names, few, whose in reading.groups(type_name):
            for selinux_role, words, text in _common(policy, names, few, _roles_given):
                if selinux_role in started_as:
                    yield reading.finding(
                        f"what is made in or run of {type_name} has no SELinux role {words} as of {whose}", text
                    )


def _roles_given(policy: Policy, type_name: str) -> set[tuple[str, str, str]]:
    """The role_transitions about a type: of which SELinux role, to which and of what class, and the rule without it."""
    return {
        (
            rule.source,
            f"{rule.default} ({rule.tclass})",
            f"role_transition {rule.source} *:{rule.tclass} {rule.default};",
        )
        for rule in policy.role_transitions.get(type_name, ())
    }


def _enterable(reading: Reading) -> Iterator[Finding]:
    """Constraints that keep runtimes from starting such a set."""
    yield from _constrained(reading, False)


def _labelled(reading: Reading) -> Iterator[Finding]:
    """Labels that what all others of an attribute make gets, or nearly all domains: a binary has such rules for each
    type, and does not tell whether they were said of them all. Of files and the like those count that the parent's have
    not (`separate`); of programs and sockets all (`able`), as levels do, but for those that nearly all domains have and
    the parent too: such are said of `domain`, in which no role is."""
    subject, policy = reading.subject, reading.subject.policy
    theirs = _labels(policy, subject.parent)
    of_all = (
        () if reading.name else _common(policy, _domains(policy, subject.verification.types_of_roles), FEW, _labels)
    )
    passed_over = theirs.intersection(of_all)
    for names, few, whose in reading.groups(subject.domain):
        for label in _common(policy, names, few, _labels):
            counts = label not in theirs or (label.counts_always and label not in passed_over)
            if label.claim == reading.claim and counts:
                yield reading.finding(f"what {subject.domain} makes is not labelled as with {whose}", label.rule)
    if reading.name in policy.types and subject.file_types:
        for label in _labels_in(policy, reading.name):
            if label.claim == reading.claim:
                yield reading.finding(
                    f"what is made in the role's files is not labelled as in {reading.name}", label.rule
                )


def _labelled_in_own_files(reading: Reading) -> Iterator[Finding]:
    """Types that what all others of an attribute make in all others of one that the role's files are in gets: what the
    parent gets so in its own files is not what a role is to get in its own."""
    subject, policy = reading.subject, reading.subject.policy
    if reading.name:
        return
    for makers, few, whose in reading.groups(subject.domain):
        made_in: dict[tuple[str, str], set[str]] = defaultdict(set)
        for target, tclass, default in _common(policy, makers, few, _made):
            made_in[tclass, default].add(target)
        own = [name for name in reading.types if name != subject.domain] if made_in else []
        for type_name, ((tclass, default), targets) in product(own, made_in.items()):
            if any(files and targets.issuperset(files) for files, _, _ in reading.groups(type_name)):
                yield reading.finding(
                    f"what {subject.domain} makes in {type_name} is not labelled as with {whose} in others like it",
                    f"type_transition * *:{tclass} {default};",
                )


def _made(policy: Policy, domain: str) -> set[tuple[str, str, str]]:
    """Where a domain makes something whose type a rule gives: the type there, the class, and the type."""
    rules = (rule for rule in policy.labelling_from(domain) if rule.kind == "type_transition")
    return {(rule.target, rule.tclass, rule.default) for rule in rules if rule.tclass in FILE_CLASSES}


def _labels_in(policy: Policy, type_name: str) -> Iterator[_Label]:
    """What labels that which is made in files of a type."""
    for rule in policy.naming_target(type_name):
        if rule.kind == "type_transition" and rule.tclass in FILE_CLASSES:
            yield _Label("able", True, str(rule))
    for source, target, tclass, levels in policy.range_transitions:
        if tclass in FILE_CLASSES and policy.bits[target] & policy.bits[type_name]:
            yield _Label("separate", True, f"range_transition {source} {target}:{tclass} {levels};")


class _Label(NamedTuple):
    """What labels something that a domain makes: the claim that it may break, whether it does where the parent has the
    same, and the rule without who makes it."""

    claim: str
    counts_always: bool
    rule: str


@lru_cache(maxsize=4096)
def _labels(policy: Policy, domain: str) -> frozenset[_Label]:
    """What labels that which a domain makes."""
    found = set()
    for rule in policy.labelling_from(domain):
        if rule.kind == "type_transition":
            works = rule.tclass != "process" and rule.tclass not in policy.socket_classes
            found.add(_Label("separate" if works else "able", not works, str(_of_all(rule, domain))))
    found.update(_Label("separate", True, text) for text in _ranges(policy).get(domain, ()))
    return frozenset(found)


@lru_cache(maxsize=4)
def _ranges(policy: Policy) -> dict[str, list[str]]:
    """Domain -> the levels that rules give to what it makes."""
    found: dict[str, list[str]] = defaultdict(list)
    for source, target, tclass, levels in policy.range_transitions:
        for domain in policy.names(policy.bits[source]):
            found[domain].append(f"range_transition * {target}:{tclass} {levels};")
    return dict(found)


CHECKS: dict[str, Callable[[Reading], Iterator[Finding]]] = {
    "network": _network,
    "able": _able,
    "contained": _contained,
    "complete": _complete,
    "separate": _separate,
    "enterable": _enterable,
    "closed": _closed,
}


def supposed(subjects: Iterable[Subject], claim: str, allowed: Callable[[Subject, Key], int]) -> Policy:
    """The policy as it is if all that a claim takes to be hidden is so: the roles and their files are in the sets that
    may hold them, and what was written out was said of the roles, too. What our own modules say of such a set without a
    few types is said of the role's, as they say it of what a role does to others."""
    attributes: dict[str, tuple[str, ...]] = {}
    rules: list[Rule] = []
    policy = None
    for subject in subjects:
        policy, domain, reading = subject.policy, subject.domain, Reading(subject, claim, allowed)
        for name in reading.types:
            attributes[name] = reading.of(name)
            _, roles = _attributes_and_roles(subject, name)
            copies = {one for held in attributes[name] for one in _less_a_few(policy, policy.bits[held], roles)}
            rules += [rule._replace(target=name) for one in sorted(copies) for rule in policy.naming_target(one)]
        for (tclass, perm), target in _done_by_all(subject):
            rules.append(Rule("allow", domain, target or domain, tclass, frozenset({perm})))
        for rule in _written_out(subject, _own_limits):
            rules.append(rule._replace(source=domain, target=domain if rule.target == "self" else rule.target))
    assert policy is not None
    return policy.supposing(attributes, rules)


def taken(subject: Subject, claim: str, allowed: Callable[[Subject, Key], int]) -> Iterator[Finding]:
    """What of all that a binary may hide breaks a claim, as far as it is taken to be so whoever asks."""
    return Reading(subject, claim, allowed).findings()
