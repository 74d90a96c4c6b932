"""What the tests of packages share: the shipped roles built and packed once, and a host to install them on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import Host, make_root
from packs import PROVIDES, Pack, empty_package, quiet, request

from labelgen import build
from labelgen.packing import pack
from labelgen.shipped import packaged


@pytest.fixture(scope="session")
def reference_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles, built and verified on the reference base."""
    folder = tmp_path_factory.mktemp("reference") / "build"
    build.build(build.Inputs(packaged("roles"), (), "reference", packaged("templates")), folder, quiet)
    return folder


@pytest.fixture(scope="session")
def packages(reference_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped roles, packed."""
    folder = tmp_path_factory.mktemp("packages") / "packages"
    pack.pack(request(reference_build), packaged("templates"), None, folder, quiet)
    return folder


@pytest.fixture
def pack_tree(tmp_path: Path) -> Pack:
    """Packs a tree; takes it and what is to differ from a plain request; returns the folder of packages."""

    def make(tree: Path, **changed: Any) -> Path:
        folder = tmp_path / f"packages-{len(list(tmp_path.iterdir()))}"
        pack.pack(request(tree, **changed), packaged("templates"), None, folder, quiet)
        return folder

    return make


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that provides what a host has."""
    return empty_package(tmp_path_factory.mktemp("provider"), "provider", PROVIDES)


@pytest.fixture(scope="session")
def clean_root(tmp_path_factory: pytest.TempPathFactory, provider: Path) -> Path:
    """A root with the reference base in its policy store and no package but what provides the host."""
    if os.geteuid() != 0:
        pytest.skip("rpm installs into a private root as root only")
    root = tmp_path_factory.mktemp("host") / "clean"
    reference = sorted((Path(build.__file__).parent / "reference").glob("*.cil"))
    make_root(root, reference)
    done = Host(root).rpm("-i", provider)
    assert done.status == 0, done.said
    return root


@pytest.fixture
def host(clean_root: Path, tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", clean_root, root], check=True)
    yield Host(root)
    shutil.rmtree(root)
