"""Ways to be wrong and harmless changes, each a file of tests/sabotage/ and tests/harmless/ (see sabotages.py): the
verdict must fail, name the claim, and show the evidence; or raise nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from atworst import AT_WORST, BEFORE, AtWorst, of_role
from bases import BuiltRoles
from sabotages import (
    BESIDES,
    EVERY_SOCKET,
    FILES,
    HARMLESS,
    HIDDEN,
    SOCKET_CLASSES,
    Change,
    Hidden,
    across_categories,
    network_permissions,
    not_asked,
    on_binary,
    outcome,
    rules_of,
    told_permissions,
    told_sockets,
    two_parents,
    uncaught_across_categories,
    untold_of_two_parents,
)

from labelgen import base as bases
from labelgen import build, programs
from labelgen.claims import CLAIMS, Finding, rested_on
from labelgen.errors import InputError
from labelgen.hidden import DECLARED
from labelgen.policy import Policy
from labelgen.shipped import packaged


@pytest.fixture(scope="session")
def untouched(
    reference_roles: BuiltRoles, more_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[bytes, bytes]]:
    """What linking the roles without a change leaves."""
    return {
        "shipped": outcome(reference_roles.link(tmp_path_factory.mktemp("untouched"))),
        "more": outcome(more_roles.link(tmp_path_factory.mktemp("untouched"))),
    }


def _parameters() -> list[object]:
    reasons = {path: Change.read(path).fields.get("open") for path in FILES}
    return [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)] if reason else [],
        )
        for path, reason in reasons.items()
    ]


@pytest.mark.parametrize("path", _parameters())
def test_sabotage_is_caught_by_its_claim(
    path: Path,
    reference_roles: BuiltRoles,
    more_roles: BuiltRoles,
    untouched: dict[str, tuple[bytes, bytes]],
    tmp_path: Path,
) -> None:
    change = Change.read(path)
    built, policy = change.on(more_roles if change.roles == "more" else reference_roles, tmp_path)
    assert "built" in change.fields or outcome(policy) != untouched[change.roles], "this changes nothing"
    role = next(role for role in built.verify(policy).roles if role.role == change.role)
    assert change.uncaught(built, role.findings) == []


def test_every_claim_has_its_sabotage() -> None:
    assert {Change.read(path).by for path in FILES} == set(CLAIMS)


@pytest.mark.parametrize("path", HARMLESS, ids=lambda path: path.stem)
def test_a_harmless_change_raises_no_finding(
    path: Path, reference_roles: BuiltRoles, more_roles: BuiltRoles, tmp_path: Path
) -> None:
    change = Change.read(path)
    built, policy = change.on(more_roles if change.roles == "more" else reference_roles, tmp_path)
    assert [f for role in built.verify(policy).roles for f in role.findings] == []


def test_the_roles_hold_untouched(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    verdict = reference_roles.verify(reference_roles.link(tmp_path))
    assert [f for role in verdict.roles for f in role.findings] == []


def test_more_roles_hold_untouched(more_roles: BuiltRoles, tmp_path: Path) -> None:
    """Among them one whose name begins with another's."""
    verdict = more_roles.verify(more_roles.link(tmp_path))
    assert [f for role in verdict.roles for f in role.findings] == []


@pytest.mark.parametrize(
    "rule",
    [
        "(allow lxc_dns_t lxc_web_content_t (file (read)))",
        "(allow lxc_domain lxc_web_content_t (file (unlink)))",
        "(allow lxc_dns_t lxc_file_type (dir (remove_name)))",
        "(allow lxc_dns_t mcs_constrained_type (process (signal)))",
    ],
)
def test_another_role_that_acts_on_one_is_told_where_it_is_not_verified(
    reference_roles: BuiltRoles, tmp_path: Path, rule: str
) -> None:
    """Whoever verifies one of several roles is told what the others may do to it; the parent may be reached alike."""
    (tmp_path / "rule.cil").write_text(rule)
    policy = reference_roles.link(tmp_path, [tmp_path / "rule.cil"])
    files = [file for file in reference_roles.prepared.files if file.role.name == "web"]
    (web,) = build.verify_linked(files, Policy(policy)).roles
    assert any("another role, lxc_dns_t, can act on lxc_web_" in finding.message for finding in web.findings)
    assert {finding.claim for finding in web.findings} <= {"separate", "contained"}


# -- many at once


