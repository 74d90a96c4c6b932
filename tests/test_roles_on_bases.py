"""The four shipped roles on every base: they verify, and libsepol agrees about what they can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bases import BuiltRoles
from judge import Judge, process, thing

from labelgen import base as bases
from labelgen import build, programs
from labelgen.access import Access
from labelgen.conditions import holds
from labelgen.network import PROTOCOLS, UNIX_SOCKETS
from labelgen.policy import Policy
from labelgen.reach import Need, Reach
from labelgen.render import packaged
from labelgen.verdict import Verdict

# What can be done with a socket of one's own (security/selinux/include/classmap.h, the common `socket`).
OWN_PERMS = ("create", "bind", "connect", "listen", "accept", "read", "write", "setopt", "ioctl")


class OnBase:
    """The shipped roles built and linked onto one base, the verdict on them, and the linked policy."""

    def __init__(self, base: str, folder: Path) -> None:
        self.name = base
        (folder / "modules").mkdir()
        self.roles = BuiltRoles.build(base, packaged("roles"), folder / "modules")
        self.path = self.roles.link(folder)
        self.verdict: Verdict = self.roles.verify(self.path)
        self.policy = Policy(self.path)
        self.reach: dict[str, Reach] = {role.role: role.reach for role in self.verdict.roles}


@pytest.fixture(scope="module")
def on_base(base: str, tmp_path_factory: pytest.TempPathFactory) -> OnBase:
    return OnBase(base, tmp_path_factory.mktemp("on-base"))


def test_every_claim_of_the_shipped_roles_holds(on_base: OnBase) -> None:
    assert [finding for role in on_base.verdict.roles for finding in role.findings] == []
    assert [role.role for role in on_base.verdict.roles] == ["dns", "ftp", "nonet", "web"]


def test_nonet_can_open_unix_sockets_and_nothing_else(on_base: OnBase) -> None:
    me = process("lxc_nonet_t")
    with Judge(on_base.path) as judge:
        opened = {c for c in on_base.policy.socket_classes if judge.allows(me, me, c, "create")}
    assert opened == UNIX_SOCKETS


def _own(on_base: OnBase) -> Iterator[tuple[str, str, str]]:
    for role in on_base.reach:
        for tclass in sorted(on_base.policy.socket_classes - UNIX_SOCKETS):
            yield from ((role, tclass, perm) for perm in OWN_PERMS if perm in on_base.policy.classes[tclass])


def test_libsepol_agrees_about_every_socket_class(on_base: OnBase) -> None:
    settings, differing, asked = on_base.policy.booleans, [], 0
    with Judge(on_base.path) as judge:
        for role, tclass, perm in _own(on_base):
            domain = f"lxc_{role}_t"
            ours = on_base.reach[role].condition([Need(tclass, perm, (domain,), "")])
            theirs = judge.allows(process(domain), process(domain), tclass, perm)
            asked += 1
            if holds(ours, settings) != theirs:
                differing.append((role, tclass, perm, theirs))
    assert differing == []
    assert asked > 4 * 10 * len(OWN_PERMS)


def test_libsepol_agrees_about_every_port(on_base: OnBase) -> None:
    """Every port has the type of the first portcon that covers it, looked up here port by port."""
    differing, asked = [], 0
    with Judge(on_base.path) as judge:
        for protocol in ("tcp", "udp"):
            types = _types_by_hand(on_base.policy, protocol)
            for role, reach in on_base.reach.items():
                for action, segments in (("bind", reach.bindable(protocol)), ("connect", reach.connectable(protocol))):
                    perm = f"name_{action}"
                    if perm not in on_base.policy.classes[PROTOCOLS[protocol].tclass]:
                        continue
                    ours = {port for segment in segments for port in range(segment.low, segment.high + 1)}
                    theirs = _let_by(judge, f"lxc_{role}_t", protocol, perm, types)
                    asked += len(types)
                    if ours != theirs:
                        differing.append((role, protocol, action, sorted(ours ^ theirs)[:9]))
    assert differing == []
    assert asked >= 3 * 4 * 65535


def _types_by_hand(policy: Policy, protocol: str) -> dict[int, str]:
    cons = [con for con in policy.portcons if con.protocol == protocol]
    default = policy.initial_sids["port"]
    return {port: next((c.type for c in cons if c.low <= port <= c.high), default) for port in range(1, 65536)}


def _let_by(judge: Judge, domain: str, protocol: str, perm: str, types: dict[int, str]) -> set[int]:
    tclass = PROTOCOLS[protocol].tclass
    me, own = process(domain), "bind" if perm == "name_bind" else "connect"
    if not (judge.allows(me, me, tclass, "create") and judge.allows(me, me, tclass, own)):
        return set()
    allowed = {name: judge.allows(me, thing(name), tclass, perm) for name in set(types.values())}
    return {port for port, name in types.items() if allowed[name]}


def test_what_the_roles_bind_is_what_their_files_say(on_base: OnBase) -> None:
    """By hand: 80, 443, 53, 21 and the passive range are let by, and a few that nobody declared are not."""
    with Judge(on_base.path) as judge:
        types = _types_by_hand(on_base.policy, "tcp")
        let_by = {
            role: _let_by(judge, f"lxc_{role}_t", "tcp", "name_bind", types) for role in ("web", "dns", "ftp", "nonet")
        }
    assert {80, 443} <= let_by["web"]
    assert {53} <= let_by["dns"]
    assert {21, *range(30100, 30200)} <= let_by["ftp"]
    assert let_by["nonet"] == set()
    for ports in let_by.values():
        assert not ports & {22, 25, 3306, 5432, 6379, 30099, 30200}
    assert not let_by["dns"] & {80, 443, 21}


def test_typebounds_are_in_the_linked_policy(on_base: OnBase) -> None:
    parent = on_base.policy.resolve("svirt_lxc_net_t")
    assert {on_base.policy.bounds.get(f"lxc_{role}_t") for role in on_base.reach} == {parent}


def test_no_role_is_allowed_what_the_parent_is_not(on_base: OnBase) -> None:
    """libsepol masks what is beyond a bound (context_struct_compute_av), so a mask that bites would show here."""
    access = Access(on_base.policy)
    with Judge(on_base.path) as judge:
        me = process("lxc_web_t")
        for (tclass, perm), bits in list(access.outgoing("lxc_web_t").always.items())[::7]:
            for name in on_base.policy.names(bits)[:2]:
                if name == "lxc_web_t" or name.startswith("lxc_") or tclass == "process":
                    continue
                target = thing(name)
                ours = not _constrained(on_base, name, tclass, perm)
                assert judge.allows(me, target, tclass, perm) == ours, (name, tclass, perm)


def _constrained(on_base: OnBase, name: str, tclass: str, perm: str) -> bool:
    from labelgen.constraints import Constraints, single_level  # noqa: PLC0415 - only here

    me = single_level("system_u", "system_r", "lxc_web_t", "c1", "c2")
    return bool(Constraints(on_base.policy).refusing(me, single_level("system_u", "object_r", name), tclass, perm))


def test_module_versions_are_the_lowest_that_carry_the_same(on_base: OnBase, tmp_path: Path) -> None:
    """The CIL that a host makes of a module is the same from its low version as from the highest there is."""
    for module in on_base.roles.compiled:
        highest = tmp_path / f"{module.name}.mod"
        programs.run("checkmodule", "-M", "-m", "-c", "21", "-o", highest, module.te)
        contexts: list[programs.Argument] = ["-f", module.fc] if module.fc.stat().st_size else []
        programs.run("semodule_package", "-o", tmp_path / f"{module.name}.pp", "-m", highest, *contexts)
        assert bases.package_to_cil(tmp_path / f"{module.name}.pp") == module.cil.read_bytes()
        assert module.version <= 18


def test_reference_roles_link_with_bounds_checked_once_they_are_in_domain(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """Without -N secilc checks neverallow and typebounds. The base's neverallow on processes outside `domain` is the
    only one the roles break (docs/derivation.md); joined to it, everything links, so the bounds hold."""
    joined = tmp_path / "joined.cil"
    joined.write_text("(typeattributeset domain (lxc_domain))\n")
    cil = list(reference_roles.cil.values())
    bases.link([*cil, joined], True, tmp_path / "policy", check=True)
    with pytest.raises(programs.ProgramFailed, match="neverallow check failed"):
        bases.link(cil, True, tmp_path / "policy", check=True)


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = build.Inputs(packaged("roles"), (), "reference", packaged("templates"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build.build(inputs, tmp_path / name / "build", lambda _: None)
    one, two = (
        {str(p.relative_to(tmp_path / n)): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()}
        for n in ("one", "two")
    )
    assert one == two
    manifest = json.loads(one["build/manifest.json"])
    assert set(manifest["files"]) == {name[len("build/") :] for name in one} - {"manifest.json"}


def test_the_binary_of_debian_knows_less_than_its_modules(
    debian_modules: Path, debian_binary: Path, tmp_path: Path
) -> None:
    """The one difference: `process_user_target` is named by constraints, and every type in it has sockets, so from the
    binary it cannot be told whether the attribute itself grants them. It is left out there, and the verdict says what
    that costs; on the modules the linker was asked, and it is joined."""
    joined, limits = {}, {}
    for name, base in (("modules", debian_modules), ("binary", debian_binary)):
        (tmp_path / name).mkdir()
        roles = BuiltRoles.build(str(base), packaged("roles"), tmp_path / name)
        joined[name] = set(roles.prepared.facts.derivation.joined)
        result = roles.verify(roles.link(tmp_path))
        limits[name] = " ".join(result.roles[0].limits)
    assert joined["modules"] - joined["binary"] == {"process_user_target"}
    assert "known only as a binary" in limits["binary"]
    assert "container_engine_t from starting the role" in limits["binary"]
    assert "binary" not in limits["modules"]
