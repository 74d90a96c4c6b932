"""The container engines: which there is, how old, whether it knows SELinux, and which of its options take a value."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

from labelgen import programs
from labelgen.errors import InputError, suggestion
from labelgen.host.state import PROC, NotReady

FAMILIES = ("podman", "docker", "nerdctl")
Version = tuple[int, ...]

# "Usage of the : separator for security option has been deprecated. = should be used instead": the notes of
# Docker 1.11.0 (moby/moby, pull request 21232). In v1.10.0, daemon_unix.go parseSecurityOpt splits at `:` alone, in
# v1.11.0 at `=` where there is one. podman and nerdctl have known `=` from the start.
EQUALS_SINCE: Mapping[str, Version] = {"docker": (1, 11)}

# "Add support for setting sysctls with --sysctl": the notes of Docker 1.12.0 (moby/moby, pull request 19265).
SYSCTL_SINCE: Mapping[str, Version] = {"docker": (1, 12)}

# docs/config.md of nerdctl: selinux_enabled "Since 2.3.0"; before it, label= is ignored with a warning.
SELINUX_SINCE: Mapping[str, Version] = {"nerdctl": (2, 3)}

# Where an engine is told to talk to another machine's.
REMOTE = ("CONTAINER_HOST", "CONTAINER_CONNECTION", "DOCKER_HOST", "DOCKER_CONTEXT")

_VERSION = re.compile(r"(podman|docker|nerdctl) version v?(\d+(?:\.\d+)*)", re.I)


@dataclass(frozen=True)
class Engine:
    """A container engine. program: what is started; family: whose options it takes; version: as it says."""

    program: str
    family: str
    version: Version

    @property
    def before_command(self) -> tuple[str, ...]:
        """Its global options that this needs: nerdctl gives no labels without."""
        return ("--selinux-enabled",) if self.family == "nerdctl" else ()

    @property
    def separator(self) -> str:
        """What stands between `label` and `type` in its security options."""
        return "=" if self.version >= EQUALS_SINCE.get(self.family, ()) else ":"

    @property
    def sets_sysctls(self) -> bool:
        """Whether it can set sysctls of a container."""
        return self.version >= SYSCTL_SINCE.get(self.family, ())

    def ask(self, *arguments: str) -> str:
        """What it prints. Raises ProgramMissing, ProgramFailed."""
        return programs.run(self.program, *self.before_command, *arguments).stdout.decode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.program} {'.'.join(map(str, self.version))}"


def find(program: Optional[str]) -> Engine:
    """The engine that the user named, or the first there is. Raises ProgramMissing, InputError."""
    if program is None:
        program = next((name for name in FAMILIES if _is_there(name)), FAMILIES[0])
    if program not in FAMILIES and not _is_there(program):
        raise InputError(
            f"there is no program {program}{suggestion(program, FAMILIES)}", f"the engines are {', '.join(FAMILIES)}"
        )
    said = programs.run(program, "--version").stdout.decode("utf-8", "replace")
    found = _VERSION.search(said)
    if not found:
        raise InputError(f"{program} is none of {', '.join(FAMILIES)}: it says {said.strip()[:60]!r} of itself")
    # The package podman-docker brings a `docker` that is podman, and says so.
    return Engine(program, found[1].lower(), tuple(map(int, found[2].split("."))))


def _is_there(program: str) -> bool:
    try:
        programs.find(program)
    except programs.ProgramMissing:
        return False
    return True


# -- SELinux support


def check_selinux(engine: Engine) -> None:
    """Raises NotReady where the engine would start the container without its label, or on another machine."""
    for name in REMOTE:
        if os.environ.get(name, "unix:").partition(":")[0] not in ("unix", "default"):
            raise NotReady(
                f"{name} sends {engine.program} to another machine, whose SELinux cannot be seen from here",
                f"unset {name}, or run labelgen on that machine",
            )
    if engine.version < SELINUX_SINCE.get(engine.family, ()):
        raise NotReady(
            f"{engine} has no SELinux support: it ignores the label",
            "update it to 2.3 or newer, or use --engine podman",
        )
    {"podman": _check_podman, "docker": _check_docker, "nerdctl": _check_docker}[engine.family](engine)


def _info(engine: Engine) -> Any:
    try:
        return json.loads(engine.ask("info", "--format", "{{json .}}"))
    except ValueError as error:
        raise NotReady(f"{engine.program} info says nothing that can be read", "is it what it should be?") from error


# In a virtual machine or behind a kernel of their own, nobody asks this kernel's SELinux about sockets.
OTHER_KERNELS = re.compile(r"(.*[/.])?(kata|krun|crun-vm|crun-krun|runsc|gvisor|firecracker|runvm)", re.I)


def _check_runtime(engine: Engine, runtime: object) -> None:
    if OTHER_KERNELS.match(str(runtime)):
        raise NotReady(
            f"{engine.program} starts containers with {runtime} here, which has a kernel of its own that SELinux does "
            "not see into",
            "make crun or runc the default runtime",
        )


def _check_podman(engine: Engine) -> None:
    """`podman info` says it as its containers have it: `label = false` in containers.conf takes SELinux from the whole
    program (containers/common, pkg/config/config.go: Validate)."""
    host = _info(engine).get("host", {})
    _check_runtime(engine, host.get("ociRuntime", {}).get("name"))
    if host.get("serviceIsRemote"):
        raise NotReady("podman talks to another machine, whose SELinux cannot be seen from here", "run labelgen there")
    if not host.get("security", {}).get("selinuxEnabled"):
        raise NotReady(
            "podman has no SELinux support here: `podman info` says selinuxEnabled: false",
            "boot with SELinux on, and see that containers.conf has no `label = false`",
        )


def _check_docker(engine: Engine) -> None:
    """nerdctl lists selinux whenever it is asked with --selinux-enabled (pkg/infoutil/infoutil_linux.go), so of it this
    says only that containerd answers."""
    if engine.family == "docker" and engine.version < (1, 13):
        says = _says_old_docker(engine)
    else:
        info = _info(engine)
        _check_runtime(engine, info.get("DefaultRuntime"))
        for problem in info.get("ServerErrors") or ():
            raise NotReady(f"{engine.program}: {problem}", "start its service")
        says = any(re.match(r"(name=)?selinux\b", option) for option in info.get("SecurityOptions") or ())
    if not says:
        raise NotReady(
            f"{engine.program} has no SELinux support here: `{engine.program} info` lists no selinux",
            'put "selinux-enabled": true into /etc/docker/daemon.json and restart it',
        )


def _says_old_docker(engine: Engine) -> bool:
    """Docker before 1.13 cannot print JSON, and before 1.12 says nothing of SELinux (daemon/info.go): then its daemon's
    options do."""
    if re.search(r"^\s*Security Options:.*\bselinux\b", engine.ask("info"), re.M):
        return True
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if Path(os.fsdecode(words[0])).name.startswith("docker") and {
            b"--selinux-enabled", b"--selinux-enabled=true"
        } & set(words):  # fmt: skip
            return True
    return False


# -- options


class Option(NamedTuple):
    """One option as it was given: its long name, and its value (`true` for a flag without one)."""

    name: str
    value: str

    @property
    def is_on(self) -> bool:
        """Whether a flag is set (strconv.ParseBool)."""
        return self.value not in ("0", "f", "F", "false", "FALSE", "False")

    def __str__(self) -> str:
        return f"--{self.name}" if self.value == "true" else f"--{self.name} {self.value}"


@dataclass(frozen=True)
class Given:
    """The arguments of `run`, taken apart: the options, the image, and what follows it."""

    options: tuple[Option, ...]
    image: str
    command: tuple[str, ...]

    def values(self, *names: str) -> list[str]:
        """The values of options, in their order."""
        return [option.value for option in self.options if option.name in names]


# Options that engines take and do not list: podman (cmd/podman/utils/alias.go) and docker (cli/command/container).
ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}

_HELP = re.compile(r"^\s+(?:-(?P<short>\w), )?--(?P<name>[\w.-]+)(?P<type>[ =]\S+)?", re.M)


@dataclass(frozen=True)
class Table:
    """The options of `run`: short -> long name, which take a value, and which take several with commas between."""

    longs: Mapping[str, str]
    takes_value: Mapping[str, bool]
    takes_several: Collection[str]


def table(engine: Engine) -> Table:
    """The options of the engine's `run`, by its own help (pflag: the type of the value stands one space after the name;
    `[=` marks a value that may be left out, and is then never the next word; `strings` is pflag's StringSlice)."""
    longs, takes, several = {}, {}, set[str]()
    for found in _HELP.finditer(engine.ask("run", "--help")):
        kind = (found["type"] or "").strip(" =")
        takes[found["name"]] = bool(kind) and "[=" not in kind and kind not in ("false", "true")
        if kind == "strings":
            several.add(ALIASES.get(found["name"], found["name"]))
        if found["short"]:
            longs[found["short"]] = found["name"]
    if "volume" not in takes:
        raise NotReady(f"`{engine.program} run --help` does not list the options it takes", "is it what it should be?")
    takes.update({alias: takes[name] for alias, name in ALIASES.items() if name in takes})
    return Table(longs, takes, several)


