"""Two expressions meet where trying short paths finds one that both match, as libselinux anchors them (^...$)."""

from __future__ import annotations

import itertools
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.expressions import MOST_COPIES, is_divided, meet

SIGNS = "a1/ "
PATHS = ["".join(signs) for length in range(5) for signs in itertools.product(SIGNS, repeat=length)]
CLASSES = ["[a1]", "[^a]", "[^/1]", "[0-9]", "[a-z/]", r"[\d/]", r"[^\d]", r"[^\D]"]
ONE = ["a", "1", "/", ".", r"\/", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", *CLASSES]
REPEATED = ["?", "*", "+", "{0}", "{1}", "{2}", "{0,1}", "{1,2}", "{1,}", "*?", "+?", "??"]


def _expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(ONE),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
            st.tuples(inner, st.sampled_from(REPEATED)).map(lambda two: f"(?:{two[0]}){two[1]}"),
        ),
        max_leaves=5,
    )


def _divided() -> st.SearchStrategy[str]:
    """Alternatives outside of parentheses, of which each is anchored on one side alone."""
    return st.lists(_expressions(), min_size=2, max_size=3).map("|".join)


def _matching(expression: str) -> set[str]:
    anchored = re.compile(f"^{expression}$")
    return {path for path in PATHS if anchored.search(path)}


@given(_expressions(), _expressions())
def test_expressions_meet_where_they_match_a_path_in_common(one: str, other: str) -> None:
    """Those that match short paths only meet in such a one or in none."""
    common = _matching(one) & _matching(other)
    assert meet(one, other) == meet(other, one)
    if common:
        assert meet(one, other), common
    elif _is_short(one):
        assert not meet(one, other)


def _is_short(expression: str) -> bool:
    """Whether it matches nothing that is longer than what is tried."""
    return not any(sign in expression for sign in "*+,") and _longest(expression) < 5


def _longest(expression: str) -> int:
    """At most so many signs, counted too high rather than too low."""
    plain = re.sub(r"\\.|\[[^]]*\]", "x", expression)
    return len(re.sub(r"\?:|[()|?]|\{[012]\}", "", plain)) << plain.count("{2}")


@given(_divided(), st.one_of(_expressions(), _divided()))
def test_alternatives_outside_of_parentheses_start_or_end_anywhere(one: str, other: str) -> None:
    common = _matching(one) & _matching(other)
    if common:
        assert meet(one, other), common
        assert meet(other, one), common


@given(st.one_of(_expressions(), _divided()))
def test_an_expression_is_divided_where_parentheses_change_what_it_matches(expression: str) -> None:
    if _matching(expression) != _matching(f"(?:{expression})"):
        assert is_divided(expression)


@pytest.mark.parametrize("category", [r"\d", r"\D", r"\s", r"\S", r"\w", r"\W", r"[^\s]", r"[\Da]"])
def test_a_category_is_the_signs_of_ascii_that_it_is_for_pcre2(category: str) -> None:
    """Without UCP, as libselinux compiles them, PCRE2's categories are those of Python's re.ASCII."""
    for sign in map(chr, range(1, 128)):
        assert meet(category, re.escape(sign)) == bool(re.fullmatch(category, sign, re.ASCII)), sign


@pytest.mark.parametrize(
    ("expression", "divided"),
    [("a|b", True), ("(a|b)", False), (r"(a\)|b)", False), ("[a|b]", False), ("[]|]", False), ("[^]|]", False),
     ("(a)|b", True), (r"a\|b", False), ("ab", False), (r"\Q(\E|b", True),
     ("[[:alpha:](]a|b", True), ("(?#()a|b", True), (r"\c(a|b", True),
     (r"[\](]a|b", True), (r"[^\](]a|b", True), (r"[\]|(]", False), ("(*ANY)a|b", True)],
)  # fmt: skip
def test_what_divides_an_expression(expression: str, divided: bool) -> None:
    assert is_divided(expression) == divided


@pytest.mark.parametrize(
    "expression",
    ["[[:digit:]]", r"\Qa\E", "(?i)A", "(?^a)", "a{,3}", "a(", "(?<name", "(?P=no)", "a**", r"\p{L}", "(?R)", "("],
)
def test_what_cannot_be_told_may_match_anything(expression: str) -> None:
    """What Python reads otherwise than PCRE2, or not at all, is taken for meeting every other expression."""
    assert meet(expression, "/srv/x")
    assert meet("/srv/x", expression)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a(?=b)b", "ab"), ("a(?!c)b", "ab"), ("a(?<=a)b", "ab"), ("^ab$", "ab"), (r"a\bb?", "a"), (r"(a)\1", "aa"),
        ("(a)?(?(1)b|c)", "ab"), (f"a{{{MOST_COPIES + 1}}}", "a" * (MOST_COPIES + 1)), ("é", "[à-ü]"), ("[^a]", "é"),
        ("(?:ab)*", "abab"), ("a.c", "aéc"), ("(?>a|ab)c", "ac"), ("a++b", "aab"), ("a|b", "a/x"), ("a|b", "/xb"),
    ],
)  # fmt: skip
def test_what_looks_about_itself_or_says_something_again_is_let_by(one: str, other: str) -> None:
    assert meet(one, other)
    assert meet(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("ab", "a"), ("a", ""), ("a{3}", "aa"), ("a{2,3}", "aaaa"), ("a+", "b+"), ("[^a]", "a"), ("[^a-z]", "[b-y]"),
     (r"\W", "[a-z_0-9]"), ("(ab|cd)", "(ad|cb)"), ("a(bc)?", "ab"), ("(ab)+", "(ab)*a"), (r"\.", "a"),
     ("a+?", "b+"), ("^a$", "b"), (r"a\b", "b"), ("a(?=b)", "b"), ("a(?!b)", "b"), ("^ab$", "xab"),
     ("a(?=b)b", "axb"), ("a(?!c)b", "axb")],
)  # fmt: skip
def test_what_no_path_matches_does_not_meet(one: str, other: str) -> None:
    assert not meet(one, other)
    assert not meet(other, one)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python cannot read them: they may match anything")
@pytest.mark.parametrize(("one", "other"), [("(?>ab)c", "axbc"), ("a++b", "axb")])
def test_what_is_never_given_up_matches_no_more_than_it_says(one: str, other: str) -> None:
    assert not meet(one, other)
