"""What tests share: a cache of their own, and the shipped roles built once on each base."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Union

import hypothesis
import pytest
from bases import BuiltRoles, OnBase
from sabotages import MORE_ROLES

from labelgen import base as bases
from labelgen.cache import cache_folder
from labelgen.shipped import packaged

DEBIAN_MODULES = Path("/usr/share/selinux/default")
DEVEL_MAKEFILE = Path("/usr/share/selinux/devel/Makefile")
POLICY_SOURCE = Path("/usr/src")

# The same examples on every run, so that a change that breaks nothing turns nothing red. LABELGEN_HYPOTHESIS=explore
# tries new ones, for people who hunt; `print_blob` says how to repeat what it finds.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("LABELGEN_HYPOTHESIS", "same"))

# nohup and a shell's `&` leave these ignored, labelgen keeps that, and tests that send them would wait for ever.
for ignored, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, usual)

# Further bases for the tests of the shipped roles: paths, separated as in PATH.
EXTRA_BASES = "LABELGEN_TEST_BASES"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: the workers of pytest-xdist share what is costly to make."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _source_archive() -> Optional[Path]:
    """The packaged source of Debian's policy."""
    return next(iter(sorted(POLICY_SOURCE.glob("selinux-policy-src.tar.*"))), None)


def _container_module(archive: Path, scratch: Path) -> Path:
    """Debian's `container` module, made of the packaged source with the packaged Makefile."""
    unpacked, made = scratch / "source", scratch / "made"
    unpacked.mkdir()
    made.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", unpacked], check=True)
    for suffix in ("te", "fc"):
        shutil.copy(next(unpacked.rglob(f"services/container.{suffix}")), made)
    command: list[Union[str, Path]] = ["make", "-f", DEVEL_MAKEFILE, "NAME=default", "container.pp"]
    subprocess.run(command, cwd=made, check=True, stdout=subprocess.DEVNULL)
    return made / "container.pp"


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


@pytest.fixture(scope="session")
def debian_modules() -> Path:
    """Debian's policy as a folder of modules, with the module `container`, made once per machine and version."""
    archive, packaged_modules = _source_archive(), sorted(DEBIAN_MODULES.glob("*.pp*"))
    if archive is None or not packaged_modules or not DEVEL_MAKEFILE.exists():
        pytest.skip("the packages selinux-policy-default, -dev and -src are not installed")
    folder = cache_folder() / f"test-debian-{_digest([archive, *packaged_modules])}" / "modules"
    with _locked(cache_folder() / ".test-debian.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
                made = Path(scratch) / "whole" / "modules"
                made.mkdir(parents=True)
                for file in (_container_module(archive, Path(scratch)), *packaged_modules):
                    shutil.copy(file, made)
                made.parent.rename(folder.parent)
        bases.open_base(bases.locate(str(folder)))
    return folder


@pytest.fixture(scope="session")
def debian_binary(debian_modules: Path) -> Path:
    """The same policy as a host's kernel has it: linked, a binary."""
    return bases.open_base(bases.locate(str(debian_modules))).policy


# A group of pytest-xdist for each base (--dist loadgroup): one worker makes it and asks all about it.
BASES = [
    pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("reference", "debian_modules", "debian_binary")
]
EXTRA = [
    pytest.param(path, id="-".join(Path(path).parts[-2:]), marks=pytest.mark.xdist_group(path))
    for path in os.environ.get(EXTRA_BASES, "").split(os.pathsep)
    if path
]


@pytest.fixture(scope="session", params=[*BASES, *EXTRA])
def base(request: pytest.FixtureRequest) -> str:
    """Each base in turn."""
    spec = str(request.param)
    return str(request.getfixturevalue(spec)) if spec.startswith("debian_") else spec


@pytest.fixture(scope="session")
def on_base(base: str, tmp_path_factory: pytest.TempPathFactory) -> OnBase:
    """The shipped roles on each base in turn."""
    return OnBase(base, tmp_path_factory.mktemp("on-base"))


@pytest.fixture(scope="session")
def reference_roles(tmp_path_factory: pytest.TempPathFactory) -> BuiltRoles:
    """The shipped roles, built on the reference base."""
    return BuiltRoles.build("reference", packaged("roles"), tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="session")
def more_roles(tmp_path_factory: pytest.TempPathFactory) -> BuiltRoles:
    """Roles that declare what no shipped role does, built on the reference base."""
    return BuiltRoles.build("reference", MORE_ROLES, tmp_path_factory.mktemp("more"))
