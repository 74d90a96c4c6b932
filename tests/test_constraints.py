"""What is read of an expression of a constraint is what evaluating it in every case says; and what it refuses one type
and not another, in any contexts."""

from __future__ import annotations

import itertools
from random import Random
from types import SimpleNamespace
from typing import Union, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.constraints import FILES, PROCESSES, Constraints, Context, Level, Parties, leaves, ranges
from labelgen.policy import Constraint, Policy

Tree = Union[str, tuple[object, ...]]
# Comparisons that name nobody, as they stand among those that do.
NAMELESS = {"categories": ("l1", "l2", "dom"), "users": ("u1", "u2", "=="), "types": ("t1", "t2", "!=")}


def _trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.sampled_from(["named", "not named", *NAMELESS]),
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
        ),
        max_leaves=6,
    )


def _numbered(tree: object, numbers: itertools.count[int]) -> Tree:
    """The same with a number behind each comparison, by which it is told from the others."""
    if isinstance(tree, str):
        return f"{tree} {next(numbers)}"
    assert isinstance(tree, tuple)
    return (tree[0], *(_numbered(part, numbers) for part in tree[1:]))


def _comparisons(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    assert isinstance(tree, tuple)
    return [name for part in tree[1:] for name in _comparisons(part)]


def _postfix(tree: object) -> tuple[object, ...]:
    """As setools has it: operands before operators, names of a set together."""
    if isinstance(tree, str):
        kind, _, number = tree.rpartition(" ")
        return NAMELESS.get(kind) or ("t1", frozenset({f"{number}_t"}), "!=" if kind.startswith("not") else "==")
    assert isinstance(tree, tuple)
    return (*(sign for part in tree[1:] for sign in _postfix(part)), tree[0])


def _met(tree: object, values: dict[str, bool]) -> bool:
    if isinstance(tree, str):
        return values[tree] != tree.startswith("not")
    assert isinstance(tree, tuple)
    inner = [_met(part, values) for part in tree[1:]]
    return not inner[0] if tree[0] == "not" else all(inner) if tree[0] == "and" else any(inner)


@given(_trees())
def test_a_name_makes_a_constraint_easier_where_having_it_meets_it(tree: Tree) -> None:
    """Each comparison stands in an expression once, so that some case turns on it alone."""
    numbered = _numbered(tree, itertools.count())
    comparisons = _comparisons(numbered)
    cases = [dict(zip(comparisons, values)) for values in itertools.product((False, True), repeat=len(comparisons))]
    named = [name for name in comparisons if "named" in name]
    turned = {
        name: {_met(numbered, {**case, name: True}) for case in cases if _turns(numbered, case, name)} for name in named
    }
    found = leaves(_postfix(numbered))
    assert [(operand, names) for operand, names, _ in found] == [
        ("t1", frozenset({f"{name.rpartition(' ')[2]}_t"})) for name in named
    ]
    assert [{easier} for _, _, easier in found] == [turned[name] for name in named]


def _turns(tree: Tree, case: dict[str, bool], name: str) -> bool:
    return _met(tree, {**case, name: True}) != _met(tree, {**case, name: False})


# -- whether one pair of types is refused what another is let

TYPES = ("parent_t", "role_t", "its_t", "own_t")
MINE, THEIRS = ("role_t", "own_t"), ("parent_t", "its_t")
LEVELS = (("l1", "l2"), ("l1", "h2"), ("h1", "l2"), ("h1", "h2"), ("l1", "h1"), ("l2", "h2"))
RELATIONS = ("dom", "domby", "incomp", "==", "!=")
EQUAL = st.sampled_from(["==", "!="])


def _named(operand: str, names: tuple[str, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    some = st.frozensets(st.sampled_from(names), min_size=1, max_size=2)
    return st.tuples(st.just(operand), some, EQUAL)


# The comparisons that SELinux has in constraints, as setools gives them.
ASKED: st.SearchStrategy[tuple[object, ...]] = st.one_of(
    _named("t1", TYPES[:2]),
    _named("t2", TYPES[2:]),
    *(_named(operand, ("system_u", "a_u", "b_u")) for operand in ("u1", "u2")),
    *(_named(operand, ("system_r", "object_r", "a_r")) for operand in ("r1", "r2")),
    st.tuples(st.just("u1"), st.just("u2"), EQUAL),
    st.tuples(st.just("r1"), st.just("r2"), st.sampled_from(RELATIONS)),
    st.tuples(st.just("t1"), st.just("t2"), EQUAL),
    st.builds(lambda levels, relation: (*levels, relation), st.sampled_from(LEVELS), st.sampled_from(RELATIONS)),
)
JOINED = st.sampled_from(["and", "or"])
# Of several comparisons; one of them is of types, or nothing tells the two apart.
SEVERAL = st.lists(st.tuples(ASKED, st.booleans(), JOINED), min_size=1, max_size=4)
OF_TYPES = st.one_of(_named("t1", TYPES[:1]), _named("t2", TYPES[3:]))


def _expression(
    of_types: tuple[object, ...], others: list[tuple[tuple[object, ...], bool, str]], joined: str
) -> tuple[object, ...]:
    whole: tuple[object, ...] = ()
    for asked, negated, how in others:
        one = (*asked, "not") if negated else asked
        whole = (*whole, *one, how) if whole else one
    return (*whole, *of_types, joined)


EXPRESSIONS = st.builds(_expression, OF_TYPES, SEVERAL, JOINED)


def _alone(expression: tuple[object, ...]) -> tuple[Constraints, Constraint]:
    """A constraint in a policy that has nothing else."""
    constraint = Constraint("mlsconstrain", "file", frozenset({"read"}), expression, "")
    policy = SimpleNamespace(
        constraints=[constraint],
        bits={name: 1 << number for number, name in enumerate(TYPES)},
        dominated_roles={"object_r": frozenset()},
        files_have_roles=False,
    )
    return Constraints(cast(Policy, policy)), constraint


def _range(random: Random) -> tuple[Level, Level]:
    high = frozenset(category for category in "abcdef" if random.random() < 0.6)
    low = frozenset(category for category in high if random.random() < 0.5)
    return Level(0, low), Level(0, high)


@pytest.mark.parametrize("kind", [FILES, PROCESSES])
@settings(max_examples=800)
@given(expression=EXPRESSIONS, seed=st.integers(0, 1 << 32))
def test_no_contexts_refuse_one_what_they_let_another_unless_it_is_told(
    kind: str, expression: tuple[object, ...], seed: int
) -> None:
    """Contexts at random: of more users, roles and categories than are asked about."""
    constraints, constraint = _alone(expression)
    random = Random(seed)
    users, roles = ("system_u", "a_u", "b_u", "c_u", "d_u"), ("system_r", "a_r", "c_r", "d_r")
    told = constraints.is_harder(constraint, MINE, THEIRS, Parties((PROCESSES,), (kind,)))
    for _ in range(60):
        one = (random.choice(users), random.choice(roles))
        other = (random.choice(users), "object_r" if kind == FILES else random.choice(roles))
        source, target = _range(random), _range(random)
        mine, theirs = (
            (Context(*one, types[0], *source), Context(*other, types[1], *target)) for types in (MINE, THEIRS)
        )
        if constraints.holds(constraint, *theirs) and not constraints.holds(constraint, *mine):
            assert told, (theirs, mine)


def test_a_container_acts_on_itself_as_the_same_user_and_role() -> None:
    expression = ("t1", frozenset({"parent_t"}), "==", "u1", "u2", "==", "or")
    constraints, constraint = _alone(expression)
    processes = Parties((PROCESSES,), (PROCESSES,))
    assert constraints.is_harder(constraint, MINE, THEIRS, processes)
    assert not constraints.is_harder(constraint, MINE, THEIRS, processes._replace(alike=True))
    assert not constraints.is_harder(constraint, MINE, THEIRS, processes._replace(of_the_system=True))
    assert not constraints.is_harder(constraint, THEIRS, MINE, processes)


def test_what_was_found_of_two_types_is_not_said_of_one_with_itself() -> None:
    """Whatever sets they are in."""
    of_parents = ("t1", frozenset({"parent_t"}), "==", "t1", "t2", "==", "or")
    processes = Parties((PROCESSES,), (PROCESSES,))
    constraints, constraint = _alone(of_parents)
    assert not constraints.is_harder(constraint, ("role_t", "role_t"), ("parent_t", "own_t"), processes)
    assert constraints.is_harder(constraint, ("role_t", "own_t"), ("parent_t", "own_t"), processes)
    of_others = ("t1", frozenset({"parent_t"}), "!=", "t1", "t2", "==", "and")
    constraints, constraint = _alone(of_others)
    assert not constraints.is_harder(constraint, ("parent_t", "own_t"), ("role_t", "own_t"), processes)
    assert constraints.is_harder(constraint, ("parent_t", "own_t"), ("role_t", "role_t"), processes)


def test_roles_that_are_in_an_order_may_meet() -> None:
    expression = ("t1", frozenset({"parent_t"}), "==", "r1", "r2", "==", "or", "r1", "r2", "domby", "not", "or")
    for below, harder in ((frozenset({"top_r"}), False), (frozenset({"top_r", "low_r"}), True)):
        constraints, constraint = _alone(expression)
        constraints.policy.dominated_roles["top_r"] = below
        assert constraints.is_harder(constraint, MINE, THEIRS, Parties((PROCESSES,), (PROCESSES,))) == harder


@pytest.mark.parametrize(("letter", "ours"), [("u", "system_u"), ("r", "system_r")])
def test_two_that_no_constraint_names_may_meet(letter: str, ours: str) -> None:
    expression: tuple[object, ...] = ("t1", frozenset({"parent_t"}), "==", f"{letter}1", f"{letter}2", "==", "or")
    for operand in (f"{letter}1", f"{letter}2"):
        expression = (*expression, operand, frozenset({ours}), "==", "or")
    constraints, constraint = _alone(expression)
    assert constraints.is_harder(constraint, MINE, THEIRS, Parties((PROCESSES,), (PROCESSES,)))


def test_two_ranges_lie_to_each_other_in_49_ways() -> None:
    """Counted over ranges of six categories: every way that is there is asked about, and none twice."""
    random = Random(1)
    seen = set()
    for _ in range(200_000):
        levels = (*_range(random), *_range(random))
        seen.add(tuple(one.dominates(other) for one, other in itertools.permutations(levels, 2)))
    asked = [tuple(a.dominates(b) for a, b in itertools.permutations(levels, 2)) for levels in ranges()]
    assert set(asked) == seen
    assert len(asked) == len(seen)
