"""Random rules on top of built roles, and under them: where libsepol lets a role do more, the verdict never holds.

LABELGEN_TEST_SABOTAGES says how many are tried, LABELGEN_TEST_SEED repeats a run: a failure prints the seed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Callable

import pytest
from bases import BuiltRoles
from hypothesis import HealthCheck, Phase, event, given, note, seed, settings, target
from hypothesis import strategies as st
from judge import Judge, gives_vectors, process, thing

from labelgen.errors import InputError
from labelgen.policy import Policy
from labelgen.programs import ProgramFailed
from labelgen.shipped import packaged

EXAMPLES = int(os.environ.get("LABELGEN_TEST_SABOTAGES", "12"))
EXPLORE = os.environ.get("LABELGEN_HYPOTHESIS") == "explore"
SEED = int(os.environ.get("LABELGEN_TEST_SEED") or (secrets.randbelow(2**32) if EXPLORE else 1))
pytestmark = pytest.mark.skipif(not gives_vectors(), reason="libsepol exports its decisions from version 3.4 on")

ROLES = ("dns", "ftp", "nonet", "web")
FILES = {"dns": "lxc_dns_data_t", "ftp": "lxc_ftp_data_t", "web": "lxc_web_content_t"}
LABELLED = ("netif", "node", "peer", "association", "packet", "infiniband_pkey", "infiniband_endport")
NET_CAPABILITIES = frozenset(("net_admin", "net_raw", "net_bind_service", "net_broadcast"))

Vectors = dict[tuple[str, str], int]  # (type, class) -> bits


def is_network(tclass: str) -> bool:
    """By name alone: every socket but AF_UNIX's, and labelled networking."""
    return tclass in LABELLED or (
        (tclass == "socket" or tclass.endswith("_socket")) and not tclass.startswith(("unix_stream", "unix_dgram"))
    )


def often(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    def set_up(test: Callable[..., None]) -> Callable[..., None]:
        return seed(SEED)(
            settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=checks,
                # To shrink a policy that takes a second to build takes minutes; the seed and the text are enough.
                phases=[Phase.explicit, Phase.generate],
            )(test)
        )

    return set_up


# -- what is random

SOURCES = ["lxc_web_t", "lxc_nonet_t", "lxc_dns_t", "lxc_domain", "lxc_net_domain", "mcs_constrained_type", "domain"]
SOURCES += ["container_domain", "svirt_sandbox_domain", "container_t", "httpd_t", "container_runtime_domain"]
TARGETS = ["self", "self", "self", "lxc_web_t", "lxc_domain", "lxc_dns_data_t", "lxc_web_content_t", "lxc_file_type"]
TARGETS += ["http_port_t", "port_type", "node_type", "netif_t", "netlabel_peer_t", "container_t", "container_file_t"]
TARGETS += ["httpd_t", "domain", "shadow_t", "sysctl_net_t", "lxc_ftp_port_t", "unlabeled_t"]
CLASSES = [
    "tcp_socket",
    "udp_socket",
    "rawip_socket",
    "alg_socket",
    "netlink_route_socket",
    "vsock_socket",
    "tun_socket",
]
CLASSES += ["unix_stream_socket", "capability", "cap_userns", "process", "file", "dir", "fd", "key", "peer", "packet"]
CLASSES += ["netif", "association", "chr_file", "sctp_socket"]
JOINED = ["container_net_domain", "sandbox_net_domain", "nsswitch_domain", "corenet_unconfined_type", "lxc_net_domain"]
JOINED += ["syslog_client_type", "kernel_system_state_reader", "process_user_target", "container_user_domain"]


@st.composite
def rules(draw: st.DrawFn, sources: list[str], targets: list[str]) -> tuple[str, str]:
    """A rule's class, and the rule."""
    tclass = draw(st.sampled_from(CLASSES))
    perms = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True))
    source, target_ = draw(st.sampled_from(sources)), draw(st.sampled_from(targets))
    return tclass, f"(allow {source} {target_} ({tclass} ({' '.join(f'@{tclass}.{n}' for n in perms)})))"


