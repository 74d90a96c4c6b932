"""What `labelgen status` says of a host, after a real semodule changed its policy store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from installs import TYPE, SimulatedHost

from labelgen.host import runtimes
from labelgen.host.runtimes import Package


def said(host: SimulatedHost, *arguments: str, status: int = 0) -> dict[str, Any]:
    """role -> what `status --json` says of it."""
    done = host.call("status", "--json", *arguments)
    assert done.status == status, done.stderr or done.stdout
    return {item["role"]: item for item in json.loads(done.stdout)["roles"]}


def test_a_host_without_roles_says_so(host: SimulatedHost) -> None:
    done = host.call("status")
    assert (done.status, done.stdout) == (0, "no role is installed here\n")


def test_that_selinux_is_off_or_permissive_is_told_at_installation_and_later(running_host: SimulatedHost) -> None:
    """The modules are right and nothing holds to them: who asks must not hear that all is well."""
    (running_host.selinuxfs / "enforce").unlink()
    done = running_host.call("install", "web")
    done.held()
    assert "SELinux is not enabled on this host" in " ".join(done.stdout.split())
    off = running_host.call("status")
    assert off.status == 1
    assert "SELinux is not enabled on this host" in off.stdout and "SELINUX=enforcing" in " ".join(off.stdout.split())
    running_host.boot()
    assert "enabled" not in running_host.call("status").stdout
    assert json.loads(running_host.call("status", "--json").stdout)["selinux"] == ""
    (running_host.selinuxfs / "enforce").write_text("0")
    permissive = running_host.call("status")
    assert permissive.status == 1
    assert "SELinux is permissive" in permissive.stdout and "setenforce 1" in permissive.stdout


def test_that_engines_give_no_labels_is_told_at_installation_and_later(running_host: SimulatedHost) -> None:
    """As after a `>` to lxc_contexts by what then failed."""
    running_host.default_contexts.write_text("")
    done = running_host.call("install", "web")
    done.held()
    assert "engines leave out every label on this host" in " ".join(done.stdout.split())
    found = running_host.call("status")
    assert found.status == 1
    assert "lxc_contexts names no process and no file" in " ".join(found.stdout.split())
    running_host.boot()
    assert running_host.call("status").status == 0


def test_a_role_that_was_just_installed_is_verified_on_the_base_of_today(host: SimulatedHost) -> None:
    host.call("install").held()
    found = said(host)
    assert list(found) == ["dns", "ftp", "nonet", "web"]
    assert found["web"] == {
        "role": "web", "domain": "lxc_web_t", "source": "build", "version": found["web"]["version"], "verified": True,
        "why": "on today's base when it was installed", "problems": [], "loaded": None, "containers": [],
    }  # fmt: skip
    assert found["web"]["version"].startswith("labelgen 0.1.0, build ")
    assert "web  lxc_web_t  verified  build labelgen 0.1.0" in host.call("status").stdout


def test_a_changed_base_that_still_holds_is_verified_anew(host: SimulatedHost) -> None:
    host.call("install", "web").held()
    host.add("(type site_t)(allow init_t site_t (file (read)))")
    found = said(host)["web"]
    assert found["verified"] is True
    assert found["why"].startswith("just now")
    assert "the policy of this host is another one now" in found["why"]


@pytest.mark.parametrize(
    "cil, told",
    [
        ("(type site_t)(allow svirt_lxc_net_t site_t (file (read)))", "complete: "),
        (
            "(allow lxc_web_t smtp_port_t (tcp_socket (name_connect)))(allow lxc_web_t self (tcp_socket (connect)))",
            "network: lxc_web_t has network",
        ),
        ("(typepermissive lxc_web_t)", "permissive"),
    ],
)
def test_a_base_on_which_a_claim_fails_now_is_told_with_the_finding(host: SimulatedHost, cil: str, told: str) -> None:
    host.call("install", "web").held()
    host.add(cil)
    found = said(host, status=1)["web"]
    assert found["verified"] is False
    assert told in found["why"]


def test_a_module_that_was_exchanged_is_told(host: SimulatedHost) -> None:
    host.call("install", "web").held()
    host.place.role("name: web\nsummary: Another.\nnetwork:\n  bind: {tcp: [443]}\n")
    assert host.place.call("build", "--base", "reference", "web").status == 0
    status = host.semodule("-X", "200", "-i", str(host.place.output / "lxc_web/lxc_web.pp"))
    assert status == 0
    found = said(host, status=1)["web"]
    assert "the module lxc_web in the store is not what was installed" in found["problems"]


def test_a_module_of_another_priority_or_disabled_is_told(host: SimulatedHost) -> None:
    host.call("install", "ftp", "web").held()
    assert host.semodule("-X", "400", "-i", str(host.place.output / "lxc_web/lxc_web.pp")) == 0
    assert host.semodule("-d", "lxc_ftp_ports") == 0
    found = said(host, status=1)
    assert found["web"]["problems"] == ["the module lxc_web is there with the priority 400 too"]
    assert "the module lxc_ftp_ports is disabled" in found["ftp"]["problems"][0]


def test_modules_that_nobody_accounts_for_are_told(host: SimulatedHost) -> None:
    files = [str(host.place.output / f"lxc_{name}/lxc_{name}.pp") for name in ("base", "web")]
    assert host.semodule("-X", "200", *(word for file in files for word in ("-i", file))) == 0
    found = said(host, status=1)["web"]
    assert (found["source"], found["verified"]) == ("", None)
    assert "nothing says where it came from" in found["problems"][0]


def _as_package(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    """Let modules that are installed be a package's: its files are where the packages of `labelgen rpm` have them."""
    package = Package("lxc-web-selinux", "1.0-1.fc41")
    monkeypatch.setattr(runtimes, "package_of", lambda *_: package)
    data = host.root / "usr/share/lxc-selinux" / package.name
    data.mkdir(parents=True)
    manifest = json.loads((host.place.output / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps({**manifest, "base": {**manifest["base"], "sha256": base}}))
    packed = host.root / f"usr/share/selinux/packages/{TYPE}"
    packed.mkdir(parents=True)
    for name in ("base", "web"):
        (packed / f"lxc_{name}.pp").write_bytes((host.place.output / f"lxc_{name}/lxc_{name}.pp").read_bytes())


def test_a_role_of_a_package_is_told_with_its_version_and_verified_anew(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host.call("install", "web").held()
    _as_package(host, monkeypatch, "0" * 64)
    found = said(host)["web"]
    assert (found["source"], found["version"]) == ("package lxc-web-selinux", "1.0-1.fc41")
    assert found["verified"] is True
    assert found["why"].startswith("just now")
    (tmp_path / "none").mkdir()
    found = said(host, "--roles", str(tmp_path / "none"), status=1)["web"]
    assert found["verified"] is None
    assert "its role file is not here" in found["why"]


def test_roles_of_packages_are_left_to_rpm(host: SimulatedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.call("install", "web").held()
    _as_package(host, monkeypatch, "0" * 64)
    host.call("remove", "web").refused("lxc_web is here from the package lxc-web-selinux-1.0-1.fc41", "dnf remove")
    host.call("install", "web").refused("is here from the package lxc-web-selinux-1.0-1.fc41")


def test_containers_are_told_apart_by_their_categories(running_host: SimulatedHost) -> None:
    running_host.call("install", "web", "dns").held()
    for number, categories in ((10, "c1,c2"), (11, "c1,c2"), (12, "c3,c4")):
        running_host.starts("lxc_web_t", number, categories)
    found = said(running_host)
    assert found["web"]["containers"] == [
        {"context": "system_u:system_r:lxc_web_t:s0:c1,c2", "processes": 2},
        {"context": "system_u:system_r:lxc_web_t:s0:c3,c4", "processes": 1},
    ]
    assert (found["dns"]["containers"], found["dns"]["loaded"]) == ([], True)
    assert "2 containers: s0:c1,c2 (2 processes), s0:c3,c4 (1 processes)" in running_host.call("status").stdout


def test_a_kernel_with_another_policy_is_told(running_host: SimulatedHost) -> None:
    running_host.call("install", "web").held()
    before = running_host.place.folder.parent / "before"
    running_host.semodule("-X", "200", "-r", "lxc_web", "-r", "lxc_base")
    before.write_bytes(running_host.policy.read_bytes())
    assert running_host.semodule("-X", "200", *(
        word for name in ("base", "web")
        for word in ("-i", str(running_host.place.output / f"lxc_{name}/lxc_{name}.pp")))) == 0  # fmt: skip
    (running_host.selinuxfs / "policy").write_bytes(before.read_bytes())
    found = said(running_host, status=1)["web"]
    assert found["loaded"] is False
    assert "the kernel's policy does not have it" in found["problems"][0]
