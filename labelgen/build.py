"""The main job: from role files to policy modules that are verified on the linked policy."""

from __future__ import annotations

import json
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from labelgen import __version__, facts, kept, local, output, programs, role
from labelgen import base as bases
from labelgen.base import Base
from labelgen.built import MANIFEST, REACH, VERDICT, BuiltTree, open_tree
from labelgen.claims import Verification
from labelgen.compiling import Compiled, compile_all
from labelgen.errors import (
    InputError,
    LinkError,
    MachineError,
    ParentError,
    Problem,
    RoleFileError,
    listed,
    suggestion,
)
from labelgen.facts import Facts
from labelgen.filecontexts import FileContexts
from labelgen.gathering import gathered, not_declared
from labelgen.modules import RoleModule, role_modules
from labelgen.origins import Origins
from labelgen.policy import Policy
from labelgen.reach import Reacher, reaches_to_json
from labelgen.role import Role, RoleFile
from labelgen.shipped import DEFAULT_PARENT, SHARED_MODULE
from labelgen.verdict import Verdict, verdict

# Jinja comes with it, and only a build renders.
if TYPE_CHECKING:
    from labelgen.render import Renderer

Progress = Callable[[str], None]

TOOLS = ("checkmodule", "semodule_package", "pp", "secilc", "checkpolicy")


@dataclass(frozen=True)
class Inputs:
    """What a build is made of; base_is: digest and name of a base that was elsewhere before, and keeps its name;
    at_worst: of a binary base everything counts that it may hide."""

    roles: Path
    names: tuple[str, ...]
    base: Optional[str]
    templates: Path
    base_is: Optional[tuple[str, str]] = None
    at_worst: bool = False


@dataclass(frozen=True)
class Prepared:
    """Inputs read and found good: the roles, the base and what it says."""

    files: list[RoleFile]
    base: Base
    facts: Facts
    notice: str


@dataclass(frozen=True)
class Built:
    """A finished build; aliases: other names of types in what was linked."""

    verdict: Verdict
    base: Base
    notice: str
    aliases: Mapping[str, str] = field(default_factory=dict)


def prepare(inputs: Inputs, progress: Progress) -> Prepared:
    """Read the roles and the base. Raises InputError, MachineError."""
    files = role.read_all(inputs.roles, inputs.names)
    parents = sorted({file.role.parent for file in files})
    if len(parents) > 1:
        raise RoleFileError([_of_another_parent(files)])
    try:
        base, known, notice = open_with_parent(inputs.base, parents[0], progress)
    except ParentError as error:
        if "parent" not in files[0].document.data:
            raise
        raise RoleFileError([files[0].problem("parent", message=error.message)]) from error
    if inputs.base_is and inputs.base_is[0] == base.digest:
        base = replace(base, name=inputs.base_is[1])
    return Prepared(files, base, known, notice)


def _of_another_parent(files: Sequence[RoleFile]) -> Problem:
    """What is wrong where roles have several parents: told of one that is not as most are, and that names its own."""
    counts = Counter(file.role.parent for file in files)
    few = min(files, key=lambda file: (counts[file.role.parent], "parent" not in file.document.data))
    other = next(file for file in files if file.role.parent != few.role.parent)
    words = f"{few.role.parent} here, and {other.path} has {other.role.parent}: roles of one build share one parent"
    return few.problem("parent", message=f"{words}{suggestion(few.role.parent, [other.role.parent])}")


def open_with_parent(spec: Optional[str], parent: str, progress: Progress) -> tuple[Base, Facts, str]:
    """Open a base and its facts; without a spec the host's if it has the parent, else the reference.

    Returns also one line that says which and why, where the user did not say it.
    """
    if spec is not None:
        base = bases.open_base(bases.locate(spec), progress)
        return base, facts.of_base(base, parent), ""
    reason = "this host has no SELinux policy"
    if bases.host_has_policy():
        try:
            base = bases.open_base(bases.locate(bases.HOST), progress)
            # Reading all its rules only to find no parent would cost a second on every call.
            if facts.names_type(base, parent):
                return base, facts.of_base(base, parent), "base: this host's own policy"
            reason = f"the host's own policy has no type {parent}"
        except InputError as error:
            reason = f"the host's own policy cannot be used: {error.message.splitlines()[0]}"
    base = bases.open_base(bases.locate(bases.REFERENCE), progress)
    return base, facts.of_base(base, parent), f"base: reference ({reason})"


