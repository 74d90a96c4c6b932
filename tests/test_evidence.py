"""What a finding shows: the module and the attributes behind a rule, and the smallest setting of booleans that breaks a
claim, which libsepol breaks too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bases import BuiltRoles, quiet

from labelgen import base as bases
from labelgen import build
from labelgen.claims import Finding
from labelgen.shipped import packaged


def _findings(reference_roles: BuiltRoles, folder: Path, text: str, role: str) -> list[Finding]:
    extra = folder / "extra.cil"
    extra.write_text(text)
    verdicts = reference_roles.verify(reference_roles.link(folder, [extra])).roles
    return [finding for verdict in verdicts if verdict.role == role for finding in verdict.findings]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        # One boolean alone does it, though two others do it as well and come first.
        ("(booleanif (or (and local_a local_b) local_c) (true (allow lxc_web_t shadow_t (file (read)))))",
         {"local_c": True}),
        # What counts is where the parent does not have it too.
        ("(booleanif local_b (true (allow container_t shadow_t (file (read)))))"
         "(booleanif (or local_a local_b) (true (allow lxc_web_t shadow_t (file (read)))))",
         {"local_a": True, "local_b": False}),
        ("(booleanif local_b (true (allow httpd_t container_t (process (ptrace)))))"
         "(booleanif (or local_a local_b) (true (allow httpd_t lxc_web_t (process (ptrace)))))",
         {"local_a": True, "local_b": False}),
        ("(booleanif (or local_a local_b) (true (allow container_t shadow_t (dir (read)))))"
         "(booleanif local_b (true (allow lxc_web_t shadow_t (dir (read)))))",
         {"local_a": True, "local_b": False}),
    ],
    ids=["contained", "contained-beside-the-parent", "separate", "complete"],
)  # fmt: skip
def test_a_finding_names_the_smallest_setting_that_breaks_the_claim(
    reference_roles: BuiltRoles, tmp_path: Path, text: str, setting: dict[str, bool]
) -> None:
    booleans = "".join(f"(boolean local_{name} false)" for name in "abc")
    found = _findings(reference_roles, tmp_path, booleans + text, "web")
    assert [dict(finding.booleans) for finding in found] == [setting]


def test_evidence_names_the_module_and_the_way_through_attributes(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(Path(bases.__file__).parent / "reference", base)
    (base / "local.cil").write_text(
        "(typeattribute local_inner)(typeattribute local_outer)\n"
        "(typeattributeset local_inner (mcs_constrained_type))\n(typeattributeset local_outer (local_inner))\n"
        "(allow local_outer smtp_port_t (tcp_socket (name_connect)))\n"
    )
    inputs = build.Inputs(packaged("roles"), ("web",), str(base), packaged("templates"))
    (role,) = build.verify(inputs, None, quiet)[0].roles
    (finding,) = role.findings
    assert finding.claim == "network"
    assert finding.rules == (
        "allow local_outer smtp_port_t:tcp_socket { name_connect }; [module local] "
        "(lxc_web_t is in mcs_constrained_type, that in local_inner, that in local_outer)",
    )
    texts = {rule.said_of(role.domain) for rule in role.reach.rules if "name_bind" in rule.perms}
    assert texts == {"allow lxc_web_t http_port_t:tcp_socket { name_bind }; [module lxc_web]"}
    assert {rule.said_of(role.domain) for rule in role.reach.rules if "smtp_port_t" in rule.targets} == {
        "allow local_outer smtp_port_t:tcp_socket { name_connect }; [module local] (lxc_web_t is in local_outer)"
    }
