"""What the verdict says besides the claims: what is left open is what libsepol lets by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest
from bases import BuiltRoles, OnBase
from hypothesis import given
from hypothesis import strategies as st
from judge import Judge, port_types, process, thing
from sabotages import on_binary, told_limits

from labelgen import base as bases
from labelgen import build, claims
from labelgen.claims import ALONE, KEPT_APART, Subject, Verification
from labelgen.network import PROTOCOLS
from labelgen.policy import FILE_CLASSES, Policy
from labelgen.ports import Segment
from labelgen.role import Connect, Network, Ports, RoleFile
from labelgen.verdict import MOST_SHOWN, SEEING, Verdict, _about, _beside, _mcs_limits, limits


def test_a_path_that_may_be_one_folder_is_told_to_leave_out_what_is_in_it() -> None:
    assert '"/srv/lxc/web(/.*)?"' in _about("/srv/lxc/web")
    assert _about("/srv/lxc/web(/.*)?") == ""


@pytest.fixture(scope="module")
def linked(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_roles.link(tmp_path_factory.mktemp("limits"))


@pytest.fixture(scope="module")
def verdict(reference_roles: BuiltRoles, linked: Path) -> Verdict:
    return reference_roles.verify(linked)


# -- what a role file declares has limits


@pytest.fixture(scope="module")
def all_limits(verdict: Verdict, more_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Role -> its limits; those that no shipped role is, under `more`."""
    more = more_roles.verify(more_roles.link(tmp_path_factory.mktemp("more-limits"))).roles
    shipped = {role.role: " ".join(role.limits) for role in verdict.roles}
    return {**shipped, **{f"more/{role.role}": " ".join(role.limits) for role in more}}


TCP = {"dns", "ftp", "web", *(f"more/{name}" for name in ("asker", "odd", "relay", "relay_bind", "web", "web_admin"))}
UDP = {"dns", "more/asker"}


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        ("Unix sockets work;", {"nonet", "more/nested"}),
        ("A socket that another process made", {*TCP, "nonet", "more/nested", "more/signalling"}),
        ("checks no bind: the role can serve tcp there.", TCP - UDP),
        ("checks no bind: the role can serve tcp and udp there.", UDP),
        ("checks no bind: the role can serve sctp and dccp there.", {"more/signalling"}),
        ("UDP destinations are not checked by port", UDP),
        ("TCP Fast Open goes round name_connect", TCP),
        ("Raw and packet sockets carry any protocol", {"more/signalling"}),
        ("A published port (-p 80:80)", {*TCP, "more/signalling"}),
        ("no class for sctp and icmp", set()),
        ("A binary policy has no file contexts", set()),
        ("The base is known only as a binary", set()),
    ],
)
def test_a_limit_is_told_of_the_roles_whose_files_bring_it(
    words: str, roles: set[str], all_limits: dict[str, str]
) -> None:
    assert {role for role, text in all_limits.items() if words in text} == roles


def test_a_base_that_takes_other_sockets_for_raw_ones_is_told(more_roles: BuiltRoles, tmp_path: Path) -> None:
    policy = more_roles.link(tmp_path, edits={"base": [("(policycap extended_socket_class)", "")]})
    told = {r.role for r in more_roles.verify(policy).roles if any("no class for sctp" in t for t in r.limits)}
    assert told == {"signalling"}
    # Each of what it declares is enough for that.
    read = Policy(policy)
    file = next(file for file in more_roles.prepared.files if file.role.name == "signalling")
    for network in (Network(icmp=True), Network(raw=True), Network(connect=Connect(sctp=[9]))):
        subject = Subject(Verification(read, (file,)), file.role.model_copy(update={"network": network}), file)
        assert any("no class for sctp" in text for text in limits(subject))


