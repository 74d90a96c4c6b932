"""Starting containers in their role: the command line of each engine, what is refused and why, and what passes through.

The policy is a real one with the roles linked in; the engines are pytest-subprocess's, scripts, and the real podman."""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest
from bases import BuiltRoles
from commandline import LABELGEN, Outcome, Place, fake_program, in_namespace, shared_cache
from pytest_subprocess import FakeProcess

from labelgen import programs
from labelgen.host import contexts, engines, launch
from labelgen.host.engines import Engine, take_apart

# A few lines of what `podman run --help` prints (5.4), with every kind of option: pflag's layout.
HELP = """Run a command in a new container

Usage:
  podman run [options] IMAGE [COMMAND [ARG...]]

Options:
      --add-host strings                         Add a custom host-to-IP mapping (host:ip) (default [])
      --annotation strings                       Add annotations to container (key=value)
  -d, --detach                                   Run container in background and print container ID
  -e, --env stringArray                          Set environment variables in container (default [PATH=/bin])
      --expose strings                           Expose a port or a range of ports
      --help
  -i, --interactive                              Make STDIN available to the contained process
      --ipc string                               IPC namespace to use
      --mount stringArray                        Attach a filesystem mount to the container
      --name string                              Assign a name to the container
      --network stringArray                      Connect a container to a network
      --pid string                               PID namespace to use
      --pod string                               Run container in an existing pod
      --privileged                               Give extended privileges to container
  -p, --publish strings                          Publish a container's port, or a range of ports, to the host
  -P, --publish-all                              Publish all exposed ports to random ports on the host interface
      --rm                                       Remove container and any anonymous unnamed volume after exit
      --runtime string                           Runtime to use for this container
      --secret SECRET[,opt=opt ...]              Add secret to container
      --security-opt stringArray                 Security Options
      --sysctl strings                           Sysctl options
      --systemd string[="true"]                  Run container in systemd mode
  -t, --tty                                      Allocate a pseudo-TTY for container
  -v, --volume stringArray                       Bind mount a volume into the container
"""
# The same of `nerdctl run --help` (2.3.5).
NERDCTL_HELP = """Run a command in a new container.

Usage: nerdctl run [flags] IMAGE [COMMAND] [ARG...]

Flags:
      --cpus float                                     Number of CPUs
  -d, --detach                                         Run container in background and print container ID
      --health-interval duration                       Time between running the check; 0 uses the image value or 30s when unset there too
  -i, --interactive                                    Keep STDIN open even if not attached
      --name string                                    Assign a name to the container
      --net strings                                    Connect a container to a network ("bridge"|"host"|"none"|"container:<container>"|"ns:<path>"|<CNI>) (default [bridge])
      --network strings                                Connect a container to a network ("bridge"|"host"|"none"|"container:<container>"|"ns:<path>"|<CNI>) (default [bridge])
      --oom-score-adj int                              Tune container's OOM preferences (-1000 to 1000, rootless: 100 to 1000)
      --privileged                                     Give extended privileges to this container
  -p, --publish strings                                Publish a container's port(s) to the host
      --security-opt stringArray                       Security options
      --sig-proxy                                      Proxy received signals to the process (default true)
      --sysctl stringArray                             Sysctl options
  -t, --tty                                            Allocate a pseudo-TTY
  -v, --volume stringArray                             Bind mount a volume
"""  # noqa: E501
TABLE_ENGINE = Engine("podman", "podman", (5, 4, 2))
CLOSED = ["--sysctl", "net.ipv4.tcp_fastopen=0", "--sysctl", "net.ipv4.ip_local_port_range=65535 65535"]
CLOSED_FOR_DNS = ["--sysctl", "net.ipv4.tcp_fastopen=0", "--sysctl", "net.ipv4.ip_local_port_range=60000 60999"]
PODMAN_INFO = {"host": {"serviceIsRemote": False, "security": {"selinuxEnabled": True}}}
# As nerdctl 2.3.5 says it with --selinux-enabled.
NERDCTL_INFO = {"ServerVersion": "1.7.24", "SecurityOptions": ["name=selinux", "name=seccomp,profile=builtin"]}
DOCKER_INFO = {"ServerVersion": "28.2.2", "SecurityOptions": ["name=seccomp,profile=builtin", "name=selinux"]}
VERSIONS = {
    "podman": "podman version 5.4.2",
    "docker": "Docker version 28.2.2, build e6534b4",
    "nerdctl": "nerdctl version 2.3.5",
}
Run = Callable[..., Outcome]

