"""Build and pack again from the role files, and compare bytes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from labelgen.errors import InputError
from labelgen.packing import pack, rpmfile, tree
from labelgen.packing.package import Package, sha256
from labelgen.packing.report import Report
from labelgen.packing.rpmfile import RpmFile
from labelgen.packing.tree import MANIFEST

Progress = Callable[[str], None]

# Bases that every machine has under the same name.
KNOWN_BASES = ("reference", "host")


@dataclass(frozen=True)
class Sources:
    """What to build again from: role files, a base (None: the one that the build names), templates."""

    roles: Path
    base: Optional[str]
    templates: Path


def _differences(was: Any, now: Any) -> Iterator[str]:
    """What of the inputs of two builds differs, from their manifests."""
    for key, word in (("roles", "the role file"), ("templates", "the template"), ("tools", "the program")):
        before, after = was.get(key, {}), now.get(key, {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield f"{word} {name} is another one"
    if was["base"]["sha256"] != now["base"]["sha256"]:
        yield f"the base is another one: it was {was['base']['name']}, now it is {now['base']['name']}"
    if was["labelgen"] != now["labelgen"]:
        yield f"it was labelgen {was['labelgen']}, now it is {now['labelgen']}"


def _base(was: Any, sources: Sources) -> str:
    base = was["base"]
    if sources.base is None and base["name"] not in KNOWN_BASES:
        raise InputError(
            f"the build was made for the base {base['name']}, SHA-256 {base['sha256']}", "give that base with --base"
        )
    return sources.base or str(base["name"])


def build_again(was: Any, sources: Sources, place: Path, report: Report, progress: Progress) -> bool:
    """Build in `place` what a manifest is of, and tell which files are others, and why. Whether all are the same.

    Raises InputError for a base or a role that is not there.
    """
    from labelgen import build  # noqa: PLC0415 - heavy, and only needed here

    base_is = (was["base"]["sha256"], was["base"]["name"])
    inputs = build.Inputs(sources.roles, tuple(was["roles"]), _base(was, sources), sources.templates, base_is)
    try:
        build.build(inputs, place, progress)
    except build.ClaimsFail:
        report.wrong.append("built again, a claim does not hold: `labelgen verify` says which")
        return False
    now = tree.read_json(place / MANIFEST)
    names = {**was["files"], **now["files"]}
    others = [name for name in names if was["files"].get(name) != now["files"].get(name)]
    report.wrong += [f"{name}: built again, it is another file" for name in others]
    reasons = [f"since the build: {reason}" for reason in _differences(was, now)]
    (report.wrong if others else report.notes).extend(reasons)
    if not others:
        report.checked.append(f"built again from the role files: the same {len(names)} files")
    return not others


def rebuild_tree(folder: Path, manifest: Any, sources: Sources, report: Report, progress: Progress) -> None:
    """Build a built tree again, and compare."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        place = Path(scratch) / "build"
        same = build_again(manifest, sources, place, report, progress)
        if same and (place / MANIFEST).read_bytes() != (folder / MANIFEST).read_bytes():
            report.wrong.append(f"{folder / MANIFEST}: built again, it is another file")


def _pack_again(package: Package, place: Path, templates: Path, progress: Progress) -> dict[str, RpmFile]:
    """The packages made of a tree in the way that one of them says it was made."""
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
        made = pack.make(pack.plan(request), templates, Path(scratch), progress)
        return {path.name: rpmfile.split(path.read_bytes()) for path in made}


def _again(package: Package, sources: Sources, report: Report, progress: Progress) -> Optional[dict[str, RpmFile]]:
    """Everything that comes of building and packing again as a package says; None where the build is another."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        place = Path(scratch) / "build"
        try:
            if not build_again(package.build, sources, place, report, progress):
                return None
        except (KeyError, TypeError, AttributeError):
            report.wrong.append(f"{package.path}: its {MANIFEST} is not that of a build")
            return None
        # The files are the same; what else the manifest says of the machine was told, and is no part of them.
        (place / MANIFEST).write_bytes(package.manifest)
        return _pack_again(package, place, sources.templates, progress)


def _compare(package: Package, again: Optional[RpmFile], report: Report) -> None:
    signed = rpmfile.signatures(package.file) > 0
    if again is None:
        report.wrong.append(f"{package.path}: packed again, there is no package of this name")
    elif package.file.header != again.header:
        report.wrong.append(f"{package.path}: packed again, its header (scripts, requirements, digests) is another")
    elif package.file.payload != again.payload:
        report.wrong.append(f"{package.path}: packed again, its payload is another")
    elif not signed and package.file != again:
        report.wrong.append(f"{package.path}: packed again, its lead or signature header is another")
    else:
        report.checked.append(f"{package.path}: packed again, the same bytes{', less the signature' if signed else ''}")


def rebuild_packages(packages: Sequence[Package], sources: Sources, report: Report, progress: Progress) -> None:
    """Build and pack again, once for all packages that say they were made alike, and compare."""
    made: dict[str, Optional[dict[str, RpmFile]]] = {}
    for package in packages:
        key = json.dumps([package.record, sha256(package.manifest)], sort_keys=True)
        if key not in made:
            made[key] = _again(package, sources, report, progress)
        again = made[key]
        if again is not None:
            _compare(package, again.get(package.path.name), report)
