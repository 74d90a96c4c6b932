"""Addresses and interfaces: which type each has, the kernel's way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from labelgen.policy import Policy
from labelgen.ports import Ranges, joined, runs

# Version of IP -> its last address.
LAST = {4: 2**32 - 1, 6: 2**128 - 1}


class Run(NamedTuple):
    """A run of addresses, both ends included, that one nodecon (or the initial SID `node`) labels."""

    low: int
    high: int
    type: str


class Addresses(NamedTuple):
    """The type of every address, by version of IP, and of every interface; `others` of those that no netifcon names."""

    runs: Mapping[int, tuple[Run, ...]]
    interfaces: Mapping[str, str]
    others: str

    @classmethod
    def of(cls, policy: Policy) -> Addresses:
        """As the kernel looks them up: the first nodecon that holds an address, in the policy's order, without one the
        initial SID `node` (security_node_sid, ss/services.c); the netifcon of an interface, without one the initial SID
        `netif` (security_netif_sid)."""
        initial = policy.initial_sids["node"]
        cons = {version: [con for con in policy.nodecons if con.version == version and con.is_met] for version in LAST}
        return cls(
            {
                version: tuple(
                    Run(low, high, cons[version][place].type if place >= 0 else initial)
                    for low, high, place in runs([(con.network, con.last) for con in cons[version]], 0, last)
                )
                for version, last in LAST.items()
            },
            policy.interfaces,
            policy.initial_sids["netif"],
        )

    @property
    def types(self) -> tuple[str, ...]:
        """The types that addresses have."""
        return tuple(sorted({run.type for found in self.runs.values() for run in found}))

    def of_types(self, version: int, types: Collection[str]) -> Ranges:
        """The addresses that have one of the types."""
        return joined((run.low, run.high) for run in self.runs[version] if run.type in types)

    def to_json(self) -> Any:
        """For programs."""
        return {
            "runs": {str(version): found for version, found in self.runs.items()},
            "interfaces": dict(self.interfaces),
            "others": self.others,
        }

    @classmethod
    def from_json(cls, data: Any) -> Addresses:
        """What `to_json` kept. Raises KeyError, TypeError, ValueError or AttributeError where it is not that."""
        found = {version: tuple(Run(*row) for row in data["runs"][str(version)]) for version in LAST}
        return cls(found, dict(data["interfaces"].items()), data["others"])


def as_text(version: int, ranges: Iterable[tuple[int, int]]) -> str:
    """`127.0.0.0/8, 192.0.2.1`: addresses as networks."""
    import ipaddress  # noqa: PLC0415 - only what differs is said

    found = joined(ranges)
    if found == [(0, LAST[version])]:
        return f"every address of IPv{version}"
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    networks = (network for low, high in found for network in ipaddress.summarize_address_range(make(low), make(high)))
    return ", ".join(str(net.network_address) if net.num_addresses == 1 else str(net) for net in networks)
