"""Roles put into the policy of a host, and taken out again: verified before, confirmed after, put back if not."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from labelgen import build, changes, output, programs, role
from labelgen.errors import InputError, LabelgenError, MachineError, ParentError
from labelgen.host import records, runtimes, state
from labelgen.host.contexts import Place, places_of_roles
from labelgen.host.records import Before
from labelgen.host.runtimes import Starter
from labelgen.host.store import Store, signals_wait
from labelgen.packing.tree import Module, read_tree
from labelgen.policy import Policy
from labelgen.role import RoleFile
from labelgen.shipped import SHARED_MODULE
from labelgen.verdict import Verdict

Progress = state.Progress


class NotConfirmed(LabelgenError):
    """The policy that was rebuilt or loaded is not what was verified; the old one was put back."""

    exit_status = 1


@dataclass(frozen=True)
class Installed:
    """What an installation did.

    verdict: on the host's own policy before it; confirmed: on the policy after it, None where nothing was installed
    because a claim fails; loaded: whether the kernel has it; starters: the engines of this host and whether they may
    start the roles; relabelled: files whose label was set anew; places: those that belong to the roles;
    selinux: why this host's SELinux holds no container to its role, empty where it does.
    """

    roles: tuple[str, ...]
    state: dict[str, str]
    verdict: Verdict
    confirmed: Optional[Verdict] = None
    loaded: bool = False
    starters: tuple[Starter, ...] = ()
    relabelled: int = 0
    places: tuple[Place, ...] = ()
    selinux: str = ""

    @property
    def holds(self) -> bool:
        """Whether the roles are installed."""
        return self.confirmed is not None

    def to_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "installed": self.holds,
            "loaded": self.loaded,
            "selinux": self.selinux,
            "roles": list(self.roles),
            "state": self.state,
            "engines": [starter.to_json() for starter in self.starters],
            "places": [place.pattern for place in self.places],
            "relabelled": self.relabelled,
            "verdict": self.verdict.to_json(),
        }


@dataclass(frozen=True)
class Request:
    """What to install: roles of a built tree (all without a name), their role files, and into which store."""

    store: Store
    build_folder: Path
    inputs: build.Inputs


def install(request: Request, progress: Progress) -> Installed:
    """Put roles of a build into the policy of a host.

    Verifies them on the host's own policy first; where a claim fails, nothing is changed and the result says so.
    Raises InputError, MachineError (nothing is changed), NotConfirmed (the old state was put back).
    """
    store = request.store
    store.check_writable()
    recover(store, progress)
    tree = read_tree(request.build_folder)
    modules = tree.chosen(request.inputs.names)
    _check_others(store, modules)
    names = tuple(module.role for module in modules if not module.is_shared)
    progress("verifying on the policy of this host")
    try:
        standing = changes.standing(request.build_folder, _on(request, names), progress)
    except ParentError as error:
        raise _without_parent(store, error) from error
    if not standing.verdict.holds:
        return Installed(names, standing.states, standing.verdict)
    files = role.read_all(request.inputs.roles, names)
    kept = [record.file for name in store.roles() if name not in names and (record := records.read(store, name))]
    starters, confirmed, loaded = _put_in(store, modules, [*files, *kept], progress)
    base = {"sha256": standing.base.digest, "exact": standing.base.exact}
    with signals_wait():
        for module, file in zip((module for module in modules if not module.is_shared), files):
            records.write(store, tree, module, file.path, base)
        records.drop_before(store)
    places = tuple(place for place in places_of_roles(store.root, store.type) if _is_of(place, names))
    relabelled = _relabel(places, {place.type for place in places}) if loaded else 0
    off = state.told(store.is_of_host)
    return Installed(names, standing.states, standing.verdict, confirmed, loaded, starters, relabelled, places, off)


def _without_parent(store: Store, error: ParentError) -> MachineError:
    """That the host lacks what roles derive from, and its SELinux too, where it is off."""
    words = [f"the policy of this host has no containers for roles to derive from: {error.message}"]
    return MachineError(
        "\n".join([*words, *filter(None, [state.told(store.is_of_host)])]),
        "put in what brings their types: the package container-selinux on Fedora and RHEL; on Debian 13 the policy's "
        "module `container`",
    )


def _on(request: Request, names: Sequence[str]) -> build.Inputs:
    inputs = request.inputs
    return build.Inputs(inputs.roles, tuple(names), inputs.base or str(request.store.folder), inputs.templates)


def _is_of(place: Place, names: Sequence[str]) -> bool:
    return any(re.fullmatch(rf"lxc_{name}_(content|data)_t", place.type) for name in names)


def _check_others(store: Store, modules: Sequence[Module]) -> None:
    """What is there already and would change under others' feet is refused. Raises InputError."""
    there = store.installed()
    for name, module in there.items():
        package = runtimes.package_of(module.folder, store.root)
        if package:
            raise InputError(
                f"{name} is here from the package {package}", "install the roles as packages, or erase that one first"
            )
    new = {module.role for module in modules}
    others = [name for name in store.roles() if name not in new]
    shared = there.get(SHARED_MODULE)
    if others and shared and hashlib.sha256(shared.content()).hexdigest() != modules[0].digests["pp"]:
        raise InputError(
            f"{', '.join(others)} is installed here with another {SHARED_MODULE}, which all roles share",
            f"install {'them' if len(others) > 1 else 'it'} too, or `labelgen remove {' '.join(others)}` first",
        )


