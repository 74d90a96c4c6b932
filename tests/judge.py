"""A judge that is not us: libsepol's own access decisions and its own list of ports.

`Judge` asks sepol_compute_av_reason, the function behind audit2why (python3-selinux), in the shared library:
constraints and bounds are part of its answer, and booleans are as the policy has them. Where the library does not
export it (before libsepol 3.4), selinux.audit2why is asked, which brings its own copy and is a thousand times slower
to say no on a large policy, since it then looks for a boolean that would help.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint16, c_uint32, c_void_p
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Optional

import pytest

from labelgen import programs

_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)


class _Decision(ctypes.Structure):
    """struct sepol_av_decision (sepol/policydb/flask_types.h)."""

    _fields_ = tuple((name, c_uint32) for name in ("allowed", "decided", "auditallow", "auditdeny", "seqno"))


@cache
def _library() -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("sepol") or "libsepol.so.2")
    library.sepol_port_get_con.restype = c_void_p
    library.sepol_context_get_type.restype = c_char_p
    library.sepol_port_get_proto_str.restype = c_char_p
    library.sepol_handle_create.restype = c_void_p
    return library


@contextmanager
def _opened(policy: Path) -> Iterator[c_void_p]:
    """A C stream of a file: what libsepol reads from."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = c_void_p
    stream = c_void_p(libc.fopen(os.fsencode(policy), b"r"))
    assert stream.value, f"{policy} cannot be opened"
    try:
        yield stream
    finally:
        libc.fclose(stream)


class _Answers:
    """libsepol's decisions: a vector of the permissions of a class that are allowed between two contexts."""

    def __init__(self, policy: Path) -> None:
        self.vectors: dict[tuple[str, str, str], int] = {}
        self.bits: dict[tuple[str, str], int] = {}
        self.classes: dict[str, c_uint16] = {}
        self.sids: dict[str, c_uint32] = {}
        with _opened(policy) as stream:
            assert _library().sepol_set_policydb_from_file(stream) == 0, "libsepol cannot read the policy"

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        return bool(self.vector(source, target, tclass) & self.bit(tclass, perm))

    def bit(self, tclass: str, perm: str) -> int:
        """The place of a permission in the vectors of its class."""
        if (tclass, perm) not in self.bits:
            bit = c_uint32()
            asked = _library().sepol_string_to_av_perm(self._class(tclass), perm.encode(), byref(bit))
            assert asked == 0, f"{tclass} has no permission {perm}"
            self.bits[tclass, perm] = bit.value
        return self.bits[tclass, perm]

    def vector(self, source: str, target: str, tclass: str) -> int:
        """All permissions of a class that are allowed between two contexts."""
        key = (source, target, tclass)
        if key not in self.vectors:
            decision, reason = _Decision(), c_uint()
            asked = _library().sepol_compute_av_reason(
                self._sid(source), self._sid(target), self._class(tclass), c_uint32(0), byref(decision), byref(reason)
            )
            assert asked == 0, key
            self.vectors[key] = int(decision.allowed)
        return self.vectors[key]

    def _class(self, tclass: str) -> c_uint16:
        if tclass not in self.classes:
            number = c_uint16()
            found = _library().sepol_string_to_security_class(tclass.encode(), byref(number))
            assert found == 0, f"no class {tclass}"
            self.classes[tclass] = number
        return self.classes[tclass]

    def _sid(self, context: str) -> c_uint32:
        if context not in self.sids:
            sid, text = c_uint32(), context.encode()
            assert _library().sepol_context_to_sid(text, c_size_t(len(text) + 1), byref(sid)) == 0, context
            self.sids[context] = sid
        return self.sids[context]


class Audit2why:
    """The same question to selinux.audit2why."""

    def __init__(self, policy: Path) -> None:
        self.library: Any = pytest.importorskip("selinux.audit2why")
        assert self.library.init(str(policy)) == 0, "libsepol cannot read the policy"

    def reason(self, source: str, target: str, tclass: str, perm: str) -> str:
        """ALLOW, or why not: TERULE, BOOLEAN, CONSTRAINT, RBAC, BOUNDS. An error is none of these."""
        (answer, *_) = self.library.analyze(source, target, tclass, [perm])
        # Negative answers are errors: a context, class or permission that the policy does not know.
        assert answer >= 0, (source, target, tclass, perm, answer)
        names = ("ALLOW", "TERULE", "BOOLEAN", "CONSTRAINT", "RBAC", "BOUNDS", "DONTAUDIT")
        return next(name for name in names if getattr(self.library, name) == answer)

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        return self.reason(source, target, tclass, perm) == "ALLOW"

    def __enter__(self) -> Audit2why:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.library.finish()


