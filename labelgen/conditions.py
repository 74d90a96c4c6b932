"""Boolean conditions of a policy, compared exactly without trying every setting.

A condition is a reduced ordered decision diagram (Bryant 1986): equal conditions are the same object, so "always",
"never" and "implies" are answered by construction, never by enumerating the 2^n settings of n booleans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Callable, Optional, Union


@dataclass(frozen=True)
class Choice:
    """`if boolean then high else low`; booleans are ordered by name along every path."""

    boolean: str
    high: Condition
    low: Condition

    def __reduce__(self) -> tuple[Callable[..., Condition], tuple[object, ...]]:
        """Read by pickle it is the same object as its equals here."""
        return _choice, (self.boolean, self.high, self.low)


Condition = Union[bool, Choice]


@cache
def _choice(boolean: str, high: Condition, low: Condition) -> Condition:
    return high if high is low else Choice(boolean, high, low)


def boolean(name: str) -> Condition:
    """The condition that holds when the boolean `name` is on."""
    return _choice(name, True, False)


def _top(*conditions: Condition) -> Optional[str]:
    return min((c.boolean for c in conditions if isinstance(c, Choice)), default=None)


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
    high, low = (
        if_then_else(_when(test, name, v), _when(then, name, v), _when(otherwise, name, v)) for v in (True, False)
    )
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


@cache
def _smallest(condition: Condition) -> Optional[tuple[tuple[str, bool], ...]]:
    """The fewest booleans, set so, that make a condition hold whatever the others are: each boolean on the way is on,
    off or does not matter (the prime implicants of Coudert and Madre, DAC 1992, of which one of the shortest)."""
    if not isinstance(condition, Choice):
        return () if condition else None
    name = condition.boolean
    ways = [_smallest(both(condition.high, condition.low))]
    for value, branch in ((True, condition.high), (False, condition.low)):
        rest = _smallest(branch)
        ways.append(None if rest is None else ((name, value), *rest))
    return min((way for way in ways if way is not None), key=lambda way: (len(way), way), default=None)


def smallest_setting(condition: Condition) -> Optional[dict[str, bool]]:
    """The fewest booleans, set so, that make `condition` hold whatever the others are; None where nothing does."""
    best = _smallest(condition)
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
