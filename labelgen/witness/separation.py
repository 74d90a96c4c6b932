"""What one process tries on another: signals, tracing, /proc, sockets, descriptors, IPC, message queues, keys, files.

The other one, the victim, makes what can be attacked while nothing is enforced; it is labelled as it will be. The
attacker is forked after that, and so has the descriptors by which a path starts at the victim's own folder.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from labelgen.witness.calls import Call, Data, Kept, Path, Result, Text, Trial, UnixAddress, Vector, Zeros, call
from labelgen.witness.expect import File, Letterbox, Object, Socket, Thing
from labelgen.witness.script import Script

IPC_CREAT, IPC_PRIVATE, IPC_STAT, SHM_RDONLY = 0o1000, 0, 2, 0o10000
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_APPEND, O_DIRECTORY, O_PATH = 0, 1, 2, 0o100, 0o2000, 0o200000, 0o10000000
PROT_READ, PROT_EXEC, MAP_PRIVATE = 1, 4, 2
KEY_THREAD_KEYRING, KEYCTL_SETPERM, KEYCTL_DESCRIBE, KEYCTL_READ = -1, 5, 6, 11
# Signals by number: those that SELinux tells apart (kernel: signal_to_av), and one that is ignored by default.
SIGNALS = {"signull": 0, "sigchld": 17, "signal": 23}


LABEL = Text("security.selinux")


@dataclass(frozen=True)
class Folder:
    """A folder of private files labelled `files`, and the name that all in it begins with."""

    name: str
    files: str

    def kept(self, what: str) -> Kept:
        """Something of it, by its name."""
        return Kept(self.slot(what))

    def slot(self, what: str) -> str:
        return f"{self.name} {what}"

    @property
    def path(self) -> str:
        return f"/share/{self.name}".replace(" ", "-")


@dataclass(frozen=True)
class Victim(Folder):
    """A process labelled `context` with a folder of private files. `queue` is the label of its POSIX message queue; ""
    where the policy gives message queues no label."""

    context: str = ""
    queue: str = ""

    @property
    def queue_name(self) -> str:
        """The name of its message queue."""
        return self.path.rpartition("/")[2]

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


def _labelled(path: str, label: str) -> Call:
    value = label.encode() + b"\0"
    return call("setxattr", Text(path), LABEL, Data(value), len(value), 0)


def make_folder(script: Script, folder: Folder, attackers: int) -> dict[str, Object]:
    """Let PID 1 make a folder, with one file for all and one to remove for each attacker. Returns what the names stand
    for. The descriptor is opened by PID 1: the attackers inherit it."""
    files = ["file", *(f"doomed-{number}" for number in range(attackers))]
    script.open({}, (call("mkdir", Text(folder.path), 0o755),))
    for name in files:
        made = call("open", Text(f"{folder.path}/{name}"), O_CREAT | O_WRONLY, 0o666)
        script.open({}, (made, _labelled(f"{folder.path}/{name}", folder.files)))
    opened = call("open", Text(folder.path), O_PATH | O_DIRECTORY)
    script.open({1: folder.slot("folder")}, (_labelled(folder.path, folder.files), opened))
    return {folder.slot("folder"): Thing(folder.files, "dir")}


QUEUES = "/mq"


def mount_queues(script: Script, label: str) -> None:
    """Let PID 1 mount the file system of POSIX message queues, which is there in any case, and label its root."""
    mount = call("mount", Text("mqueue"), Text(QUEUES), Text("mqueue"), 0, 0)
    script.open({}, (call("mkdir", Text(QUEUES), 0o755), mount, _labelled(QUEUES, label)))


def _letterbox(name: str) -> tuple[Call, ...]:
    """Calls of PID 1 that join two sockets: step 3 is the end to write to, step 5 the one to read from. A socket of the
    kernel's own label is never checked, so that nothing but the descriptor is."""
    kind, address = socket.SOCK_SEQPACKET, UnixAddress(name.replace(" ", "-"))
    return (
        call("socket", socket.AF_UNIX, kind, 0),
        call("bind", Result(0), address, address.size),
        call("listen", Result(0), 1),
        call("socket", socket.AF_UNIX, kind, 0),
        call("connect", Result(3), address, address.size),
        call("accept4", Result(0), 0, 0, 0),
    )


