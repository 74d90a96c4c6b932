"""Packages made of a build, with one run of rpmbuild."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from labelgen import output, programs
from labelgen.errors import InputError, MachineError
from labelgen.packing import sign, spec, targets, tree
from labelgen.packing.sign import Key
from labelgen.packing.spec import DIGESTS, LAST_EPOCH, RECORD, RPMLINTRC, SPEC, Plan
from labelgen.packing.tree import MANIFEST, Module

Progress = Callable[[str], None]

# The time that packages carry where SOURCE_DATE_EPOCH is not set: no time of a build is in them, so that the same
# inputs give the same bytes. 2024-01-01.
DEFAULT_EPOCH = 1704067200

# rpm: a version and a release are made of these, and cannot hold a - or two dots together.
VERSION = re.compile(r"(?!.*\.\.)[0-9][A-Za-z0-9._+~^]{0,63}\Z")
POLICY_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
POLICY_VERSION = re.compile(r"[0-9][A-Za-z0-9._+~^:]*(-[A-Za-z0-9._+~^]+)?\Z")


class Request(NamedTuple):
    """What a person asks for."""

    build: Path
    roles: tuple[str, ...]
    target: str
    version: str
    release: str
    policy_type: str
    selinux_policy: Optional[str]
    bundle: bool
    epoch: int


class Packages(NamedTuple):
    """Packages that were made."""

    plan: Plan
    files: tuple[str, ...]
    notes: tuple[str, ...]


def epoch() -> int:
    """The time that everything made carries: SOURCE_DATE_EPOCH, or a constant. Raises InputError."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return DEFAULT_EPOCH
    if not re.match(r"[0-9]{1,10}\Z", given) or int(given) > LAST_EPOCH:
        raise InputError(f"SOURCE_DATE_EPOCH is {given!r}", "give seconds since 1970, a whole number")
    return int(given)


def _checked(words: str, form: re.Pattern[str], what: str, example: str) -> str:
    if not form.match(words):
        raise InputError(f"{words!r} is no {what}", f"write it like {example}")
    return words


def plan(request: Request) -> Plan:
    """What to pack, from a request. Raises InputError for what is wrong in it, in the build, or for the target."""
    target = targets.named(request.target)
    built = tree.read_tree(request.build)
    chosen = built.chosen(request.roles)
    targets.refuse_what_it_cannot_have(target, [(module.name, module.version) for module in chosen])
    selinux_policy = request.selinux_policy or built.manifest["base"].get("selinux_policy")
    targets.refuse_versions_it_cannot_read(target, [request.version, request.release, selinux_policy or ""])
    return Plan(
        tree=built,
        modules=tuple(chosen),
        target=target,
        version=_checked(request.version, VERSION, "version of a package", "1.0 or 2024.1"),
        release=_checked(request.release, VERSION, "release of a package", "1"),
        policy_type=_checked(request.policy_type, POLICY_TYPE, "type of policy", "targeted"),
        selinux_policy=selinux_policy
        and _checked(selinux_policy, POLICY_VERSION, "version of selinux-policy", "38.1.35-2.el9"),
        bundle=request.bundle,
        epoch=request.epoch,
    )


def notes(made: Plan) -> tuple[str, ...]:
    """What a person should know of the packages before they go anywhere."""
    found = []
    if made.tree.manifest["base"]["name"] == "reference":
        found.append("built for the base reference, which is no host's policy: build with --base for the hosts' own")
    if made.selinux_policy is None:
        found.append(
            "the build does not know the version of selinux-policy that its base is of, so the packages require any; "
            "--selinux-policy gives it"
        )
    return tuple(found)


def _module_digest(module: Module, made: Plan, scratch: Path) -> str:
    """The digest of the module as it is packed: what was verified, or, in another module version, what becomes the same
    CIL. Raises InputError where it would not."""
    version = targets.packed_version(made.target, module.version)
    if version == module.version:
        return module.digests["pp"]
    place = scratch / module.name
    place.mkdir()
    binary, package = place / f"{module.name}.mod", place / f"{module.name}.pp"
    programs.run("checkmodule", "-M", "-m", "-c", str(version), "-o", binary, module.files["te"])
    contexts: list[programs.Argument] = ["-f", module.files["fc"]] if module.files["fc"].stat().st_size else []
    programs.run("semodule_package", "-o", package, "-m", binary, *contexts)
    if programs.run("pp", package).stdout.rstrip() != module.files["cil"].read_bytes().rstrip():
        raise InputError(
            f"{module.name}: as module version {version}, which {made.target.name} needs, it would say something else "
            "than what was verified"
        )
    return output.digest(package)


def _sums(made: Plan, scratch: Path) -> str:
    """What %check has sha256sum read: the modules, the CIL that a host makes of each, the CIL with ports as it is."""
    lines = []
    for module in made.modules:
        lines.append(f"{_module_digest(module, made, scratch)}  {module.name}.pp")
        lines.append(f"{module.digests['cil']}  cil/{module.name}.cil")
        if module.has_ports:
            lines.append(f"{module.digests['ports']}  {module.files['ports'].name}")
    return "".join(f"{line}\n" for line in lines)


