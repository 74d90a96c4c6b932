"""What `labelgen status` and `labelgen remove` say of roles that came in packages, with the real rpm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host import TYPE, Host

from labelgen.errors import InputError
from labelgen.host import install, runtimes, status, store
from labelgen.shipped import packaged


def test_roles_of_packages_are_told_with_their_version_and_left_to_rpm(host: Host, packages: Path) -> None:
    files = sorted(path for path in packages.glob("*.rpm") if "-base-" in path.name or "-web-" in path.name)
    done = host.rpm("-i", *(path for path in files if not path.name.endswith(".src.rpm")))
    assert done.status == 0, done.said
    found = store.locate(host.root)
    owner = runtimes.package_of(found.installed()["lxc_web"].folder, host.root)
    assert owner is not None and owner.name == "lxc-web-selinux"
    report = status.report(found, packaged("roles"), lambda _: None)
    [web] = report.roles
    assert (web.role, web.source, web.version) == ("web", "package lxc-web-selinux", owner.version)
    assert (web.verified, web.problems) == (True, ()), json.dumps(web.to_json())
    with pytest.raises(InputError, match="from the package lxc-web-selinux"):
        install.remove(found, ("web",), False, lambda _: None)
    assert found.type == TYPE
