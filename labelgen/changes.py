"""What differs between two states of a role, in words: two role files, two builds, two policies, or a build and the
base it is on now."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labelgen import addresses
from labelgen import output as outputs
from labelgen.access import Access
from labelgen.built import Told, open_tree
from labelgen.derivation import DOMAIN
from labelgen.errors import InputError
from labelgen.network import EXTENDED_SOCKETS, LEADING, PROTOCOLS, TALKS
from labelgen.policy import Policy
from labelgen.ports import Ranges, as_text, of_text, without
from labelgen.reach import Reach, Reacher, port_table
from labelgen.shipped import role_of

# Two builds are compared without what reads role files and makes builds.
if TYPE_CHECKING:
    from labelgen import build
    from labelgen.base import Base
    from labelgen.role import Role
    from labelgen.verdict import RoleVerdict, Verdict


class Interfaces(NamedTuple):
    """Which interfaces a permission is granted on: of those that a policy names, and on `others`."""

    named: Mapping[str, bool]
    others: bool

    def has(self, name: str) -> bool:
        """Whether it is granted on an interface."""
        return self.named.get(name, self.others)


NO_INTERFACES = Interfaces({}, False)


@dataclass
class Surface:
    """What a role can do on the network, to compare: the ports of each action and protocol, those of them that are only
    neighbours of declared ones, the addresses of each permission and version of IP, the interfaces of each permission,
    the commands (of ioctl) that its own sockets take, and everything else by name (sockets, capabilities, port types,
    ways out, files, ...), and what it lacks of what is asked about all packets and by constraints.
    """

    ports: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    neighbours: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)
    addresses: dict[tuple[str, int], Ranges] = field(default_factory=dict)
    interfaces: dict[str, Interfaces] = field(default_factory=dict)
    commands: dict[str, Ranges] = field(default_factory=dict)

    def add_ports(self, action: str, protocol: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Add ranges of ports, both ends included."""
        numbers = self.ports.setdefault((action, protocol), set())
        for low, high in ranges:
            numbers.update(range(low, high + 1))


@dataclass(frozen=True)
class Change:
    """One difference of one role: `+` for what is new and `-` for what is gone."""

    role: str
    sign: str
    what: str

    def __str__(self) -> str:
        return f"{self.sign} {self.what}"


# -- surfaces


def of_role(item: Role) -> Surface:
    """What a role file declares."""
    from labelgen.role import Ports  # noqa: PLC0415 - heavy, as below

    surface = Surface()
    network = item.declared_network
    surface.names["network"] = {"a network"} if network else set()
    surface.names["parent"] = {f"parent {item.parent}"}
    surface.names["files"] = {f"{entry.access} {entry.path}" for entry in item.files}
    if network is None:
        return surface
    for protocol in PROTOCOLS:
        for action, ports in (("bind", network.bound(protocol)), ("connect", network.reached(protocol))):
            surface.add_ports(action, protocol, [(p.low, p.high) for p in ports if isinstance(p, Ports)])
            surface.names.setdefault(action, set()).update(
                f"{action} {protocol}/{p}" for p in ports if isinstance(p, str)
            )
    flags = {"connect udp": bool(network.connect.udp), "icmp": network.icmp, "raw": network.raw}
    surface.names["declared"] = {name for name, on in flags.items() if on} | {f"netlink {n}" for n in network.netlink}
    return surface


# These are compared port by port, address by address and interface by interface.
_BY_NUMBER = ("name_bind", "name_connect")
_BY_ADDRESS = "node_bind"
_WITH_COMMANDS = ("ioctl", "nlmsg")
_EVERY_COMMAND = [(0, 0xFFFF)]