def test_a_policy_without_file_contexts_is_told_to_roles_with_files(reference_roles: BuiltRoles, linked: Path) -> None:
    roles = build.verify_linked(reference_roles.prepared.files, Policy(linked)).roles
    told = {role.role for role in roles if any("A binary policy has no file contexts" in t for t in role.limits)}
    assert told == {role.role for role in roles if role.role != "nonet"}


def test_a_runtime_that_another_user_may_not_start_a_role_with_is_told(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """The set that eases the constraint may have network, which a binary does not show: roles are not in it."""
    eased = "(typeattribute eased)(typeattributeset eased (container_t))"
    needs = "(or (or (eq u1 system_u) (neq t1 container_runtime_t)) (eq t2 eased))"
    roles, policy = on_binary(reference_roles, tmp_path, f"{eased}(constrain (process (transition)) {needs})\n")
    verdict = roles.verify(policy)
    assert verdict.holds
    for role in verdict.roles:
        (said,) = (text for text in role.limits if "runs as another SELinux user" in text)
        assert "may keep container_runtime_t, " in said
    for subject in roles.verification(policy).subjects:
        told = [text for _, text in claims.refused_to_runtime(subject, "container_runtime_t", False)]
        assert any("eased" in text for text in told)
        assert claims.refused_to_runtime(subject, "container_runtime_t", True) == ()


@pytest.mark.parametrize(
    "labelled",
    [
        "(genfscon afs / (system_u object_r remote_t ((s0) (s0))))",
        "(fsuse xattr ceph (system_u object_r remote_t ((s0) (s0))))",
    ],
    ids=["genfscon", "fsuse"],
)
def test_a_mount_for_which_the_kernel_talks_to_servers_is_told(
    labelled: str, reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    more = tmp_path / "more.cil"
    types = "(type remote_t)(type local_t)(genfscon minix / (system_u object_r local_t ((s0) (s0))))\n"
    rules = "".join(
        f"(allow {domain} {name} (filesystem (mount)))\n"
        for domain in ("container_t", "lxc_domain")
        for name in ("remote_t", "local_t")
    )
    more.write_text(types + labelled + rules)
    verdict = reference_roles.verify(reference_roles.link(tmp_path, [more]))
    assert verdict.holds
    for role in verdict.roles:
        assert any("may mount file systems of the network (remote_t) as its parent may" in t for t in role.limits)


# -- neighbours


RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda two: tuple(sorted(two))), max_size=5)


@given(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), RANGES)
def test_what_is_beside_the_declared_is_all_the_rest(segment: list[int], declared: list[tuple[int, int]]) -> None:
    left = list(_beside(Segment(segment[0], segment[1], "", ""), declared))
    rest = {n for n in range(segment[0], segment[1] + 1) if not any(low <= n <= high for low, high in declared)}
    assert [n for low, high in left for n in range(low, high + 1)] == sorted(rest)


