"""What a container may become: every range of levels is tried that constraints can know from another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from labelgen import claims
from labelgen.constraints import Constraints, Context, Level
from labelgen.policy import Constraint, Policy

OF_ITS_OWN = Level(0, frozenset({"c1", "c2"}))
OWN = (OF_ITS_OWN, OF_ITS_OWN)


def _sets_of(categories: Collection[str]) -> Iterator[frozenset[str]]:
    for number in range(len(categories) + 1):
        yield from map(frozenset, itertools.combinations(sorted(categories), number))


def _exactly(one: tuple[Level, Level], other: tuple[Level, Level]) -> tuple[object, ...]:
    """A constraint that is met where two ranges lie to each other as these do, and nowhere else."""
    levels = dict(zip(("l1", "h1", "l2", "h2"), (*one, *other)))
    whole: tuple[object, ...] = ()
    for first, second in itertools.combinations(levels, 2):
        for relation, (above, below) in (("dom", (first, second)), ("domby", (second, first))):
            asked = (first, second, relation, *(() if levels[above].dominates(levels[below]) else ("not",)))
            whole = (*whole, *asked, "and") if whole else asked
    return whole


# Each way in which a range of five categories can lie to a container's own two -> a range that does.
RANGES = {
    _exactly(OWN, (Level(0, low), Level(0, high))): (Level(0, low), Level(0, high))
    for high in _sets_of(("c1", "c2", "c3", "c4", "c5"))
    for low in _sets_of(high)
}


def _asking(*constraints: Constraint) -> Callable[..., claims.Subject]:
    """Makes roles on a policy with these constraints, in which what is found of one may be said of another: each by
    what it may do to itself."""
    bits = {"one_t": 1, "two_t": 2, "file_t": 4}
    policy = SimpleNamespace(
        constraints=list(constraints),
        bits=bits,
        dominated_roles={},
        files_have_roles=False,
        socket_classes=frozenset(),
        labelling_from=lambda _: (),
    )
    verification = SimpleNamespace(
        constraints=Constraints(cast(Policy, policy)), role_domains=3, ranges_alike={}, kept_apart={}, open_to_alike={}
    )

    def subject(domain: str, *keys: tuple[str, str]) -> claims.Subject:
        worst = {key: bits["file_t" if key[0] == "file" else domain] for key in keys}
        of = SimpleNamespace(verification=verification, policy=policy, domain=domain, bit=bits[domain], worst=worst)
        of.parent_file_type, of.file_types = "file_t", {}
        return cast(claims.Subject, of)

    return subject


def _constraint(perm: str, *expression: object, tclass: str = "process") -> Constraint:
    return Constraint("mlsconstrain", tclass, frozenset({perm}), expression, "")


BECOMES, KILLS, WRITES = ("process", "dyntransition"), ("process", "sigkill"), ("file", "write")
# At a range nobody is refused to kill.
NOT_AT_A_RANGE = _constraint("sigkill", "h1", "h2", "dom", "l1", "h1", "!=", "or")
SINGLE: tuple[claims.Range, ...] = ((("c1", "c2"), ("c1", "c2")),)


@pytest.mark.parametrize("first", [0, 1])
def test_a_container_that_may_change_its_range_is_not_one_that_may_not(first: int) -> None:
    role = _asking(NOT_AT_A_RANGE)
    for turn in (first, 1 - first):
        one = role("one_t", *([BECOMES] if turn else []))
        assert (claims._ranges(one) == SINGLE) == (not turn)
        assert claims._refused(one, "one_t", KILLS) == (not turn)


@pytest.mark.parametrize("first", [0, 1])
def test_what_one_role_may_do_to_its_own_is_not_said_of_another(first: int) -> None:
    role = _asking()
    for turn in (first, 1 - first):
        found = claims.not_kept_apart(role("one_t", *([KILLS] if turn else [])))
        assert found == ([("one_t", KILLS)] if turn else [])


@pytest.mark.parametrize("first", [0, 1])
def test_what_one_does_to_files_at_a_range_is_not_said_of_another_that_has_none(first: int) -> None:
    role = _asking(_constraint("write", *NOT_AT_A_RANGE.expression, tclass="file"))
    for turn in (first, 1 - first):
        found = claims.not_kept_apart(role("one_t", WRITES, *([BECOMES] if turn else [])))
        assert (("file_t", WRITES) in found) == bool(turn)


def test_a_container_that_constraints_keep_at_its_range_stays_there() -> None:
    keeping = _constraint("dyntransition", "l1", "l2", "==", "h1", "h2", "==", "and")
    one = _asking(NOT_AT_A_RANGE, keeping)("one_t", BECOMES)
    assert claims._ranges(one) == SINGLE
    assert claims._refused(one, "one_t", KILLS)


def test_a_container_that_is_named_may_be_kept_at_its_range_alone() -> None:
    keeping = _constraint("dyntransition", "l1", "l2", "==", "t1", frozenset({"two_t"}), "==", "or")
    role = _asking(NOT_AT_A_RANGE, keeping)
    assert claims._ranges(role("one_t", BECOMES)) == SINGLE
    assert claims._ranges(role("two_t", BECOMES)) == claims.OWN_RANGES


@pytest.mark.parametrize(("expression", "becomes"), RANGES.items())
def test_a_container_gets_no_categories_of_others_in_any_range(
    expression: tuple[object, ...], becomes: tuple[Level, Level]
) -> None:
    """The constraint lets a container become just this."""
    constraint = _constraint("dyntransition", *expression)
    one = _asking(constraint)("one_t")
    own, other = (Context("system_u", "system_r", "one_t", *levels) for levels in (OWN, becomes))
    assert one.verification.constraints.holds(constraint, own, other)
    assert claims._refused(one, "one_t", BECOMES) == OF_ITS_OWN.dominates(becomes[1])


OF_OTHERS = Level(0, frozenset({"c3", "c4"}))
OWN_LEVELS, OTHER_LEVELS = ([Level(0, some) for some in _sets_of(of.categories)] for of in (OF_ITS_OWN, OF_OTHERS))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(((low, high), (OF_OTHERS, OF_OTHERS)) for low in OWN_LEVELS for high in OWN_LEVELS if high.dominates(low)),
        *((OWN, (low, OF_OTHERS)) for low in OTHER_LEVELS),
    ],
)
def test_at_any_range_that_it_may_become_a_container_is_kept_from_others(
    one: tuple[Level, Level], other: tuple[Level, Level]
) -> None:
    """Where two ranges lie so to each other, the constraint lets a container kill another; nothing keeps either from
    doing without categories that it has."""
    expression = _exactly(one, other)
    role = _asking(_constraint("sigkill", *expression))
    assert not claims._refused(role("one_t", BECOMES), "one_t", KILLS)
    # What may not change stays at its own level, as others do.
    are_single = expression == _exactly(OWN, (OF_OTHERS, OF_OTHERS))
    assert claims._refused(role("one_t"), "one_t", KILLS) != are_single
