"""A verdict stays readable however many roles it is about."""

from __future__ import annotations

import pytest

from labelgen import printing
from labelgen.addresses import Addresses
from labelgen.claims import Finding
from labelgen.errors import listed
from labelgen.network import PROTOCOLS
from labelgen.ports import PortTable
from labelgen.reach import NetworkRules, Reach
from labelgen.verdict import Neighbour, RoleVerdict, Verdict

EVERYBODY = "The sun sets on every one."
NEIGHBOUR = Neighbour("bind", "tcp", "81, 9000", "http_port_t")


def role(name: str, *findings: Finding, limits: tuple[str, ...] = (), neighbours: int = 0) -> RoleVerdict:
    ports = PortTable({protocol: [] for protocol in PROTOCOLS})
    reach = Reach(f"lxc_{name}_t", Addresses({}, {}, ""), NetworkRules(), NetworkRules(), ports)
    said = (*limits, EVERYBODY)
    return RoleVerdict(name, f"lxc_{name}_t", f"Summary of {name}.", findings, (NEIGHBOUR,) * neighbours, said, reach)


def printed(capsys: pytest.CaptureFixture[str], *roles: RoleVerdict) -> list[str]:
    printing.verdict(Verdict(True, roles), "")
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", ["20", "100"])
def test_a_thousand_roles_take_few_lines_of_bounded_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    names = [f"a_rather_long_name_{number}" for number in range(1000)]
    lines = printed(capsys, *(role(name, limits=(["Odd.", "Even."][int(name[-1]) % 2],)) for name in names))
    assert max(map(len, lines)) <= 100
    if columns == "100":
        assert len(lines) < 400
    listed = "\n".join(lines)
    assert all(f"{name}," in listed or f"{name}\n" in listed for name in names)
    assert sum("Odd." in line for line in lines) == sum("Even." in line for line in lines) == 1
    assert sum("500 roles" in line for line in lines) == 2


def test_of_many_roles_one_that_fails_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    fails = role("odd", Finding("network", "odd", "it has packet sockets", ("allow odd;",)))
    lines = printed(capsys, *(role(f"role{number}") for number in range(50)), fails)
    assert any("lxc_odd_t" in line and "FAILS" in line for line in lines)
    assert any("it has packet sockets" in line for line in lines)
    assert any("allow odd;" in line for line in lines)
    assert not any("lxc_role7_t" in line for line in lines)
    assert any("50 roles" in line and "every claim holds" in line for line in lines)


def test_what_holds_on_a_binary_is_said_to_hold_on_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 50):
        printing.verdict(Verdict(False, tuple(role(f"role{each}") for each in range(number))), "")
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "every claim holds" in line and "what the binary shows" not in line] == []
        assert any("every claim holds on what the binary shows" in line for line in lines)


def test_a_message_lists_of_many_names_the_first() -> None:
    names = [f"role{number:02}" for number in range(14)]
    assert listed(names[:12]) == ", ".join(names[:12])
    assert listed(names) == ", ".join(names[:12]) + " and 2 more"


def test_few_roles_are_all_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, *(role(f"role{number}") for number in range(4)))
    assert all(any(f"lxc_role{number}_t" in line for line in lines) for number in range(4))


def test_a_neighbour_and_a_limit_are_told_once_with_the_roles_they_concern(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, role("web", neighbours=1), role("api", neighbours=1), role("dns"))
    (neighbour,) = [line for line in lines if "http_port_t" in line]
    assert "81, 9000" in neighbour and "web, api" in neighbour
    (limit,) = [line for line in lines if EVERYBODY in line]
    assert "every role" in limit


def test_a_single_role_is_named_beside_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    (limit,) = [line for line in printed(capsys, role("web")) if EVERYBODY in line]
    assert limit.split()[0] == "web"
