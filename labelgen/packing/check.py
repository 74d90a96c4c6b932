"""Back to the source: whether packages, or a built tree, are what was verified, byte for byte."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from labelgen import output, programs
from labelgen.errors import InputError
from labelgen.packing import pack, rpmfile, sign, tree
from labelgen.packing.rpmfile import Damaged, RpmFile
from labelgen.packing.spec import DATA_FOLDER, DIGESTS, RECORD, RPMLINTRC, SPEC
from labelgen.packing.targets import TARGETS
from labelgen.packing.tree import MANIFEST

Progress = Callable[[str], None]

SIGNATURE = f"{DIGESTS}.asc"
_MODULE_FILE = re.compile(r"/usr/share/selinux/packages/[a-z][a-z0-9_-]*/((lxc_[a-z0-9_]+)\.(pp|cil))\Z")
_DATA_FILE = re.compile(re.escape(DATA_FOLDER) + r"/[a-z0-9-]+/([a-zA-Z0-9_.]+)\Z")
_SOURCE_FILE = re.compile(r"(lxc_[a-z0-9_]+?)(_ports)?\.(te|fc|cil)\Z")


@dataclass(frozen=True)
class Options:
    """What to check against: the public key of whoever signed; a built tree."""

    key: Optional[Path] = None
    build: Optional[Path] = None


@dataclass(frozen=True)
class Rebuild:
    """What to build again from: role files, a base, templates."""

    roles: Path
    base: Optional[str]
    templates: Path


@dataclass
class Report:
    """What was checked, what is wrong (each names its file), and what was not checked."""

    checked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {"holds": self.holds, "checked": self.checked, "wrong": self.wrong, "notes": self.notes}


@dataclass(frozen=True)
class Package:
    """A package read: its parts, the files in it, and what it says of its making."""

    path: Path
    file: RpmFile
    files: Mapping[str, bytes]
    manifest: bytes
    record: Any

    @property
    def build(self) -> Any:
        """The manifest of the build it was made of."""
        return json.loads(self.manifest)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# -- one package


def _by_name(files: Mapping[str, bytes], name: str) -> bytes:
    found = [data for path, data in files.items() if path == name or path.endswith(f"/{name}")]
    if len(found) != 1:
        raise Damaged(f"holds no {name}; it was not packed by labelgen")
    return found[0]


def _read(path: Path) -> Package:
    """Take a package apart, once its digests were found good. Raises Damaged."""
    file = rpmfile.split(path.read_bytes())
    archive = _unpacked(path)
    wrong = list(rpmfile.problems(file, len(archive)))
    if wrong:
        raise Damaged("; ".join(wrong))
    files = dict(rpmfile.archive(archive))
    manifest, record = _by_name(files, MANIFEST), _by_name(files, RECORD)
    try:
        return Package(path, file, files, manifest, json.loads(record))
    except ValueError as error:
        raise Damaged(f"its {RECORD} is not what labelgen writes") from error


def _unpacked(path: Path) -> bytes:
    try:
        return programs.run("rpm2cpio", path).stdout
    except programs.ProgramFailed as error:
        raise Damaged(f"the payload cannot be unpacked: {error.stderr}") from error


def _cil_digest(package: bytes) -> str:
    """The digest of what a module becomes when a host links it, as a build records it."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        path = Path(scratch) / "module.pp"
        path.write_bytes(package)
        try:
            return _sha256(programs.run("pp", path).stdout.rstrip() + b"\n")
        except programs.ProgramFailed:
            return ""


def _module_holds(name: str, data: bytes, digests: Mapping[str, str], record: Any) -> bool:
    if _sha256(data) == digests.get(f"{name}/{name}.pp"):
        return True
    # A target whose tools write one module version only: the module must become the very CIL that was verified.
    target = TARGETS.get(str(record.get("target")))
    return bool(target and not target.selects_module_version) and _cil_digest(data) == digests.get(f"{name}/{name}.cil")


def _content_problems(package: Package, digests: Mapping[str, str]) -> Iterator[str]:
    for path, data in sorted(package.files.items()):
        name = path.rpartition("/")[2]
        module, data_file, source = _MODULE_FILE.match(path), _DATA_FILE.match(path), _SOURCE_FILE.match(name)
        if name in (MANIFEST, RECORD):
            continue
        if module and module[3] == "pp":
            holds = _module_holds(module[2], data, digests, package.record)
        elif source and (module or data_file or "/" not in path):
            holds = _sha256(data) == digests.get(f"{source[1]}/{name}")
        elif name in (SPEC, DIGESTS, RPMLINTRC) and "/" not in path:
            continue
        else:
            yield f"holds {path}, which labelgen does not put there"
            continue
        if not holds:
            yield f"{path} is not what was verified: the build's manifest has another digest"


