"""Which type each address has: the kernel's lookup, address by address, and what differs between two sets of them."""

from __future__ import annotations

import ipaddress
import json

from bases import BuiltRoles
from hypothesis import given
from hypothesis import strategies as st

from labelgen.addresses import LAST, Addresses, as_text
from labelgen.policy import Policy
from labelgen.ports import runs, without

RANGE = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: (min(ends), max(ends)))
RANGES = st.lists(RANGE, max_size=8)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for low, high in ranges for number in range(low, high + 1)}


@given(RANGES)
def test_of_the_ranges_that_hold_a_number_the_first_is_found(ranges: list[tuple[int, int]]) -> None:
    found = {number: place for low, high, place in runs(ranges, 1, 30) for number in range(low, high + 1)}
    wanted = {
        number: next((place for place, (low, high) in enumerate(ranges) if low <= number <= high), -1)
        for number in range(1, 31)
    }
    assert found == wanted


@given(RANGES, RANGES)
def test_what_one_set_has_without_the_other(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    found = without(ranges, others)
    assert numbers(found) == numbers(ranges) - numbers(others)
    assert all(high + 1 < low for (_, high), (low, _) in zip(found, found[1:]))


def test_addresses_are_said_as_networks() -> None:
    assert as_text(4, [(0, LAST[4])]) == "every address of IPv4"
    assert as_text(6, [(1, 1)]) == "::1"
    assert as_text(4, [(0x0A000000, 0x0AFFFFFF), (0x0B000000, 0x0B000001)]) == "10.0.0.0/8, 11.0.0.0/31"


def test_every_address_has_the_type_that_the_policy_in_its_order_gives(reference_roles: BuiltRoles) -> None:
    """The nodecons of the reference, by hand, in the order that secilc puts them: the longest mask first."""
    policy = Policy(reference_roles.prepared.base.policy)
    found = Addresses.of(policy)
    for address, wanted in {
        "0.0.0.0": "inaddr_any_node_t",
        "0.0.0.1": "node_t",
        "127.0.0.1": "lo_node_t",
        "127.255.255.255": "lo_node_t",
        "128.0.0.0": "node_t",
        "169.254.1.1": "link_local_node_t",
        "239.255.255.255": "multicast_node_t",
        "255.255.255.255": "node_t",
        "::": "inaddr_any_node_t",
        "::1": "lo_node_t",
        "::2": "node_t",
        "febf::1": "link_local_node_t",
        "fec0::1": "node_t",
        "ffff::": "multicast_node_t",
    }.items():
        at = ipaddress.ip_address(address)
        (kind,) = (run.type for run in found.runs[at.version] if run.low <= int(at) <= run.high)
        assert kind == wanted, address
    assert set(found.types) == {"inaddr_any_node_t", "lo_node_t", "link_local_node_t", "multicast_node_t", "node_t"}
    assert (found.interfaces, found.others) == ({"lo": "lo_netif_t"}, policy.initial_sids["netif"])


def test_what_is_kept_of_addresses_is_the_same(reference_roles: BuiltRoles) -> None:
    found = Addresses.of(Policy(reference_roles.prepared.base.policy))
    assert Addresses.from_json(json.loads(json.dumps(found.to_json()))) == found
