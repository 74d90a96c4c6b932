"""Contexts of a host: which files are the roles' own, and which label containers get by default.

The label of a container that is started without one comes from the file `lxc_contexts` (libselinux,
selinux_lxc_contexts_path): lines `key = "context"`, of which the last of a key counts; lines that begin with # or ; are
comments. Its reader in podman, docker, containerd and CRI-O is opencontainers/selinux (go-selinux/selinux_linux.go,
loadLabels), which looks for /usr/share/containers/selinux/contexts first; libvirt reads it too, and needs `content`
(security_selinux.c, virSecuritySELinuxLXCInitialize).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from labelgen import base as bases
from labelgen.base import Base
from labelgen.errors import InputError, MachineError
from labelgen.facts import Facts
from labelgen.host import store
from labelgen.packing.tree import folder_of
from labelgen.role import Role

# go-selinux: contextFile. Where it is there, lxc_contexts is read by libvirt and older engines alone.
CONTAINERS_FILE = Path("usr/share/containers/selinux/contexts")
HOST = Path("/")

# The keys that name a container's process: go-selinux asks for `init_process` where the container runs systemd,
# libvirt-sandbox for `sandbox_lxc_process`.
PROCESS_KEYS = ("process", "init_process", "sandbox_lxc_process")
_LINE = re.compile(r"\s*(?P<key>[a-z_]+)\s*=\s*\"?(?P<context>[^\"\s]+)\"?\s*\Z")

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


@dataclass(frozen=True)
class Defaults:
    """A file of default contexts: its text, where it belongs, where another file is read in its place, and what of it
    the policy does not have."""

    text: str
    place: Path
    instead: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def read_by_engines(root: Optional[Path] = None) -> tuple[Path, dict[str, str]]:
    """The file that engines take the default contexts from, which need not be there, and what it says."""
    places = ((root or HOST) / CONTAINERS_FILE, _place(root or HOST))
    path = next((path for path in places if path.is_file()), places[-1])
    return path, dict(_read(path)) if path.is_file() else {}


def _place(root: Path, name: str = "") -> Path:
    return root / "etc/selinux" / (name or bases.selinux_type(root) or "targeted") / "contexts/lxc_contexts"


def defaults(role: Role, known: Facts, base: Base, root: Path = Path("/"), name: str = "") -> Defaults:
    """The file of default contexts that gives a role to every container that names no type.

    It is the host's own with the process changed, or made of what the base has where the host has none.
    """
    place = _place(root, name)
    own = [path for path in (root / CONTAINERS_FILE, place) if path.is_file()]
    lines = {key: value for path in own[:1] for key, value in _read(path)}
    level = ":s0" if base.mls else ""
    if not lines:
        lines = dict.fromkeys(("content", "file"), f"system_u:object_r:{known.derivation.file_type}{level}")
    process = f"system_u:system_r:{role.type}{level}"
    lines = {**dict.fromkeys(PROCESS_KEYS, process), **{k: v for k, v in lines.items() if k not in PROCESS_KEYS}}
    text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
    notes = (*_not_installed(role, root, name), *_lacking(lines, known, base))
    return Defaults(f"# Containers without a type of their own run as {role.type}.\n{text}", place, tuple(own), notes)


def _not_installed(role: Role, root: Path, name: str) -> Iterator[str]:
    try:
        if role.name in store.locate(root, name).roles():
            return
    except MachineError:  # it cannot be read, so nobody knows
        return
    except InputError:
        pass
    yield f"{role.type} is not in the policy of this host yet: `labelgen install {role.name}` first"


def _lacking(lines: Mapping[str, str], known: Facts, base: Base) -> Iterator[str]:
    """Lines of the host's own file that name a type which the base lacks."""
    for key, context in lines.items():
        type_name = context.split(":")[2] if context.count(":") > 1 else context
        if key not in PROCESS_KEYS and type_name not in known.taken:
            yield f"{key} names {type_name}, which the base {base.name} does not have; it stands so in the host's file"


def _read(path: Path) -> list[tuple[str, str]]:
    found = map(_LINE.match, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(match["key"], match["context"]) for match in found if match]
