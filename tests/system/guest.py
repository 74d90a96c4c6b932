"""The program that the guest runs as a service: it starts the containers, tries everything, and reports in JSON lines.

What it does stands on the kernel's command line. `way=install` puts the roles into the policy with `labelgen install`;
`way=packages` runs the control first, then installs the packages. It judges nothing: what the answers should have been
is the test's to say.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import plan
from plan import Attempt, Server

AUDIT_LOG = Path("/var/log/audit/audit.log")
# What podman keeps of each container, by its number: to ask podman for one takes seconds.
PODMANS_CONTAINERS = Path("/run/containers/storage/overlay-containers")
PODMANS_PROCESSES = Path("/sys/fs/cgroup/machine.slice")
HERE = Path(__file__).parent

# rpm's plugin for SELinux starts scriptlets in rpm_script_t, which Debian's policy does not have.
RPM = ("rpm", "--noplugins")

# What a container shows of its context and of the sysctls that close its limits.
SHOW = "cat /proc/self/attr/current; echo; cd /proc/sys/net/ipv4; cat tcp_fastopen ip_local_port_range"

# Emulated, a command takes up to ten times its usual time.
COMMAND_SECONDS = 120
MOST_SAID = 200_000  # characters of what a command prints; a verdict on four roles has a tenth of that
READY_SECONDS = 90
EVIDENCE_SECONDS = 5


class Report:
    """Where the answers go, one JSON object a line."""

    def __init__(self) -> None:
        self._file = self._port().open("w", buffering=1, encoding="utf-8")

    @staticmethod
    def _port() -> Path:
        """The device that goes by this name on the other side: there is no udev here to give it one on this side."""
        ports = Path("/sys/class/virtio-ports").iterdir()
        return Path("/dev") / next(port.name for port in ports if (port / "name").read_text().strip() == "report")

    def say(self, step: str, **what: Any) -> None:
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        self._file.write(json.dumps({"step": step, "uptime": uptime, **what}) + "\n")


def run(*command: str, timeout: float = COMMAND_SECONDS) -> dict[str, Any]:
    """Run a command to its end: exit status, standard output, what it said on standard error."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": None, "out": "", "err": f"no end within {timeout} s"}
    return {"status": done.returncode, "out": done.stdout[-MOST_SAID:], "err": done.stderr[-2000:]}


def prepare_volumes() -> None:
    """The files that the containers use, with the labels that the policy's file contexts give them."""
    for top in ("/srv/lxc", "/srv/plain"):
        for name in ("web", "dns", "ftp/upload"):
            Path(top, name).mkdir(parents=True, exist_ok=True)
        Path(top, "web/index.html").write_text(plan.PAGE + "\n")
        Path(top, "web/kept.html").write_text(plan.PAGE + "\n")
        Path(top, "dns/hosts").write_text("192.0.2.6 old.example\n")
        Path(top, "ftp/greeting").write_text(plan.GREETING + "\n")
        Path(top, "ftp/upload").chmod(0o777)
    for private in (Path(plan.PRIVATE), Path(plan.PLAIN_PRIVATE)):
        private.parent.mkdir(exist_ok=True)
        private.write_text(plan.SECRET + "\n")
    # Debian 13's podman may not relabel what has the label of /srv, so `:Z` needs a label that it may change.
    for folder in (Path("/srv/plain"), Path(plan.PRIVATE).parent):
        for path in (folder, *folder.rglob("*")):
            os.setxattr(path, "security.selinux", b"system_u:object_r:container_file_t:s0")


def label_of(path: str) -> str:
    """The context of a file."""
    return os.getxattr(path, "security.selinux").decode().strip("\0")


def label_as_containers() -> None:
    """A page as a plain container would leave it: of a type that restorecon leaves alone, with categories."""
    os.setxattr(plan.FOREIGN, "security.selinux", plan.FOREIGN_CONTEXT.encode())


# What `labelgen install` does at its end. To install a second time would take minutes.
RELABEL = """\
from pathlib import Path
from labelgen.host import install
from labelgen.host.contexts import places_of_roles
places = tuple(place for place in places_of_roles(Path("/"), "default") if place.type.startswith("lxc_web_"))
print(install._relabel(places, {place.type for place in places}))
"""


def relabel_again(report: Report) -> None:
    """Files that have the role's type by now, one of them with categories, and one that a plain container had."""
    label_as_containers()
    os.setxattr(plan.KEPT, "security.selinux", plan.KEPT_CONTEXT.encode())
    done = run("python3", "-c", RELABEL)
    labels = {path: label_of(path) for path in (plan.CONTENT, plan.FOREIGN, plan.KEPT)}
    os.setxattr(plan.KEPT, "security.selinux", label_of(plan.CONTENT).encode())
    report.say("relabelled", labels=labels, **done)