# Of Debian 13's selinux-policy-default.
CONTEXTS = "etc/selinux/targeted/contexts/lxc_contexts"
DEFAULTS = """\
process = "system_u:system_r:container_t:s0"
content = "system_u:object_r:virt_var_lib_t:s0"
file = "system_u:object_r:container_file_t:s0"
ro_file = "system_u:object_r:container_ro_file_t:s0"
"""


@pytest.fixture(scope="session")
def policy(reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with the shipped roles, as the kernel would have it."""
    return reference_roles.link(tmp_path_factory.mktemp("loaded"))


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(folder, shared_cache(tmp_path_factory))


@pytest.fixture
def kernel(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /sys/fs/selinux: enforcing, with the roles loaded."""
    folder = tmp_path / "selinuxfs"
    folder.mkdir()
    (folder / "enforce").write_text("1")
    (folder / "policy").symlink_to(policy)
    monkeypatch.setattr("labelgen.host.state.SELINUXFS", folder)
    monkeypatch.setattr(contexts, "HOST", tmp_path)
    (tmp_path / CONTEXTS).parent.mkdir(parents=True)
    (tmp_path / CONTEXTS).write_text(DEFAULTS)
    return folder


class Engines:
    """What the engines of a host print: the words of a command -> what pytest-subprocess registers for it."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[list[Any], dict[str, Any]]] = {}

    def register(self, command: list[Any], **answer: Any) -> None:
        """Let a command print something; later words replace earlier ones."""
        self.answers[" ".join(map(str, command))] = (command, answer)

    def __call__(self, call: Callable[[], Outcome]) -> Outcome:
        with FakeProcess() as fake:
            fake.keep_last_process(True)
            for command, answer in self.answers.values():
                fake.register(command, **answer)
            return call()


ANY = FakeProcess.any()


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """The three engines, current ones, all with SELinux; nothing else is started."""
    monkeypatch.setattr(programs, "find", lambda program: program)
    found = Engines()
    for name, version in VERSIONS.items():
        before = ["--selinux-enabled"] if name == "nerdctl" else []
        info = {"podman": PODMAN_INFO, "docker": DOCKER_INFO, "nerdctl": NERDCTL_INFO}[name]
        found.register([name, "--version"], stdout=version)
        found.register([name, *before, "run", "--help"], stdout=NERDCTL_HELP if name == "nerdctl" else HELP)
        found.register([name, *before, "info", "--format", "{{json .}}"], stdout=json.dumps(info))
        found.register([name, *before, "ps", "-q", "--no-trunc"], stdout="")
    return found


@pytest.fixture
def run(place: Place, kernel: Path, says: Engines, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`labelgen run --print`; takes the words of a command line from the role on, labelgen's options and the engine."""
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-40-amd64")

    def call(words: str, *options: str, engine: str = "podman", env: Optional[Mapping[str, str]] = None) -> Outcome:
        return says(lambda: place.call("run", "--engine", engine, "--print", *options, *shlex.split(words), env=env))

    return call


def printed(outcome: Outcome) -> list[str]:
    """The command line that would be started."""
    assert outcome.status == 0, outcome.stderr
    return shlex.split(outcome.stdout)


# -- the command


@pytest.mark.parametrize(
    "engine, start", [("podman", "podman run"), ("docker", "docker run"), ("nerdctl", "nerdctl --selinux-enabled run")]
)
def test_a_container_gets_its_type_and_what_closes_its_limits(run: Run, engine: str, start: str) -> None:
    found = printed(run("web -d --name w -p 8080:80 nginx nginx -g 'daemon off;'", engine=engine))
    assert found == [
        *start.split(), "--security-opt", "label=type:lxc_web_t", *CLOSED,
        *["-d", "--name", "w", "-p", "8080:80", "nginx", "nginx", "-g", "daemon off;"],
    ]  # fmt: skip


def test_a_role_that_starts_connections_has_a_few_ports_to_start_them_from(run: Run) -> None:
    assert printed(run("dns bind")) == [
        "podman",
        "run",
        "--security-opt",
        "label=type:lxc_dns_t",
        *CLOSED_FOR_DNS,
        "bind",
    ]


def test_a_role_without_a_network_gets_none(run: Run) -> None:
    assert printed(run("nonet alpine cc -O2 x.c")) == [
        *["podman", "run", "--security-opt", "label=type:lxc_nonet_t", "--network", "none"],
        *["alpine", "cc", "-O2", "x.c"],
    ]


def test_the_local_ports_can_be_others(run: Run) -> None:
    found = printed(run("dns bind", "--local-ports", "40000-40999"))
    assert "net.ipv4.ip_local_port_range=40000 40999" in found
    run("dns bind", "--local-ports", "40999-40000").refused("no range of local ports")
    run("dns bind", "--local-ports", "80-90").refused("no range of local ports")


def test_what_follows_the_image_is_the_containers_own(run: Run) -> None:
    assert (
        printed(run("web nginx -p 8080:81 --privileged -v /:/x:Z"))[-6:]
        == [*["nginx", "-p", "8080:81", "--privileged", "-v", "/:/x:Z"]][-6:]
    )


@pytest.mark.parametrize(
    "version, option",
    [
        ("1.10.3", "label:type:lxc_web_t"),
        ("1.11.0", "label=type:lxc_web_t"),
        ("1.13.1", "label=type:lxc_web_t"),
        ("17.09.0-ce", "label=type:lxc_web_t"),
    ],
)
def test_the_separator_is_that_of_the_engines_version(run: Run, says: Engines, version: str, option: str) -> None:
    says.register(["docker", "--version"], stdout=f"Docker version {version}, build 1234567")
    says.register(["docker", "info"], stdout="Security Options: apparmor seccomp selinux\n")
    assert option in printed(run("web nginx", engine="docker"))


def test_an_engine_that_cannot_set_sysctls_leaves_limits_open_and_it_is_said(run: Run, says: Engines) -> None:
    says.register(["docker", "--version"], stdout="Docker version 1.11.2, build b9f10c9")
    says.register(["docker", "info"], stdout="Security Options: selinux\n")
    done = run("web nginx", engine="docker")
    assert "--sysctl" not in printed(done)
    assert "docker 1.11.2 cannot set net.ipv4.tcp_fastopen" in done.stderr
    assert printed(run("nonet alpine", engine="docker"))[-3:] == ["--net", "none", "alpine"]


@pytest.mark.parametrize("of_host, told", [("1", True), ("0", False)])
def test_a_kernel_with_one_fast_open_for_all_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_host: str, told: bool
) -> None:
    monkeypatch.setattr(platform, "release", lambda: "3.10.0-1160.el7.x86_64")
    (tmp_path / "fastopen").write_text(of_host)
    monkeypatch.setattr(launch, "FAST_OPEN_OF_HOST", tmp_path / "fastopen")
    done = run("web nginx")
    assert "net.ipv4.tcp_fastopen=0" not in printed(done)
    assert "net.ipv4.ip_local_port_range=65535 65535" in printed(done)
    assert ("one net.ipv4.tcp_fastopen for all" in done.stderr) is told


