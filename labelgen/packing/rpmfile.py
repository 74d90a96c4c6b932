"""An RPM file taken apart: every byte of it is either under a digest, or must be what rpm writes there.

`rpm --checksig` says nothing of the lead, nor of what is unused in the signature header; a byte changed there goes
unseen. The form is that of rpm's docs/manual/format.md and lib/header.c, lib/signature.c.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

LEAD_SIZE = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"
HEADER_MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"
ENTRY = struct.Struct(">IIII")

# Tags of the signature header (rpmtag.h: RPMSIGTAG_*).
REGION = 62
DSA, RSA, SHA1, SHA256 = 267, 268, 269, 273
SIZE, PGP, MD5, GPG, PAYLOAD_SIZE, RESERVED = 1000, 1002, 1004, 1005, 1007, 1008
SIGNATURES = {DSA, RSA, PGP, GPG}
NEEDED = {REGION, SHA256, SIZE}

# Tags of the header (RPMTAG_*).
NAME, VERSION, RELEASE, SOURCE_PACKAGE = 1000, 1001, 1002, 1106

# Types of data (rpmtypes.h): how many bytes each unit takes; strings end in NUL.
INT32, STRING, BINARY = 4, 6, 7
ALIGNMENT = {INT32: 4, STRING: 1, BINARY: 1}
TYPES = {
    REGION: BINARY,
    DSA: BINARY,
    RSA: BINARY,
    SHA1: STRING,
    SHA256: STRING,
    SIZE: INT32,
    PGP: BINARY,
    MD5: BINARY,
    GPG: BINARY,
    PAYLOAD_SIZE: INT32,
    RESERVED: BINARY,
}
MOST = 1 << 24


class Damaged(Exception):
    """The bytes are not those of a whole RPM that rpm wrote; says where."""


@dataclass(frozen=True)
class Entry:
    """One entry of a header: its tag, and its data with where that lies."""

    tag: int
    type: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class RpmFile:
    """The four parts of an RPM, in the order of the file."""

    lead: bytes
    signature: bytes
    header: bytes
    payload: bytes

    @property
    def content(self) -> bytes:
        """What does not change when the package is signed: header and payload."""
        return self.header + self.payload


def _header_size(data: bytes, start: int, what: str) -> int:
    if data[start : start + 8] != HEADER_MAGIC:
        raise Damaged(f"the {what} does not begin as one (byte {start})")
    if len(data) < start + 16:
        raise Damaged(f"the file ends inside the {what}")
    entries, size = struct.unpack_from(">II", data, start + 8)
    if entries > MOST or size > MOST or start + 16 + 16 * entries + size > len(data):
        raise Damaged(f"the file ends inside the {what}")
    return int(16 + 16 * entries + size)


def split(data: bytes) -> RpmFile:
    """Take an RPM apart. Raises Damaged."""
    if data[:4] != LEAD_MAGIC:
        raise Damaged("this is no RPM: it does not begin as one")
    size = _header_size(data, LEAD_SIZE, "signature header")
    end = LEAD_SIZE + size
    padding = -size % 8
    if data[end : end + padding] != bytes(padding):
        raise Damaged(f"changed between signature header and header (byte {end})")
    start = end + padding
    header = _header_size(data, start, "header")
    return RpmFile(data[:LEAD_SIZE], data[LEAD_SIZE:end], data[start : start + header], data[start + header :])


def lead(nevr: str, source: bool) -> bytes:
    """The lead that rpm writes for a noarch package NAME-VERSION-RELEASE (lib/rpmlead.c)."""
    return struct.pack(
        ">4sBBHH66sHH16s",
        LEAD_MAGIC,
        3,
        0,
        1 if source else 0,
        255,
        nevr.encode()[:65],
        1,
        5,
        b"",
    )


def _entries(signature: bytes) -> Iterator[Entry]:
    count, size = struct.unpack_from(">II", signature, 8)
    store = signature[16 + 16 * count :]
    for number in range(count):
        tag, kind, offset, length = ENTRY.unpack_from(signature, 16 + 16 * number)
        if TYPES.get(tag) != kind:
            raise Damaged(f"the signature header holds something that rpm does not write (tag {tag}, type {kind})")
        if kind == STRING:
            end = store.find(b"\0", offset) + 1
            if not end or length != 1:
                raise Damaged(f"a text in the signature header has no end (tag {tag})")
        else:
            end = offset + length * (4 if kind == INT32 else 1)
        if offset > size or end > size:
            raise Damaged(f"data of the signature header lies outside it (tag {tag})")
        yield Entry(tag, kind, offset, store[offset:end])


def _covered(entries: list[Entry], store: bytes) -> None:
    """Every byte of the signature header's data belongs to one entry, or is a zero that aligns the next."""
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.offset, len(entry.data))):
        expected = at + (-at % ALIGNMENT[entry.type])
        if entry.offset != expected or store[at:expected] != bytes(expected - at):
            raise Damaged(f"the data of the signature header does not lie as rpm puts it (tag {entry.tag})")
        at = entry.offset + len(entry.data)
    if at != len(store):
        raise Damaged("the signature header is longer than its data")


