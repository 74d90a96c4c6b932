"""What a binary base may hide and is not taken to hide, unless somebody asks for the worst."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from atworst import BEFORE, left, of_role
from bases import BuiltRoles
from click.testing import CliRunner
from sabotages import on_binary

from labelgen import hidden
from labelgen.claims import CLAIMS, _allowed
from labelgen.commands.verify import command


def test_a_role_without_files_may_open_those_of_others(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = on_binary(reference_roles, tmp_path, f"{BEFORE}(allow container_t kept (file (read open)))\n")
    subject = of_role(built.verification(policy), "nonet")
    words = "lxc_web_content_t is not in the set that the binary calls kept, on which "
    assert any(
        words in finding.message and "which may hold other roles" in finding.message
        for finding in left(subject, "separate", "kept")
    )


def test_a_set_in_another_attribute_is_counted_where_it_is_not_taken(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """`domain` without the parent holds most of what a role is in: for the network and for other domains that is taken.
    Whether it may do what its parent may not is asked only at the worst, as roles are not in `domain`."""
    not_one = "(typeattribute but_one)(typeattributeset but_one (and (domain) (not (container_t))))"
    rules = (
        "(allow but_one shadow_t (file (quotaon)))(allow but_one kernel_t (system (module_load)))"
        "(allow but_one node_type (udp_socket (node_bind)))"
    )
    built, policy = on_binary(reference_roles, tmp_path, f"{not_one}{rules}\n")
    subject = of_role(built.verification(policy))
    assert "but_one" in subject.not_taken["contained"].sets
    for claim in ("closed", "network"):
        assert "but_one" not in subject.not_taken[claim].sets
        assert any("but_one" in finding.message for finding in hidden.taken(subject, claim, _allowed))


def test_roles_in_a_set_that_is_not_taken_for_other_claims_act_on_files(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """Whether other roles are in `domain` without the parent is asked where they may act on a role's files."""
    not_one = "(typeattribute but_one)(typeattributeset but_one (and (domain) (not (container_t))))"
    files = "(typeattribute but_shadow)(typeattributeset but_shadow (not (shadow_t)))"
    text = f"{not_one}{files}(allow but_one but_shadow (file (read)))\n"
    built, policy = on_binary(reference_roles, tmp_path, text)
    told = hidden.taken(of_role(built.verification(policy)), "separate", _allowed)
    assert any("on which but_one can act, which may hold other roles" in finding.message for finding in told)


def test_what_is_taken_for_itself_is_not_told_of_every_set(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    nearly_all = "(typeattribute nearly_all)(typeattributeset nearly_all (and (domain) (not (container_t))))"
    rules = (
        "(expandtypeattribute (nearly_all) true)(allow nearly_all node_type (udp_socket (node_bind)))"
        "(allowx nearly_all self (ioctl file (0x5412)))"
    )
    built, policy = on_binary(reference_roles, tmp_path, f"{BEFORE}{nearly_all}{rules}\n")
    subject = of_role(built.verification(policy), "nonet")
    assert any("as nearly all like it" in finding.message for finding in hidden.taken(subject, "network", _allowed))
    assert left(subject, "network", "odd") == []
    assert any(
        "among nearly all that are" in finding.message for finding in hidden.taken(subject, "complete", _allowed)
    )
    assert left(subject, "complete", "odd") == []


def test_where_no_set_may_hold_a_role_a_type_is_named(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = on_binary(reference_roles, tmp_path)
    worst = replace(built.verification(policy), at_worst=True)
    subject = of_role(worst, "nonet")
    able = subject.not_taken["able"]
    assert able.sets == ()
    assert able.type in subject.policy.types
    (finding,) = CLAIMS["able"](subject)
    assert f"nothing which is said of {able.type} was said of lxc_nonet_t" in finding.message
    assert finding.rules == able.rules != ()


def test_what_is_left_of_a_role_does_not_depend_on_those_before_it(more_roles: BuiltRoles, tmp_path: Path) -> None:
    built, _ = on_binary(more_roles, tmp_path, f"{BEFORE}(allow little shadow_t (file (quotaon)))")
    extra, linked = tmp_path / "extra.cil", tmp_path / "with-extra"
    extra.write_text("(typeattributeset little (lxc_odd_t))")
    linked.mkdir()
    together = built.verification(built.link(linked, [extra]))
    left_of = {subject.role.name: subject.not_taken for subject in together.subjects}
    for subject in together.subjects:
        together.not_taken_alike.clear()
        assert of_role(together, subject.role.name).not_taken == left_of[subject.role.name]
    contained = {name: found["contained"].sets for name, found in left_of.items()}
    assert "little" not in contained["odd"]
    assert "little" in contained["asker"]
    assert left_of["asker"]["network"] != left_of["odd"]["network"]
    assert left_of["nested"]["able"] != left_of["asker"]["able"]


def test_at_worst_what_cannot_be_shown_fails(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = on_binary(reference_roles, tmp_path, f"{BEFORE}(allow little node_type (udp_socket (node_bind)))")
    subject = of_role(built.verification(policy))
    assert [finding for check in CLAIMS.values() for finding in check(subject)] == []
    worst = replace(built.verification(policy), at_worst=True)
    subject = of_role(worst)
    found = [finding for check in CLAIMS.values() for finding in check(subject)]
    assert [finding.claim for finding in found] == list(subject.not_taken)
    for finding in found:
        assert finding.message.startswith("at the worst it cannot be shown that ")
        assert finding.rules
        assert "roles/web.yaml:" in finding.line
    # Nothing that a set may hold takes this away: it is about what the policy does not define.
    assert "known" not in subject.not_taken


def test_modules_hide_nothing_at_the_worst(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    worst = replace(reference_roles.verification(reference_roles.link(tmp_path)), at_worst=True)
    assert [finding for subject in worst.subjects for check in CLAIMS.values() for finding in check(subject)] == []


def test_verify_at_worst_on_a_binary_and_on_modules(reference_roles: BuiltRoles) -> None:
    binary = str(reference_roles.prepared.base.policy)
    shown = CliRunner().invoke(command, ["nonet", "--base", binary, "--json"], standalone_mode=False)
    assert shown.return_value == 0
    worst = CliRunner().invoke(command, ["nonet", "--base", binary, "--at-worst", "--json"], standalone_mode=False)
    assert worst.return_value == 1
    (before,), (after,) = (json.loads(result.stdout)["roles"] for result in (shown, worst))
    assert before["not_shown_at_worst"] == after["not_shown_at_worst"]
    failing = [claim for claim, holds in after["claims"].items() if not holds]
    assert failing == after["not_shown_at_worst"] != []
    assert all(before["claims"].values())
    assert set(after["sets_not_taken"]) | set(after["types_not_taken"]) == set(failing)
    modules = CliRunner().invoke(command, ["nonet", "--base", "reference", "--at-worst"], standalone_mode=False)
    assert modules.return_value == 0
