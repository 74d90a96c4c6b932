"""Policies that know more than this machine's libraries: they are refused by name, and end no process.

Linux 6.13 and libsepol 3.8 brought extended permissions on netlink messages (policy capability netlink_xperm). Where
the linker here knows nothing newer, a policy is made and its bytes are changed.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from labelgen import base as bases
from labelgen import capabilities
from labelgen.errors import LabelgenError
from labelgen.policy import Policy

REFERENCE = Path(bases.__file__).parent / "reference"
NETLINK_XPERM = 9
# avtab.h: AVTAB_XPERMS_ALLOWED, AVTAB_XPERMS_IOCTLFUNCTION, the driver, then the bits of its commands.
IOCTL = struct.pack("<HBB8I", 0x0100, 1, 0x89, 1 << 0x12, *[0] * 7)
NLMSG = struct.pack("<HBB8I", 0x0100, 3, 0x89, 1 << 0x12, *[0] * 7)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The reference, with a filter of one ioctl command of netlink sockets."""
    folder = tmp_path_factory.mktemp("linked")
    (folder / "filter.cil").write_text("(allowx container_t self (ioctl netlink_route_socket (0x8912)))\n")
    bases.link([*sorted(REFERENCE.glob("*.cil")), folder / "filter.cil"], True, folder / "policy")
    return (folder / "policy").read_bytes()


def with_capability(content: bytes, number: int) -> bytes:
    known = sum(1 << one for one in capabilities.numbers(content))
    pattern = struct.pack("<3IIQ", 64, 64, 1, 0, known)
    assert content.count(pattern) == 1
    return content.replace(pattern, struct.pack("<3IIQ", 64, 64, 1, 0, known | 1 << number))


def test_the_capabilities_of_a_policy_are_those_that_setools_reads(linked: bytes, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(linked)
    names = (
        *("network_peer_controls", "open_perms", "extended_socket_class", "always_check_network", "cgroup_seclabel"),
        *("nnp_nosuid_transition", "genfs_seclabel_symlinks", "ioctl_skip_cloexec"),
    )
    assert len(names) == capabilities.KNOWN_TO_ALL
    assert {names[number] for number in capabilities.numbers(linked)} == Policy(tmp_path / "policy").polcaps


def test_what_is_no_policy_has_no_capabilities(linked: bytes) -> None:
    assert [capabilities.numbers(content) for content in (b"", b"x" * 50, linked[:40])] == [set(), set(), set()]


@pytest.mark.skipif(capabilities._is_known(NETLINK_XPERM), reason="libsepol here knows netlink_xperm")
@pytest.mark.parametrize("number", [NETLINK_XPERM, 60])
def test_a_policy_with_a_capability_that_is_not_known_is_refused(number: int, linked: bytes, tmp_path: Path) -> None:
    """setools 4.4 would end the process, and checkpolicy writes half a policy."""
    path = tmp_path / "policy.33"
    path.write_bytes(with_capability(linked, number))
    name = {NETLINK_XPERM: "netlink_xperm"}.get(number, "of number 60")
    for read in (Policy, lambda path: bases.open_base(bases.locate(str(path)))):
        with pytest.raises(LabelgenError, match=rf"policy\.33: .*does not know .* {name}$"):
            read(path)


@pytest.mark.skipif(capabilities._is_known(NETLINK_XPERM), reason="setools may know permissions of netlink messages")
def test_a_policy_with_permissions_of_netlink_messages_is_refused(linked: bytes, tmp_path: Path) -> None:
    assert linked.count(IOCTL) == 1
    path = tmp_path / "policy.33"
    path.write_bytes(linked.replace(IOCTL, NLMSG))
    with pytest.raises(LabelgenError, match="setools cannot read this policy: Unknown extended permission: 3"):
        Policy(path)
    with pytest.raises(LabelgenError, match="Failed to generate extended permission"):
        bases.open_base(bases.locate(str(path)))


@pytest.mark.skipif(capabilities._is_known(NETLINK_XPERM), reason="the linker here knows netlink_xperm")
@pytest.mark.parametrize(
    "text", ["(policycap netlink_xperm)", "(allowx container_t self (nlmsg netlink_route_socket (26)))"]
)
def test_a_module_that_filters_netlink_messages_is_refused(text: str, tmp_path: Path) -> None:
    for path in REFERENCE.glob("*.cil"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "newer.cil").write_text(text + "\n")
    with pytest.raises(LabelgenError, match="do not link"):
        bases.open_base(bases.locate(str(tmp_path)))
