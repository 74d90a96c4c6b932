"""Real kernels: the shipped roles on each base, every port, both witnesses. No answer may differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase
from commandline import Place, as_another_user, public_place

from labelgen import base as bases
from labelgen.policy import Policy
from labelgen.programs import ProgramMissing
from labelgen.proving import Matter
from labelgen.witness import kernels, machine, separation
from labelgen.witness import prove as proofs
from labelgen.witness.answers import WitnessError
from labelgen.witness.kernels import Kernel
from labelgen.witness.plan import DEFAULT, HARDENED, Profile
from labelgen.witness.prove import Proof, prove

pytestmark = pytest.mark.kernel

# The fourth that conftest.py knows, a binary, is linked of the same modules.
BASES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("reference", "debian_modules")]


def _context(role: str) -> str:
    return f"system_u:system_r:lxc_{role}_t:s0:c1,c2"


def _kernel(kind: str) -> Kernel:
    try:
        (kernel,) = machine.available((kind,))
    except ProgramMissing as error:
        pytest.skip(f"{error.message}; {error.hint}")
    return kernel


def _edges(
    policy: Path, *domains: str, kind: str = "uml", profile: Profile = HARDENED, denials: bool = False
) -> proofs.Testimony:
    """What the kernel says of the domains, of the first and the last port of each label alone, which is quick."""
    (testimony,) = prove(
        policy, domains, kernels_=[_kernel(kind)], profiles=[profile], every_port=False, denials=denials
    ).testimonies
    return testimony


def _differing(proof: Proof) -> list[str]:
    return [str(finding) for testimony in proof.testimonies for finding in testimony.findings]


# -- everything


@pytest.mark.parametrize("kind", ["uml", "qemu"])
@pytest.mark.parametrize("base", BASES, indirect=True)
def test_no_answer_differs(kind: str, on_base: OnBase) -> None:
    matter = Matter.of(on_base.policy, [file.role for file in on_base.roles.prepared.files])
    proof = prove(
        on_base.path,
        matter.domains,
        expected=on_base.policy,
        kernels_=[_kernel(kind)],
        profiles=[HARDENED],
        pairs=matter.pairs,
        reaching=matter.reaching,
        runtimes=matter.runtimes,
    )
    assert _differing(proof) == []
    assert proof.holds and proof.compared > 4 * 3 * 65535
    assert len(matter.domains) == 4 and matter.runtimes
    _assert_kept_apart(proof.testimonies[0])


# mcs constraints, of refpolicy as of the reference base, name signal, sigkill and sigstop: whether a process is
# there may be asked, and a parent be told of the end of a child.
HARMLESS = ("send signull to", "send sigchld to")


def _assert_kept_apart(testimony: proofs.Testimony) -> None:
    """What a role tried on a process of its own in other categories, and on one of another role in the same, was
    refused; between equals each group came to something, but for what the base refuses even there."""
    for role in ("web", "dns", "ftp", "nonet"):
        (domain,) = (found for found in testimony.domains if found.context == _context(role))
        assert {attempt.group for attempt in domain.attempts} == {*separation.GROUPS, "userns", "packets"}
        others = [a for a in domain.attempts if a.group not in ("files", "message queues", "userns", "packets")]
        on_equals = [a for a in others if f" {domain.context}#" in a.trial]
        came = [a.trial for a in others if a.answer == "ok" and a not in on_equals]
        assert [trial for trial in came if not trial.startswith(HARMLESS)] == []
        assert {a.group for a in on_equals if a.answer == "ok"} >= {"signals", "/proc", "unix sockets", "IPC", "keys"}
    _assert_files(testimony)


def _assert_files(testimony: proofs.Testimony) -> None:
    """A role reads or writes its own private files as it declares, and no other role's with the same categories."""
    came: dict[str, set[str]] = {}
    for domain in testimony.domains:
        for attempt in domain.attempts:
            if attempt.group == "files" and " files " in attempt.trial and attempt.answer == "ok":
                what, _, owner = attempt.trial.partition(" of files system_u:object_r:")
                came.setdefault(f"{domain.context.split(':')[2]} on {owner.split(':')[0]}", set()).add(what)
    own = {"web": "content", "dns": "data", "ftp": "data"}
    between_roles = {key for key in came if key.startswith("lxc_")}
    assert between_roles == {f"lxc_{role}_t on lxc_{role}_{kind}_t" for role, kind in own.items()}
    reads, writes = came["lxc_web_t on lxc_web_content_t"], came["lxc_ftp_t on lxc_ftp_data_t"]
    assert "open to read a file" in reads and "open to write a file" not in reads and "remove a file" not in reads
    assert writes >= {"open to read a file", "open to write a file", "remove a file", "link a file"}


