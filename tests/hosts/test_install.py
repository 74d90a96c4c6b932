"""Installing roles into the policy of a host and taking them out, with the real semodule on a private store."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import setools
from commandline import LABELGEN, in_namespace
from installs import SimulatedHost

from labelgen.host import install
from labelgen.host.contexts import Place
from labelgen.host.runtimes import Starter
from labelgen.host.store import Store

SMALL_POLICY = Path(__file__).parents[1] / "policies" / "small.cil"
ROLES = {"dns", "ftp", "nonet", "web"}
DOMAINS = {f"lxc_{name}_t" for name in ROLES}
# Gives a role more than it declares, in whatever policy it is linked into.
MORE = "(allow lxc_web_t smtp_port_t (tcp_socket (name_connect)))(allow lxc_web_t self (tcp_socket (connect)))"


def test_all_roles_come_in_one_rebuild_at_the_stated_priority(host: SimulatedHost) -> None:
    done = host.call("install")
    assert done.status == 0, done.stderr
    assert len(host.calls("semodule")) == 1
    assert "-X 200" in host.calls("semodule")[0]
    assert "-n" in host.calls("semodule")[0].split()
    assert set(host.stored()) == {f"200/lxc_{name}" for name in ROLES | {"base"}}
    assert host.types() >= DOMAINS


def test_what_is_installed_is_what_was_built(host: SimulatedHost) -> None:
    host.call("install", "web").held()
    shown = subprocess.run(
        ["semodule", "-p", host.root, "-s", "targeted", "-X", "200", "-H", "-E", "lxc_web"],
        cwd=host.programs, capture_output=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert (host.programs / "lxc_web.pp").read_bytes() == (host.place.output / "lxc_web/lxc_web.pp").read_bytes()


def test_only_the_named_roles_come_with_what_they_share(host: SimulatedHost) -> None:
    host.call("install", "nonet").held()
    assert set(host.stored()) == {"200/lxc_base", "200/lxc_nonet"}


def test_a_role_that_is_added_leaves_the_others_as_they_are(host: SimulatedHost) -> None:
    host.call("install", "nonet").held()
    host.call("install", "web").held()
    assert set(host.stored()) == {"200/lxc_base", "200/lxc_nonet", "200/lxc_web"}


# A module that says something of containers: by a type, an attribute, a boolean and an SELinux role of its own.
SERVICE = """
(type service_t)(roletype system_r service_t)(type service_file_t)(typeattribute service_domain)
(typeattributeset service_domain (service_t))(boolean service_reads false)
(role service_r)(roletype service_r container_t)
(allow service_t container_t (fd (use)))(allow service_domain container_t (process (getsched)))
(allow container_t service_file_t (file (getattr)))(typetransition container_t service_file_t file "x" etc_t)
(booleanif service_reads (true (allow service_t container_t (process (getattr)))))
"""


def test_another_module_can_go_away_though_roles_have_what_it_says_of_containers(host: SimulatedHost) -> None:
    """As `semodule -d unconfined` takes the module of that name from a hardened host, or an update a type."""
    host.add(SERVICE, name="service")
    host.place.build("--base", "root/var/lib/selinux/targeted").held()
    host.call("install").held()
    source = (host.place.output / "lxc_base/lxc_base.te").read_text()
    assert all(
        name in source for name in ("service_t", "service_domain", "service_reads", "service_r ", "service_file_t")
    )
    rules = [rule for rule in setools.SELinuxPolicy(str(host.policy)).terules() if "service" in str(rule)]
    assert any(str(rule).startswith("allow service_t lxc_domain:") for rule in rules)
    assert host.semodule("-X", "400", "-r", "service") == 0
    assert host.types() >= DOMAINS
    left = host.place.call("verify", "--policy", host.policy)
    assert left.status == 0, left.stdout


def test_a_claim_that_fails_on_the_policy_of_the_host_keeps_the_roles_out(host: SimulatedHost) -> None:
    # The parent gets more on this host than on the one the modules were made for, so `complete` fails.
    host.add("(type site_t)(allow svirt_lxc_net_t site_t (file (read)))")
    before = host.policy.read_bytes()
    done = host.call("install")
    assert done.status == 1
    assert "complete" in done.stdout
    assert "labelgen build --base host" in done.stderr
    assert host.policy.read_bytes() == before
    assert host.calls("semodule") == []


def test_file_contexts_that_semanage_set_on_the_host_count(host: SimulatedHost) -> None:
    """Where an administrator gave a folder of the system a role's label, the role is not what was verified."""
    own = host.root / "etc/selinux/targeted/contexts/files/file_contexts.local"
    own.write_text("/etc/app(/.*)?    system_u:object_r:lxc_web_content_t:s0\n")
    done = host.call("install", "web")
    assert done.status == 1
    assert "/etc/app" in done.stderr
    assert host.traces() == []


