"""Whether two regular expressions of file contexts match a path in common.

Each is made into an automaton (Thompson 1968), and both are run side by side. What cannot be told of an expression, for
it is PCRE2's alone or looks about itself, counts as matching more than it does: a doubt is never taken for a no.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, Optional

# sre_parse was moved in Python 3.11, and its old name warns.
try:
    from re import _parser as sre_parser  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    import sre_parse as sre_parser  # type: ignore[no-redef,unused-ignore]

MOST_COPIES = 64  # what may be repeated more often counts as often as anybody likes
LAST = 0x10FFFF
# Python reads these otherwise than PCRE2 does: classes such as [:alpha:], quoting, options.
OTHERWISE = re.compile(r"\[:|\\[QE]|\(\?[a-zA-Z^-]|\{,")
# With these a parenthesis need not be one of a group: comments, verbs and the signs of control keys too.
NO_GROUPS = re.compile(rf"{OTHERWISE.pattern}|\(\?#|\(\*|\\c")

Ranges = tuple[tuple[int, int], ...]  # of signs, both ends included
ANY: Ranges = ((1, LAST),)
CATEGORIES: dict[str, Ranges] = {
    "CATEGORY_DIGIT": ((48, 57),),
    "CATEGORY_SPACE": ((9, 13), (32, 32)),
    "CATEGORY_WORD": ((48, 57), (65, 90), (95, 95), (97, 122)),
}


class _Step(NamedTuple):
    """A way from a state to another, by one of the signs or by none."""

    signs: Optional[Ranges]
    to: int


class Automaton:
    """What an expression matches as a whole: it goes from the state 0 to the state `end`."""

    def __init__(self, expression: str) -> None:
        self.steps: list[list[_Step]] = [[]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = sre_parser.parse(expression)
        # libselinux writes ^ and $ around it and no parentheses, so that each alternative is bound on one side only.
        start = self._sign(0, ANY, loop=True) if is_divided(expression) else 0
        end = self._all(parts, start)
        self.end = self._sign(end, ANY, loop=True) if is_divided(expression) else end

    def _state(self) -> int:
        self.steps.append([])
        return len(self.steps) - 1

    def _go(self, start: int, to: int) -> int:
        self.steps[start].append(_Step(None, to))
        return to

    def _sign(self, start: int, signs: Ranges, loop: bool = False) -> int:
        """One of the signs; as many of them as one likes in a loop."""
        to = self._go(start, self._state()) if loop else self._state()
        self.steps[to if loop else start].append(_Step(signs, to))
        return to

    def _all(self, parts: Iterable[tuple[Any, Any]], start: int) -> int:
        for kind, value in parts:
            start = self._one(str(kind), value, start)
        return start

    def _one(self, kind: str, value: Any, start: int) -> int:
        if kind in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self._sign(start, _signs(kind, value))
        if kind in ("SUBPATTERN", "ATOMIC_GROUP"):
            return self._all(value[-1] if kind == "SUBPATTERN" else value, start)
        if kind == "BRANCH":
            end = self._state()
            for branch in value[1]:
                self._go(self._all(branch, self._go(start, self._state())), end)
            return end
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            return self._repeat(int(low), int(high), inner, start)
        # Where it looks about itself it is taken to be content; what it says again may be anything.
        return start if kind in ("AT", "ASSERT", "ASSERT_NOT") else self._sign(start, ANY, loop=True)

    def _repeat(self, low: int, high: int, inner: Any, start: int) -> int:
        for _ in range(min(low, MOST_COPIES)):
            start = self._all(inner, start)
        if high > MOST_COPIES:
            again = self._go(start, self._state())
            self._go(self._all(inner, again), again)
            return self._go(again, self._state())
        end = self._state()
        for _ in range(low, high):
            self._go(start, end)
            start = self._all(inner, start)
        return self._go(start, end)


def _signs(kind: str, value: Any) -> Ranges:
    if kind == "ANY":
        return ANY
    if kind == "LITERAL":
        return ((value, value),)
    if kind == "NOT_LITERAL":
        return _but(((value, value),))
    members = [_member(str(what), inner) for what, inner in value if str(what) != "NEGATE"]
    ranges = tuple(sorted(signs for member in members for signs in member))
    return _but(ranges) if str(value[0][0]) == "NEGATE" else ranges


def _member(kind: str, value: Any) -> Ranges:
    if kind == "CATEGORY":
        name = str(value)
        return CATEGORIES[name] if name in CATEGORIES else _but(CATEGORIES[name.replace("_NOT_", "_")])
    return (value,) if kind == "RANGE" else ((value, value),)


def _but(ranges: Ranges) -> Ranges:
    """Every sign that is in none of the ranges, which are in order."""
    found, low = [], 1
    for start, end in ranges:
        if start > low:
            found.append((low, start - 1))
        low = max(low, end + 1)
    return (*found, (low, LAST)) if low <= LAST else tuple(found)


def is_divided(expression: str) -> bool:
    """Whether it has alternatives outside of parentheses, or may have: its paths need not start alike."""
    if "|" not in expression:
        return False
    if NO_GROUPS.search(expression):
        return True
    depth = 0
    for sign in re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", expression):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and depth <= 0:
            return True
    return False


@cache
def _automaton(expression: str) -> Optional[Automaton]:
    """None for what Python cannot read, or reads otherwise than PCRE2."""
    if OTHERWISE.search(expression):
        return None
    try:
        return Automaton(expression)
    except (re.error, RecursionError, OverflowError, KeyError):
        return None


def meet(one: str, other: str) -> bool:
    """Whether a path may match both expressions."""
    left, right = _automaton(one), _automaton(other)
    if left is None or right is None:
        return True
    seen = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        pair = waiting.pop()
        if pair == (left.end, right.end):
            return True
        found = set(_following(left.steps[pair[0]], right.steps[pair[1]], *pair)) - seen
        seen |= found
        waiting += found
    return False


def _following(mine: list[_Step], theirs: list[_Step], left: int, right: int) -> Iterator[tuple[int, int]]:
    yield from ((step.to, right) for step in mine if step.signs is None)
    yield from ((left, step.to) for step in theirs if step.signs is None)
    for one in mine:
        for other in theirs:
            if (
                one.signs
                and other.signs
                and any(low <= last and first <= high for low, high in one.signs for first, last in other.signs)
            ):
                yield one.to, other.to