def _number(entry: Optional[Entry]) -> Optional[int]:
    return int.from_bytes(entry.data, "big") if entry and len(entry.data) == 4 else None


def signatures(file: RpmFile) -> int:
    """How many signatures the package carries. Raises Damaged."""
    return sum(entry.tag in SIGNATURES for entry in _entries(file.signature))


def _expectations(file: RpmFile, archive_size: int) -> dict[int, Callable[[Entry], bool]]:
    content = file.content
    sha256 = hashlib.sha256(file.header).hexdigest().encode() + b"\0"
    sha1 = hashlib.sha1(file.header).hexdigest().encode() + b"\0"
    md5 = hashlib.md5(content).digest()
    return {
        SHA256: lambda entry: entry.data == sha256,
        SHA1: lambda entry: entry.data == sha1,
        MD5: lambda entry: entry.data == md5,
        SIZE: lambda entry: _number(entry) == len(content),
        PAYLOAD_SIZE: lambda entry: _number(entry) == archive_size,
        RESERVED: lambda entry: not any(entry.data),
    }


def _exact_numbers(data: bytes) -> bool:
    """Whether numbers of OpenPGP are written as they must be, each with its exact length in bits (RFC 4880, 3.2)."""
    while data:
        bits = int.from_bytes(data[:2], "big")
        number = data[2 : 2 + (bits + 7) // 8]
        if int.from_bytes(number, "big").bit_length() != bits or len(data) < 2 + (bits + 7) // 8:
            return False
        data = data[2 + len(number) :]
    return True


def _exact_signature(packet: bytes) -> bool:
    """Whether an OpenPGP signature has the form that GnuPG gives it, as far as the signature does not cover its own
    bytes and rpm does not look (RFC 4880, 5.2.3): without the hash nothing but the id of the key, and exact numbers."""
    starts = {0x88: 2, 0x89: 3, 0xC2: 3 if packet[1:2] >= b"\xc0" else 2}
    if len(packet) < 16 or packet[0] not in starts:
        return False
    hashed = starts[packet[0]] + 4
    unhashed = hashed + 2 + int.from_bytes(packet[hashed : hashed + 2], "big")
    size = int.from_bytes(packet[unhashed : unhashed + 2], "big")
    key_id = packet[unhashed + 2 : unhashed + 2 + size]
    numbers = packet[unhashed + 2 + size + 2 :]
    return (not key_id or (key_id[:2] == b"\x09\x10" and size == 10)) and bool(numbers) and _exact_numbers(numbers)


NAMES = {
    SHA256: "the SHA-256 of the header",
    SHA1: "the SHA-1 of the header",
    MD5: "the MD5 of header and payload",
    SIZE: "the size of header and payload",
    PAYLOAD_SIZE: "the size of the payload",
    RESERVED: "the room for signatures",
}


def _text(header: bytes, tag: int) -> Optional[str]:
    """A text of the header; None without the tag. Its digest is checked before anything is believed of it."""
    (count,) = struct.unpack_from(">I", header, 8)
    store = header[16 + 16 * count :]
    for number in range(count):
        found, kind, offset, _ = ENTRY.unpack_from(header, 16 + 16 * number)
        if found == tag:
            return store[offset : store.find(b"\0", offset)].decode("utf-8", "replace") if kind == STRING else ""
    return None


@dataclass(frozen=True)
class Identity:
    """What the header says the package is."""

    name: str
    version: str
    release: str
    source: bool

    def __str__(self) -> str:
        return f"{self.name}-{self.version}-{self.release}"


def identity(file: RpmFile) -> Identity:
    """What the header of a package says it is."""
    name, version, release = (_text(file.header, tag) or "" for tag in (NAME, VERSION, RELEASE))
    return Identity(name, version, release, _text(file.header, SOURCE_PACKAGE) is not None)


def problems(file: RpmFile, archive_size: int) -> Iterator[str]:
    """What in the lead and the signature header is not as rpm writes it.

    Takes the size of its payload unpacked. The signatures themselves are for `rpm --checksig`.
    """
    package = identity(file)
    wanted = lead(str(package), package.source)
    if file.lead != wanted:
        at = next(number for number, pair in enumerate(zip(file.lead, wanted)) if pair[0] != pair[1])
        yield f"changed in the lead (byte {at})"
    try:
        entries = list(_entries(file.signature))
        count = len(entries)
        _covered(entries, file.signature[16 + 16 * count :])
    except Damaged as error:
        yield str(error)
        return
    found = {entry.tag: entry for entry in entries}
    if len(found) != count or not set(found) >= NEEDED:
        yield "the signature header lacks a digest, or has one twice"
        return
    if found[REGION].data != ENTRY.pack(REGION, BINARY, (-16 * count) & 0xFFFFFFFF, 16):
        yield "changed in the signature header (its region)"
    for tag, holds in _expectations(file, archive_size).items():
        if tag in found and not holds(found[tag]):
            yield f"{NAMES[tag]} is not what the signature header says"
    if not all(_exact_signature(found[tag].data) for tag in SIGNATURES & set(found)):
        yield "the signature is not in the form of one"


def gunzipped(payload: bytes) -> Optional[bytes]:
    """A payload unpacked, where it was packed with gzip, as labelgen has rpm do it. Raises Damaged."""
    if payload[:2] != b"\x1f\x8b":
        return None
    stream = zlib.decompressobj(wbits=31)  # with gzip's head and check sum
    try:
        data = stream.decompress(payload)
    except zlib.error as error:
        raise Damaged(f"the payload cannot be unpacked: {error}") from error
    if not stream.eof or stream.unused_data:
        raise Damaged("the payload does not end where it should")
    return data


@dataclass(frozen=True)
class Archive:
    """An unpacked payload: path and content of its regular files, and its size without what programs pad it with."""

    files: tuple[tuple[str, bytes], ...]
    size: int


def archive(data: bytes) -> Archive:
    """Read an unpacked payload (cpio, "newc"). Raises Damaged."""
    at = 0
    files = []
    while True:
        if data[at : at + 6] not in (b"070701", b"070702") or len(data) < at + 110:
            raise Damaged(f"the payload is no cpio archive (byte {at})")
        try:
            mode, size, length = (int(data[at + 6 + 8 * field : at + 14 + 8 * field], 16) for field in (1, 6, 11))
        except ValueError as error:
            raise Damaged(f"the payload is no cpio archive (byte {at})") from error
        name = data[at + 110 : at + 110 + length - 1].decode("utf-8", "replace")
        start = at + 110 + length
        start += -start % 4
        if name == "TRAILER!!!":
            break
        if mode >> 12 == 0o10:
            files.append((name[1:] if name.startswith("./") else name, data[start : start + size]))
        at = start + size
        at += -at % 4
    # Debian 13's rpm2cpio writes whole blocks.
    if data[start:].strip(b"\0"):
        raise Damaged("there is something behind the end of the payload")
    return Archive(tuple(files), start)
