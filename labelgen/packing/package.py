"""A package read back: its parts, the files in it, and whether they are those of a verified build."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen import programs
from labelgen.errors import InputError
from labelgen.packing import rpmfile, tree
from labelgen.packing.rpmfile import Damaged, RpmFile
from labelgen.packing.spec import DATA_FOLDER, DIGESTS, LAST_EPOCH, RECORD, RPMLINTRC, SPEC
from labelgen.packing.tree import MANIFEST

_MODULE_FILE = re.compile(r"/usr/share/selinux/packages/[a-z][a-z0-9_-]*/((lxc_[a-z0-9_]+)\.(pp|cil))\Z")
_DATA_FILE = re.compile(re.escape(DATA_FOLDER) + r"/[a-z0-9-]+/([a-zA-Z0-9_.]+)\Z")
_SOURCE_FILE = re.compile(r"(lxc_[a-z0-9_]+?)(_ports)?\.(te|fc|cil)\Z")

# What a record must have for a package to be made again, and of what kind (spec.Plan.record).
_RECORD: Mapping[str, tuple[type, ...]] = {
    "labelgen": (str,),
    "build": (str,),
    "target": (str,),
    "version": (str,),
    "release": (str,),
    "policy_type": (str,),
    "selinux_policy": (str, type(None)),
    "bundle": (bool,),
    "epoch": (int,),
    "roles": (list,),
}


@dataclass(frozen=True)
class Package:
    """A package: its parts, the files in it, the manifest of its build, and what it says of its own making."""

    path: Path
    file: RpmFile
    files: Mapping[str, bytes]
    manifest: bytes
    build: Any
    digests: Mapping[str, str]
    record: Mapping[str, Any]


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def take_apart(path: Path) -> RpmFile:
    """The parts of a package, their form not yet checked. Raises Damaged."""
    with path.open("rb") as file:
        if file.read(4) != rpmfile.LEAD_MAGIC:
            raise Damaged("this is no RPM: it does not begin as one")
    return rpmfile.split(path.read_bytes())


def read(path: Path, file: RpmFile) -> Package:
    """What is in a package, once every byte of it was found to be as rpm writes it. Raises Damaged."""
    archive = unpacked(path, file)
    files = dict(archive.files)
    manifest = _only(files, MANIFEST)
    wrong = list(rpmfile.problems(file, archive.size))
    if wrong:
        raise Damaged("; ".join(wrong))
    build = _json(manifest, MANIFEST)
    try:
        digests = tree.recorded(build, path)
    except InputError as error:
        raise Damaged(f"its {MANIFEST} is not that of a build") from error
    return Package(path, file, files, manifest, build, digests, _record(_json(_only(files, RECORD), RECORD)))


def unpacked(path: Path, file: RpmFile) -> rpmfile.Archive:
    """What is in the payload of a package; rpm unpacks it where it was not packed with gzip. Raises Damaged."""
    data = rpmfile.gunzipped(file.payload)
    if data is None:
        try:
            data = programs.run("rpm2cpio", path).stdout
        except programs.ProgramFailed as error:
            raise Damaged(f"the payload cannot be unpacked: {error.stderr}") from error
    return rpmfile.archive(data)


def _only(files: Mapping[str, bytes], name: str) -> bytes:
    found = [data for path, data in files.items() if path.rpartition("/")[2] == name]
    if len(found) != 1:
        raise Damaged(f"holds no {name}; it was not packed by labelgen")
    return found[0]


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its {name} is not what labelgen writes") from error


def _record(data: Any) -> Mapping[str, Any]:
    if (
        not isinstance(data, dict)
        or set(data) != set(_RECORD)
        or not all(isinstance(data[key], kinds) for key, kinds in _RECORD.items())
        or not all(isinstance(name, str) for name in data["roles"])
        or not 0 <= data["epoch"] <= LAST_EPOCH
    ):
        raise Damaged(f"its {RECORD} is not what labelgen writes")
    return data


# -- its files against the build


def _cil_digest(package: bytes) -> str:
    """The digest of what a module becomes when a host links it, as a build records it."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        path = Path(scratch) / "module.pp"
        path.write_bytes(package)
        try:
            return sha256(programs.run("pp", path).stdout.rstrip() + b"\n")
        except programs.ProgramFailed:
            return ""


def _module_holds(name: str, data: bytes, package: Package) -> bool:
    """Whether a module is the one that was verified, or becomes the very CIL that was: another version of checkmodule,
    or another module version, gives other bytes."""
    if sha256(data) == package.digests.get(f"{name}/{name}.pp"):
        return True
    return _cil_digest(data) == package.digests.get(f"{name}/{name}.cil")


def _file_holds(path: str, data: bytes, package: Package) -> bool:
    """Whether a file is the build's. Raises Damaged for one that labelgen does not put there."""
    name = path.rpartition("/")[2]
    module, source = _MODULE_FILE.match(path), _SOURCE_FILE.match(name)
    in_place = module or _DATA_FILE.match(path) or "/" not in path
    if in_place and name in (MANIFEST, RECORD):
        return True
    if "/" not in path and name in (SPEC, DIGESTS, RPMLINTRC):
        # Made of a template: only making it again says more (rebuild.py).
        return True
    if module and module[3] == "pp":
        return _module_holds(module[2], data, package)
    if source and in_place:
        return sha256(data) == package.digests.get(f"{source[1]}/{name}")
    raise Damaged(f"holds {path}, which labelgen does not put there")


def problems(package: Package) -> Iterator[str]:
    """Which files of a package are not those of the build that it names, or are missing."""
    for path, data in sorted(package.files.items()):
        try:
            if not _file_holds(path, data, package):
                yield f"{path} is not what was verified: the build's manifest has another digest"
        except Damaged as error:
            yield str(error)
    names = {path.rpartition("/")[2] for path in package.files}
    for path in package.digests:
        module, _, name = path.rpartition("/")
        if name.endswith("_ports.cil") and f"{module}.te" in names and name not in names:
            yield f"lacks {name}, without which {module} was not verified"
