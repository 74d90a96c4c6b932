"""How the roles on a host stand: where each came from, whether it is what was verified, and what runs in it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from labelgen import base as bases
from labelgen import build, output, role
from labelgen.errors import LabelgenError
from labelgen.host import records, runtimes, state
from labelgen.host.runtimes import Package
from labelgen.host.state import Loaded
from labelgen.host.store import PRIORITY, Store, Stored
from labelgen.packing.spec import DATA_FOLDER
from labelgen.policy import Policy
from labelgen.role import RoleFile
from labelgen.shipped import SHARED_MODULE, domain_of, module_of


@dataclass(frozen=True)
class Standing:
    """How one role stands.

    source: package or build, empty where nothing says; version: of the package, or of labelgen and the build; verified:
    whether it was verified on today's base, or is now, None where that cannot be said; why: what that rests on;
    problems: what is not as it was installed; loaded: whether the kernel has it, None without SELinux; running: the
    context of each container and how many processes it has.
    """

    role: str
    source: str
    version: str
    verified: Optional[bool]
    why: str
    problems: tuple[str, ...]
    loaded: Optional[bool]
    running: Mapping[str, int]

    @property
    def good(self) -> bool:
        """Whether the role is verified and as it was installed."""
        return self.verified is True and not self.problems and self.loaded is not False

    def to_json(self) -> dict[str, Any]:
        """It, for programs."""
        return {
            "role": self.role,
            "domain": domain_of(self.role),
            "source": self.source,
            "version": self.version,
            "verified": self.verified,
            "why": self.why,
            "problems": list(self.problems),
            "loaded": self.loaded,
            "containers": [{"context": name, "processes": number} for name, number in self.running.items()],
        }


@dataclass(frozen=True)
class Report:
    """The roles on a host, whether an installation was cut off, and why SELinux holds no container to its role, with
    the cure: that it is off or permissive, or engines give no labels; empty where it does, and for what is not the
    running host."""

    roles: tuple[Standing, ...]
    unfinished: bool
    selinux: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is amiss."""
        return not self.unfinished and all(item.good and not self.selinux for item in self.roles)

    def to_json(self) -> dict[str, Any]:
        """It, for programs."""
        return {
            "good": self.good,
            "unfinished": self.unfinished,
            "selinux": self.selinux,
            "roles": [item.to_json() for item in self.roles],
        }


@dataclass(frozen=True)
class Origin:
    """Where a role's modules came from. base: the digest of the base it was verified on; files: module -> SHA-256 of
    what was installed; file: its role file, where it is known."""

    source: str
    version: str
    base: str = ""
    files: Optional[Mapping[str, str]] = None
    file: Optional[RoleFile] = None


def report(store: Store, roles: Path, progress: state.Progress) -> Report:
    """How the roles of a host stand. `roles` is a folder of role files, for those that came without.

    Raises MachineError where the store cannot be read.
    """
    host = _Host(store, roles, progress)
    found = tuple(host.standing(name) for name in store.roles())
    return Report(found, records.unfinished(store) is not None, state.told(store.is_of_host))


