"""The user's cache: what is costly to make and the same for everybody with the same key."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable

from labelgen.errors import MachineError


def root() -> Path:
    """The folder of the cache (XDG Base Directory Specification), made if needed. Raises MachineError when it cannot be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    place = Path(home) / "labelgen"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{place}: the cache cannot be made: {error.strerror}", "set XDG_CACHE_HOME") from error
    return place


def folder(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    """The folder `kind/key` of the cache, filled by `make(folder)` the first time.

    It appears whole or not at all: two processes that make it at once make two, and one of them stays.
    """
    place = root() / kind / key
    if place.is_dir():
        return place
    place.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".making-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        make(made)
        try:
            made.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    return place
