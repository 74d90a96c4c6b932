"""libsepol decides the same as Reach and Access: every port, every socket, everything a role may do to anything."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase
from judge import Audit2why, Judge, gives_vectors, port_types, process, thing

from labelgen.access import Access, Grants
from labelgen.conditions import holds
from labelgen.constraints import single_level
from labelgen.network import CAPABILITY_CLASSES, NETWORK_CAPABILITIES, PROTOCOLS, UNIX_SOCKETS
from labelgen.policy import Policy, members
from labelgen.reach import Answer, Need, Reach, Reacher, port_table

vectors = pytest.mark.skipif(not gives_vectors(), reason="libsepol exports its decisions from version 3.4 on")


# -- sockets


def own_questions(policy: Policy) -> Iterator[tuple[str, str]]:
    """Everything that can be done with a socket of one's own, and the capabilities that go with it."""
    for tclass in sorted(policy.socket_classes):
        perms = {"create"} if tclass in UNIX_SOCKETS else policy.classes[tclass]
        yield from ((tclass, perm) for perm in sorted(perms))
    for tclass in CAPABILITY_CLASSES:
        yield from ((tclass, perm) for perm in sorted(NETWORK_CAPABILITIES))


def differing_on_itself(reach: Reach, policy: Policy, path: Path, settings: Mapping[str, bool]) -> list[object]:
    """Where Reach and libsepol differ about what a domain may do with its own sockets."""
    me = process(reach.domain)
    with Judge(path) as judge:
        return [
            (reach.domain, tclass, perm)
            for tclass, perm in own_questions(policy)
            if holds(reach.condition([Need(tclass, perm, (reach.domain,), "")]), dict(settings))
            != judge.allows(me, me, tclass, perm)
        ]


def test_every_permission_of_every_socket_class_is_decided_alike(on_base: OnBase) -> None:
    policy, asked = on_base.policy, sum(1 for _ in own_questions(on_base.policy))
    assert asked > 50 * 15
    parent = on_base.verification.reacher.of(on_base.parent)
    for reach in (*on_base.reach.values(), parent):
        assert differing_on_itself(reach, policy, on_base.path, policy.booleans) == []


# -- ports


def test_every_port_has_the_type_that_libsepol_reads(on_base: OnBase) -> None:
    for protocol in PROTOCOLS:
        theirs = port_types(on_base.path, protocol)
        ours = [
            segment.type
            for segment in on_base.verification.ports.segments[protocol]
            for _ in range(segment.low, segment.high + 1)
        ]
        assert ours == theirs[1:], protocol


