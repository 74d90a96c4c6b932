"""What one boot does: the script made of domains, trials and pairs, and where in it each answer will stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from labelgen.network import FAST_OPEN_SYSCTL, LOCAL_PORTS_SYSCTL, NO_FAST_OPEN, ONE_LOCAL_PORT
from labelgen.witness import controls, packets, separation, trials
from labelgen.witness.calls import Data, Kept, Result, Text, Trial, Values, call
from labelgen.witness.expect import Kernel, Object, Socket, Thing, World, socket_class
from labelgen.witness.facts import Facts, edges
from labelgen.witness.script import Script
from labelgen.witness.separation import Folder, Victim

# Both kernels: no module is loaded on demand (the probe loaded them), no line on the console is dropped, queues do not
# fill up, ping is for everybody.
PING = "net.ipv4.ping_group_range"
ALWAYS = {
    "kernel.modprobe": "-",
    "kernel.printk_ratelimit": "0",
    "net.unix.max_dgram_qlen": "4096",
    "net.core.somaxconn": "4096",
    PING: "0 2147483647",
}
# ioctl SIOCSIFFLAGS on "lo" with IFF_UP (netdevice(7)).
LOOPBACK_UP = (call("socket", 2, 2, 0), call("ioctl", Result(0), 0x8914, Data(b"lo" + bytes(14) + b"\1" + bytes(15))))


@dataclass(frozen=True)
class Profile:
    """Sysctls of the network namespace under which the domains are tried."""

    name: str
    sysctls: Mapping[str, str] = field(hash=False)

    def kernel(self, fast_open_checked: bool = True, release: str = "") -> Kernel:
        """What the kernel's rules need to know of it and of the kernel; Linux's own defaults where it says nothing."""
        low, high = map(int, self.sysctls.get("net.ipv4.ip_local_port_range", "32768 60999").split())
        start = int(self.sysctls.get("net.ipv4.ip_unprivileged_port_start", "1024"))
        version = re.match(r"(\d+)\.(\d+)", release)
        since = tuple(map(int, version.groups())) if version else (99,)
        # Linux 6.1, "selinux: Implement userns_create hook"; 6.4, "selinux: Implement mptcp_add_subflow hook".
        return Kernel((low, high), start, fast_open_checked, since >= (6, 1), since >= (6, 4))


DEFAULT = Profile(
    "default",
    {
        "net.ipv4.ip_local_port_range": "32768 60999",
        "net.ipv4.ip_unprivileged_port_start": "1024",
        "net.ipv4.tcp_fastopen": "1",
    },
)
HARDENED = Profile("hardened", {LOCAL_PORTS_SYSCTL: ONE_LOCAL_PORT, FAST_OPEN_SYSCTL: NO_FAST_OPEN})


@dataclass(frozen=True)
class Pair:
    """`attacker` tries things on a process labelled `victim` and on files labelled `files`."""

    attacker: str
    victim: str
    files: str


class Reaching(NamedTuple):
    """`attacker` tries things on private files labelled `files`."""

    attacker: str
    files: str


@dataclass
class Plan:
    """A script, and for each (context, name of trial) the line that answers it; "baseline" is the kernel by itself."""

    script: Script
    profile: Profile
    modules: dict[str, bytes]
    trials: dict[str, Trial] = field(default_factory=dict)
    baseline: dict[str, int] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[str, Object] = field(default_factory=dict)
    listening: dict[str, str] = field(default_factory=dict)
    controls: tuple[str, str] = ("", "")
    gap: Optional[str] = None
    pairs: dict[Pair, tuple[str, ...]] = field(default_factory=dict)

    def baseline_of(self, actor: int, tried: Iterable[Trial]) -> None:
        """Let the unlabelled actor try what has not been tried yet, before anything is enforced."""
        for trial in tried:
            if trial.name not in self.baseline:
                self.trials[trial.name] = trial
                self.baseline[trial.name] = self.script.job(actor, trial, first_only=trial.ports)

    def try_all(self, actor: int, context: str, tried: Iterable[Trial]) -> None:
        """Let an actor try everything, and check its label after that."""
        for trial in tried:
            self.trials.setdefault(trial.name, trial)
            self.lines[context, trial.name] = self.script.job(actor, trial)
        self.script.label(actor)


def _start(script: Script, profile: Profile, modules: Iterable[str]) -> None:
    for name in modules:
        script.module(f"/mod/{name}.ko")
    script.open({}, LOOPBACK_UP)
    for name, value in {**ALWAYS, **profile.sysctls}.items():
        script.sysctl(name, value)
    script.policy("/policy")


def _inherited(plan: Plan, facts: Facts, runtimes: Sequence[str]) -> None:
    """Sockets that PID 1 opens, labelled as the runtimes would label them, for all later processes to inherit. They are
    in a network namespace of their own: to send, even in vain, takes a port, which a sweep would find taken."""
    if not runtimes:
        return
    with _elsewhere(plan, "inherited"):
        plan.script.sysctl(PING, ALWAYS[PING])
        for runtime in runtimes:
            for name, calls in trials.inherited(runtime).items():
                plan.script.open({2: name}, calls, optional=True)
            for kind in trials.KINDS:
                plan.kept[f"{runtime} {kind}"] = _made_by(facts, runtime, kind)


def _made_by(facts: Facts, runtime: str, kind: str) -> Socket:
    """A socket labelled as a runtime would, that PID 1 opened."""
    family, type_, protocol = trials.KINDS[kind]
    tclass = socket_class(family, type_, protocol, "extended_socket_class" in facts.polcaps)
    return Socket(runtime, tclass, family, type_, protocol, facts.initial["kernel"])


@contextmanager
def _elsewhere(plan: Plan, name: str) -> Iterator[None]:
    """For so long PID 1 is in another network namespace, a new one."""
    here = f"netns before {name}"
    plan.script.open({0: here}, (call("open", Text("/proc/self/ns/net"), 0), call("unshare", trials.CLONE_NEWNET)))
    yield
    plan.script.open({}, (call("setns", Kept(here), trials.CLONE_NEWNET),))


class _Attack(NamedTuple):
    """Who a pair's attacker meets: a victim it shares with others, as the attacker of that number, and one of its own
    that may be traced and killed."""

    shared: Victim
    number: int
    mortal: Victim


def _victims(plan: Plan, facts: Facts, pairs: Sequence[Pair]) -> dict[Pair, _Attack]:
    shared: dict[tuple[str, str], Victim] = {}
    met: dict[Pair, _Attack] = {}
    if pairs and facts.queues:
        separation.mount_queues(plan.script, facts.queues)
    for place, pair in enumerate(pairs):
        key = (pair.victim, pair.files)
        sharing = [other for other in pairs if (other.victim, other.files) == key]
        if key not in shared:
            victim = Victim(f"{pair.victim}#{len(shared)}", pair.files, pair.victim, facts.queue(pair.victim))
            separation.open_letterboxes(plan.script, victim)
            actor = plan.script.actor(pair.victim)
            plan.kept.update(separation.prepare(plan.script, actor, victim, len(sharing)))
            plan.listening.update(separation.names(victim))
            shared[key] = victim
        met[pair] = _Attack(shared[key], sharing.index(pair), _mortal(plan, pair, place))
    return met


def _mortal(plan: Plan, pair: Pair, number: int) -> Victim:
    victim = Victim(f"{pair.victim}#mortal-{number}", pair.files, pair.victim)
    actor = plan.script.actor(pair.victim)
    plan.script.keep(actor, {0: victim.slot("pid")}, (call("getpid"),))
    plan.kept[victim.slot("pid")] = Thing(pair.victim, "process")
    return victim


def _folders(plan: Plan, reaching: Sequence[Reaching]) -> dict[Reaching, tuple[Folder, int]]:
    """For each attempt on private files the folder, and the attacker's number there."""
    attackers: dict[str, list[Reaching]] = {}
    for item in reaching:
        attackers.setdefault(item.files, []).append(item)
    met = {}
    for files, those in attackers.items():
        folder = Folder(f"files {files}", files)
        plan.kept.update(separation.make_folder(plan.script, folder, len(those)))
        met.update({item: (folder, number) for number, item in enumerate(those)})
    return met


