"""What travels with labelgen (templates and roles), and the names that every part of it knows."""

from __future__ import annotations

import re
from pathlib import Path

SHARED_MODULE = "lxc_base"
DEFAULT_PARENT = "svirt_lxc_net_t"
_DOMAIN = re.compile(r"lxc_(.+)_t\Z")


def module_of(role: str) -> str:
    """The policy module of a role."""
    return f"lxc_{role}"


def domain_of(role: str) -> str:
    """The domain of a role."""
    return f"lxc_{role}_t"


def role_of(domain: str) -> str:
    """The role of a domain; of one with another name, as others may put into the attribute of roles, its own name."""
    found = _DOMAIN.match(domain)
    return found[1] if found else domain


def packaged(name: str) -> Path:
    """The folder `templates` or `roles` that came with labelgen: in its package, or at the top of a checkout."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parent.parent / name