def of_reach(reach: Reach) -> Surface:
    """What a domain can do by a policy, at the booleans' worst."""
    surface = Surface()
    surface.names["sockets"] = set(reach.openable())
    surface.names["capabilities"] = set(reach.capabilities())
    for protocol in PROTOCOLS:
        surface.add_ports("bind", protocol, [(s.low, s.high) for s in reach.bindable(protocol)])
        surface.add_ports("connect", protocol, [(s.low, s.high) for s in reach.connectable(protocol)])
    if reach.condition(reach.send_needs("udp")) is not False:
        surface.names["udp"] = {"send udp to any port"}
    granted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in reach.rules:
        for perm in rule.perms:
            granted[rule.tclass, perm] |= rule.targets
    for constraint in reach.constraints:
        if any((constraint.tclass, perm) in granted for perm in constraint.perms):
            surface.lacking.add(f"what this refuses: {constraint.text}")
    # Every other network permission by class and name, so that a difference that is no port is seen too.
    permissions = surface.names["permissions"] = set()
    places = reach.addresses
    for (tclass, perm), targets in granted.items():
        what = f"{tclass} {perm}"
        if perm in _BY_NUMBER:
            continue
        if perm == _BY_ADDRESS or tclass == "node":
            surface.addresses.update({(what, version): places.of_types(version, targets) for version in places.runs})
        elif tclass == "netif":
            named = {name: kind in targets for name, kind in places.interfaces.items()}
            surface.interfaces[what] = Interfaces(named, places.others in targets)
        else:
            permissions |= {what if target == reach.domain else f"{what} on {target}" for target in targets}
            if perm in _WITH_COMMANDS and reach.domain in targets:
                surface.commands[what] = reach.commands.get(what, _EVERY_COMMAND)
    return surface


def _with(surface: Surface, told: Told) -> Surface:
    """A surface with what a verdict tells besides."""
    surface.names["ways out"] = {f"talk to the unix sockets of {domain} ({perm})" for domain, perm in told.ways_out}
    surface.names["files"] = {f"{access} {path}" for access, path in told.files}
    surface.names["left to the machine"] = {f"a limit: {text}" for text in told.left_to_the_machine}
    surface.lacking |= {f"packets without a label ({asked})" for asked in told.packets_not_granted}
    for action, protocol, ports in told.neighbours:
        numbers = surface.neighbours.setdefault((action, protocol), set())
        numbers.update(number for low, high in of_text(ports) for number in range(low, high + 1))
    return surface


def of_build(folder: Path) -> dict[str, Surface]:
    """role -> its surface in a built tree. Raises InputError where it is none."""
    tree = open_tree(folder)
    verdicts = tree.verdicts()
    return {name: _with(of_reach(reach), verdicts[name]) for name, reach in tree.reach().items()}


def of_verdict(role: RoleVerdict) -> Surface:
    """What a role can do by the policy that the verdict is about."""
    return _with(
        of_reach(role.reach),
        Told(
            tuple((way.domain, way.permission) for way in role.ways_out),
            tuple((files.access, files.path) for files in role.files),
            tuple((item.action, item.protocol, item.ports) for item in role.neighbours),
            role.left_to_the_machine,
            role.packets_not_granted,
        ),
    )


def of_policy(path: Path) -> dict[str, Surface]:
    """role -> its surface in a binary policy in which roles are installed. Raises InputError."""
    policy = Policy(path)
    reacher, access = Reacher(policy, port_table(policy)), Access(policy)
    found = {}
    for name in policy.names(policy.attributes.get(DOMAIN, 0)):
        surface = _with(of_reach(reacher.of(name)), Told(tuple(_talks(access, name))))
        surface.names["beyond"] = set(_beyond(access, name))
        surface.names["asked"] = set(_asked_besides(policy, name))
        found[role_of(name)] = surface
    return found


def _beyond(access: Access, domain: str) -> Iterator[str]:
    """By what a domain has more than its own rules about sockets: as another domain, without a policy, by the network's
    sysctls, or with nothing refused. The verdict on a build has none of it (claims `network` and `closed`)."""
    policy = access.policy
    if domain in policy.permissive:
        yield "permissive: nothing is refused to it"
    leading = {(tclass, perm) for tclass, perms in LEADING.items() for perm in perms}
    for key, bits in sorted(access.outgoing(domain).worst().items()):
        found = bits if key in leading else bits & policy.undoing.get(key, 0)
        if policy.network.writes(key[0], (key[1],)):
            found |= policy.network.part(*key, bits)
        for name in policy.names(found & ~policy.bits[domain]):
            yield f"{' '.join(key)} on {name}"


def _asked_besides(policy: Policy, domain: str) -> Iterator[str]:
    """What besides the rules decides about the network of a domain."""
    network = policy.network.classes
    for name in sorted(policy.polcaps & {"always_check_network", "network_peer_controls", EXTENDED_SOCKETS}):
        yield f"the policy capability {name}"
    for rule in policy.labelling_from(domain):
        if rule.kind == "type_transition" and rule.tclass in network | {"process"}:
            yield f"another label: {rule}"