# -- the kernel's own sysctls, other domains, policies of others


@pytest.fixture(scope="module")
def linked(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles on the reference base, linked."""
    return reference_roles.link(tmp_path_factory.mktemp("linked"))


def test_what_is_never_checked_is_measured(linked: Path) -> None:
    testimony = _edges(linked, _context("web"), profile=DEFAULT)
    assert [str(finding) for finding in testimony.findings] == []
    (let_by,) = (found.ranges for found in testimony.domains[0].ports if found.trial == "bind tcp ipv4 0.0.0.0")
    assert {low for low, high in let_by if high < 32768} >= {80, 443}
    assert any(low >= 32768 for low, _ in let_by)
    assert any("32768 to 60999" in limit for limit in testimony.limits)


# Domains of Debian's own policy: daemons, clients, users of capabilities.
DEBIANS = (
    "NetworkManager_t chronyd_t container_t cupsd_t dhcpc_t httpd_t init_t mysqld_t named_t ntpd_t ping_t "
    "postfix_master_t squid_t sshd_t syslogd_t system_dbusd_t"
)


@pytest.mark.xdist_group("debian_modules")
def test_sixteen_domains_of_debians_own_policy(debian_binary: Path) -> None:
    domains = [f"system_u:object_r:{name}:s0" for name in DEBIANS.split()]
    testimony = _edges(debian_binary, *domains)
    assert [str(finding) for finding in testimony.findings] == []
    assert len(testimony.domains) == 16 and testimony.compared > 16 * 10_000


# -- packets

# What is asked of the kernel's own sockets and of what has no label, and what lets one role of the four, and an engine,
# get packets; the engine leaves the role without network a socket to use.
CHECKED = """
(policycap always_check_network)
(allow unlabeled_t lo_netif_t (netif (ingress)))
(allow unlabeled_t lo_node_t (node (recvfrom)))
(allow kernel_t unlabeled_t (packet (send recv)))
(allow kernel_t unlabeled_t (peer (recv)))
(allow kernel_t lo_netif_t (netif (egress)))
(allow kernel_t lo_node_t (node (sendto)))
(allow container_t unlabeled_t (peer (recv)))
(allow lxc_dns_t unlabeled_t (peer (recv)))
(allow container_engine_t unlabeled_t (peer (recv)))
(allow container_engine_t unlabeled_t (packet (send recv)))
(allow container_engine_t lo_node_t (node (sendto)))
(allow container_t container_engine_t (udp_socket (read write)))
(allow lxc_nonet_t container_engine_t (udp_socket (read write)))
"""
ENGINE = "system_u:system_r:container_engine_t:s0"


def _packets(testimony: proofs.Testimony, role: str) -> dict[str, str]:
    (domain,) = (found for found in testimony.domains if found.context == _context(role))
    return {attempt.trial: attempt.answer for attempt in domain.attempts if attempt.group == "packets"}


@pytest.mark.parametrize("kind", ["uml", "qemu"])
def test_a_policy_that_always_checks_packets(kind: str, reference_roles: BuiltRoles, tmp_path: Path) -> None:
    extra = tmp_path / "checked.cil"
    extra.write_text(CHECKED)
    no_egress = (
        "(allow lxc_net_domain netif_type (netif (egress ingress)))",
        "(allow lxc_dns_t lo_netif_t (netif (egress)))",
    )
    policy = reference_roles.link(tmp_path, [extra], {"lxc_base": [no_egress]})
    contexts = [_context(role) for role in ("web", "dns", "ftp", "nonet")]
    proof = prove(policy, contexts, kernels_=[_kernel(kind)], profiles=[HARDENED], runtimes=[ENGINE], every_port=False)
    assert _differing(proof) == []
    (testimony,) = proof.testimonies
    assert not [limit for limit in testimony.limits if "by itself" in limit and "lacks" not in limit]
    for ip in ("ipv4", "ipv6"):
        dns, ftp, nonet = (_packets(testimony, role) for role in ("dns", "ftp", "nonet"))
        assert (dns[f"exchange udp {ip}"], dns[f"dial tcp {ip} 53"], dns[f"serve tcp {ip} 53"]) == ("ok", "ok", "ok")
        assert ftp[f"serve tcp {ip} 21"] == "EAGAIN at call 7"
        assert nonet[f"exchange udp {ip}"] == "EACCES at call 1"
    assert nonet[f"exchange udp ipv4 on a socket of {ENGINE}"] == "ok"


@pytest.mark.parametrize("base", [BASES[1]], indirect=True)
def test_debians_containers_get_no_packet_through_where_packets_are_always_checked(
    on_base: OnBase, tmp_path: Path
) -> None:
    """The policy grants them nothing on packets without label; the kernel says so to who sends, and the verdict before
    that."""
    extra = tmp_path / "always.cil"
    extra.write_text("(policycap always_check_network)\n")
    policy = on_base.roles.link(tmp_path, [extra])
    testimony = _edges(policy, *(_context(role) for role in ("dns", "nonet")), "system_u:system_r:container_t:s0:c1,c2")
    assert [str(finding) for finding in testimony.findings] == []
    assert _packets(testimony, "dns")["exchange udp ipv4"] == "ECONNREFUSED at call 2"
    (dns,) = (role for role in on_base.roles.verify(policy).roles if role.role == "dns")
    assert any("always_check_network" in limit and "unlabeled_t:packet send" in limit for limit in dns.limits)
    assert _packets(testimony, "nonet")["exchange udp ipv4"] == "EACCES at call 1"


def test_packets_are_not_checked_otherwise(linked: Path) -> None:
    packets = _packets(_edges(linked, _context("dns")), "dns")
    assert packets["exchange udp ipv4"] == packets["dial tcp ipv6 53"] == packets["serve tcp ipv4 53"] == "ok"


# -- what differs


def test_a_kernel_with_other_rules_is_found_out(linked: Path, reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """The policy that is booted has a rule more and a rule fewer than the one that is expected."""
    more = tmp_path / "more.cil"
    more.write_text(
        "(allow lxc_ftp_t smtp_port_t (tcp_socket (name_connect)))\n(allow lxc_ftp_t self (tcp_socket (connect)))\n"
    )
    fewer = {"lxc_web": [("(allow lxc_web_t http_port_t (tcp_socket (name_bind)))", "")]}
    booted = reference_roles.link(tmp_path, [more], fewer)
    proof = prove(
        booted,
        [_context("web"), _context("ftp")],
        expected=Policy(linked),
        kernels_=[_kernel("uml")],
        profiles=[HARDENED],
        every_port=False,
    )
    found = {
        (finding.domain, finding.trial, finding.low, finding.kernel, finding.expected)
        for finding in proof.testimonies[0].findings
    }
    assert not proof.holds
    assert (_context("ftp"), "connect tcp ipv4 192.0.2.1", 25, "ENETUNREACH at call 2", "EACCES at call 2") in found
    assert (_context("web"), "bind tcp ipv4 0.0.0.0", 80, "EACCES at call 2", "ok") in found
    rules = {finding.rule for finding in proof.testimonies[0].findings if finding.domain == _context("ftp")}
    assert any("tcp_socket connect" in rule for rule in rules)


def test_a_role_without_network_opens_unix_sockets_alone(linked: Path) -> None:
    (domain,) = _edges(linked, _context("nonet")).domains
    assert domain.ports == ()
    assert {ranges.trial.split(" type")[0] for ranges in domain.sockets} == {"socket family 1"}


def test_the_kernels_own_words_are_kept_on_request(linked: Path) -> None:
    context = _context("nonet")
    denials = _edges(linked, context, denials=True).denials
    assert any("{ create }" in line and "tclass=tcp_socket" in line for line in denials)
    assert all(f"scontext={context} " in line for line in denials)


def test_no_avc_line_is_lost_though_there_are_thousands(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One boot tries everything, and is refused as often as it can be. What is tried last is among the lines, and a
    second boot prints as many."""
    monkeypatch.setattr(machine, "processors", lambda: [0])
    first, second = (_edges(linked, _context("nonet"), denials=True) for _ in range(2))
    assert len(set(first.denials)) == len(first.denials) == len(second.denials)
    by_process: dict[str, set[str]] = {}
    for line in first.denials:
        by_process.setdefault(line.split("pid=")[1].split()[0], set()).add(line.split("tclass=")[1].split()[0])
    refused = {"tcp_socket", "udp_socket", "sctp_socket", "packet_socket", "netlink_route_socket", "capability"}
    assert any(classes >= refused for classes in by_process.values())
    assert len(by_process) >= 3  # by itself, in a user namespace, among those who send packets


# What kernel_t is besides a domain.
PRIVILEGES = (
    "unconfined_domain_type kern_unconfined selinux_unconfined_type devices_unconfined_type files_unconfined_type "
    "filesystem_unconfined_type corenet_unconfined_type can_load_kernmodule"
)


def test_the_kernels_own_domain_need_not_be_privileged(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    """On Fedora it may neither turn enforcing off nor look at other processes."""
    edits = {"base": [(f"(typeattributeset {name} (kernel_t))", "") for name in PRIVILEGES.split()]}
    policy = Policy(reference_roles.link(tmp_path, edits=edits))
    may = {(rule.tclass, perm) for rule in policy.rules_from("kernel_t") for perm in rule.perms}
    assert ("security", "setenforce") not in may and ("process", "getattr") not in may
    matter = Matter.of(policy, [file.role for file in reference_roles.prepared.files[:2]])
    proof = prove(
        policy.path,
        matter.domains,
        expected=policy,
        kernels_=[_kernel("uml")],
        profiles=[HARDENED],
        pairs=matter.pairs,
        runtimes=matter.runtimes,
        every_port=False,
        denials=True,
    )
    assert _differing(proof) == [] and proof.holds


def test_a_kernel_without_selinux_is_an_error(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kernel("uml")
    monkeypatch.setattr(machine, "COMMON", tuple(word.replace("lsm=selinux", "lsm=") for word in machine.COMMON))
    with pytest.raises(WitnessError, match="without SELinux"):
        _edges(linked, _context("nonet"))


def test_modules_come_after_those_they_depend_on() -> None:
    kernel = _kernel("uml")
    order = list(kernels.modules(kernel, ["sctp"]))
    assert order[-1] == "sctp" and order.index("ipv6") < order.index("sctp")


# -- the command


@pytest.fixture
def place() -> Iterator[Place]:
    with public_place() as place:
        yield place


def _prove(place: Place, *arguments: str, prefix: Sequence[str] = ()) -> dict[str, object]:
    outcome = place.run("prove", *arguments, "--json", prefix=prefix, timeout=280)
    assert outcome.status == 0, outcome.stderr
    outcome.changed_nothing()
    found: dict[str, object] = json.loads(outcome.stdout)
    return found


def test_the_reference_base_itself_boots_without_root(place: Place) -> None:
    """Its own container type, under its old name, and an engine, by another user than root, with an image given."""
    image = _kernel("uml").image
    policy = place.folder / "policy"
    policy.write_bytes(bases.open_base(bases.locate("reference")).policy.read_bytes())
    domains = ("--domain", "svirt_lxc_net_t", "--domain", "container_engine_t")
    found = _prove(place, "--policy", "policy", *domains, "--kernel", str(image), "--denials", prefix=as_another_user())
    assert found["holds"] is True and found["differing"] == 0
    assert isinstance(found["testimonies"], list)
    assert [testimony["profile"] for testimony in found["testimonies"]] == ["default", "hardened"]
    first = found["testimonies"][0]
    assert {domain["context"].split(":")[2] for domain in first["domains"]} == {"container_t", "container_engine_t"}
    assert any("avc:" in line and ":container_t:" in line for line in first["denials"])