def _write_sources(folder: Path, renderer: Renderer, modules: Sequence[RoleModule]) -> Iterator[Path]:
    """Write the source of every module into a folder of its own; each can be compiled while the next is written."""

    def put(name: str, te: str, fc: str, ports: str = "") -> Path:
        place = folder / name
        place.mkdir()
        (place / f"{name}.te").write_text(te, encoding="utf-8")
        (place / f"{name}.fc").write_text(fc, encoding="utf-8")
        if ports:
            (place / f"{name}_ports.cil").write_text(ports, encoding="utf-8")
        return place

    yield put(SHARED_MODULE, renderer.shared(), "")
    for module in modules:
        yield put(
            module.role.module,
            renderer.role(module),
            renderer.file_contexts(module),
            renderer.ports(module) if module.ports else "",
        )


def file_contexts(policy: Path, base: Base) -> FileContexts:
    """The file contexts that were linked with a policy, and after them what the base's host has of its own."""
    return FileContexts.read(policy.with_suffix(".fc"), base.folder)


def link_onto(base: Base, compiled: Sequence[Compiled], policy: Path) -> None:
    """Link compiled modules onto a base. Raises InputError with the linker's words."""
    _link(base, [cil for module in compiled for cil in module.linked], policy)


def _link(base: Base, cil: Sequence[Path], policy: Path) -> None:
    together, contexts = policy.with_suffix(".cil"), policy.with_suffix(".fc")
    try:
        with output.temporary() as scratch:
            modules = local.beside_roles(cil, base.folder, scratch)
            together.write_bytes(gathered(path.read_bytes() for path in modules))
            try:
                bases.link([base.cil, together], base.mls, policy, contexts)
            except programs.ProgramFailed as error:
                if error.is_of_machine:
                    raise
                # Once more as they are, so that the linker's words are about the files that a person has.
                bases.link([base.cil, *modules], base.mls, policy, contexts)
    except programs.ProgramFailed as error:
        if error.is_of_machine:
            raise
        words = error.stderr
        for path in cil:
            words = words.replace(str(path), path.name)
        missing = not_declared((path.read_bytes() for path in cil), base.cil.read_bytes())
        if missing:
            words += f"\nIt has no {listed(missing)}, which the modules say something of."
        raise LinkError(
            f"the modules do not link onto the base {base.name}:\n{words}",
            "build for this base"
            if missing
            else "the base is not the one they were made for, a template was changed, or the base contradicts itself",
        ) from error


def build(inputs: Inputs, destination: Path, progress: Progress, keep: bool = False) -> Built:
    """Build, link and verify the roles, and put the result in `destination` if every claim holds.

    Takes: `keep`, whether what was linked is kept in the cache, for what is asked of it later.

    Returns the verdict, whether it holds or not. Raises InputError, MachineError; then nothing is changed.
    """
    from labelgen.render import Renderer  # noqa: PLC0415 - as above

    output.check(destination)
    prepared = prepare(inputs, progress)
    modules = role_modules(prepared.files, prepared.facts)
    renderer = Renderer(inputs.templates, prepared.base, prepared.facts)
    with output.whole(destination) as folder, output.temporary() as scratch:
        progress(f"compiling {len(modules) + 1} modules")
        compiled = compile_all(_write_sources(folder, renderer, modules), len(modules) + 1)
        progress(f"linking onto the base {prepared.base.name}")
        linked = scratch / "policy"
        tools, digests = programs.meanwhile(
            lambda: link_onto(prepared.base, compiled, linked), lambda: (tool_versions(), _digests(folder))
        )
        progress("verifying the linked policy")
        policy = Policy(linked, to_verify=True)
        _check_declared(policy, modules)
        verification = Verification(
            policy,
            tuple(prepared.files),
            prepared.base.exact,
            base_ports=prepared.facts.ports,
            file_contexts=file_contexts(linked, prepared.base),
            origins=Origins(policy, prepared.base, [cil for module in compiled for cil in module.linked]),
            at_worst=inputs.at_worst,
        )
        result = verdict(verification)
        if not result.holds:
            raise ClaimsFail(Built(result, prepared.base, prepared.notice))
        output.write_json(
            folder / VERDICT, {"labelgen": __version__, "base": _about(prepared.base), **result.to_json()}
        )
        _write_reach(folder / REACH, result, verification.reacher, prepared.facts)
        digests.update((Path(name), output.digest(folder / name)) for name in (VERDICT, REACH))
        manifest = output.sealed(_manifest(prepared, renderer.used, compiled, tools, digests))
        output.write_json(folder / MANIFEST, manifest)
        if keep:
            _keep_linked(manifest, policy, [file.role.type for file in prepared.files])
    return Built(result, prepared.base, prepared.notice)