def _talks(access: Access, domain: str) -> Iterator[tuple[str, str]]:
    worst = access.outgoing(domain).worst()
    for key in TALKS:
        for name in access.policy.names(worst.get(key, 0) & ~access.policy.bits[domain]):
            yield name, " ".join(key)


def of_file(path: Path) -> dict[str, Surface]:
    """role -> its surface in a role file. Raises RoleFileError."""
    from labelgen import role  # noqa: PLC0415

    item = role.read(path).role
    return {item.name: of_role(item)}


def read(path: Path) -> tuple[str, dict[str, Surface]]:
    """What `path` is (a role file, a build, a policy), and the surfaces of its roles. Raises InputError."""
    if path.is_dir() and (path / outputs.MARK).is_file():
        return "build", of_build(path)

    from labelgen import role  # noqa: PLC0415

    if path.is_dir():
        return "role file", {f.role.name: of_role(f.role) for f in role.read_all(path)}
    if path.suffix in role.SUFFIXES:
        return "role file", of_file(path)
    if path.is_file():
        return "policy", of_policy(path)
    raise InputError(f"there is no {path}", "name two role files (or folders of them), two builds or two policies")


def _renamed(surface: Surface, aliases: Mapping[str, str]) -> Surface:
    """A surface in the words of a policy in which types have other names by now, and their old ones as aliases."""

    def said(names: Iterable[str]) -> set[str]:
        return {_NAME.sub(lambda name: aliases.get(name[0], name[0]), text) for text in names}

    names = {kind: said(found) for kind, found in surface.names.items()}
    return replace(surface, names=names, lacking=said(surface.lacking))


_NAME = re.compile(r"[A-Za-z]\w*")


# -- differences


def between(old: Mapping[str, Surface], new: Mapping[str, Surface]) -> list[Change]:
    """Every difference, by role."""
    found: list[Change] = []
    for name in sorted({*old, *new}):
        if name not in new:
            found.append(Change(name, "-", "the role"))
        elif name not in old:
            found.append(Change(name, "+", "the role"))
        else:
            found += [Change(name, sign, what) for sign, what in _differences(old[name], new[name])]
    return found


def _differences(old: Surface, new: Surface) -> Iterator[tuple[str, str]]:
    for key in sorted({*old.ports, *new.ports}):
        before, after = old.ports.get(key, set()), new.ports.get(key, set())
        beside_before, beside = old.neighbours.get(key, set()), new.neighbours.get(key, set())
        for sign, what, numbers in (
            ("+", "", after - before - beside),
            ("+", "neighbours: ", (after - before) & beside),
            ("-", "", before - after - beside_before),
            ("-", "neighbours: ", (before - after) & beside_before),
            ("+", "declared, and no longer a neighbour: ", (before & after & beside_before) - beside),
            ("-", "declared, and now a neighbour: ", (before & after & beside) - beside_before),
        ):
            if numbers:
                yield sign, f"{what}{key[0]} {key[1]}/{as_text((n, n) for n in sorted(numbers))}"
    # A socket that is new or gone brings all of its permissions; saying so once is enough.
    whole = old.names.get("sockets", set()) ^ new.names.get("sockets", set())
    for what, version in sorted({*old.addresses, *new.addresses}):
        if what.split()[0] not in whole:
            had, has = (surface.addresses.get((what, version), []) for surface in (old, new))
            for sign, ranges in _of_ranges(had, has):
                yield sign, f"{what} on {addresses.as_text(version, ranges)}"
    for what in sorted({*old.interfaces, *new.interfaces}):
        yield from _of_interfaces(
            what, old.interfaces.get(what, NO_INTERFACES), new.interfaces.get(what, NO_INTERFACES)
        )
    for what in sorted(old.commands.keys() & new.commands.keys()):
        for sign, ranges in _of_ranges(old.commands[what], new.commands[what]):
            yield sign, f"{what} {', '.join(map(_command, ranges))}"
    for kind in sorted({*old.names, *new.names}):
        was, now = old.names.get(kind, set()), new.names.get(kind, set())
        if kind == "permissions":
            was, now = ({name for name in names if name.split()[0] not in whole} for names in (was, now))
        yield from (("+", name) for name in sorted(now - was))
        yield from (("-", name) for name in sorted(was - now))
    yield from (("+", name) for name in sorted(old.lacking - new.lacking))
    yield from (("-", name) for name in sorted(new.lacking - old.lacking))


