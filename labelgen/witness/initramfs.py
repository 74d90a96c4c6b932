"""The initramfs of a witness: an archive in the format "newc" (kernel: Documentation/driver-api/early-userspace/
buffer-format.rst), written here so that no program and no privilege is needed, device nodes included."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

TRAILER = "TRAILER!!!"


class Entry(NamedTuple):
    """One file of the archive. `mode` with the bits of its kind; `device` is (major, minor) of a device node."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path.lstrip("/"), stat.S_IFREG | mode, content)


def console() -> Entry:
    """/dev/console, which the kernel opens as the standard output of PID 1."""
    return Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _pad(header + name) + _pad(entry.content)


def _folders(entries: Iterable[Entry]) -> Iterator[Entry]:
    paths = {str(parent) for entry in entries for parent in PurePosixPath(entry.path).parents} - {"."}
    for path in sorted(paths):
        yield Entry(path, stat.S_IFDIR | 0o755)


def records(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive of `entries` and of the folders they stand in, parents first, in pieces."""
    files = list(entries)
    everything = [*_folders(files), *files, Entry(TRAILER, 0)]
    return (_record(number, entry) for number, entry in enumerate(everything, start=1))
