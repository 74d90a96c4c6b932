"""A built tree, opened again: nothing in it is believed that is not what the build left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

from labelgen import output
from labelgen.errors import InputError, listed, suggestion
from labelgen.reach import Reach, reaches_from_json
from labelgen.shipped import role_of

MANIFEST = output.MARK
VERDICT = "verdict.json"
REACH = "reach.json"

_AGAIN = "build again"


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", _AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise _strange(path) from error


def _strange(path: Path) -> InputError:
    return InputError(f"{path}: this is not what a build of this version left; it was changed or is damaged", _AGAIN)


def _is_manifest(data: Any) -> bool:
    """Whether JSON has the shape of what `build` leaves, as far as it is used here."""
    if not isinstance(data, dict) or not {"labelgen", "base", "roles", "files"} <= data.keys():
        return False
    base, roles, files = data["base"], data["roles"], data["files"]
    return (
        all(isinstance(part, dict) for part in (base, roles, files))
        and isinstance(base.get("sha256"), str)
        and all(isinstance(digest, str) for digest in files.values())
        and all(
            isinstance(item, dict) and isinstance(item.get("file"), str) and isinstance(item.get("sha256"), str)
            for item in roles.values()
        )
    )


class Told(NamedTuple):
    """The unix sockets of others that a role may talk to (domain and permission), its files (access and path), the
    ports that it can use and does not declare (action, protocol and numbers), the limits that turn on what the host
    gives a container, and what is asked about packets and not granted."""

    ways_out: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[tuple[str, str, str], ...] = ()
    left_to_the_machine: tuple[str, ...] = ()
    packets_not_granted: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltTree:
    """A folder that `labelgen build` made, and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def base_digest(self) -> str:
        """The SHA-256 of the base that it was built for."""
        return str(self.manifest["base"]["sha256"])

    @property
    def base_is_exact(self) -> bool:
        """Whether that base was known by its modules, not only as a binary."""
        return bool(self.manifest["base"].get("exact"))

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of its roles."""
        return tuple(sorted(self.manifest["roles"]))

    def check_role(self, name: str, roles: Optional[Path] = None) -> None:
        """Raise InputError where the tree has no such role, or its file in the folder `roles` was changed since."""
        if name not in self.manifest["roles"]:
            raise InputError(
                f"the build in {self.folder} has no role '{name}'{suggestion(name, self.roles)}",
                f"it has {listed(list(self.roles))}",
            )
        changed = "" if roles is None else self.changed(name, roles)
        if changed:
            raise InputError(changed, "run `labelgen build`")

    def changed(self, name: str, roles: Path) -> str:
        """That the file of a role, in the folder `roles`, was changed since; empty where it was not or is not there."""
        about = self.manifest["roles"].get(name)
        source = roles / about["file"] if about else roles
        if not source.is_file() or output.digest(source) == about["sha256"]:
            return ""
        return f"{source}: the role file was changed after the build"

    def file(self, name: str) -> Path:
        """The path of one of its files, which is as the build left it. Raises InputError where it is not."""
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{self.folder}: this build is damaged: {name} is missing", _AGAIN)
        if output.digest(path) != self.manifest["files"].get(name):
            raise InputError(f"{path}: this file was changed after the build", _AGAIN)
        return path

    def linked(self) -> list[Path]:
        """The CIL modules that were linked. They and the packages that they were made of, which are what ships, are as
        the build left them. Raises InputError where one is not."""
        names = sorted(name for name in self.manifest["files"] if name.endswith((".cil", ".pp")))
        return [path for path in map(self.file, names) if path.suffix == ".cil"]

    def reach(self) -> dict[str, Reach]:
        """role -> what it can do on the network. Raises InputError where what was kept of it was changed."""
        path = self.file(REACH)
        self.file(VERDICT)
        data = _load(path)
        try:
            found = reaches_from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise _strange(path) from error
        return {role_of(reach.domain): reach for reach in found}

    def socket_classes(self) -> tuple[str, ...]:
        """The classes of socket that the base knows. Raises InputError."""
        path = self.file(REACH)
        data = _load(path)
        if not isinstance(data, dict) or not isinstance(data.get("sockets"), list):
            raise _strange(path)
        return tuple(map(str, data["sockets"]))

    def verdict(self, name: str) -> Any:
        """The verdict on one role, as JSON. Raises InputError where it has no such role or the verdict was changed."""
        self.check_role(name)
        path = self.file(VERDICT)
        data = _load(path)
        try:
            return next(item for item in data["roles"] if item["role"] == name)
        except (KeyError, TypeError, StopIteration) as error:
            raise _strange(path) from error

    def verdicts(self) -> dict[str, Told]:
        """role -> what its verdict tells beside its reach. Raises InputError where the verdict was changed."""
        path = self.file(VERDICT)
        try:
            return {
                item["role"]: Told(
                    tuple((way["domain"], way["permission"]) for way in item["ways_out"]),
                    tuple((files["access"], files["path"]) for files in item["files"]),
                    tuple((port["action"], port["protocol"], port["ports"]) for port in item["neighbours"]),
                    tuple(item["left_to_the_machine"]),
                    tuple(item["packets_not_granted"]),
                )
                for item in _load(path)["roles"]
            }
        except (KeyError, TypeError) as error:
            raise _strange(path) from error


def open_tree(folder: Path) -> BuiltTree:
    """Open what `labelgen build` left in a folder. Raises InputError where it left nothing or that is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: there is no build here", "make one with `labelgen build`")
    manifest = _load(path)
    if not _is_manifest(manifest):
        raise _strange(path)
    return BuiltTree(folder, manifest)