class Judge:
    """Decides accesses between contexts on one binary policy, constraints and bounds included, at its own booleans.

    libsepol keeps one policy at a time: a judge answers until the next is entered.
    """

    _active: Optional[Judge] = None

    def __init__(self, policy: Path) -> None:
        self.policy = policy

    def __enter__(self) -> Judge:
        self._answers: Any = _Answers(self.policy) if gives_vectors() else Audit2why(self.policy)
        Judge._active = self
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if isinstance(self._answers, Audit2why):
            self._answers.__exit__(kind, error, trace)
        Judge._active = None

    @property
    def answers(self) -> Any:
        assert Judge._active is self, "another judge has been asked since"
        return self._answers

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """Whether libsepol allows one permission between two contexts."""
        return bool(self.answers.allows(source, target, tclass, perm))

    def vector(self, source: str, target: str, tclass: str) -> int:
        """Everything of a class that libsepol allows between two contexts, as bits."""
        return int(self.answers.vector(source, target, tclass))

    def bits(self, tclass: str, perms: Iterable[str]) -> int:
        """The bits of some permissions of a class."""
        return sum(self.answers.bit(tclass, perm) for perm in set(perms))


def gives_vectors() -> bool:
    """Whether this machine's libsepol decides about a whole class at once."""
    return hasattr(_library(), "sepol_compute_av_reason")


class PortRecord(NamedTuple):
    """A portcon as libsepol reads it."""

    protocol: str
    low: int
    high: int
    type: str


def port_records(policy: Path) -> list[PortRecord]:
    """Every portcon of a policy in its order, by libsepol's own iteration (sepol_port_iterate)."""
    library = _library()
    found: list[PortRecord] = []

    def note(port: int, _: int) -> int:
        record = c_void_p(port)
        context = c_void_p(library.sepol_port_get_con(record))
        protocol = library.sepol_port_get_proto_str(library.sepol_port_get_proto(record)).decode()
        low, high = library.sepol_port_get_low(record), library.sepol_port_get_high(record)
        found.append(PortRecord(protocol, low, high, library.sepol_context_get_type(context).decode()))
        return 0

    handle, database, file = c_void_p(library.sepol_handle_create()), c_void_p(), c_void_p()
    assert library.sepol_policydb_create(byref(database)) == 0
    assert library.sepol_policy_file_create(byref(file)) == 0
    try:
        with _opened(policy) as stream:
            library.sepol_policy_file_set_fp(file, stream)
            library.sepol_policy_file_set_handle(file, handle)
            assert library.sepol_policydb_read(database, file) == 0, "libsepol cannot read the policy"
        assert library.sepol_port_iterate(handle, database, _CALLBACK(note), None) == 0
    finally:
        library.sepol_policy_file_free(file)
        library.sepol_policydb_free(database)
        library.sepol_handle_destroy(handle)
    return found


def port_types(policy: Path, protocol: str) -> list[str]:
    """The type of every port from 0 to 65535: the first portcon that holds it, else the initial SID `port`
    (security_port_sid, ss/services.c). 0 is nobody's."""
    types = [unlabelled_port_type(policy)] * 65536
    for record in reversed(port_records(policy)):
        if record.protocol == protocol:
            types[record.low : record.high + 1] = [record.type] * (record.high - record.low + 1)
    return types


def unlabelled_port_type(policy: Path) -> str:
    """The type of the initial SID `port`, as checkpolicy writes the policy out."""
    text = programs.run("checkpolicy", "-b", "-M", "-C", "-o", "/dev/stdout", policy).stdout
    found = re.search(rb"\(sidcontext port \(\S+ \S+ (\S+) ", text)
    assert found
    return found[1].decode()


def process(type_name: str, level: str = "s0:c1,c2") -> str:
    """The context of a container's process."""
    return f"system_u:system_r:{type_name}:{level}"


def thing(type_name: str, level: str = "s0") -> str:
    """The context of an object."""
    return f"system_u:object_r:{type_name}:{level}"
