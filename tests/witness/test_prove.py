"""What is made of a report. A model of the kernel stands in for one, so that it can be wrong on purpose."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from bases import BuiltRoles

from labelgen.errors import InputError
from labelgen.policy import Policy
from labelgen.proving import Matter
from labelgen.reach import NetworkRules
from labelgen.witness import kernels, machine, plan, prove, separation
from labelgen.witness.answers import OK, Answer, Stretch, Stretches, WitnessError
from labelgen.witness.calls import Trial
from labelgen.witness.compare import Readings
from labelgen.witness.expect import World
from labelgen.witness.facts import type_of
from labelgen.witness.kernels import Kernel
from labelgen.witness.plan import HARDENED, Plan
from labelgen.witness.script import Report, Script

WEB, DNS, NONET = (f"system_u:system_r:lxc_{role}_t:s0:c1,c2" for role in ("web", "dns", "nonet"))
Rule = tuple[str, str, str, str]
Lie = Callable[[str, Trial], Optional[Answer]]


@dataclass(frozen=True)
class Changed:
    """A policy's decisions but for some rules (source type, target type, class, permission)."""

    access: Any
    added: frozenset[Rule] = frozenset()
    removed: frozenset[Rule] = frozenset()

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        key = (type_of(source), type_of(target), tclass, perm)
        return key in self.added or (key not in self.removed and self.access.allows(source, target, tclass, perm))


