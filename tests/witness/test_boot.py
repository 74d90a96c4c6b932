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
        assert {attempt.group for attempt in domain.attempts} == {*separation.GROUPS, "userns"}
        others = [a for a in domain.attempts if a.group not in ("files", "message queues", "userns")]
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


def test_a_policy_that_always_checks_packets_is_told_as_a_limit(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    extra = tmp_path / "always.cil"
    extra.write_text("(policycap always_check_network)\n")
    policy = reference_roles.link(tmp_path, [extra])
    proof = prove(policy, [_context("web")], kernels_=[_kernel("uml")], profiles=[HARDENED], every_port=False)
    assert _differing(proof) == []
    assert any("always_check_network" in limit for limit in proof.limits)


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
