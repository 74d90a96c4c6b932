"""Random role files, built for real on the reference base: every claim holds and libsepol lets each role do what its
file says and nothing else, or the file is refused with a message.

LABELGEN_TEST_ROLES says how many sets of files are tried, LABELGEN_TEST_SEED repeats a run: a failure prints the seed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from bases import BuiltRoles
from hypothesis import HealthCheck, event, given, note, seed, settings
from hypothesis import strategies as st
from judge import Judge, gives_vectors, port_types, process, thing
from test_judge import differing_on_itself
from test_random_policies import SEED

from labelgen.errors import InputError
from labelgen.network import PROTOCOLS

EXAMPLES = int(os.environ.get("LABELGEN_TEST_ROLES", "40"))
pytestmark = pytest.mark.skipif(not gives_vectors(), reason="libsepol exports its decisions from version 3.4 on")

Declared = dict[str, Any]  # a role file

# -- what is random

NAMES = ["a", "api", "api_admin", "api_bind", "mail", "mail_data", "x9", "x9_port", "z_0_z", "content", "unreserved"]
NUMBERS = [1, 21, 22, 25, 53, 79, 80, 81, 111, 443, 514, 600, 1023, 1024, 3868, 5432, 8080, 9000, 20123, 32768, 60999]
TYPES = ["http_port_t", "ssh_port_t", "dns_port_t", "port_t", "unreserved_port_t", "nosuch_port_t", "shadow_t"]
NETLINK = ["route", "generic", "audit", "netfilter", "kobject_uevent", "nosuch"]
PATHS = ["/srv/lxc/{}(/.*)?", "/srv/{}/data", "/opt/{}/(a|b)/.*", "/var/lib/{}(/.*)?"]


def ports() -> st.SearchStrategy[list[Any]]:
    """A list of ports as a role file has them."""
    number = st.one_of(st.sampled_from(NUMBERS), st.integers(1, 65535))
    span = st.tuples(number, st.integers(0, 300)).map(lambda pair: f"{pair[0]}-{min(65535, sum(pair))}")
    port = st.one_of(number, number, number, span, st.sampled_from(TYPES[:3]), st.sampled_from(TYPES))
    return st.lists(port, min_size=1, max_size=3, unique_by=str)


def some(names: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Declared]:
    """Some of the fields."""
    return st.fixed_dictionaries({}, optional=dict(names))


NETWORKS = some(
    {
        "bind": some(dict.fromkeys(("tcp", "udp", "sctp", "dccp"), ports())),
        "connect": some({**dict.fromkeys(("tcp", "sctp", "dccp"), ports()), "udp": st.just("any")}),
        "icmp": st.booleans(),
        "raw": st.booleans(),
        "netlink": st.lists(st.sampled_from(NETLINK[:5] * 4 + NETLINK), max_size=2, unique=True),
    }
)


@st.composite
def roles(draw: st.DrawFn) -> list[Declared]:
    """One to three role files."""
    found: list[Declared] = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        role: Declared = {
            "name": name,
            "summary": f"Is {name}.",
            "network": draw(st.just("none") | NETWORKS | NETWORKS),
        }
        paths = draw(st.lists(st.sampled_from(PATHS), max_size=2, unique=True))
        if paths:
            access = draw(st.sampled_from(["read", "write"]))
            role["files"] = [{"path": path.format(name.replace("_", "-")), "access": access} for path in paths]
        found.append(role)
    return found


# -- what the files say, read here once more


def network_of(role: Declared) -> Declared:
    return {} if role["network"] == "none" else role["network"]


def listed(role: Declared, action: str, protocol: str) -> list[Any]:
    """The ports of one list; none for udp's `any`."""
    found = network_of(role).get(action, {}).get(protocol, [])
    return [] if found == "any" else found


def sockets_of(role: Declared) -> set[str]:
    """The classes of sockets that a role file opens."""
    network = network_of(role)
    if not network:
        return set()
    found = {f"{name}_socket" for action in ("bind", "connect") for name in network.get(action, {})}
    found |= {"netlink_route_socket", *(f"netlink_{name}_socket" for name in network.get("netlink", []))}
    found |= {"icmp_socket"} if network.get("icmp") else set()
    return found | ({"rawip_socket", "packet_socket"} if network.get("raw") else set())