def _put_in(
    store: Store, modules: Sequence[Module], files: Sequence[RoleFile], progress: Progress
) -> tuple[tuple[Starter, ...], Verdict, bool]:
    """One transaction; then what it left is looked at, loaded, and looked at again."""
    there = store.installed()
    paths = [path for module in modules for key, path in module.files.items() if key in records.INSTALLED]
    new = {path.name.split(".")[0] for path in paths}
    stale = [f"{module.name}_ports" for module in modules if f"{module.name}_ports" in set(there) - new]
    replaced = [module for name, module in there.items() if name in {*new, *stale}]
    before = records.keep_before(store, replaced, sorted(new - set(there)))
    with _put_back_unless_done(store, before, progress):
        progress(f"putting {len(paths)} modules into the policy store")
        store.change(paths, stale)
        progress("confirming the rebuilt policy")
        policy = Policy(store.policy())
        confirmed = _confirm(store, files, policy, "rebuilt")
        starters = tuple(runtimes.starters(policy, [file.role for file in files], store.root))
        _check_starters(starters)
        loaded = store.is_of_host and state.is_enabled()
        if loaded:
            progress("loading the policy, and confirming it")
            _load()
            _confirm_loaded(store, files)
    return starters, confirmed, loaded


@contextmanager
def _put_back_unless_done(store: Store, before: Before, progress: Progress) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with signals_wait():
            progress("putting the old state back")
            try:
                put_back(store, before)
            except programs.ProgramFailed as second:
                raise _not_put_back(store, error, second) from error
        if isinstance(error, programs.ProgramFailed) and Path(error.argv[0]).name == "semodule":
            raise MachineError(
                f"semodule refused the modules; nothing was changed:\n{error.stderr}",
                "if it speaks of neverallow: set expand-check = 0 in /etc/selinux/semanage.conf, as is the default",
            ) from error
        raise


def _not_put_back(store: Store, first: BaseException, second: programs.ProgramFailed) -> MachineError:
    why = first.message if isinstance(first, LabelgenError) else "the installation was interrupted"
    return MachineError(
        f"{why.replace(PUT_BACK, 'the old policy could not be put back')}\n{second.message}",
        f"what was there before is kept in {store.records}; mend this, and the next `labelgen install` or `labelgen "
        "remove` puts it back",
    )


def put_back(store: Store, before: Before) -> None:
    """Make the store, and the kernel's policy, what they were before an installation. Raises ProgramFailed."""
    there = store.installed()
    store.change(before.files, [name for name in before.added if name in there])
    if store.is_of_host and state.is_enabled():
        _load()
    records.drop_before(store)


def recover(store: Store, progress: Progress) -> bool:
    """Put back what an installation that was cut off had replaced; whether there was one. Raises ProgramFailed."""
    before = records.unfinished(store)
    if before is not None:
        progress("an installation was cut off here; putting the old state back")
        put_back(store, before)
    return before is not None


def _load() -> None:
    with signals_wait():
        programs.run("load_policy", "-q")


def _confirm(store: Store, files: Sequence[RoleFile], policy: Policy, what: str) -> Verdict:
    """The verdict on a policy in which the roles now are. Raises NotConfirmed."""
    contexts = store.file_contexts()
    try:
        found = build.verify_linked(files, policy, contexts)
    except InputError as error:
        raise NotConfirmed(f"the {what} policy is not what was verified: {error.message}; {PUT_BACK}") from error
    for verdict in found.roles:
        for finding in verdict.findings:
            raise NotConfirmed(
                f"in the {what} policy {verdict.domain} is not what was verified: {finding.claim}: {finding.message}; "
                f"{PUT_BACK}"
            )
    return found


