"""Booting: a kernel as an ordinary process, given an initramfs and read until the probe's last line."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Optional

from labelgen import programs
from labelgen.errors import InputError, MachineError
from labelgen.witness import compile as compiling
from labelgen.witness import initramfs, kernels
from labelgen.witness.answers import WitnessError
from labelgen.witness.kernels import Kernel
from labelgen.witness.script import Reader, Report, Script, is_start

# Where the memory of User Mode Linux is mapped from: a file system in memory, or every page is written to a disk.
MEMORY = Path("/dev/shm")

# A sweep in which all 65,535 ports are allowed takes 5 s, and much longer on a machine that is busy otherwise.
SILENCE_SECONDS = 180.0

KVM = Path("/dev/kvm")
# A kernel with KVM says its first word after a second or two.
TRIAL_SECONDS = 6.0

# An emulated kernel may fall over its own feet before it starts the probe: Linux 6.12 does so in every second start
# with qemu 7.2 (measured). Nothing has been asked by then, and it is started again.
STARTS, PANIC = 6, "Kernel panic"

# What both kernels are told: SELinux alone of the big modules, nothing enforced before the probe says so, no line on
# the console for each denial (which makes a sweep up to 15 times slower), and an end instead of a wait after a panic,
# which every oops is: a kernel that goes on after one is no witness.
COMMON = ("rdinit=/init", "lsm=selinux", "selinux=1", "enforcing=0", "oops=panic", "panic=-1", "quiet")


class Booted(NamedTuple):
    """What came of a boot: the report, and what the kernel said on its console."""

    report: Report
    console: str


def _scratch(kind: str, size: int) -> Path:
    """Where the boots of a kind, of which some run at once, have the room that they need: for an initramfs of `size`
    bytes, and for the memory of User Mode Linux, which hangs where a file system fills up. In memory, or else where
    temporary files are. Raises MachineError."""
    each = size + (_megabytes(size) << 20 if kind == "uml" else 0)
    needed = each * min(SIDE_BY_SIDE[kind], len(processors()))
    places = (MEMORY, Path(tempfile.gettempdir()))
    for place in places:
        if os.access(place, os.W_OK) and shutil.disk_usage(place).free >= needed:
            return place
    raise MachineError(
        f"there is no room for the kernels: {(needed >> 20) + 1} MB are needed in {' or '.join(map(str, places))}",
        "make room, or set TMPDIR to a folder elsewhere",
    )


def _audit(wanted: bool) -> tuple[str, ...]:
    # Denials are printed as notices, which `quiet` keeps off the console; there is nobody to read them elsewhere. Not
    # with audit=1: it keeps what was printed for a reader to come (kernel/audit.c: kauditd_hold_skb), until the memory
    # of the guest is full.
    return ("audit_backlog_limit=65536", "loglevel=6") if wanted else ("audit=0",)


# What a kernel needs besides what is unpacked in it, in MB. That is enough for User Mode Linux.
OF_A_KERNEL = 84


def _megabytes(size: int) -> int:
    """The memory that an initramfs of `size` bytes needs, which is there twice, packed and unpacked or loaded."""
    return OF_A_KERNEL + 2 * (size >> 20)


def _of_x86(kernel: Kernel) -> int:
    """What a kernel for x86 needs besides, in MB: the larger its image, the more."""
    return kernel.image.stat().st_size >> 20


def _uml_arguments(kernel: Kernel, image: Path, processor: int, audit: bool) -> tuple[str, list[str]]:
    # One processor: unpinned, its processes wander and every system call of the guest takes 2 to 5 times longer.
    return "taskset", [
        "-c",
        str(processor),
        str(compiling.launcher()),
        str(kernel.image),
        f"mem={_megabytes(image.stat().st_size)}M",
        f"initrd={image}",
        "con=null",
        "con0=null,fd:2",
        "ssl0=null,fd:1",
        "report=/dev/ttyS0",
        *COMMON,
        *_audit(audit),
    ]


def _qemu_arguments(kernel: Kernel, image: Path, processor: int, audit: bool) -> tuple[str, list[str]]:
    line = " ".join(("console=ttyS1", "report=/dev/ttyS0", *COMMON, *_audit(audit)))
    return "qemu-system-x86_64", [
        "-accel",
        f"{kernel.accelerator},tb-size=16" if kernel.accelerator == "tcg" else kernel.accelerator,
        "-M",
        "q35",
        "-cpu",
        "host" if kernel.accelerator == "kvm" else "max",
        "-m",
        f"{_megabytes(image.stat().st_size) + _of_x86(kernel)}M",
        "-smp",
        "1",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "file:/dev/stdout",
        "-chardev",
        "file,id=console,path=/dev/stderr,append=on",
        "-serial",
        "chardev:console",
        "-kernel",
        str(kernel.image),
        "-initrd",
        str(image),
        "-append",
        line,
    ]


# How many of a kind may run at once (measured on the policy of Debian: 70 to 80 MB each, and 190 MB; labelgen itself
# has 175 MB).
SIDE_BY_SIDE = {"uml": 3, "qemu": 1}

ARGUMENTS = {"uml": _uml_arguments, "qemu": _qemu_arguments}


def _write_initramfs(image: Path, *others: initramfs.Entry) -> None:
    """The probe as /init, a console, and what else there is."""
    entries = (initramfs.console(), initramfs.file("init", compiling.probe().read_bytes(), 0o755), *others)
    with image.open("wb") as file:
        file.writelines(initramfs.records(entries))


def boot(
    kernel: Kernel,
    policy: Path,
    script: Script,
    modules: dict[str, bytes],
    *,
    processor: int = 0,
    audit: bool = False,
    timeout: float = SILENCE_SECONDS,
    progress: Optional[Callable[[float], None]] = None,
) -> Booted:
    """Boot `kernel` with `policy` and let the probe work through `script`.

    Takes: `modules`, those that the script loads; `processor`, the one to stay on; `audit`, whether the kernel prints
    the AVC lines; `timeout`, the seconds to wait for each line of the report; `progress`, told the share done (0 to 1).

    Raises WitnessError for a witness whose report is not whole and for one that cannot be started or hangs,
    ProgramMissing.
    """
    files = [
        initramfs.file("policy", policy.read_bytes()),
        initramfs.file("script", script.text()),
        *(initramfs.file(f"mod/{name}.ko", content) for name, content in modules.items()),
    ]
    room = _scratch(kernel.kind, (1 << 20) + sum(len(file.content) for file in files))
    with TemporaryDirectory(prefix="labelgen-", dir=room) as scratch:
        image = Path(scratch) / "initramfs"
        _write_initramfs(image, *files)
        for _ in range(STARTS):
            reader, console = _run(kernel, image, script, processor, audit, timeout, progress)
            if reader.started or PANIC not in console:
                break
    try:
        return Booted(reader.report(), console)
    except WitnessError as error:
        raise _with_last_words(kernel, error, console) from error


def _run(
    kernel: Kernel,
    image: Path,
    script: Script,
    processor: int,
    audit: bool,
    timeout: float,
    progress: Optional[Callable[[float], None]],
) -> tuple[Reader, str]:
    """One start of a kernel: what the probe said, and what the kernel did on its console."""
    reader = Reader(script)
    wrong: list[WitnessError] = []

    def on_line(line: bytes) -> bool:
        try:
            ended = reader.feed(line)
        except WitnessError as error:
            wrong.append(error)
            return True
        if progress is not None:
            progress(reader.progress)
        return ended

    place = image.parent
    program, arguments = ARGUMENTS[kernel.kind](kernel, image, processor, audit)
    surroundings = {"TMPDIR": str(place), "HOME": str(place)}
    try:
        done = programs.watch(
            program, *arguments, on_line=on_line, scratch=place, timeout=timeout, environment=surroundings
        )
    except programs.ProgramFailed as error:
        raise WitnessError(f"{kernel}, {reader.place}\n{error.message}", error.hint) from error
    console = done.stderr.decode("utf-8", "replace")
    if wrong:
        raise _with_last_words(kernel, wrong[0], console)
    return reader, console


def _with_last_words(kernel: Kernel, error: WitnessError, console: str) -> WitnessError:
    return WitnessError("\n".join((f"{kernel}: {error.message}", *_last_words(console))), error.hint)


LAST_WORDS = 12


def _last_words(console: str) -> list[str]:
    """The end of what a kernel said, or from where it panicked: what comes after that is where it stood."""
    lines = console.splitlines()
    panic = next((number for number, line in enumerate(lines) if PANIC in line), None)
    return lines[-LAST_WORDS:] if panic is None else lines[panic : panic + LAST_WORDS]


def accelerated(kernel: Kernel) -> Kernel:
    """The same kernel with KVM, where a quick trial shows that it starts with it; else as it is.

    A KVM that is there and does not work hangs or aborts (measured inside virtual machines).
    """
    faster = replace(kernel, accelerator="kvm")
    if kernel.kind != "qemu" or not os.access(KVM, os.R_OK | os.W_OK):
        return kernel
    with TemporaryDirectory(prefix="labelgen-", dir=_scratch(kernel.kind, 1 << 20)) as scratch:
        image = Path(scratch) / "initramfs"
        _write_initramfs(image)
        program, arguments = _qemu_arguments(faster, image, 0, audit=False)
        try:
            said = programs.watch(program, *arguments, on_line=lambda _: True, timeout=TRIAL_SECONDS).stdout
        except programs.ProgramFailed:
            return kernel
    return faster if is_start(said) else kernel


def processors() -> list[int]:
    """The processors this process may use, the one to prefer first."""
    return sorted(os.sched_getaffinity(0), reverse=True)


_FINDERS: dict[str, Callable[[], Kernel]] = {"uml": kernels.user_mode_linux, "qemu": kernels.distribution_kernel}


def available(kinds: Sequence[str]) -> list[Kernel]:
    """The kernels of these kinds. Raises MachineError with the command that installs it where one is missing."""
    for kind in kinds:
        if kind == "qemu":
            programs.find("qemu-system-x86_64")
    return [accelerated(_FINDERS[kind]()) for kind in kinds]


def choose(witness: str, image: Optional[Path] = None, modules: Optional[Path] = None) -> list[Kernel]:
    """The kernels that --witness names: "uml", "qemu", "both", or "quickest": the quickest that is installed. Where an
    `image` is given it is that one, with the folder `modules`.

    Raises MachineError, with the command that installs one, where there is none; InputError for an image that is none,
    or of another kind.
    """
    if image is not None:
        kernel = kernels.given_kernel(image, modules)
        if witness not in (kernel.kind, "quickest"):
            raise InputError(f"{image}: this is a kernel for {kernel.kind}, not for {witness}")
        if kernel.kind == "qemu":
            programs.find("qemu-system-x86_64")
        return [accelerated(kernel)]
    if witness == "both":
        return available(("uml", "qemu"))
    if witness != "quickest":
        return available((witness,))
    for kind in ("uml", "qemu"):
        try:
            return available((kind,))
        except programs.ProgramMissing:
            continue
    raise MachineError(
        "no kernel that could bear witness is installed",
        "apt-get install user-mode-linux; where there is none, apt-get install qemu-system-x86 or dnf install "
        "qemu-system-x86-core",
    )
