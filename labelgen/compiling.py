"""Policy source compiled to module packages, and packages to the CIL that a host would link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from labelgen import base as bases
from labelgen import programs
from labelgen.errors import InputError

# What a module uses -> the lowest module version that carries it (libsepol, policydb.h: MOD_POLICYDB_VERSION_*).
# checkmodule drops silently what its version cannot carry. 6 is the first that carries MLS users.
LOWEST_VERSION = 6
NEEDED_VERSIONS = (
    ("\ntypebounds ", 9),
    ("\ntype_transition ", 11),
    ("\nallowxperm ", 18),
    ("\ndontauditxperm ", 18),
    ("\nauditallowxperm ", 18),
)


@dataclass(frozen=True)
class Compiled:
    """The files of one module, all in its folder."""

    name: str
    version: int
    te: Path
    fc: Path
    package: Path
    cil: Path
    ports: Optional[Path]

    @property
    def linked(self) -> list[Path]:
        """What is linked for it."""
        return [self.cil, *([self.ports] if self.ports else [])]


def module_version(source: str) -> int:
    """The lowest module version that carries what a module's source uses."""
    return max((version for words, version in NEEDED_VERSIONS if words in source), default=LOWEST_VERSION)


def compile_module(folder: Path, name: str) -> Compiled:
    """Compile `folder`/NAME.te (with NAME.fc) to NAME.pp and NAME.cil.

    Raises InputError when checkmodule refuses the source, MachineError when a program is missing or breaks.
    """
    te, fc, package, cil = (folder / f"{name}.{suffix}" for suffix in ("te", "fc", "pp", "cil"))
    version = module_version(te.read_text(encoding="utf-8"))
    module = folder / f"{name}.mod"
    try:
        programs.run("checkmodule", "-M", "-m", "-c", str(version), "-o", module, te, makes=module)
    except programs.ProgramFailed as error:
        if error.is_of_machine or error.status != 1:
            raise
        raise InputError(
            f"{te.name}: checkmodule refuses this module:\n{error.stderr.replace(f'{folder}/', '')}",
            "a template was changed, or the base is not what it says it is",
        ) from error
    contexts: list[programs.Argument] = ["-f", fc] if fc.stat().st_size else []
    programs.run("semodule_package", "-o", package, "-m", module, *contexts, makes=package)
    module.unlink()
    cil.write_bytes(bases.package_to_cil(package))
    ports = folder / f"{name}_ports.cil"
    return Compiled(name, version, te, fc, package, cil, ports if ports.exists() else None)


def compile_all(folders: Iterable[Path]) -> list[Compiled]:
    """Compile the modules in `folders` (each named like its module), side by side."""
    return programs.side_by_side(lambda folder: compile_module(folder, folder.name), folders)