class _Host:
    """What is asked of a host once for all its roles."""

    def __init__(self, store: Store, roles: Path, progress: state.Progress) -> None:
        self.store = store
        self.roles = roles
        self.progress = progress
        self.modules: dict[str, list[Stored]] = {}
        for module in store.ours():
            self.modules.setdefault(module.name, []).append(module)

    @cached_property
    def base(self) -> str:
        """The digest of today's base."""
        self.progress("reading the policy store")
        return bases.digest(bases.locate(str(self.store.folder)))

    @cached_property
    def policy(self) -> Policy:
        self.progress("reading the policy that was linked last")
        return Policy(self.store.policy())

    @cached_property
    def loaded(self) -> Optional[Loaded]:
        return state.loaded(self.progress) if self.store.is_of_host and state.is_enabled() else None

    def standing(self, name: str) -> Standing:
        origin = self._origin(name)
        problems = list(self._problems(name, origin))
        verified, why = self._verified(origin, bool(problems))
        domain = domain_of(name)
        loaded = None if self.loaded is None else domain in self.loaded.roles
        if self.loaded is not None and domain in self.loaded.permissive:
            problems.append("the domain is permissive: SELinux only logs what it may not do")
        if loaded is False:
            problems.append("the kernel's policy does not have it: `load_policy` or boot")
        running = state.contexts_of(domain) if self.store.is_of_host else Counter[str]()
        return Standing(name, origin.source, origin.version, verified, why, tuple(problems), loaded, running)

    # -- where it came from

    def _origin(self, name: str) -> Origin:
        own = next((module for module in self.modules[module_of(name)] if module.priority == PRIORITY), None)
        package = runtimes.package_of(own.folder, self.store.root) if own else None
        if package:
            return self._of_package(name, package)
        record = records.read(self.store, name)
        if record is None:
            return Origin("", "", file=None)
        about = record.about
        version = f"labelgen {about['labelgen']}, build {about['build'][:12]}"
        return Origin("build", version, about["base"]["sha256"], about["modules"], record.file)

    def _of_package(self, name: str, package: Package) -> Origin:
        folder = self.store.root / DATA_FOLDER.lstrip("/") / package.name
        source = f"package {package.name}"
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            base, wanted = manifest["base"]["sha256"], manifest["roles"][name]["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return Origin(source, package.version)
        packed = self.store.root / "usr/share/selinux/packages" / self.store.type
        files = {
            module: output.digest(path)
            for module in _modules_of(name)
            for path in (packed / f"{module}.pp", packed / f"{module}.cil")
            if path.is_file()
        }
        return Origin(source, package.version, base, files, _role_file(self.roles, wanted))

    # -- whether it is what it was

    def _problems(self, name: str, origin: Origin) -> list[str]:
        found = []
        for module in _modules_of(name):
            for stored in self.modules.get(module, ()):
                if stored.disabled:
                    found.append(f"the module {module} is disabled: `semodule -e {module}`")
                if stored.priority != PRIORITY:
                    found.append(f"the module {module} is there with the priority {stored.priority} too")
                elif origin.files is not None and _digest(stored) != origin.files.get(module):
                    found.append(f"the module {module} in the store is not what was installed")
            if origin.files and module in origin.files and module not in self.modules:
                found.append(f"the module {module} is not in the store")
        if not origin.source:
            found.append("nothing says where it came from: no package has it, and `labelgen install` did not put it in")
        return list(dict.fromkeys(found))

    def _verified(self, origin: Origin, changed: bool) -> tuple[Optional[bool], str]:
        if origin.base == self.base and not changed:
            return True, "on today's base when it was installed"
        reason = "it is not as it was installed" if changed else "the policy of this host is another one now"
        if origin.file is None:
            return None, f"{reason}, and its role file is not here: name its folder with --roles"
        try:
            contexts = self.store.file_contexts()
            found = build.verify_linked([origin.file], self.policy, contexts).roles[0].findings
        except LabelgenError as error:
            return False, error.message.split("\n")[0]
        for finding in found:
            return False, f"{finding.claim}: {finding.message}"
        return True, f"just now, on the policy linked last ({reason})"


def _modules_of(name: str) -> tuple[str, ...]:
    return SHARED_MODULE, module_of(name), f"{module_of(name)}_ports"


def _digest(module: Stored) -> str:
    return hashlib.sha256(module.content()).hexdigest()


def _role_file(folder: Path, wanted: str) -> Optional[RoleFile]:
    """The role file with a digest, among those of a folder."""
    for path in sorted(folder.glob("*")):
        if path.suffix in role.SUFFIXES and path.is_file() and output.digest(path) == wanted:
            return role.read(path)
    return None