@st.composite
def changes(draw: st.DrawFn, sources: list[str], targets: list[str]) -> tuple[list[str], str]:
    """The classes that a change may be about (none: all), and the statements."""
    tclass, rule = draw(rules(sources, targets))
    kind = draw(st.sampled_from(["plain", "plain", "boolean", "other branch", "attribute", "joined"]))
    if kind == "boolean":
        return [tclass], f"(boolean sabotage_b true)(booleanif sabotage_b (true {rule}))"
    if kind == "other branch":
        return [tclass], f"(boolean sabotage_b false)(booleanif sabotage_b (false {rule}))"
    if kind == "attribute":
        held = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3, unique=True))
        rule = re.sub(r"^\(allow \S+", "(allow sabotage_a", rule)
        return [tclass], f"(typeattribute sabotage_a)(typeattributeset sabotage_a ({' '.join(held)})){rule}"
    if kind == "joined":
        return [], f"(typeattributeset {draw(st.sampled_from(JOINED))} ({sources[draw(st.integers(0, 2))]}))"
    return [tclass], rule


def with_permissions(text: str, policy: Policy) -> str:
    """Numbers of permissions made names of the policy's."""

    def name(match: re.Match[str]) -> str:
        names = sorted(policy.classes[match[1]])
        return names[int(match[2]) % len(names)]

    return re.sub(r"@(\w+)\.(\d+)", name, text)


# -- what libsepol says


def outgoing(judge: Judge, domain: str, policy: Policy, classes: Iterable[str]) -> Vectors:
    me = process(domain)
    found = {(name, c): judge.vector(me, thing(name), c) for c in classes for name in policy.type_names}
    found.update({(domain, c): judge.vector(me, process(domain), c) for c in classes})
    return found


def network_part(judge: Judge, policy: Policy, vectors: Vectors) -> Vectors:
    capabilities = {c: judge.bits(c, NET_CAPABILITIES) for c in ("capability", "cap_userns")}
    return {
        key: bits & (-1 if is_network(key[1]) else capabilities.get(key[1], 0))
        for key, bits in vectors.items()
        if is_network(key[1]) or key[1] in capabilities
    }


