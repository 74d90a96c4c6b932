"""A result that appears whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Optional

from labelgen.errors import InputError, MachineError

MARK = "manifest.json"
# A name that nobody gives to a folder of his own, and what mkdtemp puts after it.
SCRATCH_PREFIX = ".labelgen-unfinished-"
SCRATCH = re.compile(re.escape(SCRATCH_PREFIX) + r"[a-z0-9_]{8}")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON that people can read too: a line for each item of the lists and mappings in `data`, in their order,
    with a last newline. (json indents what is in those, too, and takes eight times as long for it.)"""
    parts = ",\n".join(f" {_as_json(key)}: {_in_lines(value)}" for key, value in data.items())
    path.write_text(f"{{\n{parts}\n}}\n", encoding="utf-8")


def _as_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def _in_lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        lines = (f"{_as_json(key)}: {_as_json(item)}" for key, item in value.items())
        return "{\n  " + ",\n  ".join(lines) + "\n }"
    if isinstance(value, (list, tuple)) and value:
        return "[\n  " + ",\n  ".join(map(_as_json, value)) + "\n ]"
    return _as_json(value)


SEAL = "sha256"


def _json_digest(data: Any) -> str:
    return hashlib.sha256(_as_json(data).encode()).hexdigest()


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """The same with a digest over all of it at the end: a slip of a single byte shows in the file by itself."""
    return {**data, SEAL: _json_digest(data)}


def is_sealed(data: dict[str, Any]) -> bool:
    """Whether data is as it was when it was sealed."""
    rest = dict(data)
    return bool(rest.pop(SEAL, None) == _json_digest(rest))


def _is_whole_build(output: Path) -> bool:
    """Whether a folder holds what a build left and nothing besides: what is in it would be lost."""
    try:
        manifest = json.loads((output / MARK).read_text(encoding="utf-8"))
        listed = {MARK, *manifest["files"]}
        known = "labelgen" in manifest
    except (OSError, ValueError, KeyError, TypeError):
        return False
    found = {str(path.relative_to(output)) for path in output.rglob("*") if not path.is_dir() or path.is_symlink()}
    strange = sorted(found - listed)
    if known and strange:
        raise InputError(
            f"{output / strange[0]}: this was not made by labelgen, and a build replaces the whole folder",
            "move it away, or name another folder with --output",
        )
    return known


def check(output: Path) -> None:
    """Refuse an output folder that a build may not replace. Raises InputError."""
    try:
        _check(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be used as output: {error.strerror}") from error


def _check(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        what = "symbolic link" if output.is_symlink() else "file"
        raise InputError(
            f"{output}: this is a {what}; labelgen replaces a whole folder", "name another folder with --output"
        )
    if output.is_dir() and any(output.iterdir()) and not _is_whole_build(output):
        raise InputError(
            f"{output}: this folder holds something that labelgen did not build",
            "name an empty or a new folder with --output",
        )
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"{output}: the output cannot be put here: there is no folder {output.parent}")
    for place in (parent, *([output] if output.exists() else [])):
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"{place}: the output cannot be written here", "name another folder with --output")


def _clear_away(parent: Path) -> None:
    """Remove what killed runs left in `parent`: folders of our making that nobody holds the lock of."""
    with suppress(OSError), os.scandir(parent) as entries:
        left = [entry.name for entry in entries if SCRATCH.fullmatch(entry.name)]
    for name in left:
        with suppress(OSError), _locked(parent / name):
            if (parent / name).lstat().st_uid == os.geteuid():
                shutil.rmtree(parent / name, ignore_errors=True)


@contextmanager
def scratch(parent: Path, hint: Optional[str] = None) -> Iterator[Path]:
    """A hidden folder in `parent` that is gone afterwards, with the leftovers of killed runs.

    Each is locked while it is used, so one that can be locked is nobody's. Raises MachineError, with the `hint`, when
    the disk is full.
    """
    _clear_away(parent)
    with _full_disk_told(parent, hint), ExitStack() as held:
        while True:
            folder, is_ours = parent / f"{SCRATCH_PREFIX}{os.urandom(4).hex()}", True
            # Whoever is interrupted as it is made cannot tell whether it is there: it is removed from here on.
            try:
                try:
                    folder.mkdir(0o700)
                except FileExistsError:
                    is_ours = False
                    continue
                if not _is_held(folder, held):
                    continue
                # Asked here too: without what is in the folder, the disk has room again.
                with _full_disk_told(parent, hint):
                    yield folder
                return
            finally:
                if is_ours:
                    shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path, held: ExitStack) -> bool:
    """Lock a new folder; whether it is still there. Another run that clears away may take it before it is locked."""
    try:
        held.enter_context(_locked(folder))
        folder.lstat()
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        # A filesystem without locks: then nobody can clear it away either.
        pass
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock on a folder; the kernel lets go of it when the process ends, however it ends. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for what is needed for a moment. Raises MachineError when its disk is full."""
    with scratch(Path(tempfile.gettempdir()), "make room, or set TMPDIR to a folder elsewhere") as folder:
        yield folder


@contextmanager
def _full_disk_told(folder: Path, hint: Optional[str]) -> Iterator[None]:
    """Errors for want of room become one that says where. Raises MachineError."""
    full = MachineError(f"the disk of {folder} is full; nothing was changed", hint)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise
    except MachineError as error:
        if is_full(folder):
            raise full from error
        raise


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A new folder beside `output` that takes its place when the block ends well; otherwise `output` stays as it was.

    Raises InputError for a place that cannot be written, MachineError when the disk is full.
    """
    check(output)
    parent = output.absolute().parent
    with scratch(parent) as hidden:
        folder = hidden / "new"
        folder.mkdir()
        yield folder
        folder.chmod(0o755)
        _put(folder, output)


def is_full(folder: Path) -> bool:
    """Whether there is no room left on the disk of a folder: programs that fail for it do not say so."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize < 4096 or (room.f_files > 0 and room.f_favail == 0)


def _put(folder: Path, output: Path) -> None:
    if not output.exists():
        folder.rename(output)
    elif not _exchange(folder, output):
        # A filesystem that cannot exchange two folders: the old one is away for a moment, and comes back on failure.
        aside = folder.with_name("old")
        output.rename(aside)
        try:
            folder.rename(output)
        except OSError:
            aside.rename(output)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (renameat2, Linux 3.15); False where that is not to be had."""
    import ctypes  # noqa: PLC0415 - only what replaces something needs it

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0
