"""What is kept of a policy answers as the whole policy does, or says that it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase

from labelgen import kept
from labelgen.avc import Denial, parse
from labelgen.policy import Policy
from labelgen.reasons import Reasons

ROLES = ["lxc_web_t", "lxc_dns_t", "lxc_ftp_t", "lxc_nonet_t"]
RANGES = ["s0", "s0:c0", "s0-s0:c0.c1023", "s0:c1,c2", "s0:c1,c5.c9,c1000", "s0:c1,c2-s0:c1,c2,c3"]


@pytest.fixture(scope="module")
def linked(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_roles.link(tmp_path_factory.mktemp("linked"))


def denials() -> list[Denial]:
    """Denials of each kind that a policy is asked about."""
    targets = [
        "system_u:object_r:container_file_t:s0:c3,c4",
        "system_u:object_r:container_file_t:s0",
        "system_u:object_r:lxc_web_content_t:s0",
        "system_u:object_r:lxc_dns_data_t:s0",
        "system_u:object_r:shadow_t:s0",
        "system_u:object_r:svirt_lxc_file_t:s0",
        "system_u:system_r:container_t:s0:c3,c4",
        "system_u:system_r:lxc_web_t:s0:c3,c4",
        "system_u:system_r:init_t:s0",
        "system_u:object_r:no_such_type_t:s0",
    ]
    return [
        found
        for role in ROLES
        for target in targets
        for tclass, perms in (
            ("file", "read"),
            ("file", "write open"),
            ("process", "signal"),
            ("process", "transition"),
        )
        for found in [
            parse(
                f'type=AVC msg=audit(1.0:1): avc:  denied  {{ {perms} }} for  pid=1 comm="x" '
                f"scontext=system_u:system_r:{role}:s0:c1,c2 tcontext={target} tclass={tclass} permissive=0"
            )
        ]
        if found
    ]


def kept_of(policy: Policy, domains: list[str], folder: Path) -> kept.KeptReasons:
    (folder / kept.POLICY).write_bytes(policy.path.read_bytes())
    kept.keep(policy, domains, folder)
    return kept.KeptReasons(folder, "it")


def test_what_is_kept_answers_as_the_whole(on_base: OnBase, tmp_path: Path) -> None:
    reasons, whole = kept_of(on_base.policy, ROLES, tmp_path), Reasons(Policy(on_base.path), "it")
    (tmp_path / kept.POLICY).unlink()  # which is not asked
    asked = denials()
    assert len(asked) == 160
    answers = [whole.of(denial) for denial in asked]
    assert [reasons.of(denial) for denial in asked] == answers
    assert [reasons.lacks(denial) for denial in asked] == [whole.lacks(denial) for denial in asked]
    assert {"deliberate", "mcs", "label", "stale"} <= {answer.kind for answer in answers}


def test_what_is_not_kept_is_asked_of_the_whole(linked: Path, tmp_path: Path) -> None:
    reasons, whole = kept_of(Policy(linked), [], tmp_path), Reasons(Policy(linked), "it")
    assert [reasons.of(denial) for denial in denials()] == [whole.of(denial) for denial in denials()]


def test_levels_are_those_of_the_policy(on_base: OnBase, tmp_path: Path) -> None:
    reasons = kept_of(on_base.policy, ROLES, tmp_path)
    assert [reasons.policy.levels(text) for text in RANGES] == [on_base.policy.levels(text) for text in RANGES]


@pytest.mark.parametrize("text", ["s1", "s0:c1024", "s0:c5.d9", "", "s0:"])
def test_a_range_that_is_none_is_not_guessed(linked: Path, tmp_path: Path, text: str) -> None:
    reasons = kept_of(Policy(linked), ROLES, tmp_path)
    if text == "s0:":
        assert reasons.policy.levels(text) == Policy(linked).levels("s0")
    else:
        with pytest.raises(kept.NotKept):
            reasons.policy.levels(text)


def test_a_category_may_have_another_name(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    more = tmp_path / "more.cil"
    more.write_text("(categoryalias secret)(categoryaliasactual secret c7)\n")
    policy = Policy(reference_roles.link(tmp_path, [more]))
    folder = tmp_path / "kept"
    folder.mkdir()
    reasons = kept_of(policy, ROLES, folder)
    for text in ("s0:secret", "s0:c5.secret", "s0:c7"):
        assert reasons.policy.levels(text) == policy.levels(text)