def test_a_refusal_of_semodule_changes_nothing(host: SimulatedHost) -> None:
    host.stand_in("semodule", "echo neverallow on line 7 failed >&2; exit 1")
    done = host.call("install", "web")
    assert done.status == 3
    assert "neverallow on line 7 failed" in done.stderr
    assert "expand-check = 0" in done.stderr
    assert host.traces() == []


def test_a_rebuilt_policy_that_is_not_what_was_verified_is_put_back(host: SimulatedHost) -> None:
    evil = host.place.folder.parent / "evil.cil"
    evil.write_text(MORE)
    before = host.policy.read_bytes()
    # As if somebody else installed a module at the same moment.
    host.replace("semodule", f'case "$*" in *lxc_web.pp*) set -- "$@" -i {evil};; *) set -- "$@" -r evil;; esac')
    done = host.call("install", "web")
    assert done.status == 1, done.stderr
    assert "lxc_web_t is not what was verified" in done.stderr
    assert "the old policy was put back" in done.stderr
    assert host.traces() == []
    assert host.policy.read_bytes() == before


def test_what_cannot_be_put_back_is_kept_and_said(host: SimulatedHost) -> None:
    evil = host.place.folder.parent / "evil.cil"
    evil.write_text(MORE)
    # The module of somebody else cannot stand without the role's types, so these cannot be taken out.
    host.replace("semodule", f'case "$*" in *lxc_web.pp*) set -- "$@" -i {evil};; esac')
    done = host.call("install", "web")
    assert done.status == 3
    assert "lxc_web_t is not what was verified" in done.stderr
    assert "could not be put back" in done.stderr
    assert "evil" in done.stderr
    host.replace("semodule", 'set -- "$@" -r evil')
    host.call("remove").held()
    assert host.traces() == []


def test_what_was_there_before_is_put_back_byte_for_byte(host: SimulatedHost) -> None:
    host.call("install", "web").held()
    before = host.stored()
    host.place.role("name: web\nsummary: Another.\nnetwork:\n  bind: {tcp: [80]}\n")
    assert host.place.call("build", "--base", "reference", "web").status == 0
    evil = host.place.folder.parent / "evil.cil"
    evil.write_text("(typepermissive lxc_web_t)")
    host.replace("semodule", f'case "$*" in *build/lxc_web*) set -- "$@" -i {evil};; *) set -- "$@" -r evil;; esac')
    done = host.call("install", "web")
    assert done.status == 1, done.stderr
    assert host.stored() == before
    assert "srv/lxc/web" in (host.root / "etc/selinux/targeted/contexts/files/file_contexts").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation_leaves_the_old_policy(host: SimulatedHost, number: int) -> None:
    before = host.policy.read_bytes()
    started = host.place.folder.parent / "started"
    host.replace("semodule", f"touch {started}; sleep 0.5")
    command = [str(LABELGEN), "install", "--root", "root", "web"]
    process = subprocess.Popen(
        command, cwd=host.place.folder, env=host.place.environment(host.environment()), stderr=subprocess.PIPE
    )
    _wait_for(started)
    process.send_signal(number)
    assert process.wait(timeout=120) == 128 + number
    assert host.policy.read_bytes() == before
    assert host.traces() == []


