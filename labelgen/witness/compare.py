"""What the kernel answered, held against what Reach and libsepol lead one to expect."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

from labelgen.policy import Policy
from labelgen.reach import Need
from labelgen.witness import judge
from labelgen.witness.answers import OK, Answer, Stretch, Stretches, together
from labelgen.witness.calls import Query, Trial
from labelgen.witness.expect import Check, World
from labelgen.witness.facts import Facts
from labelgen.witness.model import Asked, Model
from labelgen.witness.plan import Plan
from labelgen.witness.script import Report


@dataclass(frozen=True)
class Finding:
    """The kernel answered otherwise than expected, for the values `low` to `high` of a trial.

    expected: what Reach, with the kernel's rules, leads one to expect; judge: what libsepol does. rule: the check on
    which the expectation rests, "" where it was that nothing is asked.
    """

    domain: str
    trial: str
    low: int
    high: int
    kernel: str
    expected: str
    judge: str
    rule: str

    def __str__(self) -> str:
        values = f" {self.low}" if self.low == self.high else f" {self.low}-{self.high}"
        judged = "" if self.judge == self.expected else f", by libsepol {self.judge}"
        return (
            f"{self.domain}: {self.trial}{values if self.high else ''}: the kernel answers {self.kernel}, "
            f"expected was {self.expected}{judged}" + (f" ({self.rule})" if self.rule else "")
        )


@dataclass(frozen=True)
class Readings:
    """One policy, read twice: `judged` by libsepol, `modelled` by labelgen, whose `model` has the Reach of every
    domain. `sepol` is libsepol with the policy."""

    sepol: judge.Sepol
    judged: Facts
    modelled: Facts
    model: Model

    @classmethod
    def of(cls, policy: Policy) -> Readings:
        """Read a policy with libsepol too. Raises InputError when it cannot be read, MachineError without a library."""
        sepol, model = judge.Sepol(policy.path), Model(policy)
        judged = judge.read(policy.of_setools, sepol)
        return cls(sepol, judged, model.facts(judged), model)


def _refuses(query: Query, answer: Answer) -> bool:
    """Whether the kernel says no to a query. Reach's word on opening a socket is about its class, which is EACCES; what
    a missing capability answers, EPERM, is no part of it."""
    return answer.errno == errno.EACCES if query.action == "create" else answer.refused


class Comparison:
    """The answers of one boot beside the expectations."""

    def __init__(self, plan: Plan, report: Report, readings: Readings, fast_open_checked: bool) -> None:
        self.plan = plan
        self.report = report
        kernel = plan.profile.kernel(fast_open_checked, report.release)
        self._judge = World(readings.judged, kernel, plan.kept, plan.listening)
        self._reach = World(readings.modelled, kernel, plan.kept, plan.listening)
        self._asked = Asked(readings.model, self._reach)

    def baseline(self, name: str) -> Stretches:
        """The answers of the kernel by itself; what was tried only once must succeed."""
        line = self.plan.baseline.get(name)
        return self.report.answers[line] if line is not None else (Stretch(0, 0, OK),)

    def findings(self, context: str, name: str) -> Iterator[Finding]:
        """Where a trial by a domain was answered otherwise than expected."""
        trial, base = self.plan.trials[name], self.baseline(name)
        rows = (
            self.report.answers[self.plan.lines[context, name]],
            self._reach.answers(trial, context, base),
            self._judge.answers(trial, context, base),
            self._reach_says(trial, context, base),
        )
        for low, high, (answer, reach, judged, missing) in together(*rows):
            if answer != reach or answer != judged:
                check = self._check(trial, context, low, base)
                yield Finding(context, name, low, high, str(answer), str(reach), str(judged), str(check or ""))
            elif trial.query and missing is not _NOT_ASKED and _refuses(trial.query, answer) != bool(missing):
                says = f"that it is {'refused' if missing else 'granted'}, as Reach answers"
                yield Finding(context, name, low, high, str(answer), says, str(judged), str(missing or ""))

    def _check(self, trial: Trial, context: str, value: int, base: Stretches) -> Optional[Check]:
        without = _at(base, value)
        return (
            self._reach.answer(trial, context, value, without)[1]
            or self._judge.answer(trial, context, value, without)[1]
        )

    def _reach_says(self, trial: Trial, context: str, base: Stretches) -> Iterable[tuple[int, int, object]]:
        """For each value what the domain lacks by Reach's own answer, None where it may; asked only where the kernel,
        without SELinux, comes to the last call."""
        if trial.query is None or (base[0].answer.errno and base[0].answer.step < len(trial.calls) - 1):
            return [(0, trial.values[-1].stop, _NOT_ASKED)]
        return self._missing(trial, trial.query, context)

    def _missing(self, trial: Trial, query: Query, context: str) -> Iterator[tuple[int, int, Optional[Need]]]:
        for low, high in self._reach.stretches(trial):
            yield low, high, self._asked.missing(query, context, low)


_NOT_ASKED = object()


def _at(baseline: Stretches, value: int) -> Answer:
    return next((s.answer for s in baseline if s.low <= value <= s.high), baseline[0].answer)
