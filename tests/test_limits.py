"""What the verdict says besides the claims: what is left open is what libsepol lets by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase
from judge import Judge, process

from labelgen import base as bases
from labelgen.claims import KEPT_APART, LEFT_TO_THE_BASE
from labelgen.verdict import Verdict

ON_OTHERS = (*KEPT_APART["process"], *LEFT_TO_THE_BASE["process"])


@pytest.fixture(scope="module")
def linked(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_roles.link(tmp_path_factory.mktemp("limits"))


@pytest.fixture(scope="module")
def verdict(reference_roles: BuiltRoles, linked: Path) -> Verdict:
    return reference_roles.verify(linked)


def test_what_crosses_categories_is_what_libsepol_lets_by(linked: Path, verdict: Verdict) -> None:
    with Judge(linked) as judge:
        for role in verdict.roles:
            (said,) = (text for text in role.limits if text.startswith("Categories keep no container"))
            one, two = process(role.domain), process(role.domain, "s0:c3,c4")
            let_by = [perm for perm in sorted(ON_OTHERS) if judge.allows(one, two, "process", perm)]
            assert re.findall(r"\w+", said.split(" for: ")[1]) == let_by
            assert {"signull", "sigchld"} <= set(let_by)


def test_ways_out_are_listed_whole_with_the_parents_marked(
    reference_roles: BuiltRoles, linked: Path, verdict: Verdict, tmp_path: Path
) -> None:
    nonet = next(role for role in verdict.roles if role.role == "nonet")
    assert all(way.parent for way in nonet.ways_out)
    listed = {(way.domain, way.permission) for way in nonet.ways_out}
    access = reference_roles.verification(linked).access
    # Under a boolean that is off, libsepol refuses what a worst case counts.
    always = {
        (name, f"{tclass} {perm}")
        for name, (tclass, perm) in ((name, tuple(kind.split())) for name, kind in listed)
        if any(rule.guard is None for rule in access.rules("lxc_nonet_t", name, (tclass, perm)))
    }
    with Judge(linked) as judge:
        let_by = {
            (name, kind)
            for name in access.policy.names(access.policy.roles["system_r"])
            for kind in ("unix_stream_socket connectto", "unix_dgram_socket sendto")
            if name != "lxc_nonet_t" and judge.allows(process("lxc_nonet_t", "s0"), process(name, "s0"), *kind.split())
        }
    assert always <= let_by <= listed
    assert let_by
    extra = tmp_path / "extra.cil"
    extra.write_text("(allow lxc_nonet_t sshd_t (unix_stream_socket (connectto)))\n")
    more = next(r for r in reference_roles.verify(reference_roles.link(tmp_path, [extra])).roles if r.role == "nonet")
    assert [way.domain for way in more.ways_out if not way.parent] == ["sshd_t"]
    assert any("sshd_t, which its parent may not" in text for text in more.limits)


def test_the_reference_as_a_binary_holds_and_says_what_that_costs(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    binary = tmp_path / "policy.33"
    bases.link([reference_roles.prepared.base.cil], True, binary)
    (tmp_path / "modules").mkdir()
    roles = BuiltRoles.build(str(binary), reference_roles.prepared.files[0].path.parent, tmp_path / "modules")
    verdict = roles.verify(roles.link(tmp_path))
    assert [f for role in verdict.roles for f in role.findings] == []
    for role in verdict.roles:
        text = " ".join(role.limits)
        # On modules the linker is asked, and roles join it.
        assert "It is not in process_user_target" in text
        assert "association sendto" in text or role.role != "nonet"
        assert "A binary policy has no file contexts" in text or role.role == "nonet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("io_uring", "does not know io_uring's override_creds"),
        ("infiniband_endport", "does not know InfiniBand's partitions"),
    ],
)
def test_what_is_unknown_and_needs_somebody_else_is_a_limit(
    reference_roles: BuiltRoles, tmp_path: Path, text: str, said: str
) -> None:
    edits = [(text, "unheard_of"), ("(handleunknown deny)", "(handleunknown allow)")]
    files = ["(allow corenet_unconfined_type ibendport_type (infiniband_endport (all)))"]
    edits = [(rule, "") for rule in files if text in rule] + edits
    shared = [(text, "unheard_of")] if text == "io_uring" else []
    changes = {"base": edits, **({"lxc_base": shared} if shared else {})}
    verdict = reference_roles.verify(reference_roles.link(tmp_path, edits=changes))
    assert verdict.holds
    assert all(said in " ".join(role.limits) for role in verdict.roles)


def test_devices_that_are_the_host_itself_are_told_with_their_boolean(
    reference_roles: BuiltRoles, linked: Path, verdict: Verdict, tmp_path: Path
) -> None:
    words = "host's memory or disks"
    assert not any(words in text for role in verdict.roles for text in role.limits)
    extra = tmp_path / "extra.cil"
    extra.write_text(
        "(type fixed_disk_device_t)(roletype object_r fixed_disk_device_t)(boolean local_devices false)\n"
        "(booleanif local_devices (true\n"
        "(allow container_t fixed_disk_device_t (blk_file (write)))\n"
        "(allow lxc_domain fixed_disk_device_t (blk_file (write)))))\n"
    )
    found = reference_roles.verify(reference_roles.link(tmp_path, [extra]))
    assert found.holds
    for role in found.roles:
        (said,) = (text for text in role.limits if words in text)
        assert "(boolean local_devices=on)" in said


def test_programs_in_the_kernel_are_told_where_the_parent_may_load_them(verdict: Verdict, on_base: OnBase) -> None:
    assert all(any("load BPF programs" in text for text in role.limits) for role in verdict.roles)
    may_load = any(
        rule.kind == "allow" and rule.tclass == "bpf" and "prog_load" in rule.perms
        for rule in on_base.policy.rules_from(on_base.parent)
    )
    assert all(any("load BPF programs" in text for text in role.limits) == may_load for role in on_base.verdict.roles)