@dataclass(frozen=True)
class Question:
    """What is asked of every witness: what `domains` (contexts) can do by themselves and with the sockets that
    `runtimes` leave them, what each pair's attacker can do to its victim, and what `reaching` does to private files.
    `ports` are those to sweep."""

    facts: Facts
    domains: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    reaching: tuple[Reaching, ...] = ()
    runtimes: tuple[str, ...] = ()
    ports: Values = trials.PORTS

    def solo(self) -> tuple[Trial, ...]:
        """What each domain tries by itself."""
        inherited = (trial for runtime in self.runtimes for trial in trials.inherit_trials(runtime))
        return (*trials.network_trials(self.ports, edges(self.facts)), *inherited)


def _actors(plan: Plan, contexts: Iterable[Optional[str]]) -> dict[str, int]:
    return {context: plan.script.actor(context) for context in dict.fromkeys(filter(None, contexts))}


def _try_controls(plan: Plan, actors: Mapping[str, int], attempts: Sequence[Trial]) -> None:
    for context in plan.controls:
        plan.try_all(actors[context], f"control {context}", attempts)
    if plan.gap:
        plan.try_all(actors[plan.gap], f"control {plan.gap}", (controls.fast_open_trial(),))


def _try_pairs(plan: Plan, actors: Mapping[str, int], attacks: Mapping[Pair, _Attack]) -> None:
    for pair, (shared, number, mortal) in attacks.items():
        tried = (
            *separation.trials(shared),
            *separation.last_file_trials(shared, number),
            *separation.last_trials(mortal),
        )
        plan.pairs[pair] = tuple(trial.name for trial in tried)
        plan.try_all(actors[pair.attacker], pair.attacker, tried)


