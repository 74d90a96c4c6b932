"""What an administrator set on a host besides its modules, with `semanage` (ports, nodes, interfaces, InfiniBand,
file contexts) and `semodule`.

A host puts its own ports and nodes before those of the policy, whatever their ranges (libsepol, ports.c and nodes.c:
sepol_port_modify, sepol_node_modify; the narrower of its own first), replaces what the policy says of an interface
(interfaces.c), and puts its own file contexts after those of the policy, so that they win (libselinux, label_file.c).
A linker would sort them all and take none twice, so the policy's are cut to what is left of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple, Union

from labelgen.errors import InputError

# libsemanage, semanage_store.c: what of a policy store is linked into the policy beside the modules, ...
PORTS, NODES, INTERFACES = "ports.local", "nodes.local", "interfaces.local"
PARTITIONS, ENDPORTS = "pkeys.local", "ibendports.local"
# ... and `semodule --preserve_tunables`: tunables count as booleans. Of the booleans' settings every one is looked at.
TUNABLES = "preserve_tunables"
STORED = (PORTS, NODES, INTERFACES, PARTITIONS, ENDPORTS, TUNABLES, "file_contexts.local")
SETTINGS = "semanage.conf"  # in /etc/selinux

_HANDLE_UNKNOWN = re.compile(rb"^\s*handle-unknown\s*=\s*\"?(allow|deny|reject)\b", re.M)
_TUNABLE = re.compile(rb"\((\s*)tunable(if)?(?=[\s(])")

# What libsemanage writes (ports_file.c and its like).
_LABEL = rb"(\w+):(\w+):(\w+)(?::(\S+))?"
_LINES = {
    PORTS: re.compile(rb"portcon (\w+) (\d+)(?: ?- ?(\d+))? " + _LABEL + rb"\s*\Z"),
    NODES: re.compile(rb"nodecon ipv[46] ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) " + _LABEL + rb"\s*\Z"),
    INTERFACES: re.compile(rb"netifcon (\S+) " + _LABEL + rb" " + _LABEL + rb"\s*\Z"),
    PARTITIONS: re.compile(rb"ibpkeycon ([0-9a-fA-F:]+) (\d+)(?: ?- ?(\d+))? " + _LABEL + rb"\s*\Z"),
    ENDPORTS: re.compile(rb"ibendportcon (\S+) (\d+) " + _LABEL + rb"\s*\Z"),
}
_CONTEXT = rb"(?:[\w.-]+|\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\))"
_PORTCON = re.compile(rb"\(portcon\s+(\w+)\s+(?:(\d+)|\(\s*(\d+)\s+(\d+)\s*\))\s+(" + _CONTEXT + rb")\s*\)")
_NODECON = re.compile(rb"\(nodecon\s+\(\s*(\S+?)\s*\)\s+\(\s*(\S+?)\s*\)\s+" + _CONTEXT + rb"\s*\)")
_NETIFCON = re.compile(rb"\(netifcon\s+([^\s()]+)\s+" + _CONTEXT + rb"\s+" + _CONTEXT + rb"\s*\)")
_DECLARED = re.compile(rb"\(type(?:alias)? (lxc_\w+)\)")


class Range(NamedTuple):
    """Ports of a protocol, both ends included."""

    protocol: bytes
    low: int
    high: int


class Node(NamedTuple):
    """Addresses: those that are `address` where `mask` has a one."""

    version: int
    address: int
    mask: int

    @classmethod
    def of(cls, address: bytes, mask: bytes) -> Node:
        """Raises ValueError for what is no address."""
        numbers: list[Union[IPv4Address, IPv6Address]] = [ip_address(text.decode()) for text in (address, mask)]
        return cls(numbers[0].version, int(numbers[0]), int(numbers[1]))

    def holds(self, other: Node) -> bool:
        """Whether each address of another is one of its own."""
        is_narrower = other.version == self.version and other.mask & self.mask == self.mask
        return is_narrower and not (other.address ^ self.address) & self.mask


class Statement(NamedTuple):
    """One thing that a host labels itself, with the types it gives, as CIL; `of` says what, for ports, nodes and
    interfaces."""

    of: Union[Range, Node, bytes, None]
    types: tuple[bytes, ...]
    cil: bytes


def statements(extra: Mapping[str, bytes]) -> list[Statement]:
    """What the files of a policy store (name -> content) say. Raises InputError for a line that is none."""
    return [statement for name in _LINES for statement in _read(name, extra.get(name, b""))]


def _read(name: str, text: bytes) -> Iterator[Statement]:
    for line in text.splitlines():
        if line.startswith(b"#") or not line.strip():
            continue
        match = _LINES[name].match(line)
        try:
            yield _statement(name, match.groups() if match else ())
        except ValueError as error:
            raise InputError(f"{name}: cannot read the line {line.decode('utf-8', 'replace')!r}") from error


def _statement(name: str, words: Sequence[bytes]) -> Statement:
    """Raises ValueError where there are no words, or they are no address."""
    if not words:
        raise ValueError(name)
    context, types = _context(*words[-4:]), (words[-2],)
    if name == PORTS:
        where = Range(words[0], int(words[1]), int(words[2] or words[1]))
        return Statement(where, types, _portcon(where, context))
    if name == NODES:
        return Statement(Node.of(*words[:2]), types, b"(nodecon (%s) (%s) %s)" % (*words[:2], context))
    if name == INTERFACES:
        both = (_context(*words[1:5]), context)
        return Statement(words[0], (words[3], *types), b"(netifcon %s %s %s)" % (words[0], *both))
    if name == PARTITIONS:
        return Statement(None, types, b"(ibpkeycon %s (%s %s) %s)" % (*words[:2], words[2] or words[1], context))
    return Statement(None, types, b"(ibendportcon %s %s %s)" % (*words[:2], context))


def _context(user: bytes, role: bytes, type_name: bytes, levels: bytes) -> bytes:
    low, _, high = (levels or b"").partition(b"-")
    text = b" (%s %s)" % (_level(low), _level(high or low)) if low else b""
    return b"(%s %s %s%s)" % (user, role, type_name, text)


def _level(text: bytes) -> bytes:
    """A level such as `s0:c0.c3,c7`, as CIL writes it."""
    sensitivity, _, categories = text.partition(b":")
    parts = [b"(range %s %s)" % tuple(one.split(b".", 1)) if b"." in one else one for one in categories.split(b",")]
    return b"(%s (%s))" % (sensitivity, b" ".join(parts)) if categories else b"(%s)" % sensitivity


def _portcon(where: Range, context: bytes) -> bytes:
    ports = b"%d" % where.low if where.low == where.high else b"(%d %d)" % (where.low, where.high)
    return b"(portcon %s %s %s)" % (where.protocol, ports, context)


def _left(where: Range, own: Iterable[Range]) -> Iterator[Range]:
    """What is left of a range without a host's own. A wider one need not be cut: the narrower comes before it."""
    low = where.low
    for other in sorted(own):
        is_inside = other.low > where.low and other.high < where.high
        if other.protocol != where.protocol or other.high < low or other.low > where.high or is_inside:
            continue
        if other.low > low:
            yield where._replace(low=low, high=other.low - 1)
        low = max(low, other.high + 1)
    if low <= where.high:
        yield where._replace(low=low)