def _network_findings(built: BuiltRoles, rules: str, folder: Path) -> list[Finding]:
    extra = folder / "rules.cil"
    extra.write_text(rules)
    nonet = next(role for role in built.verify(built.link(folder, [extra])).roles if role.role == "nonet")
    return [finding for finding in nonet.findings if finding.claim == "network"]


def test_each_class_of_socket_is_told_by_name(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    findings = _network_findings(reference_roles, EVERY_SOCKET, tmp_path)
    assert told_sockets(findings) == SOCKET_CLASSES


def test_every_permission_of_sockets_and_labelled_networking_is_told(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """One permission is enough: not only `create` is looked at."""
    wanted = network_permissions(Policy(reference_roles.link(tmp_path)).classes)
    findings = _network_findings(reference_roles, rules_of(wanted), tmp_path)
    assert told_permissions(findings) == wanted


def test_what_crosses_categories_is_told(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    dns = next(r for r in reference_roles.verify(across_categories(reference_roles, tmp_path)).roles if r.role == "dns")
    assert uncaught_across_categories(dns.findings, dns.limits) == []


def test_what_is_found_of_one_parent_is_not_said_of_another(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    built, policy = two_parents(reference_roles, tmp_path)
    roles = {role.role: role.findings for role in built.verify(policy).roles}
    assert untold_of_two_parents(roles["web"]) == []
    said = " ".join(finding.message for finding in roles["dns"])
    assert "start container_t" not in said
    assert "from what container_t may do" not in said


def test_all_that_kernels_ask_for_is_known(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    assert not not_asked()
    found = rested_on(Policy(reference_roles.link(tmp_path)))
    assert found == {tclass: set(perms.split()) for tclass, perms in BESIDES.items()}


# -- bases


@pytest.mark.parametrize(
    "hidden", HIDDEN, ids=lambda hidden: f"{hidden.claim}-{hidden.name}-{hidden.says}".replace(" ", "-")
)
def test_what_a_binary_hides_is_taken_at_its_worst(reference_roles: BuiltRoles, tmp_path: Path, hidden: Hidden) -> None:
    """A set by subtraction has a name in a binary and no expression: it may well hold every type to come."""
    roles, policy = on_binary(reference_roles, tmp_path, hidden.text)
    asked = next(role for role in roles.verify(policy).roles if role.role == hidden.role)
    assert hidden.is_told(asked.findings), asked.findings


@pytest.mark.parametrize("hidden", AT_WORST, ids=lambda hidden: f"{hidden.claim}-{hidden.says_so}")
def test_what_is_not_taken_breaks_the_claim_at_its_worst(
    reference_roles: BuiltRoles, tmp_path: Path, hidden: AtWorst
) -> None:
    roles, policy = on_binary(reference_roles, tmp_path, hidden.text)
    subject = of_role(roles.verification(policy))
    assert not hidden.is_taken(subject)
    assert hidden.is_left(subject)
    left = subject.not_taken[hidden.claim]
    assert hidden.name in left.sets or hidden.name in subject.policy.types
    assert left.sets or left.type


def test_nothing_else_breaks_the_claims_so(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """The same questions where nothing was said: none of the answers above is there anyway."""
    roles, policy = on_binary(reference_roles, tmp_path, BEFORE)
    subject = of_role(roles.verification(policy))
    # Each type may do something to its own processes.
    assert [case for case in AT_WORST if case.is_left(subject) and case.says != "may hold other roles"] == []


@pytest.mark.parametrize(
    "text",
    [
        "(typeattribute not_net)(typeattributeset not_net (and (file_type) (not (shadow_t))))"
        "(allow not_net fs_t (filesystem (associate)))(allow httpd_t not_net (file (getattr)))",
        "(typeattribute local_typeattr_1)(typeattributeset local_typeattr_1 (and (domain) (not (container_t))))"
        "(allow httpd_t local_typeattr_1 (process (signal)))",
        "(typeattribute not_shadow)(typeattributeset not_shadow (not (shadow_t)))"
        "(allow not_shadow httpd_t (process (sigchld)))",
        "(typeattribute local_typeattr_1)(typeattributeset local_typeattr_1 (shadow_t))"
        "(allow local_typeattr_1 node_type (udp_socket (node_bind)))",
        "(type lone_file_t)(allow lone_file_t fs_t (filesystem (associate)))"
        "(typeattribute local_typeattr_1)(typeattributeset local_typeattr_1 (lone_file_t))"
        "(allow local_typeattr_1 node_type (udp_socket (node_bind)))",
        "(boolean local false)(typeattribute not_parent)(typeattributeset not_parent (not (container_t)))"
        "(booleanif local (true (allow not_parent shadow_t (file (getattr)))"
        "(allow container_t shadow_t (file (getattr)))))",
        "(typetransition mcs_constrained_type var_t file container_file_t)",
    ],
    ids=[
        "files",
        "domains",
        "what-the-parent-has-too",
        "of-files",
        "of-files-by-name",
        "when-the-parent-has-it-too",
        "labels-as-the-parents",
    ],
)
def test_a_set_that_cannot_hold_a_role_is_nothing_that_a_binary_hides(
    text: str, reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    roles, policy = on_binary(reference_roles, tmp_path, text)
    assert [f for role in roles.verify(policy).roles for f in role.findings] == []


def test_a_decompiled_binary_is_not_taken_for_modules(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """checkpolicy writes out the self rules of attributes for each type that had them when the binary was made; a role
    that joins such an attribute would seem not to get them."""
    many, binary, folder = tmp_path / "many.cil", tmp_path / "binary", tmp_path / "base"
    folder.mkdir()
    many.write_text("".join(f"(type many_{n}_t)(allow many_{n}_t self (process (fork)))\n" for n in range(1200)))
    bases.link([reference_roles.prepared.base.cil, many], True, binary)
    programs.run("checkpolicy", "-b", "-M", "-C", "-o", folder / "base.cil", binary)
    with pytest.raises(InputError, match="decompiled"):
        bases.open_base(bases.locate(str(folder)))


def test_a_module_of_the_host_that_means_the_roles_is_not_passed_over(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """An administrator's module that names the roles' attribute lies beside labelgen's own in the store. A base cannot
    hold it, and without it the verdict would be on another policy than the host's: it is named."""
    host = tmp_path / "host"
    host.mkdir()
    for name in ("base", "lxc_base"):
        (host / f"{name}.cil").write_bytes(reference_roles.cil[name].read_bytes())
    (host / "local.cil").write_text(
        "(typeattributeset cil_gen_require lxc_domain)(allow lxc_domain smtp_port_t (tcp_socket (name_connect)))"
    )
    (tmp_path / "modules").mkdir()
    with pytest.raises(InputError, match=r"local\.cil"):
        BuiltRoles.build(str(host), reference_roles.prepared.files[0].path.parent, tmp_path / "modules")


def test_a_module_that_calls_itself_a_role_and_gives_another_more_is_not_passed_over(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    for name in ("base", "lxc_base", "lxc_web"):
        (host / f"{name}.cil").write_bytes(reference_roles.cil[name].read_bytes())
    (host / "lxc_evil.cil").write_text(
        "(type lxc_evil_t)\n(typeattributeset cil_gen_require lxc_web_t)\n(typeattributeset lxc_domain (lxc_evil_t)) "
        "(allow lxc_web_t smtp_port_t (tcp_socket (name_connect)))\n"
    )
    with pytest.raises(InputError, match=r"lxc_evil\.cil"):
        bases.open_base(bases.locate(str(host)))


def test_a_role_that_is_another_type_by_an_alias_is_not_verified(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """Nothing can be said of a domain that is not there: what has its name is a service with network."""
    alias = "(typealias lxc_nonet_t)(typealiasactual lxc_nonet_t httpd_t)"
    path = reference_roles.link(tmp_path, edits={"lxc_nonet": [("(type lxc_nonet_t)", alias)]})
    inputs = build.Inputs(packaged("roles"), (), "reference", packaged("templates"))
    with pytest.raises(InputError, match="has no type lxc_nonet_t"):
        build.verify_installed(inputs, path)


def test_what_goes_round_the_ports_is_told_with_each_answer(more_roles: BuiltRoles, tmp_path: Path) -> None:
    """A `no` about a port is no answer to who may make packets of his own."""
    reach = {role.role: role.reach for role in more_roles.verify(more_roles.link(tmp_path)).roles}
    for name, told in (("signalling", True), ("web", False)):
        for answer in (reach[name].can_bind("tcp", 22), reach[name].can_connect("tcp", 22)):
            assert not answer.yes
            assert any(note.startswith("raw and packet sockets") for note in answer.notes) == told


def test_what_a_binary_is_trusted_in_is_written_down() -> None:
    text = (Path(__file__).parent.parent / "docs" / "claims.md").read_text()
    assert [name for name in sorted(DECLARED) if f"`{name}`" not in text] == []
