"""A private root that rpm installs into: the few programs that scriptlets need, and a real policy store."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import setools

# What the scriptlets of the packages start, and what semodule starts in turn.
PROGRAMS = (
    *("sh", "cat", "cp", "find", "grep", "id", "ls", "mkdir", "printf", "rm", "rmdir", "sed", "sort", "tail", "tr"),
    *("semodule", "setfiles", "restorecon", "load_policy", "selinuxenabled", "sefcontext_compile"),
)
PP = ("/usr/libexec/selinux/hll/pp", "/usr/lib/selinux/hll/pp")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TYPE = "targeted"
CALLS = "/tmp/calls"

Argument = Union[str, Path]


def _copy_program(root: Path, program: str) -> None:
    """A program and the libraries it is linked with, at their own places."""
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for path in (program, *re.findall(r"(/\S+) \(0x", libraries)):
        to = root / path.lstrip("/")
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(path).resolve(), to)


def make_root(root: Path, modules: Sequence[Path], stores: str = "/var/lib/selinux") -> None:
    """A root with SELinux set up: the modules in its policy store, linked; the kernel's SELinux is off."""
    for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "tmp", "etc/selinux", "srv/lxc"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for program in PROGRAMS:
        found = shutil.which(program, path=PATH)
        assert found, f"{program} is not installed"
        _copy_program(root, found)
    _copy_program(root, next(path for path in PP if Path(path).exists()))
    (root / "etc/selinux/config").write_text(f"SELINUX=enforcing\nSELINUXTYPE={TYPE}\n")
    (root / "etc/selinux/semanage.conf").write_text(
        f"module-store = direct\nstore-root = {stores}\nexpand-check=0\nbzip-blocksize=0\n"
    )
    (root / f"etc/selinux/{TYPE}").mkdir()
    (root / f"{stores.lstrip('/')}/{TYPE}/active/modules").mkdir(parents=True)
    (root / "var/lib/rpm-state").mkdir(parents=True)
    host = Host(root)
    host.install_modules(modules, 100)
    host.log_calls()


@dataclass(frozen=True)
class Transaction:
    """A transaction of rpm: how it ended, what it said, and what it called semodule with to change the policy."""

    status: int
    said: str
    rebuilds: list[str]


class Host:
    """A private root, as an administrator sees the host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: Argument) -> subprocess.CompletedProcess[str]:
        """A program inside the root."""
        command = ["chroot", str(self.root), *map(str, arguments)]
        return subprocess.run(command, env={"PATH": PATH}, capture_output=True, text=True, check=False)

    def install_modules(self, modules: Sequence[Path], priority: int) -> None:
        """Put modules into the policy store, as an administrator would."""
        place = self.root / "tmp/modules"
        place.mkdir()
        for module in modules:
            shutil.copy(module, place)
        names = [f"/tmp/modules/{module.name}" for module in modules]
        done = self.run("semodule", "-n", "-s", TYPE, "-X", str(priority), "-i", *names)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(place)

    def replace(self, program: str, script: str) -> None:
        """Put a shell script in the place of a program, which stays as PROGRAM.real."""
        path = Path(str(self.root) + (shutil.which(program, path=PATH) or ""))
        real = path.with_name(f"{program}.real")
        if not real.exists():
            path.rename(real)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def log_calls(self) -> None:
        """Write down every call of semodule."""
        self.replace("semodule", f'echo "$*" >>{CALLS}\nexec semodule.real "$@"')

    def calls(self) -> list[str]:
        """The calls of semodule since the last question."""
        path = self.root / CALLS.lstrip("/")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def rpm(self, *arguments: Argument) -> Transaction:
        """A transaction."""
        self.calls()
        debian = ["--force-debian"] if "force-debian" in _rpm_help() else []
        command = ["rpm", "--root", str(self.root), "--dbpath", "/var/lib/rpm", *debian, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rebuilds = [line for line in self.calls() if "--list-modules" not in line]
        return Transaction(done.returncode, done.stdout + done.stderr, rebuilds)

    def stored(self, priority: int = 200) -> set[str]:
        """The modules in the policy store at a priority."""
        lines = self.run("semodule", "-s", TYPE, "--list-modules=full").stdout.splitlines()
        return {line.split()[1] for line in lines if line.split()[:1] == [str(priority)]}

    @property
    def policy(self) -> setools.SELinuxPolicy:
        """The rebuilt policy."""
        return setools.SELinuxPolicy(str(max((self.root / f"etc/selinux/{TYPE}/policy").glob("policy.*"))))

    def types(self) -> set[str]:
        """The types of the rebuilt policy that roles brought."""
        return {str(found) for found in self.policy.types() if str(found).startswith("lxc_")}

    def file_contexts(self) -> str:
        """The file contexts that go with the rebuilt policy."""
        return (self.root / f"etc/selinux/{TYPE}/contexts/files/file_contexts").read_text()

    def leftovers(self) -> list[str]:
        """What packages left behind, once all are erased."""
        places = [
            self.root / "var/lib/rpm-state",
            self.root / "usr/share",
            *self.root.glob("var/lib/selinux/*/active/modules/200/*"),
            *self.root.glob("etc/selinux/*/active/modules/200/*"),
        ]
        return [
            str(path)
            for place in places
            for path in ([place, *place.rglob("*")])
            if path.is_file() or "lxc" in path.name
        ]


def _rpm_help() -> str:
    return subprocess.run(["rpm", "--help"], capture_output=True, text=True, check=True).stdout
