"""Answers of the kernel, kept as stretches: most of 65,535 ports answer like their neighbours."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from labelgen.errors import MachineError
from labelgen.witness.calls import Values


class WitnessError(MachineError):
    """A witness said something that was not asked, too little, or nothing: no verdict can stand on it."""


class Answer(NamedTuple):
    """What one trial came to: the step that failed (from 0) and its errno; errno 0 says that every step succeeded."""

    step: int
    errno: int

    def __str__(self) -> str:
        if not self.errno:
            return "ok"
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name} at call {self.step + 1}"

    @property
    def refused(self) -> bool:
        """Whether the errno is one that SELinux answers with."""
        return self.errno in (errno.EACCES, errno.EPERM)


OK = Answer(0, 0)


class Stretch(NamedTuple):
    """The values from `low` to `high` got the same answer."""

    low: int
    high: int
    answer: Answer

    def __len__(self) -> int:
        return self.high - self.low + 1


Stretches = tuple[Stretch, ...]


def total(stretches: Iterable[Stretch]) -> int:
    """How many values were answered."""
    return sum(s.high - s.low + 1 for s in stretches)


def join(stretches: Iterable[Stretch]) -> Stretches:
    """The same with equal neighbours joined."""
    joined: list[Stretch] = []
    for stretch in stretches:
        last = joined[-1] if joined else None
        if last and last.answer == stretch.answer and last.high + 1 == stretch.low:
            joined[-1] = Stretch(last.low, stretch.high, last.answer)
        else:
            joined.append(stretch)
    return tuple(joined)


def _lay_out(runs: Iterable[tuple[Answer, int]], values: Values) -> Iterator[Stretch]:
    """The stretches when `runs` of (answer, count) are laid along `values`. Raises WitnessError where they are
    longer."""
    places = iter(values)
    place = range(0)
    for answer, count in runs:
        left = count
        while left:
            if not place:
                place = next(places, range(0))
                if not place:
                    raise WitnessError("the probe answered for more values than it was asked")
            taken, place = place[:left], place[left:]
            yield Stretch(taken[0], taken[-1], answer)
            left -= len(taken)


_TOKEN = re.compile(r"(?:ok|(\d{1,2})\.(\d{1,4}))(?:\*([1-9]\d{0,4}))?")


def parse(tokens: Iterable[str], steps: int, values: Values) -> Stretches:
    """The stretches that the tokens of one answer spell. Raises WitnessError for a token that is none, or too many."""
    runs = []
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if not match:
            raise WitnessError(f"the probe answered {token!r}, which is no answer")
        step, number, count = match.groups()
        answer = OK if step is None else Answer(int(step), int(number))
        if answer.step >= steps or (step is not None and not answer.errno):
            raise WitnessError(f"the probe answered {token!r} to a trial of {steps} calls")
        runs.append((answer, int(count or 1)))
    return join(_lay_out(runs, values))


def together(*rows: Iterable[tuple[int, int, Any]]) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Ascending rows of (low, high, anything) laid over one another: (low, high, what each row has there), cut so that
    each row has one thing. A value that one of them lacks is left out."""
    walks = [iter(row) for row in rows]
    heads = [next(walk, None) for walk in walks]
    while True:
        there = [head for head in heads if head is not None]
        if len(there) < len(heads):
            return
        low, high = max(head[0] for head in there), min(head[1] for head in there)
        if low <= high:
            yield low, high, tuple(head[2] for head in there)
        heads = [next(walk, None) if head[1] <= high else head for walk, head in zip(walks, there)]
