"""What a rule grants and the kernel refuses all the same: by a bound (typebounds) or by a constraint.

services.c, context_struct_compute_av: the rules are added up, then the constraints take away, then
type_attribute_bounds_av takes away what the source's bound may not do to the target's bound, or to the target where
it has none: by the rules, the constraints and its own bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Optional

from labelgen import conditions
from labelgen.access import Access, Grants, Key
from labelgen.conditions import Condition
from labelgen.constraints import (
    FILES,
    OBJECT,
    ONE,
    PROCESSES,
    SYSTEM,
    Context,
    Parties,
    context_of,
    leaves,
    single_level,
)
from labelgen.derivation import FILE_TYPE
from labelgen.network import LEADING
from labelgen.policy import Constraint, members

if TYPE_CHECKING:
    from labelgen.claims import Subject


@lru_cache(maxsize=16)
def _outgoing(access: Access, type_name: str) -> Grants:
    return access.outgoing(type_name)


# -- bounds


def unmasked(subject: Subject, key: Key, target: str) -> Condition:
    """When the bounds leave the role what a rule grants it on a target."""
    bounds = subject.policy.bounds
    return _left_by(subject.verification.access, bounds.get(subject.domain), key, bounds.get(target, target))


@lru_cache(maxsize=1 << 16)
def _left_by(access: Access, source: Optional[str], key: Key, target: str) -> Condition:
    """When a bound and its own bounds may do it to the target's bound, or to the target where it has none."""
    if source is None:
        return True
    bounds = access.policy.bounds
    mine = _outgoing(access, source).condition(key, access.policy.bits[target])
    return conditions.both(mine, _left_by(access, bounds.get(source), key, bounds.get(target, target)))


def masked(subject: Subject) -> Iterator[tuple[str, Key]]:
    """What the parent may do to types that others bound, by which it may be bounded itself, and the kernel masks for
    the role: target and permission."""
    verification = subject.verification
    of_roles = verification.role_domains | subject.policy.attributes.get(FILE_TYPE, 0)
    for target, key, granted in _to_bounded(verification.access, subject.parent, of_roles):
        left = conditions.implies(granted, unmasked(subject, key, target))
        if not left or _refused_on_its_bound(subject, key, target):
            yield target, key


def _refused_on_its_bound(subject: Subject, key: Key, target: str) -> bool:
    """Whether a constraint refuses the parent a permission on the target's bound, and not on the target."""
    constraints, bound = subject.verification.constraints, subject.policy.bounds.get(target, target)
    parties = _parties(subject, target)
    return any(constraints.harder(key, (subject.parent, bound), (subject.parent, target), parties))


@lru_cache(maxsize=16)
def _to_bounded(access: Access, parent: str, without: int) -> tuple[tuple[str, Key, Condition], ...]:
    """What a type may do, and when, to the types that others bound, but for itself and the types `without`."""
    policy, theirs = access.policy, _outgoing(access, parent)
    bounds, bounded = policy.bounds, 0
    for name in policy.bounds:
        bounded |= policy.bits[name]
    bounded &= ~(without | policy.bits[parent])
    found = []
    for key, bits in sorted(theirs.worst().items()):
        for number in members(bits & bounded & ~policy.network.part(*key, bits)):
            name = policy.type_names[number]
            left = _left_by(access, bounds.get(parent), key, bounds.get(name, name))
            found.append((name, key, conditions.both(theirs.condition(key, 1 << number), left)))
    return tuple(found)


# -- constraints


def refusing(subject: Subject, key: Key, target: str, label: str = "") -> tuple[Constraint, ...]:
    """The constraints that refuse the role a permission on its own, on what has the whole `label`, or on what carries
    no categories, as files on disk do, under the system's own SELinux user and role; what it creates carries its own.
    And those that refuse the role what they leave the parent, under any user and role and at any level. Where it is
    bounded, also those that refuse its bound the same on the target's. Types that constraints cannot tell apart have
    one answer."""
    # mutate.py: 2 survive. A permission is asked for on the role itself or on other types, and never on both; nor on
    # processes and on others.
    constraints, answers = subject.verification.constraints, subject.verification.refusals
    context = context_of(subject.policy, label) if label else None
    others = context.rest if context else (target == subject.domain, target in subject.file_types.values())
    pairs = tuple(_bounding(subject.policy.bounds, subject.domain, target))
    beside, parties = (subject.parent, _beside(subject, target)), _parties(subject, target)
    compared = [(constraints.seen_as(one), constraints.seen_as(other)) for one, other in (*pairs, beside)]
    seen = (*compared, others, parties, key)
    if seen not in answers:
        found: dict[Constraint, None] = {}
        for name, asked in pairs:
            found.update(dict.fromkeys(constraints.harder(key, (name, asked), beside, parties)))
            itself = single_level(*SYSTEM, name, *ONE)
            for other in [context] if context else _others(subject, key, target):
                found.update(dict.fromkeys(constraints.refusing(itself, replace(other, type=asked), *key)))
        answers[seen] = tuple(found)
    return answers[seen]