def without(cil: bytes, own: Sequence[Statement]) -> bytes:
    """CIL that says nothing any more of the ports, nodes and interfaces that a host labels itself."""
    ranges = [statement.of for statement in own if isinstance(statement.of, Range)]
    nodes = [statement.of for statement in own if isinstance(statement.of, Node)]
    names = {statement.of for statement in own if isinstance(statement.of, bytes)}

    def cut(found: re.Match[bytes]) -> bytes:
        protocol, one, low, high, context = found.groups()
        where = Range(protocol, int(one or low), int(one or high))
        left = list(_left(where, ranges))
        return found[0] if left == [where] else b"\n".join(_portcon(part, context) for part in left)

    def hidden(found: re.Match[bytes]) -> bytes:
        return b"" if any(node.holds(Node.of(found[1], found[2])) for node in nodes) else found[0]

    if ranges and b"(portcon" in cil:
        cil = _PORTCON.sub(cut, cil)
    if nodes and b"(nodecon" in cil:
        cil = _NODECON.sub(hidden, cil)
    if names and b"(netifcon" in cil:
        cil = _NETIFCON.sub(lambda found: b"" if found[1] in names else found[0], cil)
    return cil


def of_base(own: Iterable[Statement], modules: Iterable[bytes]) -> bytes:
    """What a base of these modules is given of a host's own, as CIL; what gives a type of a role's is linked with the
    roles (`beside_roles`)."""
    known = {name for text in modules for name in _DECLARED.findall(text)}
    return b"".join(s.cil + b"\n" for s in own if all(n in known or not n.startswith(b"lxc_") for n in s.types))


def beside_roles(modules: Sequence[Path], folder: Path, scratch: Path) -> list[Path]:
    """Modules that are linked onto a host whose own settings are in `folder`: as they are or, without what the host
    labels itself, a copy in the folder `scratch`; and a module with what it labels as these roles' own."""
    files = {name: folder / name for name in _LINES}
    own = statements({name: file.read_bytes() for name, file in files.items() if file.is_file()})
    if not own:
        return list(modules)
    known = {name for module in modules for name in _DECLARED.findall(module.read_bytes())}
    given = b"".join(s.cil + b"\n" for s in own if not known.isdisjoint(s.types))
    more = [_written(scratch / "local.cil", given)] if given else []
    return [*(_behind(module, own, scratch) for module in modules), *more]


def _behind(module: Path, own: Sequence[Statement], scratch: Path) -> Path:
    text = module.read_bytes()
    cut = without(text, own)
    return module if cut == text else _written(scratch / module.name, cut)


def _written(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    return path


def sets_handle_unknown(settings: bytes) -> bool:
    """Whether a semanage.conf says what is done with what the policy does not know, whatever the policy says."""
    return _HANDLE_UNKNOWN.search(settings) is not None


def with_handle_unknown(cil: bytes, settings: bytes) -> bytes:
    """CIL that says of what the policy does not know what a semanage.conf says (semanage.conf(5), handle-unknown)."""
    said = _HANDLE_UNKNOWN.findall(settings)
    return re.sub(rb"\(handleunknown \w+\)", rb"(handleunknown %s)" % said[-1], cil) if said else cil


def with_tunables(cil: bytes, extra: Mapping[str, bytes]) -> bytes:
    """CIL in which tunables are booleans, where the host says so (libsepol, cil_build_ast.c: cil_gen_tunable)."""
    return _TUNABLE.sub(rb"(\1boolean\2", cil) if TUNABLES in extra else cil
