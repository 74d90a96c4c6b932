"""AVC denials, read from what auditd, ausearch, the journal and the kernel's own log have of them.

A log is written by others too: a program names itself and its files, and what it prints may stand in the journal. So a
denial is taken only from a record of the kernel or of a user-space object manager, and of that only what those write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

from labelgen.errors import UNPRINTABLE, InputError, printable

UNKNOWN = "?"


class Label(NamedTuple):
    """A context in parts; the level is empty where the policy has none, and a part that is not there UNKNOWN."""

    user: str
    role: str
    type: str
    level: str


@dataclass(frozen=True)
class Denial:
    """One refused access, as the kernel logged it."""

    perms: tuple[str, ...]
    scontext: Label
    tcontext: Label
    tclass: str
    port: Optional[int] = None
    comm: str = ""
    name: str = ""
    permissive: bool = False
    ioctl: Optional[int] = None

    @property
    def source(self) -> str:
        """The type that was refused."""
        return self.scontext.type

    @property
    def target(self) -> str:
        """The type of what it was refused."""
        return self.tcontext.type


_ABOUT = re.compile(r"avc:\s+denied\b")

# What stands before it. First who wrote the line: auditd (its records begin with the node or the type), the kernel, or
# whoever hands its records to syslog and the journal (journald, audispd); the lines of any other program are its own.
_TIME = r"(?:[A-Z][a-z]{2} +\d+ [\d:.]+|\d{4}-\d\d-\d\dT\S+)"
_PROGRAM = r"(?:kernel|audit|auditd|audispd|audisp-syslog)(?:\[\d+\])?: "
_LEVEL = r"(?:<\d+>|\w+ *:\w+ *: ?)?(?:\[[^\]]*\] ?)*"  # as dmesg writes it
_WRITER = rf"(?:{_TIME} \S+ {_PROGRAM})?{_LEVEL}"
# Then which record: of the kernel (1400) or of an object manager (1107), whose message auditd puts in quotes.
_KIND = r"(?:(?:audit: )?type=(?:AVC|USER_AVC|1400|1107) |(?:AVC|USER_AVC) )?"
_EVENT = r"(?:(?:msg=)?audit\([^)]*\) ?: )?"
_MANAGER = r"(?:(?:(?:user )?(?:pid|uid|auid|ses|subj)=\S+ )+msg=')?"
_BEFORE = re.compile(rf"{_WRITER}(?:node=\S+ )?{_KIND}{_EVENT}{_MANAGER}(?:SELinux: )?\Z")
# A record of auditd's of another kind.
_OF_ANOTHER_KIND = re.compile(r"(?:node=\S+ )?type=(?!(?:AVC|USER_AVC)\b)[A-Z_]+ ")

# security/selinux/avc.c: avc_audit_pre_callback writes what was refused, avc_audit_post_callback to whom, on what and
# whether it was let through; between them are strings of others (lsm_audit.c), so that of several the last are its own.
_PERMISSIONS = re.compile(r"\s+\{(?P<perms>[^{}]*)\}(?P<about>.*)\Z")
_CONTEXTS = re.compile(
    r".*\bscontext=(?P<scontext>\S+) +tcontext=(?P<tcontext>\S+) +tclass=(?P<tclass>\w+)(?P<after>.*)\Z"
)
_FIELD = re.compile(r"\b(\w+)=(\"[^\"]*\"|\S+)")
# Twice what a record of the kernel's may be (audit, lib/libaudit.h: MAX_AUDIT_MESSAGE_LENGTH).
LONGEST = 2 * 8970
_PORT = re.compile(r"[0-9]{1,5}\Z")


def _label(text: str) -> Label:
    parts = text.strip("'\"").split(":", 3)
    return Label(*parts, *([UNKNOWN] * (3 - len(parts))), *[""] * (len(parts) < 4))


def parse(line: str) -> Optional[Denial]:
    """The denial in a line of audit.log, ausearch, dmesg or the journal; None for any other line, for one that is cut
    short or lacks a part, and for one that is too long or has two of them."""
    # auditd puts what it adds to a record behind this sign (log_format = ENRICHED).
    line = printable(line.rstrip("\r\n").split("\x1d", 1)[0])
    before, *parts = _ABOUT.split(line)
    if len(line) > LONGEST or len(parts) != 1 or not _BEFORE.match(before):
        return None
    refused = _PERMISSIONS.match(parts[0])
    who = _CONTEXTS.match(refused["about"]) if refused else None
    if not refused or not who:
        return None
    fields: dict[str, str] = dict(_FIELD.findall(refused["about"][: who.start("scontext")]))
    after: dict[str, str] = dict(_FIELD.findall(who["after"]))
    # Contexts that the loaded policy does not know are written behind those that it takes them for.
    perms, source = tuple(refused["perms"].split()), _label(after.get("srawcon", who["scontext"]))
    if not perms or source.type == UNKNOWN:
        return None
    # name_connect is about the destination, everything else about the socket's own port.
    port = fields.get("dest" if "name_connect" in perms else "src", "")
    return Denial(
        perms,
        source,
        _label(after.get("trawcon", who["tcontext"])),
        who["tclass"],
        int(port) if _PORT.match(port) else None,
        _untrusted(fields.get("comm", "")),
        _untrusted(fields.get("path", fields.get("name", ""))),
        after.get("permissive") == "1",
        _hexadecimal(fields.get("ioctlcmd", "")),
    )


def _untrusted(value: str) -> str:
    """A string of others in the log: in quotes or, where it has a space, a quote or what does not print, in hexadecimal
    (kernel/audit.c: audit_string_contains_control, audit_log_n_hex). ausearch -i writes such strings without either."""
    if re.fullmatch(r"(?:[0-9A-F]{2})+", value):
        content = bytes.fromhex(value)
        if any(byte == ord('"') or not 0x21 <= byte <= 0x7E for byte in content):
            return printable(content.decode(errors="replace")).replace("\n", UNPRINTABLE)
    return value.strip('"')


def _hexadecimal(text: str) -> Optional[int]:
    return int(text, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text) else None


# How what is compressed begins, as far as it can be told when it was read as text: by gzip, bzip2, xz and zstd.
_COMPRESSED = re.compile("\x1f\ufffd|BZh[0-9]1AY|\ufffd7zXZ|\\(\ufffd/\ufffd")


class Log:
    """The denials in the lines of a log. `passed_over`: the numbers of those lines that were read so far which speak of
    a denial and are none that can be read: cut short, two in one, or written by somebody else.

    Reading it raises InputError where it is no text.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.passed_over: list[int] = []

    def __iter__(self) -> Iterator[Denial]:
        for number, line in enumerate(self._lines, 1):
            if number == 1 and (_COMPRESSED.match(line) or "\0" in line):
                raise InputError(
                    "this is no text, so no log", "what is compressed comes by `zcat FILE | labelgen explain`"
                )
            denial = parse(line)
            if denial:
                yield denial
            elif _ABOUT.search(line) and not _OF_ANOTHER_KIND.match(line):
                self.passed_over.append(number)
