"""What is costly to make and the same for everybody with the same key, kept in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable

from labelgen.errors import MachineError


def cache_folder() -> Path:
    """The user's cache of labelgen, made if missing. Raises MachineError where it cannot be."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "labelgen"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"the cache {folder} cannot be made: {error.strerror}", "set XDG_CACHE_HOME to a folder that you may write"
        ) from error
    return folder


def folder(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    """The folder `kind/key` of the cache, filled by `make(folder)` the first time.

    It appears whole or not at all: two processes that make it at once make two, and one of them stays.
    """
    place = cache_folder() / kind / key
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
