"""The proof: what the kernel answered, held against what its rules and the policy lead one to expect."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from queue import Queue
from threading import Lock, Semaphore
from typing import Any, Optional

from labelgen import programs
from labelgen.policy import Policy
from labelgen.witness import controls, kernels, machine, packets, separation, trials
from labelgen.witness.answers import WitnessError, total
from labelgen.witness.calls import Trial, Values
from labelgen.witness.compare import Comparison, Finding, Readings
from labelgen.witness.facts import Facts, edges
from labelgen.witness.kernels import Kernel
from labelgen.witness.plan import DEFAULT, HARDENED, Pair, Plan, Profile, Question, Reaching, make
from labelgen.witness.script import Report


@dataclass(frozen=True)
class Ranges:
    """The values of a trial that were not refused, as inclusive ranges; of ports, where the first and the last of a
    label are tried alone, with those between the two."""

    trial: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Attempt:
    """What a domain tried on another process, on private files or in a user namespace, and the kernel's answer. `group`
    is what it is about: signals, files, ..."""

    group: str
    trial: str
    answer: str


@dataclass(frozen=True)
class Domain:
    """What one domain's answers came to: how many were compared, how many differ; the ports that it was let by, for
    each trial; the protocols of the sockets it could make, for each family and type; what came of its attempts on
    others."""

    context: str
    compared: int
    differing: int
    ports: tuple[Ranges, ...]
    sockets: tuple[Ranges, ...]
    attempts: tuple[Attempt, ...]

    def __add__(self, other: Domain) -> Domain:
        """The same domain's answers of two boots."""
        return Domain(
            self.context,
            self.compared + other.compared,
            self.differing + other.differing,
            self.ports + other.ports,
            self.sockets + other.sockets,
            self.attempts + other.attempts,
        )


@dataclass(frozen=True)
class Testimony:
    """One kernel under one profile of sysctls. `fast_open_checked` was measured: whether it checks TCP Fast Open."""

    witness: str
    release: str
    profile: str
    seconds: float
    fast_open_checked: bool
    controls: tuple[str, str]
    domains: tuple[Domain, ...]
    findings: tuple[Finding, ...]
    denials: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        """Answers compared."""
        return sum(domain.compared for domain in self.domains)

    @property
    def differing(self) -> int:
        """Answers that differ."""
        return sum(domain.differing for domain in self.domains)


