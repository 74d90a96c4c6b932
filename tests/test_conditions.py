"""Conditions are compared with what every setting of their booleans says."""

from __future__ import annotations

import itertools
import operator
from typing import Callable, Optional, Union
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen import conditions

NAMES = "abcd"
SETTINGS = [dict(zip(NAMES, values)) for values in itertools.product((True, False), repeat=len(NAMES))]
# The operators of the policy language (libsepol, conditional.h: COND_OR, COND_AND, COND_XOR, COND_EQ, COND_NEQ).
BINARY: dict[str, Callable[[bool, bool], bool]] = {
    "&&": operator.and_, "||": operator.or_, "^": operator.xor, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

Tree = Union[str, tuple[object, ...]]


def _trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.sampled_from(NAMES),
        lambda inner: st.one_of(
            st.tuples(st.just("!"), inner), st.tuples(st.sampled_from(sorted(BINARY)), inner, inner)
        ),
        max_leaves=8,
    )


def _postfix(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    assert isinstance(tree, tuple)
    sign, *operands = tree
    return [*(token for operand in operands for token in _postfix(operand)), sign]


def _true(tree: object, setting: dict[str, bool]) -> bool:
    if isinstance(tree, str):
        return setting[tree]
    assert isinstance(tree, tuple)
    sign, *operands = tree
    values = [_true(operand, setting) for operand in operands]
    return not values[0] if sign == "!" else BINARY[sign](*values)


@given(_trees())
def test_a_condition_holds_where_its_expression_does(tree: Tree) -> None:
    condition = conditions.parse_postfix(_postfix(tree))
    assert [conditions.holds(condition, s) for s in SETTINGS] == [_true(tree, s) for s in SETTINGS]


@given(_trees())
def test_the_module_language_writes_the_same_condition(tree: Tree) -> None:
    text = conditions.infix(_postfix(tree))
    for sign, word in (("!=", " is not "), ("==", " is "), ("&&", "&"), ("||", "|"), ("!", " not ")):
        text = text.replace(sign, word)
    assert [bool(eval(text, {}, s)) for s in SETTINGS] == [_true(tree, s) for s in SETTINGS]


@given(_trees(), _trees())
def test_one_implies_another_where_no_setting_says_otherwise(one: Tree, other: Tree) -> None:
    left, right = (conditions.parse_postfix(_postfix(tree)) for tree in (one, other))
    assert conditions.implies(left, right) == all(_true(other, s) for s in SETTINGS if _true(one, s))
    assert (left is right) == all(_true(one, s) == _true(other, s) for s in SETTINGS)


@pytest.mark.parametrize("tokens", [[], ["&&"], ["a", "b"], ["a", "!", "||"]])
def test_what_is_no_condition_is_refused(tokens: list[str]) -> None:
    with pytest.raises(ValueError, match="is not a condition"):
        conditions.parse_postfix(tokens)


def _smallest(tree: Tree) -> Optional[int]:
    """How few of the booleans, set in some way, are enough for it to hold whatever the others are."""
    for number in range(len(NAMES) + 1):
        for names in itertools.combinations(NAMES, number):
            for values in itertools.product((True, False), repeat=number):
                if _suffices(tree, dict(zip(names, values))):
                    return number
    return None


def _suffices(tree: Tree, setting: dict[str, bool]) -> bool:
    return all(_true(tree, s) for s in SETTINGS if setting.items() <= s.items())


@given(_trees())
def test_the_smallest_setting_is_the_smallest_that_suffices(tree: Tree) -> None:
    found = conditions.smallest_setting(conditions.parse_postfix(_postfix(tree)))
    assert (None if found is None else len(found)) == _smallest(tree)
    assert found is None or _suffices(tree, found)


def test_what_always_holds_needs_nothing_and_what_never_does_has_no_setting() -> None:
    assert conditions.smallest_setting(True) == {}
    assert conditions.smallest_setting(False) is None


PAIRS = [(f"a{number:03d}", f"b{number:03d}") for number in range(150)]


@pytest.mark.parametrize("sign", ["&&", "^"])
def test_conditions_of_many_pairs_of_booleans_are_found_at_once(sign: str) -> None:
    """Their diagrams have a few nodes for each pair, if no look-up walks over all that is below."""
    found = conditions.any_of(conditions.parse_postfix([*pair, sign]) for pair in PAIRS)
    assert conditions.implies(conditions.parse_postfix([*PAIRS[7], sign]), found)
    assert conditions.either(found, conditions.negation(found)) is True
    setting = conditions.smallest_setting(found)
    assert setting is not None
    assert len(setting) == 2
    assert conditions.holds(found, {**dict.fromkeys((name for pair in PAIRS for name in pair), False), **setting})


UNCACHED = conditions._setting.__wrapped__


@given(_trees())
def test_where_a_smallest_setting_would_take_too_long_a_setting_that_suffices_is_told(tree: Tree) -> None:
    condition = conditions.parse_postfix(_postfix(tree))
    with mock.patch.object(conditions, "MOST_PARTS", 0), mock.patch.object(conditions, "_setting", UNCACHED):
        found = conditions.smallest_setting(condition)
    assert (found is None) == (condition is False)
    assert found is None or _suffices(tree, found)


def test_it_is_sought_no_longer_than_it_may() -> None:
    condition = conditions.parse_postfix(["a", "b", "||"])
    instead = mock.Mock(return_value=(("a", True),))
    with mock.patch.object(conditions, "MOST_PARTS", 0), mock.patch.object(conditions, "_shortest", instead):
        assert UNCACHED(condition) == (("a", True),)
    instead.assert_called_once_with(condition)


def test_a_condition_on_every_boolean_of_a_large_policy_is_no_matter_of_depth() -> None:
    names = [f"b{number:03d}" for number in range(450)]
    found = conditions.parse_postfix([names[0], *(word for name in names[1:] for word in (name, "&&"))])
    assert conditions.smallest_setting(found) == dict.fromkeys(names, True)