def _check_declared(policy: Policy, modules: Sequence[RoleModule]) -> None:
    """Raise InputError where a template left out a type that a role consists of."""
    for module in modules:
        for name in (module.role.type, *(own.name for own in module.ports), *(own.name for own in module.files)):
            if name not in policy.types:
                raise InputError(
                    f"the module {module.role.module} declares no type {name}", "a template was changed: look there"
                )


class ClaimsFail(Exception):
    """The build was made and a claim does not hold, so it is not put in place."""

    def __init__(self, built: Built) -> None:
        super().__init__("a claim does not hold")
        self.built = built


def _about(base: Base) -> dict[str, Any]:
    return {"name": bases.told_name(base.name), "sha256": base.digest, "exact": base.exact}


def _write_reach(path: Path, result: Verdict, reacher: Reacher, known: Facts) -> None:
    kept = {
        "sockets": sorted(name for name in known.classes if name.endswith("socket")),
        **reaches_to_json((item.reach for item in result.roles), reacher.ports, reacher.addresses, reacher.constraints),
    }
    path.write_text(json.dumps(kept), encoding="utf-8")


def _manifest(
    prepared: Prepared,
    templates: Sequence[Path],
    compiled: Sequence[Compiled],
    tools: Mapping[str, str],
    digests: Mapping[Path, str],
) -> dict[str, Any]:
    """Every input, tool version and digest of a build; nothing of when or where it was made."""
    return {
        "labelgen": __version__,
        "base": {**_about(prepared.base), "selinux_policy": prepared.base.selinux_policy},
        "parent": prepared.facts.derivation.parent,
        "roles": {
            file.role.name: {"file": file.path.name, "sha256": output.digest(file.path)} for file in prepared.files
        },
        "templates": {path.name: output.digest(path) for path in templates},
        "modules": [{"name": module.name, "version": module.version} for module in compiled],
        "tools": tools,
        "files": {str(path): digest for path, digest in sorted(digests.items())},
    }


def _digests(folder: Path) -> dict[Path, str]:
    """The SHA-256 of the files in a folder, by their path in it."""
    return {path.relative_to(folder): output.digest(path) for path in folder.rglob("*") if path.is_file()}


def tool_versions() -> dict[str, str]:
    """The versions of what a build is made with, as far as they can be told without asking each program."""
    library = bases.setools_version()
    return {
        "python": platform.python_version(),
        "setools": library,
        **{name: bases.program_digest(name) for name in TOOLS},
    }


def verify(inputs: Inputs, policy: Optional[Path], progress: Progress) -> tuple[Verdict, str]:
    """Check the roles on a base, or on a policy in which they are installed; keep nothing.

    Returns the verdict, and a line that says which base was taken. Raises InputError, MachineError.
    """
    if policy is not None:
        return verify_installed(inputs, policy), ""
    with output.temporary() as scratch:
        try:
            built = build(inputs, scratch / "build", progress)
        except ClaimsFail as failure:
            built = failure.built
    return built.verdict, built.notice


def verify_installed(inputs: Inputs, path: Path) -> Verdict:
    """Check the roles on a binary policy in which they are installed. Raises InputError."""
    if not path.is_file():
        raise InputError(f"there is no policy {path}")
    return verify_linked(role.read_all(inputs.roles, inputs.names), Policy(path, to_verify=True))


def verify_linked(files: Sequence[RoleFile], policy: Policy, contexts: Optional[FileContexts] = None) -> Verdict:
    """Check roles on a policy in which they are linked, with its file contexts if they are known.

    Raises InputError where it lacks one of them.
    """
    missing = [file.role.type for file in files if file.role.type not in policy.types]
    if missing:
        raise InputError(
            f"{policy.path}: this policy has no type {', '.join(missing)}",
            "name the roles that are installed, or use --base to verify before installing",
        )
    return verdict(Verification(policy, tuple(files), file_contexts=contexts))


