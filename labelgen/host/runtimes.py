"""The engines of a host and the packages on it: which domain an engine runs in, and whether that may start a role."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

from labelgen import rpmdb
from labelgen.policy import Policy
from labelgen.role import Role

# The programs that start a container's first process, or start what does: their file's label decides their domain.
PROGRAMS = ("podman", "dockerd", "containerd", "crio", "conmon", "docker-current", "dockerd-current")
PLACES = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/libexec/docker")
LABEL = "security.selinux"


@dataclass(frozen=True)
class Starter:
    """An engine of the host: its file's type, the domains it may run in, and the roles that these may not start though
    they may start the parent."""

    program: str
    label: str
    domains: tuple[str, ...]
    starts_containers: bool
    refused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """It, for programs."""
        return {
            "program": self.program,
            "label": self.label,
            "domains": list(self.domains),
            "starts_containers": self.starts_containers,
            "refused": list(self.refused),
        }


def starters(policy: Policy, roles: Sequence[Role], root: Path = Path("/")) -> Iterator[Starter]:
    """The engines that are installed on a host with a policy, and whether they may start the roles."""
    for place in PLACES:
        for name in PROGRAMS:
            path = root / place / name
            label = _label(path)
            if label and path.is_file():
                yield _starter(policy, roles, f"/{place}/{name}", label)


def _label(path: Path) -> str:
    """The type of a file, as its extended attribute says; empty without."""
    try:
        context = os.getxattr(path, LABEL)
    except OSError:
        return ""
    return context.rstrip(b"\0").decode("utf-8", "replace").split(":")[2] if context.count(b":") > 1 else ""


def _starter(policy: Policy, roles: Sequence[Role], program: str, label: str) -> Starter:
    file_type = policy.resolve(label) or label
    domains = sorted(
        {
            rule.default
            for rule in policy.rules_to(file_type)
            if rule.kind == "type_transition" and rule.tclass == "process"
        }
        if file_type in policy.types
        else ()
    )
    may = {role.type: _starters_of(policy, role.type) for role in roles}
    parents = {role.type: _starters_of(policy, policy.resolve(role.parent) or role.parent) for role in roles}
    refused = sorted(name for name in may for domain in domains if domain in parents[name] - may[name])
    starts = any(domain in group for domain in domains for group in parents.values())
    return Starter(program, label, tuple(domains), starts, tuple(dict.fromkeys(refused)))


def _starters_of(policy: Policy, domain: str) -> frozenset[str]:
    """The domains that may start a process in a domain."""
    sources = 0
    for rule in policy.rules_to(domain):
        if rule.kind == "allow" and rule.tclass == "process" and "transition" in rule.perms:
            sources |= policy.bits[rule.source]
    return frozenset(policy.names(sources))


# -- packages


class Package(NamedTuple):
    """An RPM package that is installed: its name, and its version and release."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


def package_of(folder: Path, root: Path = Path("/")) -> Optional[Package]:
    """The RPM package that a folder of the policy store belongs to; None where it is none's, or rpm is not here."""
    inside = Path("/") / folder.relative_to(root)
    said = rpmdb.ask("%{NAME} %{VERSION}-%{RELEASE}", "-f", str(inside), root=root)
    if said is None:
        return None
    name, _, version = said.partition(" ")
    return Package(name, version)
