"""What a binary base may hide: a set of types has a name in it and no expression (`not shadow_t`), so that a role which
joins the policy later may be in the set though nothing in the binary says so. It is taken to be. Rules that label what
is made are written out for each type there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from labelgen import conditions, ours
from labelgen.access import Grants, Key, xperm_ranges
from labelgen.derivation import OWN_ATTRIBUTES
from labelgen.kin import Kin, condition_of, opened_beyond
from labelgen.modules import FILE_ACCESS
from labelgen.network import LABELLED_NETWORKING, LEADING
from labelgen.policy import XPERM_RULES, Policy, Rule, members

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject

Item = TypeVar("Item", bound=Any)
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
    wholes = _joined(policy, mine, roles) | {(1 << len(policy.types)) - 1 & ~roles}
    return tuple(
        name
        for name, bits in sorted(policy.attributes.items())
        if name not in mine | DECLARED
        and not ours.is_of_shared(name)
        and any(_hold_most(bits, whole) for whole in wholes)
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


def _of(subject: Subject, type_name: str) -> tuple[frozenset[str], int]:
    """A type's attributes, and the bitset of the types of all roles."""
    roles = subject.verification.role_domains | subject.verification.private
    return frozenset(subject.policy.attributes_of[type_name]), roles


def _written_out(subject: Subject) -> list[tuple[Key, int]]:
    """What all domains but a few, or all others of an attribute but the parent, have by rules that name them: a binary
    says of each type what was said of `self`, or of an attribute that was written out (CIL's expandtypeattribute). Each
    with the targets; of itself, the domain."""
    bits = subject.policy.bits
    found = {item for names, few, _ in _groups(subject) for item in _common(subject.policy, names, few, _own)}
    return [(key, bits[target] if target else subject.bit) for key, target in sorted(found)]


def _groups(subject: Subject) -> list[tuple[tuple[str, ...], int, str]]:
    """The types of which a rule may have been said before it was written out, how many may have been left out, and what
    they are in words."""
    policy = subject.policy
    mine, roles = _of(subject, subject.domain)
    groups = [(_domains(policy, roles), FEW, "nearly all domains")]
    for attribute in sorted(mine.difference(OWN_ATTRIBUTES)):
        others = policy.attributes[attribute] & ~roles & ~policy.bits[subject.parent]
        groups.append((tuple(policy.names(others)), 0, f"all others of {attribute} but {subject.parent}"))
    return groups


@lru_cache(maxsize=4)
def _domains(policy: Policy, roles: int) -> tuple[str, ...]:
    """The domains that are no roles, those with the fewest rules first: what may do something to its own processes. (An
    SELinux role may have types that are none.)"""
    found = [
        name
        for name in policy.names((1 << len(policy.types)) - 1 & ~roles)
        if any(rule.tclass == "process" and rule.target == name for rule in policy.naming_source(name))
    ]
    return tuple(sorted(found, key=lambda name: len(policy.naming_source(name))))


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
    return tuple(sorted(item for item in asked if len(names) - counts[item] <= few))


def _own(policy: Policy, domain: str) -> set[tuple[Key, str]]:
    return {
        ((rule.tclass, perm), "" if rule.target == domain else rule.target)
        for rule in policy.naming_source(domain)
        if rule.kind == "allow" and rule.tclass not in LABELLED_NETWORKING
        for perm in rule.perms
    }


def _told_of_all(subject: Subject, claim: str, key: Key, target: int) -> Finding:
    on = "themselves" if target == subject.bit else subject.policy.names(target)[0]
    words = (
        f"it cannot be shown that {subject.domain} may not {key[1]} ({key[0]}) as nearly all like it may on {on}; "
        "verify on the modules of the base"
    )
    return subject.finding(claim, words, where=("network",) if claim == "network" else ("name",))


def _told(subject: Subject, claim: str, type_name: str, name: str, does: str, why: str) -> Finding:
    words = (
        f"it cannot be shown that {type_name} is not in the set that the binary calls {name}, {does}; "
        "verify on the modules of the base"
    )
    return subject.finding(claim, words, (why,), where=("network",) if claim == "network" else ("name",))