PUT_BACK = "the old policy was put back"


def _confirm_loaded(store: Store, files: Sequence[RoleFile]) -> None:
    with output.temporary() as scratch:
        path = scratch / "policy"
        path.write_bytes(state.loaded_policy())
        _confirm(store, files, Policy(path), "loaded")


def _check_starters(starters: Sequence[Starter]) -> None:
    for starter in starters:
        if starter.refused:
            raise NotConfirmed(
                f"{starter.program} runs as {', '.join(starter.domains)} here, which may start plain containers "
                f"and not {', '.join(starter.refused)}; {PUT_BACK}"
            )


# -- labels of files


def _relabel(places: Sequence[Place], kept: Collection[str] = ()) -> int:
    """Set the labels of the files that the patterns name, and of no other; how many files that are.

    A file whose type is one of `kept` keeps its categories, which may be those of a running container. Of any other the
    whole label is set (-F): what was a container's keeps its type otherwise, for that is one of customizable_types.
    """
    anew: list[Path] = []
    labelled: list[Path] = []
    for path in (path for place in places for path in _files_of(place)):
        (labelled if _type_of(path) in kept else anew).append(path)
    for options, paths in ((("-F",), anew), ((), labelled)):
        if paths:
            names = b"\0".join(bytes(path) for path in paths) + b"\0"
            programs.run("restorecon", *options, "-0", "-f", "-", stdin=names)
    return len(anew) + len(labelled)


def _type_of(path: Path) -> str:
    """The type of a file; empty where it has no label."""
    try:
        label = os.getxattr(path, "security.selinux", follow_symlinks=False)
    except OSError:
        return ""
    return "".join(label.decode(errors="replace").rstrip("\0").split(":")[2:3])


def _files_of(place: Place) -> Iterator[Path]:
    # In a file context, . is a line break too (libselinux compiles it so).
    folder, pattern = Path(place.folder), re.compile(place.pattern, re.DOTALL)
    if folder.exists():
        yield from (path for path in (folder, *sorted(folder.rglob("*"))) if pattern.fullmatch(str(path)))


# -- removing


@dataclass(frozen=True)
class Removed:
    """What was taken out: roles, modules; whether the kernel lost them; and files that had a role's label."""

    roles: tuple[str, ...]
    modules: tuple[str, ...]
    loaded: bool
    relabelled: int
    places: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "removed": list(self.roles),
            "modules": list(self.modules),
            "loaded": self.loaded,
            "relabelled": self.relabelled,
            "places": [place.pattern for place in self.places],
        }


def remove(store: Store, names: Sequence[str], force: bool, progress: Progress) -> Removed:
    """Take roles (all without a name) out of the policy of a host, and what was kept of them.

    Raises InputError for a role that is not there, came from a package, or has processes (unless `force`).
    """
    store.check_writable()
    recover(store, progress)
    there, roles = store.installed(), store.roles()
    chosen = tuple(dict.fromkeys(names)) or tuple(roles)
    for name in chosen:
        if f"lxc_{name}" not in there or name not in roles:
            raise InputError(f"the role {name} is not installed here", f"installed: {', '.join(roles) or 'none'}")
    modules = [f"lxc_{name}{suffix}" for name in chosen for suffix in ("", "_ports") if f"lxc_{name}{suffix}" in there]
    if set(chosen) == set(roles) and SHARED_MODULE in there:
        modules.append(SHARED_MODULE)
    for module in modules:
        package = runtimes.package_of(there[module].folder, store.root)
        if package:
            raise InputError(f"{module} is here from the package {package}", f"erase that: `dnf remove {package}`")
    if not force and store.is_of_host:
        _check_unused(chosen)
    places = tuple(place for place in places_of_roles(store.root, store.type) if _is_of(place, chosen))
    if modules:
        progress(f"taking {len(modules)} modules out of the policy store")
        store.change(remove=modules)
    with signals_wait():
        records.forget(store, chosen)
    loaded = store.is_of_host and state.is_enabled() and bool(modules)
    if loaded:
        _load()
    return Removed(chosen, tuple(modules), loaded, _relabel(places) if loaded else 0, places)


def _check_unused(names: Sequence[str]) -> None:
    for name in names:
        running = state.processes_of(f"lxc_{name}_t")
        if running:
            raise InputError(
                f"lxc_{name}_t has running processes ({len(running)}; one is {running[0]}): without the type they "
                "would be nothing to SELinux",
                "stop these containers first, or say --force",
            )
