"""What the tests of packages share: a request without options, and packages without files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Callable

from labelgen.packing import pack
from labelgen.packing.pack import Request

Pack = Callable[..., Path]

SPEC = """
Name: {name}
Version: 1
Release: 1
Summary: A package of the tests
License: None
BuildArch: noarch
{tags}
%description
A package of the tests.
%files
"""

# What the packages require of a host, as one package: the root of the tests has the programs, and no package of them.
PROVIDES = (
    "Provides: /bin/sh coreutils findutils grep policycoreutils sed\n"
    "Provides: container-selinux selinux-policy = 40 selinux-policy-targeted = 40"
)


def empty_package(folder: Path, name: str, tags: str) -> Path:
    """A package without files."""
    spec = folder / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, tags=tags))
    subprocess.run(
        ["rpmbuild", "--quiet", "--define", f"_topdir {folder}", "-bb", spec], check=True, capture_output=True
    )
    return next(folder.rglob(f"{name}-1-1*.rpm"))


def quiet(_: str) -> None:
    """Tell nobody of progress."""


def request(tree: Path, **changed: Any) -> Request:
    """A request as the command line makes it without options."""
    plain = Request(
        build=tree,
        roles=(),
        target="fedora",
        version="1.0",
        release="1",
        policy_type="targeted",
        selinux_policy=None,
        bundle=False,
        epoch=pack.DEFAULT_EPOCH,
    )
    return plain._replace(**changed)
