"""The policy capabilities of a binary policy, looked at before a library reads it: setools ends the whole process over
one that libsepol does not know.
"""

from __future__ import annotations

import ctypes
import struct
from contextlib import suppress
from pathlib import Path

from labelgen.errors import InputError

MAGIC = b"\x8c\xff\x7c\xf9"  # libsepol, policydb.h: POLICYDB_MAGIC 0xf97cff8c, little-endian
# libsepol, polcaps.h: in this order from the eighth on; libsepol 3.4, the oldest in use here, knows those before.
KNOWN_TO_ALL = 8
NEWER = (
    *("userspace_initial_context", "netlink_xperm", "netif_wildcard", "genfs_seclabel_wildcard"),
    *("functionfs_seclabel", "memfd_class", "bpf_token_perms"),
)
# policydb_write, libsepol: magic, length of a string, the string, then version, settings and two counts, then the
# capabilities as an ebitmap (its size, highest bit and number of parts, then the start and 64 bits of each).
_COUNTS, _BITMAP, _PART = struct.Struct("<4I"), struct.Struct("<3I"), struct.Struct("<IQ")
FIRST_VERSION = 22
MOST_PARTS = 64
HEAD = 4096  # bytes, which hold all of this


def numbers(content: bytes) -> set[int]:
    """The numbers of the capabilities that a binary policy has; none for what is no whole policy."""
    try:
        (length,) = struct.unpack_from("<I", content, 4)
        place = 8 + length
        version = _COUNTS.unpack_from(content, place)[0]
        parts = _BITMAP.unpack_from(content, place + _COUNTS.size)[2] if version >= FIRST_VERSION else 0
        place += _COUNTS.size + _BITMAP.size
        found = [_PART.unpack_from(content, place + _PART.size * number) for number in range(min(parts, MOST_PARTS))]
    except struct.error:
        return set()
    return {start + bit for start, bits in found for bit in range(64) if bits >> bit & 1}


def check(content: bytes, name: object) -> None:
    """Raise InputError for the policy called `name` where it is none, or has a capability that this machine's libsepol
    does not know: it cannot be read, and a kernel decides by it in ways that are not known here."""
    if not content.startswith(MAGIC):
        raise InputError(f"{name}: this is no binary policy", "name a file such as policy.33")
    newer = (number for number in numbers(content) if number >= KNOWN_TO_ALL)
    unknown = sorted(number for number in newer if not _is_known(number))
    if unknown:
        raise InputError(
            f"{name}: this machine's libsepol does not know the capabilities {', '.join(map(_name, unknown))}",
            "take a machine whose libsepol and setools are as new as the policy's",
        )


def check_file(path: Path) -> None:
    """Raise InputError for a file that is not there or of which `check` says so, without reading more than its head."""
    if not path.is_file():
        raise InputError(f"there is no policy {path}")
    try:
        with path.open("rb") as file:
            check(file.read(HEAD), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _name(number: int) -> str:
    place = number - KNOWN_TO_ALL
    return NEWER[place] if place < len(NEWER) else f"of number {number}"


def _is_known(number: int) -> bool:
    for name in ("libsepol.so.2", "libsepol.so.1"):
        with suppress(OSError):
            library = ctypes.CDLL(name)
            library.sepol_polcap_getname.restype = ctypes.c_char_p
            return library.sepol_polcap_getname(number) is not None
    return False
