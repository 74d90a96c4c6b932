"""The one door to the outside: every external program is started here.

A program that is missing, fails, hangs or is killed becomes one error with the program's own words in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from threading import enumerate as enumerate_threads
from typing import IO, TYPE_CHECKING, Callable, NamedTuple, Optional, TypeVar, Union, cast

from labelgen.errors import MachineError, printable

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Argument = Union[str, Path]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Long enough for the slowest link of a distribution's policy on a busy machine (5 s measured), short enough
# that a program that hangs is told before a person gives up.
TIMEOUT_SECONDS = 300.0

# program -> (Debian's package, Fedora's package)
PACKAGES = {
    "checkmodule": ("checkpolicy", "checkpolicy"),
    "checkpolicy": ("checkpolicy", "checkpolicy"),
    "semodule_package": ("semodule-utils", "policycoreutils"),
    "semodule": ("policycoreutils", "policycoreutils"),
    "pp": ("policycoreutils", "policycoreutils"),
    "secilc": ("secilc", "secilc"),
    "linux.uml": ("user-mode-linux", ""),
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-system-x86-core"),
    "taskset": ("util-linux", "util-linux"),
    "apt-cache": ("apt", ""),
    "apt-get": ("apt", ""),
    "dpkg": ("dpkg", ""),
    "zstd": ("zstd", "zstd"),
    "gcc": ("gcc libc6-dev", "gcc glibc-static"),
    "rpmbuild": ("rpm", "rpm-build"),
    "rpm": ("rpm", "rpm"),
    "rpmsign": ("rpm", "rpm-sign"),
    "rpmkeys": ("rpm", "rpm"),
    "rpm2cpio": ("rpm2cpio", "rpm"),
    "gpg": ("gnupg", "gnupg2"),
    "podman": ("podman", "podman"),
    "docker": ("docker.io", "moby-engine"),
    "restorecon": ("policycoreutils", "policycoreutils"),
    "load_policy": ("policycoreutils", "policycoreutils"),
}

# pp is no command of its own: policycoreutils keeps it among the "high-level language" compilers
# of libsemanage (semanage.conf, compiler-directory).
PLACES = {"pp": ("/usr/libexec/selinux/hll/pp", "/usr/lib/selinux/hll/pp")}


MOST_LINES = 20
LONGEST_LINE = 500

# What the tools say when they could not write, whatever their exit status: checkpolicy/checkmodule.c, libsepol/write.c,
# secilc/secilc.c, semodule-utils/semodule_package.c, and the C library.
CANNOT_WRITE = ("error writing", "Failed to write", "Error while writing", "No space left on device")
_KILLED_FOR = {int(signal.SIGKILL): " (as the kernel kills when memory is short)"}
NOT_STARTED = (126, 127)  # POSIX shell: found and not executable, not found


def _last_words(stderr: bytes) -> str:
    """The end of what a program said: the cause comes last, and nobody reads a hundred thousand lines."""
    lines = printable(stderr.decode("utf-8", "replace")).strip().split("\n")
    kept = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..." for line in lines[-MOST_LINES:]]
    return "\n".join([*(["..."] if len(lines) > MOST_LINES else []), *kept])


class Completed(NamedTuple):
    """A program that ran and succeeded."""

    argv: tuple[str, ...]
    stdout: bytes
    stderr: bytes


class ProgramMissing(MachineError):
    """A program is not installed."""

    def __init__(self, program: str) -> None:
        debian, fedora = PACKAGES.get(program, (program, program))
        cures = [f"apt-get install {debian}"] + ([f"dnf install {fedora}"] if fedora else [])
        super().__init__(f"the program {program} is not installed", hint=" or ".join(cures))
        self.program = program


class ProgramFailed(MachineError):
    """A program ended with an error, was killed, or did not end in time."""

    def __init__(self, argv: Sequence[str], what: str, stderr: bytes = b"", status: Optional[int] = None) -> None:
        words = _last_words(stderr)
        super().__init__(
            f"{Path(argv[0]).name} {what}" + (f":\n{words}" if words else ""),
            hint=f"the command was: {shlex.join(argv)}",
        )
        self.argv = tuple(argv)
        self.stderr = words
        self.status = status

    @property
    def is_of_machine(self) -> bool:
        """Whether the machine failed, not what the program was given: it did not start, was killed, could not write,
        or does not even say what is wrong."""
        stopped = self.status is None or self.status < 0 or self.status in NOT_STARTED
        return stopped or not self.stderr or any(words in self.stderr for words in CANNOT_WRITE)


class NothingMade(MachineError):
    """A program ended well and did not do its work."""

    def __init__(self, program: str, what: str) -> None:
        super().__init__(f"{program} ended well and left {what}", hint=f"is {find(program)} the program of SELinux?")


def find(program: str) -> str:
    """The path of `program`. Raises ProgramMissing, which names the package that brings it."""
    for place in PLACES.get(program, ()):
        if os.access(place, os.X_OK):
            return place
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise ProgramMissing(program)
    return found


# How to end what runs now, in whatever thread.
_running: set[Callable[[], None]] = set()


@contextlib.contextmanager
def _known(kill: Callable[[], None]) -> Iterator[None]:
    """What runs inside the block can be ended by `kill`, from another thread."""
    _running.add(kill)
    try:
        yield
    finally:
        _running.discard(kill)


def _to_its_end(
    argv: Sequence[str], stdin: bytes, cwd: Optional[Path], environment: Mapping[str, str], timeout: float, group: bool
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run, and known to `_running` meanwhile; with `group` a program that starts others, which are ended
    with it."""
    pipe = subprocess.PIPE
    given = pipe if stdin else subprocess.DEVNULL
    process = subprocess.Popen(
        argv, stdin=given, stdout=pipe, stderr=pipe, cwd=cwd, env=environment, start_new_session=group
    )
    kill = partial(_kill_group, process) if group else process.kill
    with process, _known(kill):
        try:
            stdout, stderr = process.communicate(stdin or None, timeout)
        except BaseException:
            kill()
            if group:
                process.communicate()  # until the last of them is gone
            raise
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


