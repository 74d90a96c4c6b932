"""What a binary base may hide and is not taken to hide, unless somebody asks for the worst."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bases import BuiltRoles
from click.testing import CliRunner
from sabotages import on_binary

from labelgen import hidden
from labelgen.claims import CLAIMS, Finding, Subject, _allowed
from labelgen.commands.verify import command

# Two domains that may do nothing yet, a set that holds them, and one that holds files.
_BEFORE = """
(type one_t)(type two_t)(roletype system_r one_t)(roletype system_r two_t)
(allow one_t self (process (fork)))(allow two_t self (process (fork)))
(typeattribute little)(typeattributeset little (one_t two_t))(allow little etc_t (file (getattr)))
(typeattribute odd)(typeattributeset odd (http_port_t))(allow odd etc_t (file (getattr)))
(typeattribute both)(typeattributeset both (container_t one_t))(allow both etc_t (file (getattr)))
(allow container_user_domain etc_t (file (getattr)))
(type some_file_t)(typeattribute kept)(typeattributeset kept (some_file_t))(allow kept fs_t (filesystem (associate)))
"""
_OTHER = "(role other_r)(roletype other_r container_t)"
_FILTER = (
    "(allow one_t tty_device_t (chr_file (ioctl)))(allow container_t tty_device_t (chr_file (ioctl)))"
    "(allowx container_t tty_device_t (ioctl chr_file (0x5401)))"
)

# What a policy says that is linked before it becomes a binary; what it stands by there, the claim, and what a finding
# says. Whoever wrote it may have meant more types than were there to be meant.
HIDES = [
    ("(allow little node_type (udp_socket (node_bind)))", "little", "network", "udp_socket node_bind"),
    ("(allow little self (key_socket (create)))", "one_t", "network", "key_socket create"),
    ("(expandtypeattribute (little) true)(allow little etc_t (key_socket (read)))", "two_t", "network", "key_socket"),
    ("(allow little shadow_t (file (quotaon)))", "little", "contained", "quotaon"),
    (f"{_FILTER}(allowx one_t tty_device_t (ioctl chr_file (0x5412)))", "one_t", "contained", "0x5412"),
    ("(allow mcs_constrained_type kept (file (quotaon)))", "kept", "contained", "quotaon"),
    ("(allowx one_t tty_device_t (ioctl chr_file (0x5401)))", "one_t", "complete", "0x5401"),
    ("(constrain (file (quotaon)) (neq t1 one_t))", "one_t", "complete", "binds more"),
    ("(constrain (file (quotaon)) (neq t1 little))", "little", "complete", "binds more"),
    ("(mlsconstrain (process (ptrace)) (or (eq l1 l2) (eq t1 one_t)))", "one_t", "separate", "binds less"),
    ("(allow init_t little (process (ptrace)))", "little", "separate", "on which init_t can act"),
    ("(allow little two_t (process (setsched)))", "two_t", "separate", "may hold other roles"),
    ("(allow init_t kept (file (quotaon)))", "kept", "separate", "on which init_t can act"),
    (
        "(allow little mcs_constrained_type (unix_stream_socket (connectto)))",
        "little",
        "separate",
        "no other role is in",
    ),
    ("(allow container_init_t kept (file (read open)))", "kept", "separate", "another kind"),
    ("(typetransition one_t etc_t file shadow_t)", "one_t", "separate", "etc_t:file shadow_t"),
    ("(rangetransition one_t etc_t file ((s0)(s0)))", "one_t", "separate", "etc_t:file"),
    ("(allowx one_t self (ioctl unix_stream_socket (0x9999)))", "one_t", "complete", "0x9999"),
    (
        "(allowx container_t self (ioctl unix_stream_socket (0x9998)))"
        "(allowx one_t self (ioctl unix_stream_socket (0x9999)))",
        "one_t",
        "contained",
        "0x9999",
    ),
    ("(allowx mcs_constrained_type kept (ioctl file (0x1)))", "kept", "complete", "limited"),
    (
        "(allowx container_t container_file_t (ioctl file (0x2)))(allowx mcs_constrained_type kept (ioctl file (0x1)))",
        "kept",
        "contained",
        "0x0001",
    ),
    ("(typetransition one_t bin_t process httpd_t)", "one_t", "able", "bin_t:process httpd_t"),
    ("(typetransition one_t self tcp_socket two_t)", "one_t", "able", "tcp_socket two_t"),
    (f"{_OTHER}(roletransition system_r kept file other_r)", "some_file_t", "able", "other_r"),
    (f"{_OTHER}(roletransition system_r one_t tcp_socket other_r)", "one_t", "able", "other_r"),
    ("(constrain (tcp_socket (listen)) (neq t1 one_t))", "one_t", "able", "binds"),
    ("(allow odd node_type (udp_socket (node_bind)))", "odd", "network", "udp_socket node_bind"),
    ("(allow odd kernel_t (system (module_load)))", "odd", "closed", "module_load"),
    ("(allow httpd_t odd (process (ptrace)))", "odd", "separate", "on which httpd_t can act"),
    ("(allow container_init_t odd (file (read open)))", "odd", "separate", "another kind"),
    ("(typetransition http_port_t etc_t file shadow_t)", "http_port_t", "separate", "etc_t:file shadow_t"),
    ("(allow container_t kept (file (execute)))", "kept", "contained", "may execute"),
    ("(allow mcs_constrained_type little (process (setcurrent)))", "little", "contained", "may setcurrent"),
    (
        "(constrain (file (read)) (or (neq r1 user_r) (eq t1 container_user_domain)))",
        "container_user_domain",
        "complete",
        "asks for",
    ),
    ("(constrain (process (transition)) (or (neq r1 user_r) (eq t2 both)))", "both", "enterable", "asks for"),
    ("(typetransition container_t some_file_t file etc_t)", "some_file_t", "able", "some_file_t:file etc_t"),
    ("(rangetransition container_t some_file_t file ((s0)(s0)))", "some_file_t", "separate", "some_file_t:file s0"),
    ("(constrain (process (transition)) (neq t2 little))", "little", "enterable", "binds more"),
    ("(allow init_t some_file_t (file (quotaon)))", "some_file_t", "separate", "on which init_t can act"),
    ("(allow little kernel_t (system (module_load)))", "little", "closed", "module_load"),
    ("(allow one_t kernel_t (system (module_load)))", "one_t", "closed", "module_load"),
]


def _subject(built: BuiltRoles, policy: Path, role: str = "web") -> Subject:
    verification = built.verification(policy)
    return next(subject for subject in verification.subjects if subject.role.name == role)


def _left(subject: Subject, claim: str, name: str) -> Iterator[Finding]:
    return hidden.Reading(subject, claim, _allowed, name).findings()


def _says(finding: Finding, words: str) -> bool:
    return words in finding.message or any(words in rule for rule in finding.rules)


@pytest.mark.parametrize(("text", "name", "claim", "says"), HIDES)
def test_what_may_be_hidden_breaks_the_claim_at_its_worst(
    text: str, name: str, claim: str, says: str, reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    built, policy = on_binary(reference_roles, tmp_path, f"{_BEFORE}{text}\n")
    subject = _subject(built, policy)
    taken = list(hidden.taken(subject, claim, _allowed))
    assert not any(_says(finding, says) for finding in taken), "it is taken anyway"
    assert any(_says(finding, says) for finding in _left(subject, claim, name))
    left = subject.not_taken[claim]
    assert name in left.sets or name in subject.policy.types
    assert left.sets or left.type


def test_a_role_without_files_may_open_those_of_others(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = on_binary(reference_roles, tmp_path, f"{_BEFORE}(allow container_t kept (file (read open)))\n")
    subject = _subject(built, policy, "nonet")
    words = "lxc_web_content_t is not in the set that the binary calls kept, on which "
    assert any(
        words in finding.message and "which may hold other roles" in finding.message
        for finding in _left(subject, "separate", "kept")
    )


def test_nothing_else_is_what_a_change_hides(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """The same questions where nothing was changed: none of the answers above is there anyway."""
    built, policy = on_binary(reference_roles, tmp_path, _BEFORE)
    subject = _subject(built, policy)
    for text, name, claim, says in HIDES:
        if says != "may hold other roles":  # each may do something to its own processes
            assert not any(_says(finding, says) for finding in _left(subject, claim, name)), text


def test_a_set_in_another_attribute_is_counted_where_it_is_not_taken(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """`domain` without the parent holds most of what a role is in: for the network and for other domains that is taken.
    Whether it may do what its parent may not is asked only at the worst, as roles are not in `domain`."""
    not_one = "(typeattribute but_one)(typeattributeset but_one (and (domain) (not (container_t))))"
    rules = "(allow but_one shadow_t (file (quotaon)))(allow but_one kernel_t (system (module_load)))"
    built, policy = on_binary(reference_roles, tmp_path, f"{not_one}{rules}\n")
    subject = _subject(built, policy)
    assert "but_one" in subject.not_taken["contained"].sets
    assert "but_one" not in subject.not_taken["closed"].sets
    assert any("but_one" in finding.message for finding in hidden.taken(subject, "closed", _allowed))


def test_at_worst_what_cannot_be_shown_fails(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = on_binary(reference_roles, tmp_path, f"{_BEFORE}(allow little node_type (udp_socket (node_bind)))")
    subject = _subject(built, policy)
    assert [finding for check in CLAIMS.values() for finding in check(subject)] == []
    worst = replace(built.verification(policy), at_worst=True)
    subject = next(subject for subject in worst.subjects if subject.role.name == "web")
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
    assert (
        CliRunner().invoke(command, ["nonet", "--base", "reference", "--at-worst"], standalone_mode=False).return_value
        == 0
    )
