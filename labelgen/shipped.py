"""What travels with labelgen (templates and roles), and the names that every part of it knows."""

from __future__ import annotations

from pathlib import Path

SHARED_MODULE = "lxc_base"
DEFAULT_PARENT = "svirt_lxc_net_t"


def packaged(name: str) -> Path:
    """The folder `templates` or `roles` that came with labelgen: in its package, or at the top of a checkout."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parent.parent / name