def _try_files(plan: Plan, actors: Mapping[str, int], folders: Mapping[Reaching, tuple[Folder, int]]) -> None:
    for item, (folder, number) in folders.items():
        tried = (*separation.file_trials(folder), *separation.last_file_trials(folder, number))
        plan.try_all(actors[item.attacker], item.attacker, tried)


class _Namespaced(NamedTuple):
    """Two processes for one label: one in a user namespace of its own, and one that has yet to make one."""

    inside: int
    outside: int

    @classmethod
    def of(cls, script: Script, label: str) -> _Namespaced:
        """Fork them."""
        inside, outside = script.actor(label), script.actor(label)
        flags = trials.CLONE_NEWUSER | trials.CLONE_NEWNET | trials.CLONE_NEWUTS
        script.keep(inside, {}, (call("unshare", flags),))
        return cls(inside, outside)


def _try_userns(plan: Plan, context: str, actors: _Namespaced) -> None:
    plan.try_all(actors.inside, context, trials.userns_trials())
    plan.try_all(actors.outside, context, (trials.unshare_trial(),))


class _Senders(NamedTuple):
    """Who sends and gets packets: one process for each label among those who send first, and one among those who are
    sent to; "-" is without label."""

    clients: Mapping[str, int]
    servers: Mapping[str, int]
    client_trials: tuple[Trial, ...]
    server_trials: tuple[Trial, ...]

    def baseline(self, plan: Plan) -> None:
        """Let those without label try it."""
        plan.baseline_of(self.clients["-"], self.client_trials)
        plan.baseline_of(self.servers["-"], (*self.server_trials, *packets.freeing_trials()))

    def try_all(self, plan: Plan) -> None:
        """Let the others try it."""
        for actors, tried in ((self.clients, self.client_trials), (self.servers, self.server_trials)):
            for context in actors:
                if context != "-":
                    plan.try_all(actors[context], context, tried)