def _of_ranges(old: Ranges, new: Ranges) -> Iterator[tuple[str, Ranges]]:
    for sign, ranges in (("+", without(new, old)), ("-", without(old, new))):
        if ranges:
            yield sign, ranges


def _command(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:#06x}" if low == high else f"{low:#06x}-{high:#06x}"


def _of_interfaces(what: str, old: Interfaces, new: Interfaces) -> Iterator[tuple[str, str]]:
    for name in sorted({*old.named, *new.named}):
        if old.has(name) != new.has(name):
            yield "+" if new.has(name) else "-", f"{what} on {name}"
    if old.others != new.others:
        yield "+" if new.others else "-", f"{what} on every interface that the policy does not name"


# What two kinds of thing to compare are -> what does it.
_INSTEAD = {
    frozenset(("role file", "build")): "build the role file, and compare the two builds",
    frozenset(("role file", "policy")): "`labelgen verify --policy POLICY` checks roles in a policy that has them",
    frozenset(("build", "policy")): "`labelgen verify --build BUILD --base POLICY` says how a build stands on a policy",
}


def compare(old: Path, new: Path) -> list[Change]:
    """The differences between two files or folders of one kind. Raises InputError when they are of two kinds, or
    policies without a role."""
    (old_kind, before), (new_kind, after) = read(old), read(new)
    if old_kind != new_kind:
        raise InputError(
            f"{old} is a {old_kind} and {new} is a {new_kind}, and only two of a kind can be compared",
            _INSTEAD[frozenset((old_kind, new_kind))],
        )
    if not before and not after:
        raise InputError(
            f"neither {old} nor {new} has a role of labelgen's, so there is nothing to compare",
            f"name policies in which roles are installed (types in the attribute {DOMAIN})",
        )
    return between(before, after)


def state(changes: Iterable[Change], holds: bool) -> str:
    """wider, broken, narrower or same: how a role stands on a base now, against what was verified when it was built.

    Wider is said first: that it can do more on the network is what must not be missed, whether a claim fails by it or
    not. Broken is a claim that fails otherwise.
    """
    signs = {change.sign for change in changes}
    if "+" in signs:
        return "wider"
    return "broken" if not holds else "narrower" if "-" in signs else "same"


def to_json(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """The differences for programs."""
    return [{"role": change.role, "sign": change.sign, "what": change.what} for change in changes]


@dataclass(frozen=True)
class Standing:
    """How the roles of a built tree stand on a base, against what was verified when they were built.

    base: the base it stands on; states: role -> broken, wider, narrower or same; changes: what differs; verdict: the
    claims on that base now.
    """

    base: Base
    same_base: bool
    states: dict[str, str]
    changes: list[Change]
    verdict: Verdict


def standing(folder: Path, inputs: build.Inputs, progress: build.Progress) -> Standing:
    """Verify the modules of a built tree as they are on a base, which need not be the one they were built for.

    Raises InputError where there is no build, a role file was changed since, or the base is only a binary and the
    build's was not; LinkError or ParentError where the modules no longer link or the base has no containers any more.
    """
    from labelgen import build  # noqa: PLC0415

    before, tree = of_build(folder), open_tree(folder)
    verified = build.verify_built(folder, inputs, progress)
    if tree.base_is_exact and not verified.base.exact and not verified.verdict.holds:
        raise InputError(
            f"{verified.base.name} is known only as a binary, and the build was made for modules: what changed cannot "
            "be told from what a binary hides",
            "name the policy store or the modules with --base; once the roles are installed, verify --policy takes a "
            "binary",
        )
    after = {role.role: of_verdict(role) for role in verified.verdict.roles}
    found = between({name: _renamed(before[name], verified.aliases) for name in after}, after)
    states = {
        role.role: state((c for c in found if c.role == role.role), role.holds) for role in verified.verdict.roles
    }
    same = tree.base_digest == verified.base.digest
    return Standing(verified.base, same, states, found, verified.verdict)


def broken(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The states of roles whose modules no longer link. Raises InputError where there is no build."""
    return dict.fromkeys(names or open_tree(folder).roles, "broken")
