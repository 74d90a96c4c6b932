"""The script of the probe, and the strict reading of what the probe says to it.

Each line of the script is answered by exactly one line with the same number and verb. Whatever is missing, extra or
not as it was asked for raises WitnessError: a witness that was interrupted has proved nothing.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from labelgen.witness.answers import Stretches, WitnessError, parse, total
from labelgen.witness.calls import Call, Trial, Values, spell

SLOTS = 4096
ACTORS = 256


@dataclass
class Script:
    """The lines for the probe, and for each what was asked."""

    lines: list[str] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    actors: list[str] = field(default_factory=list)
    trials: dict[int, Trial] = field(default_factory=dict)
    values: dict[int, Values] = field(default_factory=dict)
    enforced_from: Optional[int] = None
    _next_slot: int = 0

    def _add(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    def module(self, path: str) -> int:
        """Load a kernel module of the initramfs."""
        return self._add(f"module {path}")

    def sysctl(self, name: str, value: str) -> int:
        """Set the sysctl `name` (net.ipv4.x) to `value`."""
        return self._add(f"sysctl {name.replace('.', '/')} {'_'.join(value.split())}")

    def policy(self, path: str) -> int:
        """Load the policy."""
        return self._add(f"policy {path}")

    def actor(self, label: str) -> int:
        """Fork a process labelled `label` ("-": as PID 1 is); its number."""
        if len(self.actors) == ACTORS:
            raise WitnessError(f"a witness takes {ACTORS} processes at most")
        self._add(f"actor {label}")
        self.actors.append(label)
        return len(self.actors) - 1

    def enforce(self) -> int:
        """Enforce the policy from here on."""
        self.enforced_from = self._add("enforce")
        return self.enforced_from

    def label(self, actor: int) -> int:
        """Ask for the label of an actor."""
        return self._add(f"label {actor}")

    def job(self, actor: int, trial: Trial, first_only: bool = False) -> int:
        """Let `actor` try `trial`, or only the first of its values; the number of the line, to find the answers by."""
        values = (range(trial.first, trial.first + 1),) if first_only else trial.values
        number = self._add(f"job {actor} {int(trial.fresh)} {spell(values)} {trial.steps(self.slots)}")
        self.trials[number], self.values[number] = trial, values
        return number

    def _keep_slots(self, names: Mapping[int, str], count: int) -> int:
        first = self._next_slot
        self._next_slot += count
        if self._next_slot > SLOTS:
            raise WitnessError(f"a witness keeps {SLOTS} results at most")
        self.slots.update({name: first + step for step, name in names.items()})
        return first

    def keep(self, actor: int, names: Mapping[int, str], calls: tuple[Call, ...]) -> int:
        """Let `actor` make the calls and keep what they open; the results of the steps in `names` get these names."""
        trial = Trial("keep", calls)
        first = self._keep_slots(names, len(calls))
        number = self._add(f"keep {actor} {first} {trial.steps(self.slots)}")
        self.trials[number] = trial
        return number

    def open(self, names: Mapping[int, str], calls: tuple[Call, ...], optional: bool = False) -> int:
        """As `keep`, but PID 1 makes the calls, before it forks the actors that shall inherit what they open. Where the
        kernel may lack what is asked for, they are `optional`."""
        trial = Trial("optional" if optional else "open", calls)
        number = self._add(f"open {self._keep_slots(names, len(calls))} {trial.steps(self.slots)}")
        self.trials[number] = trial
        return number

    def text(self) -> bytes:
        """The script as the probe reads it."""
        return "".join(f"{line}\n" for line in (*self.lines, "end")).encode()


@dataclass(frozen=True)
class Report:
    """What the probe said, in the order of the script: `release` of the kernel, line -> answers, actor -> its process
    id, line -> other words."""

    release: str
    answers: Mapping[int, Stretches]
    processes: Mapping[int, int]
    words: Mapping[int, tuple[str, ...]]


_HEADER = re.compile(r"labelgen-probe 1 (\S+)")
_END = re.compile(rb"(\d+ end 1) ([0-9a-f]{8})\n")


def is_start(said: bytes) -> bool:
    """Whether what was said begins as a report does."""
    return said.startswith(b"labelgen-probe ")


class Reader:
    """Reads a report line by line against its script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.release = ""
        self.answers: dict[int, Stretches] = {}
        self.processes: dict[int, int] = {}
        self.words: dict[int, tuple[str, ...]] = {}
        self._checksum = 0
        self._number = 0
        self._started = False
        self._ended = False

    @property
    def progress(self) -> float:
        """The share of the script that has been answered, 0 to 1."""
        return self._number / (len(self.script.lines) + 1)

    @property
    def started(self) -> bool:
        """Whether the probe has said its first word."""
        return self._started

    @property
    def place(self) -> str:
        """How far the witness came."""
        last = self.script.lines[self._number - 1][:160] if self._number else "the start"
        return f"after line {self._number} of {len(self.script.lines) + 1}: {last}"

    def feed(self, line: bytes) -> bool:
        """Take one line; True after the last. Raises WitnessError for a line that answers nothing that was asked."""
        line = line.replace(b"\r", b"")
        if self._ended:
            raise WitnessError(f"the probe went on after its end: {line!r}")
        if not self._started:
            self._start(line)
        elif self._number == len(self.script.lines):
            self._finish(line)
        else:
            self._answer(line)
        self._checksum = zlib.crc32(line, self._checksum)
        return self._ended

    def _start(self, line: bytes) -> None:
        match = _HEADER.fullmatch(line.decode("ascii", "replace").rstrip("\n"))
        if not match:
            raise WitnessError(f"the witness did not start with the probe's first line but with {line!r}")
        self.release, self._started = match[1], True

    def _finish(self, line: bytes) -> None:
        match = _END.fullmatch(line)
        if not match or match[1] != b"%d end 1" % (self._number + 1):
            raise WitnessError(f"the probe did not end as it should, still enforcing: {line!r}")
        if int(match[2], 16) != zlib.crc32(match[1], self._checksum):
            raise WitnessError("the probe's report was damaged on its way: the checksum differs")
        self._ended = True

    def _answer(self, line: bytes) -> None:
        self._number += 1
        asked = self.script.lines[self._number - 1].split()
        words = line.decode("ascii", "replace").split()
        if words[1:2] == ["failed"]:
            raise WitnessError(f"the probe gave up at {' '.join(asked)[:160]!r}: {' '.join(words[2:])}")
        if not line.endswith(b"\n") or words[:2] != [str(self._number), asked[0]]:
            raise WitnessError(f"the probe answered {line[:160]!r} to line {self._number}, {' '.join(asked)[:160]!r}")
        getattr(self, f"_read_{asked[0]}")(asked[1:], words[2:])

    def _must(self, holds: bool, message: str) -> None:
        if not holds:
            raise WitnessError(message)

    def _read_module(self, asked: list[str], words: list[str]) -> None:
        self._must(words == ["0"], f"the kernel did not load the module {asked[0]}: {_error(words)}")

    def _read_sysctl(self, asked: list[str], words: list[str]) -> None:
        same = len(words) == 2 and words[1].split("_") == asked[1].split("_")
        self._must(same and words[0] == "0", f"the sysctl {asked[0]} did not become {asked[1]}: {' '.join(words)}")

    def _read_policy(self, asked: list[str], words: list[str]) -> None:
        self._must(words[:1] == ["0"], f"the kernel refused the policy: {_error(words)}")

    def _read_actor(self, asked: list[str], words: list[str]) -> None:
        label = asked[0]
        self._must(len(words) == 3, f"the probe answered {' '.join(words)!r} for an actor")
        self._must(
            words[0] == "0", f"no process can be given the label {label}: {_error(words)}; is its SELinux role right?"
        )
        self._must(label in ("-", words[1]), f"a process that should be {label} is {words[1]}")
        actor = len(self.processes)
        self.processes[actor] = int(words[2])
        self.words[self._number] = tuple(words)
        if label == "-":
            self.script.actors[actor] = words[1]

    def _read_label(self, asked: list[str], words: list[str]) -> None:
        wanted = self.script.actors[int(asked[0])]
        self._must(words == [wanted, "1"], f"a process that was {wanted}, enforced, is now {' '.join(words)}")

    def _read_enforce(self, asked: list[str], words: list[str]) -> None:
        self._must(words == ["0", "1", "1"], f"the kernel does not enforce: {' '.join(words)}")

    def _read_job(self, asked: list[str], words: list[str]) -> None:
        self._must(
            words[:2] == [asked[0], self._enforcing()],
            f"enforcing changed, or another process answered: {' '.join(words[:2])!r}",
        )
        trial, values = self.script.trials[self._number], self.script.values[self._number]
        answers = parse(words[2:], len(trial.calls), values)
        wanted = sum(map(len, values))
        self._must(
            _complete(answers, wanted, len(trial.calls)),
            f"the probe answered for {total(answers)} values instead of {wanted} to {trial.name!r}",
        )
        self.answers[self._number] = answers

    def _read_keep(self, asked: list[str], words: list[str]) -> None:
        self._must(words[:2] == [asked[0], self._enforcing()], f"enforcing changed: {' '.join(words[:2])!r}")
        self._read_open(asked, words[2:])

    def _read_open(self, asked: list[str], words: list[str]) -> None:
        answers = parse(words, len(self.script.trials[self._number].calls), (range(1),))
        self._must(len(answers) == 1, f"the probe answered {' '.join(words)!r} to one trial")
        optional = self.script.trials[self._number].name == "optional"
        self._must(
            optional or not answers[0].answer.errno,
            f"the witness could not prepare {self.script.lines[self._number - 1]!r}: {answers[0].answer}",
        )
        self.answers[self._number] = answers

    def _enforcing(self) -> str:
        enforced = self.script.enforced_from is not None and self._number > self.script.enforced_from
        return "11" if enforced else "00"

    def report(self) -> Report:
        """The whole report. Raises WitnessError when it has not ended."""
        if not self._ended:
            raise WitnessError(f"the witness ended early, {self.place}")
        return Report(self.release, self.answers, self.processes, self.words)


def _complete(answers: Stretches, wanted: int, steps: int) -> bool:
    """Whether there is an answer for each value, or the preparation failed, which ends a sweep."""
    if total(answers) == wanted:
        return True
    last = answers[-1].answer if answers else None
    return last is not None and last.errno != 0 and last.step < steps - 1


def _error(words: list[str]) -> str:
    number = int(words[0]) if words and words[0].isdigit() else 0
    return f"{errno.errorcode.get(number, number)}, {os.strerror(number)}" if number else " ".join(words)
