"""Packages on a host: a private root with a real policy store, and rpm's own transactions."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from handmade import make_tree, role_te
from host import Host, make_root
from packs import Pack, empty_package, quiet

from labelgen import build
from labelgen.shipped import packaged

SHIPPED = {"lxc_base", "lxc_dns", "lxc_ftp", "lxc_ftp_ports", "lxc_nonet", "lxc_web"}
PACKAGES = ("lxc-base-selinux", "lxc-dns-selinux", "lxc-ftp-selinux", "lxc-nonet-selinux", "lxc-web-selinux")


def binaries(folder: Path) -> list[Path]:
    """The packages in a folder, without the source package."""
    return sorted(folder.glob("*.noarch.rpm"))


def package(folder: Path, name: str) -> Path:
    """One package of a folder."""
    return next(folder.glob(f"{name}-[0-9]*.noarch.rpm"))


@pytest.fixture
def installed(host: Host, packages: Path) -> Host:
    """A host with the shipped roles installed."""
    done = host.rpm("-i", *binaries(packages))
    assert (done.status, done.said) == (0, "")
    return host


# -- install


def test_modules_are_in_the_store_at_priority_200_and_in_the_rebuilt_policy(host: Host, packages: Path) -> None:
    assert host.stored() == set()
    assert host.types() == set()
    done = host.rpm("-i", *binaries(packages))
    assert (done.status, done.said) == (0, "")
    assert host.stored() == SHIPPED
    assert {"lxc_web_t", "lxc_dns_t", "lxc_ftp_t", "lxc_nonet_t", "lxc_ftp_port_t"} <= host.types()
    assert "/srv/lxc/web(/.*)?\tsystem_u:object_r:lxc_web_content_t:s0" in host.file_contexts()


def test_ports_of_a_roles_own_come_with_its_package(installed: Host) -> None:
    found = {
        (str(con.protocol), con.ports.low, con.ports.high)
        for con in installed.policy.portcons()
        if con.context.type_ == "lxc_ftp_port_t"
    }
    assert found == {("tcp", 30100, 30199)}


def test_one_transaction_rebuilds_the_policy_once(host: Host, packages: Path) -> None:
    assert len(host.rpm("-i", *binaries(packages)).rebuilds) == 1
    assert len(host.rpm("-e", "lxc-web-selinux", "lxc-ftp-selinux", "lxc-dns-selinux").rebuilds) == 1
    assert len(host.rpm("-e", "lxc-nonet-selinux", "lxc-base-selinux").rebuilds) == 1


def test_roles_can_be_added_later(host: Host, packages: Path) -> None:
    assert host.rpm("-i", package(packages, "lxc-base-selinux"), package(packages, "lxc-web-selinux")).status == 0
    assert host.stored() == {"lxc_base", "lxc_web"}
    done = host.rpm("-i", package(packages, "lxc-ftp-selinux"))
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == {"lxc_base", "lxc_web", "lxc_ftp", "lxc_ftp_ports"}


def test_a_role_needs_the_shared_module_it_was_verified_with(
    host: Host, packages: Path, tmp_path: Path, pack_tree: Pack
) -> None:
    alone = host.rpm("-i", package(packages, "lxc-web-selinux"))
    assert alone.status != 0
    assert "lxc-base-selinux" in alone.said
    other = pack_tree(make_tree(tmp_path / "other", {"web": role_te("web")}))
    mixed = host.rpm("-i", package(other, "lxc-base-selinux"), package(packages, "lxc-web-selinux"))
    assert mixed.status != 0
    assert host.stored() == set()


def test_rpm_verify_is_content_with_what_it_installed(installed: Host) -> None:
    done = installed.rpm("-V", *PACKAGES)
    assert (done.status, done.said) == (0, "")


def test_rpm_verify_tells_of_a_module_that_went_away(installed: Host) -> None:
    assert installed.run("semodule", "-n", "-s", "targeted", "-X", "200", "-r", "lxc_web").returncode == 0
    done = installed.rpm("-V", "lxc-web-selinux")
    assert done.status != 0
    assert "the module lxc_web is not in the policy store" in done.said
    assert "the type lxc_web_t is not in the policy" in done.said


def test_rpm_verify_by_another_user_says_that_it_cannot_tell(installed: Host) -> None:
    installed.replace("id", "echo 1000")
    done = installed.rpm("-V", "lxc-web-selinux")
    assert done.status != 0
    assert "lxc-web-selinux: only root can ask whether the policy has it" in done.said
    assert "NOT INSTALLED" not in done.said


# -- erase


def test_an_erased_role_leaves_store_and_policy_and_the_others_stay(installed: Host) -> None:
    done = installed.rpm("-e", "lxc-ftp-selinux")
    assert (done.status, done.said) == (0, "")
    assert installed.stored() == SHIPPED - {"lxc_ftp", "lxc_ftp_ports"}
    assert "lxc_ftp_t" not in installed.types()
    assert "lxc_web_t" in installed.types()
    assert "/srv/lxc/ftp" not in installed.file_contexts()


def test_nothing_is_left_when_all_are_erased(installed: Host) -> None:
    done = installed.rpm("-e", *PACKAGES)
    assert (done.status, done.said) == (0, "")
    assert installed.stored() == set()
    assert installed.types() == set()
    assert installed.leftovers() == []


def test_modules_of_the_administrator_stay(installed: Host, tmp_path: Path) -> None:
    own = tmp_path / "own.cil"
    own.write_text("(type lxc_of_the_administrator_t)\n")
    installed.install_modules([own], 400)
    assert installed.rpm("-e", *PACKAGES).status == 0
    assert installed.stored(400) == {"own"}
    assert installed.types() == {"lxc_of_the_administrator_t"}


def test_a_module_that_cannot_be_removed_is_told(installed: Host, tmp_path: Path) -> None:
    own = tmp_path / "own.cil"
    own.write_text("(allow lxc_web_t self (process (signal)))\n")
    installed.install_modules([own], 400)
    done = installed.rpm("-e", "lxc-web-selinux", "lxc-dns-selinux")
    assert "semodule -r lxc_web failed:" in done.said
    assert "own/cil:1" in done.said
    assert "when nothing needs it any more: semodule -X 200 -r lxc_web\n" in done.said
    assert installed.stored() == SHIPPED - {"lxc_dns"}
    installed.rpm("-e", "lxc-ftp-selinux", "lxc-nonet-selinux", "lxc-base-selinux")
    assert [path for path in installed.leftovers() if "rpm-state" in path] == []


# -- upgrade and downgrade


def two_versions(tmp_path: Path, pack_tree: Pack) -> tuple[Path, Path]:
    """A role with ports of its own, and its next version, which has none, and another type besides."""
    portcon = "(portcon tcp 30100 (system_u object_r lxc_web_port_t ((s0) (s0))))\n"
    port = role_te("web", "type lxc_web_port_t;\n")
    old = make_tree(tmp_path / "old", {"web": port, "dns": role_te("dns")}, ports={"web": portcon})
    new = make_tree(tmp_path / "new", {"web": role_te("web", "type lxc_web_new_t;\n"), "dns": role_te("dns")})
    return pack_tree(old), pack_tree(new, version="1.1")


def test_an_upgrade_replaces_the_module_and_removes_it_at_no_time(host: Host, tmp_path: Path, pack_tree: Pack) -> None:
    old, new = two_versions(tmp_path, pack_tree)
    assert host.rpm("-i", *binaries(old)).status == 0
    assert host.types() == {"lxc_web_t", "lxc_dns_t", "lxc_web_port_t"}
    done = host.rpm("-U", *binaries(new))
    assert (done.status, done.said) == (0, "")
    assert len(done.rebuilds) == 1
    assert "-r lxc_web " not in done.rebuilds[0] + " "
    assert "-r lxc_base" not in done.rebuilds[0]
    assert host.types() == {"lxc_web_t", "lxc_dns_t", "lxc_web_new_t"}


def test_an_upgrade_removes_the_ports_that_a_role_no_longer_has(host: Host, tmp_path: Path, pack_tree: Pack) -> None:
    old, new = two_versions(tmp_path, pack_tree)
    assert host.rpm("-i", *binaries(old)).status == 0
    assert host.stored() == {"lxc_base", "lxc_web", "lxc_web_ports", "lxc_dns"}
    assert host.rpm("-U", *binaries(new)).status == 0
    assert host.stored() == {"lxc_base", "lxc_web", "lxc_dns"}


def test_a_downgrade_brings_back_what_was(host: Host, tmp_path: Path, pack_tree: Pack) -> None:
    old, new = two_versions(tmp_path, pack_tree)
    assert host.rpm("-i", *binaries(new)).status == 0
    done = host.rpm("-U", "--oldpackage", *binaries(old))
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == {"lxc_base", "lxc_web", "lxc_web_ports", "lxc_dns"}
    assert host.types() == {"lxc_web_t", "lxc_dns_t", "lxc_web_port_t"}


def test_a_reinstall_puts_back_a_module_that_went_away(installed: Host, packages: Path) -> None:
    assert installed.run("semodule", "-n", "-s", "targeted", "-X", "200", "-r", "lxc_web").returncode == 0
    done = installed.rpm("-U", "--replacepkgs", package(packages, "lxc-web-selinux"))
    assert (done.status, done.said) == (0, "")
    assert installed.stored() == SHIPPED


def test_an_upgrade_and_an_erasure_in_one_transaction_are_one_rebuild(
    host: Host, tmp_path: Path, pack_tree: Pack
) -> None:
    old, new = two_versions(tmp_path, pack_tree)
    assert host.rpm("-i", *binaries(old)).status == 0
    retires = empty_package(tmp_path, "retires-dns", "Obsoletes: lxc-dns-selinux")
    done = host.rpm("-U", package(new, "lxc-base-selinux"), package(new, "lxc-web-selinux"), retires)
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == {"lxc_base", "lxc_web"}
    assert host.types() == {"lxc_web_t", "lxc_web_new_t"}


# -- what does not link


def test_a_module_that_does_not_link_is_told_and_keeps_no_other_out(
    host: Host, tmp_path: Path, pack_tree: Pack
) -> None:
    needs = "    type no_such_type_t;\n    class file read;\n"
    bad = role_te("bad", "allow lxc_bad_t no_such_type_t:file read;\n", needs)
    folder = pack_tree(make_tree(tmp_path / "tree", {"bad": bad, "good": role_te("good")}))
    done = host.rpm("-i", *binaries(folder))
    assert "lxc-bad-selinux: NOT INSTALLED in the policy" in done.said
    assert "lxc_bad/cil" in done.said, "semodule's own words are missing"
    assert "the type lxc_bad_t is not in the policy" in done.said
    assert "%posttrans(lxc-bad-selinux-1.0-1.noarch) scriptlet failed" in done.said
    assert "lxc-good-selinux" not in done.said
    assert host.stored() == {"lxc_base", "lxc_good"}
    assert host.types() == {"lxc_good_t"}
    assert host.rpm("-V", "lxc-bad-selinux").status != 0
    assert host.rpm("-V", "lxc-good-selinux").status == 0
    assert host.rpm("-e", "lxc-bad-selinux").said == ""


def test_an_upgrade_that_does_not_link_is_told_and_the_old_module_stays(
    host: Host, tmp_path: Path, pack_tree: Pack
) -> None:
    needs = "    type no_such_type_t;\n    class file read;\n"
    bad = role_te("web", "allow lxc_web_t no_such_type_t:file read;\n", needs)
    assert host.rpm("-i", *binaries(pack_tree(make_tree(tmp_path / "old", {"web": role_te("web")})))).status == 0
    new = pack_tree(make_tree(tmp_path / "new", {"web": bad}), version="1.1")
    done = host.rpm("-U", *binaries(new))
    assert "lxc-web-selinux: NOT INSTALLED in the policy" in done.said
    assert "semodule refused it" in done.said
    assert host.stored() == {"lxc_base", "lxc_web"}
    assert "lxc_web_t" in host.types()


def test_a_policy_store_that_cannot_be_read_is_told(host: Host, packages: Path) -> None:
    host.replace("semodule", "echo 'semodule: the store is locked' >&2; exit 1")
    done = host.rpm("-i", *binaries(packages))
    # Once where modules are put into it, once by each package that looks for its own.
    assert done.said.count("the policy store cannot be read: semodule: the store is locked") == 1 + len(PACKAGES)
    for name in PACKAGES:
        assert f"{name}: NOT INSTALLED in the policy" in done.said


# -- where SELinux is not in use


@pytest.mark.parametrize(
    "config",
    [
        "SELINUX=disabled\nSELINUXTYPE=targeted\n",
        "SELINUX=Disabled\nSELINUXTYPE=targeted\n",
        "SELINUX=enforcing\nSELINUXTYPE=mls\n",
        "# nothing\n",
        None,
    ],
    ids=["disabled", "Disabled", "another policy", "empty", "no file"],
)
def test_nothing_is_done_where_selinux_is_off(host: Host, packages: Path, config: str) -> None:
    path = host.root / "etc/selinux/config"
    path.unlink() if config is None else path.write_text(config)
    before = sorted((host.root / "etc/selinux").rglob("*"))
    for done in (host.rpm("-i", *binaries(packages)), host.rpm("-e", *PACKAGES)):
        assert done.status == 0
        assert done.rebuilds == []
    assert sorted((host.root / "etc/selinux").rglob("*")) == before
    assert host.leftovers() == []


def test_that_nothing_was_done_is_said(host: Host, packages: Path) -> None:
    (host.root / "etc/selinux/config").write_text("SELINUX=disabled\nSELINUXTYPE=targeted\n")
    done = host.rpm("-i", package(packages, "lxc-base-selinux"))
    assert "lxc-base-selinux: SELinux is not set up here with the policy targeted, so nothing was done" in done.said


def test_that_an_erased_role_stays_where_selinux_was_turned_off_is_said(installed: Host) -> None:
    (installed.root / "etc/selinux/config").write_text("SELINUX=disabled\nSELINUXTYPE=targeted\n")
    done = installed.rpm("-e", "lxc-ftp-selinux")
    assert (done.status, done.rebuilds) == (0, [])
    said, command = done.said.strip().split("; to remove it: ")
    assert "SELinux is not set up here with the policy targeted, so what was erased stays in its store" in said
    assert installed.stored() == SHIPPED
    assert installed.run(*command.split()).returncode == 0
    assert installed.stored() == SHIPPED - {"lxc_ftp", "lxc_ftp_ports"}


# -- labels and the running policy


def pretend_enabled(host: Host) -> None:
    """Let the scriptlets believe that the kernel enforces, and write down what they would do to it."""
    host.replace("selinuxenabled", "exit 0")
    host.replace("load_policy", "echo loaded >>/tmp/loaded")
    host.replace("restorecon", 'echo "$*" >>/tmp/restorecon; tr "\\0" "\\n" >>/tmp/relabelled')
    for path in ("web/page", "web/deep/er", "webby/page", "other"):
        file = host.root / "srv/lxc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def relabelled(host: Host) -> set[str]:
    """What was labelled anew since the last question."""
    path = host.root / "tmp/relabelled"
    found = set(path.read_text().split()) if path.exists() else set()
    path.unlink(missing_ok=True)
    return found


WEB_FILES = {"/srv/lxc/web", "/srv/lxc/web/page", "/srv/lxc/web/deep", "/srv/lxc/web/deep/er"}


def test_only_what_the_file_contexts_name_is_labelled_anew(host: Host, packages: Path) -> None:
    pretend_enabled(host)
    assert host.rpm("-i", *binaries(packages)).said == ""
    assert relabelled(host) == WEB_FILES
    assert (host.root / "tmp/restorecon").read_text().splitlines() == ["-F -0 -f -"]
    assert (host.root / "tmp/loaded").read_text().split() == ["loaded"]
    assert host.rpm("-e", "lxc-web-selinux").said == ""
    assert relabelled(host) == WEB_FILES


def test_a_line_break_in_a_name_keeps_no_file_from_its_label(host: Host, packages: Path) -> None:
    pretend_enabled(host)
    (host.root / "srv/lxc/web/two\nlines").touch()
    assert host.rpm("-i", *binaries(packages)).said == ""
    assert "/srv/lxc/web/two\nlines\n" in (host.root / "tmp/relabelled").read_text()


def test_a_pattern_without_a_folder_of_its_own_labels_what_it_matches(
    host: Host, tmp_path: Path, pack_tree: Pack
) -> None:
    pretend_enabled(host)
    te = role_te("web", "type lxc_web_content_t;\n")
    contexts = "/srv/lxc/web[a-c]+y(/.*)?\tsystem_u:object_r:lxc_web_content_t:s0\n"
    folder = pack_tree(make_tree(tmp_path / "tree", {"web": te}, contexts={"web": contexts}))
    assert host.rpm("-i", *binaries(folder)).said == ""
    assert relabelled(host) == {"/srv/lxc/webby", "/srv/lxc/webby/page"}


def test_an_upgrade_with_the_same_file_contexts_labels_nothing(host: Host, packages: Path) -> None:
    pretend_enabled(host)
    assert host.rpm("-i", *binaries(packages)).said == ""
    relabelled(host)
    assert host.rpm("-U", "--replacepkgs", *binaries(packages)).said == ""
    assert relabelled(host) == set()


def test_a_policy_that_the_kernel_refuses_is_told(host: Host, packages: Path) -> None:
    pretend_enabled(host)
    host.replace("load_policy", "exit 2")
    assert "load_policy failed" in host.rpm("-i", *binaries(packages)).said


def test_where_selinux_is_on_the_kernel_is_asked_for_the_types(host: Host, packages: Path) -> None:
    """setfiles may not read a file of the scriptlet's there: neither Debian 13 nor Fedora has a rule that lets it."""
    pretend_enabled(host)
    host.replace("setfiles", 'case "$*" in *rpm-state*) exit 1;; esac; exec setfiles.real "$@"')
    kernel = host.root / "sys/fs/selinux/context"
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    assert host.rpm("-i", *binaries(packages)).said == ""
    assert kernel.read_text() in {"system_u:object_r:lxc_web_t:s0", "system_u:object_r:lxc_web_content_t:s0"}