@dataclass(frozen=True)
class Proof:
    """What the witnesses said about a policy, of which `policy` is the SHA-256."""

    policy: str
    testimonies: tuple[Testimony, ...]
    limits: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether something was compared and no answer differs."""
        return bool(self.compared) and not self.differing

    @property
    def compared(self) -> int:
        """Answers compared."""
        return sum(testimony.compared for testimony in self.testimonies)

    @property
    def differing(self) -> int:
        """Answers that differ."""
        return sum(testimony.differing for testimony in self.testimonies)

    def to_json(self) -> dict[str, Any]:
        """The proof in the types of JSON."""
        return {"holds": self.holds, "compared": self.compared, "differing": self.differing, **asdict(self)}


def _assert_controls(plan: Plan, report: Report) -> None:
    good, bad = plan.controls
    for trial in controls.attempts(edges_of(plan)):
        passed = report.answers[plan.lines[f"control {good}", trial.name]]
        odd = controls.other_than(passed, report.answers[plan.baseline[trial.name]][0].answer)
        if odd is not None:
            raise WitnessError(
                f"the control {good}, which must be allowed everything: {trial.name} {odd.low}: {odd.answer}"
            )
        odd = controls.other_than(report.answers[plan.lines[f"control {bad}", trial.name]], controls.REFUSED)
        if odd is not None:
            raise WitnessError(
                f"the control {bad}, which must be refused everything: {trial.name} {odd.low}: {odd.answer}"
            )


def _without_control(plan: Plan, report: Report) -> list[str]:
    """The groups of attempts in which even an attacker labelled as its victim comes to nothing: what is refused there
    shows no separation. Raises WitnessError when that is all of them."""
    shown: dict[str, bool] = {}
    for pair, names in plan.pairs.items():
        if pair.attacker == pair.victim:
            for name in names:
                answer = report.answers[plan.lines[pair.attacker, name]][0].answer
                group = plan.trials[name].kind
                shown[group] = shown.get(group, False) or not answer.errno
    if shown and not any(shown.values()):
        raise WitnessError("the controls can do nothing to a process with their own label: no separation is shown")
    return [group for group, came in shown.items() if not came]


def _assert_possible(plan: Plan, report: Report) -> None:
    """What one process tries on another has to succeed while nothing is enforced, or its refusal would show nothing."""
    for name, line in plan.baseline.items():
        answer = report.answers[line][0].answer
        if plan.trials[name].kind in separation.GROUPS and answer.errno:
            raise WitnessError(f"the control of {name}: with nothing enforced the kernel answers {answer}")


def edges_of(plan: Plan) -> Values:
    """The ports that the controls tried."""
    return plan.trials[controls.attempts((range(1, 2),))[0].name].values


def _fast_open_checked(plan: Plan, report: Report) -> bool:
    if plan.gap is None:
        return True
    answers = report.answers[plan.lines[f"control {plan.gap}", controls.fast_open_trial().name]]
    return answers[0].answer.refused


def _of_kind(plan: Plan, context: str, kind: str) -> Iterator[tuple[Trial, int]]:
    for (label, name), line in plan.lines.items():
        if label == context and plan.trials[name].kind == kind:
            yield plan.trials[name], line


def _let_by(plan: Plan, report: Report, context: str) -> Iterator[Ranges]:
    for trial, line in _of_kind(plan, context, "ports"):
        passed = tuple(_spans(((s.low, s.high) for s in report.answers[line] if not s.answer.refused), trial.values))
        if passed:
            yield Ranges(trial.name, passed)


def _spans(passed: Iterable[tuple[int, int]], tried: Values) -> list[tuple[int, int]]:
    """The ranges, joined where none was `tried` between two of them."""
    after = {one.stop - 1: other.start for one, other in zip(tried, tried[1:])}
    joined: list[tuple[int, int]] = []
    for low, high in passed:
        if joined and low in (joined[-1][1] + 1, after.get(joined[-1][1])):
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _opened(plan: Plan, report: Report, context: str) -> Iterator[Ranges]:
    for trial, line in _of_kind(plan, context, "sockets"):
        opened = tuple((s.low, s.high) for s in report.answers[line] if not s.answer.errno)
        if opened:
            yield Ranges(trial.name, opened)


def _attempts(plan: Plan, report: Report, context: str) -> Iterator[Attempt]:
    for (label, name), line in plan.lines.items():
        group = plan.trials[name].kind
        if label == context and group in (*separation.GROUPS, "userns", packets.KIND):
            yield from (Attempt(group, name, str(stretch.answer)) for stretch in report.answers[line])


def _domain(comparison: Comparison, context: str) -> tuple[Domain, list[Finding]]:
    plan, report = comparison.plan, comparison.report
    names = [name for label, name in plan.lines if label == context]
    findings = [found for name in names for found in comparison.findings(context, name)]
    compared = sum(total(report.answers[plan.lines[context, name]]) for name in names)
    differing = sum(found.high - found.low + 1 for found in findings)
    ports, sockets = tuple(_let_by(plan, report, context)), tuple(_opened(plan, report, context))
    return Domain(context, compared, differing, ports, sockets, tuple(_attempts(plan, report, context))), findings


def _denials(console: str, domains: Iterable[str]) -> tuple[str, ...]:
    """The AVC lines about the domains, of what was enforced, each once: a sweep repeats them."""
    sources = tuple(f"scontext={domain} " for domain in domains)
    found = (
        line[line.index("avc:") :].strip()
        for line in console.splitlines()
        if "avc:" in line and line.rstrip().endswith("permissive=0") and any(source in line for source in sources)
    )
    return tuple(dict.fromkeys(found))


def _testimony(kernel: Kernel, readings: Readings, plan: Plan, booted: machine.Booted, seconds: float) -> Testimony:
    report = booted.report
    _assert_controls(plan, report)
    _assert_possible(plan, report)
    uncontrolled = _without_control(plan, report)
    checked = _fast_open_checked(plan, report)
    comparison = Comparison(plan, report, readings, checked)
    contexts = dict.fromkeys(label for label, _ in plan.lines if not label.startswith("control "))
    results = [_domain(comparison, context) for context in contexts]
    return Testimony(
        kernel.kind,
        report.release,
        plan.profile.name,
        round(seconds, 2),
        checked,
        plan.controls,
        tuple(domain for domain, _ in results),
        tuple(found for _, findings in results for found in findings),
        _denials(booted.console, contexts),
        (
            *_lacks(plan, report),
            *_odd_packets(plan, report),
            *_measured(plan, checked),
            *(f"{_UNCONTROLLED}: {group}" for group in uncontrolled),
        ),
    )


_UNCONTROLLED = "refused even between equal categories, so that no separation by them is shown"


def _lacks(plan: Plan, report: Report) -> Iterator[str]:
    """Protocols of the trials that the kernel by itself does not have."""
    lacking = []
    for name, line in plan.baseline.items():
        answer = report.answers[line][0].answer
        if plan.trials[name].ports and answer.step == 0 and answer.errno:
            lacking.append(name.split()[1])
    if lacking:
        yield f"this kernel lacks {', '.join(dict.fromkeys(lacking))}: of these it answers no more than for the socket"


def _odd_packets(plan: Plan, report: Report) -> Iterator[str]:
    """Trials of packets that come to nothing in the kernel by itself, though it has the protocol."""
    for name, line in plan.baseline.items():
        answer = report.answers[line][0].answer
        if plan.trials[name].kind == packets.KIND and answer.step and answer.errno:
            yield f"this kernel by itself answers {answer} to {name}: what would come after is not tried"


def _measured(plan: Plan, fast_open_checked: bool) -> Iterator[str]:
    """What this kernel lets by whatever the policy says."""
    low, high = plan.profile.kernel().local_ports
    if low < high:
        yield f"no bind to a port from {low} to {high} is checked (net.ipv4.ip_local_port_range)"
    if not fast_open_checked and plan.profile.sysctls.get("net.ipv4.tcp_fastopen") != "0":
        yield "TCP Fast Open goes round name_connect (net.ipv4.tcp_fastopen)"


def _merge(testimonies: Iterable[Testimony]) -> Iterator[Testimony]:
    """Boots of the same kernel and profile as one testimony."""
    together: dict[tuple[str, str], list[Testimony]] = {}
    for testimony in testimonies:
        together.setdefault((testimony.witness, testimony.profile), []).append(testimony)
    for same in together.values():
        first = same[0]
        domains: dict[str, Domain] = {}
        for domain in (d for t in same for d in t.domains):
            known = domains.get(domain.context)
            domains[domain.context] = known + domain if known else domain
        yield Testimony(
            first.witness,
            first.release,
            first.profile,
            max(t.seconds for t in same),
            first.fast_open_checked,
            first.controls,
            tuple(domains.values()),
            tuple(f for t in same for f in t.findings),
            tuple(d for t in same for d in t.denials),
            tuple(dict.fromkeys(limit for t in same for limit in t.limits)),
        )


@dataclass(frozen=True)
class _Boot:
    """One boot of the many of a proof: a kernel, a profile, and which share of the trials."""

    kernel: Kernel
    profile: Profile
    share: int
    of: int


def _boots(chosen: Sequence[Kernel], profiles: Sequence[Profile], processors: int) -> Iterator[_Boot]:
    for kernel in chosen:
        for profile in profiles:
            of = min(processors, machine.SIDE_BY_SIDE[kernel.kind])
            yield from (_Boot(kernel, profile, share, of) for share in range(of))


class _Session:
    """The boots of a proof, as many at a time as there are processors."""

    def __init__(
        self,
        policy: Path,
        readings: Readings,
        question: Question,
        denials: bool,
        progress: Callable[[float], None],
    ) -> None:
        self.policy = policy
        self.readings = readings
        self.question = question
        self.denials = denials
        self.progress = progress
        self.done: dict[_Boot, float] = {}
        self.modules: dict[Kernel, dict[str, bytes]] = {}
        self.room = {kind: Semaphore(most) for kind, most in machine.SIDE_BY_SIDE.items()}
        self.processors: Queue[int] = Queue()
        # setools and libsepol are not made for threads, and reading answers keeps a processor busy by itself.
        self.reading = Lock()

    def run(self, boots: Sequence[_Boot]) -> list[Testimony]:
        """What each of the boots says, in their order, those of one kernel after those of the other, so that a small
        guest is not there beside a large one. Raises the first error."""
        self.done = dict.fromkeys(boots, 0.0)
        self.modules = {kernel: kernels.modules(kernel) for kernel in {boot.kernel for boot in boots}}
        for processor in machine.processors():
            self.processors.put(processor)
        with programs.workers(self.processors.qsize()) as pool:
            return [
                testimony
                for _, same in groupby(boots, lambda boot: boot.kernel)
                for testimony in programs.in_turn(pool, self._boot, same)
            ]

    def _boot(self, boot: _Boot) -> Testimony:
        modules = self.modules[boot.kernel]
        with self.reading:
            plan = make(self.question, boot.profile, modules, boot.share, boot.of)
        with self.room[boot.kernel.kind], self._processor() as processor:
            start = time.monotonic()
            booted = machine.boot(
                boot.kernel,
                self.policy,
                plan.script,
                modules,
                processor=processor,
                audit=self.denials,
                progress=lambda share: self._step(boot, share),
            )
        seconds = time.monotonic() - start
        with self.reading:
            return _testimony(boot.kernel, self.readings, plan, booted, seconds)

    @contextmanager
    def _processor(self) -> Iterator[int]:
        """A processor that no other boot is on."""
        processor = self.processors.get()
        try:
            yield processor
        finally:
            self.processors.put(processor)

    def _step(self, boot: _Boot, share: float) -> None:
        self.done[boot] = share
        self.progress(sum(self.done.values()) / len(self.done))


def prove(
    policy: Path,
    domains: Sequence[str],
    *,
    expected: Optional[Policy] = None,
    kernels_: Optional[Sequence[Kernel]] = None,
    witness: str = "quickest",
    profiles: Sequence[Profile] = (DEFAULT, HARDENED),
    pairs: Sequence[Pair] = (),
    reaching: Sequence[Reaching] = (),
    runtimes: Sequence[str] = (),
    every_port: bool = True,
    denials: bool = False,
    progress: Optional[Callable[[float], None]] = None,
) -> Proof:
    """Put a binary policy to the kernel: each domain tries everything, each pair's attacker its victim, and those of
    `reaching` private files.

    Takes: `domains`, full contexts; `expected`, the policy that the answers are held against, where that is not the one
    that is booted; `kernels_`, or else `witness`: uml, qemu, both, quickest; `runtimes`, contexts whose sockets the
    domains inherit; `every_port`, or else the first and the last of each stretch of ports with one label; `denials`, to
    have the AVC lines; `progress`, told the share done (0 to 1).

    Raises WitnessError for a witness that is not whole, MachineError without one, InputError for a policy
    or a context that cannot be used.
    """
    readings = Readings.of(expected or Policy(policy))
    read = readings.judged
    for context in (*(c for p in pairs for c in (p.attacker, p.victim, p.files)), *(c for r in reaching for c in r)):
        readings.sepol.spelled(context)
    domains, runtimes = (list(map(readings.sepol.spelled, contexts)) for contexts in (domains, runtimes))
    ports = trials.PORTS if every_port else edges(read)
    question = Question(read, tuple(domains), tuple(pairs), tuple(reaching), tuple(runtimes), ports)
    session = _Session(policy, readings, question, denials, progress or (lambda _: None))
    boots = list(_boots(kernels_ or machine.choose(witness), profiles, len(machine.processors())))
    digest = hashlib.sha256(policy.read_bytes()).hexdigest()
    return Proof(digest, tuple(_merge(session.run(boots))), tuple(_not_tried(read, every_port)))


def _not_tried(facts: Facts, every_port: bool) -> Iterator[str]:
    yield "every boolean is tried as the policy has it; the verdict of a build holds in every setting"
    yield "packets are sent over the loopback interface alone; SECMARK, NetLabel, IPsec and forwarding are not tried"
    if not facts.queues:
        yield "POSIX message queues are not tried: the policy does not label them (fs_use mqueue)"
    if not every_port:
        yield "of ports, the first and the last of each stretch with one label are tried"


__all__ = ["DEFAULT", "HARDENED", "Domain", "Finding", "Pair", "Profile", "Proof", "Reaching", "Testimony", "prove"]