def _write_sources(made: Plan, text: str, templates: Path, place: Path, scratch: Path) -> None:
    """Everything that rpmbuild reads, with modes and times of no machine."""
    (place / DIGESTS).write_text(_sums(made, scratch), encoding="utf-8")
    (place / SPEC).write_text(text, encoding="utf-8")
    output.write_json(place / RECORD, made.record())
    shutil.copyfile(templates / RPMLINTRC, place / RPMLINTRC)
    shutil.copyfile(made.tree.folder / MANIFEST, place / MANIFEST)
    for module in made.modules:
        for key in ("te", "fc", "ports"):
            if key in module.files:
                shutil.copyfile(module.files[key], place / module.files[key].name)
    for path in place.iterdir():
        path.chmod(0o644)
        os.utime(path, (made.epoch, made.epoch))


def macros(top: Path) -> dict[str, str]:
    """What is set for rpmbuild: places below `top`, and all that would let the machine, the user or the hour into the
    packages."""
    return {
        "_topdir": str(top),
        "_sourcedir": str(top / "SOURCES"),
        "_specdir": str(top / "SOURCES"),
        "_builddir": str(top / "BUILD"),
        "_buildrootdir": str(top / "BUILDROOT"),
        "_rpmdir": str(top / "RPMS"),
        "_srcrpmdir": str(top / "RPMS"),
        "_tmppath": str(top / "tmp"),
        "_dbpath": str(top / "db"),
        "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_buildhost": "localhost",
        "_srcdefattr": "(-,root,root)",
        "_binary_payload": "w9.gzdio",
        "_source_payload": "w9.gzdio",
        "_binary_filedigest_algorithm": "8",
        "_source_filedigest_algorithm": "8",
        "clamp_mtime_to_source_date_epoch": "1",
        "build_mtime_policy": "clamp_to_source_date_epoch",
        "use_source_date_epoch_as_buildtime": "1",
        "source_date_epoch_from_changelog": "0",
        "optflags": "%{nil}",
        "dist": "%{nil}",
        "__os_install_post": "%{nil}",
        "_smp_build_ncpus": "1",
    }


def rpmbuild_arguments(top: Path) -> list[str]:
    """What rpmbuild is started with, to make all packages of the spec in `top`/SOURCES in one run."""
    defines = [word for name, value in macros(top).items() for word in ("--define", f"{name} {value}")]
    undefines = [word for name in ("vendor", "packager", "distribution") for word in ("--undefine", name)]
    return ["-ba", *undefines, "--nodeps", "--target", "noarch", *defines, str(top / "SOURCES" / SPEC)]


def _rpmbuild(made: Plan, top: Path) -> list[Path]:
    for name in ("BUILD", "BUILDROOT", "RPMS", "tmp", "db"):
        (top / name).mkdir()
    # HOME: the user's own .rpmmacros must not count.
    environment = {"HOME": str(top), "SOURCE_DATE_EPOCH": str(made.epoch), "TZ": "UTC"}
    try:
        programs.run("rpmbuild", *rpmbuild_arguments(top), environment=environment)
    except programs.ProgramFailed as error:
        said = [line.removeprefix("error: ") for line in error.stderr.splitlines() if not line.startswith("+ ")]
        raise MachineError("\n".join(["rpmbuild failed:", *said[-12:]])) from error
    return sorted((top / "RPMS").rglob("*.rpm"))


def _plain_temporary_folder() -> str:
    """Where temporary folders go whose path stands in macros of rpm, which puts no quotes around it."""
    place = tempfile.gettempdir()
    return place if re.match(r"[A-Za-z0-9/._-]+\Z", place) else "/tmp"


def make(made: Plan, templates: Path, place: Path, progress: Progress) -> list[Path]:
    """Make the packages of a plan in `place`, an empty folder; return them, the source package with them."""
    with tempfile.TemporaryDirectory(prefix="labelgen-", dir=_plain_temporary_folder()) as name:
        top = Path(name)
        (top / "SOURCES").mkdir()
        text = spec.render(made, spec.packages(made), templates)
        scratch = top / "scratch"
        scratch.mkdir()
        _write_sources(made, text, templates, top / "SOURCES", scratch)
        progress("running rpmbuild")
        return [Path(shutil.move(str(path), place / path.name)) for path in _rpmbuild(made, top)]


def sums(files: Sequence[Path]) -> str:
    """The digests of files as sha256sum writes them."""
    return "".join(f"{output.digest(path)}  {path.name}\n" for path in files)


def _sign(key: Key, files: Sequence[Path], sums_file: Path, progress: Progress) -> Path:
    progress("signing")
    sign.sign_packages(key, files)
    sums_file.write_text(sums(files), encoding="utf-8")
    return sign.sign_file(key, sums_file)


def pack(request: Request, templates: Path, key: Optional[Key], destination: Path, progress: Progress) -> Packages:
    """Pack a build into `destination`, whole or not at all, and sign it with `key` if there is one.

    Raises InputError, MachineError; then nothing is changed.
    """
    output.check(destination)
    made = plan(request)
    if key:
        sign.check_key(key)
    with output.whole(destination) as folder:
        packages = make(made, templates, folder, progress)
        sums_file = folder / DIGESTS
        sums_file.write_text(sums(packages), encoding="utf-8")
        files = [*packages, sums_file, *([_sign(key, packages, sums_file, progress)] if key else [])]
        digests = {path.name: output.digest(path) for path in files}
        output.write_json(folder / MANIFEST, {**made.record(), "files": digests})
    return Packages(made, tuple(path.name for path in packages), notes(made))
