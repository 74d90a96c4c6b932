"""The probe, compiled on demand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from labelgen import programs
from labelgen.witness import cache

SOURCE = Path(__file__).with_name("probe.c")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-static")


def probe() -> Path:
    """The probe, from the cache or compiled into it: one for each source, compiler and choice of flags.

    Raises ProgramMissing without gcc, ProgramFailed when it cannot compile (a static C library is needed).
    """
    compiler = programs.run("gcc", "--version").stdout
    key = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), compiler, *map(str.encode, FLAGS)))).hexdigest()[:32]
    made = cache.folder("probe", key, lambda into: programs.run("gcc", *FLAGS, "-o", into / "probe", SOURCE))
    return made / "probe"