def link_built(
    build_folder: Path, inputs: Inputs, roles: Sequence[Role], policy: Path, progress: Progress
) -> tuple[Base, Facts, str]:
    """Link the modules of a built tree, as they are, onto a base.

    Returns the base, its facts, and a line that says which it is where the user did not. Raises InputError where there
    is no
    build, a module or the file of one of the `roles` was changed since, or they do not link.
    """
    tree = open_tree(build_folder)
    for item in roles:
        tree.check_role(item.name, inputs.roles)
    linked = tree.linked()
    base, known, notice = open_with_parent(inputs.base, roles[0].parent, progress)
    progress(f"linking onto the base {base.name}")
    _link(base, linked, policy)
    return base, known, notice


def kept_linked(build_folder: Path, spec: Optional[str], progress: Progress) -> tuple[Path, str]:
    """What is kept of a built tree on the base that it was built for (kept.py); linked again where it is gone.

    Returns the folder of the cache, good for an hour, and the name of the base. Raises InputError where `spec`, or what
    is taken without where it is needed, is another base.
    """
    tree = open_tree(build_folder)

    def make(folder: Path) -> None:
        base = _base_of(tree, spec, progress)
        progress(f"linking onto the base {base.name}")
        _link(base, tree.linked(), folder / kept.POLICY)
        kept.keep(Policy(folder / kept.POLICY), [reach.domain for reach in tree.reach().values()], folder)

    if spec is not None:
        _base_of(tree, spec, progress)
    with bases.cached(_kept_name(tree.manifest), make) as folder:
        return folder, str(tree.manifest["base"].get("name"))


def _base_of(tree: BuiltTree, spec: Optional[str], progress: Progress) -> Base:
    """The base that a tree was built for. Raises InputError where `spec`, or what is taken without, is another one."""
    name, parent = str(tree.manifest["base"].get("name")), str(tree.manifest.get("parent", DEFAULT_PARENT))
    spec = spec or (bases.REFERENCE if name == bases.REFERENCE else None)
    base, _, _ = open_with_parent(spec, parent, progress)
    if base.digest != tree.base_digest:
        raise InputError(f"the build was made for {name}, and {base.name} is another base", "name it with --base")
    return base


def _kept_name(manifest: Mapping[str, Any]) -> str:
    """By all that a manifest says, whatever its own digest is by now."""
    said = {name: value for name, value in manifest.items() if name != output.SEAL}
    return f"linked-{output.sealed(said)[output.SEAL][:32]}"


def _keep_linked(manifest: Mapping[str, Any], policy: Policy, domains: Iterable[str]) -> None:
    """Keep what was linked for a built tree, where the cache takes it; else it is linked again."""

    def make(folder: Path) -> None:
        shutil.copyfile(policy.path, folder / kept.POLICY)
        kept.keep(policy, domains, folder)

    with suppress(OSError, MachineError), bases.cached(_kept_name(manifest), make):
        pass


def verify_built(build_folder: Path, inputs: Inputs, progress: Progress) -> Built:
    """Link the modules of a built tree, as they are, onto a base and check their roles there. Raises InputError."""
    files = role.read_all(inputs.roles, inputs.names or open_tree(build_folder).roles)
    with output.temporary() as scratch:
        policy = scratch / "policy"
        base, known, notice = link_built(build_folder, inputs, [file.role for file in files], policy, progress)
        linked = Policy(policy, to_verify=True)
        verification = Verification(
            linked,
            tuple(files),
            base.exact,
            base_ports=known.ports,
            file_contexts=file_contexts(policy, base),
            origins=Origins(linked, base, open_tree(build_folder).linked()),
            at_worst=inputs.at_worst,
        )
        return Built(verdict(verification), base, notice, linked.aliases)


def describe_base(spec: Optional[str], parent: str, progress: Progress) -> tuple[Facts, str]:
    """What became of each rule of the parent on a base, and a line that says which base was taken."""
    base, known, notice = open_with_parent(spec, parent, progress)
    return known, notice or f"base: {base.name}"
