"""A result that appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labelgen.errors import InputError, MachineError

MARK = "manifest.json"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Write JSON that people can read too: sorted nowhere, indented, with a last newline."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def check(output: Path) -> None:
    """Refuse an output folder that a build may not replace. Raises InputError."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise InputError(f"{output}: the output is a folder, and this is something else")
    if output.is_dir() and any(output.iterdir()) and not (output / MARK).is_file():
        raise InputError(
            f"{output}: this folder holds something that labelgen did not build",
            "name an empty or a new folder with --output",
        )
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{parent}: there is no such folder for the output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{parent}: the output cannot be written here", "name another folder with --output")


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A new folder beside `output` that takes its place when the block ends well; otherwise `output` stays as it was.

    Raises InputError for a place that cannot be written, MachineError when the disk is full.
    """
    check(output)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.absolute().parent))
    try:
        yield folder
        folder.chmod(0o755)
        _put(folder, output)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError("the disk is full; nothing was changed") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, output: Path) -> None:
    if not output.exists():
        folder.rename(output)
    elif not _exchange(folder, output):
        # A filesystem that cannot exchange two folders: the old one is away for a moment, and comes back on failure.
        aside = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.absolute().parent))
        output.rename(aside / "old")
        try:
            folder.rename(output)
        except OSError:
            (aside / "old").rename(output)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (renameat2, Linux 3.15); False where that is not to be had."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0
