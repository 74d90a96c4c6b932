"""AVC denials explained: which role, which claim; deliberate, and what would allow it, or a fault, or not ours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from labelgen.network import (
    CAPABILITY_CLASSES,
    ICMP,
    LABELLED_NETWORKING,
    PROTOCOLS,
    RAW,
    UNIX_SOCKETS,
)
from labelgen.reach import Need, Reach

# kernel, security/selinux/avc.c (avc_audit_pre_callback, avc_audit_post_callback) and lsm_audit.c; user-space object
# managers write the same after USER_AVC's msg='. auditd writes a permission set with spaces, dmesg too.
_AVC = re.compile(
    r"avc:\s+denied\s+\{(?P<perms>[^}]*)\}.*?\bscontext=(?P<scontext>\S+).*?\btcontext=(?P<tcontext>\S+)"
    r".*?\btclass=(?P<tclass>\w+)(?P<rest>.*)"
)
_FIELD = re.compile(r"\b(src|dest|comm|name|path|permissive)=(\"[^\"]*\"|\S+)")


@dataclass(frozen=True)
class Denial:
    """One refused access, as the kernel logged it."""

    perms: tuple[str, ...]
    source: str
    source_level: str
    target: str
    target_level: str
    tclass: str
    port: Optional[int] = None
    comm: str = ""
    name: str = ""
    permissive: bool = False


def _context(text: str) -> tuple[str, str]:
    parts = text.strip("'\"").split(":", 3)
    return (parts[2] if len(parts) > 2 else "?", parts[3] if len(parts) > 3 else "")


def parse(line: str) -> Optional[Denial]:
    """The denial in a line of audit.log, ausearch, dmesg or the journal; None for any other line."""
    found = _AVC.search(line)
    if found is None:
        return None
    fields = {key: value.strip('"') for key, value in _FIELD.findall(line)}
    (source, source_level), (target, target_level) = _context(found["scontext"]), _context(found["tcontext"])
    perms = tuple(found["perms"].split())
    # name_connect is about the destination, everything else about the socket's own port.
    port = fields.get("dest") if "name_connect" in perms else fields.get("src")
    return Denial(perms, source, source_level, target, target_level, found["tclass"],
                  int(port) if port and port.isdigit() else None, fields.get("comm", ""),
                  fields.get("path", fields.get("name", "")), fields.get("permissive") == "1")  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """What a denial means. kind: deliberate, mcs, parent, stale or other; allow: the YAML that would allow it."""

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
                "permissive": denial.permissive}  # fmt: skip


def _categories(level: str) -> str:
    return level.rsplit("-", maxsplit=1)[-1].partition(":")[2]


def _port_line(denial: Denial, action: str) -> str:
    protocol = next((p.name for p in PROTOCOLS.values() if p.tclass == denial.tclass), "")
    return f"{action}: {{{protocol}: [{denial.port if denial.port else denial.target}]}}" if protocol else ""


def _create_line(denial: Denial) -> str:
    tclass = denial.tclass
    if tclass in ICMP:
        return "icmp: true"
    if tclass in RAW:
        return "raw: true"
    if tclass.startswith("netlink_") and tclass != "netlink_socket":
        return f"netlink: [{tclass[len('netlink_') : -len('_socket')]}]"
    if tclass == "udp_socket":
        return "connect: {udp: any}"
    protocol = next((p.name for p in PROTOCOLS.values() if p.tclass == tclass), "")
    return f"bind: {{{protocol}: [PORT]}} or connect: {{{protocol}: [PORT]}}" if protocol else ""


# permission -> the line of a role file's network that would grant it
_LINES: Mapping[str, Callable[[Denial], str]] = {
    "name_bind": lambda denial: _port_line(denial, "bind"),
    "name_connect": lambda denial: _port_line(denial, "connect"),
    "node_bind": _create_line,
    "listen": lambda denial: _create_line(denial).split(" or ")[0],
    "accept": lambda denial: _create_line(denial).split(" or ")[0],
    "bind": lambda denial: _create_line(denial).split(" or ")[0],
    "connect": lambda denial: _create_line(denial).split(" or ")[-1],
    "net_bind_service": lambda _: "bind: a port below 1024",
    "net_raw": lambda _: "raw: true",
}


def _is_network(denial: Denial) -> bool:
    if denial.tclass in CAPABILITY_CLASSES:
        return any(perm.startswith("net_") for perm in denial.perms)
    sockets = denial.tclass == "socket" or denial.tclass.endswith("_socket")
    return (sockets and denial.tclass not in UNIX_SOCKETS) or denial.tclass in LABELLED_NETWORKING


def _granted(reach: Reach, denial: Denial) -> bool:
    """Whether the built policy grants what was refused."""
    return all(
        reach.met(Need(denial.tclass, perm, (denial.target,), "")).condition is not False for perm in denial.perms
    )


def explain(denial: Denial, roles: Mapping[str, Reach]) -> Explanation:
    """What one denial means for the `roles` (domain -> reach) of a build."""
    reach = roles.get(denial.source)
    what = f"{denial.target}:{denial.tclass} {' '.join(denial.perms)}"
    if reach is None:
        return Explanation(denial, "", "other", "", f"{denial.source} is not a role of this build")
    name = denial.source[len("lxc_") : -len("_t")]
    if _is_network(denial):
        return _explain_network(denial, name, reach, what)
    own, other = _categories(denial.source_level), _categories(denial.target_level)
    if other and own != other:
        return Explanation(denial, name, "mcs", "separate",
                           f"deliberate: {what} has other categories; it belongs to another container")  # fmt: skip
    if denial.target in roles and denial.target != denial.source:
        return Explanation(denial, name, "deliberate", "separate",
                           f"deliberate: {what} is another role's; no rule lets one role act on another")  # fmt: skip
    return Explanation(denial, name, "parent", "complete",
                       f"{what} is not about the network: a role has there what its parent has. Try the same with the "
                       "parent type; if that works, the base changed since the build (labelgen verify)")  # fmt: skip


def _explain_network(denial: Denial, name: str, reach: Reach, what: str) -> Explanation:
    if _granted(reach, denial):
        return Explanation(denial, name, "stale", "able",
                           f"{what} is granted in this build: the policy in force is another one (labelgen status), a "
                           "boolean is off, or a constraint refuses it")  # fmt: skip
    lines = [_LINES.get(perm, _create_line)(denial) for perm in denial.perms]
    allow = next((line for line in lines if line), "")
    message = f"deliberate: {name} does not declare {what}"
    return Explanation(denial, name, "deliberate", "network", message, f"network: {{{allow}}}" if allow else "")


def explain_all(lines: Iterable[str], roles: Mapping[str, Reach]) -> Iterator[tuple[Explanation, int]]:
    """Every denial in `lines` explained, alike ones together with their number, the most frequent first."""
    counts: Counter[Explanation] = Counter()
    for line in lines:
        denial = parse(line)
        if denial is not None:
            counts[explain(replace(denial, name=""), roles)] += 1
    yield from counts.most_common()
