"""The one door to the outside: every external program is started here.

A program that is missing, fails, hangs or is killed becomes one error with the program's own words in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, TypeVar, Union

from labelgen.errors import MachineError

Argument = Union[str, Path]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Long enough for the slowest link of a distribution's policy on a busy machine (5 s measured), short enough
# that a program that hangs is told before a person gives up.
TIMEOUT_SECONDS = 300.0

# program -> (Debian's package, Fedora's package)
PACKAGES = {
    "checkmodule": ("checkpolicy", "checkpolicy"),
    "checkpolicy": ("checkpolicy", "checkpolicy"),
    "semodule_package": ("semodule-utils", "policycoreutils"),
    "semodule": ("policycoreutils", "policycoreutils"),
    "pp": ("policycoreutils", "policycoreutils"),
    "secilc": ("secilc", "secilc"),
    "linux.uml": ("user-mode-linux", ""),
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-system-x86-core"),
    "gcc": ("gcc libc6-dev", "gcc glibc-static"),
    "rpmbuild": ("rpm", "rpm-build"),
    "rpm": ("rpm", "rpm"),
}

# pp is no command of its own: policycoreutils keeps it among the "high-level language" compilers
# of libsemanage (semanage.conf, compiler-directory).
PLACES = {"pp": ("/usr/libexec/selinux/hll/pp", "/usr/lib/selinux/hll/pp")}


@dataclass(frozen=True)
class Completed:
    """A program that ran and succeeded."""

    argv: tuple[str, ...]
    stdout: bytes
    stderr: bytes


class ProgramMissing(MachineError):
    """A program is not installed."""

    def __init__(self, program: str) -> None:
        debian, fedora = PACKAGES.get(program, (program, program))
        cures = [f"apt-get install {debian}"] + ([f"dnf install {fedora}"] if fedora else [])
        super().__init__(f"the program {program} is not installed", hint=" or ".join(cures))
        self.program = program


class ProgramFailed(MachineError):
    """A program ended with an error, was killed, or did not end in time."""

    def __init__(self, argv: Sequence[str], what: str, stderr: bytes = b"") -> None:
        words = stderr.decode("utf-8", "replace").strip()
        super().__init__(f"{Path(argv[0]).name} {what}" + (f":\n{words}" if words else ""),
                         hint=f"the command was: {shlex.join(argv)}")
        self.argv = tuple(argv)
        self.stderr = words


def find(program: str) -> str:
    """The path of `program`. Raises ProgramMissing, which names the package that brings it."""
    for place in PLACES.get(program, ()):
        if os.access(place, os.X_OK):
            return place
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise ProgramMissing(program)
    return found


def run(program: str, *arguments: Argument, stdin: bytes = b"", cwd: Optional[Path] = None,
        timeout: float = TIMEOUT_SECONDS) -> Completed:
    """Run `program` to its end in the C locale and return what it printed.

    Takes: `stdin`, the bytes it reads; `timeout` in seconds. Raises ProgramMissing, ProgramFailed.
    """
    argv = [find(program), *map(str, arguments)]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, input=stdin, cwd=cwd, env=environment, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(argv, f"did not end within {timeout:g} seconds") from error
    except OSError as error:
        raise ProgramFailed(argv, f"could not be started: {error.strerror or error}") from error
    if done.returncode:
        how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else \
            f"failed with exit status {done.returncode}"
        raise ProgramFailed(argv, how, done.stderr or done.stdout)
    return Completed(tuple(argv), done.stdout, done.stderr)


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of every item, as many at a time as there are processors; results in the order of the items.

    For functions that wait for programs. Raises the first error, in that order.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as workers:
        return list(workers.map(function, items))
