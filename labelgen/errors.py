"""The errors that a person sees: what is wrong, where, and what to do instead.

Everything raised on purpose derives from `LabelgenError` and is printed without a traceback. Each class carries the
exit status of the command line: 2 the input is wrong, 3 the machine lacks something.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

TAB = " " * 4
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


MOST_NAMES = 12


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in a message: of more than `most`, the first and how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def printable(text: str) -> str:
    """Text of others (a program's words, a file's name) without what commands a terminal."""
    shown = text.replace("\r\n", "\n").replace("\t", TAB)
    return "".join(sign if sign.isprintable() or sign == "\n" else UNPRINTABLE for sign in shown)


class LabelgenError(Exception):
    """An error with a message for a person and, where there is one, its cure."""

    exit_status = 2

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> list[str]:
        """The message as lines to print, the hint last."""
        return printable(self.message).split("\n") + ([f"hint: {printable(self.hint)}"] if self.hint else [])


class InputError(LabelgenError):
    """What the user gave (a role file, a base, an option) is wrong."""


class Problem(NamedTuple):
    """One thing wrong with an input file, at a line and column (both from 1; 0 is the file as a whole)."""

    path: Path
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else f"{self.path}"
        return f"{place}: {self.message}"


class RoleFileError(InputError):
    """One or more role files are wrong. All problems are told at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ParentError(InputError):
    """The base has no such parent for roles: the role file or the base is meant, whichever named it."""


class LinkError(InputError):
    """Modules do not link onto a base: they were made for another one, or one of both is wrong."""


class MachineError(LabelgenError):
    """The machine lacks something: a program, a library, room on the disk."""

    exit_status = 3


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'X'?` for the nearest of the `known` words, or nothing."""
    import difflib  # noqa: PLC0415 - only for an error

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