def more(now: Mapping[tuple[str, str], int], before: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    return [key for key, bits in now.items() if bits & ~before.get(key, 0)]


class Baseline:
    """What libsepol lets the roles do untouched."""

    def __init__(self, roles: BuiltRoles, folder: Path) -> None:
        self.roles = roles
        self.path = roles.link(folder)
        self.policy = Policy(self.path)
        with Judge(self.path) as judge:
            self.outgoing = {role: outgoing(judge, f"lxc_{role}_t", self.policy, self.policy.classes) for role in ROLES}


@pytest.fixture(scope="module")
def baseline(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    return Baseline(reference_roles, tmp_path_factory.mktemp("baseline"))


@often(EXAMPLES)
@given(changes(SOURCES, TARGETS))
def test_no_rule_gives_a_role_network_unseen(
    baseline: Baseline, tmp_path_factory: pytest.TempPathFactory, change: tuple[list[str], str]
) -> None:
    note(f"LABELGEN_TEST_SEED={SEED}")
    folder = tmp_path_factory.mktemp("sabotage")
    text = with_permissions(change[1], baseline.policy)
    (folder / "sabotage.cil").write_text(text)
    path = baseline.roles.link(folder, [folder / "sabotage.cil"])
    result = {role.role: role for role in baseline.roles.verify(path).roles}
    classes = [c for c in (change[0] or list(baseline.policy.classes)) if c in baseline.policy.classes]
    changed = 0
    with Judge(path) as judge:
        for role in ROLES:
            now = outgoing(judge, f"lxc_{role}_t", baseline.policy, classes)
            before = baseline.outgoing[role]
            gained = more(network_part(judge, baseline.policy, now), network_part(judge, baseline.policy, before))
            if role != "nonet":
                # Of labelled networking a networked role has what its parent has; more than that libsepol masks.
                gained = [key for key in gained if key[1] not in LABELLED]
            changed += bool(more(now, before))
            event("network gained" if gained else "other change" if more(now, before) else "no change")
            if gained:
                assert not result[role].claims()["network"], (text, role, gained[:5])
    target(float(changed))


# -- under the roles

PARENTS = ["container_t", "container_domain", "container_net_domain", "svirt_sandbox_domain", "sandbox_net_domain"]
PARENTS += ["domain", "mcs_constrained_type", "process_user_target", "corenet_unconfined_type", "nsswitch_domain"]
PARENTS += ["container_user_domain", "sandbox_caps_domain", "syslog_client_type", "kernel_system_state_reader"]
THINGS = ["self", "self", "self", "http_port_t", "port_type", "node_type", "netif_t", "netlabel_peer_t", "container_t"]
THINGS += ["container_file_t", "httpd_t", "domain", "shadow_t", "sysctl_net_t", "unlabeled_t", "container_domain"]


@often(max(5, EXAMPLES // 2))
@given(st.lists(changes(PARENTS, THINGS), min_size=1, max_size=1), st.lists(rules(PARENTS, THINGS), max_size=6))
def test_whatever_the_base_gives_the_parent_nonet_has_no_network(
    baseline: Baseline,
    tmp_path_factory: pytest.TempPathFactory,
    one: list[tuple[list[str], str]],
    others: list[tuple[str, str]],
) -> None:
    note(f"LABELGEN_TEST_SEED={SEED}")
    folder = tmp_path_factory.mktemp("base")
    text = with_permissions("\n".join(text for _, text in (*one, *others)), baseline.policy)
    (folder / "extra.cil").write_text(text)
    try:
        roles = baseline.roles.again_on([], folder / "extra.cil", folder)
        path = roles.link(folder)
    except (InputError, ProgramFailed) as error:
        event(f"not built: {type(error).__name__}")
        return
    result = {role.role: role for role in roles.verify(path).roles}
    note(text)
    failed = sorted({f.claim for f in result["nonet"].findings})
    event(f"nonet fails {' '.join(failed)}" if failed else "nonet holds")
    note(str([(f.claim, f.message) for role in result.values() for f in role.findings][:3]))
    policy = Policy(path)
    with Judge(path) as judge:
        mine = outgoing(judge, "lxc_nonet_t", policy, policy.classes)
        if result["nonet"].holds:
            assert not more(network_part(judge, policy, mine), {})
            assert _lost(judge, policy, mine) == []


def _lost(judge: Judge, policy: Policy, mine: Vectors) -> list[tuple[str, str]]:
    """What the parent may do to anything but a container, that is no network, and nonet may not."""
    theirs = outgoing(judge, "container_t", policy, policy.classes)
    network = network_part(judge, policy, theirs)
    # As good as becoming another domain (hooks.c: selinux_ptrace_access_check, selinux_uring_override_creds).
    leading = {"process": judge.bits("process", ("transition", "dyntransition", "ptrace"))}
    leading["io_uring"] = judge.bits("io_uring", ("override_creds",))
    leading["kernel_service"] = judge.bits("kernel_service", ("use_as_override",))
    sysctl = judge.bits("file", ("write", "append"))
    lost = []
    for (name, tclass), bits in theirs.items():
        if name == "container_t" or name.startswith("lxc_"):
            continue
        wanted = bits & ~network.get((name, tclass), 0) & ~leading.get(tclass, 0)
        if tclass == "file" and name.startswith("sysctl_net"):
            wanted &= ~sysctl
        if wanted & ~mine[name, tclass]:
            lost.append((name, tclass))
    return lost


def test_the_shipped_roles_are_the_ones_that_are_tried(reference_roles: BuiltRoles) -> None:
    assert tuple(sorted(file.role.name for file in reference_roles.prepared.files)) == ROLES
    assert packaged("roles") == reference_roles.prepared.files[0].path.parent
