"""What is written in C, compiled on demand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from labelgen import cache, programs
from labelgen.errors import MachineError

SOURCES = Path(__file__).parent
STATIC = "it takes a static C library: apt-get install libc6-dev or dnf install glibc-static"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-static")


def probe() -> Path:
    """The probe, which is the guest's /init. Raises ProgramMissing, MachineError as `_compiled` does."""
    return _compiled("probe")


def launcher() -> Path:
    """The program that starts User Mode Linux. Raises ProgramMissing, MachineError as `_compiled` does."""
    return _compiled("launch")


def _compiled(name: str) -> Path:
    """A program, from the cache or compiled into it: one for each source, compiler and choice of flags.

    Raises ProgramMissing without gcc, MachineError with gcc's words when it cannot compile.
    """
    source = SOURCES / f"{name}.c"
    compiler = programs.run("gcc", "--version").stdout
    key = hashlib.sha256(b"\0".join((source.read_bytes(), compiler, *map(str.encode, FLAGS)))).hexdigest()[:32]
    try:
        made = cache.folder(name, key, lambda into: programs.run("gcc", *FLAGS, "-o", into / name, source))
    except programs.ProgramFailed as error:
        raise MachineError(error.message, f"{STATIC}; {error.hint}") from error
    return made / name