def test_podman_under_the_name_of_docker_is_podman(run: Run, says: Engines) -> None:
    says.register(["docker", "--version"], stdout="podman version 5.4.2")
    says.register(["docker", "info", "--format", "{{json .}}"], stdout=json.dumps(PODMAN_INFO))
    assert printed(run("web nginx", engine="docker"))[:2] == ["docker", "run"]


def test_a_program_that_is_no_engine_is_told(run: Run, says: Engines) -> None:
    says.register(["true", "--version"], stdout="true (GNU coreutils) 9.1")
    run("web nginx", engine="true").refused("true is none of podman, docker, nerdctl")


# -- how options are read


@pytest.mark.parametrize(
    "words, options, image",
    [
        ("nginx", [], "nginx"),
        ("-it alpine sh", [("interactive", "true"), ("tty", "true")], "alpine"),
        ("-p 80:80 x", [("publish", "80:80")], "x"),
        ("-p80:80 x", [("publish", "80:80")], "x"),
        ("-p=80:80 x", [("publish", "80:80")], "x"),
        ("-itp 80:80 x", [("interactive", "true"), ("tty", "true"), ("publish", "80:80")], "x"),
        ("--publish=80:80 x", [("publish", "80:80")], "x"),
        ("--rm=false x", [("rm", "false")], "x"),
        ("--net host x", [("network", "host")], "x"),
        ("--secret a,type=env x", [("secret", "a,type=env")], "x"),
        ("--systemd x", [("systemd", "true")], "x"),
        ("--systemd=always x", [("systemd", "always")], "x"),
        ("-e A=-p -- x -p", [("env", "A=-p")], "x"),
        ("-p 80:80,443:443 x", [("publish", "80:80"), ("publish", "443:443")], "x"),
        ('-p "80:80",443:443 x', [("publish", "80:80"), ("publish", "443:443")], "x"),
        ("--add-host= x", [("add-host", "")], "x"),
        ("-e A=1,B=2 x", [("env", "A=1,B=2")], "x"),
    ],
)
def test_options_are_read_as_the_engine_reads_them(
    says: Engines, words: str, options: list[tuple[str, str]], image: str
) -> None:
    with FakeProcess() as fake:
        fake.register(["podman", "run", "--help"], stdout=HELP)
        known = engines.table(TABLE_ENGINE)
    given = take_apart(words.split(), known)
    assert [tuple(option) for option in given.options] == options
    assert given.image == image