def test_a_type_that_the_kernel_does_not_know_is_told(host: Host, packages: Path) -> None:
    pretend_enabled(host)
    kernel = host.root / "sys/fs/selinux/context"
    kernel.parent.mkdir(parents=True)
    os.mknod(kernel, 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # /dev/full: no write to it succeeds
    said = host.rpm("-i", *binaries(packages)).said
    assert "lxc-web-selinux: NOT INSTALLED in the policy" in said
    assert "the type lxc_web_t is not in the policy (/sys/fs/selinux/context)" in said


# -- one package for all


def test_the_bundle_brings_and_takes_everything(host: Host, reference_build: Path, pack_tree: Pack) -> None:
    bundle = pack_tree(reference_build, bundle=True)
    done = host.rpm("-i", *binaries(bundle))
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == SHIPPED
    done = host.rpm("-e", "lxc-selinux")
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == set()
    assert host.leftovers() == []


def test_the_bundle_excludes_the_single_packages(installed: Host, reference_build: Path, pack_tree: Pack) -> None:
    done = installed.rpm("-i", *binaries(pack_tree(reference_build, bundle=True)))
    assert done.status != 0
    assert "conflicts" in done.said


def test_single_packages_and_bundle_take_each_others_place(
    installed: Host, packages: Path, reference_build: Path, tmp_path: Path, pack_tree: Pack
) -> None:
    bundle = package(pack_tree(reference_build, bundle=True), "lxc-selinux")
    to_bundle = empty_package(tmp_path, "to-bundle", f"Obsoletes: {' '.join(PACKAGES)}")
    done = installed.rpm("-U", bundle, to_bundle)
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert installed.stored() == SHIPPED
    assert installed.rpm("-e", "to-bundle").status == 0
    from_bundle = empty_package(tmp_path, "from-bundle", "Obsoletes: lxc-selinux")
    done = installed.rpm("-U", *binaries(packages), from_bundle)
    assert (done.status, done.said) == (0, "")
    assert installed.stored() == SHIPPED
    assert {"lxc_web_t", "lxc_ftp_port_t"} <= installed.types()


# -- an rpm without file triggers


def test_without_file_triggers_a_role_is_removed_all_the_same(host: Host, tmp_path: Path, pack_tree: Pack) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web"), "dns": role_te("dns")})
    folder = pack_tree(tree, target="el7")
    triggers = subprocess.run(
        ["rpm", "-qp", "--filetriggers", *binaries(folder)], capture_output=True, text=True, check=True
    )
    assert triggers.stdout == ""
    assert host.rpm("-i", *binaries(folder)).said == ""
    assert host.stored() == {"lxc_base", "lxc_web", "lxc_dns"}
    assert len(host.rpm("-U", *binaries(pack_tree(tree, target="el7", version="1.1"))).rebuilds) == 1
    assert host.rpm("-e", "lxc-web-selinux").said == ""
    assert host.stored() == {"lxc_base", "lxc_dns"}
    assert host.rpm("-e", "lxc-dns-selinux", "lxc-base-selinux").said == ""
    assert host.stored() == set()
    assert host.leftovers() == []


# -- a distribution's policy


@pytest.mark.xdist_group("debian_modules")
def test_packages_for_a_distributions_policy_install_on_it(
    debian_modules: Path, provider: Path, tmp_path: Path, pack_tree: Pack
) -> None:
    tree = tmp_path / "build"
    build.build(build.Inputs(packaged("roles"), (), str(debian_modules), packaged("templates")), tree, quiet)
    make_root(tmp_path / "root", sorted(debian_modules.iterdir()))
    host = Host(tmp_path / "root")
    assert host.rpm("-i", provider).status == 0
    done = host.rpm("-i", *binaries(pack_tree(tree)))
    assert (done.status, done.said, len(done.rebuilds)) == (0, "", 1)
    assert host.stored() == SHIPPED
    assert {"lxc_web_t", "lxc_dns_t", "lxc_ftp_t", "lxc_nonet_t"} <= host.types()
