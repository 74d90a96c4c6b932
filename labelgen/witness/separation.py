"""What one process tries on another: signals, tracing, /proc, sockets, IPC, keys, files.

The other one, the victim, makes what can be attacked while nothing is enforced; it is labelled as it will be. The
attacker is forked after that, and so has the descriptors by which a path starts at the victim's own folder.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from labelgen.witness.calls import Call, Data, Kept, Path, Result, Text, Trial, UnixAddress, Vector, Zeros, call
from labelgen.witness.expect import Object, Socket, Thing
from labelgen.witness.script import Script

IPC_CREAT, IPC_PRIVATE, IPC_STAT, SHM_RDONLY = 0o1000, 0, 2, 0o10000
O_RDONLY, O_WRONLY, O_CREAT, O_DIRECTORY, O_PATH = 0, 1, 0o100, 0o200000, 0o10000000
KEY_THREAD_KEYRING, KEYCTL_SETPERM, KEYCTL_DESCRIBE, KEYCTL_READ = -1, 5, 6, 11
# Signals by number: those that SELinux tells apart (kernel: signal_to_av), and one that is ignored by default.
SIGNALS = {"signull": 0, "sigchld": 17, "signal": 23}


@dataclass(frozen=True)
class Victim:
    """A process labelled `context`, and the name that all it owns begins with. `files` is the type of its private
    files."""

    context: str
    name: str
    files: str

    def kept(self, what: str) -> Kept:
        """Something of it, by its name."""
        return Kept(self.slot(what))

    def slot(self, what: str) -> str:
        return f"{self.name} {what}"

    def address(self, kind: str) -> UnixAddress:
        """Where its unix socket of that kind listens."""
        return UnixAddress(f"{self.name}-{kind}".replace(" ", "-"))


def _listening(victim: Victim, kind: str, type_: int) -> tuple[dict[int, str], tuple[Call, ...]]:
    address = victim.address(kind)
    calls = [
        call("socket", socket.AF_UNIX, type_ | socket.SOCK_NONBLOCK, 0),
        call("bind", Result(0), address, address.size),
    ]
    if type_ != socket.SOCK_DGRAM:
        calls.append(call("listen", Result(0), 4096))
    return {0: kind}, tuple(calls)


UNIX_KINDS = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}


def _belongings(victim: Victim) -> Iterator[tuple[dict[int, str], tuple[Call, ...]]]:
    """What the victim makes: (step -> name, calls)."""
    yield {0: "pid"}, (call("getpid"),)
    for kind, type_ in UNIX_KINDS.items():
        yield _listening(victim, kind, type_)
    yield {0: "shm"}, (call("shmget", IPC_PRIVATE, 4096, IPC_CREAT | 0o666),)
    yield {0: "sem"}, (call("semget", IPC_PRIVATE, 1, IPC_CREAT | 0o666),)
    yield {0: "msgq"}, (call("msgget", IPC_PRIVATE, IPC_CREAT | 0o666),)
    yield (
        {0: "key"},
        (
            call("add_key", Text("user"), Text("witness"), Data(b"secret"), 6, KEY_THREAD_KEYRING),
            call("keyctl", KEYCTL_SETPERM, Result(0), 0x3F3F3F3F),
        ),
    )


def _file_calls(victim: Victim) -> tuple[Call, ...]:
    folder, label = f"/share/{victim.name}".replace(" ", "-"), victim.files.encode() + b"\0"
    attribute = Text("security.selinux")
    return (
        call("mkdir", Text(folder), 0o755),
        call("open", Text(f"{folder}/file"), O_CREAT | O_WRONLY, 0o666),
        call("fsetxattr", Result(1), attribute, Data(label), len(label), 0),
        call("setxattr", Text(folder), attribute, Data(label), len(label), 0),
        call("open", Text(folder), O_PATH | O_DIRECTORY),
    )


def prepare(script: Script, actor: int, victim: Victim) -> dict[str, Object]:
    """Let `actor` become `victim`: make what can be attacked. Returns what the names stand for.

    Goes into the script before the attackers are forked. The first descriptor is opened by PID 1: the attackers
    inherit it.
    """
    for names, calls in _belongings(victim):
        script.keep(actor, {step: victim.slot(what) for step, what in names.items()}, calls)
    script.open({4: victim.slot("folder")}, _file_calls(victim))
    proc = call("open", Path("/proc/%", victim.slot("pid")), O_PATH | O_DIRECTORY)
    script.open({0: victim.slot("proc")}, (proc,))
    return {victim.slot(what): thing for what, thing in _things(victim).items()}


def _things(victim: Victim) -> dict[str, Object]:
    things: dict[str, Object] = {
        kind: Socket(
            victim.context,
            "unix_dgram_socket" if kind == "dgram" else "unix_stream_socket",
            socket.AF_UNIX,
            type_,
            0,
            opened_by=victim.context,
        )
        for kind, type_ in UNIX_KINDS.items()
    }
    things.update({what: Thing(victim.context, what) for what in ("shm", "sem", "msgq", "key")})
    return {
        **things,
        "pid": Thing(victim.context, "process"),
        "proc": Thing(victim.context, "dir"),
        "folder": Thing(victim.files, "dir"),
    }


def _process_calls(victim: Victim) -> Iterator[tuple[str, tuple[Call, ...]]]:
    pid = victim.kept("pid")
    for name, number in SIGNALS.items():
        yield f"send {name} to", (call("kill", pid, number),)
    yield "read the memory of", (call("process_vm_readv", pid, Vector(8), 1, Vector(8), 1, 0),)
    yield "take a descriptor of", (call("pidfd_open", pid, 0), call("pidfd_getfd", Result(0), victim.kept("stream"), 0))
    yield "getpgid of", (call("getpgid", pid),)
    yield "getsid of", (call("getsid", pid),)
    yield "sched_getscheduler of", (call("sched_getscheduler", pid),)
    yield "sched_setaffinity of", (call("sched_setaffinity", pid, 8, Data(b"\xff" * 8)),)
    yield "setpriority of", (call("setpriority", 0, pid, 0),)
    yield "ioprio_get of", (call("ioprio_get", 1, pid),)
    yield "prlimit of", (call("prlimit64", pid, 7, 0, Zeros(16)),)
    for name in ("status", "environ", "maps", "mem"):
        yield f"open /proc/{name} of", (call("openat", victim.kept("proc"), Text(name), O_RDONLY),)


def _object_calls(victim: Victim) -> Iterator[tuple[str, tuple[Call, ...]]]:
    for kind in ("stream", "seqpacket"):
        made, address = call("socket", socket.AF_UNIX, UNIX_KINDS[kind] | socket.SOCK_NONBLOCK, 0), victim.address(kind)
        yield f"connect to unix {kind} of", (made, call("connect", Result(0), address, address.size))
    address = victim.address("dgram")
    yield (
        "send to unix dgram of",
        (
            call("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0),
            call("sendto", Result(0), Data(b"\0"), 1, socket.MSG_DONTWAIT, address, address.size),
        ),
    )
    yield "attach shared memory of", (call("shmat", victim.kept("shm"), 0, SHM_RDONLY),)
    yield "attach shared memory to write of", (call("shmat", victim.kept("shm"), 0, 0),)
    yield "shmctl of", (call("shmctl", victim.kept("shm"), IPC_STAT, Zeros(256)),)
    yield "read a semaphore of", (call("semctl", victim.kept("sem"), 0, 12, 0),)
    yield "set a semaphore of", (call("semctl", victim.kept("sem"), 0, 16, 1),)
    yield "msgctl of", (call("msgctl", victim.kept("msgq"), IPC_STAT, Zeros(256)),)
    yield "describe a key of", (call("keyctl", KEYCTL_DESCRIBE, victim.kept("key"), Zeros(128), 128),)
    yield "read a key of", (call("keyctl", KEYCTL_READ, victim.kept("key"), Zeros(128), 128),)
    for flags, how in ((O_RDONLY, "read"), (O_WRONLY, "write")):
        yield f"open to {how} a file of", (call("openat", victim.kept("folder"), Text("file"), flags),)


def trials(victim: Victim) -> Iterator[Trial]:
    """What can be tried on a victim again and again."""
    for name, calls in (*_process_calls(victim), *_object_calls(victim)):
        yield Trial(f"{name} {victim.name}", calls, kind="pair")


def last_trials(victim: Victim) -> Iterator[Trial]:
    """What can be tried once, with a victim of its own: SEIZE (ptrace(2)), and a signal that ends it."""
    pid = victim.kept("pid")
    yield Trial(f"trace {victim.name}", (call("ptrace", 0x4206, pid, 0, 0),), kind="pair")
    yield Trial(f"send sigstop to {victim.name}", (call("kill", pid, 19),), kind="pair")
    yield Trial(f"send sigkill to {victim.name}", (call("kill", pid, 9),), kind="pair")


def unix_names(victim: Victim) -> dict[str, str]:
    """Abstract name -> the slot of the socket that listens there."""
    return {victim.address(kind).name: victim.slot(kind) for kind in UNIX_KINDS}
