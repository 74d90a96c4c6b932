"""Policy source compiled to module packages, and packages to the CIL that a host would link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Optional

from labelgen import base as bases
from labelgen import programs, sepol
from labelgen.errors import InputError

# What a module uses -> the lowest module version that carries it (libsepol, policydb.h: MOD_POLICYDB_VERSION_*).
# checkmodule drops silently what its version cannot carry. 6 is the first that carries MLS users.
LOWEST_VERSION = 6
NEEDED_VERSIONS = (
    ("typebounds", 9),
    ("type_transition", 11),
    ("allowxperm", 18),
    ("dontauditxperm", 18),
    ("auditallowxperm", 18),
)
_STATEMENT = re.compile(r"^ *([a-z_]+) ", re.M)  # a block's are indented


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
    used = {match[1] for match in _STATEMENT.finditer(source)}
    return max((version for word, version in NEEDED_VERSIONS if word in used), default=LOWEST_VERSION)


def compile_module(folder: Path, name: str) -> Compiled:
    """Compile `folder`/NAME.te (with NAME.fc) to NAME.pp and NAME.cil.

    Raises InputError when checkmodule refuses the source, MachineError when a program is missing or breaks.
    """
    made = _planned(folder, name)
    module = folder / f"{name}.mod"
    try:
        programs.run("checkmodule", "-M", "-m", "-c", str(made.version), "-o", module, made.te, makes=module)
    except programs.ProgramFailed as error:
        if error.is_of_machine or error.status != 1:
            raise
        raise InputError(
            f"{made.te.name}: checkmodule refuses this module:\n{error.stderr.replace(f'{folder}/', '')}",
            "a template was changed, or the base is not what it says it is",
        ) from error
    contexts: list[programs.Argument] = ["-f", made.fc] if made.fc.stat().st_size else []
    programs.run("semodule_package", "-o", made.package, "-m", module, *contexts, makes=made.package)
    module.unlink()
    made.cil.write_bytes(bases.package_to_cil(made.package))
    return made


def _planned(folder: Path, name: str) -> Compiled:
    """The files of a module whose source is there."""
    te, fc, package, cil = (folder / f"{name}.{suffix}" for suffix in ("te", "fc", "pp", "cil"))
    ports = folder / f"{name}_ports.cil"
    version = module_version(te.read_text(encoding="utf-8"))
    return Compiled(name, version, te, fc, package, cil, ports if ports.exists() else None)


# The same commands for many modules: a program is started from here in a third of the time that this process needs.
# Takes the two programs, then the path without a suffix and the version of each module.
_MANY = """set -e
checkmodule=$1 semodule_package=$2
shift 2
while [ $# -gt 0 ]; do
    "$checkmodule" -M -m -c "$2" -o "$1.mod" "$1.te"
    if [ -s "$1.fc" ]; then
        "$semodule_package" -o "$1.pp" -m "$1.mod" -f "$1.fc"
    else
        "$semodule_package" -o "$1.pp" -m "$1.mod"
    fi
    shift 2
done
"""
MOST_AT_ONCE = 32
MANY_SECONDS = 60.0


def compile_many(folders: Sequence[Path]) -> list[Compiled]:
    """As compile_module for each of the `folders`, which are named like their modules."""
    if len(folders) > 1 and (made := _compiled_together([_planned(folder, folder.name) for folder in folders])):
        return made
    return [compile_module(folder, folder.name) for folder in folders]


def _compiled_together(modules: Sequence[Compiled]) -> Optional[list[Compiled]]:
    """The modules, or None where one of the programs did not do its work: which, and why, each alone will tell."""
    tools = map(programs.find, ("checkmodule", "semodule_package"))
    words = [word for module in modules for word in (module.te.with_suffix(""), str(module.version))]
    try:
        programs.run("sh", "-c", _MANY, "sh", *tools, *words, timeout=MANY_SECONDS, group=True)
        for module in modules:
            made = module.te.with_suffix(".mod")
            if not (made.stat().st_size and module.package.stat().st_size):
                return None
            made.unlink()
            cil = (sepol.package_to_cil(module.package.read_bytes()) or b"").rstrip()
            module.cil.write_bytes(cil + b"\n" if cil else bases.package_to_cil(module.package))
    except (programs.ProgramFailed, OSError):
        return None
    return list(modules)


def compile_all(folders: Iterable[Path], number: int) -> list[Compiled]:
    """Compile the modules in `folders`, `number` in all and each named like its module, side by side."""
    at_once = max(1, min(MOST_AT_ONCE, number // (4 * programs.processors())))
    return [module for made in programs.side_by_side(compile_many, _groups(folders, at_once)) for module in made]


def _groups(folders: Iterable[Path], size: int) -> Iterator[list[Path]]:
    source = iter(folders)
    while group := list(islice(source, size)):
        yield group