def start_peer(report: Report) -> None:
    """The container that the others dial."""
    serve = f"nginx && exec {plan.dns_server(plan.PEER_ANSWER)}"
    report.say("peer", **run("podman", "run", "-d", "--name", "peer", "--ip", plan.PEER, plan.IMAGE, "sh", "-c", serve))


def by_labelgen(server: Server) -> tuple[str, ...]:
    """How `labelgen run` starts a container in its role."""
    return ("labelgen", "run", "--engine", "podman", server.role)


def by_podman(server: Server) -> tuple[str, ...]:
    """How a host without labelgen starts a container in its role."""
    return ("podman", "run", "--security-opt", f"label=type:lxc_{server.role}_t")


def plainly(server: Server) -> tuple[str, ...]:
    """How a container starts in whatever its own options say."""
    return ("podman", "run")


def by_docker(server: Server) -> tuple[str, ...]:
    """How `labelgen run` starts a container in its role with docker."""
    return ("labelgen", "run", "--engine", "docker", server.role)


def start(
    report: Report, servers: Sequence[Server], how: Callable[[Server], tuple[str, ...]], engine: str = "podman"
) -> dict[str, str]:
    """Start the containers, and tell in which context each runs; name -> context."""
    contexts = {}
    for server in servers:
        done = run(*how(server), "-d", "--name", server.name, *server.options, plan.IMAGE, *server.command)
        context = _context(engine, done["out"].strip()) if done["status"] == 0 else ""
        logs = {} if context else {"logs": run(engine, "logs", server.name)}
        report.say("started", engine=engine, server=server.name, context=context, **logs, **done)
        contexts[server.name] = context
    return contexts


def _context(engine: str, container: str) -> str:
    """The context that a container runs in, empty when it has ended."""
    try:
        if engine == "podman":
            process = (PODMANS_CONTAINERS / container / "userdata/pidfile").read_text().strip()
        else:
            process = run(engine, "inspect", "--format", "{{.State.Pid}}", container)["out"].strip()
        return Path("/proc", process, "attr/current").read_text().strip("\0\n")
    except OSError:
        return ""


class Inside:
    """A shell inside a container that tries one thing after another; the engine is asked for it once."""

    _SCRIPT = """\
cat /proc/self/attr/current; echo; echo '--error--'; echo '--status-- 0'
while read -r command; do
    sh -c "$command" </dev/null >/tmp/out 2>/tmp/error
    status=$?
    cat /tmp/out; echo; echo '--error--'; cat /tmp/error; echo; echo "--status-- $status"
done
"""

    def __init__(self, engine: str, container: str) -> None:
        command = (engine, "exec", "-i", container, "sh", "-c", self._SCRIPT)
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.context = self._answer()["out"].strip("\0\n")

    def run(self, command: str) -> dict[str, Any]:
        """What `run` says of a command, which is one line."""
        assert "\n" not in command
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
        except OSError as error:
            return {"status": None, "out": "", "err": repr(error)}
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        held, end, source = "", time.monotonic() + COMMAND_SECONDS, self._process.stdout.fileno()
        while not (done := re.search(r"(?s)(.*)\n--error--\n(.*)--status-- (\d+)\n\Z", held)):
            more = os.read(source, 4096) if select.select([source], [], [], max(0, end - time.monotonic()))[0] else b""
            if not more:
                self._process.kill()
                return {"status": None, "out": "", "err": f"no answer: {held}"}
            held += more.decode("utf-8", "replace")
        return {"status": int(done[3]), "out": done[1][-MOST_SAID:], "err": done[2][-2000:]}


def attempt_all(
    report: Report, prefix: str, contexts: dict[str, str], attempts: Sequence[Attempt], engine: str = "podman"
) -> None:
    """Try everything; with what was refused comes what the kernel said of it."""
    inside = {name: Inside(engine, name) for name in dict.fromkeys(a.server for a in attempts if not a.on_host)}
    for number, attempt in enumerate(attempts):
        before = AUDIT_LOG.stat().st_size
        if attempt.on_host:
            shell = ("sh", "-c", attempt.command)
            done = {**_when_ready(shell, attempt, run(*shell)), "context": ""}
        else:
            shell_inside = inside[attempt.server]
            done = {**shell_inside.run(attempt.command), "context": shell_inside.context}
        refused = done["status"] != 0 and not attempt.on_host
        denials = _denials(before, contexts[attempt.server], wanted=refused)
        report.say(prefix, number=number, denials=denials, **done)


