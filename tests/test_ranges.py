"""What a container may become: every range of levels is tried that constraints can know from another."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
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


@pytest.mark.parametrize(("expression", "becomes"), RANGES.items())
def test_a_container_gets_no_categories_of_others_in_any_range(
    expression: tuple[object, ...], becomes: tuple[Level, Level]
) -> None:
    """The constraint lets a container become just this."""
    constraint = Constraint("mlsconstrain", "process", frozenset({"dyntransition"}), expression, "")
    policy = SimpleNamespace(constraints=[constraint], bits={"role_t": 1}, dominated_roles={}, files_have_roles=False)
    constraints = Constraints(cast(Policy, policy))
    own, other = (Context("system_u", "system_r", "role_t", *levels) for levels in (OWN, becomes))
    assert constraints.holds(constraint, own, other)
    verification = SimpleNamespace(constraints=constraints, role_domains=1, ranges_alike={}, kept_apart={})
    subject = SimpleNamespace(verification=verification, policy=policy, domain="role_t", bit=1, worst={})
    is_refused = claims._refused(cast(claims.Subject, subject), "role_t", ("process", "dyntransition"))
    assert is_refused == OF_ITS_OWN.dominates(becomes[1])
