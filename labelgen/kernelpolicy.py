"""The types in the constraints of a kernel policy, as the kernel asks for them.

A kernel policy has the types that a constraint names twice: each of them, for the kernel (constraint_expr_eval,
ss/services.c), and as they were written, with attributes, for people. An attribute that was written out
(expandtypeattribute) is in the second no more, and the second is what setools and checkpolicy read. Here the first is
read (libsepol, policydb.c: policydb_read, class_read, read_cons_helper, role_read, type_read).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Optional

from labelgen.errors import InputError

# The versions that brought what is read here, and the last of which all is known (libsepol, policydb.h).
VALIDATETRANS, POLCAP, PERMISSIVE, BOUNDARY, DEFAULTS, DEFAULT_TYPE, TYPE_NAMES, NEVERAUDIT = (
    *(19, 22, 23, 24),
    *(27, 28, 29, 35),
)
_NAMES = 5  # CEXPR_NAMES: an operand is compared with names
_OF_TYPES = 4  # CEXPR_TYPE: which are types'

# The names of one constraint, in the order of its expression: as a bitset by the value of the type less one, None where
# they are those of SELinux users or roles.
Named = list[Optional[int]]


@dataclass(frozen=True)
class OfClass:
    """What the constraints on a class name, one after the other, and what its validatetrans do."""

    constraints: list[Named]
    validatetrans: list[Named]


class _Reader:
    """Numbers and texts, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def numbers(self, count: int) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{count}I", self.content, self.place)
        self.place += 4 * count
        return found

    def text(self, length: int) -> str:
        found = self.content[self.place : self.place + length]
        self.place += length
        if self.place > len(self.content):
            raise struct.error
        return found.decode()

    def bitset(self) -> int:
        """An ebitmap: its parts of 64 bits, each with where it starts."""
        bits = 0
        for _ in range(self.numbers(3)[2]):
            start, part = struct.unpack_from("<IQ", self.content, self.place)
            self.place += 12
            bits |= part << start
        return bits


class KernelPolicy:
    """A kernel policy as far as constraints ask for it. Raises InputError for one that is damaged, or newer than what
    is known here.

    classes: what the constraints on each name; dominated_roles: SELinux role -> those that it dominates; type_names:
    the types and attributes by their value, from 1.
    """

    def __init__(self, content: bytes, name: object) -> None:
        self._reader = _Reader(content)
        try:
            self.version = self._head()
            if self.version > NEVERAUDIT:
                raise InputError(
                    f"{name}: this policy is of version {self.version}; labelgen knows those up to {NEVERAUDIT}"
                )
            self.classes = self._read_classes()
            self.dominated_roles = self._read_roles()
            self.type_names = self._read_types()
        except (struct.error, UnicodeDecodeError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise InputError(f"{name}: this policy is damaged or truncated") from error

    def _head(self) -> int:
        reader = self._reader
        _, length = reader.numbers(2)
        reader.text(length)
        version: int
        version, *_ = reader.numbers(4)
        for since in (POLCAP, PERMISSIVE, NEVERAUDIT):
            if version >= since:
                reader.bitset()
        return version

    def _read_classes(self) -> dict[str, OfClass]:
        reader = self._reader
        for _ in range(reader.numbers(2)[1]):  # what classes have in common
            length, _, _, perms = reader.numbers(4)
            reader.text(length)
            self._skip_perms(perms)
        return dict(self._of_class() for _ in range(reader.numbers(2)[1]))

    def _skip_perms(self, count: int) -> None:
        for _ in range(count):
            self._reader.text(self._reader.numbers(2)[0])

    def _of_class(self) -> tuple[str, OfClass]:
        reader = self._reader
        length, of_common, _, _, perms, constraints = reader.numbers(6)
        name = reader.text(length)
        reader.text(of_common)
        self._skip_perms(perms)
        found = self._named(constraints)
        more = self._named(reader.numbers(1)[0]) if self.version >= VALIDATETRANS else []
        reader.numbers((3 if self.version >= DEFAULTS else 0) + (1 if self.version >= DEFAULT_TYPE else 0))
        return name, OfClass(found, more)

    def _named(self, constraints: int) -> list[Named]:
        return [self._of_constraint() for _ in range(constraints)]

    def _of_constraint(self) -> Named:
        reader, found = self._reader, []
        _, parts = reader.numbers(2)
        for _ in range(parts):
            kind, operand, _ = reader.numbers(3)
            if kind == _NAMES:
                asked = reader.bitset()
                found.append(asked if operand & _OF_TYPES else None)
                if self.version >= TYPE_NAMES:
                    reader.bitset()
                    reader.bitset()
                    reader.numbers(1)
        return found

    def _read_roles(self) -> dict[str, frozenset[str]]:
        reader, names, dominated = self._reader, {}, {}
        for _ in range(reader.numbers(2)[1]):
            length, value, *_ = reader.numbers(3 if self.version >= BOUNDARY else 2)
            names[value - 1] = reader.text(length)
            dominated[value - 1] = reader.bitset()
            reader.bitset()  # its types
        return {
            names[value]: frozenset(names[other] for other in names if bits >> other & 1)
            for value, bits in dominated.items()
        }

    def _read_types(self) -> list[str]:
        reader = self._reader
        highest, count = reader.numbers(2)
        names = [""] * highest
        for _ in range(count):
            length, value, properties, *_ = reader.numbers(4 if self.version >= BOUNDARY else 3)
            name = reader.text(length)
            if properties:  # an alias has none, and the value of its type
                names[value - 1] = name
        return names
