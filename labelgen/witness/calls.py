"""System calls as data: what the probe is told to try, and what the model of the kernel reads.

One description serves both sides: `Trial.line` writes the steps for the probe, `labelgen.witness.expect` walks through
the same calls and works out the answer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
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


Pointer = Union[Data, Text, Address, Zeros, Vector]
Argument = Union[int, Result, Kept, Swept, Pointer]


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
class Trial:
    """Calls to try one after the other; the last of them once for each value of `values`.

    `ports` says that the values are ports: then the answer without SELinux is the same for each of them. `fresh` asks for
    the calls before the last to be made anew for every value.
    """

    name: str
    calls: tuple[Call, ...]
    values: range = range(1)
    ports: bool = False
    fresh: bool = False

    @property
    def is_sweep(self) -> bool:
        return len(self.values) > 1

    def steps(self, slots: Mapping[str, int]) -> str:
        """The calls as the probe reads them."""
        return " ; ".join(c.words(slots) for c in self.calls)
