"""What rules grant and bounds or constraints refuse: libsepol refuses the same, and nothing of it is said of a policy
in which it grants it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from bases import BuiltRoles
from judge import Judge, process, thing

SABOTAGE = Path(__file__).parent / "sabotage"

# File of tests/sabotage/ -> what its finding says that the role cannot do.
REFUSED = {
    "bound_of_a_port_type": ("lxc_web_t", "http_port_t", "tcp_socket", "name_bind"),
    "bound_of_the_parents_files": ("lxc_nonet_t", "etc_t", "file", "read"),
    "constraint_that_names_the_parent": ("lxc_web_t", "bin_t", "file", "execute"),
    "constraint_on_one_kind_of_target": ("lxc_web_t", "usr_t", "dir", "search"),
    "constraint_on_files_of_the_role": ("lxc_dns_t", "lxc_dns_data_t", "file", "write"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_libsepol_refuses_it_too(reference_roles: BuiltRoles, tmp_path: Path, name: str) -> None:
    domain, target, tclass, perm = REFUSED[name]
    answers = []
    for number, extra in enumerate(([], [SABOTAGE / f"{name}.cil"])):
        (tmp_path / str(number)).mkdir()
        with Judge(reference_roles.link(tmp_path / str(number), extra)) as judge:
            answers.append(judge.allows(process(domain), thing(target), tclass, perm))
    assert answers == [True, False]


def test_a_constraint_on_what_roles_do_to_themselves(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """At the same categories: as two processes of one container."""
    extra = tmp_path / "extra.cil"
    extra.write_text("(constrain (process (signal)) (neq t2 lxc_domain))\n")
    policy = reference_roles.link(tmp_path, [extra])
    with Judge(policy) as judge:
        assert not judge.allows(process("lxc_web_t"), process("lxc_web_t"), "process", "signal")
    findings = [f for role in reference_roles.verify(policy).roles for f in role.findings]
    # Nor may a runtime signal them, as it may the parent.
    claims = product(("complete", "enterable"), ("dns", "ftp", "nonet", "web"))
    assert {(f.claim, f.role) for f in findings} == set(claims)
