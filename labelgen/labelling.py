"""Whether the files of a role can get their label: what gives the parent's files theirs, and lets them be on a file
system, must do the same with the role's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from labelgen import conditions
from labelgen.access import Key
from labelgen.constraints import FILES, PROCESSES, Parties, leaves
from labelgen.kin import ASSOCIATE, RELABEL, Kin

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject


def refused(subject: Subject, number: int, name: str) -> Iterator[Finding]:
    """What keeps files from a type of the role's own that may have the parent's."""
    access, names, where = subject.verification.access, subject.policy.type_names, ("files", number)
    kin = subject.verification.kin(name, subject.parent_file_type, subject.parent)
    own, incoming = access.own(name, True), access.own(name, False, subject.domain)
    lacking: dict[Key, list[str]] = defaultdict(list)
    for place, wanted in kin.not_placed:
        have = conditions.either(own.condition(ASSOCIATE, 1 << place), kin.outgoing.condition(ASSOCIATE, 1 << place))
        if not conditions.implies(wanted, have):
            lacking[ASSOCIATE].append(names[place])
    for key, source, wanted in kin.not_labelling:
        have = conditions.either(incoming.condition(key, 1 << source), kin.incoming.condition(key, 1 << source))
        if not conditions.implies(wanted, have):
            lacking[key].append(names[source])
    for key, found in lacking.items():
        some = found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"
        words = f"{some} may label files {kin.counterpart} and not {name}: {key[0]} {key[1]}"
        if key == ASSOCIATE:
            words = (
                f"files cannot have the type {name} where they can have {kin.counterpart}: {some}:filesystem associate"
            )
        yield subject.finding("able", words, where=where)
    for text in _constraints(subject, kin, name):
        words = f"a constraint keeps files from the type {name} that may have {kin.counterpart}"
        yield subject.finding("able", words, (text,), where=where)


def _constraints(subject: Subject, kin: Kin, name: str) -> tuple[str, ...]:
    """The constraints that refuse one type of files what they leave another. Types that constraints cannot tell apart
    have one answer."""
    answers = subject.verification.labelled_alike
    # The parent has one type of files.
    seen = (subject.verification.constraints.seen_as(name), kin.parent)
    if seen not in answers:
        found = (*_refusing(subject, kin, name), *_transitions(subject, name, kin.counterpart))
        answers[seen] = tuple(dict.fromkeys(found))
    return answers[seen]


def _refusing(subject: Subject, kin: Kin, name: str) -> Iterator[str]:
    constraints, names = subject.verification.constraints, subject.policy.names
    telling = constraints.telling_apart(name, kin.counterpart)
    relabel, associate = (tuple(filter(telling.__contains__, keys)) for keys in (RELABEL, (ASSOCIATE,)))
    asked = [
        (key, (one, name), (one, kin.counterpart), PROCESSES) for one, key in product(names(kin.labellers), relabel)
    ]
    places = kin.theirs.worst().get(ASSOCIATE, 0)
    asked += [(key, (name, place), (kin.counterpart, place), FILES) for place, key in product(names(places), associate)]
    for key, mine, theirs, sources in asked:
        parties = Parties((sources,), (FILES,), of_the_system=not subject.verification.exact)
        yield from (constraint.text for constraint in constraints.harder(key, mine, theirs, parties))


def _transitions(subject: Subject, name: str, other: str) -> Iterator[str]:
    """The validatetrans that are harder to meet for a new label of one type than of another, or for an old one, as when
    a volume gets other categories."""
    bits = subject.policy.bits
    compared = (
        (constraint.text, names, easier)
        for constraint in subject.policy.constraints
        if constraint.kind.endswith("validatetrans")
        for operand, names, easier in leaves(constraint.expression)
        if operand in ("t1", "t2")
    )
    for text, names, easier in compared:
        mine, theirs = (any(bits[n] & bits[of] for n in names) for of in (name, other))
        if mine not in (theirs, easier):
            yield text
