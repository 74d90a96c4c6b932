"""What tests share: a cache of their own, and the shipped roles built once on each base."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bases import BuiltRoles

from labelgen import base as bases
from labelgen.render import packaged

DEBIAN_MODULES = Path("/usr/share/selinux/default")
DEVEL_MAKEFILE = Path("/usr/share/selinux/devel/Makefile")
POLICY_SOURCE = Path("/usr/src")

# Further bases for the tests of the shipped roles: paths, separated as in PATH.
EXTRA_BASES = "LABELGEN_TEST_BASES"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: the workers of pytest-xdist share what is costly to make."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _container_module(scratch: Path) -> Path:
    """Debian's `container` module, made of the packaged source with the packaged Makefile."""
    archive = next(iter(sorted(POLICY_SOURCE.glob("selinux-policy-src.tar.*"))))
    unpacked, made = scratch / "source", scratch / "made"
    unpacked.mkdir()
    made.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", unpacked], check=True)
    for suffix in ("te", "fc"):
        shutil.copy(next(unpacked.rglob(f"services/container.{suffix}")), made)
    command = ["make", "-f", DEVEL_MAKEFILE, "NAME=default", "container.pp"]
    subprocess.run(command, cwd=made, check=True, stdout=subprocess.DEVNULL)
    return made / "container.pp"


@pytest.fixture(scope="session")
def debian_modules() -> Path:
    """Debian's policy as a folder of modules, with the module `container`, made once per machine."""
    if not (DEBIAN_MODULES / "base.pp.bz2").exists() or not DEVEL_MAKEFILE.exists():
        pytest.skip("the packages selinux-policy-default, -dev and -src are not installed")
    folder = bases.cache_folder() / "test-debian-modules"
    with _locked(bases.cache_folder() / ".test-debian-modules.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=bases.cache_folder()) as scratch:
                module = _container_module(Path(scratch))
                made = Path(scratch) / "modules"
                shutil.copytree(DEBIAN_MODULES, made, ignore=lambda _, names: [n for n in names if ".pp" not in n])
                shutil.copy(module, made)
                made.rename(folder)
        bases.open_base(bases.locate(str(folder)))
    return folder


@pytest.fixture(scope="session")
def debian_binary(debian_modules: Path) -> Path:
    """The same policy as a host's kernel has it: linked, a binary."""
    return bases.open_base(bases.locate(str(debian_modules))).policy


@pytest.fixture(scope="session", params=["reference", "debian_modules", "debian_binary", "extra"])
def base(request: pytest.FixtureRequest) -> str:
    """Each base in turn."""
    if request.param == "reference":
        return "reference"
    if request.param == "extra":
        extra = os.environ.get(EXTRA_BASES)
        if not extra:
            pytest.skip(f"{EXTRA_BASES} names no further base")
        return extra
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def reference_roles(tmp_path_factory: pytest.TempPathFactory) -> BuiltRoles:
    """The shipped roles, built on the reference base."""
    return BuiltRoles.build("reference", packaged("roles"), tmp_path_factory.mktemp("reference"))
