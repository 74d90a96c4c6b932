"""Contexts of a host: which files are the roles' own, and which label containers get by default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from labelgen import base as bases
from labelgen.packing.tree import folder_of

_CONTEXT = re.compile(r"(/\S*)\s+(?:-\S\s+)?[^:\s]+:object_r:(lxc_[a-z0-9_]+_t)(?::\S+)?\s*\Z")


@dataclass(frozen=True)
class Place:
    """Files that are a role's own: a regular expression, the folder it begins in, and their type."""

    pattern: str
    folder: str
    type: str


def places_of_roles(root: Path = Path("/"), name: str = "") -> list[Place]:
    """The files that are roles' own by the file contexts of a host; none where it has none."""
    path = root / "etc/selinux" / (name or bases.selinux_type(root) or "") / "contexts/files/file_contexts"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = (_CONTEXT.match(line) for line in lines)
    return [Place(match[1], folder_of(match[1]), match[2]) for match in found if match]
