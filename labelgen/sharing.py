"""Work shared out among copies of this process, for what Python works out itself and threads would not hasten.

A copy knows all that this process has read, and hands back its results. What it does not hand back whole, because it
was killed or failed, this process works out itself, and fails where the copy did: nothing counts as done that is not.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Generic, Optional, TypeVar

from labelgen.programs import AT_ONCE_SECONDS

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST = 16  # items for each process: fewer are done sooner than a process is copied
MOST = 3  # processes, for each comes to need memory of its own
_LENGTH = 8  # bytes in which a copy says first how many follow


def shared_out(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of every item, in their order, worked out side by side where that pays.

    The results must be such that pickle carries them. Signals are heeded, and no copy outlives the call.
    """
    number = min(_processes(), len(items) // LEAST)
    if number < 2:
        return _each(function, items)
    first, rest = function(items[0]), items[1:]  # with it, what all need is found out once
    shares = [rest[start::number] for start in range(number)]
    copies: list[_Copy] = []
    try:
        for share in shares[1:]:
            copies.append(_Copy(partial(_each, function, share)))
        done = [_each(function, shares[0])]
        done += [copy.result() or _each(function, share) for copy, share in zip(copies, shares[1:])]
    finally:
        for copy in copies:
            copy.end()
    return [first, *(done[place % number][place // number] for place in range(len(rest)))]


def _processes() -> int:
    """How many processes pay. A copy has no other threads, and the locks that they held."""
    return 1 if threading.active_count() > 1 else min(len(os.sched_getaffinity(0)), MOST)


class Ahead(Generic[Result]):
    """What `function` returns, which a copy of this process works out from now on, where that pays."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._copy = _Copy(function) if _processes() > 1 else None
        if self._copy:
            weakref.finalize(self, self._copy.end)

    def result(self) -> Result:
        """It, once."""
        found: Optional[Result] = self._copy.result() if self._copy else None
        return self._function() if found is None else found


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


class _Copy:
    """A copy of this process that works something out."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._original, self._child = os.getpid(), -1
        self._reading, writing = os.pipe()
        try:
            with suppress(OSError):  # no more processes are to be had: then it hands back nothing
                self._child = os.fork()
            if not self._child:
                os.close(self._reading)
                content = pickle.dumps(work(), pickle.HIGHEST_PROTOCOL)
                with os.fdopen(writing, "wb") as file:
                    file.write(len(content).to_bytes(_LENGTH, "big") + content)
        finally:
            # However a copy ends, by a signal between two lines too: what the original cleans up is not its own.
            if os.getpid() != self._original:
                os._exit(0)
            os.close(writing)

    def result(self) -> Any:
        """What it worked out; None where it did not hand back all of it."""
        content = b"".join(self._read())
        is_whole = len(content) - _LENGTH == int.from_bytes(content[:_LENGTH], "big")
        return pickle.loads(content[_LENGTH:]) if is_whole else None

    def _read(self) -> Iterator[bytes]:
        while True:
            ready, _, _ = select.select([self._reading], [], [], AT_ONCE_SECONDS)
            part = os.read(self._reading, 1 << 20) if ready else None
            if part == b"":
                return
            yield part or b""

    def end(self) -> None:
        """End it where it still runs. Only the process that made it may."""
        if os.getpid() != self._original:
            return
        os.close(self._reading)
        if self._child > 0:
            # Where SIGCHLD is ignored nothing may be left of it.
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._child, signal.SIGKILL)
                os.waitpid(self._child, 0)