# What the victim sends through its letterboxes.
PASSED = ("file", "tcp socket")


def open_letterboxes(script: Script, victim: Victim) -> None:
    """Let PID 1 open them, before it forks the victim."""
    for what in PASSED:
        name = victim.slot(f"letterbox of {what}")
        script.open({3: f"{name} in", 5: f"{name} out"}, _letterbox(name))


def _posted(victim: Victim, what: str) -> tuple[Call, ...]:
    if what == "file":
        opened = call("open", Text(f"{victim.path}/file"), O_RDWR)
    else:
        opened = call("socket", socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    return (opened, call("give", victim.kept(f"letterbox of {what} in"), Result(0)))


def prepare(script: Script, actor: int, victim: Victim, attackers: int) -> dict[str, Object]:
    """Let `actor` become `victim`: make what can be attacked, for so many attackers. Returns what the names stand for.

    Goes into the script before the attackers are forked, who inherit what PID 1 opens.
    """
    for names, calls in _belongings(victim):
        script.keep(actor, {step: victim.slot(what) for step, what in names.items()}, calls)
    things = make_folder(script, victim, attackers)
    for what in PASSED:
        for _ in range(attackers + 1):  # one for the kernel by itself
            script.keep(actor, {}, _posted(victim, what))
    if victim.queue:
        label = victim.queue.encode() + b"\0"
        made = call("mq_open", Text(victim.queue_name), O_CREAT | O_RDWR, 0o666, 0)
        script.keep(actor, {}, (made, call("fsetxattr", Result(0), LABEL, Data(label), len(label), 0)))
    proc = call("open", Path("/proc/%", victim.slot("pid")), O_PATH | O_DIRECTORY)
    script.open({0: victim.slot("proc")}, (proc,))
    return {**things, **{victim.slot(what): thing for what, thing in _things(victim).items()}}


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
    passed = {
        "file": File(victim.files, "file", victim.context),
        "tcp socket": File(victim.context, "tcp_socket", victim.context),
    }
    things.update({f"letterbox of {what} out": Letterbox(passed[what]) for what in PASSED})
    return {
        **things,
        "pid": Thing(victim.context, "process"),
        "proc": Thing(victim.context, "dir"),
        "queue": Thing(victim.queue, "file"),
    }


Attempts = Iterator[tuple[str, tuple[Call, ...]]]


def _signals(victim: Victim) -> Attempts:
    for name, number in SIGNALS.items():
        yield f"send {name} to", (call("kill", victim.kept("pid"), number),)


def _tracing(victim: Victim) -> Attempts:
    pid = victim.kept("pid")
    yield "read the memory of", (call("process_vm_readv", pid, Vector(8), 1, Vector(8), 1, 0),)
    yield "take a descriptor of", (call("pidfd_open", pid, 0), call("pidfd_getfd", Result(0), victim.kept("stream"), 0))


def _scheduling(victim: Victim) -> Attempts:
    pid = victim.kept("pid")
    yield "getpgid of", (call("getpgid", pid),)
    yield "getsid of", (call("getsid", pid),)
    yield "sched_getscheduler of", (call("sched_getscheduler", pid),)
    yield "sched_setaffinity of", (call("sched_setaffinity", pid, 8, Data(b"\xff" * 8)),)
    yield "setpriority of", (call("setpriority", 0, pid, 0),)
    yield "ioprio_get of", (call("ioprio_get", 1, pid),)
    yield "prlimit of", (call("prlimit64", pid, 7, 0, Zeros(16)),)


def _proc(victim: Victim) -> Attempts:
    for name in ("status", "environ", "maps", "mem"):
        yield f"open /proc/{name} of", (call("openat", victim.kept("proc"), Text(name), O_RDONLY),)


def _unix_sockets(victim: Victim) -> Attempts:
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


def _descriptors(victim: Victim) -> Attempts:
    for what in PASSED:
        yield f"receive a {what} opened by", (call("receive", victim.kept(f"letterbox of {what} out")),)


def _ipc(victim: Victim) -> Attempts:
    yield "attach shared memory of", (call("shmat", victim.kept("shm"), 0, SHM_RDONLY),)
    yield "attach shared memory to write of", (call("shmat", victim.kept("shm"), 0, 0),)
    yield "shmctl of", (call("shmctl", victim.kept("shm"), IPC_STAT, Zeros(256)),)
    yield "read a semaphore of", (call("semctl", victim.kept("sem"), 0, 12, 0),)
    yield "set a semaphore of", (call("semctl", victim.kept("sem"), 0, 16, 1),)
    yield "msgctl of", (call("msgctl", victim.kept("msgq"), IPC_STAT, Zeros(256)),)


def _queues(victim: Victim) -> Attempts:
    if victim.queue:
        for flags, how in ((O_RDONLY, "read"), (O_WRONLY, "write"), (O_RDWR, "read and write")):
            name = Text(victim.queue_name)
            yield f"open to {how} a message queue of", (call("mq_open", name, flags, 0, 0),)


def _keys(victim: Victim) -> Attempts:
    yield "describe a key of", (call("keyctl", KEYCTL_DESCRIBE, victim.kept("key"), Zeros(128), 128),)
    yield "read a key of", (call("keyctl", KEYCTL_READ, victim.kept("key"), Zeros(128), 128),)


def _files(folder: Folder) -> Attempts:
    place, file = folder.kept("folder"), Text("file")
    yield "list a folder of", (call("openat", place, Text("."), O_RDONLY | O_DIRECTORY),)
    yield "stat a file of", (call("newfstatat", place, file, Zeros(256), 0),)
    yield "open to read a file of", (call("openat", place, file, O_RDONLY),)
    yield "open to append a file of", (call("openat", place, file, O_WRONLY | O_APPEND),)
    yield "open to write a file of", (call("openat", place, file, O_WRONLY),)
    yield "chmod a file of", (call("fchmodat", place, file, 0o666),)
    mapped = call("mmap", 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, Result(0), 0)
    yield "map to execute a file of", (call("openat", place, file, O_RDONLY), mapped)


def _changes(folder: Folder, number: int) -> Attempts:
    place = folder.kept("folder")
    yield "link a file of", (call("linkat", place, Text("file"), place, Text(f"linked-{number}"), 0),)
    yield "remove a file of", (call("unlinkat", place, Text(f"doomed-{number}"), 0),)


# What the attempts are about -> the attempts. Each group has to succeed somewhere in the control, or it shows nothing.
GROUPS: dict[str, Callable[[Victim], Attempts]] = {
    "signals": _signals,
    "tracing": _tracing,
    "scheduling": _scheduling,
    "/proc": _proc,
    "unix sockets": _unix_sockets,
    "descriptors": _descriptors,
    "IPC": _ipc,
    "message queues": _queues,
    "keys": _keys,
    "files": _files,
}


def trials(victim: Victim) -> Iterator[Trial]:
    """What can be tried on a victim again and again."""
    for group, attempts in GROUPS.items():
        yield from (Trial(f"{name} {victim.name}", calls, kind=group) for name, calls in attempts(victim))


def last_trials(victim: Victim) -> Iterator[Trial]:
    """What can be tried once, with a victim of its own: SEIZE (ptrace(2)), and a signal that ends it."""
    pid = victim.kept("pid")
    yield Trial(f"trace {victim.name}", (call("ptrace", 0x4206, pid, 0, 0),), kind="tracing")
    yield Trial(f"send sigstop to {victim.name}", (call("kill", pid, 19),), kind="signals")
    yield Trial(f"send sigkill to {victim.name}", (call("kill", pid, 9),), kind="signals")


def file_trials(folder: Folder) -> Iterator[Trial]:
    """What can be tried on private files again and again."""
    yield from (Trial(f"{name} {folder.name}", calls, kind="files") for name, calls in _files(folder))


def last_file_trials(folder: Folder, number: int) -> Iterator[Trial]:
    """What attacker `number`, from 0, can try on private files once."""
    for name, calls in _changes(folder, number):
        yield Trial(f"{name} {folder.name} ({number + 1})", calls, kind="files")


def names(victim: Victim) -> dict[str, str]:
    """What is found by its name alone -> its slot: unix sockets in the abstract namespace, the message queue."""
    found = {victim.address(kind).name: victim.slot(kind) for kind in UNIX_KINDS}
    return {**found, victim.queue_name: victim.slot("queue")}