def _missing(package: Package, digests: Mapping[str, str]) -> Iterator[str]:
    """A package of a role holds everything of the role: its ports with its module."""
    names = {path.rpartition("/")[2] for path in package.files}
    for path in digests:
        folder, _, name = path.rpartition("/")
        if name.endswith("_ports.cil") and f"{folder}.te" in names and name not in names:
            yield f"lacks {name}, without which {folder} was not verified"


def check_package(path: Path, options: Options, report: Report) -> Optional[Package]:
    """Check one package: structure, digests, signature, and its files against the build's manifest."""
    wrong = sign.package_signature(path, options.key)
    try:
        package = _read(path)
        signed = rpmfile.signed(package.file)
        digests = tree.recorded(package.build, path / MANIFEST)
    except (Damaged, ValueError, InputError) as error:
        said = str(error).splitlines()[0] if str(error) else "is damaged"
        report.wrong += [f"{path}: {line}" for line in (said, *wrong)]
        return None
    if options.build and (options.build / MANIFEST).read_bytes() != package.manifest:
        wrong.append(f"was made of another build than {options.build}")
    if options.key and not signed:
        wrong.append("is not signed")
    wrong += [*_content_problems(package, digests), *_missing(package, digests)]
    report.wrong += [f"{path}: {line}" for line in wrong]
    if not wrong:
        report.checked.append(f"{path}: {'signature, ' if signed else ''}digests and {len(package.files)} files")
    if not signed and not options.key:
        report.notes.append(f"{path}: is not signed")
    return package


# -- folders


def _canonical(path: Path) -> Any:
    """A manifest, in the very form that labelgen writes: no byte of it can be another. Raises InputError."""
    data = tree.read_json(path)
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        again = Path(scratch) / MANIFEST
        output.write_json(again, data)
        if again.read_bytes() != path.read_bytes() or not isinstance(data, dict):
            raise InputError(f"{path}: this file was changed: labelgen writes it in another form")
    return data


def _check_sums(folder: Path, files: Mapping[str, str], options: Options, report: Report) -> None:
    expected = "".join(f"{digest}  {name}\n" for name, digest in files.items() if name.endswith(".rpm"))
    path, signature = folder / DIGESTS, folder / SIGNATURE
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != expected:
        report.wrong.append(f"{path}: does not say what {MANIFEST} says")
    if options.key and not signature.is_file():
        report.wrong.append(f"{path}: is not signed")
    elif options.key:
        report.wrong += sign.file_signature(path, signature, options.key)


def check_packages(folder: Path, manifest: Any, options: Options, report: Report) -> list[Package]:
    """Check a folder that `labelgen rpm` made."""
    files = manifest["files"]
    report.wrong += tree.changes(folder, files, (MANIFEST,))
    _check_sums(folder, files, options, report)
    record = {key: value for key, value in manifest.items() if key != "files"}
    found = []
    for name in sorted(files):
        if not name.endswith(".rpm") or not (folder / name).is_file():
            continue
        package = check_package(folder / name, options, report)
        if package is None:
            continue
        found.append(package)
        if package.record != record:
            report.wrong.append(f"{folder / MANIFEST}: says something else than the {RECORD} in {name}")
        if _sha256(package.manifest) != manifest.get("build"):
            report.wrong.append(f"{folder / name}: was made of another build than {folder / MANIFEST} says")
    return found


def check_build(folder: Path, manifest: Any, report: Report) -> None:
    """Check a folder that `labelgen build` made."""
    digests = tree.recorded(manifest, folder / MANIFEST)
    wrong = list(tree.changes(folder, digests, (MANIFEST,)))
    report.wrong += wrong
    if not wrong:
        report.checked.append(f"{folder}: {len(digests)} files")


# -- again from the source


def _input_differences(was: Any, now: Any) -> Iterator[str]:
    """What of the inputs of two builds differs, from their manifests."""
    for key, word in (("roles", "the role file"), ("templates", "the template"), ("tools", "the program")):
        for name in sorted({*was.get(key, {}), *now.get(key, {})}):
            if was.get(key, {}).get(name) != now.get(key, {}).get(name):
                yield f"{word} {name} is another one"
    if was["base"]["sha256"] != now["base"]["sha256"]:
        yield f"the base is another one: it was {was['base']['name']}, now it is {now['base']['name']}"
    if was["labelgen"] != now["labelgen"]:
        yield f"it was labelgen {was['labelgen']}, now it is {now['labelgen']}"


