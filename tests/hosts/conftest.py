"""What the tests of hosts share: a private root with a real policy store, and builds to install into it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import Place, shared_cache
from installs import TYPE, SimulatedHost

from labelgen import base as bases
from labelgen import build
from labelgen.host.store import Store
from labelgen.shipped import packaged


@pytest.fixture(scope="session")
def clean_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose policy store holds the reference base, linked."""
    root = tmp_path_factory.mktemp("clean") / "root"
    for folder in (f"etc/selinux/{TYPE}", f"var/lib/selinux/{TYPE}/active/modules", "usr/bin"):
        (root / folder).mkdir(parents=True)
    (root / "etc/selinux/config").write_text(f"SELINUX=enforcing\nSELINUXTYPE={TYPE}\n")
    (root / "etc/selinux/semanage.conf").write_text("module-store = direct\nexpand-check=0\n")
    modules = sorted((Path(bases.__file__).parent / "reference").glob("*.cil"))
    words = [word for path in modules for word in ("-i", str(path))]
    subprocess.run(
        ["semodule", "-n", "-p", str(root), "-s", TYPE, "-X", "100", *words], check=True, capture_output=True
    )
    return root


@pytest.fixture(scope="session")
def roles_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles, built and verified on the reference base."""
    folder = tmp_path_factory.mktemp("roles") / "build"
    build.build(build.Inputs(packaged("roles"), (), "reference", packaged("templates")), folder, lambda _: None)
    return folder


@pytest.fixture
def host(
    clean_root: Path, roles_build: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimulatedHost]:
    """A host of the test's own, with the build and the role files in the current folder; its SELinux is off."""
    folder = tmp_path / "host"
    folder.mkdir()
    place = Place(folder, shared_cache(tmp_path_factory))
    for role in packaged("roles").glob("*.yaml"):
        shutil.copy(role, place.roles)
    subprocess.run(["cp", "-a", str(clean_root), str(folder / "root")], check=True)
    shutil.copytree(roles_build, place.output)
    yield SimulatedHost(place)
    shutil.rmtree(folder)


@pytest.fixture
def running_host(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> SimulatedHost:
    """The same, as if the kernel ran with its policy, enforcing: a folder stands for selinuxfs and a script for
    load_policy."""
    monkeypatch.setattr("labelgen.host.state.SELINUXFS", host.selinuxfs)
    monkeypatch.setattr("labelgen.host.state.PROC", host.proc)
    monkeypatch.setattr("labelgen.host.contexts.HOST", host.root)
    monkeypatch.setattr(Store, "is_of_host", True)
    host.boot()
    return host