def numbers(found: list[Any], types: list[str]) -> set[int]:
    """The numbers of a list; a port type means all its own."""
    declared: set[int] = set()
    for port in map(str, found):
        low, _, high = port.partition("-")
        if low.isdigit():
            declared |= set(range(int(low), int(high or low) + 1))
        else:
            declared |= {number for number, name in enumerate(types) if name == port and number}
    return declared


# -- what libsepol lets them do


class Asked:
    """One linked policy: libsepol's decisions, counted."""

    def __init__(self, judge: Judge, path: Path) -> None:
        self.judge, self.path, self.decisions = judge, path, 0
        self.types = {protocol: port_types(path, protocol) for protocol in PROTOCOLS}

    def allows(self, domain: str, target: str, tclass: str, perm: str) -> bool:
        self.decisions += 1
        return self.judge.allows(process(domain), target, tclass, perm)

    def sockets(self, domain: str, classes: Mapping[str, frozenset[str]]) -> set[str]:
        """The classes of sockets, but AF_UNIX's, with which a domain may do anything."""
        return {
            name
            for name, perms in classes.items()
            if name.endswith("socket") and not name.startswith("unix_")
            # Every permission is asked: none stands for the others.
            if [perm for perm in sorted(perms) if self.allows(domain, process(domain), name, perm)]
        }

    def ports(self, domain: str, protocol: str, action: str) -> set[int]:
        """The ports whose type lets a domain bind or connect."""
        tclass = PROTOCOLS[protocol].tclass
        let = {
            name: self.allows(domain, thing(name), tclass, f"name_{action}") for name in set(self.types[protocol][1:])
        }
        return {number for number, name in enumerate(self.types[protocol]) if number and let[name]}


def more_or_less(asked: Asked, role: Declared) -> Iterator[str]:
    """Where libsepol lets a role do something else than its file says."""
    domain = f"lxc_{role['name']}_t"
    for protocol in PROTOCOLS:
        for action in ("bind", "connect") if protocol != "udp" else ("bind",):
            types = asked.types[protocol]
            declared = numbers(listed(role, action, protocol), types)
            let = asked.ports(domain, protocol, action)
            if declared - let:
                yield f"{domain} may not {action} {protocol}/{min(declared - let)}"
            # What else it may is of the same types: neighbours, of which a port type of a role's own has none.
            shared = {types[number] for number in declared if not types[number].startswith("lxc_")}
            other = {number for number in let - declared if types[number] not in shared}
            if other:
                yield f"{domain} may {action} {protocol}/{min(other)}, {types[min(other)]}"


# -- the test


def test_a_role_can_what_its_file_says_or_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen: Counter[str] = Counter()

    def tried(files: list[Declared]) -> None:
        note(f"LABELGEN_TEST_SEED={SEED}")
        folder = tmp_path_factory.mktemp("roles")
        for name in ("roles", "modules"):
            (folder / name).mkdir()
        for role in files:
            (folder / "roles" / f"{role['name']}.yaml").write_text(json.dumps(role))
        try:
            built = BuiltRoles.build("reference", folder / "roles", folder / "modules")
        except InputError as error:
            seen["refused"] += 1
            event(f"refused: {type(error).__name__}")
            assert str(error).strip(), "refused without a word"
            return
        seen["built"] += len(files)
        path = built.link(folder)
        seen["decisions"] += _decide(built, path, files)

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    configured = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=checks)
    seed(SEED)(configured(given(roles())(tried)))()
    assert seen["built"] >= EXAMPLES / 2, seen
    assert seen["decisions"] >= 500 * seen["built"], seen


def _decide(built: BuiltRoles, path: Path, files: list[Declared]) -> int:
    """Compare the verdict and Reach with libsepol; how many decisions were asked for."""
    verification = built.verification(path)
    verdict = built.verify(path)
    assert [(f.claim, f.message) for role in verdict.roles for f in role.findings] == []
    policy = verification.policy
    for role in verdict.roles:
        assert differing_on_itself(role.reach, policy, path, policy.booleans) == []
    with Judge(path) as judge:
        asked = Asked(judge, path)
        for declared in files:
            domain = f"lxc_{declared['name']}_t"
            assert asked.sockets(domain, policy.classes) == sockets_of(declared), domain
            assert list(more_or_less(asked, declared)) == []
    return asked.decisions