def _build_again(was: Any, rebuild: Rebuild, place: Path, report: Report, progress: Progress) -> bool:
    """Build again what a manifest is of; tell what differs. Whether there is a build."""
    from labelgen import build  # noqa: PLC0415 - heavy

    base = rebuild.base or (was["base"]["name"] if was["base"]["name"] in ("reference", "host") else None)
    if base is None:
        raise InputError(
            f"the build was made for the base {was['base']['name']}, SHA-256 {was['base']['sha256']}",
            "give that base with --base",
        )
    try:
        build.build(build.Inputs(rebuild.roles, tuple(was["roles"]), base, rebuild.templates), place, progress)
    except build.ClaimsFail:
        report.wrong.append("built again, a claim does not hold: `labelgen verify` says which")
        return False
    now = tree.read_json(place / MANIFEST)
    differing = [name for name, digest in was["files"].items() if now["files"].get(name) != digest]
    differing += [name for name in now["files"] if name not in was["files"]]
    reasons = list(_input_differences(was, now))
    report.wrong += [f"{name}: built again, it is another file" for name in differing]
    (report.wrong if differing else report.notes).extend(f"since the build: {reason}" for reason in reasons)
    if not differing:
        report.checked.append(f"built again from the role files: the same {len(was['files'])} files")
    return True


def _pack_again(package: Package, place: Path, rebuild: Rebuild, progress: Progress) -> dict[str, RpmFile]:
    record = package.record
    request = pack.Request(
        build=place,
        roles=tuple(record["roles"]),
        target=record["target"],
        version=record["version"],
        release=record["release"],
        policy_type=record["policy_type"],
        selinux_policy=record["selinux_policy"],
        bundle=record["bundle"],
        epoch=record["epoch"],
    )
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        made = pack.make(pack.plan(request), rebuild.templates, Path(scratch), progress)
        return {path.name: rpmfile.split(path.read_bytes()) for path in made}


def _compare(package: Package, again: Optional[RpmFile], report: Report) -> None:
    if again is None:
        report.wrong.append(f"{package.path}: packed again, there is no such package")
    elif package.file.header != again.header:
        report.wrong.append(f"{package.path}: packed again, its header (scripts, requirements, digests) is another")
    elif package.file.payload != again.payload:
        report.wrong.append(f"{package.path}: packed again, its payload is another")
    elif not rpmfile.signed(package.file) and package.file != again:
        report.wrong.append(f"{package.path}: packed again, its lead or signature header is another")
    else:
        report.checked.append(f"{package.path}: packed again, the same bytes")


def _rebuild_packages(packages: list[Package], rebuild: Rebuild, report: Report, progress: Progress) -> None:
    """Build and pack again, once for all packages that say they were made alike."""
    made: dict[str, Optional[dict[str, RpmFile]]] = {}
    for package in packages:
        key = json.dumps([package.record, _sha256(package.manifest)], sort_keys=True)
        if key not in made:
            with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
                place = Path(scratch) / "build"
                good = _build_again(package.build, rebuild, place, report, progress) and report.holds
                if good:
                    # The same files; what else the manifest says of the machine was told, and does not belong to them.
                    (place / MANIFEST).write_bytes(package.manifest)
                made[key] = _pack_again(package, place, rebuild, progress) if good else None
        again = made[key]
        if again is not None:
            _compare(package, again.get(package.path.name), report)


def check(path: Path, options: Options, rebuild: Optional[Rebuild], progress: Progress) -> Report:
    """Check a package, a folder of packages or a built tree. Raises InputError where there is nothing to check."""
    report = Report()
    if options.build:
        report.wrong += tree.changes(
            options.build, tree.recorded(_canonical(options.build / MANIFEST), options.build / MANIFEST), (MANIFEST,)
        )
    if path.is_file():
        found = check_package(path, options, report)
        packages = [found] if found else []
    elif path.is_dir():
        manifest = _canonical(path / MANIFEST)
        if "target" not in manifest:
            check_build(path, manifest, report)
            if rebuild:
                _rebuild_build(path, manifest, rebuild, report, progress)
            return report
        packages = check_packages(path, manifest, options, report)
    else:
        raise InputError(f"there is no {path}", "name a package, a folder of packages or a built tree")
    if rebuild and report.holds:
        _rebuild_packages(packages, rebuild, report, progress)
    return report


def _rebuild_build(path: Path, manifest: Any, rebuild: Rebuild, report: Report, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        place = Path(scratch) / "build"
        if not _build_again(manifest, rebuild, place, report, progress) or not report.holds:
            return
        if (place / MANIFEST).read_bytes() != (path / MANIFEST).read_bytes():
            report.wrong.append(f"{path / MANIFEST}: built again, it is another file")
