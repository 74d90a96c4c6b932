"""tools/setup: what it asks the package manager for, whether it asks at all, and what it says when it cannot go on.

The package managers, `id` and `sudo` are stand-ins that write down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)))
STANDS_IN = '#!/bin/sh\necho "$(basename "$0") $*" >>"{log}"\n{body}\n'
KNOWN = 'echo "$2:"; echo "  Candidate: 1.0"'
UNKNOWN = 'echo "$2:"; echo "  Candidate: (none)"'


class Machine:
    """A machine on which some commands are missing, with a checkout that needs no more than set-up itself."""

    def __init__(self, folder: Path) -> None:
        self.commands = folder / "bin"
        self.log = folder / "log"
        self.checkout = folder / "checkout"
        self.python = PYTHON
        self.commands.mkdir()
        (self.checkout / "tools").mkdir(parents=True)
        for name in ("tools/setup", "tools/needs", "pyproject.toml"):
            shutil.copy(TOP / name, self.checkout / name)
        for place in ("/usr/bin", "/bin"):
            for path in Path(place).iterdir():
                target = self.commands / path.name
                if not target.exists() and path.exists():
                    target.symlink_to(path)
        self.without("apt-get", "apt-cache", "dnf", "sudo", "flock")

    def without(self, *names: str) -> None:
        """Take commands away."""
        for name in names:
            (self.commands / name).unlink(missing_ok=True)

    def stand_in(self, name: str, body: str = "") -> None:
        """Put a stand-in for a command."""
        self.without(name)
        (self.commands / name).write_text(STANDS_IN.format(log=self.log, body=body))
        (self.commands / name).chmod(0o755)

    def needs(self, *lines: str) -> None:
        """Replace what the project needs."""
        (self.checkout / "tools/needs").write_text("".join(f"{line}\n" for line in lines))

    def ready(self, level: str = "build") -> None:
        """An environment that works and was set up for this very state, so that nothing is left but packages."""
        (self.checkout / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (self.checkout / ".venv/bin/python").unlink(missing_ok=True)
        (self.checkout / ".venv/bin/python").symlink_to(PYTHON)
        (self.checkout / ".venv/bin/labelgen").write_text("#!/bin/sh\n")
        (self.checkout / ".venv/bin/labelgen").chmod(0o755)
        script = (self.checkout / "tools/setup").read_text()
        state = script[script.index("state() {") : script.index("is_ready() {")]
        done = subprocess.run(
            ["bash", "-c", f"{state}\nstate"], cwd=self.checkout, capture_output=True, text=True, check=True
        )
        (self.checkout / f".venv/ready-{level}").write_text(done.stdout)

    def setup(self, level: str = "build") -> subprocess.CompletedProcess[str]:
        """Run tools/setup."""
        return subprocess.run(
            ["bash", str(self.checkout / "tools/setup"), level],
            env={"PATH": str(self.commands), "HOME": os.environ.get("HOME", "/"), "PYTHON": self.python},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def called(self) -> list[str]:
        """How the stand-ins were called, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def calls_of(self, words: Iterable[str]) -> list[str]:
        """The calls that hold all of these words."""
        return [call for call in self.called if all(word in call for word in words)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with every command of this one but package managers."""
    return Machine(tmp_path)


def as_root(machine: Machine) -> None:
    """Be root on it."""
    machine.stand_in("id", "echo 0")


def test_nothing_is_installed_and_nothing_said_when_nothing_is_missing(machine: Machine) -> None:
    machine.stand_in("apt-get")
    machine.needs("build  sh  dash  dash")
    machine.ready()
    done = machine.setup()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.called == []


def test_a_machine_that_is_ready_costs_next_to_nothing(machine: Machine) -> None:
    machine.ready()
    started = time.monotonic()
    assert machine.setup().returncode == 0
    assert time.monotonic() - started < 1


def test_apt_gets_the_missing_packages_alone_once_each_and_without_questions(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs(
        "build  no-such-command   one  1",
        "build  no-such-other  one  1",
        "build  /no/such/file  two  2",
        "build sh x x",
    )
    machine.ready()
    done = machine.setup()
    assert "installing one two\n" in done.stderr
    (install,) = machine.calls_of(["apt-get", " install "])
    assert install.endswith(" install one two")
    assert " -y " in install
    assert machine.called.index(install) > machine.called.index(machine.calls_of(["apt-get", " update"])[0])


def test_what_an_installed_package_does_not_bring_is_an_error_with_the_cure(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("build  no-such-command  one  uno")
    done = machine.setup()
    assert done.returncode == 3
    assert "error: there is still no no-such-command\n" in done.stderr
    assert "one on Debian, uno on Fedora" in done.stderr


def test_a_failing_apt_is_an_error(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get", 'case "$*" in *install*) echo "E: no space" >&2; exit 100;; esac')
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("build  no-such-command  one  1")
    done = machine.setup()
    assert done.returncode == 3
    assert "E: no space\nerror: apt-get could not install one\n" in done.stderr


def test_a_package_that_the_distribution_lacks_does_not_stop_the_others(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", f'case "$2" in gone) {UNKNOWN};; *) {KNOWN};; esac')
    machine.needs("test  no-such-command  gone  1", "test  no-such-other  there  1")
    machine.ready("test")
    done = machine.setup("test")
    assert done.returncode == 0
    assert "note: this distribution has no package gone\n" in done.stderr
    assert "note: there is no no-such-command here" in done.stderr
    (install,) = machine.calls_of([" install "])
    assert install.endswith(" install there")


def test_a_need_of_several_levels_counts_for_each_of_them(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("test,system  no-such-command  both  1", "system  no-such-other  whole  1")
    for level in ("build", "test", "system"):
        machine.ready(level)
        assert machine.setup(level).returncode == 0
    first, second = machine.calls_of([" install "])
    assert first.endswith(" install both")
    assert second.endswith(" install both whole")


def test_what_only_the_tests_need_is_not_installed_for_a_build(machine: Machine) -> None:
    machine.stand_in("apt-get")
    machine.needs("test  no-such-command  one  1")
    machine.ready()
    assert machine.setup("build").returncode == 0
    assert machine.called == []


def test_dnf_is_asked_where_there_is_no_apt(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("dnf")
    machine.needs("build  no-such-command  one  uno", "build  no-such-other  -  due")
    machine.setup()
    (install,) = machine.calls_of(["dnf", " install "])
    assert install.endswith(" install due uno")
    assert " -y " in install


def test_a_package_without_a_name_on_this_distribution_is_not_asked_for(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("dnf")
    machine.needs("test  no-such-command  one  -")
    machine.ready("test")
    assert machine.setup("test").returncode == 0
    assert machine.calls_of(["dnf"]) == []


def test_without_a_package_manager_it_says_what_is_missing(machine: Machine) -> None:
    machine.needs("build  no-such-command  one  1", "build  /no/such/file  two  2")
    done = machine.setup()
    assert done.returncode == 3
    assert "error: this machine lacks: no-such-command /no/such/file\n" in done.stderr


def test_another_user_than_root_goes_through_sudo(machine: Machine) -> None:
    machine.stand_in("id", "echo 1000")
    machine.stand_in("sudo")
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("build  no-such-command  one  1")
    machine.setup()
    assert machine.calls_of(["sudo ", "apt-get", " update"])
    assert machine.calls_of(["sudo ", "apt-get", " install one"])


def test_without_root_and_sudo_it_says_what_to_run(machine: Machine) -> None:
    machine.stand_in("id", "echo 1000")
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("build  no-such-command  one  1")
    done = machine.setup()
    assert done.returncode == 3
    assert "as root: apt-get" in done.stderr
    assert machine.calls_of(["apt-get"]) == []


def test_an_interpreter_without_setools_is_not_taken(machine: Machine) -> None:
    as_root(machine)
    machine.stand_in("apt-get")
    machine.stand_in("apt-cache", KNOWN)
    machine.needs("build  python:no_such_module  python3-setools  python3-setools")
    done = machine.setup()
    assert done.returncode == 3
    assert "no Python here is 3.9 or newer and can import no_such_module" in done.stderr
    assert not (machine.checkout / ".venv").exists()


def test_a_changed_project_file_is_noticed(machine: Machine) -> None:
    machine.needs("build  sh  dash  dash")
    machine.ready()
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    machine.stand_in("python3", 'case "$1" in -m) exit 1;; esac')
    machine.python = str(machine.commands / "python3")
    done = machine.setup()
    assert done.returncode == 3
    assert f"error: {machine.python} could not make the environment .venv\n" in done.stderr
    assert machine.calls_of(["python3 -m venv --clear --system-site-packages .venv"])


def test_a_new_checkout_gets_an_environment_that_works_and_keeps_it(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    left_out = (".git", ".venv", "build", "dist", ".setuptools", "*.egg-info", "__pycache__", ".*_cache", "tests")
    shutil.copytree(TOP, checkout, ignore=shutil.ignore_patterns(*left_out))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "MAKEFLAGS": ""}

    def make_build() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "build"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    first = make_build()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "installing labelgen into .venv\n" in first.stderr
    assert (checkout / "build/lxc_web/lxc_web.pp").exists()
    labelgen = checkout / ".venv/bin/labelgen"
    answer = subprocess.run([labelgen, "can", "nonet", "bind", "tcp/80"], cwd=checkout, check=False)
    assert answer.returncode == 1
    stamp = (checkout / ".venv/ready-build").stat().st_mtime_ns
    second = make_build()
    assert second.returncode == 0
    assert "installing" not in second.stderr
    assert (checkout / ".venv/ready-build").stat().st_mtime_ns == stamp
