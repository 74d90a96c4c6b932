"""After an update of a base: how built roles stand on it, by the command line, against what they were built for."""

from __future__ import annotations

import ipaddress
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labelgen import base as bases
from labelgen import build
from labelgen.commands.verify import command
from labelgen.errors import InputError
from labelgen.shipped import packaged

PORT = "(portcon tcp {} (system_u object_r http_port_t ((s0) (s0))))"
NODE = "(system_u object_r node_t ((s0) (s0)))"
REFERENCE = Path(bases.__file__).parent / "reference"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles, built on the reference."""
    folder = tmp_path_factory.mktemp("built") / "build"
    build.build(build.Inputs(packaged("roles"), (), "reference", packaged("templates")), folder, lambda _: None)
    return folder


def verify(built: Path, base: Path | str) -> tuple[int, Any]:
    result = CliRunner().invoke(command, ["--build", str(built), "--base", str(base), "--json"], standalone_mode=False)
    assert result.exception is None, result.exception
    return int(result.return_value), json.loads(result.stdout)


def changed(folder: Path, old: str, new: str, more: str = "") -> Path:
    """The reference with a change."""
    shutil.copytree(REFERENCE, folder)
    found = [file for file in folder.glob("*.cil") if old in file.read_text()]
    assert found or not old
    for file in found if old else ():
        file.write_text(file.read_text().replace(old, new))
    (folder / "update.cil").write_text(more or "; nothing\n")
    return folder


def test_the_same_base_changes_nothing(built: Path) -> None:
    status, told = verify(built, "reference")
    assert (status, told["same_base"], told["changes"]) == (0, True, [])
    assert told["states"] == dict.fromkeys(("dns", "ftp", "nonet", "web"), "same")


def test_an_update_about_something_else_leaves_the_roles_the_same(built: Path, tmp_path: Path) -> None:
    status, told = verify(built, changed(tmp_path / "base", "", "", "(type update_t)\n(roletype object_r update_t)\n"))
    assert (status, told["same_base"], told["changes"]) == (0, False, [])
    assert set(told["states"].values()) == {"same"}


def test_a_port_that_joins_a_declared_one_makes_the_role_wider(built: Path, tmp_path: Path) -> None:
    base = changed(tmp_path / "base", PORT.format(81), f"{PORT.format(81)}\n{PORT.format(8888)}")
    status, told = verify(built, base)
    assert (status, told["states"]) == (0, {"dns": "same", "ftp": "same", "nonet": "same", "web": "wider"})
    assert told["changes"] == [{"role": "web", "sign": "+", "what": "neighbours: bind tcp/8888"}]


def test_a_port_that_leaves_makes_the_role_narrower(built: Path, tmp_path: Path) -> None:
    status, told = verify(built, changed(tmp_path / "base", PORT.format(81), ""))
    assert (status, told["states"]["web"], told["states"]["dns"]) == (0, "narrower", "same")
    assert told["changes"] == [{"role": "web", "sign": "-", "what": "neighbours: bind tcp/81"}]


def test_a_declared_port_that_leaves_breaks_the_role(built: Path, tmp_path: Path) -> None:
    status, told = verify(built, changed(tmp_path / "base", PORT.format(443), ""))
    assert (status, told["states"]["web"], told["states"]["ftp"]) == (1, "broken", "same")
    (web,) = (role for role in told["verdict"]["roles"] if role["role"] == "web")
    assert not web["claims"]["able"]


def test_network_by_way_of_an_attribute_makes_roles_wider_and_a_claim_fail(built: Path, tmp_path: Path) -> None:
    rule = "(allow mcs_constrained_type self (udp_socket (create connect read write)))\n"
    status, told = verify(built, changed(tmp_path / "base", "", "", rule))
    assert (status, told["states"]["nonet"], told["states"]["web"]) == (1, "wider", "wider")
    assert {"role": "nonet", "sign": "+", "what": "send udp to any port"} in told["changes"]
    assert all(not role["claims"]["network"] for role in told["verdict"]["roles"] if role["role"] != "dns")


@pytest.mark.parametrize("key", ["unix_stream_socket connectto", "unix_dgram_socket sendto"])
def test_a_unix_socket_that_roles_may_talk_to_now_makes_them_wider(built: Path, tmp_path: Path, key: str) -> None:
    """Who is behind it may act on the network for them. The parent may, too, so that every claim holds."""
    rule = "(type update_t)\n(roletype object_r update_t)\n(allow mcs_constrained_type update_t ({} ({})))\n"
    base = changed(tmp_path / "base", "", "", rule.format(*key.split()))
    status, told = verify(built, base)
    assert (status, set(told["states"].values())) == (0, {"wider"})
    what = f"talk to the unix sockets of update_t ({key})"
    assert told["changes"] == [{"role": r, "sign": "+", "what": what} for r in ("dns", "ftp", "nonet", "web")]


def test_a_unix_socket_that_roles_may_no_longer_talk_to_makes_them_narrower(tmp_path: Path) -> None:
    rule = "(allow mcs_constrained_type named_t (unix_stream_socket (connectto)))\n"
    before = changed(tmp_path / "before", "", "", rule)
    inputs = build.Inputs(packaged("roles"), ("nonet",), str(before), packaged("templates"))
    build.build(inputs, tmp_path / "build", lambda _: None)
    status, told = verify(tmp_path / "build", "reference")
    assert (status, told["states"]) == (0, {"nonet": "narrower"})
    assert [change["what"] for change in told["changes"]] == [
        "talk to the unix sockets of named_t (unix_stream_socket connectto)"
    ]


LABEL = "(system_u object_r update_t ((s0) (s0)))"
NEW_TYPE = "(type update_t)\n(roletype object_r update_t)\n"


def _by_role(told: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for change in told["changes"]:
        found.setdefault(change["role"], []).append(f"{change['sign']} {change['what']}")
    return found


def test_addresses_that_get_a_label_of_their_own_are_gone_for_those_who_may_not_bind_it(
    built: Path, tmp_path: Path
) -> None:
    """The rules are the same, and so are their targets. A longer mask comes first, so that one address stays."""
    nodes = f"(nodecon (10.0.0.0) (255.0.0.0) {LABEL})\n(nodecon (10.0.0.1) (255.255.255.255) {NODE})\n"
    status, told = verify(built, changed(tmp_path / "base", "", "", NEW_TYPE + nodes))
    assert (status, told["states"]) == (0, {**dict.fromkeys(("dns", "ftp", "web"), "narrower"), "nonet": "same"})
    gone = f"10.0.0.0, {', '.join(str(net) for net in _all_but_one('10.0.0.0/8', '10.0.0.1'))}"
    bound = [change for change in _by_role(told)["web"] if "node_bind" in change]
    assert bound == [f"- tcp_socket node_bind on {gone}"]


def _all_but_one(network: str, address: str) -> list[ipaddress.IPv4Network]:
    """What of the network is above the address."""
    rest = ipaddress.IPv4Network(network).address_exclude(ipaddress.IPv4Network(address))
    return sorted(net for net in rest if int(net.network_address) > int(ipaddress.IPv4Address(address)))


def test_addresses_that_lose_their_label_are_won_by_those_who_may_bind_the_rest(tmp_path: Path) -> None:
    before = changed(tmp_path / "before", "", "", f"{NEW_TYPE}(nodecon (2001:db8::) (ffff:ffff::) {LABEL})\n")
    inputs = build.Inputs(packaged("roles"), ("web", "nonet"), str(before), packaged("templates"))
    build.build(inputs, tmp_path / "build", lambda _: None)
    status, told = verify(tmp_path / "build", "reference")
    assert (status, told["states"]) == (0, {"nonet": "same", "web": "wider"})
    assert "+ tcp_socket node_bind on 2001:db8::/32" in _by_role(told)["web"]


def test_an_interface_that_gets_a_label_of_its_own_is_gone(built: Path, tmp_path: Path) -> None:
    base = changed(tmp_path / "base", "", "", f"{NEW_TYPE}(netifcon eth7 {LABEL} {LABEL})\n")
    status, told = verify(built, base)
    assert (status, told["states"]) == (0, {**dict.fromkeys(("dns", "ftp", "web"), "narrower"), "nonet": "same"})
    assert _by_role(told)["web"] == [f"- netif {perm} on eth7" for perm in ("egress", "ingress")]


def test_a_permission_on_one_target_more_makes_a_role_wider(built: Path, tmp_path: Path) -> None:
    """It has the same permission on others. Who has no network is told to have some now."""
    rule = f"{NEW_TYPE}(allow mcs_constrained_type update_t (peer (recv)))\n"
    status, told = verify(built, changed(tmp_path / "base", "", "", rule))
    assert (status, set(told["states"].values())) == (1, {"wider"})
    assert _by_role(told)["web"] == ["+ peer recv on update_t"]


@pytest.mark.parametrize(
    ("rule", "state", "changes"),
    [
        ("(allowx mcs_constrained_type self (ioctl udp_socket (range 0x8a00 0x8aff)))", "wider", ["+ 0x8a00-0x8aff"]),
        ("(allowx mcs_constrained_type self (ioctl udp_socket (0x8b33)))", "wider", ["+ 0x8b33"]),
        ("(allowx mcs_constrained_type self (ioctl udp_socket (0x8900)))", "same", []),
    ],
)
def test_a_command_that_a_filter_leaves_now_makes_a_role_wider(
    built: Path, tmp_path: Path, rule: str, state: str, changes: list[str]
) -> None:
    """The parent's filter leaves 0x8900 to 0x89ff and some terminal commands of a udp_socket; no other socket has one
    here, nor has a role without UDP."""
    status, told = verify(built, changed(tmp_path / "base", "", "", f"{rule}\n"))
    assert (status, told["states"]["dns"]) == (0, state)
    found = _by_role(told).get("dns", [])
    assert [change.replace("udp_socket ioctl ", "") for change in found] == changes
    assert {told["states"][role] for role in ("nonet", "web")} == {"same"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("(allow mcs_constrained_type nfs_t (filesystem (mount)))", "file systems of the network (nfs_t)"),
        ("(allow mcs_constrained_type self (capability (sys_module)))", "load kernel modules"),
    ],
    ids=["mounts", "modules"],
)
def test_what_the_host_may_give_a_container_now_makes_it_wider(
    built: Path, tmp_path: Path, rule: str, words: str
) -> None:
    """No rule about the network says so, and the parent may it too, so that every claim holds."""
    status, told = verify(built, changed(tmp_path / "base", "", "", f"{rule}\n"))
    assert (status, set(told["states"].values())) == (0, {"wider"})
    (change,) = _by_role(told)["nonet"]
    assert change.startswith("+ a limit: ")
    assert words in change


def test_packets_that_are_no_longer_asked_about_make_a_role_wider(built: Path, tmp_path: Path) -> None:
    """With always_check_network this base lets none by (hooks.c, selinux_peerlbl_enabled)."""
    asking = changed(tmp_path / "asking", "", "", "(policycap always_check_network)\n")
    status, told = verify(built, asking)
    assert (status, told["states"]["web"], told["states"]["nonet"]) == (0, "narrower", "same")
    inputs = build.Inputs(packaged("roles"), ("web", "nonet"), str(asking), packaged("templates"))
    build.build(inputs, tmp_path / "build", lambda _: None)
    status, told = verify(tmp_path / "build", "reference")
    assert (status, told["states"]) == (0, {"nonet": "same", "web": "wider"})
    assert all(change.startswith("+ packets without a label") for change in _by_role(told)["web"])


def test_a_type_that_is_renamed_and_keeps_its_old_name_as_an_alias_changes_nothing(built: Path, tmp_path: Path) -> None:
    alias = "(typealias sssd_t)\n(typealiasactual sssd_t renamed_sssd_t)\n"
    base = changed(tmp_path / "base", "sssd_t", "renamed_sssd_t", alias)
    status, told = verify(built, base)
    assert (status, set(told["states"].values()), told["changes"]) == (0, {"same"}, [])


def test_a_constraint_that_is_gone_makes_roles_wider_and_one_more_narrower(built: Path, tmp_path: Path) -> None:
    """It is of peers, which no claim asks for."""
    refusing = changed(tmp_path / "refusing", "", "", "(constrain (peer (recv)) (neq t1 mcs_constrained_type))\n")
    status, told = verify(built, refusing)
    assert (status, told["states"]["web"], told["states"]["nonet"]) == (0, "narrower", "same")
    inputs = build.Inputs(packaged("roles"), ("web",), str(refusing), packaged("templates"))
    build.build(inputs, tmp_path / "build", lambda _: None)
    status, told = verify(tmp_path / "build", "reference")
    assert (status, told["states"]) == (0, {"web": "wider"})
    assert _by_role(told)["web"] == ["+ what this refuses: constrain peer recv (t1 != mcs_constrained_type);"]


def test_what_no_setting_of_the_booleans_brings_about_changes_nothing(built: Path, tmp_path: Path) -> None:
    rule = "(booleanif (and never (not never)) (true (allow mcs_constrained_type self (udp_socket (create)))))\n"
    status, told = verify(built, changed(tmp_path / "base", "", "", f"(boolean never false)\n{rule}"))
    assert (status, set(told["states"].values())) == (0, {"same"})


def test_without_extended_sockets_a_role_with_raw_sockets_opens_more_than_it_did(tmp_path: Path) -> None:
    roles = tmp_path / "roles"
    roles.mkdir()
    (roles / "ping.yaml").write_text("name: ping\nsummary: Pings.\nnetwork: {raw: true}\n")
    build.build(build.Inputs(roles, (), "reference", packaged("templates")), tmp_path / "build", lambda _: None)
    base = changed(tmp_path / "base", "(policycap extended_socket_class)", "")
    arguments = ["--build", str(tmp_path / "build"), "--base", str(base), "--roles", str(roles), "--json"]
    told = json.loads(CliRunner().invoke(command, arguments, standalone_mode=False).stdout)
    assert told["states"] == {"ping": "wider"}
    assert {"+ sctp_socket", "+ icmp_socket"} <= set(_by_role(told)["ping"])


def test_a_type_that_is_gone_breaks_every_role(built: Path, tmp_path: Path) -> None:
    """Their modules name it, and no longer link."""
    base = changed(tmp_path / "base", "userfaultfd_anon_inode_t", "update_anon_inode_t")
    status, told = verify(built, base)
    assert (status, set(told["states"].values())) == (1, {"broken"})
    assert "do not link" in told["error"]
    assert "It has no userfaultfd_anon_inode_t, which" in told["error"]
    assert told["verdict"] is None


def test_what_the_parent_lost_breaks_every_role(built: Path, tmp_path: Path) -> None:
    """They have more than it now: what it had was copied when they were built."""
    rule = "(allow container_domain self (io_uring (sqpoll cmd allowed)))"
    status, told = verify(built, changed(tmp_path / "base", rule, ""))
    assert (status, set(told["states"].values())) == (1, {"broken"})
    assert all(not role["claims"]["contained"] for role in told["verdict"]["roles"])


def test_a_base_without_containers_breaks_every_role(built: Path, tmp_path: Path) -> None:
    base = changed(tmp_path / "base", "svirt_lxc_net_t", "update_net_t")
    status, told = verify(built, base)
    assert (status, set(told["states"].values())) == (1, {"broken"})
    assert "svirt_lxc_net_t" in told["error"]


@pytest.mark.parametrize("name", ["lxc_web/lxc_web.pp", "lxc_web/lxc_web.cil"])
def test_a_module_that_was_changed_is_not_verified_as_it_was(built: Path, tmp_path: Path, name: str) -> None:
    """The package is what an administrator loads, and the CIL what is linked here."""
    shutil.copytree(built, tmp_path / "build")
    with (tmp_path / "build" / name).open("ab") as file:
        file.write(b"\n")
    arguments = ["--build", str(tmp_path / "build"), "--base", "reference"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, InputError)
    assert f"{name}: this file was changed after the build" in result.exception.message


def test_modules_are_not_held_against_what_a_binary_hides(built: Path) -> None:
    binary = bases.open_base(bases.locate("reference")).policy
    result = CliRunner().invoke(command, ["--build", str(built), "--base", str(binary)], standalone_mode=False)
    assert isinstance(result.exception, InputError)
    assert "known only as a binary, and the build was made for modules" in result.exception.message