@pytest.fixture(scope="module")
def policy(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The shipped roles on the reference base, linked."""
    return Policy(reference_roles.link(tmp_path_factory.mktemp("linked")))


@pytest.fixture(scope="module")
def readings(policy: Policy) -> Readings:
    return Readings.of(policy)


class Pretender:
    """Stands in for booted kernels: answers as the rules of the kernel say of a policy, or lies."""

    def __init__(self, readings: Readings) -> None:
        self.access: Any = readings.judged.access
        self.readings = readings
        self.plan: Optional[Plan] = None
        self.lie: Lie = lambda _label, _trial: None

    def make(self, *arguments: Any) -> Plan:
        self.plan = plan.make(*arguments)
        return self.plan

    def boot(self, _kernel: Kernel, _policy: Path, script: Script, *_: Any, **__: Any) -> machine.Booted:
        assert self.plan is not None
        facts = replace(self.readings.judged, access=self.access)
        world = World(facts, HARDENED.kernel(), self.plan.kept, self.plan.listening)
        answers = {number: self._answers(world, script, number) for number in script.values}
        return machine.Booted(Report("6.1.0", answers, {}, {}), "")

    def _answers(self, world: World, script: Script, number: int) -> Stretches:
        trial, values = script.trials[number], script.values[number]
        base = (Stretch(values[0].start, values[-1].stop - 1, OK),)
        label = script.actors[int(script.lines[number - 1].split()[1])]
        lie = self.lie(label, trial)
        if lie is not None:
            return (Stretch(trial.first, trial.values[-1].stop - 1, lie),)
        return world.answers(trial, label, base) if number > (script.enforced_from or 0) else base


@pytest.fixture
def pretender(readings: Readings, monkeypatch: pytest.MonkeyPatch) -> Pretender:
    pretending = Pretender(readings)
    monkeypatch.setattr(prove, "make", pretending.make)
    monkeypatch.setattr(machine, "boot", pretending.boot)
    monkeypatch.setattr(kernels, "modules", lambda _kernel: {})
    monkeypatch.setattr(machine, "SIDE_BY_SIDE", {"uml": 1})
    return pretending


def _prove(policy: Policy, *domains: str, matter: Optional[Matter] = None) -> prove.Proof:
    return prove.prove(
        policy.path,
        domains,
        expected=policy,
        kernels_=[Kernel("uml", Path("linux"), None)],
        profiles=[HARDENED],
        pairs=matter.pairs if matter else (),
        reaching=matter.reaching if matter else (),
        every_port=False,
    )


@pytest.fixture(scope="module")
def matter(policy: Policy, reference_roles: BuiltRoles) -> Matter:
    return Matter.of(policy, [file.role for file in reference_roles.prepared.files])


def test_a_kernel_that_answers_as_the_policy_says_holds(policy: Policy, matter: Matter, pretender: Pretender) -> None:
    proof = _prove(policy, WEB, matter=matter)
    assert proof.holds and not proof.differing and proof.compared > 10_000
    assert proof.to_json()["testimonies"][0]["findings"] == ()


def _found(proof: prove.Proof) -> set[tuple[str, str, int, str, str, str]]:
    return {
        (type_of(found.domain), found.trial, found.low, found.kernel, found.expected, found.rule.partition(" (")[0])
        for testimony in proof.testimonies
        for found in testimony.findings
    }


SMTP = ("lxc_web_t", "smtp_port_t", "tcp_socket", "name_connect")
HTTP = ("lxc_web_t", "http_port_t", "tcp_socket", "name_bind")
REFUSED = "EACCES at call 2"


def test_a_rule_more_in_the_kernel_is_found(policy: Policy, pretender: Pretender) -> None:
    pretender.access = Changed(pretender.access, frozenset({SMTP, (*SMTP[:1], "lxc_web_t", *SMTP[2:3], "connect")}))
    found = _found(_prove(policy, WEB))
    rule = f"{WEB} {WEB}:tcp_socket connect"
    assert ("lxc_web_t", "connect tcp ipv4 192.0.2.1", 25, "ok", REFUSED, rule) in found
    assert ("lxc_web_t", "fastopen tcp ipv6 2001:db8::1", 25, "ok", REFUSED, rule) in found


def test_a_rule_fewer_in_the_kernel_is_found(policy: Policy, pretender: Pretender) -> None:
    pretender.access = Changed(pretender.access, removed=frozenset({HTTP}))
    found = _found(_prove(policy, WEB))
    assert ("lxc_web_t", "bind tcp ipv4 0.0.0.0", 80, REFUSED, "ok", "") in found
    assert {trial for _, trial, low, *_ in found if not low} == {"serve tcp ipv4 80", "serve tcp ipv6 80"}
    assert {low for _, _, low, *_ in found if low} <= {80, 443, 488, 8008, 8009, 8443, 9000, 81}


# A rule more -> the trial that finds it, told by the beginning of its name. The parent of the roles has each of them on
# itself: what it has not, the kernel masks (typebounds).
MORE = {
    ("lxc_nonet_t", "lxc_nonet_t", "packet_socket", "create"): "socket family 17",
    ("lxc_nonet_t", "lxc_nonet_t", "capability", "net_raw"): "setsockopt SO_MARK",
    ("lxc_nonet_t", "lxc_nonet_t", "cap_userns", "net_raw"): "in a user namespace",
    ("lxc_nonet_t", "lxc_web_t", "process", "signal"): "send signal",
    ("lxc_nonet_t", "lxc_web_t", "process", "sigkill"): "send sigkill",
    ("lxc_nonet_t", "lxc_web_t", "process", "ptrace"): "read the memory",
    ("lxc_nonet_t", "lxc_web_t", "unix_stream_socket", "connectto"): "connect to unix",
    ("lxc_nonet_t", "lxc_web_t", "unix_dgram_socket", "sendto"): "send to unix dgram",
    ("lxc_nonet_t", "lxc_web_t", "key", "read"): "read a key",
    ("lxc_nonet_t", "lxc_web_content_t", "dir", "search"): "",
}


@pytest.mark.parametrize("rule", MORE, ids="-".join)
def test_whatever_a_role_may_beyond_its_policy_is_found(
    rule: Rule, policy: Policy, matter: Matter, pretender: Pretender
) -> None:
    needed = {
        "process": {(*rule[:3], "ptrace")},
        "cap_userns": {("lxc_nonet_t", "lxc_nonet_t", "rawip_socket", "create")},
        "dir": {("lxc_nonet_t", "lxc_web_content_t", "file", perm) for perm in ("getattr", "read", "open")},
    }
    pretender.access = Changed(pretender.access, frozenset({rule}) | frozenset(needed.get(rule[2], ())))
    found = _found(_prove(policy, NONET, matter=matter))
    assert any(domain == "lxc_nonet_t" and name.startswith(MORE[rule]) for domain, name, *_ in found)
    assert {domain for domain, *_ in found} == {"lxc_nonet_t"}


def test_what_differs_is_told_with_role_trial_both_answers_and_rule(policy: Policy, pretender: Pretender) -> None:
    pretender.access = Changed(pretender.access, frozenset({("lxc_nonet_t", "lxc_nonet_t", "udp_socket", "create")}))
    (first, *_) = _prove(policy, NONET).testimonies[0].findings
    for part in (
        "lxc_nonet_t",
        first.trial,
        "the kernel answers",
        "expected was EACCES",
        "udp_socket create",
        "hooks.c",
    ):
        assert part in str(first)


def test_reach_that_is_wrong_is_found_though_libsepol_agrees_with_the_kernel(
    policy: Policy, readings: Readings, pretender: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = readings.model
    reach = model.reach("lxc_web_t")
    fewer = NetworkRules(tuple(rule for rule in reach.rules if "name_bind" not in rule.perms))
    monkeypatch.setitem(model._reaches, "lxc_web_t", replace(reach, own=fewer, shared=NetworkRules()))
    monkeypatch.setattr(Readings, "of", lambda _policy: readings)
    (first, *_) = _prove(policy, WEB).testimonies[0].findings
    assert (first.kernel, first.judge, first.expected) == ("ok", "ok", REFUSED)
    assert ", by libsepol ok" in str(first)


def test_answers_of_several_boots_are_read_one_after_the_other(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """setools is not made for threads: it broke, sometimes, where two boots ended together."""
    monkeypatch.setattr(machine, "processors", lambda: [0, 1])
    monkeypatch.setattr(machine, "SIDE_BY_SIDE", {"uml": 2})
    reading: list[int] = []

    def read(*_: Any) -> prove.Testimony:
        reading.append(1)
        time.sleep(0.1)
        said = "alone" if reading == [1] else "together"
        reading.pop()
        return prove.Testimony("uml", "6.1", "hardened", 0.0, True, ("", ""), (), (), limits=(said,))

    monkeypatch.setattr(prove, "_testimony", read)
    monkeypatch.setattr(prove, "make", lambda *_: Plan(Script(), HARDENED, {}))
    monkeypatch.setattr(kernels, "modules", lambda _kernel: {})
    monkeypatch.setattr(machine, "boot", lambda *_, **__: machine.Booted(Report("6.1", {}, {}, {}), ""))
    proof = _prove(policy, WEB)
    assert [t.limits for t in proof.testimonies] == [("alone",)] and not proof.holds


# -- controls


def _control(pretender: Pretender, place: int) -> str:
    facts = pretender.readings.judged
    made = plan.make(plan.Question(facts, (), ports=(range(1, 2),)), HARDENED, {})
    return made.controls[place]


def test_a_control_that_is_refused_is_an_error(policy: Policy, pretender: Pretender) -> None:
    good = _control(pretender, 0)
    pretender.lie = lambda label, trial: Answer(1, 13) if label == good and trial.ports else None
    with pytest.raises(WitnessError, match="must be allowed everything"):
        _prove(policy, WEB)


def test_a_control_that_is_allowed_is_an_error(policy: Policy, pretender: Pretender) -> None:
    bad = _control(pretender, 1)
    pretender.lie = lambda label, trial: OK if label == bad and trial.ports else None
    with pytest.raises(WitnessError, match="must be refused everything"):
        _prove(policy, WEB)


def test_equals_that_cannot_meet_are_an_error(policy: Policy, matter: Matter, pretender: Pretender) -> None:
    pretender.lie = lambda label, trial: Answer(0, 13) if label != "-" and trial.kind in separation.GROUPS else None
    with pytest.raises(WitnessError, match="no separation is shown"):
        _prove(policy, WEB, matter=matter)


def test_an_attempt_that_cannot_succeed_anyhow_is_an_error(
    policy: Policy, matter: Matter, pretender: Pretender
) -> None:
    pretender.lie = lambda label, trial: Answer(0, 38) if label == "-" and trial.kind == "keys" else None
    with pytest.raises(WitnessError, match="with nothing enforced the kernel answers ENOSYS"):
        _prove(policy, WEB, matter=matter)


def test_a_group_without_a_control_is_a_limit(policy: Policy, matter: Matter, pretender: Pretender) -> None:
    self_ptrace: Mapping[str, str] = {name: name for name in ("lxc_web_t", "lxc_dns_t", "lxc_ftp_t", "lxc_nonet_t")}
    removed = frozenset((one, one, "key", perm) for one in self_ptrace for perm in ("view", "read"))
    pretender.access = Changed(pretender.access, removed=removed)
    assert any("keys" in limit for limit in _prove(policy, WEB, matter=matter).testimonies[0].limits)


def test_a_context_that_the_policy_lacks_is_told(policy: Policy) -> None:
    for context in ("system_u:system_r:lxc_wev_t:s0", "system_u:system_r:lxc_web_t", "system_u:lxc_web_t", "lxc_web_t"):
        with pytest.raises(InputError, match=f"^{context}: this policy has no such context"):
            prove.prove(policy.path, [context], expected=policy, kernels_=[])


def test_a_context_is_spelled_as_the_kernel_does(readings: Readings) -> None:
    """selinux/ss/mls.c: mls_sid_to_context, which is what /proc/self/attr/current says afterwards."""
    spelled = {"s0:c3,c2,c1": "s0:c1.c3", "s0:c2,c1": "s0:c1,c2", "s0-s0:c0.c1023": "s0-s0:c0.c1023", "s0-s0": "s0"}
    for given, known in spelled.items():
        assert readings.sepol.spelled(f"system_u:system_r:lxc_web_t:{given}") == f"system_u:system_r:lxc_web_t:{known}"


def test_where_edges_alone_are_tried_what_is_between_two_counts_with_them(policy: Policy, pretender: Pretender) -> None:
    pretender.access = Changed(pretender.access)
    (domain,) = _prove(policy, WEB).testimonies[0].domains
    (bound,) = (found.ranges for found in domain.ports if found.trial == "bind tcp ipv4 0.0.0.0")
    assert (8008, 8009) in bound and (80, 81) in bound
    dns = _prove(policy, DNS).testimonies[0].domains[0]
    (dialled,) = (found.ranges for found in dns.ports if found.trial == "send udp ipv4 192.0.2.1")
    assert dialled == ((1, 65535),)
