"""A built tree as packing needs it: read, checked against its manifest, nothing believed that is not checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labelgen import output
from labelgen.errors import InputError, listed, suggestion

MANIFEST = output.MARK
VERDICT = "verdict.json"
SHARED_MODULE = "lxc_base"

# What may become a file name, a word of a spec or of a shell script. role.NAME, with lxc_ before it.
_MODULE = re.compile(r"lxc_[a-z0-9]+(_[a-z0-9]+)*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_PATH = re.compile(r"[a-z0-9_]+/[a-z0-9_]+\.[a-z]+\Z|(reach|verdict)\.json\Z")
_CONTEXT = re.compile(r"(/\S*)\s+(?:--?\S?\s+)?system_u:object_r:([A-Za-z0-9_.]+):s0\Z")


class Place(NamedTuple):
    """Files that a module labels: a regular expression, the folder it begins in, and their type."""

    pattern: str
    folder: str
    type: str


class Module(NamedTuple):
    """One module of a build: its files, and the digest of each."""

    name: str
    version: int
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    places: tuple[Place, ...]

    @property
    def is_shared(self) -> bool:
        """Whether this is what every role has."""
        return self.name == SHARED_MODULE

    @property
    def role(self) -> str:
        """The name of its role."""
        return self.name[len("lxc_") :]

    @property
    def has_ports(self) -> bool:
        """Whether a CIL module with ports goes with it."""
        return "ports" in self.files


class Tree(NamedTuple):
    """A build: its modules, the shared one first, and what was recorded of it."""

    folder: Path
    manifest: Mapping[str, Any]
    digest: str
    modules: tuple[Module, ...]
    summaries: Mapping[str, str]

    def chosen(self, roles: Sequence[str]) -> list[Module]:
        """The shared module and those of the named roles; all without a name. Raises InputError for an unknown one."""
        known = [module.role for module in self.modules if not module.is_shared]
        for name in roles:
            if name not in known:
                raise InputError(
                    f"the build in {self.folder} has no role '{name}'{suggestion(name, known)}",
                    f"it has {listed(known)}",
                )
        return [module for module in self.modules if module.is_shared or not roles or module.role in roles]


def read_json(path: Path) -> Any:
    """The JSON in a file that labelgen left. Raises InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path.parent}: there is no {path.name} here", "make a build with `labelgen build`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not what labelgen left; it was changed or is damaged") from error


def changes(folder: Path, digests: Mapping[str, str], besides: Sequence[str] = ()) -> Iterator[str]:
    """What differs between a folder and the digests recorded of it, one line a file."""
    for name, digest in digests.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            yield f"{path}: this file is missing"
        elif output.digest(path) != digest:
            yield f"{path}: this file was changed: its SHA-256 is not the recorded one"
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    for name in sorted(present - set(digests) - set(besides)):
        yield f"{folder / name}: this file was not there when the digests were recorded"


def recorded(manifest: Any, path: Path) -> dict[str, str]:
    """The digests in a build's manifest. Raises InputError where they are not what labelgen writes."""
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(name, str) and _PATH.match(name) and isinstance(digest, str) and _DIGEST.match(digest)
        for name, digest in files.items()
    ):
        raise InputError(f"{path}: this is no manifest of a build", "name a folder that `labelgen build` made")
    return dict(files)


def folder_of(pattern: str) -> str:
    """The folder that every path of a file-context pattern lies in, or is."""
    plain = pattern[: -len("(/.*)?")] if pattern.endswith("(/.*)?") else pattern
    unescaped = re.sub(r"\\([._-])", lambda found: "\0" + found[1], plain)
    sign = re.search(r"(?<!\0)[.^$?*+|\[({\\]", unescaped)
    if sign:
        unescaped = unescaped[: sign.start()].rpartition("/")[0]
    return unescaped.replace("\0", "")


def _places(path: Path) -> tuple[Place, ...]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _CONTEXT.match(line)
        if match:
            found.append(Place(match[1], folder_of(match[1]), match[2]))
        elif line.strip() and not line.startswith("#"):
            raise InputError(f"{path}: cannot read the file context {line!r}")
    return tuple(found)


def _module(folder: Path, entry: Any, digests: Mapping[str, str]) -> Module:
    name, version = (entry.get("name"), entry.get("version")) if isinstance(entry, dict) else (None, None)
    if not (isinstance(name, str) and _MODULE.match(name) and isinstance(version, int)):
        raise InputError(f"{folder / MANIFEST}: {name!r} is no module of labelgen's")
    names = {key: f"{name}/{name}.{key}" for key in ("te", "fc", "pp", "cil")}
    if f"{name}/{name}_ports.cil" in digests:
        names["ports"] = f"{name}/{name}_ports.cil"
    missing = [path for path in names.values() if path not in digests]
    if missing:
        raise InputError(f"{folder / MANIFEST}: the manifest does not list {missing[0]}")
    files = {key: folder / path for key, path in names.items()}
    return Module(name, version, files, {key: digests[path] for key, path in names.items()}, _places(files["fc"]))


def _summaries(folder: Path) -> dict[str, str]:
    """What the verdict says each role is for. Raises InputError where it is none, or where a claim does not hold."""
    try:
        verdict = read_json(folder / VERDICT)
        holds, found = verdict["holds"], {str(item["role"]): str(item["summary"]) for item in verdict["roles"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / VERDICT}: this is no verdict on a build") from error
    if holds is not True:
        raise InputError(f"{folder / VERDICT}: a claim does not hold; only what was verified is packed")
    return found


def _modules(folder: Path, manifest: Any, digests: Mapping[str, str]) -> tuple[Module, ...]:
    """The modules of a manifest, the shared one first. Raises InputError where the manifest is not labelgen's."""
    base, entries = manifest.get("base"), manifest.get("modules")
    known_base = isinstance(base, dict) and all(isinstance(base.get(key), str) for key in ("name", "sha256"))
    if not known_base or not isinstance(manifest.get("parent"), str) or not isinstance(entries, list):
        raise InputError(f"{folder / MANIFEST}: this is no manifest of a build")
    found = sorted((_module(folder, entry, digests) for entry in entries), key=lambda module: module.name)
    shared = [module for module in found if module.is_shared]
    if len(shared) != 1:
        raise InputError(f"{folder / MANIFEST}: this build has no {SHARED_MODULE}")
    return (*shared, *(module for module in found if not module.is_shared))


def read_tree(folder: Path) -> Tree:
    """Read a built tree. Raises InputError where it is none, or where anything in it was changed."""
    manifest = read_json(folder / MANIFEST)
    digests = recorded(manifest, folder / MANIFEST)
    changed = list(changes(folder, digests, (MANIFEST,)))
    if changed:
        raise InputError("\n".join(changed), "build again")
    modules = _modules(folder, manifest, digests)
    return Tree(folder, manifest, output.digest(folder / MANIFEST), modules, _summaries(folder))
