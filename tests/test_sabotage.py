"""Ways to be wrong, each in a file of tests/sabotage/: the verdict must fail, name the claim, and show the evidence.

A file starts with what it does, the role it is about, exactly the claims that must fail for that role, and what a
finding must say. `edit MODULE: OLD => NEW` changes what is linked; the CIL below is linked on top.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from bases import BuiltRoles

from labelgen.claims import CLAIMS
from labelgen.verdict import RoleVerdict

HERE = Path(__file__).parent
FILES = sorted((HERE / "sabotage").glob("*.cil"))
HARMLESS = sorted((HERE / "harmless").glob("*.cil"))
EDIT = re.compile(r"; edit (\w+): (.*?) =>(?: (.*))?$")
FIELD = re.compile(r"; (role|claims|says): (.*)$")


@dataclass(frozen=True)
class Sabotage:
    """One way to be wrong."""

    path: Path
    role: str
    claims: tuple[str, ...]
    says: str
    edits: dict[str, list[tuple[str, str]]]

    @classmethod
    def read(cls, path: Path) -> Sabotage:
        """Read the head of a file."""
        fields: dict[str, str] = {"role": "", "claims": "", "says": ""}
        edits: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for line in path.read_text().splitlines():
            field, edit = FIELD.match(line), EDIT.match(line)
            if field:
                fields[field[1]] = field[2]
            if edit:
                edits[edit[1]].append((edit[2], edit[3] or ""))
        return cls(path, fields["role"], tuple(fields["claims"].split()), fields["says"], dict(edits))


def _failing(role: RoleVerdict) -> set[str]:
    return {claim for claim, holds in role.claims().items() if not holds}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sabotage_is_caught_by_its_claim(path: Path, reference_roles: BuiltRoles, tmp_path: Path) -> None:
    sabotage = Sabotage.read(path)
    policy = reference_roles.link(tmp_path, [path], sabotage.edits)
    verdicts = {role.role: role for role in reference_roles.verify(policy).roles}
    role = verdicts[sabotage.role]
    assert _failing(role) == set(sabotage.claims), [(f.claim, f.message) for f in role.findings]
    findings = [f for f in role.findings if f.claim == sabotage.claims[0]]
    assert any(sabotage.says in " ".join((f.message, *f.rules)) for f in findings), findings
    assert all(re.search(rf"{sabotage.role}\.yaml:\d+", f.line) for f in findings)


def test_every_claim_has_its_sabotage() -> None:
    assert {claim for path in FILES for claim in Sabotage.read(path).claims[:1]} == set(CLAIMS)


@pytest.mark.parametrize("path", HARMLESS, ids=lambda path: path.stem)
def test_a_harmless_change_raises_no_finding(path: Path, reference_roles: BuiltRoles, tmp_path: Path) -> None:
    policy = reference_roles.link(tmp_path, [path], Sabotage.read(path).edits)
    assert [f for role in reference_roles.verify(policy).roles for f in role.findings] == []


def test_the_roles_hold_untouched(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    assert reference_roles.verify(reference_roles.link(tmp_path)).holds