@pytest.mark.parametrize(
    "words, told",
    [
        ("web", "there is no image"),
        ("web -d", "there is no image"),
        ("web -p", "the option -p has no value"),
        ("web --nosuch x y", "the engine's run has no option --nosuch"),
        ("web -Q x y", "the engine's run has no option -Q"),
        ("web -p '\"80\":80' x", "the quotes in it cannot be read"),
    ],
)
def test_options_that_cannot_be_read_are_told(run: Run, words: str, told: str) -> None:
    run(words).refused(told)


# -- options that undo the role


@pytest.mark.parametrize(
    "words, told, cure",
    [
        ("web --privileged nginx", "--privileged", "leave it out"),
        ("web --privileged=true nginx", "--privileged", "leave it out"),
        ("web --security-opt label=disable nginx", "sets another label", "the label is lxc_web_t"),
        ("web --security-opt label:disable nginx", "sets another label", "the label is lxc_web_t"),
        ("web --security-opt=label=type:spc_t nginx", "sets another label", "the label is lxc_web_t"),
        ("web --security-opt label=nested nginx", "sets another label", "leave it out"),
        ("web --security-opt label=level:s0 nginx", "sets another label", "give the level categories"),
        ("web --security-opt label=filetype:etc_t nginx", "sets another label", "leave it out"),
        ("web --annotation io.podman.annotations.label=x nginx", "may set another label", "leave it out"),
        ("web --pid host nginx", "without its label", "leave --pid out"),
        ("web --pid=container:other nginx", "without its label", "leave --pid out"),
        ("web --ipc host nginx", "without its label", "leave --ipc out"),
        ("web --network host nginx", "not the container's own", "use a bridge"),
        ("web --net=container:other nginx", "not the container's own", "use a bridge"),
        ("web --network ns:/run/netns/x nginx", "not the container's own", "use a bridge"),
        ("web --pod p nginx", "has the pod's network", "labelgen export kubernetes"),
        ("nonet --network bridge alpine", "has no network", "leave --network out"),
        ("nonet --network host alpine", "has no network", "leave --network out"),
        ("web --runtime kata nginx", "a kernel of its own", "leave it out"),
        ("web --runtime /usr/bin/runsc nginx", "a kernel of its own", "leave it out"),
        ("web --annotation run.oci.handler=krun nginx", "a kernel of its own", "leave it out"),
        ("web --annotation a=b,run.oci.handler=krun nginx", "a kernel of its own", "leave it out"),
        ("web --sysctl net.core.somaxconn=9,net.ipv4.tcp_fastopen=3 nginx", "closes a limit", "leave it out"),
        ("web -p 25:25,80:80 nginx", "may not bind tcp/25", "it may bind"),
        ("web --network name=host nginx", "not the container's own", "use a bridge"),
        ("web --network alias=x,NAME=Host nginx", "not the container's own", "use a bridge"),
        ("web --sysctl net.ipv4.tcp_fastopen=3 nginx", "closes a limit", "leave it out"),
        ("web --sysctl net/ipv4/tcp_fastopen=3 nginx", "closes a limit", "leave it out"),
        ("web --sysctl 'net.ipv4.ip_local_port_range=1024 65535' nginx", "closes a limit", "--local-ports LOW-HIGH"),
    ],
)
def test_an_option_that_undoes_the_role_is_refused_with_the_cure(run: Run, words: str, told: str, cure: str) -> None:
    run(words).refused(told, cure)