def _bounding(bounds: Mapping[str, str], source: Optional[str], target: str) -> Iterator[tuple[str, str]]:
    """A source and a target, and what bounds both, and so on."""
    while source is not None:
        yield source, target
        source, target = bounds.get(source), bounds.get(target, target)


def _others(subject: Subject, key: Key, target: str) -> Iterator[Context]:
    """The contexts that a target may have: the role's own, that of files on disk, or of its own files either."""
    of_its_own = target == subject.domain or key[1] == "create"
    levels = (ONE,) if of_its_own else ((), ONE) if target in subject.file_types.values() else ((),)
    roles = (SYSTEM[1],) if target == subject.domain else _roles_of_files(subject, SYSTEM[1])
    for role, categories in product(roles, levels):
        yield single_level(SYSTEM[0], role, target, *categories)


def _roles_of_files(subject: Subject, selinux_role: str) -> tuple[str, ...]:
    """The SELinux roles that files may have which somebody of a role makes."""
    return (OBJECT, selinux_role) if subject.policy.files_have_roles else (OBJECT,)


def refused_beside_parent(subject: Subject) -> tuple[tuple[str, Key, Constraint], ...]:
    """What a constraint leaves the parent and refuses the role, as it names one of them: target, permission and
    constraint. Roles that constraints cannot tell apart have one answer."""
    answers, seen = subject.verification.beside_parent, subject.verification.constraints.seen_as(subject.domain)
    if (seen, subject.parent) not in answers:
        answers[seen, subject.parent] = tuple(_refused_beside_parent(subject))
    return answers[seen, subject.parent]


def _refused_beside_parent(subject: Subject) -> Iterator[tuple[str, Key, Constraint]]:
    telling = subject.verification.constraints.telling_apart(subject.domain, subject.parent)
    for constraint in subject.policy.constraints:
        keys = telling.intersection((constraint.tclass, perm) for perm in constraint.perms)
        found = next(_refused_beside(subject, constraint, keys), None)
        if found:
            yield (*found, constraint)


def _refused_beside(subject: Subject, constraint: Constraint, keys: Iterable[Key]) -> Iterator[tuple[str, Key]]:
    worst = _outgoing(subject.verification.access, subject.parent).worst()
    for key in sorted(keys):
        bits = worst.get(key, 0)
        bits &= ~subject.policy.network.part(*key, bits) & ~subject.verification.role_domains
        if key[1] in LEADING.get(key[0], ()):
            bits &= subject.policy.bits[subject.parent]
        for target in _samples(subject, constraint, bits):
            its_own = subject.domain if target == subject.parent else target
            mine, theirs = (subject.domain, its_own), (subject.parent, target)
            if subject.verification.constraints.is_harder(constraint, mine, theirs, _parties(subject, target)):
                yield target, key


def _samples(subject: Subject, constraint: Constraint, bits: int) -> Iterator[str]:
    """A target for each way in which a constraint can tell types apart, and the parent itself."""
    policy, parent = subject.policy, subject.policy.bits[subject.parent]
    if bits & parent:
        yield subject.parent
    parts = [bits & ~parent]
    for operand, names, _ in leaves(constraint.expression):
        named = subject.verification.bits_of(names) if operand == "t2" else 0
        parts = [part for whole in parts for part in (whole & named, whole & ~named) if part]
    yield from (policy.type_names[next(members(part))] for part in parts)


def _beside(subject: Subject, target: str) -> str:
    """What is to the parent what a target is to the role."""
    if target == subject.domain:
        return subject.parent
    return subject.parent_file_type if target in subject.file_types.values() else target


def _parties(subject: Subject, target: str) -> Parties:
    """Of what the contexts are in which a container meets a target: itself, files, or processes too where SELinux roles
    may have its type. A binary base cannot show whether an attribute that eases a constraint is free of network, so
    that a role may not join it; there, only what the system's own SELinux user and role may do counts."""
    of_the_system = not subject.verification.exact
    if target in (subject.domain, subject.parent):
        return Parties((PROCESSES,), (PROCESSES,), True, of_the_system)
    bit, roles = subject.policy.bits[target], subject.policy.roles.items()
    is_process = any(bits & bit for role, bits in roles if role != OBJECT)
    return Parties((PROCESSES,), (PROCESSES, FILES) if is_process else (FILES,), False, of_the_system)
