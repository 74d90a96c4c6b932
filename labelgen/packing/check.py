"""Back to the source: whether packages, or a built tree, are what was verified, byte for byte."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from labelgen import output
from labelgen.errors import InputError
from labelgen.packing import package as packages
from labelgen.packing import rebuild, rpmfile, sign, tree
from labelgen.packing.package import Package, sha256
from labelgen.packing.rebuild import Sources
from labelgen.packing.report import Report
from labelgen.packing.rpmfile import Damaged
from labelgen.packing.spec import DIGESTS, RECORD
from labelgen.packing.tree import MANIFEST

Progress = Callable[[str], None]

SIGNATURE = f"{DIGESTS}.asc"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*\Z")


@dataclass(frozen=True)
class Options:
    """What to check against: the public key of whoever signed; a built tree."""

    key: Optional[Path] = None
    build: Optional[Path] = None


# -- one package


def check_package(path: Path, options: Options, report: Report) -> Optional[Package]:
    """Check one package: its form, its digests, its signature, and its files against the build's manifest."""
    try:
        file = packages.take_apart(path)
        signatures = rpmfile.signatures(file)
    except Damaged as error:
        report.wrong.append(f"{path}: {error}")
        return None
    wrong = sign.package_signature(path, options.key, signatures)
    try:
        package: Optional[Package] = packages.read(path, file)
    except Damaged as error:
        package, wrong = None, [str(error), *wrong]
    if options.key and not signatures:
        wrong.append("is not signed")
    if package:
        wrong += [*_other_build(package, options), *packages.problems(package)]
    report.wrong += [f"{path}: {line}" for line in wrong]
    if not signatures:
        report.unsigned.append(str(path))
    if package and not wrong:
        what = "signature, digests" if signatures else "digests"
        report.checked.append(f"{path}: {what} and {len(package.files)} files")
    return package


def _other_build(package: Package, options: Options) -> list[str]:
    if options.build and (options.build / MANIFEST).read_bytes() != package.manifest:
        return [f"was made of another build than {options.build}"]
    return []


# -- folders


def _canonical(path: Path) -> dict[str, Any]:
    """A manifest, in the very form that labelgen writes: no byte of it can be another. Raises InputError."""
    data = tree.read_json(path)
    if isinstance(data, dict):
        with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
            again = Path(scratch) / MANIFEST
            output.write_json(again, data)
            if again.read_bytes() == path.read_bytes():
                return data
    raise InputError(f"{path}: this file was changed: labelgen writes it in another form")


def _file_names(manifest: Mapping[str, Any], path: Path) -> dict[str, str]:
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        _FILE_NAME.match(name) and isinstance(digest, str) for name, digest in files.items()
    ):
        raise InputError(f"{path}: this is no manifest of packages")
    return files


def _check_sums(folder: Path, files: Mapping[str, str], options: Options, report: Report) -> None:
    expected = "".join(f"{digest}  {name}\n" for name, digest in files.items() if name.endswith(".rpm"))
    path, signature = folder / DIGESTS, folder / SIGNATURE
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != expected:
        report.wrong.append(f"{path}: does not say what {MANIFEST} says")
    if options.key and not signature.is_file():
        report.wrong.append(f"{path}: is not signed")
    elif options.key:
        report.wrong += sign.file_signature(path, signature, options.key)


def check_packages(folder: Path, manifest: Mapping[str, Any], options: Options, report: Report) -> list[Package]:
    """Check a folder that `labelgen rpm` made."""
    files = _file_names(manifest, folder / MANIFEST)
    report.wrong += tree.changes(folder, files, (MANIFEST,))
    _check_sums(folder, files, options, report)
    record = {key: value for key, value in manifest.items() if key != "files"}
    found = []
    for name in sorted(files):
        if name.endswith(".rpm") and (folder / name).is_file():
            package = check_package(folder / name, options, report)
            if package:
                found.append(package)
                report.wrong += _other_record(folder, package, record)
    return found


def _other_record(folder: Path, package: Package, record: Mapping[str, Any]) -> list[str]:
    wrong = []
    if package.record != record:
        wrong.append(f"{folder / MANIFEST}: says something else than the {RECORD} in {package.path.name}")
    if sha256(package.manifest) != package.record["build"]:
        wrong.append(f"{package.path}: its {RECORD} names another build than its {MANIFEST} is")
    return wrong


def check_tree(folder: Path, manifest: dict[str, Any], report: Report) -> None:
    """Check a folder that `labelgen build` made."""
    digests = tree.recorded(manifest, folder / MANIFEST)
    wrong = list(tree.changes(folder, digests, (MANIFEST,)))
    if not output.is_sealed(manifest):
        wrong.append(f"{folder / MANIFEST}: this file was changed: its own digest is another")
    report.wrong += wrong
    if not wrong:
        report.checked.append(f"{folder}: {len(digests)} files")


def check(path: Path, options: Options, sources: Optional[Sources], progress: Progress) -> Report:
    """Check a package, a folder of packages or a built tree; with `sources`, build it again and compare bytes.

    Raises InputError where there is nothing to check.
    """
    report = Report()
    found: Sequence[Package] = ()
    if options.build:
        check_tree(options.build, _canonical(options.build / MANIFEST), report)
    if path.is_dir():
        manifest = _canonical(path / MANIFEST)
        if "target" not in manifest:
            check_tree(path, manifest, report)
            if sources and report.holds:
                rebuild.rebuild_tree(path, manifest, sources, report, progress)
            return report
        found = check_packages(path, manifest, options, report)
    elif path.is_file():
        one = check_package(path, options, report)
        found = [one] if one else []
    else:
        raise InputError(f"there is no {path}", "name a package, a folder of packages or a built tree")
    if sources and report.holds:
        rebuild.rebuild_packages(found, sources, report, progress)
    return report