def test_neighbours_are_the_ports_of_the_declared_ones_types(
    reference_roles: BuiltRoles, more_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the types that libsepol reads for each port."""
    for roles in (reference_roles, more_roles):
        policy = roles.link(tmp_path_factory.mktemp("neighbours"))
        types = {name: dict(enumerate(port_types(policy, name))) for name in PROTOCOLS}
        for file, told in zip(roles.prepared.files, roles.verify(policy).roles):
            network = file.role.declared_network
            wanted = {
                (action, name, number)
                for name in PROTOCOLS
                for action, ports in (
                    ("bind", network.bound(name) if network else []),
                    ("connect", network.reached(name) if network else []),
                )
                for number in _beside_declared(types[name], ports)
            }
            assert wanted == {
                (one.action, one.protocol, number) for one in told.neighbours for number in _numbers(one.ports)
            }


def _numbers(text: str) -> list[int]:
    ranges = [part.partition("-") for part in text.split(", ")]
    return [number for low, _, high in ranges for number in range(int(low), int(high or low) + 1)]


def _beside_declared(types: dict[int, str], ports: list[Ports | str]) -> set[int]:
    numbers = {n for port in ports if isinstance(port, Ports) for n in range(port.low, port.high + 1)}
    meant = {types[n] for n in numbers}
    named = {port for port in ports if isinstance(port, str)}
    return {n for n, name in types.items() if n and name in meant - named} - numbers


# -- what policies leave open


def test_what_crosses_categories_is_what_libsepol_lets_by(
    linked: Path, verdict: Verdict, reference_roles: BuiltRoles
) -> None:
    """Of all that there is in the policy to do to a process, to files and to sockets of another container."""
    verification = reference_roles.verification(linked)
    classes = verification.policy.classes
    with Judge(linked) as judge:
        for role in verdict.roles:
            told = {kind: set(perms.split()) for kind, perms in told_limits(role.limits)}
            one, two = process(role.domain), process(role.domain, "s0:c3,c4")
            on_processes = {perm for perm in classes["process"] - ALONE if judge.allows(one, two, "process", perm)}
            assert told["process"] == on_processes - set(KEPT_APART["process"])
            assert {"signull", "sigchld"} <= on_processes
            found = {key for target, key in verification.subject(_file(reference_roles, role.role)).open_to_others}
            targets = [thing("container_file_t", "s0:c3,c4"), two]
            for tclass in (*FILE_CLASSES, "unix_stream_socket", "tcp_socket", "shm", "msgq", "fd", "key"):
                for target in targets if tclass in FILE_CLASSES else targets[1:]:
                    let_by = {perm for perm in classes[tclass] - {"create"} if judge.allows(one, target, tclass, perm)}
                    assert {(tclass, perm) for perm in let_by} <= found
                    acting = let_by - SEEING
                    assert told.get(tclass, set()) >= acting or "(all" in told[tclass]


def _file(built: BuiltRoles, role: str) -> RoleFile:
    return next(file for file in built.prepared.files if file.role.name == role)


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
    names = sorted({name for name, _ in listed})
    shown = f"{', '.join(names[:MOST_SHOWN])} and {len(names) - MOST_SHOWN} more, as its parent may"
    assert len(names) > MOST_SHOWN
    assert any(shown in text for text in nonet.limits)


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
        assert "The base is known only as a binary" in text
        assert "It is not in process_user_target" in text
        assert "association sendto" in text or role.role != "nonet"
        assert "A binary policy has no file contexts" in text or role.role == "nonet"


_LITTLE = "(typeattribute little)(typeattributeset little (httpd_t svirt_t))"


@pytest.mark.parametrize(
    ("rule", "claims"),
    [
        ("little node_type (udp_socket (node_bind))", {"network"}),
        ("little shadow_t (file (read))", {"contained"}),
        ("httpd_t little (process (ptrace))", {"separate"}),
        ("little httpd_t (process (transition))", {"closed", "contained"}),
        ("little etc_t (file (getattr))", set()),
    ],
)
def test_sets_of_a_binary_that_are_not_taken_to_hold_a_role_are_told(
    rule: str, claims: set[str], reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    roles, policy = on_binary(reference_roles, tmp_path, f"{_LITTLE}(allow {rule})\n")
    verdict = roles.verify(policy)
    assert verdict.holds
    nonet = next(role for role in verdict.roles if role.role == "nonet")
    assert {claim for claim, left in nonet.not_taken.items() if "little" in left.sets} == claims
    said = next(text for text in nonet.limits if "A binary does not show how its sets" in text)
    assert all(f"{claim} ({len(left.sets)} sets)" in said for claim, left in nonet.not_taken.items() if left.sets)
    assert nonet.to_json()["sets_not_taken"]["network"] == list(nonet.not_taken["network"].sets)


def test_on_modules_no_set_is_left_out(reference_roles: BuiltRoles, linked: Path) -> None:
    assert not any(role.not_taken for role in reference_roles.verify(linked).roles)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("io_uring", "does not know io_uring's override_creds"),
        ("infiniband_endport", "does not know InfiniBand's partitions"),
        ("prog_load", "may load BPF programs"),
    ],
)
def test_what_is_unknown_and_needs_somebody_else_is_a_limit(
    reference_roles: BuiltRoles, tmp_path: Path, text: str, said: str
) -> None:
    edits = [(text, "unheard_of"), ("(handleunknown deny)", "(handleunknown allow)")]
    files = ["(allow corenet_unconfined_type ibendport_type (infiniband_endport (all)))"]
    edits = [(rule, "") for rule in files if text in rule] + edits
    shared = [(text, "unheard_of")] if text != "infiniband_endport" else []
    changes = {"base": edits, **({"lxc_base": shared} if shared else {})}
    verdict = reference_roles.verify(reference_roles.link(tmp_path, edits=changes))
    assert verdict.holds
    assert all(said in " ".join(role.limits) for role in verdict.roles)


@pytest.mark.parametrize(("name", "tclass"), [("fixed_disk_device_t", "blk_file"), ("memory_device_t", "chr_file")])
@pytest.mark.parametrize(("perm", "boolean"), [("write", ""), ("write", "local_devices"), ("append", "")])
def test_devices_that_are_the_host_itself_are_told_with_their_boolean(
    reference_roles: BuiltRoles, verdict: Verdict, tmp_path: Path, name: str, tclass: str, perm: str, boolean: str
) -> None:
    words = "host's memory or disks as its parent may"
    assert not any(words in text for role in verdict.roles for text in role.limits)
    rules = "".join(f"(allow {who} {name} ({tclass} ({perm})))\n" for who in ("container_t", "lxc_domain"))
    if boolean:
        rules = f"(boolean {boolean} false)(booleanif {boolean} (true {rules}))"
    extra = tmp_path / "extra.cil"
    extra.write_text(f"(type {name})(roletype object_r {name})\n{rules}")
    found = reference_roles.verify(reference_roles.link(tmp_path, [extra]))
    assert found.holds
    for role in found.roles:
        (said,) = (text for text in role.limits if words in text)
        assert ("(boolean local_devices=on)" in said) == bool(boolean)


CONTROL_GROUPS = "may write to control groups as its parent may"


def test_control_groups_are_told_with_their_boolean(verdict: Verdict, linked: Path) -> None:
    """Containers may write to them under one boolean, which is off: libsepol refuses what it is told for."""
    with Judge(linked) as judge:
        for role in verdict.roles:
            assert any(f"{CONTROL_GROUPS} (boolean container_manage_cgroup=on):" in text for text in role.limits)
            label = "system_u:object_r:cgroup_t:s0"
            assert not judge.allows(process(role.domain), label, "file", "write")


def verified_with(built: BuiltRoles, folder: Path, labelled: str, type_name: str, perm: str) -> Verdict:
    """The verdict where files have a type of their own, on which containers have a permission, or none."""
    rules = "".join(f"(allow {who} {type_name} (file ({perm})))\n" for who in ("container_t", "lxc_domain"))
    extra = folder / "extra.cil"
    extra.write_text(labelled + (rules if perm else ""))
    found = built.verify(built.link(folder, [extra]))
    assert found.holds
    return found


AGENT = """(type local_agent_t)(roletype object_r local_agent_t)
(genfscon cgroup "/release_agent" (system_u object_r local_agent_t ((s0) (s0))))
"""


@pytest.mark.parametrize("perm", ["append", "write", ""])
def test_control_groups_are_told_by_the_label_of_the_file_that_names_a_program(
    reference_roles: BuiltRoles, tmp_path: Path, perm: str
) -> None:
    for role in verified_with(reference_roles, tmp_path, AGENT, "local_agent_t", perm).roles:
        assert [CONTROL_GROUPS in text for text in role.limits].count(True) == bool(perm)
        assert any(f"{CONTROL_GROUPS}:" in text for text in role.limits) == bool(perm)


def test_control_groups_of_version_2_name_no_program(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    one = '(genfscon cgroup "/" (system_u object_r cgroup_t ((s0) (s0))))'
    edits = {"base": [(one, one.replace("cgroup_t", "sysfs_t"))]}
    found = reference_roles.verify(reference_roles.link(tmp_path, edits=edits))
    assert not any(CONTROL_GROUPS in text for role in found.roles for text in role.limits)


HELPER_OF_A_MODULE = """(type local_helper_t)(roletype object_r local_helper_t)
(genfscon proc "/sys/fs/ocfs2" (system_u object_r local_helper_t ((s0) (s0))))
"""


@pytest.mark.parametrize("perm", ["append", "write", ""])
def test_files_of_modules_that_name_a_program_are_told(reference_roles: BuiltRoles, tmp_path: Path, perm: str) -> None:
    for role in verified_with(reference_roles, tmp_path, HELPER_OF_A_MODULE, "local_helper_t", perm).roles:
        told = [text for text in role.limits if "names a program that the kernel starts outside" in text]
        assert [text.startswith("It may write to /proc/sys/fs/ocfs2/nm/hb_ctl_path as") for text in told].count(
            True
        ) == bool(perm)
        assert not any("/sys/module" in text for text in told)


@pytest.mark.parametrize(
    ("filesystem", "path", "told"),
    [
        ("sysfs", "/module/nfs/", "/sys/module/nfs/parameters/cache_getent"),
        ("sysfs", "/module/nfsd/", "/sys/module/nfsd/parameters/cltrack_prog"),
        ("sysfs", "/module/drbd/", "/sys/module/drbd/parameters/usermode_helper"),
        ("sysfs", "/devices/system/machinecheck", "/sys/devices/system/machinecheck/machinecheck0/trigger"),
    ],
)
def test_each_of_these_files_is_told_alone(
    reference_roles: BuiltRoles, tmp_path: Path, filesystem: str, path: str, told: str
) -> None:
    label = "(system_u object_r local_helper_t ((s0) (s0)))"
    labelled = f'(type local_helper_t)(roletype object_r local_helper_t)\n(genfscon {filesystem} "{path}" {label})\n'
    for role in verified_with(reference_roles, tmp_path, labelled, "local_helper_t", "write").roles:
        found = [text for text in role.limits if "names a program that the kernel starts outside" in text]
        assert [text for text in found if text.startswith(f"It may write to {told} as")]
        assert not any("/sys/fs/ocfs2" in text for text in found)


@pytest.mark.parametrize(
    ("perm", "words"), [("sys_boot", "may start another kernel"), ("sys_rawio", "may write to the machine's ports")]
)
def test_capabilities_that_are_the_machine_itself_are_told_where_libsepol_lets_by(
    linked: Path, verdict: Verdict, perm: str, words: str
) -> None:
    with Judge(linked) as judge:
        for role in verdict.roles:
            let_by = judge.allows(process(role.domain), process(role.domain), "capability", perm)
            assert any(words in text for text in role.limits) == let_by
            assert let_by


@pytest.mark.parametrize("tclass", ["capability", "cap_userns"])
def test_modules_of_the_kernel_are_told_where_the_parent_may_load_them(
    reference_roles: BuiltRoles, verdict: Verdict, tmp_path: Path, tclass: str
) -> None:
    words = "may load kernel modules"
    assert not any(words in text for role in verdict.roles for text in role.limits)
    extra = tmp_path / "extra.cil"
    extra.write_text("".join(f"(allow {who} self ({tclass} (sys_module)))\n" for who in ("container_t", "lxc_domain")))
    found = reference_roles.verify(reference_roles.link(tmp_path, [extra]))
    assert found.holds
    assert all(any(words in text for text in role.limits) for role in found.roles)


ALWAYS = "(policycap always_check_network)\n"
# What containers get of packets on the reference base is little; this is the rest, for one role and what has no label.
REST = """
(allow unlabeled_t netif_t (netif (ingress)))
(allow unlabeled_t node_t (node (recvfrom)))
(allow container_t unlabeled_t (peer (recv)))
(allow lxc_dns_t unlabeled_t (peer (recv)))
"""


def _packet_limits(verdict: Verdict, why: str = "has always_check_network") -> dict[str, list[str]]:
    words = "what it takes is not granted: "
    found = {role.role: [text for text in role.limits if words in text] for role in verdict.roles}
    assert all(text.startswith(f"This base {why}") for said in found.values() for text in said)
    return {name: said[0].split(words)[1].split(". ")[0].split(", ") for name, said in found.items() if said}


def test_packets_that_the_kernel_will_ask_about_are_told(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """tests/witness/test_boot.py puts the same to a kernel."""
    extra, rest = tmp_path / "extra.cil", tmp_path / "rest.cil"
    extra.write_text(ALWAYS)
    rest.write_text(REST)
    found = _packet_limits(reference_roles.verify(reference_roles.link(tmp_path, [extra])))
    unheard = ["unlabeled_t netif_t:netif ingress", "unlabeled_t node_t:node recvfrom"]
    roles = ("web", "dns", "ftp")
    assert found == {name: [f"lxc_{name}_t unlabeled_t:peer recv", *unheard] for name in roles}
    found = _packet_limits(reference_roles.verify(reference_roles.link(tmp_path, [extra, rest])))
    assert found == {name: [f"lxc_{name}_t unlabeled_t:peer recv"] for name in ("web", "ftp")}
    none = {"base": [("(allow container_t unlabeled_t (packet (send recv)))", "")]}
    found = _packet_limits(reference_roles.verify(reference_roles.link(tmp_path, [extra, rest], none)))
    refused = ["lxc_dns_t unlabeled_t:packet send", "lxc_dns_t unlabeled_t:packet recv"]
    assert found["dns"] == refused  # the role has the rule, and the bound masks it


def test_without_the_capability_packets_are_no_limit(verdict: Verdict, on_base: OnBase) -> None:
    assert _packet_limits(verdict) == _packet_limits(on_base.verdict) == {}


@pytest.mark.parametrize(("refusing", "limited"), [("", set()), ("(recvfrom)", {"web", "dns", "ftp"})])
def test_a_base_without_network_peer_controls_asks_for_ipsecs_permission(
    reference_roles: BuiltRoles, tmp_path: Path, refusing: str, limited: set[str]
) -> None:
    edits = [("(policycap network_peer_controls)", "")]
    if refusing:
        edits.append(("unlabeled_t (association (sendto recvfrom))", "unlabeled_t (association (sendto))"))
    verdict = reference_roles.verify(reference_roles.link(tmp_path, edits={"base": edits}))
    found = _packet_limits(verdict, "lacks network_peer_controls")
    assert set(found) == limited
    assert all(said == [f"lxc_{name}_t unlabeled_t:association recvfrom"] for name, said in found.items())


def test_programs_in_the_kernel_are_told_where_the_parent_may_load_them(verdict: Verdict, on_base: OnBase) -> None:
    assert all(any("load BPF programs" in text for text in role.limits) for role in verdict.roles)
    may_load = any(
        rule.kind == "allow" and rule.tclass == "bpf" and "prog_load" in rule.perms
        for rule in on_base.policy.rules_from(on_base.parent)
    )
    assert all(any("load BPF programs" in text for text in role.limits) == may_load for role in on_base.verdict.roles)


def test_what_categories_leave_open_is_told_by_what_it_is() -> None:
    """By hand: of tcp sockets reading is all that it has, besides opening and looking at them; of udp there is more,
    and of alg it has none of its own."""
    itself, other = 1, 2
    seeing = {
        "file": "getattr",
        "dir": "watch",
        "lnk_file": "watch_mount",
        "sock_file": "watch_reads",
        "fifo_file": "watch_sb",
        "chr_file": "watch_with_perm",
    }
    sockets = [(f"{name}_socket", "read") for name in ("tcp", "udp", "alg")]
    open_ = [("process", "signull"), ("process", "signal"), ("file", "map"), *sockets, *seeing.items()]
    mine = {("tcp_socket", perm): itself for perm in ("create", "getattr", "read")}
    mine.update({("udp_socket", "read"): itself, ("udp_socket", "write"): itself, ("alg_socket", "read"): other})
    subject = SimpleNamespace(
        open_to_others=[("any_t", key) for key in open_],
        policy=SimpleNamespace(socket_classes=frozenset(tclass for tclass, _ in sockets)),
        worst=mine,
        bit=itself,
    )
    processes, acting, seen = _mcs_limits(cast(Subject, subject))
    assert processes.endswith("for: signull.")
    told = "alg_socket read; file map; tcp_socket (all that it may do with its own); udp_socket read."
    assert acting.endswith(f"apart for: {told}")
    assert seen.endswith(f"(getattr, watch): {' '.join(sorted(seeing))}.")


def test_what_lies_behind_a_domain_that_is_told_already_is_not_told(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """One rule leads to init, which starts every service of the host."""
    more = tmp_path / "more.cil"
    more.write_text("(allow lxc_domain init_t (process (transition)))\n(allow init_t httpd_t (process (transition)))\n")
    verdict = reference_roles.verify(reference_roles.link(tmp_path, [more]))
    for role in verdict.roles:
        closed = [finding.message for finding in role.findings if finding.claim == "closed"]
        assert closed
        assert all(f"{role.domain} -> init_t" in message and "httpd_t" not in message for message in closed)


def _subject(roles: BuiltRoles, policy: Policy, name: str) -> Subject:
    file = next(file for file in roles.prepared.files if file.role.name == name)
    return Subject(Verification(policy, (file,)), file.role, file)


def test_what_one_may_become_is_asked_of_its_own_categories_and_others_too(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """The constraint asks the same of both: signals to {c3,c4} it refuses, and becoming {c1,c2,c3,c4} it does not."""
    edits = {
        "base": [
            ("(mlsconstrain (process (transition sigkill sigstop signal ptrace", OF_PROCESSES),
            ("share getattr dyntransition getrlimit))", "share getattr getrlimit))"),
            ("(constrain (process (transition dyntransition ", "(constrain (process (transition "),
        ]
    }
    subject = _subject(reference_roles, Policy(reference_roles.link(tmp_path, edits=edits)), "web")
    assert claims._refused(subject, subject.domain, ("process", "signal"))
    assert not claims._refused(subject, subject.domain, ("process", "dyntransition"))


OF_PROCESSES = """(mlsconstrain (process (signal dyntransition)) (domby h1 h2))
(mlsconstrain (process (transition sigkill sigstop ptrace"""


def test_what_a_constraint_asks_of_ones_own_type_is_not_what_it_asks_of_files(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    """Whatever sets the constraints name."""
    more = tmp_path / "more.cil"
    more.write_text("(constrain (msgq (associate)) (eq t1 t2))\n")
    subject = _subject(reference_roles, Policy(reference_roles.link(tmp_path, [more])), "web")
    with mock.patch.object(subject.verification.constraints, "seen_as", lambda _: 0):
        assert claims._refused(subject, "container_file_t", ("msgq", "associate"))
        assert not claims._refused(subject, subject.domain, ("msgq", "associate"))


def test_capabilities_and_what_else_one_has_alone_are_nothing_between_two_containers(
    reference_roles: BuiltRoles, linked: Path
) -> None:
    for role in reference_roles.verify(linked).roles:
        told = next(text for text in role.limits if "do not keep two containers of one role apart" in text)
        classes = {part.split()[0] for part in told.split(": ", 1)[1].split("; ")}
        assert classes
        assert not classes & {"capability", "capability2", "cap_userns", "cap2_userns", "security", "system"}