def _kill_all(until: Event) -> None:
    while not until.wait(0.05):
        for kill in tuple(_running):
            kill()


@contextlib.contextmanager
def workers(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads to start programs in; what still runs when the block ends with an error is killed.

    Signals interrupt the main thread alone: a program that another one started is never lost half-way.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - slow to import, and few commands need it

    over = Event()
    prefix = f"worker-{id(over)}-"
    try:
        with ThreadPoolExecutor(number, prefix) as pool:
            try:
                yield pool
            except BaseException:
                Thread(target=_kill_all, args=(over,), daemon=True).start()
                pool.shutdown(wait=False, cancel_futures=True)
                # Interrupted between a thread's start and its own note of it, the pool does not know that one.
                while any(thread.name.startswith(prefix) for thread in enumerate_threads()):
                    time.sleep(0.005)
                raise
    finally:
        over.set()


# How long the main thread waits at once. Python heeds a signal when a wait ends: one that comes just before it begins,
# or is delivered to another thread, does not end it.
AT_ONCE_SECONDS = 0.5


def _waited_for(ended: queue.SimpleQueue[Result]) -> Result:
    while True:
        with contextlib.suppress(queue.Empty):
            return ended.get(timeout=AT_ONCE_SECONDS)


def in_turn(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """As the pool's own map, and signals are heeded meanwhile."""
    for future in [pool.submit(function, item) for item in items]:
        yield _result(future)


def _result(future: Future[Result]) -> Result:
    from concurrent.futures import wait  # noqa: PLC0415 - as in `workers`

    while wait((future,), AT_ONCE_SECONDS).not_done:
        pass
    return future.result()


def meanwhile(programs: Callable[[], object], rest: Callable[[], Result]) -> Result:
    """What `rest` returns, worked out while `programs` starts programs and waits for them."""
    with workers(1) as pool:
        ended = pool.submit(programs)
        found = rest()
        _result(ended)
        return found


def _in_a_thread(function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, called in a thread of its own, as `workers` would and for the same reason."""
    ended: queue.SimpleQueue[tuple[Optional[Result], Optional[BaseException]]] = queue.SimpleQueue()

    def work() -> None:
        try:
            ended.put((function(), None))
        except BaseException as error:
            ended.put((None, error))

    thread = Thread(target=work)
    over = Event()
    try:
        thread.start()
        result, error = _waited_for(ended)
    except BaseException:
        Thread(target=_kill_all, args=(over,), daemon=True).start()
        if thread.ident is not None:
            thread.join()
        raise
    finally:
        over.set()
    if error is not None:
        raise error
    return cast(Result, result)


def run(
    program: str,
    *arguments: Argument,
    makes: Optional[Path] = None,
    stdin: bytes = b"",
    cwd: Optional[Path] = None,
    environment: Optional[Mapping[str, str]] = None,
    timeout: float = TIMEOUT_SECONDS,
    group: bool = False,
) -> Completed:
    """Run `program` to its end in the C locale and return what it printed.

    Takes: `makes`, a file that it must leave; `stdin`, the bytes it reads; `environment`, added to this process's own;
    `timeout` in seconds; `group`, whether it starts others, which end with it. Raises ProgramMissing, ProgramFailed,
    NothingMade.
    """
    argv = [find(program), *map(str, arguments)]
    surroundings = {**os.environ, **(environment or {}), "LC_ALL": "C"}
    try:
        if current_thread() is main_thread():
            done = _in_a_thread(lambda: _to_its_end(argv, stdin, cwd, surroundings, timeout, group))
        else:  # one of the workers, which is not interrupted
            done = _to_its_end(argv, stdin, cwd, surroundings, timeout, group)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(argv, f"did not end within {timeout:g} seconds") from error
    except OSError as error:
        raise ProgramFailed(argv, f"could not be started: {error.strerror or error}") from error
    if done.returncode:
        how = (
            f"was killed by signal {-done.returncode}{_KILLED_FOR.get(-done.returncode, '')}"
            if done.returncode < 0
            else f"failed with exit status {done.returncode}"
        )
        raise ProgramFailed(argv, how, done.stderr or done.stdout, done.returncode)
    if makes is not None and not (makes.is_file() and makes.stat().st_size):
        raise NothingMade(program, f"no {makes.name}")
    return Completed(tuple(argv), done.stdout, done.stderr)


def become(program: str, *arguments: Argument) -> None:
    """Replace this process by `program`, in the user's own locale: what it does with signals, its terminal and its exit
    status is then this process's doing. Returns never. Raises ProgramMissing, ProgramFailed."""
    argv = [find(program), *map(str, arguments)]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        raise ProgramFailed(argv, f"could not be started: {error.strerror or error}") from error


def _drain(stream: IO[bytes], put: Callable[[bytes], None]) -> Thread:
    def read() -> None:
        with stream:
            for line in stream:
                put(line)
        put(b"")

    reader = Thread(target=read, daemon=True)
    reader.start()
    return reader


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill `process` and every process of its group: what a shell started, the processes of User Mode Linux's guest."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    process.wait()


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def watch(
    program: str,
    *arguments: Argument,
    on_line: Callable[[bytes], bool],
    scratch: Optional[Path] = None,
    environment: Optional[Mapping[str, str]] = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Completed:
    """Start `program` in a process group of its own and hand each line that it prints to `on_line`, until that returns
    True or the program ends; either way nothing of the group is left.

    Takes: `environment`, added to this process's own; `timeout`, the seconds to wait for each line. Returns what it
    printed up to then. Raises ProgramMissing; ProgramFailed when it cannot be started or falls silent; whatever
    `on_line` raises.
    """
    argv = [find(program), *map(str, arguments)]
    lines: queue.Queue[bytes] = queue.Queue()
    said: list[bytes] = []
    with tempfile.TemporaryFile(dir=scratch) as errors:
        fcntl.fcntl(errors, fcntl.F_SETFL, fcntl.fcntl(errors, fcntl.F_GETFL) | os.O_APPEND)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(argv, f"could not be started: {error.strerror or error}") from error
        assert process.stdout is not None
        reader = _drain(process.stdout, lines.put)
        try:
            with _known(partial(_kill_group, process)):
                for line in iter(lambda: lines.get(timeout=timeout), b""):
                    said.append(line)
                    if on_line(line):
                        break
        except queue.Empty:
            _end(process)
            raise ProgramFailed(argv, f"did not finish within {timeout:g} seconds", _whole(errors)) from None
        finally:
            _end(process)
            reader.join(timeout=5)
        return Completed(tuple(argv), b"".join(said), _whole(errors))


def processors() -> int:
    """How many programs this machine runs at a time."""
    return os.cpu_count() or 1


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of every item, as many at a time as there are processors; results in the order of the items.

    For functions that wait for programs. Raises the first error, in that order; then, and when the process is
    interrupted, what still runs is killed.
    """
    with workers(processors()) as pool:
        return list(in_turn(pool, function, items))