def _wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_after_a_crash_the_next_command_puts_the_old_state_back(host: SimulatedHost) -> None:
    before = host.policy.read_bytes()
    host.replace("semodule", "", 'kill -9 "$PPID"')
    command = [str(LABELGEN), "install", "--root", "root", "web"]
    environment = host.place.environment(host.environment())
    killed = subprocess.run(command, cwd=host.place.folder, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert host.types() >= {"lxc_web_t"}, "the store was changed before the crash"
    host.replace("semodule", "")
    told = host.call("status")
    assert (told.status, "an installation did not end" in told.stdout) == (1, True)
    host.call("remove").held()
    assert host.policy.read_bytes() == before
    assert host.traces() == []


def test_a_role_installed_with_another_shared_module_is_not_changed_under_its_feet(host: SimulatedHost) -> None:
    host.call("install", "dns").held()
    before = host.stored()
    host.add("(type site_t)(allow svirt_lxc_net_t site_t (file (read)))")
    base = host.root / "var/lib/selinux/targeted"
    assert host.place.call("build", "--base", base).status == 0
    host.call("install", "web").refused("dns is installed here with another lxc_base", "install it too")
    assert host.stored() == before
    host.call("install", "web", "dns").held()
    assert host.stored() != before


def test_the_base_is_the_same_before_and_after_roles_are_installed(host: SimulatedHost) -> None:
    base = host.root / "var/lib/selinux/targeted"
    assert host.place.call("build", "--base", base).status == 0
    before = re.search(r'"sha256": "(\w+)"', (host.place.output / "manifest.json").read_text())
    host.call("install").held()
    assert host.place.call("build", "--base", base).status == 0
    after = re.search(r'"sha256": "(\w+)"', (host.place.output / "manifest.json").read_text())
    assert before and after and before[1] == after[1]


def test_a_store_that_may_not_be_changed_is_told(host: SimulatedHost) -> None:
    modules = host.store / "modules"
    prefix = in_namespace(f"mount --bind {modules} {modules} && mount -o remount,bind,ro {modules}")
    done = host.place.run("install", "--root", "root", prefix=prefix)
    done.refused("cannot be changed", "run labelgen as root", status=3)


def test_a_root_without_selinux_is_told(host: SimulatedHost) -> None:
    (host.root / "etc/selinux/config").unlink()
    host.call("install").refused("there is no SELINUXTYPE", "install one")


def test_a_host_whose_policy_has_no_containers_lacks_something(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that runs without SELinux lacks that too, which to know first saves a way."""
    shutil.rmtree(host.store / "modules")
    module = host.store / "modules/100/small"
    module.mkdir(parents=True)
    shutil.copy(SMALL_POLICY, module / "cil")
    told = ("no containers for roles to derive from", "no type 'svirt_lxc_net_t'", "container-selinux")
    done = host.call("install", "web")
    done.refused(*told, status=3)
    assert "not enabled" not in done.stderr
    monkeypatch.setattr("labelgen.host.state.SELINUXFS", host.selinuxfs)
    monkeypatch.setattr(Store, "is_of_host", True)
    host.call("install", "web").refused(*told, "SELinux is not enabled on this host", "SELINUX=enforcing", status=3)


@pytest.mark.parametrize("command", ["install", "status", "remove"])
@pytest.mark.parametrize("without", ["/etc/selinux", "/var/lib/selinux"])
def test_a_host_without_a_policy_lacks_something(host: SimulatedHost, command: str, without: str) -> None:
    there = Path(without).is_dir()
    prefix = in_namespace(f"mount -t tmpfs none {without}" if there else "true")
    done = host.place.run(command, prefix=prefix)
    done.refused("there is no ", status=3)


# -- with the kernel of the host


def test_the_policy_is_loaded_and_confirmed_and_files_get_their_labels(running_host: SimulatedHost) -> None:
    done = running_host.call("install")
    assert done.status == 0, done.stderr
    assert "and on the loaded one" in done.stdout
    assert running_host.calls("load_policy") == ["load_policy -q"]
    assert running_host.types(running_host.selinuxfs / "policy") >= DOMAINS


def test_a_kernel_that_does_not_take_the_policy_leaves_the_old_one(running_host: SimulatedHost) -> None:
    running_host.stand_in("load_policy", "echo cannot load >&2; exit 2")
    # Putting back loads the old policy again, which fails here as well: the first failure is told.
    done = running_host.call("install", "web")
    assert done.status == 3
    assert "cannot load" in done.stderr
    assert running_host.stored() == {}
    assert running_host.types(running_host.selinuxfs / "policy") == set()


def test_a_loaded_policy_without_the_roles_is_told_and_put_back(running_host: SimulatedHost) -> None:
    running_host.stand_in("load_policy", "true")
    done = running_host.call("install", "web")
    assert done.status == 1
    assert "the loaded policy is not what was verified" in done.stderr
    assert "lxc_web_t" in done.stderr
    assert running_host.traces() == []


def _label(path: Path, label: str) -> None:
    path.write_text("")
    try:
        os.setxattr(path, "security.selinux", f"system_u:object_r:{label}:s0\0".encode())
    except OSError as error:
        pytest.skip(f"no label can be set on files here: {error.strerror}")


def test_the_engine_of_the_host_is_named_with_the_domain_it_runs_in(host: SimulatedHost) -> None:
    _label(host.root / "usr/bin/podman", "container_runtime_exec_t")
    done = host.call("install", "web")
    assert done.status == 0, done.stderr
    assert "/usr/bin/podman runs as container_runtime_t, which may start them" in " ".join(done.stdout.split())


def test_an_engine_that_may_start_plain_containers_and_not_a_role_is_a_failure() -> None:
    starter = Starter("/usr/bin/podman", "x_exec_t", ("x_t",), True, ("lxc_web_t",))
    with pytest.raises(install.NotConfirmed, match=r"x_t here.*not lxc_web_t"):
        install._check_starters([starter])


# -- removing


def test_removing_all_leaves_no_trace(host: SimulatedHost) -> None:
    before = host.policy.read_bytes()
    host.call("install").held()
    done = host.call("remove")
    assert done.status == 0, done.stderr
    assert "restorecon -FR /srv/lxc/dns /srv/lxc/ftp /srv/lxc/web" in " ".join(done.stdout.split())
    assert host.traces() == []
    assert host.policy.read_bytes() == before
    assert len(host.calls("semodule")) == 2


def test_removing_one_leaves_the_others_with_what_they_share(host: SimulatedHost) -> None:
    host.call("install").held()
    host.call("remove", "ftp").held()
    assert set(host.stored()) == {f"200/lxc_{name}" for name in (ROLES | {"base"}) - {"ftp"}}
    assert "lxc_ftp_t" not in host.types()
    assert not any("ftp" in path for path in host.traces())


def test_a_role_that_is_not_there_is_told_with_those_that_are(host: SimulatedHost) -> None:
    host.call("install", "web").held()
    host.call("remove", "dns").refused("the role dns is not installed here", "installed: web")


def test_removing_is_refused_while_containers_run_in_the_role(running_host: SimulatedHost) -> None:
    running_host.call("install", "web", "dns").held()
    running_host.starts("lxc_web_t")
    running_host.call("remove").refused(
        "lxc_web_t has running processes (1; one is 4711)", "stop these containers first"
    )
    assert running_host.types() >= {"lxc_web_t", "lxc_dns_t"}
    running_host.call("remove", "dns").held()
    assert "lxc_dns_t" not in running_host.types(running_host.selinuxfs / "policy")
    running_host.call("remove", "--force").held()
    assert running_host.types(running_host.selinuxfs / "policy") == set()


def test_the_kernel_loses_a_removed_role_and_its_files_their_labels(
    running_host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = running_host.place.folder.parent / "content"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/index.html").write_text("")
    (folder / "two\nlines").write_text("")
    (folder.parent / "content.old").write_text("")
    place = Place(f"{re.escape(str(folder))}(/.*)?", str(folder.parent), "lxc_web_content_t")
    monkeypatch.setattr(install, "places_of_roles", lambda *_: [place])
    running_host.call("install", "web").held()
    done = running_host.call("remove")
    assert done.status == 0, done.stderr
    assert "the labels of 4 files were set" in done.stdout
    labelled = (folder.parent / "relabelled").read_text().splitlines()
    # In a file context, . is a line break too.
    two_lines = {str(folder / "two"), "lines"}
    assert set(labelled) == {str(folder), str(folder / "sub"), str(folder / "sub/index.html"), *two_lines}
    # What was a plain container's has a type that restorecon leaves alone without -F, and categories.
    assert {"-F" in call.split() for call in running_host.calls("restorecon")} == {True}


def test_files_that_have_the_types_of_the_role_keep_their_categories(
    running_host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = running_host.place.folder.parent / "content"
    folder.mkdir()
    labels = {"private": "lxc_web_content_t:s0:c1,c2", "plain": "container_file_t:s0:c1,c2"}
    for name, label in labels.items():
        (folder / name).write_text("")
        try:
            os.setxattr(folder / name, "security.selinux", f"system_u:object_r:{label}\0".encode())
        except OSError as error:
            pytest.skip(f"no label can be set here: {error}")
    place = Place(f"{re.escape(str(folder))}/.*", str(folder), "lxc_web_content_t")
    monkeypatch.setattr(install, "places_of_roles", lambda *_: [place])
    running_host.call("install", "web").held()
    relabelled = (folder.parent / "relabelled").read_text().splitlines()
    assert relabelled == [str(folder / "plain"), str(folder / "private")]
    assert ["-F" in call.split() for call in running_host.calls("restorecon")] == [True, False]
    running_host.call("remove", "web").held()
    assert ["-F" in call.split() for call in running_host.calls("restorecon")] == [True, False, True]