def _when_ready(shell: Sequence[str], attempt: Attempt, done: dict[str, Any]) -> dict[str, Any]:
    """A server needs a while until it serves."""
    end = time.monotonic() + READY_SECONDS
    while attempt.says not in done["out"] and time.monotonic() < end:
        time.sleep(1)
        done = run(*shell)
    return done


def _denials(before: int, context: str, wanted: bool) -> list[str]:
    """The AVC lines about a context that the audit daemon wrote since its log was this long."""
    end = time.monotonic() + (EVIDENCE_SECONDS if wanted else 0)
    while True:
        with AUDIT_LOG.open("rb") as file:
            file.seek(before)
            lines = [
                line for line in file.read().decode("utf-8", "replace").splitlines() if f" scontext={context} " in line
            ]
        if lines or time.monotonic() >= end:
            return lines
        time.sleep(0.2)


def kill_all(report: Report) -> None:
    """End podman's containers, and what watches them, at once: in good order each takes as long as its start."""
    (PODMANS_PROCESSES / "cgroup.kill").write_text("1")
    report.say("killed", ended=_ended(PODMANS_PROCESSES))


def _ended(group: Path) -> bool:
    """Whether all processes of a control group end."""
    end = time.monotonic() + COMMAND_SECONDS
    while "populated 1" in (group / "cgroup.events").read_text():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def with_labelgen(report: Report) -> None:
    """The roles, put into the policy with `labelgen install`."""
    report.say("status before", **run("labelgen", "status", "--json"))
    label_as_containers()
    report.say("install", **run("labelgen", "install", "--json", timeout=1200))
    report.say("status installed", **run("labelgen", "status", "--json", timeout=600))
    start_peer(report)
    _try_roles(report, by_labelgen)
    report.say("status running", **run("labelgen", "status", "--json", timeout=600))
    relabel_again(report)
    _start_quadlet(report)
    _start_by_default(report)
    report.say("refused run", **run("labelgen", "run", "mail", plan.IMAGE, "true", timeout=600))
    report.say("refused remove", **run("labelgen", "remove", timeout=600))
    kill_all(report)
    _pass_through(report)
    report.say("remove", **run("labelgen", "remove", "--json", timeout=1200))
    _report_removed(report)


def with_packages(report: Report) -> None:
    """First the control, then the roles put into the policy by the scriptlets of their packages."""
    start_peer(report)
    plain = [plan.plain(server) for server in plan.SERVERS]
    contexts = start(report, plain, plainly)
    attempt_all(report, "control", contexts, [plan.on_plain(attempt) for attempt in plan.ATTEMPTS])
    packages = sorted(str(path) for path in (HERE / "packages").glob("*.noarch.rpm"))
    report.say("install", **run(*RPM, "-i", "--nodeps", *packages, timeout=1200))
    report.say("status installed", **run("labelgen", "status", "--json", timeout=600))
    _try_roles(report, by_podman)
    kill_all(report)
    _with_docker(report)
    names = run("rpm", "-qa", "--qf", "%{name}\n", "lxc-*")["out"].split()
    report.say("remove", **run(*RPM, "-e", *names, timeout=1200))
    _report_removed(report)


def _try_roles(report: Report, how: Callable[[Server], tuple[str, ...]]) -> None:
    for folder in (plan.CONTENT, plan.ZONES, plan.UPLOADS, plan.FOREIGN):
        report.say("label", path=folder, context=label_of(folder))
    attempt_all(report, "attempt", start(report, plan.SERVERS, how), plan.ATTEMPTS)


def _start_quadlet(report: Report) -> None:
    """A container that systemd starts from what `labelgen export` prints."""
    made = run("labelgen", "export", "quadlet", "web", "--image", plan.IMAGE)
    unit = Path("/etc/containers/systemd/exported.container")
    unit.write_text(made["out"].replace("[Container]\n", "[Container]\nExec=sleep infinity\n"))
    # It ends as it is killed: `podman rm` takes as long as the start.
    ending = Path("/etc/systemd/system/exported.service.d/ending.conf")
    ending.parent.mkdir()
    ending.write_text("[Service]\nKillSignal=SIGKILL\nExecStop=\nExecStopPost=\n")
    run("systemctl", "daemon-reload")
    started = run("systemctl", "start", "exported.service")
    told = run("podman", "exec", "systemd-exported", "sh", "-c", SHOW)
    report.say("quadlet", started=started, unit=unit.read_text(), **told)
    run("systemctl", "stop", "exported.service")
    unit.unlink()


