"""The file contexts that were linked with a policy: which label a host gives to which path.

A linker writes them in the order in which they count (libsepol, cil_post_filecon_compare; a host's libsemanage sorts
alike): expressions before literal paths, by the length of what comes before the first special sign. Of all that match
a path the last one counts (libselinux, label_file.c: lookup_all).
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Optional

# sre_parse was moved in Python 3.11, and its old name warns.
try:
    from re import _parser as sre_parser  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    import sre_parse as sre_parser  # type: ignore[no-redef,unused-ignore]

SPECIAL = ".^$?*+|[({"  # libsepol, cil_post.c: cil_post_fc_fill_data
NO_LABEL = "<<none>>"


class FileContext(NamedTuple):
    """One line: an expression over whole paths, the kind of file it is for (empty for any) and the type it gives
    (empty for none)."""

    path: str
    kind: str
    type: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.path, self.kind, self.type or NO_LABEL)))


def _parsed(lines: Iterable[str]) -> Iterator[FileContext]:
    for words in map(str.split, lines):
        if len(words) > 1:
            context = words[-1].split(":")
            yield FileContext(words[0], words[1] if len(words) > 2 else "", context[2] if len(context) > 2 else "")


@cache
def _compiled(expression: str) -> Optional[re.Pattern[str]]:
    """An expression as Python reads it; None for what only PCRE2 understands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(expression)
    except (re.error, RecursionError):
        return None


@cache
def stem(expression: str) -> str:
    """What every path starts with that an expression matches, as far as it is plain."""
    if _is_divided(expression):
        return ""
    plain, place = "", 0
    while place < len(expression):
        sign = expression[place]
        if sign == "\\" and place + 1 < len(expression) and not expression[place + 1].isalnum():
            place, sign = place + 1, expression[place + 1]
        elif sign in SPECIAL:
            # What stands before one of these need not be there.
            return plain[:-1] if sign in "?*{" else plain
        plain, place = plain + sign, place + 1
    return plain


def _is_divided(expression: str) -> bool:
    """Whether it has alternatives outside of parentheses: its paths need not start alike."""
    if "|" not in expression:
        return False
    depth = 0
    for sign in re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", expression):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and depth <= 0:
            return True
    return False


_PLAIN = re.compile(r"[^\\.^$?*+|\[({]*")


def _start(expression: str) -> str:
    """What every path starts with that an expression matches, up to its first special or escaped sign: the `stem` or
    less, found at once."""
    if _is_divided(expression):
        return ""
    plain = _PLAIN.match(expression)
    assert plain is not None
    return plain[0][:-1] if expression[plain.end() : plain.end() + 1] in tuple("?*{") else plain[0]


@cache
def examples(expression: str) -> tuple[str, ...]:
    """Paths that an expression matches: with optional parts left out, once and twice, with each alternative, and with
    any sign as a plain one and as the end of a folder."""
    try:
        parts = sre_parser.parse(expression)
    except (re.error, RecursionError, OverflowError):
        return ()
    ways = (_Way(often, branch, sign) for often in (0, 1, 2) for branch in range(4) for sign in "x/")
    return tuple(dict.fromkeys(way.example(parts) for way in ways))


class _Way(NamedTuple):
    """One way to make a path of an expression."""

    often: int
    branch: int
    sign: str

    def example(self, parts: Iterable[tuple[Any, Any]]) -> str:
        return "".join(self._one(str(kind), value) for kind, value in parts)

    def _one(self, kind: str, value: Any) -> str:
        if kind == "LITERAL":
            return chr(value)
        if kind == "SUBPATTERN":
            return self.example(value[-1])
        if kind == "BRANCH":
            return self.example(value[1][self.branch % len(value[1])])
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            return self.example(inner) * int(max(low, min(self.often, high)))
        if kind == "IN":
            return _of_set(value)
        return "" if kind == "AT" else self.sign


def _of_set(members: Sequence[tuple[Any, Any]]) -> str:
    """A sign of a set such as [a-z_], or outside of one such as [^/]."""
    first, value = str(members[0][0]), members[0][1]
    if first == "NEGATE":
        shut = {chr(v) for k, v in members[1:] if str(k) == "LITERAL"}
        return next(sign for sign in "xyz0_-" if sign not in shut)
    return chr(value[0] if first == "RANGE" else value) if first in ("RANGE", "LITERAL") else "x"


class FileContexts:
    """File contexts in the order in which they count, with an index over what their paths start with."""

    def __init__(self, contexts: Sequence[FileContext] = ()) -> None:
        self.contexts = tuple(contexts)
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, context in enumerate(self.contexts):
            self._places[_start(context.path)].append(place)
        self._starts = sorted(self._places)

    @cached_property
    def by_type(self) -> dict[str, list[FileContext]]:
        """Type -> those that give it."""
        found: dict[str, list[FileContext]] = defaultdict(list)
        for context in self.contexts:
            found[context.type].append(context)
        return dict(found)

    def _near(self, start: str) -> list[int]:
        """The places of those whose path starts as far as it is plain with `start`, or with a part of it."""
        starts = [start[:length] for length in range(len(start))]
        for place in range(bisect_left(self._starts, start), len(self._starts)):
            if not self._starts[place].startswith(start):
                break
            starts.append(self._starts[place])
        return sorted(place for one in starts for place in self._places.get(one, ()))

    @classmethod
    def read(cls, *files: Path) -> FileContexts:
        """The file contexts in files, those that count more later."""
        lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
        return cls(tuple(_parsed(line for line in lines if not line.startswith("#"))))

    def __iter__(self) -> Iterator[FileContext]:
        return iter(self.contexts)

    def shadowing(self, path: str) -> Iterator[FileContext]:
        """Those that count before the line of the expression `path` for paths that it matches."""
        places = self._near(_start(path))
        mine = next((place for place in places if self.contexts[place].path == path), None)
        expression = _compiled(path)
        if mine is None or expression is None:
            return
        paths = [example for example in examples(path) if expression.fullmatch(example)]
        for context in (self.contexts[place] for place in places if place > mine):
            if context.path == path or (
                _may_meet(stem(path), stem(context.path)) and _meet(expression, paths, context.path)
            ):
                yield context


def _may_meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _meet(expression: re.Pattern[str], paths: Sequence[str], other: str) -> bool:
    """Whether another expression matches one of the example paths, or the expression one of the other's examples."""
    start = stem(other)
    if any(path.startswith(start) for path in paths):
        compiled = _compiled(other)
        if compiled is None or any(compiled.fullmatch(path) for path in paths):
            return True
    return any(expression.fullmatch(example) for example in examples(other))
