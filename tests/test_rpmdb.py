"""Questions to a host's RPM database."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labelgen import rpmdb

SPEC = """Name: thing
Version: 1.2
Release: 3
Epoch: 4
Summary: A thing
License: MIT
BuildArch: noarch
%description
A thing.
%files
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The / of a host on which a package is installed."""
    (tmp_path / "thing.spec").write_text(SPEC)
    define = ["--define", f"_topdir {tmp_path / 'made'}"]
    subprocess.run(["rpmbuild", "--quiet", *define, "-bb", tmp_path / "thing.spec"], check=True, capture_output=True)
    package = next((tmp_path / "made").rglob("*.noarch.rpm"))
    database = ["--root", str(tmp_path / "host"), "--dbpath", "/var/lib/rpm"]
    (tmp_path / "host").mkdir()
    subprocess.run(["rpm", *database, "-i", "--nodeps", package], check=True)
    return tmp_path / "host"


def test_a_package_is_found_in_the_database_of_the_host_meant(root: Path) -> None:
    assert rpmdb.ask("%{EPOCH}:%{VERSION}-%{RELEASE}", "thing", root=root) == "4:1.2-3"
    assert rpmdb.ask("%{NAME}", "other", root=root) is None


def test_a_host_without_a_database_is_left_without_one(tmp_path: Path) -> None:
    assert rpmdb.ask("%{NAME}", "thing", root=tmp_path) is None
    assert list(tmp_path.iterdir()) == []
