"""What a binary base may hide beyond what is taken to be hidden (hidden.py): all that is left, at its worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Optional

from labelgen import ours
from labelgen.access import Key
from labelgen.errors import listed
from labelgen.hidden import CHECKS, Reading
from labelgen.policy import Policy

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject

MOST_SETS = 3  # that a finding names


@dataclass(frozen=True)
class NotTaken:
    """What would break a claim and is not taken to be so, as policies of distributions have much of it. sets: those
    that may hold one of the role's types; without any, type: one of which something is said that may have been said of
    a type of the role's, too; rules: those of the first."""

    sets: tuple[str, ...]
    type: str
    rules: tuple[str, ...]

    def in_words(self, domain: str) -> str:
        """What cannot be shown of a role's domain."""
        if self.sets:
            return f"that no more of {domain} and its files than was put there is in {listed(self.sets, MOST_SETS)}"
        return f"that nothing which is said of {self.type} was said of {domain} or its files, too"


def not_taken(subject: Subject, allowed: Callable[[Subject, Key], int]) -> dict[str, NotTaken]:
    """What is left, claim by claim, that would break it if all that a binary may hide were taken at its worst. Of roles
    that are alike the same is."""
    policy = subject.policy
    sets = [name for name in sorted(policy.attributes) if not ours.is_of_shared(name)]
    types = policy.names(policy.every_type & ~subject.verification.types_of_roles)

    def breaking(claim: str, names: Iterable[str]) -> Iterator[tuple[str, Finding]]:
        for name in names:
            for finding in Reading(subject, claim, allowed, name).findings():
                yield name, finding
                break

    found = {}
    for claim in CHECKS:
        answers, seen = subject.verification.not_taken_alike, _alike(subject, claim)
        if seen not in answers:
            held = dict(breaking(claim, sets)) or dict(islice(breaking(claim, types), 1))
            answers[seen] = _not_taken(policy, held)
        left = answers[seen]
        if left is not None:
            found[claim] = left
    return found


def _not_taken(policy: Policy, held: Mapping[str, Finding]) -> Optional[NotTaken]:
    for first, finding in held.items():
        is_type = first in policy.types
        return NotTaken(() if is_type else tuple(held), first if is_type else "", finding.rules)
    return None


def _alike(subject: Subject, claim: str) -> tuple[object, ...]:
    """What two roles have in common of which the same is left of a claim: their attributes, their parent, who
    acts on them by name, and with network what they declare."""
    policy = subject.policy
    types = [
        (
            access,
            policy.attributes_of[name],
            frozenset(rule.source for rule in policy.naming_target(name)) - {subject.domain},
        )
        for access, name in ({"": subject.domain} | subject.file_types).items()
        if name in policy.types
    ]
    declared = subject.domain if claim == "network" else ""
    return claim, subject.parent, subject.parent_file_type, tuple(types), declared
