"""AVC denials explained: which role, which claim; deliberate, and what would allow it, or a fault, or not ours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from labelgen.avc import Denial
from labelgen.errors import LabelgenError
from labelgen.network import (
    CAPABILITY_CLASSES,
    CATCH_ALL_PORT_TYPES,
    ICMP,
    LABELLED_NETWORKING,
    PROTOCOLS,
    RAW,
    UNIX_SOCKETS,
)
from labelgen.ports import LAST_PORT, PortTable
from labelgen.reach import Need, Reach
from labelgen.shipped import role_of

# A policy is read only for a denial that is not about the network.
if TYPE_CHECKING:
    from labelgen.reasons import Reasons


@dataclass(frozen=True)
class Explanation:
    """What a denial means; allow: what to write or do to have it allowed.

    kind: deliberate; mcs, of another container's categories; label, of a host's files; boolean; constraint; parent, of
    what a role should have; stale, of what is granted; unknown; other, of no role.
    """

    denial: Denial
    role: str
    kind: str
    claim: str
    message: str
    allow: str = ""

    def to_json(self, count: int) -> dict[str, Any]:
        """The explanation for programs."""
        denial = self.denial
        return {"count": count, "kind": self.kind, "role": self.role, "claim": self.claim, "message": self.message,
                "allow": self.allow, "source": denial.source, "target": denial.target, "class": denial.tclass,
                "permissions": list(denial.perms), "port": denial.port, "comm": denial.comm,
                "name": denial.name, "permissive": denial.permissive}  # fmt: skip


_PRIVATE = re.compile(r"_(?:content|data)_t$")  # what the types of a role's own files end in

# What stands in a line of a role file for the number that the log does not say.
ANY_PORT = "PORT"

# What the role or its administrator meant; every other kind is to be mended.
MEANT = ("deliberate", "mcs", "other")


def _protocol(denial: Denial) -> str:
    return next((p.name for p in PROTOCOLS.values() if p.tclass == denial.tclass), "")


def _number(denial: Denial) -> Optional[int]:
    return denial.port if denial.port is not None and 1 <= denial.port <= LAST_PORT else None


class _Line(NamedTuple):
    """What to write under a role file's `network:`, and what to know besides; both empty where nothing helps."""

    yaml: str = ""
    remark: str = ""

    def __str__(self) -> str:
        return f"network: {{{self.yaml}}}" + (f"  # {self.remark}" if self.remark else "")


def _port_line(denial: Denial, ports: PortTable, action: str) -> _Line:
    protocol = _protocol(denial)
    return _Line(f"{action}: {{{protocol}: [{_port(denial, ports, protocol)}]}}") if protocol else _Line()


def _port(denial: Denial, ports: PortTable, protocol: str) -> str:
    """How a role file names the port: by its number, else by its type, unless a role file may not: the type stands for
    no service in particular, is a role's own, or has no port."""
    number = _number(denial)
    if number is not None:
        return str(number)
    nameless = denial.target in CATCH_ALL_PORT_TYPES or denial.target.startswith("lxc_")
    return ANY_PORT if nameless or not ports.of_type(protocol, denial.target) else denial.target


def _socket_line(denial: Denial, actions: Sequence[str] = ("bind", "connect")) -> _Line:
    """What opens a socket of its class. One that has ports is declared by them: for any of the `actions`."""
    tclass = denial.tclass
    if tclass in ICMP:
        return _Line("icmp: true")
    if tclass in RAW:
        return _Line("raw: true")
    if tclass.startswith("netlink_") and tclass != "netlink_socket":
        return _Line(f"netlink: [{tclass[len('netlink_') : -len('_socket')]}]")
    if tclass == "udp_socket":
        return _Line("connect: {udp: any}")
    protocol = _protocol(denial)
    line, *others = (f"{action}: {{{protocol}: [{ANY_PORT}]}}" for action in actions)
    return _Line(line, " ".join(f"or {{{other}}}" for other in others)) if protocol else _Line()