def _senders(plan: Plan, question: Question) -> _Senders:
    """Fork them, each in the network namespace of its kind, where the other ends are."""
    world = World(question.facts, plan.profile.kernel())
    which = packets.ports(world, question.domains)
    return _Senders(
        _among(plan, question, packets.CLIENTS, packets.ends_of_clients(which)),
        _among(plan, question, packets.SERVERS, packets.ends_of_servers()),
        tuple(packets.client_trials(which, question.runtimes)),
        tuple(packets.server_trials(which)),
    )


def _among(plan: Plan, question: Question, kind: str, ends: Iterable[packets.End]) -> dict[str, int]:
    """A process for each domain, and one without label, in a network namespace where the kernel has the `ends`."""
    with _elsewhere(plan, kind):
        plan.script.open({}, LOOPBACK_UP)
        own = {**packets.SYSCTLS, **(packets.UNSIGNED if "sctp" in plan.modules else {})}
        for name, value in {PING: ALWAYS[PING], **plan.profile.sysctls, **own}.items():
            plan.script.sysctl(name, value)
        for end in ends:
            plan.script.open({0: end.name}, end.calls, optional=True)
            plan.kept[end.name] = end.socket(question.facts)
        for runtime in question.runtimes if kind == packets.CLIENTS else ():
            name, made, calls = packets.left_by(runtime)
            plan.script.open({2: name}, calls)
            plan.kept[name] = _made_by(question.facts, runtime, made)
        return {context: plan.script.actor(context) for context in ("-", *question.domains)}


def make(question: Question, profile: Profile, modules: dict[str, bytes], share: int = 0, of: int = 1) -> Plan:
    """The plan of a boot. Of several boots that share the work, `share` (from 0) `of` so many: each has every domain
    and its part of the trials, the first has the pairs, the last the user namespaces.

    Raises InputError where the policy has no domain fit for a control.
    """
    facts, pairs = question.facts, question.pairs if share == 0 else ()
    reaching = question.reaching if share == 0 else ()
    namespaced = question.domains if share == of - 1 else ()
    plan = Plan(Script(), profile, modules)
    plan.controls, plan.gap = (controls.allowed(facts), controls.refused(facts)), controls.fast_open_gap(facts)
    _start(plan.script, profile, modules)
    _inherited(plan, facts, question.runtimes)
    attacks, folders = _victims(plan, facts, pairs), _folders(plan, reaching)
    senders = _senders(plan, question) if share == of - 1 else None
    by_itself, without = plan.script.actor("-"), _Namespaced.of(plan.script, "-")
    attackers = _actors(plan, (*question.domains, *(p.attacker for p in pairs), *(r.attacker for r in reaching)))
    inside = {context: _Namespaced.of(plan.script, context) for context in namespaced}
    others = _actors(plan, (*plan.controls, plan.gap))
    solo, attempts = question.solo()[share::of], controls.attempts(edges(facts))
    plan.baseline_of(by_itself, (*solo, controls.fast_open_trial(), *attempts))
    plan.baseline_of(without.inside, trials.userns_trials())
    plan.baseline_of(without.outside, (trials.unshare_trial(),))
    for attack in attacks.values():
        plan.baseline_of(by_itself, separation.trials(attack.shared))
    for folder, _ in folders.values():
        plan.baseline_of(by_itself, separation.file_trials(folder))
    if senders:
        senders.baseline(plan)
    plan.script.enforce()
    _try_controls(plan, others, attempts)
    for context in question.domains:
        plan.try_all(attackers[context], context, solo)
    for context, actors in inside.items():
        _try_userns(plan, context, actors)
    if senders:
        senders.try_all(plan)
    _try_pairs(plan, attackers, attacks)
    _try_files(plan, attackers, folders)
    return plan
