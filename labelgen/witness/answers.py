"""Answers of the kernel, kept as runs: most of 65,535 ports answer like their neighbours."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

from labelgen.errors import MachineError


class WitnessError(MachineError):
    """A witness said something that was not asked, too little, or nothing: no verdict can stand on it."""


class Answer(NamedTuple):
    """What one trial came to: the step that failed and its errno; `errno` 0 says that every step succeeded."""

    step: int
    errno: int

    def __str__(self) -> str:
        if not self.errno:
            return "ok"
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name} at step {self.step + 1}"

    @property
    def refused(self) -> bool:
        """Whether the errno is one that SELinux answers with."""
        return self.errno in (errno.EACCES, errno.EPERM)


OK = Answer(0, 0)


class Run(NamedTuple):
    """`count` values in a row with the same answer."""

    answer: Answer
    count: int


@dataclass(frozen=True)
class Runs:
    """The answers of a sweep, from its first value on."""

    first: int
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return sum(run.count for run in self.runs)

    def __iter__(self) -> Iterator[tuple[int, int, Answer]]:
        """(first value, last value, answer) of each run."""
        value = self.first
        for run in self.runs:
            yield value, value + run.count - 1, run.answer
            value += run.count

    def at(self, value: int) -> Optional[Answer]:
        """The answer for one value; None where there is none."""
        return next((answer for low, high, answer in self if low <= value <= high), None)

    def ranges(self, wanted: Answer) -> list[tuple[int, int]]:
        """The ranges of values that got the answer `wanted`."""
        return [(low, high) for low, high, answer in self if answer == wanted]


def runs_of(first: int, answers: Iterable[tuple[Answer, int]]) -> Runs:
    """The runs of (answer, count) pairs, equal neighbours joined."""
    joined: list[Run] = []
    for answer, count in answers:
        if joined and joined[-1].answer == answer:
            joined[-1] = Run(answer, joined[-1].count + count)
        elif count:
            joined.append(Run(answer, count))
    return Runs(first, tuple(joined))


_TOKEN = re.compile(r"(?:ok|(\d{1,2})\.(\d{1,4}))(?:\*([1-9]\d{0,4}))?")


def parse_runs(first: int, tokens: Iterable[str], steps: int) -> Runs:
    """The runs that the tokens of one answer spell. Raises WitnessError for a token that is none."""
    found = []
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if not match:
            raise WitnessError(f"the probe answered {token!r}, which is no answer")
        step, number, count = match.groups()
        answer = OK if step is None else Answer(int(step), int(number))
        if answer.step >= steps or (step is not None and not answer.errno):
            raise WitnessError(f"the probe answered {token!r} to a trial of {steps} steps")
        found.append((answer, int(count or 1)))
    return runs_of(first, found)


def pairs(left: Runs, right: Runs) -> Iterator[tuple[int, int, Answer, Answer]]:
    """(first value, last value, left's answer, right's answer) for each stretch where both stay the same.

    Both start at the same value; the shorter one ends the walk.
    """
    lefts, rights = iter(left), iter(right)
    try:
        (_, left_high, left_answer), (_, right_high, right_answer) = next(lefts), next(rights)
        low = left.first
        while True:
            high = min(left_high, right_high)
            yield low, high, left_answer, right_answer
            low = high + 1
            if left_high < low:
                _, left_high, left_answer = next(lefts)
            if right_high < low:
                _, right_high, right_answer = next(rights)
    except StopIteration:
        return
