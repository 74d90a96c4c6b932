"""The four shipped roles on every base: they verify, and libsepol agrees about what they can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase
from judge import Audit2why, process

from labelgen import base as bases
from labelgen import build, programs
from labelgen.network import UNIX_SOCKETS
from labelgen.shipped import packaged


def test_every_claim_of_the_shipped_roles_holds(on_base: OnBase) -> None:
    assert [finding for role in on_base.verdict.roles for finding in role.findings] == []
    assert [role.role for role in on_base.verdict.roles] == ["dns", "ftp", "nonet", "web"]


def test_nonet_can_open_unix_sockets_and_nothing_else(on_base: OnBase) -> None:
    me = process("lxc_nonet_t")
    with Audit2why(on_base.path) as judge:
        opened = {c for c in on_base.policy.socket_classes if judge.allows(me, me, c, "create")}
    assert opened == UNIX_SOCKETS


def test_typebounds_are_in_the_linked_policy(on_base: OnBase) -> None:
    parent = on_base.policy.resolve("svirt_lxc_net_t")
    assert {on_base.policy.bounds.get(domain) for domain in on_base.reach} == {parent}


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
    with pytest.raises(programs.ProgramFailed, match=r"(?s)lxc_domain \(process \(.*matching rules shown"):
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
    """All that the types of an attribute share of the network there is labelled networking, which is no sign of a
    `self` rule: no attribute is joined that the linker refuses on the modules, and the verdict says it is a binary."""
    joined, limits = {}, {}
    for name, base in (("modules", debian_modules), ("binary", debian_binary)):
        (tmp_path / name).mkdir()
        roles = BuiltRoles.build(str(base), packaged("roles"), tmp_path / name)
        joined[name] = set(roles.prepared.facts.derivation.joined)
        result = roles.verify(roles.link(tmp_path))
        limits[name] = " ".join(result.roles[0].limits)
    assert joined["binary"] <= joined["modules"]
    assert "known only as a binary" in limits["binary"]
    assert "binary" not in limits["modules"]
