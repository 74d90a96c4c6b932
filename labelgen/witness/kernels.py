"""The kernels that can bear witness: where their images and modules are."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional

from labelgen import cache, programs
from labelgen.errors import InputError, MachineError

UML_MODULES = Path("/usr/lib/uml/modules")
MODULES = Path("/lib/modules")
BOOT = Path("/boot")

# Debian's kernel without drivers for hardware: the smallest that qemu boots, with MPTCP, SCTP and DCCP.
QEMU_PACKAGE = "linux-image-cloud-amd64"

# What a host would load by itself when a program asks for the protocol. Loaded before the policy, so that the kernel
# is as complete a witness as it can be; a kernel that has one built in, or lacks it, does without.
WANTED_MODULES = (
    "crc32c_generic",  # which libcrc32c, and so sctp, asks for as it starts: no dependency, but a soft one
    "ipv6",
    "sctp",
    "dccp_ipv4",
    "dccp_ipv6",
    "af_alg",
    "algif_hash",
    "vsock",
    "vsock_loopback",
    "af_key",
    "tipc",
    "can",
    "can_raw",
    "can_bcm",
    "smc",
    "rds",
    "kcm",
    "pppox",
    "l2tp_ip",
    "l2tp_ip6",
    "x25",
    "phonet",
    "qrtr",
    "fcrypt",  # which rxrpc asks for as it starts, with pcbc
    "pcbc",
    "rxrpc",
    "atm",
    "llc2",
    "ax25",
    "netrom",
    "rose",
    "appletalk",
    "caif_socket",
    "bluetooth",
    "nfc",
    "ieee802154_socket",
    "mctp",
    "nfnetlink",
    "xfrm_user",
    "scsi_transport_iscsi",
    "crypto_user",
)


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    kind: "uml" or "qemu"; modules: the folder of its modules, if any; accelerator: what qemu runs it with.
    """

    kind: str
    image: Path
    modules: Optional[Path]
    accelerator: str = "tcg"

    def __str__(self) -> str:
        return f"{self.kind} ({self.image.name})"


def user_mode_linux() -> Kernel:
    """User Mode Linux. Raises ProgramMissing."""
    image = Path(programs.find("linux.uml"))
    return Kernel("uml", image, _modules_of(_uml_release(image)))


def _uml_release(image: Path) -> str:
    """What release of Linux an executable is. Raises InputError for one that is none."""
    try:
        said = programs.run(str(image), "--version", timeout=10).stdout.decode("utf-8", "replace").strip()
    except programs.ProgramFailed:
        said = ""
    if not re.fullmatch(r"\d+\.\d+\S*", said):
        raise InputError(f"{image}: this program is not User Mode Linux: it does not answer --version with a release")
    return said


def _modules_of(release: str) -> Optional[Path]:
    modules = UML_MODULES / release
    return modules if modules.is_dir() else None


def _installed() -> Iterator[Kernel]:
    # Debian keeps images in /boot, Fedora beside the modules as well.
    for image in sorted((*BOOT.glob("vmlinuz-*"), *MODULES.glob("*/vmlinuz")), reverse=True):
        release = image.name.partition("-")[2] or image.parent.name
        if (MODULES / release).is_dir():
            yield Kernel("qemu", image, MODULES / release)


def _unpacked(folder: Path) -> Kernel:
    images = sorted(folder.glob("boot/vmlinuz-*"))
    if not images:
        raise MachineError(f"{folder}: this package of a kernel has no boot/vmlinuz")
    modules = [place for place in (folder / "lib/modules", folder / "usr/lib/modules") if place.is_dir()]
    return Kernel("qemu", images[-1], next(iter(modules[0].iterdir()), None) if modules else None)


def _package() -> str:
    try:
        programs.find("apt-cache")
    except programs.ProgramMissing as error:
        raise MachineError(
            "there is no kernel here that qemu could boot and that may be read",
            "dnf install kernel-core, run as root, or give one: --kernel IMAGE",
        ) from error
    words = programs.run("apt-cache", "depends", QEMU_PACKAGE).stdout.decode()
    found = re.search(r"Depends: (linux-image-\S+)", words)
    if not found:
        raise MachineError(
            f"the package {QEMU_PACKAGE} is not known here", hint="apt-get update, or give one: --kernel IMAGE"
        )
    return found[1]


def _download(package: str, into: Path) -> None:
    with TemporaryDirectory(dir=into.parent) as scratch:
        programs.run("apt-get", "download", package, cwd=Path(scratch))
        for archive in Path(scratch).glob("*.deb"):
            programs.run("dpkg", "-x", archive, into)


def distribution_kernel() -> Kernel:
    """A kernel of the distribution for qemu: one that is installed and readable, else the package, unpacked in the
    cache.

    Raises MachineError where there is neither.
    """
    for kernel in _installed():
        if os.access(kernel.image, os.R_OK):
            return kernel
    package = _package()
    return _unpacked(cache.folder("kernels", package, lambda into: _download(package, into)))


# What an x86 image for boot loaders has at 0x202 (Documentation/arch/x86/boot.rst); User Mode Linux is a program.
BOOT_MAGIC, BOOT_MAGIC_AT = b"HdrS", 0x202
PROGRAM_MAGIC = b"\x7fELF"


def given_kernel(image: Path, modules: Optional[Path] = None) -> Kernel:
    """A kernel image that the user names: one for qemu, or User Mode Linux. `modules` is the folder of its modules, or
    else looked for where distributions have it. Raises InputError when it is no kernel, or not a folder."""
    try:
        with image.open("rb") as file:
            start = file.read(BOOT_MAGIC_AT + len(BOOT_MAGIC))
    except OSError as error:
        raise InputError(f"{image}: this kernel image cannot be read: {error.strerror}") from error
    if modules is not None and not modules.is_dir():
        raise InputError(f"{modules}: there is no such folder of modules")
    if start.startswith(PROGRAM_MAGIC) and os.access(image, os.X_OK):
        return Kernel("uml", image, modules or _modules_of(_uml_release(image)))
    if start[BOOT_MAGIC_AT:] != BOOT_MAGIC:
        raise InputError(f"{image}: this is neither a kernel image for x86 (bzImage) nor an executable User Mode Linux")
    release = image.name.partition("-")[2]
    places = (image.parent.parent / "lib/modules" / release, image.parent, MODULES / release)
    beside = next((place for place in places if release and place.is_dir() and any(place.rglob("*.ko*"))), None)
    return Kernel("qemu", image, modules or beside)


def _stem(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return programs.run("zstd", "-dc", path).stdout
    return data


def _depends(content: bytes) -> list[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", content)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def modules(kernel: Kernel, wanted: Iterable[str] = WANTED_MODULES) -> dict[str, bytes]:
    """Module -> its content, each after those it depends on (their .modinfo says which). What the kernel lacks is
    absent."""
    if kernel.modules is None:
        return {}
    paths = {_stem(path): path for path in kernel.modules.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in paths and name not in loaded:
            content = _content(paths[name])
            for dependency in _depends(content):
                load(dependency)
            loaded[name] = content

    for name in wanted:
        load(name)
    return loaded