@pytest.mark.parametrize(
    "words",
    [
        "web --privileged=false nginx",
        "web --security-opt seccomp=unconfined --security-opt no-new-privileges nginx",
        "web --security-opt label=level:s0:c100,c200 nginx",
        "web --ipc shareable --network bridge nginx",
        "web --network none nginx",
        "nonet --network none alpine",
        "web --runtime crun --sysctl net.core.somaxconn=1024 --sysctl net.ipv4.tcp_fastopen=0 nginx",
    ],
)
def test_what_does_not_undo_the_role_is_left_to_the_user(run: Run, words: str) -> None:
    assert printed(run(words))[-len(shlex.split(words)) + 1 :] == shlex.split(words)[1:]


def test_nerdctl_would_forget_the_type_for_a_level(run: Run) -> None:
    words = "web --security-opt label=level:s0:c100,c200 nginx"
    run(words, engine="nerdctl").refused("sets another label", "nerdctl takes one label option alone")


def test_the_options_of_nerdctl_are_its_own(run: Run) -> None:
    words = "web -dit --cpus 1.5 --sig-proxy --net bridge --sysctl a.b=1,net.ipv4.tcp_fastopen=0 -p 80:80,443:443 nginx"
    assert printed(run(words, engine="nerdctl"))[-11:] == words.split()[1:]
    run("web -P nginx", engine="nerdctl").refused("the engine's run has no option -P")
    run("web --net bridge,host nginx", engine="nerdctl").refused("--network host", "not the container's own")
    run("web -p 2525:25,8081:80 nginx", engine="nerdctl").refused("--publish 2525:25", "may not bind tcp/25")


def test_all_that_is_wrong_is_told_at_once(run: Run) -> None:
    done = run("web --privileged --pid host -p 25:25 nginx")
    done.refused("--privileged", "--pid host", "may not bind tcp/25", lines=5)


# -- published ports


@pytest.mark.parametrize(
    "publish",
    ["80", "80:80", "8080:80", "8080:80/tcp", "127.0.0.1:8080:80", "127.0.0.1::80", "[::1]:8080:80", "443:443/TCP"],
)
def test_a_published_port_that_the_role_may_bind_is_left_as_it_is(run: Run, publish: str) -> None:
    assert f"--publish={publish}" in printed(run(f"web --publish={publish} nginx"))


@pytest.mark.parametrize(
    "role, publish, what",
    [
        ("web", "8080:25", "tcp/25"),
        ("web", "80:81-82", "tcp/81-82"),
        ("web", "80:80/udp", "udp/80"),
        ("web", "[::1]:80:25", "tcp/25"),
        ("web", "80:40000", "tcp/40000"),
        ("dns", "53:54/udp", "udp/54"),
        ("dns", "53-54:53-54/udp", "udp/53-54"),
        ("ftp", "30000-30199:30000-30199", "tcp/30000-30199"),
        ("nonet", "80:80", "tcp/80"),
    ],
)
def test_a_published_port_that_the_role_may_not_bind_is_refused(run: Run, role: str, publish: str, what: str) -> None:
    done = run(f"{role} -p {publish} x")
    done.refused(f"lxc_{role}_t may not bind {what}", "it may bind")


def test_a_whole_range_that_the_role_may_bind_is_published(run: Run) -> None:
    assert "30100-30199:30100-30199" in printed(run("ftp -p 21:21 -p 30100-30199:30100-30199 vsftpd"))


@pytest.mark.parametrize("publish", ["80:", "80:http", "x", "80:80/tcp/udp", ""])
def test_what_names_no_port_is_told(run: Run, publish: str) -> None:
    run(f"web --publish={publish} nginx").refused("names no port of the container", "8080:80")


def test_all_ports_that_an_image_exposes_are_looked_at(run: Run, says: Engines) -> None:
    says.register(["podman", "image", "inspect", ANY], stdout="80/tcp\n443/tcp\n")
    assert printed(run("web -P nginx"))[-2:] == ["-P", "nginx"]
    run("web -P --expose 25 nginx").refused("may not bind tcp/25")
    says.register(["podman", "image", "inspect", ANY], stdout="80/tcp\n3306/tcp\n")
    run("web -P mysql").refused("may not bind tcp/3306")


