"""Real kernels: the shipped roles on each base, every port, both witnesses. No answer may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase

from labelgen.errors import MachineError
from labelgen.witness import judge, kernels, machine
from labelgen.witness.facts import PortLabel
from labelgen.witness.kernels import Kernel
from labelgen.witness.plan import HARDENED, Pair
from labelgen.witness.prove import Proof, prove

pytestmark = pytest.mark.kernel

ROLES = ("web", "dns", "ftp", "nonet")
FILES = "system_u:object_r:container_file_t"


def _context(role: str, categories: str = "c1,c2") -> str:
    return f"system_u:system_r:lxc_{role}_t:s0:{categories}"


def _kernel(kind: str) -> Kernel:
    try:
        (kernel,) = machine.available((kind,))
    except MachineError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    return kernel


# Two of one role in different categories; two roles in the same; the same in the same, which is the control.
PAIRS = (
    Pair(_context("web"), _context("web", "c3,c4"), f"{FILES}:s0:c3,c4"),
    Pair(_context("web"), _context("dns"), f"{FILES}:s0:c1,c2"),
    Pair(_context("web"), _context("web"), f"{FILES}:s0:c1,c2"),
)


def _prove(kind: str, policy: Path, roles: Sequence[str] = ROLES, pairs: Sequence[Pair] = ()) -> Proof:
    return prove(policy, [_context(role) for role in roles], kernels_=[_kernel(kind)], profiles=[HARDENED], pairs=pairs)


@pytest.mark.parametrize("kind", ["uml", "qemu"])
def test_no_answer_differs(kind: str, on_base: OnBase) -> None:
    proof = _prove(kind, on_base.path, pairs=PAIRS)
    assert [str(finding) for finding in proof.testimonies[0].findings] == []
    assert proof.holds and proof.compared > 900_000


@pytest.fixture(scope="module")
def linked(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles on the reference base, linked."""
    return reference_roles.link(tmp_path_factory.mktemp("linked"))


def test_what_differs_is_found_with_its_rule(linked: Path) -> None:
    facts = judge.read(linked)
    first, *rest = (port for port in facts.ports if port.protocol == 6 and port.low <= 80 <= port.high)
    moved = PortLabel(6, 80, 80, rest[-1].context)
    changed = replace(facts, ports=(moved, *facts.ports))
    context = _context("web")
    proof = prove(linked, [context], facts=changed, kernels_=[_kernel("uml")], profiles=[HARDENED])
    found = {(finding.trial, finding.low, finding.kernel) for finding in proof.testimonies[0].findings}
    assert first.context != moved.context and not proof.holds
    assert ("bind tcp ipv4 0.0.0.0", 80, "ok") in found and {low for _, low, _ in found} == {80}
    assert all("name_bind" in finding.rule for finding in proof.testimonies[0].findings)


def test_a_role_without_network_opens_unix_sockets_alone(linked: Path) -> None:
    (domain,) = _prove("uml", linked, ["nonet"]).testimonies[0].domains
    assert domain.ports == ()
    assert {ranges.trial.split(" type")[0] for ranges in domain.sockets} == {"socket family 1"}


def test_the_kernels_own_words_are_kept_on_request(linked: Path) -> None:
    context = _context("nonet")
    proof = prove(linked, [context], kernels_=[_kernel("uml")], profiles=[HARDENED], denials=True)
    denials = proof.testimonies[0].denials
    assert any("{ create }" in line and "tclass=tcp_socket" in line for line in denials)
    assert all(f"scontext={context} " in line for line in denials)


def test_a_kernel_without_selinux_is_an_error(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = _kernel("uml")
    monkeypatch.setattr(machine, "COMMON", tuple(word.replace("lsm=selinux", "lsm=") for word in machine.COMMON))
    with pytest.raises(MachineError, match="without SELinux"):
        prove(linked, [_context("nonet")], kernels_=[kernel], profiles=[HARDENED])


def test_modules_come_after_those_they_depend_on() -> None:
    kernel = _kernel("uml")
    order = list(kernels.modules(kernel, ["sctp"]))
    assert order[-1] == "sctp" and order.index("ipv6") < order.index("sctp")
