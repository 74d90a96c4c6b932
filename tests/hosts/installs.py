"""A simulated host: a private root with a real policy store, real semodule, and folders in the place of the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import setools
from commandline import Argument, Outcome, Place, fake_program

TYPE = "targeted"


class SimulatedHost:
    """What an administrator of the host has: the command line in a folder, and the host's / below it in `root`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.root = place.folder / "root"
        self.store = self.root / f"var/lib/selinux/{TYPE}/active"
        self.selinuxfs = place.folder.parent / "selinuxfs"
        self.proc = place.folder.parent / "proc"
        self.programs = place.folder.parent / "bin"
        self.calls_file = place.folder.parent / "calls"
        self.replace("semodule", "")

    def replace(self, program: str, script: str, then: str = "") -> None:
        """Run a shell script before (and `then` another after) a program, each call of which is written down."""
        real = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") or "true"
        text = f'echo "{program} $*" >>{self.calls_file}\n{script}\n{real} "$@" || exit\n{then}'
        fake_program(self.programs, program, text)

    def stand_in(self, program: str, script: str) -> None:
        """Put a shell script in the place of a program; each call is written down."""
        fake_program(self.programs, program, f'echo "{program} $*" >>{self.calls_file}\n{script}')

    def boot(self) -> None:
        """Let the folders that stand for the kernel's have the policy of the store, enforcing."""
        self.selinuxfs.mkdir(exist_ok=True)
        self.proc.mkdir(exist_ok=True)
        (self.selinuxfs / "enforce").write_text("1")
        self.stand_in(
            "load_policy", f'cp "$(ls {self.policies}/policy.* | sort -V | tail -n 1)" {self.selinuxfs}/policy'
        )
        self.stand_in("restorecon", f"tr '\\0' '\\n' >>{self.place.folder.parent}/relabelled; echo >>{self.calls_file}")
        shutil.copy(self.policy, self.selinuxfs / "policy")
        self.default_contexts.parent.mkdir(parents=True, exist_ok=True)
        self.default_contexts.write_text(
            'process = "system_u:system_r:container_t:s0"\nfile = "system_u:object_r:container_file_t:s0"\n'
        )

    def starts(self, domain: str, number: int = 4711, categories: str = "c1,c2") -> None:
        """Let a process run in a domain."""
        folder = self.proc / str(number) / "attr"
        folder.mkdir(parents=True)
        (folder / "current").write_bytes(f"system_u:system_r:{domain}:s0:{categories}\0".encode())

    @property
    def default_contexts(self) -> Path:
        """What engines take the labels of containers from."""
        return self.root / f"etc/selinux/{TYPE}/contexts/lxc_contexts"

    @property
    def policies(self) -> Path:
        """Where linked policies are."""
        return self.root / f"etc/selinux/{TYPE}/policy"

    @property
    def policy(self) -> Path:
        """The policy that was linked last."""
        return max(self.policies.glob("policy.*"))

    def environment(self, extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
        """With the replaced programs first."""
        return {"PATH": f"{self.programs}:{os.environ['PATH']}", **(extra or {})}

    def call(self, command: str, *arguments: Argument) -> Outcome:
        """A command of labelgen on this host, in this process."""
        return self.place.call(command, "--root", "root", *arguments, env=self.environment())

    def calls(self, program: str) -> list[str]:
        """The calls of a program so far, that changed something."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [line for line in lines if line.startswith(f"{program} ")]

    def add(self, cil: str, priority: int = 400, name: str = "site") -> None:
        """Put a module of the administrator's into the store."""
        path = self.place.folder.parent / f"{name}.cil"
        path.write_text(cil)
        assert self.semodule("-X", str(priority), "-i", str(path)) == 0

    def semodule(self, *arguments: str) -> int:
        """The real semodule on the store, as an administrator calls it; returns its exit status."""
        command = ["semodule", "-n", "-p", str(self.root), "-s", TYPE, *arguments]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def stored(self) -> dict[str, bytes]:
        """The modules of labelgen's in the store: priority and name -> what was installed."""
        return {
            str(path.relative_to(self.store / "modules").parent): path.read_bytes()
            for path in sorted((self.store / "modules").glob("*/lxc_*/hll"))
        }

    def types(self, policy: Optional[Path] = None) -> set[str]:
        """The types of roles in a policy, as setools finds them: the linked one, unless another is named."""
        found = setools.SELinuxPolicy(str(policy or self.policy)).types()
        return {str(name) for name in found if str(name).startswith("lxc_")}

    def traces(self) -> list[str]:
        """Everything of labelgen's that is left below the root."""
        contexts = (self.root / f"etc/selinux/{TYPE}/contexts/files/file_contexts").read_text()
        names = [
            str(path)
            for path in self.root.rglob("*")
            if ("lxc_" in path.name and path != self.default_contexts) or "labelgen" in path.name
        ]
        return [*names, *(line for line in contexts.splitlines() if ":lxc_" in line), *sorted(self.types())]