def let_by(judge: Judge, domain: str, protocol: str, action: str, types: list[str]) -> set[int]:
    """The ports that libsepol lets a domain bind or connect to by their type, one port after the other."""
    tclass, me = PROTOCOLS[protocol].tclass, process(domain)
    if not (judge.allows(me, me, tclass, "create") and judge.allows(me, me, tclass, action)):
        return set()
    return {port for port in range(1, 65536) if judge.allows(me, thing(types[port]), tclass, f"name_{action}")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_port_is_let_by_alike(on_base: OnBase, protocol: str) -> None:
    types = port_types(on_base.path, protocol)
    with Judge(on_base.path) as judge:
        for domain, reach in on_base.reach.items():
            for action, segments in (("bind", reach.bindable(protocol)), ("connect", reach.connectable(protocol))):
                if f"name_{action}" in on_base.policy.classes[PROTOCOLS[protocol].tclass]:
                    ours = {port for segment in segments for port in range(segment.low, segment.high + 1)}
                    assert ours == let_by(judge, domain, protocol, action, types), (domain, action)


def allows_all(judge: Judge, answer: Answer) -> bool:
    """Whether libsepol grants each of the needs of an answer on one of its targets."""
    me = process(answer.domain)

    def target(name: str) -> str:
        return me if name == answer.domain else thing(name)

    return all(
        any(judge.allows(me, target(name), met.need.tclass, met.need.perm) for name in met.need.targets)
        for met in answer.met
    )


def edges(on_base: OnBase, protocol: str) -> set[int]:
    """Ports where an answer may change: the ends of what portcons cover, the privileged and the ephemeral range."""
    ends = {end for s in on_base.verification.ports.segments[protocol] for end in (s.low, s.high)}
    return ends | {1, 1023, 1024, 32767, 32768, 60999, 61000, 65535}


def test_answers_are_those_of_libsepol(on_base: OnBase) -> None:
    """What `can` would say, at every port where it may change, needs and all, at the booleans' defaults."""
    with Judge(on_base.path) as judge:
        for reach in on_base.reach.values():
            for protocol in ("tcp", "udp"):
                for port in edges(on_base, protocol):
                    for answer in (reach.can_bind(protocol, port), reach.can_connect(protocol, port)):
                        ours = holds(answer.condition, on_base.policy.booleans)
                        assert ours == allows_all(judge, answer), (reach.domain, answer.question)


# What the role files say, written here once more by hand: port -> (role, action) that must be let by, and no other.
DECLARED = {
    "tcp": {80: {("web", "bind")}, 443: {("web", "bind")}, 53: {("dns", "bind"), ("dns", "connect")}}
    | {port: {("ftp", "bind")} for port in (21, *range(30100, 30200))}
    | {port: set() for port in (22, 25, 110, 3306, 5432, 6379, 30099, 30200)},
    "udp": {53: {("dns", "bind")}, 67: set(), 123: set(), 161: set(), 5353: set(), 30100: set()},
}


@pytest.mark.parametrize("protocol", DECLARED)
def test_declared_ports_are_let_by_and_a_few_that_nobody_declared_are_not(on_base: OnBase, protocol: str) -> None:
    types = port_types(on_base.path, protocol)
    found: dict[int, set[tuple[str, str]]] = {port: set() for port in DECLARED[protocol]}
    with Judge(on_base.path) as judge:
        for role in ("dns", "ftp", "nonet", "web"):
            for action in ("bind", "connect") if protocol == "tcp" else ("bind",):
                for port in let_by(judge, f"lxc_{role}_t", protocol, action, types) & set(found):
                    found[port].add((role, action))
    assert found == DECLARED[protocol]


# -- everything else


def at(grants: Grants, settings: Mapping[str, bool]) -> dict[tuple[str, str], int]:
    """What is granted with the booleans set so."""
    total = dict(grants.always)
    for guard, more in grants.sometimes.items():
        if holds(guard.condition, dict(settings)):
            for key, bits in more.items():
                total[key] = total.get(key, 0) | bits
    return total


def our_vectors(policy: Policy, granted: Mapping[tuple[str, str], int]) -> dict[tuple[str, int], set[str]]:
    """(class, number of the target type) -> what is granted."""
    found: dict[tuple[str, int], set[str]] = {}
    for (tclass, perm), bits in granted.items():
        for number in members(bits):
            found.setdefault((tclass, number), set()).add(perm)
    return found


def differences(on_base: OnBase, domain: str) -> Iterator[tuple[str, str, list[str]]]:
    """Where libsepol does not decide about a domain, everything there is and every permission as our rules, constraints
    and bounds say."""
    policy, constraints = on_base.policy, on_base.verification.constraints
    ours = our_vectors(policy, at(on_base.verification.access.outgoing(domain), policy.booleans))
    me, source = process(domain), single_level("system_u", "system_r", domain, "c1", "c2")
    with Judge(on_base.path) as judge:
        for number, name in enumerate(policy.type_names):
            target, context = thing(name), single_level("system_u", "object_r", name)
            for tclass in policy.classes:
                granted = ours.get((tclass, number), set())
                theirs = judge.vector(me, target, tclass)
                if theirs != judge.bits(tclass, granted):
                    left = {p for p in granted if not constraints.refusing(source, context, tclass, p)}
                    if theirs != judge.bits(tclass, left):
                        yield name, tclass, sorted(granted)


@vectors
@pytest.mark.parametrize("role", ["dns", "ftp", "nonet", "web"])
def test_everything_a_role_may_do_is_decided_alike(on_base: OnBase, role: str) -> None:
    """No bound ever bites: libsepol would take away from the role what the parent lacks (context_struct_compute_av)."""
    if on_base.name != "reference" and role != "nonet":
        pytest.skip("on large bases the role without network: the others differ in sockets and ports, asked above")
    assert list(differences(on_base, f"lxc_{role}_t")) == []


@vectors
def test_everything_the_parent_may_do_is_decided_alike(on_base: OnBase) -> None:
    assert list(differences(on_base, on_base.parent)) == []


def test_libsepol_says_the_same_through_audit2why(on_base: OnBase) -> None:
    """The judge of these tests is libsepol's function called by its name; its way through python3-selinux agrees."""
    policy, chance = on_base.policy, random.Random(1)
    targets = chance.sample(policy.type_names, 40)
    questions = [
        (chance.choice(("lxc_web_t", on_base.parent)), name, tclass, chance.choice(sorted(policy.classes[tclass])))
        for name in targets
        for tclass in chance.sample(sorted(policy.classes), 3)
    ]
    questions += [("lxc_web_t", "http_port_t", "tcp_socket", "name_bind"), ("lxc_web_t", "shadow_t", "file", "read")]
    with Judge(on_base.path) as judge, Audit2why(on_base.path) as other:
        for domain, name, tclass, perm in questions:
            question = (process(domain), thing(name), tclass, perm)
            assert judge.allows(*question) == other.allows(*question), question


# -- booleans


def settings_to_try(booleans: Iterable[str]) -> list[dict[str, bool]]:
    names, chance = sorted(booleans), random.Random(2)
    return [
        dict.fromkeys(names, True),
        dict.fromkeys(names, False),
        *({name: chance.random() < 0.5 for name in names} for _ in range(6)),
    ]


def with_booleans(roles: BuiltRoles, settings: Mapping[str, bool], folder: Path) -> Path:
    """The same policy with other defaults."""
    folder.mkdir()
    text = roles.prepared.base.cil.read_text()
    found = dict(re.findall(r"\(boolean (\w+) (true|false)\)", text))
    assert set(found) == set(settings)
    edits = [
        (f"(boolean {name} {found[name]})", f"(boolean {name} {str(value).lower()})")
        for name, value in settings.items()
    ]
    return roles.link(folder, edits={"base": edits})


def test_booleans_decide_alike_at_other_settings(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    policy = Policy(reference_roles.link(tmp_path))
    reacher, access = Reacher(policy, port_table(policy)), Access(policy)
    domains = ["container_t", "container_kvm_t", "lxc_dns_t", "lxc_nonet_t"]
    differed = 0
    for number, settings in enumerate(settings_to_try(policy.booleans)):
        path = with_booleans(reference_roles, settings, tmp_path / str(number))
        for domain in domains:
            assert differing_on_itself(reacher.of(domain), policy, path, settings) == []
            usual, here = (at(access.outgoing(domain), s) for s in (policy.booleans, settings))
            differed += usual != here
            ports = {key: bits for key, bits in here.items() if key[1] in ("name_bind", "name_connect")}
            with Judge(path) as judge:
                for (tclass, perm), bits in ports.items():
                    theirs = {n for n in policy.type_names if judge.allows(process(domain), thing(n), tclass, perm)}
                    assert theirs == set(policy.names(bits)), (domain, tclass, perm)
    assert differed > len(domains), "no setting made a difference: nothing was tried"


def test_the_commands_of_sockets_are_those_of_its_own_and_what_is_never_in_force_is_nothing(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """The numbers are those of the reference's allowxperm rules for all containers."""
    more = tmp_path / "more.cil"
    more.write_text(
        "(allowx lxc_dns_t container_t (ioctl udp_socket (0x1234)))\n(boolean never false)\n"
        "(booleanif (and never (not never)) (true (allow lxc_domain self (udp_socket (create)))))\n"
    )
    policy = Policy(reference_roles.link(tmp_path, [more]))
    reacher = Reacher(policy, port_table(policy))
    assert reacher.of("lxc_dns_t").commands == {"udp_socket ioctl": [(0x5401, 0x5452), (0x8900, 0x89FF)]}
    assert reacher.of("lxc_nonet_t").commands == {}
    assert set(reacher.of("lxc_nonet_t").sockets()) <= UNIX_SOCKETS
    # Of the reference's constraints only those on the network: sockets and netif (constraints.cil).
    constraints = reacher.of("lxc_dns_t").constraints
    assert ("netif", ("egress", "ingress")) in {(found.tclass, found.perms) for found in constraints}
    assert {found.tclass for found in constraints} <= policy.network.classes
    assert all(found.text.startswith(("mlsconstrain", "constrain")) for found in constraints)