def test_an_image_that_is_not_here_cannot_be_asked_what_it_exposes(run: Run, says: Engines) -> None:
    says.register(["podman", "image", "inspect", ANY], stderr="no such image", returncode=125)
    run("web -P nginx").refused("nginx is not here to be asked", "podman pull nginx")


# -- volumes


@pytest.mark.parametrize("volume", ["/etc", "/usr/share/nginx", "/", "/srv", "/var", "/home", "/run/x", "/etc/../usr"])
def test_a_folder_of_the_system_keeps_its_label(run: Run, volume: str) -> None:
    run(f"web -v {volume}:/x:ro,Z nginx").refused("from the host's own services", "leave the Z out")
    run(f"web -v {volume}:/x:z nginx").refused("from the host's own services", "leave the z out")


@pytest.fixture
def web_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a role's own files, by the file contexts of the host."""
    folder = tmp_path / "srv/web"
    (folder / "html").mkdir(parents=True)
    place = contexts.Place(f"{folder}(/.*)?", str(folder), "lxc_web_content_t")
    monkeypatch.setattr(contexts, "places_of_roles", lambda *_: [place])
    return folder


@pytest.mark.parametrize("part", [".", "html", ".."])
def test_files_of_a_role_keep_their_label(run: Run, web_place: Path, part: str) -> None:
    run(f"dns -v {web_place / part}:/x:Z x").refused("takes the label lxc_web_content_t", "leave the Z out")
    assert printed(run(f"web -v {web_place / part}:/x:ro nginx"))[-1] == "nginx"


def test_a_folder_that_another_container_uses_is_not_made_private(run: Run, says: Engines, tmp_path: Path) -> None:
    shared = tmp_path / "shared folder"
    (shared / "sub").mkdir(parents=True)
    says.register(["podman", "ps", "-q", "--no-trunc"], stdout="0123abcd\n")
    says.register(["podman", "inspect", ANY], stdout=f'other "{shared}" "/elsewhere"\n')
    run(f"web -v '{shared}:/x:Z' nginx").refused("the container other uses", ":z to share it")
    run(f"web -v '{shared / 'sub'}:/x:Z' nginx").refused("the container other uses")
    run(f"web --mount 'type=bind,source={shared},target=/x,relabel=private' nginx").refused("the container other uses")
    assert printed(run(f"web -v '{shared}:/x:z' nginx"))[-1] == "nginx"
    assert printed(run(f"web -v {tmp_path}/own:/x:Z nginx"))[-1] == "nginx"


def test_a_named_volume_is_the_engines_to_label(run: Run) -> None:
    assert printed(run("web -v data:/x:Z -v /anonymous nginx"))[-1] == "nginx"


# -- a host that would not hold the container


def test_without_selinux_nothing_is_started(run: Run, kernel: Path) -> None:
    (kernel / "enforce").unlink()
    run("web nginx").refused("SELinux is not enabled", "SELINUX=enforcing", status=3)


def test_a_permissive_host_starts_nothing(run: Run, kernel: Path) -> None:
    (kernel / "enforce").write_text("0")
    run("web nginx").refused("SELinux is permissive", "setenforce 1", status=3)


def test_a_role_that_is_not_loaded_is_told_with_those_that_are(run: Run) -> None:
    run("mail postfix").refused("no role lxc_mail_t", "lxc_dns_t, lxc_ftp_t", "labelgen install mail", status=3)


def test_a_permissive_role_is_told(run: Run, kernel: Path, reference_roles: BuiltRoles, tmp_path: Path) -> None:
    (tmp_path / "permissive.cil").write_text("(typepermissive lxc_web_t)")
    (tmp_path / "linked").mkdir()
    (kernel / "policy").unlink()
    (kernel / "policy").symlink_to(reference_roles.link(tmp_path / "linked", [tmp_path / "permissive.cil"]))
    run("web nginx").refused("lxc_web_t is a permissive domain", "semanage permissive -d lxc_web_t", status=3)
    assert printed(run("dns bind"))


@pytest.mark.parametrize("kept, told", [("", "no process and no file"), ("process", "no file"), ("file", "no process")])
def test_a_host_whose_engines_would_label_nothing_is_refused(run: Run, kernel: Path, kept: str, told: str) -> None:
    path = kernel.parent / CONTEXTS
    path.write_text("".join(line for line in DEFAULTS.splitlines(True) if kept and line.startswith(kept)))
    run("web nginx").refused(f"leave out every label on this host, also a role's: {path} names {told}", status=3)
    path.unlink()
    run("web nginx").refused("names no process and no file", "labelgen contexts", status=3)


