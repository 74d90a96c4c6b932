"""What closes the limits of a role: sysctls of the container's network namespace, and no network for who has none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from labelgen.errors import InputError
from labelgen.network import (
    FAST_OPEN_SYSCTL,
    FEW_LOCAL_PORTS,
    LOCAL_PORTS_SYSCTL,
    NO_FAST_OPEN,
    ONE_LOCAL_PORT,
    PROTOCOLS,
)
from labelgen.reach import Reach
from labelgen.role import Role

Range = tuple[int, int]


@dataclass(frozen=True)
class Closing:
    """What a container of one role is started with, besides its type.

    network: whether it may have one at all; sysctls: name -> value; connects: whether it starts connections.
    """

    network: bool
    sysctls: dict[str, str]
    connects: bool


def closing(protocols: Collection[str], connects: bool, others: bool = False) -> Closing:
    """What closes the limits of a role that opens sockets of these protocols, and `others` such as raw ones."""
    sysctls = {}
    if "tcp" in protocols:
        sysctls[FAST_OPEN_SYSCTL] = NO_FAST_OPEN
    if protocols:
        sysctls[LOCAL_PORTS_SYSCTL] = FEW_LOCAL_PORTS if connects else ONE_LOCAL_PORT
    return Closing(bool(protocols) or others, sysctls, connects)


def of_reach(reach: Reach) -> Closing:
    """What closes the limits of a domain, by the policy that holds it.

    A domain that may send UDP datagrams counts as one that starts connections: it may answer, or ask.
    """
    sockets = set(reach.sockets())
    protocols = {name for name, about in PROTOCOLS.items() if about.tclass in sockets}
    connects = "udp" in protocols or any(reach.connectable(name) for name in protocols)
    others = sockets - {about.tclass for about in PROTOCOLS.values()}
    return closing(protocols, connects, any(not name.startswith("unix_") for name in others))


def of_role(role: Role) -> Closing:
    """What closes the limits of a role, by its file."""
    network = role.declared_network
    if network is None:
        return closing((), False)
    connects = network.uses("udp") or any(network.reached(name) for name in PROTOCOLS)
    return closing(network.protocols, connects, True)


def local_ports(text: str) -> str:
    """The value of the sysctl for a range of local ports such as `40000-40999`. Raises InputError."""
    low, _, high = text.partition("-")
    if not (low.isdigit() and high.isdigit() and 1024 <= int(low) <= int(high) <= 65535):
        raise InputError(f"{text!r} is no range of local ports", "write one from 1024 to 65535, as in 60000-60999")
    return f"{int(low)} {int(high)}"