def take_apart(arguments: Sequence[str], known: Table) -> Given:
    """The options, image and command of `run`, as pflag reads them. Raises InputError."""
    options: list[Option] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        for option in _long(word, rest, known) if word.startswith("--") else _shorts(word, rest, known):
            options += _split(option) if option.name in known.takes_several else [option]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    if not rest:
        raise InputError("there is no image to run", "labelgen run ROLE [engine options] IMAGE [command]")
    return Given(tuple(options), rest[0], tuple(rest[1:]))


OPTIONS = "after ROLE stand options of the engine, which its `run --help` lists; those of labelgen stand before ROLE"


def _long(word: str, rest: list[str], known: Table) -> list[Option]:
    name, equals, value = word[2:].partition("=")
    if name not in known.takes_value:
        raise InputError(f"the engine's run has no option --{name}", OPTIONS)
    if not equals:
        value = _next(f"--{name}", rest) if known.takes_value[name] else "true"
    return [Option(ALIASES.get(name, name), value)]


def _shorts(word: str, rest: list[str], known: Table) -> list[Option]:
    """`-it`, `-p 80:80`, `-p80:80`, `-p=80:80`, `-itp 80:80`."""
    found: list[Option] = []
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in known.longs:
            raise InputError(f"the engine's run has no option -{letter}", OPTIONS)
        name = known.longs[letter]
        if letters.startswith("="):
            return [*found, Option(name, letters[1:])]
        if known.takes_value[name]:
            return [*found, Option(name, letters or _next(f"-{letter}", rest))]
        found.append(Option(name, "true"))
    return found


def _split(option: Option) -> list[Option]:
    """`-p 80:80,443:443` is `-p 80:80 -p 443:443` (pflag, string_slice.go: readAsCSV)."""
    try:
        values = [value for record in csv.reader(option.value.splitlines(), strict=True) for value in record]
    except csv.Error as error:
        raise InputError(f"{option}: the quotes in it cannot be read: {error}") from error
    return [Option(option.name, value) for value in values or [option.value]]


def _next(option: str, rest: list[str]) -> str:
    if not rest:
        raise InputError(f"the option {option} has no value")
    return rest.pop(0)