def test_the_containers_own_file_of_defaults_is_read_first(run: Run, kernel: Path) -> None:
    first = kernel.parent / contexts.CONTAINERS_FILE
    first.parent.mkdir(parents=True)
    first.write_text("")
    run("web nginx").refused(f"{first} names no process", status=3)
    first.write_text(DEFAULTS)
    (kernel.parent / CONTEXTS).unlink()
    assert printed(run("web nginx"))


NO_SELINUX: list[tuple[str, Any, str]] = [
    ("podman", {"host": {"security": {"selinuxEnabled": False}}}, "selinuxEnabled: false"),
    ("podman", {"host": {"ociRuntime": {"name": "kata"}, "security": {"selinuxEnabled": True}}}, "kernel of its own"),
    ("docker", {"DefaultRuntime": "runsc", "SecurityOptions": ["name=selinux"]}, "kernel of its own"),
    ("podman", {"host": {"serviceIsRemote": True, "security": {"selinuxEnabled": True}}}, "another machine"),
    ("docker", {"SecurityOptions": ["name=seccomp,profile=builtin"]}, '"selinux-enabled": true'),
    ("docker", {"SecurityOptions": None}, '"selinux-enabled": true'),
    ("docker", {"ServerErrors": ["Cannot connect to the Docker daemon"]}, "start its service"),
    ("nerdctl", {"SecurityOptions": ["name=apparmor"]}, "no SELinux support"),
]


@pytest.mark.parametrize("engine, info, told", NO_SELINUX)
def test_an_engine_without_selinux_is_refused(
    run: Run, says: Engines, engine: str, info: dict[str, Any], told: str
) -> None:
    before = ["--selinux-enabled"] if engine == "nerdctl" else []
    says.register([engine, *before, "info", "--format", "{{json .}}"], stdout=json.dumps(info))
    run("web nginx", engine=engine).refused(told, status=3)


def test_a_nerdctl_without_labels_is_refused(run: Run, says: Engines) -> None:
    says.register(["nerdctl", "--version"], stdout="nerdctl version 2.2.1")
    run("web nginx", engine="nerdctl").refused("nerdctl 2.2.1 has no SELinux support", "2.3 or newer", status=3)


@pytest.mark.parametrize("flag, works", [("--selinux-enabled", True), ("--selinux-enabled=false", False), ("", False)])
def test_an_old_docker_says_it_with_the_options_of_its_daemon(
    run: Run, says: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, works: bool
) -> None:
    says.register(["docker", "--version"], stdout="Docker version 1.10.3, build 20f81dd")
    says.register(["docker", "info"], stdout="Containers: 0\nServer Version: 1.10.3\n")
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cmdline").write_bytes(f"/usr/bin/docker-current\0daemon\0{flag}\0".encode())
    monkeypatch.setattr(engines, "PROC", tmp_path / "proc")
    done = run("web nginx", engine="docker")
    assert (done.status == 0) is works, done.stderr


@pytest.mark.parametrize("name, value", [("DOCKER_HOST", "tcp://10.0.0.1:2375"), ("CONTAINER_HOST", "ssh://h/run/p")])
def test_an_engine_on_another_machine_is_refused(run: Run, name: str, value: str) -> None:
    run("web nginx", env={name: value}).refused(f"{name} sends podman to another machine", f"unset {name}", status=3)
    assert printed(run("web nginx", env={name: "unix:///run/x"}))


def test_a_missing_engine_is_told_with_its_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(program: str) -> str:
        raise programs.ProgramMissing(program)

    monkeypatch.setattr(programs, "find", nothing)
    run("web nginx").refused("the program podman is not installed", "apt-get install podman", status=3)


@pytest.mark.parametrize(
    ("name", "words"), [("dockerr", "did you mean 'docker'?"), ("/nowhere/crun", "podman, docker, nerdctl")]
)
def test_a_program_that_no_host_has_is_taken_for_a_slip(place: Place, kernel: Path, name: str, words: str) -> None:
    place.call("run", "--engine", name, "web", "nginx").refused(f"there is no program {name}", words)


# -- what passes through