def _address_line(denial: Denial, ports: PortTable) -> _Line:
    """An address is bound with a port, which is 0 where any will do."""
    number = _number(denial) if _protocol(denial) else None
    return _socket_line(denial) if number is None else _port_line(denial, ports, "bind")


# permission -> what would grant it
_LINES: Mapping[str, Callable[[Denial, PortTable], _Line]] = {
    "name_bind": lambda denial, ports: _port_line(denial, ports, "bind"),
    "name_connect": lambda denial, ports: _port_line(denial, ports, "connect"),
    "node_bind": _address_line,
    "listen": lambda denial, ports: _socket_line(denial, ("bind",)),
    "accept": lambda denial, ports: _socket_line(denial, ("bind",)),
    "bind": lambda denial, ports: _socket_line(denial, ("bind",)),
    "connect": lambda denial, ports: _socket_line(denial, ("connect",)),
    "net_bind_service": lambda denial, ports: _Line(
        f"bind: {{tcp: [{ANY_PORT}]}}", "of whatever protocol, with a number below 1024"
    ),
    "net_raw": lambda denial, ports: _Line("raw: true"),
}


def _is_network(denial: Denial, reach: Reach) -> bool:
    if denial.tclass in LABELLED_NETWORKING:
        # A role with a network has of it what its parent has.
        return set(reach.sockets()) <= UNIX_SOCKETS
    if denial.tclass in CAPABILITY_CLASSES:
        return any(perm.startswith("net_") for perm in denial.perms)
    sockets = denial.tclass == "socket" or denial.tclass.endswith("_socket")
    return sockets and denial.tclass not in UNIX_SOCKETS


def _granted(reach: Reach, denial: Denial) -> bool:
    """Whether the built policy grants what was refused."""
    return all(
        reach.met(Need(denial.tclass, perm, (denial.target,), "")).condition is not False for perm in denial.perms
    )


# The policy to hold a denial against, or why there is none.
Source = Callable[[], "Union[Reasons, LabelgenError]"]


def explain(denial: Denial, roles: Mapping[str, Reach], policy: Source) -> Explanation:
    """What one denial means for the `roles` (domain -> reach) of a build. `policy` is asked only where the network is
    not meant."""
    reach = roles.get(denial.source)
    what = f"{denial.target}:{denial.tclass} {' '.join(denial.perms)}"
    if reach is None:
        return _of_another(denial, roles, policy, what)
    name = role_of(denial.source)
    is_network = _is_network(denial, reach)
    if is_network and not _granted(reach, denial):
        return _not_declared(denial, reach, name, what)
    found = policy()
    if isinstance(found, LabelgenError):
        return _unknown(denial, name, what, is_network, found.message.splitlines()[0])
    if is_network and found.lacks(denial):
        return Explanation(denial, name, "stale", "able",
                           f"{what} is granted in this build, and not by {found.name}: install the build")  # fmt: skip
    reason = found.of(denial)
    return Explanation(denial, name, reason.kind, reason.claim, reason.message, reason.allow)


def _of_another(denial: Denial, roles: Mapping[str, Reach], policy: Source, what: str) -> Explanation:
    """A denial of who is no role: of what it wanted of a role or its files, or of nothing that is labelgen's."""
    owner = _PRIVATE.sub("_t", denial.target)
    if owner not in roles:
        return Explanation(denial, "", "other", "", f"{denial.source} is not a role of this build")
    name, found = role_of(owner), policy()
    if isinstance(found, LabelgenError):
        return _unknown(denial, name, what, False, found.message.splitlines()[0])
    reason = found.of_another(denial, name)
    return Explanation(denial, name, reason.kind, reason.claim, reason.message, reason.allow)


