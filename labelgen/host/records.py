"""What is kept on a host of each role that was installed from a build, and of an installation under way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from labelgen import output, role
from labelgen.errors import LabelgenError
from labelgen.host.store import Store, Stored
from labelgen.packing.tree import Module, Tree
from labelgen.role import RoleFile

ABOUT = "about.json"
PENDING = ".pending"
INSTALLED = ("pp", "ports")


@dataclass(frozen=True)
class Record:
    """What was installed of one role. about: labelgen's version, the build, the base it was verified on, digests of the
    modules; file: its role file."""

    about: dict[str, Any]
    file: RoleFile


def _folder(store: Store, name: str) -> Path:
    return store.records / name


def read(store: Store, name: str) -> Optional[Record]:
    """The record of a role; None where it was not installed from a build, or the record is damaged."""
    folder = _folder(store, name)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return Record(about, role.read(folder / f"{name}.yaml"))
    except (OSError, ValueError, LabelgenError):
        return None


def write(store: Store, tree: Tree, module: Module, file: Path, base: dict[str, Any]) -> None:
    """Keep what was installed of a role."""
    about = {
        "labelgen": tree.manifest["labelgen"],
        "build": tree.digest,
        "base": base,
        "modules": {
            path.name.split(".")[0]: item.digests[key]
            for item in (tree.modules[0], module)
            for key, path in item.files.items()
            if key in INSTALLED
        },
    }
    folder = _folder(store, module.role)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / f"{module.role}.yaml")
    output.write_json(folder / ABOUT, about)


def forget(store: Store, names: Iterable[str]) -> None:
    """Drop the records of roles, and every folder that is left empty by it."""
    for name in names:
        shutil.rmtree(_folder(store, name), ignore_errors=True)
    folder = store.records
    for _ in range(2):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        folder = folder.parent


# -- what an installation replaces


@dataclass(frozen=True)
class Before:
    """The modules of the store that an installation replaces, as files, and the names of those it adds."""

    files: tuple[Path, ...]
    added: tuple[str, ...]


def keep_before(store: Store, replaced: Sequence[Stored], added: Sequence[str]) -> Before:
    """Keep what an installation is about to replace until it is confirmed, so that it can be put back, after a crash
    too. Raises MachineError."""
    folder = store.records / PENDING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    files = []
    for module in replaced:
        path = folder / f"{module.name}.{module.language}"
        path.write_bytes(module.content())
        files.append(path)
    # Written last: without it nothing was begun.
    output.write_json(folder / ABOUT, {"added": list(added)})
    return Before(tuple(files), tuple(added))


def unfinished(store: Store) -> Optional[Before]:
    """What an installation that was cut off (a crash, a power cut) had kept; None where none was."""
    folder = store.records / PENDING
    try:
        added = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["added"]
    except (OSError, ValueError, KeyError):
        return None
    return Before(tuple(sorted(path for path in folder.iterdir() if path.name != ABOUT)), tuple(added))


def drop_before(store: Store) -> None:
    """What was kept is not needed any more."""
    shutil.rmtree(store.records / PENDING, ignore_errors=True)
    forget(store, ())
