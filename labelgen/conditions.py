"""Boolean conditions of a policy, compared exactly without trying every setting.

A condition is a reduced ordered decision diagram (Bryant 1986): equal conditions are the same object, so "always",
"never" and "implies" are answered by construction, never by enumerating the 2^n settings of n booleans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Callable, Optional, Union


@dataclass(frozen=True, eq=False)
class Choice:
    """`if boolean then high else low`; booleans stand in the order of `_places` along every path. `_choice` makes each
    but once, so that equals are the same object, and are compared and looked up as that."""

    boolean: str
    high: Condition
    low: Condition

    def __reduce__(self) -> tuple[Callable[..., Condition], tuple[object, ...]]:
        """Read by pickle it is the same object as its equals there, where the booleans may stand in another order."""
        return _again, (self.boolean, self.high, self.low)


Condition = Union[bool, Choice]

# Boolean -> its place: in the order in which they came up. Those of one expression stand together then, which keeps
# diagrams small; by name `a1 && b1 || a2 && b2 || ...` would have exponentially many nodes.
_places: dict[str, int] = {}


@cache
def _choice(boolean: str, high: Condition, low: Condition) -> Condition:
    return high if high is low else Choice(boolean, high, low)


def boolean(name: str) -> Condition:
    """The condition that holds when the boolean `name` is on."""
    _places.setdefault(name, len(_places))
    return _choice(name, True, False)


def _again(name: str, high: Condition, low: Condition) -> Condition:
    return if_then_else(boolean(name), high, low)


def _top(*conditions: Condition) -> Optional[str]:
    return min((c.boolean for c in conditions if isinstance(c, Choice)), key=_places.__getitem__, default=None)


def _when(condition: Condition, name: str, value: bool) -> Condition:
    if isinstance(condition, Choice) and condition.boolean == name:
        return condition.high if value else condition.low
    return condition


@cache
def if_then_else(test: Condition, then: Condition, otherwise: Condition) -> Condition:
    """The condition that is `then` where `test` holds and `otherwise` where it does not."""
    if test is True:
        return then
    if test is False:
        return otherwise
    name = _top(test, then, otherwise)
    assert name is not None
    high = if_then_else(*(_when(condition, name, True) for condition in (test, then, otherwise)))
    low = if_then_else(*(_when(condition, name, False) for condition in (test, then, otherwise)))
    return _choice(name, high, low)


def negation(condition: Condition) -> Condition:
    """Holds where `condition` does not."""
    return if_then_else(condition, False, True)


def both(left: Condition, right: Condition) -> Condition:
    """Holds where both do."""
    return if_then_else(left, right, False)


def either(left: Condition, right: Condition) -> Condition:
    """Holds where at least one does."""
    return if_then_else(left, True, right)


def any_of(conditions: Iterable[Condition]) -> Condition:
    """Holds where at least one of `conditions` does; never, for none."""
    result: Condition = False
    for condition in conditions:
        result = either(result, condition)
    return result


def implies(left: Condition, right: Condition) -> bool:
    """Whether `right` holds in every setting in which `left` does."""
    return both(left, negation(right)) is False


def holds(condition: Condition, settings: dict[str, bool]) -> bool:
    """Whether `condition` holds with the booleans set as in `settings`. Raises KeyError for one that is not set."""
    while isinstance(condition, Choice):
        condition = condition.high if settings[condition.boolean] else condition.low
    return condition


Setting = tuple[tuple[str, bool], ...]

# There may be exponentially many smallest settings of parts; this many are looked at, which takes well below a second.
MOST_PARTS = 1_000


class _TooManyError(Exception):
    """A smallest setting would take too long to find."""


def _smallest(condition: Condition, known: dict[Condition, Optional[Setting]]) -> Optional[Setting]:
    """The fewest booleans, set so, that make a condition hold whatever the others are: each boolean on the way is on,
    off or does not matter (the prime implicants of Coudert and Madre, DAC 1992, of which one of the shortest)."""
    if not isinstance(condition, Choice):
        return () if condition else None
    if condition not in known:
        if len(known) >= MOST_PARTS:
            raise _TooManyError
        known[condition] = None  # counted from now on
        name, high, low = condition.boolean, condition.high, condition.low
        ways = [_smallest(both(high, low), known)]
        for value, branch in ((True, high), (False, low)):
            rest = _smallest(branch, known)
            ways.append(None if rest is None else ((name, value), *rest))
        known[condition] = min((way for way in ways if way is not None), key=_size, default=None)
    return known[condition]


@cache
def _shortest(condition: Condition) -> Optional[Setting]:
    """The fewest booleans on one way through the diagram: with these it holds, and with fewer it may."""
    if not isinstance(condition, Choice):
        return () if condition else None
    ways = []
    for value, branch in ((True, condition.high), (False, condition.low)):
        rest = _shortest(branch)
        ways.append(None if rest is None else ((condition.boolean, value), *rest))
    return min((way for way in ways if way is not None), key=_size, default=None)


def _size(setting: Setting) -> tuple[int, Setting]:
    """What smaller ones are known by; of several as small it is always the same one."""
    return len(setting), tuple(sorted(setting))


@cache
def _setting(condition: Condition) -> Optional[Setting]:
    try:
        return _smallest(condition, {})
    except _TooManyError:
        return _shortest(condition)


def smallest_setting(condition: Condition) -> Optional[dict[str, bool]]:
    """The fewest booleans, set so, that make `condition` hold whatever the others are; None where nothing does. Where
    there are too many to choose from, few booleans that do."""
    best = _setting(condition)
    return None if best is None else dict(best)


_BINARY: dict[str, Callable[[Condition, Condition], Condition]] = {
    "&&": both,
    "||": either,
    "^": lambda left, right: if_then_else(left, negation(right), right),
    "==": lambda left, right: if_then_else(left, right, negation(right)),
    "!=": lambda left, right: if_then_else(left, negation(right), right),
}


def parse_postfix(tokens: Iterable[str]) -> Condition:
    """The condition that `tokens` (names of booleans and the operators of the policy language) write in postfix,
    the order in which a binary policy keeps them. Raises ValueError when they are no condition."""
    stack: list[Condition] = []
    try:
        for token in tokens:
            if token == "!":
                stack.append(negation(stack.pop()))
            elif token in _BINARY:
                right = stack.pop()
                stack.append(_BINARY[token](stack.pop(), right))
            else:
                stack.append(boolean(token))
        (result,) = stack
    except (IndexError, ValueError) as error:
        raise ValueError("the expression of a conditional block is not a condition") from error
    return result


def infix(tokens: Iterable[str]) -> str:
    """The same condition as the module language writes it, every operator in parentheses of its own."""
    stack: list[str] = []
    for token in tokens:
        if token == "!":
            stack.append(f"(!{stack.pop()})")
        elif token in _BINARY:
            right = stack.pop()
            stack.append(f"({stack.pop()} {token} {right})")
        else:
            stack.append(token)
    (result,) = stack
    return result