def _unknown(denial: Denial, name: str, what: str, is_network: bool, why: str) -> Explanation:
    """What can be said without a policy."""
    about = (
        "is granted in this build; whether by another policy, a boolean or a constraint it was refused"
        if is_network
        else f"is not about the network; whether {denial.source} may do that"
    )
    return Explanation(denial, name, "unknown", "", f"{what} {about}, is not known here: {why}",
                       "name the policy with --policy, or the base with --base")  # fmt: skip


def _not_declared(denial: Denial, reach: Reach, name: str, what: str) -> Explanation:
    """What the build does not grant of the network: what was meant so, or what is labelled otherwise than it knows."""
    relabelled = _relabelled(denial, reach)
    if relabelled:
        return Explanation(denial, name, "stale", "able",
                           f"a fault: {relabelled}: the host's labels changed since the build",
                           "`labelgen verify --build build` says how; build and install again")  # fmt: skip
    message, line = _declarable(denial, reach, name, what)
    allow = str(line) if line.yaml else ""
    return Explanation(denial, name, "deliberate", "network", f"deliberate: {message}", allow)


def _relabelled(denial: Denial, reach: Reach) -> str:
    """What has another label than in the build, where the role may use it by that one; empty where nothing has."""
    protocol, port = _protocol(denial), _number(denial)
    for perm, ask in (("name_bind", reach.can_bind), ("name_connect", reach.can_connect)):
        if perm in denial.perms and protocol and port is not None:
            (segment,) = reach.ports.within(protocol, port, port)
            if segment.type != denial.target and ask(protocol, port).yes:
                return f"{protocol}/{port} has the type {segment.type} in this build, and was {denial.target}"
    if "node_bind" in denial.perms and denial.target not in reach.addresses.types and _binds(denial, reach):
        return f"an address was {denial.target}, a type that no address has in this build"
    return ""


def _binds(denial: Denial, reach: Reach) -> bool:
    return reach.met(Need(denial.tclass, "node_bind", reach.addresses.types, "")).condition is not False


def _declarable(denial: Denial, reach: Reach, name: str, what: str) -> tuple[str, _Line]:
    """Why the network is not had, and what would give it."""
    of_others = f"{what} is nothing that a role file can declare"
    if denial.tclass in LABELLED_NETWORKING:
        return f"{name} declares no network, and so has nothing of {what}", _Line()
    if "node_bind" in denial.perms and _binds(denial, reach):
        return f"{of_others}: its parent may not bind addresses of this type", _Line()
    of_a_socket = denial.tclass not in CAPABILITY_CLASSES and not _NAMED.intersection(denial.perms)
    if of_a_socket and denial.target != denial.source:
        return f"{of_others}: the socket is that of {denial.target}, handed in or left open", _Line()
    lines = (_LINES[perm](denial, reach.ports) if perm in _LINES else _socket_line(denial) for perm in denial.perms)
    line = next((line for line in lines if line.yaml), _Line())
    return f"{name} does not declare {what}" if line.yaml else of_others, line


# What is asked of the type of a port or an address; everything else of a socket's own.
_NAMED = frozenset({"name_bind", "name_connect", "node_bind"})


def _alike(found: Explanation) -> Explanation:
    """Less what differs between denials of one cause: the file, and the categories of the containers."""
    denial, levels = found.denial, {"level": ""}
    return replace(found, denial=replace(denial, name="", scontext=denial.scontext._replace(**levels),
                                         tcontext=denial.tcontext._replace(**levels)))  # fmt: skip


def explain_all(
    denials: Iterable[Denial], roles: Mapping[str, Reach], policy: Source
) -> Iterator[tuple[Explanation, int]]:
    """Every denial explained, alike ones together with their number, the most frequent first; of several
    files the first is named."""
    counts: Counter[Explanation] = Counter()
    first: dict[Explanation, Explanation] = {}
    explained = cache(lambda denial: explain(denial, roles, policy))
    for denial in denials:
        found = explained(replace(denial, name=""))
        counts[_alike(found)] += 1
        first.setdefault(_alike(found), replace(found, denial=denial))
    yield from ((first[found], number) for found, number in counts.most_common())
