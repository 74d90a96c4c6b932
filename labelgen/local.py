"""What an administrator set on a host besides its modules: `semanage port` and `semanage fcontext`.

A host puts its own ports before those of the policy, whatever their ranges (libsepol, ports.c: sepol_port_modify; the
narrower of its own first), and its own file contexts after those of the policy, so that they win (libselinux,
label_file.c). A linker would sort the ports by their ranges, so the policy's are cut to what is left of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from labelgen.errors import InputError

PORTS = "ports.local"
STORED = (PORTS, "file_contexts.local")  # in a policy store
SETTINGS = "semanage.conf"  # in /etc/selinux

_HANDLE_UNKNOWN = re.compile(rb"^\s*handle-unknown\s*=\s*\"?(allow|deny|reject)\b", re.M)

_LINE = re.compile(rb"portcon (\w+) (\d+)(?:-(\d+))? (\w+):(\w+):(\w+)(?::(\S+))?\s*\Z")
_CONTEXT = rb"(?:[\w.-]+|\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\))"
_PORTCON = re.compile(rb"\(portcon\s+(\w+)\s+(?:(\d+)|\(\s*(\d+)\s+(\d+)\s*\))\s+(" + _CONTEXT + rb")\s*\)")


class Range(NamedTuple):
    """Ports of a protocol, both ends included."""

    protocol: bytes
    low: int
    high: int


class Port(NamedTuple):
    """A range of ports and its label."""

    range: Range
    type: bytes
    context: bytes

    @property
    def cil(self) -> bytes:
        """The statement that gives the label."""
        return _portcon(self.range, self.context)


def _portcon(where: Range, context: bytes) -> bytes:
    ports = b"%d" % where.low if where.low == where.high else b"(%d %d)" % (where.low, where.high)
    return b"(portcon %s %s %s)" % (where.protocol, ports, context)


def ports(text: bytes) -> list[Port]:
    """The ports of a host's ports.local. Raises InputError for a line that is none."""
    found = []
    for line in text.splitlines():
        if line.startswith(b"#") or not line.strip():
            continue
        match = _LINE.match(line)
        if not match:
            raise InputError(f"{PORTS}: cannot read the line {line.decode('utf-8', 'replace')!r}")
        protocol, low, high, user, role, port_type, level = match.groups()
        levels = b" ((s0) (s0))" if level else b""
        context = b"(%s %s %s%s)" % (user, role, port_type, levels)
        found.append(Port(Range(protocol, int(low), int(high or low)), port_type, context))
    return found


def _left(where: Range, own: Sequence[Port]) -> Iterator[Range]:
    """What is left of a range without a host's own. A wider one need not be cut: the narrower comes before it."""
    low = where.low
    for other in sorted(port.range for port in own):
        is_inside = other.low > where.low and other.high < where.high
        if other.protocol != where.protocol or other.high < low or other.low > where.high or is_inside:
            continue
        if other.low > low:
            yield where._replace(low=low, high=other.low - 1)
        low = max(low, other.high + 1)
    if low <= where.high:
        yield where._replace(low=low)


def without_ports(cil: bytes, own: Sequence[Port]) -> bytes:
    """CIL whose portcons say nothing any more of the ports that a host labels itself."""

    def cut(found: re.Match[bytes]) -> bytes:
        protocol, one, low, high, context = found.groups()
        where = Range(protocol, int(one or low), int(one or high))
        left = list(_left(where, own))
        return found[0] if left == [where] else b"\n".join(_portcon(part, context) for part in left)

    return _PORTCON.sub(cut, cil) if own and b"(portcon" in cil else cil


def behind_ports(module: Path, own: Path, scratch: Path) -> Path:
    """A module that is linked onto a host whose ports.local is `own`, if there is one: as it is or, without the ports
    that the host labels itself, a copy in the folder `scratch`."""
    text = module.read_bytes()
    cut = without_ports(text, ports(own.read_bytes()) if own.is_file() else [])
    if cut == text:
        return module
    copy = scratch / module.name
    copy.write_bytes(cut)
    return copy


def sets_handle_unknown(settings: bytes) -> bool:
    """Whether a semanage.conf says what is done with what the policy does not know, whatever the policy says."""
    return _HANDLE_UNKNOWN.search(settings) is not None


def with_handle_unknown(cil: bytes, settings: bytes) -> bytes:
    """CIL that says of what the policy does not know what a semanage.conf says (semanage.conf(5), handle-unknown)."""
    said = _HANDLE_UNKNOWN.findall(settings)
    return re.sub(rb"\(handleunknown \w+\)", rb"(handleunknown %s)" % said[-1], cil) if said else cil
