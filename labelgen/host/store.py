"""The policy store of a host, as libsemanage keeps it: which modules of labelgen's are in it, and one transaction of
semodule to change that."""

from __future__ import annotations

import bz2
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labelgen import base as bases
from labelgen import programs
from labelgen.errors import InputError, MachineError
from labelgen.filecontexts import FileContexts
from labelgen.shipped import SHARED_MODULE

# What the packages use too: above a distribution's own modules (100), below an administrator's (400, semodule's own).
PRIORITY = 200
RECORDS = Path("var/lib/labelgen")
OURS = re.compile(r"lxc_[a-z0-9]+(_[a-z0-9]+)*\Z")

# libsemanage keeps stores below /var/lib/selinux since 2.4, and RHEL 7 where they were before it.
PLACES = ("var/lib/selinux", "etc/selinux")


@dataclass(frozen=True, order=True)
class Stored:
    """A module of the store: its name, its priority, the folder it is in, and whether it is disabled."""

    name: str
    priority: int
    folder: Path
    disabled: bool

    @property
    def language(self) -> str:
        """What it was installed as: pp or cil (libsemanage, `lang_ext`)."""
        try:
            return (self.folder / "lang_ext").read_text(encoding="ascii").strip()
        except OSError:
            return "pp"

    def content(self) -> bytes:
        """The module as it was installed. Raises MachineError."""
        return _plain(self.folder / ("cil" if self.language == "cil" else "hll"))


def _plain(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return bz2.decompress(content) if content[:3] == b"BZh" else content
    except (OSError, ValueError, EOFError) as error:
        raise MachineError(f"{path}: cannot be read: {error}", "run labelgen as root") from error


@dataclass(frozen=True)
class Store:
    """A policy store. root: the folder that the host's / is; type: SELINUXTYPE; folder: where the store is."""

    root: Path
    type: str
    folder: Path

    @property
    def is_of_host(self) -> bool:
        """Whether this is the store that the running kernel's policy comes from."""
        return self.root == Path("/") and self.type == bases.selinux_type()

    @property
    def records(self) -> Path:
        """Where it is kept what was installed from a build, and with what verdict."""
        return self.root / RECORDS / self.type

    def file_contexts(self) -> FileContexts:
        """The file contexts of the host: those that were linked with the policy, and its own."""
        folder = self.root / "etc/selinux" / self.type / "contexts/files"
        return FileContexts.read(folder / "file_contexts", folder)

    def policy(self) -> Path:
        """The policy that was linked last, which is loaded at boot. Raises MachineError where there is none."""
        folder = self.root / "etc/selinux" / self.type / "policy"
        found = [path for path in folder.glob("policy.*") if path.suffix[1:].isdigit()]
        if not found:
            raise MachineError(f"{folder}: there is no policy here", "rebuild it with `semodule -B`")
        return max(found, key=lambda path: int(path.suffix[1:]))

    def ours(self) -> list[Stored]:
        """The modules of labelgen's in the store, of every priority."""
        modules = self.folder / "active" / "modules"
        disabled = {path.name for path in (modules / "disabled").glob("*")}
        return sorted(
            Stored(folder.name, int(folder.parent.name), folder, folder.name in disabled)
            for folder in modules.glob("[0-9]*/lxc_*")
            if OURS.match(folder.name) and folder.parent.name.isdigit()
        )

    def installed(self) -> dict[str, Stored]:
        """name -> module of labelgen's own priority."""
        return {module.name: module for module in self.ours() if module.priority == PRIORITY}

    def roles(self) -> list[str]:
        """The roles in the store. A role's ports are a module of their own, and the only one in CIL."""
        names = {module.name for module in self.ours() if module.language != "cil"}
        return sorted(name[len("lxc_") :] for name in names - {SHARED_MODULE})

    def check_writable(self) -> None:
        """Raises MachineError where the store cannot be changed."""
        if not os.access(self.folder / "active" / "modules", os.R_OK | os.W_OK | os.X_OK):
            raise MachineError(f"the policy store {self.folder} cannot be changed", "run labelgen as root")

    def change(self, install: Sequence[Path] = (), remove: Sequence[str] = ()) -> None:
        """Install module files and remove modules by name, in one transaction and one rebuild; load nothing.

        Signals wait meanwhile: libsemanage's commit is a few renames, which nobody should cut in half. Raises
        ProgramFailed; then the store is as it was.
        """
        arguments = [
            *(["-p", str(self.root)] if self.root != Path("/") else []),
            *("-n", "-s", self.type, "-X", str(PRIORITY)),
            *(word for path in install for word in ("-i", str(path))),
            *(word for name in remove for word in ("-r", name)),
        ]
        if install or remove:
            with signals_wait():
                programs.run("semodule", *arguments, timeout=SEMODULE_SECONDS)


# A rebuild takes 5 to 60 s; nothing is gained by killing it.
SEMODULE_SECONDS = 1800.0
WAITING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back what would end this process, and the programs it starts, until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def locate(root: Path = Path("/"), name: str = "") -> Store:
    """The policy store of a host whose / is `root`; `name` is its SELINUXTYPE if not the configured one.

    Raises MachineError where this host has none, InputError where another one that was named has none.
    """
    root = root.resolve()
    kind = MachineError if root == Path("/") and not name else InputError
    name = name or bases.selinux_type(root) or ""
    if not name:
        raise kind(
            f"{root / 'etc/selinux/config'}: there is no SELINUXTYPE, so this host has no SELinux policy",
            "install one (selinux-policy-targeted, or on Debian selinux-policy-default)",
        )
    for place in PLACES:
        folder = root / place / name
        if os.access(folder, os.X_OK) and not os.access(folder / "active", os.R_OK | os.X_OK):
            if (folder / "active").exists() or not os.access(folder, os.R_OK):
                raise MachineError(f"the policy store {folder} cannot be read", "run labelgen as root")
        elif (folder / "active" / "modules").is_dir():
            return Store(root, name, folder)
    raise kind(f"{root / PLACES[0] / name}: there is no policy store here", "name it with --store")
