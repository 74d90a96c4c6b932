"""System calls as data: what the probe is told to try, and what the model of the kernel reads.

One description serves both sides: `Trial.line` writes the steps for the probe, `labelgen.witness.expect` walks through
the same calls and works out the answer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional, Union


@dataclass(frozen=True)
class Result:
    """The result of an earlier step of the same trial, by its number."""

    step: int

    def word(self, slots: Mapping[str, int]) -> str:
        return f"={self.step}"


@dataclass(frozen=True)
class Kept:
    """What an earlier `keep` or `open` left behind, by its name."""

    name: str

    def word(self, slots: Mapping[str, int]) -> str:
        return f"@{slots[self.name]}"


@dataclass(frozen=True)
class Swept:
    """The value of the sweep."""

    def word(self, slots: Mapping[str, int]) -> str:
        return "$"


@dataclass(frozen=True)
class Zeros:
    """A pointer to so many zero bytes, where the kernel may write."""

    size: int

    def word(self, slots: Mapping[str, int]) -> str:
        return f"z{self.size}"


@dataclass(frozen=True)
class Vector:
    """A pointer to an iovec of so many bytes."""

    size: int

    def word(self, slots: Mapping[str, int]) -> str:
        return f"v{self.size}"


@dataclass(frozen=True)
class Filled:
    """A pointer to what an earlier step of the same trial was given as that argument, and may have filled."""

    step: int
    argument: int

    def word(self, slots: Mapping[str, int]) -> str:
        return f"&{self.step}.{self.argument}"


@dataclass(frozen=True)
class Data:
    """A pointer to these bytes."""

    content: bytes

    def word(self, slots: Mapping[str, int]) -> str:
        return f"x{self.content.hex()}"


@dataclass(frozen=True)
class Text:
    """A pointer to a string without spaces."""

    content: str

    def word(self, slots: Mapping[str, int]) -> str:
        return f"s{self.content}"


@dataclass(frozen=True)
class Path:
    """A pointer to a string in whose place "%" stands the number kept under a name."""

    text: str
    kept: str

    def word(self, slots: Mapping[str, int]) -> str:
        return f"f{slots[self.kept]},{self.text}"


@dataclass(frozen=True)
class UnixAddress:
    """A pointer to a struct sockaddr_un with a name in the abstract namespace (unix(7))."""

    name: str

    @property
    def size(self) -> int:
        return 3 + len(self.name)

    def word(self, slots: Mapping[str, int]) -> str:
        return f"x{(struct.pack('=H', socket.AF_UNIX) + bytes(1) + self.name.encode()).hex()}"


@dataclass(frozen=True)
class Address:
    """A pointer to a struct sockaddr of IPv4 or IPv6. `port` None is the value of the sweep; `family` as it stands in
    sa_family, where that is not the family of `host`."""

    host: str
    port: Optional[int] = None
    family: Optional[int] = None

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def sa_family(self) -> int:
        if self.family is not None:
            return self.family
        return socket.AF_INET6 if self.is_ipv6 else socket.AF_INET

    @property
    def packed_host(self) -> bytes:
        return socket.inet_pton(socket.AF_INET6 if self.is_ipv6 else socket.AF_INET, self.host)

    @property
    def size(self) -> int:
        return 28 if self.is_ipv6 else 16

    def word(self, slots: Mapping[str, int]) -> str:
        head = struct.pack("=H", self.sa_family) + struct.pack(">H", self.port or 0)
        body = bytes(4) + self.packed_host + bytes(4) if self.is_ipv6 else self.packed_host + bytes(8)
        return ("p" if self.port is None else "x") + (head + body).hex()


Pointer = Union[Data, Text, Path, Address, UnixAddress, Zeros, Vector, Filled]
Argument = Union[int, Result, Kept, Swept, Pointer]
Values = tuple[range, ...]


def values(numbers: Iterable[int]) -> Values:
    """The numbers as ascending ranges."""
    ranges: list[range] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return tuple(ranges)


def spell(ranges: Values) -> str:
    """The values as the probe reads them: 1-512,600."""
    return ",".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in ranges)


@dataclass(frozen=True)
class Call:
    """One system call, named as in the table of probe.c."""

    name: str
    arguments: tuple[Argument, ...] = ()

    def words(self, slots: Mapping[str, int]) -> str:
        written = (str(a) if isinstance(a, int) else a.word(slots) for a in self.arguments)
        return " ".join((self.name, *written))


def call(name: str, *arguments: Argument) -> Call:
    """The call `name(arguments...)`."""
    return Call(name, arguments)


@dataclass(frozen=True)
class Query:
    """What a trial asks in the words of Reach: `bind`, `connect`, `send` or `fastopen` a port of `protocol` on the
    address `host`, or `create` a socket of `family` and `type`."""

    action: str
    protocol: str = ""
    host: str = ""
    family: int = 0
    type: int = 0


@dataclass(frozen=True)
class Trial:
    """Calls to try one after the other; the last of them once for each value of `values`, which are in ascending order.

    `kind` groups trials; in those of kind "ports" the values are ports, and the answer without SELinux is the same
    for each of them. `fresh` asks for the calls before the last to be made anew for every value. `query` is the same
    asked of Reach, where it knows such a question. `userns` says that it is tried in a user namespace of its own.
    """

    name: str
    calls: tuple[Call, ...]
    values: Values = (range(1),)
    kind: str = "use"
    fresh: bool = False
    query: Optional[Query] = None
    userns: bool = False

    @property
    def ports(self) -> bool:
        """Whether its values are ports."""
        return self.kind == "ports"

    @property
    def first(self) -> int:
        """The first value."""
        return self.values[0].start

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(map(len, self.values))

    def steps(self, slots: Mapping[str, int]) -> str:
        """The calls as the probe reads them."""
        return " ; ".join(c.words(slots) for c in self.calls)