def _start_by_default(report: Report) -> None:
    """A container that names no type, with the defaults that `labelgen contexts` prints."""
    place = Path("/etc/selinux/default/contexts/lxc_contexts")
    before = place.read_bytes()
    place.write_text(run("labelgen", "contexts", "nonet")["out"])
    report.say("by default", **run("podman", "run", "--network", "none", plan.IMAGE, "cat", "/proc/self/attr/current"))
    place.write_bytes(before)


class Talk:
    """A container in the role nonet whose streams are ours: it prints what it was sent, and what signals it got."""

    _SCRIPT = """\
trap 'echo interrupted' INT
trap 'echo told to end; exit 5' TERM
if test -t 0 && test -t 1; then stty size; fi
read word
echo got $word
while :; do sleep 0.2; done
"""

    def __init__(self, *options: str, stdin: int, stdout: int) -> None:
        self.said = ""
        command = ("labelgen", "run", "nonet", "--rm", *options, plan.IMAGE, "sh", "-c", self._SCRIPT)
        self.process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stdout, start_new_session=True)

    def wait_for(self, word: str, source: int) -> None:
        """Read until it says this, or nothing more."""
        end = time.monotonic() + COMMAND_SECONDS
        while word not in self.said and time.monotonic() < end:
            if select.select([source], [], [], 1)[0]:
                try:
                    more = os.read(source, 4096).decode("utf-8", "replace")
                except OSError:  # a terminal whose other side is closed
                    return
                if not more:
                    return
                self.said += more

    def end(self) -> dict[str, Any]:
        """What it said, and its exit status."""
        try:
            status: int | None = self.process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = None
        return {"status": status, "said": self.said}


def _pass_through(report: Report) -> None:
    """Standard input, signals and exit status through a pipe; size, input and Ctrl-C through a terminal."""
    given, to_container = os.pipe()
    from_container, taken = os.pipe()
    talk = Talk("-i", stdin=given, stdout=taken)
    os.close(given)
    os.close(taken)
    os.write(to_container, b"piped\n")
    talk.wait_for("got piped", from_container)
    talk.process.send_signal(signal.SIGINT)
    talk.wait_for("interrupted", from_container)
    talk.process.send_signal(signal.SIGTERM)
    talk.wait_for("told to end", from_container)
    report.say("pipe", **talk.end())
    here, there = os.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    talk = Talk("-it", stdin=there, stdout=there)
    os.close(there)
    talk.wait_for("33 77", here)
    os.write(here, b"typed\n")
    talk.wait_for("got typed", here)
    os.write(here, b"\x03")
    talk.wait_for("interrupted", here)
    talk.process.send_signal(signal.SIGTERM)
    talk.wait_for("told to end", here)
    report.say("terminal", **talk.end())


def _with_docker(report: Report) -> None:
    """What is tried with podman, and this with docker."""
    report.say("docker", **run("systemctl", "start", "docker.service", timeout=600))
    servers = [plan.with_other_ports(server) for server in plan.DOCKER_SERVERS]
    attempts = [plan.at_other_ports(attempt) for attempt in plan.DOCKER_ATTEMPTS]
    attempt_all(report, "docker attempt", start(report, servers, by_docker, "docker"), attempts, "docker")
    report.say("docker sysctls", **run("docker", "exec", "web", "sh", "-c", SHOW))
    report.say("docker stopped", **run("docker", "rm", "-f", *(server.name for server in servers)))


def _report_removed(report: Report) -> None:
    report.say("status removed", **run("labelgen", "status", "--json", timeout=600))
    report.say("modules left", **run("semodule", "-lfull"))
    contexts = Path("/etc/selinux/default/contexts/files/file_contexts").read_text()
    report.say("contexts left", lines=[line for line in contexts.splitlines() if ":lxc_" in line])


WAYS = {"install": with_labelgen, "packages": with_packages}


def main() -> None:
    report = Report()
    way = next(word.partition("=")[2] for word in Path("/proc/cmdline").read_text().split() if word.startswith("way="))
    report.say(
        "guest",
        way=way,
        enforcing=Path("/sys/fs/selinux/enforce").read_text().strip(),
        context=Path("/proc/self/attr/current").read_text().strip("\0\n"),
        engine=run("podman", "info", "--format", "{{.Host.Security.SELinuxEnabled}} {{.Version.Version}}"),
        kernel=os.uname().release,
    )
    # Without it Debian 13's policy lets no container of root's change a user, which servers do as they start.
    report.say("boolean", **run("setsebool", f"{plan.BOOLEAN}=on"))
    try:
        prepare_volumes()
        WAYS[way](report)
    except Exception as error:
        report.say("broken", error=repr(error))
        raise
    report.say("end", enforcing=Path("/sys/fs/selinux/enforce").read_text().strip())


if __name__ == "__main__":
    main()
