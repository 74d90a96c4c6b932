"""What constraints name, read from the policy itself, against what setools tells, and against libsepol's decision."""

from __future__ import annotations

from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase
from judge import Judge

from labelgen import base as bases
from labelgen import facts
from labelgen.errors import InputError
from labelgen.kernelpolicy import KernelPolicy
from labelgen.policy import Policy, members

_SILENT = """
(typeattribute silent)(typeattributeset silent (and (mcs_constrained_type) (not (svirt_t))))
(expandtypeattribute (silent) true)
"""
_BESIDE = f"{_SILENT}(constrain (tcp_socket (listen)) (neq t1 (httpd_t silent)))"
_ALONE = f"{_SILENT}(constrain (tcp_socket (listen)) (neq t1 silent))"


def test_what_is_read_of_a_policy_is_what_setools_tells(on_base: OnBase) -> None:
    """Where nothing was written out, both are the same: each name of each constraint, in the same place."""
    policy = on_base.policy
    read = KernelPolicy(policy.path.read_bytes(), policy.path)
    assert set(policy.types) | set(policy.attributes) == set(read.type_names) - {""}
    compared = 0
    for tclass, of_class in read.classes.items():
        told = [c for c in policy.constraints if c.tclass == tclass]
        of_labels = [c for c in told if c.kind.endswith("validatetrans")]
        others = [c for c in told if c not in of_labels]
        for constraints, read_of in ((others, of_class.constraints), (of_labels, of_class.validatetrans)):
            assert len(constraints) == len(read_of)
            for constraint, named in zip(constraints, read_of):
                assert not constraint.written_out
                for names, asked in zip((p for p in constraint.expression if isinstance(p, frozenset)), named):
                    if asked is not None:
                        types = {read.type_names[number] for number in members(asked)}
                        bits = policy._union(names)
                        assert types == set(policy.names(bits))
                        compared += 1
    assert compared > 50


@pytest.mark.parametrize("text", [_BESIDE, _ALONE], ids=["beside-others", "alone"])
def test_what_a_constraint_asks_is_what_libsepol_decides(
    text: str, reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    extra = tmp_path / "extra.cil"
    extra.write_text(text)
    path = reference_roles.link(tmp_path, [extra])
    (found,) = (c for c in Policy(path).constraints if c.written_out)
    (names,) = (part for part in found.expression if isinstance(part, frozenset))
    assert {"container_t", "lxc_web_t"} <= names
    assert "svirt_t" not in names
    assert ("httpd_t" in names) == ("httpd_t" in text)
    with Judge(path) as judge:
        for domain in ("lxc_web_t", "lxc_ftp_t"):
            me = f"system_u:system_r:{domain}:s0:c1,c2"
            assert not judge.allows(me, me, "tcp_socket", "listen")
            assert judge.allows(me, me, "tcp_socket", "bind")


@pytest.mark.parametrize("text", [_BESIDE, _ALONE], ids=["beside-others", "alone"])
def test_a_binary_that_cannot_be_written_out_again_is_no_base(
    text: str, reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    extra, binary = tmp_path / "extra.cil", tmp_path / "policy.33"
    extra.write_text(text)
    bases.link([reference_roles.prepared.base.cil, extra], True, binary)
    with pytest.raises(
        InputError, match=r"(?s)cannot be made into a base.*constrain tcp_socket listen.*container_engine_t"
    ):
        facts.of_base(bases.open_base(bases.locate(str(binary))), "svirt_lxc_net_t")


def test_a_policy_of_version_35_has_one_more_set_at_its_head(reference_roles: BuiltRoles) -> None:
    """policydb_read (libsepol, policydb.c) reads the types of `neveraudit` after the permissive ones."""
    whole = reference_roles.prepared.base.policy.read_bytes()
    version_at = 8 + int.from_bytes(whole[4:8], "little")
    place = version_at + 16
    for _ in ("capabilities of the policy", "permissive types"):
        place += 12 + 12 * int.from_bytes(whole[place + 8 : place + 12], "little")
    neveraudit = b"".join(number.to_bytes(4, "little") for number in (64, 64, 1, 0, 6, 0))
    newer = whole[:version_at] + (35).to_bytes(4, "little") + whole[version_at + 4 : place] + neveraudit + whole[place:]
    read, same = KernelPolicy(whole, "policy"), KernelPolicy(newer, "policy")
    assert same.version == 35
    assert same.classes == read.classes
    assert same.type_names == read.type_names
    assert same.dominated_roles == read.dominated_roles


def test_a_damaged_policy_is_told(reference_roles: BuiltRoles) -> None:
    whole = reference_roles.prepared.base.policy.read_bytes()
    read = KernelPolicy(whole, "policy")
    assert read.type_names
    for length in (0, 7, 40, 300, 5000, read._reader.place // 2, read._reader.place - 3):
        with pytest.raises(InputError, match="policy: this policy is damaged or truncated"):
            KernelPolicy(whole[:length], "policy")
    newer = bytearray(whole)
    place = 8 + int.from_bytes(whole[4:8], "little")
    newer[place : place + 4] = (36).to_bytes(4, "little")
    with pytest.raises(InputError, match="of version 36; labelgen knows those up to 35"):
        KernelPolicy(bytes(newer), "policy")