def _engine_that(place: Place, script: str) -> dict[str, str]:
    """An engine that runs a script as its container; the environment to find it in."""
    help_file = place.folder / "help"
    help_file.write_text(HELP)
    fake_program(
        place.folder / "bin",
        "podman",
        f'case "$*" in\n--version) echo podman version 5.4.2;;\n"run --help") cat {help_file};;\n'
        f"info*) echo '{json.dumps(PODMAN_INFO)}';;\nrun*) {script};;\nesac",
    )
    return {"PATH": f"{place.folder / 'bin'}:{os.environ['PATH']}"}


def _started(place: Place, kernel: Path, script: str, **options: Any) -> subprocess.Popen[bytes]:
    """`labelgen run web alpine` as a process of its own, on a host whose kernel has the policy."""
    policy = (kernel / "policy").resolve()
    prefix = in_namespace(
        "mount -t tmpfs none /sys/fs && mkdir -p /sys/fs/selinux && echo 1 >/sys/fs/selinux/enforce && "
        f"cp {policy} /sys/fs/selinux/policy && mount -t tmpfs none /etc/selinux && "
        f"cp -r {kernel.parent / 'etc/selinux/targeted'} /etc/selinux"
    )
    environment = place.environment(_engine_that(place, script))
    return subprocess.Popen([*prefix, str(LABELGEN), "run", "web", "alpine"], env=environment, **options)


def test_exit_status_and_standard_streams_are_the_containers(place: Place, kernel: Path) -> None:
    process = _started(
        place, kernel, "read line; echo got $line; echo badly >&2; exit 42",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate(b"hello\n", timeout=120)
    assert (process.returncode, out, err) == (42, b"got hello\n", b"badly\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signals_reach_the_engine_itself(place: Place, kernel: Path, number: int) -> None:
    script = f"trap 'exit 99' {number}; echo ready; while :; do sleep 0.05; done"
    process = _started(place, kernel, script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(timeout=60) == 99


def test_the_terminal_is_the_engines(place: Place, kernel: Path) -> None:
    leader, follower = pty.openpty()
    process = _started(place, kernel, "tty; stty size", stdin=follower, stdout=follower, stderr=follower)
    name = os.ttyname(follower)
    os.close(follower)
    assert process.wait(timeout=120) == 0
    time.sleep(0.1)
    assert name.encode() in os.read(leader, 4096)
    os.close(leader)


# -- the real engines


def _real(name: str) -> Engine:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return engines.find(name)


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_the_real_engines_options_are_known_by_their_help(name: str) -> None:
    known = engines.table(_real(name))
    for option in ("publish", "volume", "security-opt", "network", "net", "sysctl", "pid", "name", "mount"):
        assert known.takes_value[option], option
    for option in ("publish", "sysctl", "annotation", "expose"):
        assert (option in known.takes_several) is (name == "podman"), option
    for flag in ("privileged", "detach", "rm", "publish-all", "init", "interactive"):
        assert not known.takes_value[flag], flag
    assert {known.longs[letter] for letter in "pPdvit"} == {
        *("publish", "publish-all", "detach", "volume", "interactive", "tty")
    }


def test_the_real_podman_reads_options_as_they_are_read_here() -> None:
    """podman checks flags before it looks for the image: with a flag that it does not know after a cluster, it names
    that one; behind the image it names none."""
    engine = _real("podman")
    known = engines.table(engine)
    words = ["-itp", "80:80", "--rm", "-v/a:/b", "--pull=never", "localhost/nosuch-image", "--nosuch"]
    assert take_apart(words, known).image == "localhost/nosuch-image"
    done = subprocess.run(["podman", "run", *words], capture_output=True, text=True, check=False)
    assert "nosuch-image" in done.stderr
    assert "unknown flag" not in done.stderr


def test_the_real_podman_is_refused_on_a_machine_without_selinux(place: Place, kernel: Path) -> None:
    _real("podman")
    if os.path.exists("/sys/fs/selinux/enforce"):  # noqa: PTH110 - the real one, not what stands for it
        pytest.skip("this machine has SELinux")
    place.call("run", "--engine", "podman", "web", "alpine").refused("podman has no SELinux support here", status=3)


def test_help_of_the_command_line_names_what_comes_after_the_role(place: Place) -> None:
    said: Optional[str] = place.call("run", "--help").stdout
    assert said and re.search(r"run .*ROLE .*IMAGE", said)