def _rather(subject: Subject) -> tuple[str, ...]:
    """The sets that may hold the domain, where the network is not asked about."""
    return _holding_rather(subject.policy, *_of(subject, subject.domain))


def _sets_of_files(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """The access and the name of each private type, and the sets that may hold it."""
    for access, type_name in subject.file_types.items():
        if type_name in subject.policy.types:
            for name in _holding_rather(subject.policy, *_of(subject, type_name)):
                yield access, type_name, name


def _first(rules: Iterable[Rule], counts: Callable[[Rule, Key], object]) -> Iterator[tuple[Rule, Key]]:
    """The first of some rules, and of what it grants, that counts."""
    for rule in rules:
        for perm in sorted(rule.perms) if rule.kind == "allow" else ():
            if counts(rule, (rule.tclass, perm)):
                yield rule, (rule.tclass, perm)
                return


def network(subject: Subject, allowed: Callable[[Subject, Key], int]) -> Iterator[Finding]:
    """Network that such a set has, beyond what is `allowed` to the role."""
    bits, part = subject.policy.bits, subject.policy.network.part
    for name in _holding(subject.policy, *_of(subject, subject.domain)):
        rules = subject.policy.naming_source(name)
        for rule, key in _first(rules, lambda rule, key: part(*key, bits[rule.target]) & ~allowed(subject, key)):
            yield _told(subject, "network", subject.domain, name, f"which has {key[0]} {key[1]}", str(rule))
    for key, target in _written_out(subject):
        if part(*key, target) & ~allowed(subject, key):
            yield _told_of_all(subject, "network", key, target)


def not_taken(subject: Subject, allowed: Callable[[Subject, Key], int]) -> dict[str, list[str]]:
    """claim -> the sets with domains in them that are not taken to hold the role, as policies of distributions have
    many, and would break it if they did. `allowed` as for `network`."""
    # mutate.py: 2 survive. What the others break is a finding.
    policy, bits, part = subject.policy, subject.policy.bits, subject.policy.network.part
    mine, roles = _of(subject, subject.domain)
    theirs, done_to_theirs = subject.kin.theirs, subject.kin.done_to_theirs
    breaking: dict[str, tuple[Callable[[str], list[Rule]], Callable[[Rule, Key], object]]] = {
        "network": (policy.naming_source, lambda rule, key: part(*key, bits[rule.target]) & ~allowed(subject, key)),
        "contained": (policy.naming_source, lambda rule, key: _is_more(policy, rule, rule.target, key, theirs)),
        "separate": (policy.naming_target, lambda rule, key: _is_more(policy, rule, rule.source, key, done_to_theirs)),
        "closed": (policy.naming_source, lambda rule, key: _leads(subject, bits[rule.target], key)),
    }
    domains = sum(bits[name] for name in _domains(policy, roles))
    taken = {*mine, *_holding(policy, mine, roles)}
    sets = [
        name
        for name, held in sorted(policy.attributes.items())
        if held & domains and name not in taken and not ours.is_of_shared(name)
    ]
    found = {
        claim: [name for name in sets if any(_first(rules(name), breaks))]
        for claim, (rules, breaks) in breaking.items()
    }
    return {claim: names for claim, names in found.items() if names}


def closed(subject: Subject) -> Iterator[Finding]:
    """Another domain that such a set may become, or the policy that it may do away with."""
    bits = subject.policy.bits
    for name in _holding(subject.policy, *_of(subject, subject.domain)):
        rules = subject.policy.naming_source(name)
        for rule, key in _first(rules, lambda rule, key: _leads(subject, bits[rule.target], key)):
            does = f"which has {key[0]} {key[1]} on {rule.target}"
            yield _told(subject, "closed", subject.domain, name, does, str(rule))
    for key, target in _written_out(subject):
        if _leads(subject, target, key):
            yield _told_of_all(subject, "closed", key, target)


def _leads(subject: Subject, targets: int, key: Key) -> bool:
    is_another = key[1] in LEADING.get(key[0], ()) and bool(targets & ~subject.bit)
    return is_another or bool(targets & subject.policy.undoing.get(key, 0))


def contained(subject: Subject) -> Iterator[Finding]:
    """What such a set may do and the parent may not, and what the role may do to one that holds its files."""
    theirs = subject.kin.theirs
    filters = subject.verification.parent_xperms[subject.parent].filters
    does = f"which has what {subject.parent} lacks"
    for name in _rather(subject):
        rules = subject.policy.naming_source(name)
        for rule, _ in _first(rules, lambda rule, key: _is_more(subject.policy, rule, rule.target, key, theirs)):
            yield _told(subject, "contained", subject.domain, name, does, str(rule))
        for rule, commands, had in _limited(subject.policy, name, filters):
            if any(known is not None and commands - known for known in had):
                yield _told(subject, "contained", subject.domain, name, does, str(rule))
    for key, target in _written_out(subject):
        counterpart = subject.kin.bit if target == subject.bit else target
        left = counterpart & ~theirs.always.get(key, 0)
        if any(theirs.condition(key, 1 << number) is not True for number in members(left)):
            yield _told_of_all(subject, "contained", key, target)
    for access, type_name, name in _sets_of_files(subject):
        yield from _beyond_access(subject, access, type_name, name)


def _is_more(policy: Policy, rule: Rule, other_end: str, key: Key, theirs: Grants) -> bool:
    """Whether a rule grants a permission at its other end in a setting in which `theirs` does not."""
    left = policy.bits[other_end] & ~theirs.always.get(key, 0)
    when = condition_of(rule.guard)
    return any(not conditions.implies(when, theirs.condition(key, 1 << number)) for number in members(left))


def _beyond_access(subject: Subject, access: str, type_name: str, name: str) -> Iterator[Finding]:
    """What the role may do to a set that holds its files beyond the access that it declares."""
    may, bits = FILE_ACCESS[access], subject.policy.bits
    rules = [rule for rule in subject.policy.naming_target(name) if bits[rule.source] & subject.bit]
    for rule, key in _first(rules, lambda _, key: key[1] not in may.get(key[0], ())):
        does = f"to which {subject.domain} may {key[1]} ({key[0]})"
        yield _told(subject, "contained", type_name, name, does, str(rule))


def complete(subject: Subject) -> Iterator[Finding]:
    """What of the parent's such a set would take away from the role."""
    filters = subject.verification.parent_xperms[subject.parent].filters
    for name in _rather(subject):
        for rule, _, had in _limited(subject.policy, name, filters):
            if None in had:
                yield _told(subject, "complete", subject.domain, name, "which is limited in its commands", str(rule))
    yield from _constrained(subject, "complete", False)


def separate(subject: Subject) -> Iterator[Finding]:
    """Who may act on such a set and not on the parent or its files; constraints that bind one less; and labels."""
    yield from _acted_upon(subject, subject.domain, subject.kin, _rather(subject))
    for type_name in (subject.domain, *subject.file_types.values()):
        if type_name in subject.policy.types:
            yield from _acted_upon_by_roles(subject, type_name)
    for _, type_name, name in _sets_of_files(subject):
        kin = subject.verification.kin(type_name, subject.parent_file_type, subject.parent)
        yield from _acted_upon(subject, type_name, kin, (name,))
        yield from _opened(subject, type_name, name, kin)
    yield from _constrained(subject, "separate", True)
    yield from _labelled(subject)


def _opened(subject: Subject, type_name: str, name: str, kin: Kin) -> Iterator[Finding]:
    """A container of another kind that opens a set which holds the role's files."""
    opening = {key for key, _ in opened_beyond(subject.verification.access.through((name,), False), kin.openers)}
    for rule, key in _first(subject.policy.naming_target(name), lambda _, key: key in opening):
        does = f"which a container of another kind may {key[1]} ({key[0]})"
        yield _told(subject, "separate", type_name, name, does, str(rule))


def _acted_upon(subject: Subject, type_name: str, kin: Kin, sets: Iterable[str]) -> Iterator[Finding]:
    for name in sets:
        rules = [rule for rule in subject.policy.naming_target(name) if rule.source != subject.domain]
        for rule, _ in _first(
            rules, lambda rule, key: _is_more(subject.policy, rule, rule.source, key, kin.done_to_theirs)
        ):
            yield _told(subject, "separate", type_name, name, f"on which {rule.source} can act", str(rule))


def _acted_upon_by_roles(subject: Subject, type_name: str) -> Iterator[Finding]:
    """Roles that act on a set which may hold other roles, or their files: by their own rules, or as they may be in a
    set, too."""
    policy, (mine, roles) = subject.policy, _of(subject, type_name)
    acting = {*_holding(policy, *_of(subject, subject.domain))}
    holding = _holding_rather(policy, mine, roles)
    for name in (*holding, *_less_a_few(policy, holding, roles)):
        for rule in policy.naming_target(name):
            if rule.kind == "allow" and (rule.source in acting or policy.bits[rule.source] & subject.bit):
                does = f"on which {rule.source} can act, which may hold other roles"
                yield _told(subject, "separate", type_name, name, does, str(rule))
                break


def _less_a_few(policy: Policy, sets: Iterable[str], roles: int) -> Iterator[str]:
    """Those sets of our own modules that are one of the `sets` without a few types, such as the parent."""
    wholes = [policy.attributes[name] for name in sets]
    for name, bits in policy.attributes.items() if wholes else ():
        if ours.is_of_shared(name) and any(
            not bits & ~whole and _number(whole & ~bits & ~roles) <= FEW for whole in wholes
        ):
            yield name


def _limited(policy: Policy, name: str, filters: Filters) -> Iterator[tuple[Rule, set[int], list[Optional[set[int]]]]]:
    """The rules that limit a set to commands, these commands, and those to which the parent is limited on the types
    that the rule is about (access.Xperms)."""
    for rule in policy.naming_source(name):
        if rule.kind in XPERM_RULES:
            commands = xperm_ranges(rule.xperms) if rule.kind == "allowxperm" else set()
            numbers = list(members(policy.bits[rule.target]))
            yield rule, commands, [filters.get((rule.tclass, perm, n)) for perm in rule.perms for n in numbers]


def _constrained(subject: Subject, claim: str, easier: bool) -> Iterator[Finding]:
    """Constraints that name such a set, which what the role's type is held against is not in."""
    policy, naming = subject.policy, subject.verification.constraints.naming
    pairs = [(subject.domain, subject.parent, name) for name in _rather(subject)]
    pairs += [(type_name, subject.parent_file_type, name) for _, type_name, name in _sets_of_files(subject)]
    for type_name, counterpart, name in pairs:
        if (name, easier) in naming and not policy.bits[name] & policy.bits[counterpart]:
            does = f"which a constraint binds {'less' if easier else 'more'} than {counterpart}"
            yield _told(subject, claim, type_name, name, does, naming[name, easier])


def _labelled(subject: Subject) -> Iterator[Finding]:
    """Labels that what all others of an attribute make gets, or nearly all domains, and not what the parent makes: a
    binary has such rules for each type, and does not tell whether they were said of them all."""
    policy = subject.policy
    theirs = _labels(policy, subject.parent)
    for names, few, whose in _groups(subject):
        for rule in _common(policy, names, few, _labels):
            if rule not in theirs:
                words = f"it cannot be shown that what {subject.domain} makes is not labelled as with {whose}"
                yield subject.finding("separate", f"{words}; verify on the modules of the base", (rule,))


def _labels(policy: Policy, domain: str) -> set[str]:
    """The rules that label what a domain makes, without who makes it."""
    found = {str(rule._replace(source="*")) for rule in policy.labelling_from(domain) if rule.kind == "type_transition"}
    return found.union(_ranges(policy).get(domain, ()))


@lru_cache(maxsize=4)
def _ranges(policy: Policy) -> dict[str, list[str]]:
    """Domain -> the levels that rules give to what it makes."""
    found: dict[str, list[str]] = defaultdict(list)
    for source, target, tclass, levels in policy.range_transitions:
        for domain in policy.names(policy.bits[source]):
            found[domain].append(f"range_transition * {target}:{tclass} {levels};")
    return dict(found)
