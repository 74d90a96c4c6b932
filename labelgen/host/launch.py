"""One container, started in its role: the engine's command line, or why it is refused."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from labelgen import programs
from labelgen.errors import InputError
from labelgen.host import contexts, engines, limits, state
from labelgen.host.engines import Engine, Given, Option
from labelgen.host.limits import Closing
from labelgen.network import FAST_OPEN_SYSCTL, LOCAL_PORTS_SYSCTL, PROTOCOLS
from labelgen.ports import as_text
from labelgen.reach import Reach
from labelgen.role import checked_name
from labelgen.shipped import domain_of

# net/ipv4/sysctl_net_ipv4.c: tcp_fastopen is each network namespace's own since Linux 4.15. Before, it is not there
# inside a container, and an engine that is to set it does not start it.
FAST_OPEN_PER_NAMESPACE = (4, 15)
FAST_OPEN_OF_HOST = Path("/proc/sys/net/ipv4/tcp_fastopen")


@dataclass(frozen=True)
class Request:
    """What to start: a role, the engine's arguments after `run`, and the range of local ports if not the usual."""

    role: str
    arguments: tuple[str, ...]
    engine: Optional[str] = None
    local_ports: Optional[str] = None


@dataclass(frozen=True)
class Launch:
    """A command line that starts a container in its role, and what stays open all the same."""

    argv: tuple[str, ...]
    notes: tuple[str, ...]

    def start(self) -> None:
        """Become the engine: its signals, exit status, terminal and standard streams are this process's own."""
        programs.become(*self.argv)


def prepare(request: Request, progress: state.Progress) -> Launch:
    """The command line that starts a container in its role.

    Raises InputError for options that would undo the role, NotReady where this host cannot hold a container to it,
    ProgramMissing without an engine.
    """
    domain = domain_of(checked_name(request.role))
    engine = engines.find(request.engine)
    given = engines.take_apart(request.arguments, engines.table(engine))
    reach = state.check_role(domain, progress)
    engines.check_selinux(engine)
    close = limits.of_reach(reach)
    if request.local_ports:
        close.sysctls.update({LOCAL_PORTS_SYSCTL: limits.local_ports(request.local_ports)} if close.sysctls else {})
    _refuse(Start(engine, given, reach, close))
    notes = tuple(_fit(engine, close))
    return Launch((*_command(engine, domain, close), *request.arguments), notes)


def _command(engine: Engine, domain: str, close: Closing) -> Iterator[str]:
    yield from (engine.program, *engine.before_command, "run")
    yield from ("--security-opt", f"label{engine.separator}type:{domain}")
    if not close.network:
        yield from ("--network", "none") if engine.sets_sysctls else ("--net", "none")
    for name, value in close.sysctls.items():
        yield from ("--sysctl", f"{name}={value}")


def _fit(engine: Engine, close: Closing) -> Iterator[str]:
    """Take out the sysctls that this engine or kernel cannot set; one line for each that stays open."""
    if close.sysctls and not engine.sets_sysctls:
        yield f"{engine} cannot set {' and '.join(close.sysctls)}: what they close stays open"
        close.sysctls.clear()
    elif FAST_OPEN_SYSCTL in close.sysctls and _kernel() < FAST_OPEN_PER_NAMESPACE:
        del close.sysctls[FAST_OPEN_SYSCTL]
        if _fast_open_of_host() != "0":
            yield f"this kernel has one {FAST_OPEN_SYSCTL} for all: until it is 0 on the host, TCP Fast Open stays open"


def _kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def _fast_open_of_host() -> str:
    try:
        return FAST_OPEN_OF_HOST.read_text(encoding="ascii").strip()
    except OSError:
        return ""


# -- refusals


@dataclass(frozen=True)
class Start:
    """What is about to be started, for the refusals to look at."""

    engine: Engine
    given: Given
    reach: Reach
    close: Closing


Refusal = Callable[[Start], Iterator[str]]


def _refuse(start: Start) -> None:
    found = list(dict.fromkeys(line for refusal in REFUSALS for line in refusal(start)))
    if found:
        what = f"these options undo what {start.reach.domain} is for" if len(found) > 1 else found[0]
        raise InputError("\n".join([what, *(f"  {line}" for line in found)] if len(found) > 1 else [what]))


def _privileged(start: Start) -> Iterator[str]:
    """Engines label a privileged container spc_t, or not at all."""
    if any(option.name == "privileged" and option.is_on for option in start.given.options):
        yield "--privileged: engines take the label from a privileged container; leave it out"


# moby, daemon/create.go generateSecurityOpt (v1.13.0 for one) and podman, pkg/specgen/generate/security_linux.go
# setLabelOpts: with these an engine turns labels off, or takes the other container's; newer ones do so only where no
# label was given.
_NAMESPACES = {"pid": ("host", "container:"), "ipc": ("host", "container:")}


def _namespaces(start: Start) -> Iterator[str]:
    for option in start.given.options:
        if option.value.startswith(_NAMESPACES.get(option.name, ())):
            yield (
                f"{option}: some engines start such a container without its label or with another's; leave --"
                f"{option.name} out"
            )


_CATEGORIES = re.compile(r"level:s\d+(-s\d+)?:c\d+")

# podman keeps the label's options in this annotation, and gives a container that runs systemd another type where it
# does not find one there (libpod/container_internal.go: processLabel).
_LABEL_ANNOTATION = "io.podman.annotations.label"


def _labels(start: Start) -> Iterator[str]:
    for value in start.given.values("security-opt"):
        key, _, rest = value.replace(":", "=", 1).partition("=") if "=" not in value else value.partition("=")
        if key == "label" and not (_CATEGORIES.match(rest) and start.engine.family != "nerdctl"):
            yield f"--security-opt {value}: sets another label; {_label_cure(start, rest)}"
    for value in start.given.values("annotation"):
        if value.startswith(_LABEL_ANNOTATION):
            yield f"--annotation {value}: may set another label; leave it out"


def _label_cure(start: Start, value: str) -> str:
    if start.engine.family == "nerdctl":
        # pkg/cmd/container/create.go keeps the options in a map: of several labels the last is the only one.
        return "nerdctl takes one label option alone, and that is the role's; leave it out"
    if value.startswith("level:"):
        return "give the level categories, as in level:s0:c1,c2, or leave it out"
    return f"leave it out: the label is {start.reach.domain}"


def _runtimes(start: Start) -> Iterator[str]:
    for option in start.given.options:
        handler = option.name == "annotation" and option.value.startswith("run.oci.handler=")
        if handler or (option.name == "runtime" and engines.OTHER_KERNELS.match(option.value)):
            yield f"{option}: such a runtime has a kernel of its own, which SELinux does not see into; leave it out"


def _networks(start: Start) -> Iterator[str]:
    for option in start.given.options:
        if option.name in ("pod", "pod-id-file"):
            yield (
                f"{option}: a container in a pod has the pod's network, whose sysctls the role does not set; "
                "start it without, or see `labelgen export kubernetes`"
            )
        if option.name != "network":
            continue
        if not start.close.network and option.value != "none":
            yield f"{option}: {start.reach.domain} has no network; leave --network out"
        elif any(name.startswith(("host", "container:", "ns:")) for name in _network_names(option.value)):
            yield (
                f"{option}: in a network that is not the container's own, the sysctls that close the limits are not "
                "set; use a bridge, and publish ports with -p"
            )


# docker/cli, opts/network.go: `name=mine,alias=web`, whatever the case.
_LONG_NETWORK = re.compile(r'(?:^|[,"])\s*name\s*=\s*([^,"]*)', re.I)


def _network_names(value: str) -> list[str]:
    """What a --network names, in its short form or the long one of docker."""
    return [name.lower() for name in _LONG_NETWORK.findall(value)] or [value]


def _sysctls(start: Start) -> Iterator[str]:
    for value in start.given.values("sysctl"):
        name, _, wanted = value.partition("=")
        ours = start.close.sysctls.get(name.replace("/", "."))
        if ours is not None and wanted.split() != ours.split():
            cure = "say --local-ports LOW-HIGH before the role" if name.endswith("range") else "leave it out"
            yield f"--sysctl {value}: the role is started with {ours!r}, which closes a limit; {cure}"


# -- published ports

_PUBLISHED = re.compile(r"(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?(?:/(?P<protocol>\w+))?\Z")


def _ports(start: Start) -> Iterator[str]:
    for option in _published(start):
        # [[ip:]host port:]container port[/protocol]: what follows the last colon is the container's, IPv6 or not.
        found = _PUBLISHED.match(option.value.rpartition(":")[2])
        if not found:
            yield f"{option}: names no port of the container; write HOST:CONTAINER, as in 8080:80"
            continue
        low, high = int(found["low"]), int(found["high"] or found["low"])
        protocol = (found["protocol"] or "tcp").lower()
        if protocol not in PROTOCOLS or not _may_bind(start.reach, protocol, low, high):
            what = f"{low}-{high}" if high > low else f"{low}"
            yield f"{option}: {start.reach.domain} may not bind {protocol}/{what}; {_may_publish(start.reach)}"


def _published(start: Start) -> Iterator[Option]:
    given = start.given
    yield from (option for option in given.options if option.name == "publish")
    if not any(option.name == "publish-all" and option.is_on for option in given.options):
        return
    for value in given.values("expose"):
        yield Option("expose", value)
    for port in _exposed(start):
        yield Option("publish-all", port)


def _exposed(start: Start) -> list[str]:
    """The ports that an image exposes. Raises InputError where the image is not here yet."""
    try:
        said = start.engine.ask("image", "inspect", "--format", _EXPOSED, start.given.image)
    except programs.ProgramFailed as error:
        raise InputError(
            f"-P publishes what the image exposes, and {start.given.image} is not here to be asked",
            f"`{start.engine.program} pull {start.given.image}` first, or publish ports by number with -p",
        ) from error
    return said.split()


_EXPOSED = "{{range $port, $_ := .Config.ExposedPorts}}{{println $port}}{{end}}"


def _may_bind(reach: Reach, protocol: str, low: int, high: int) -> bool:
    """Whether every port of a range has a type that the role may bind: the sysctls close the ephemeral range."""
    reached = low
    for segment in sorted(reach.bindable(protocol)):
        if segment.low <= reached <= segment.high:
            reached = segment.high + 1
    return reached > high >= low


def _may_publish(reach: Reach) -> str:
    ports = [
        f"{name} {as_text((segment.low, segment.high) for segment in reach.bindable(name))}"
        for name in PROTOCOLS
        if reach.bindable(name)
    ]
    return f"it may bind {'; '.join(ports)}" if ports else "it may bind none, so publish none"


# -- volumes

# Folders of the system's own: a container's label on one of them keeps the host's services out.
_WHOLE = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp")
)
_BELOW = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")


@dataclass(frozen=True)
class Volume:
    """A folder of the host that is mounted and given a label: `private` for `:Z`, for this container alone."""

    option: Option
    source: Path
    private: bool


def _relabelled(given: Given) -> Iterator[Volume]:
    for option in given.options:
        source, letters = ("", set[str]())
        if option.name == "volume":
            source, _, rest = option.value.partition(":")
            letters = set(rest.partition(":")[2].split(","))
        elif option.name == "mount":
            source, letters = _mount(option.value)
        if source.startswith(("/", ".", "~")) and letters & {"z", "Z"}:
            yield Volume(option, Path(source).expanduser().resolve(), "Z" in letters)


def _mount(value: str) -> tuple[str, set[str]]:
    """Source and relabelling of a --mount (podman: relabel=private or shared, Z or z)."""
    fields = dict(part.partition("=")[::2] for part in value.split(","))
    relabel = {"private": {"Z"}, "shared": {"z"}}.get(fields.get("relabel", ""), set())
    return fields.get("source", fields.get("src", "")), relabel | ({"z", "Z"} & set(fields))


def _volumes(start: Start) -> Iterator[str]:
    volumes = list(_relabelled(start.given))
    if not volumes:
        return
    own = contexts.places_of_roles()
    mounted = _mounted(start.engine) if any(volume.private for volume in volumes) else []
    for volume in volumes:
        letter = "Z" if volume.private else "z"
        cure = f"leave the {letter} out"
        if _is_system(volume.source):
            yield f"{volume.option}: :{letter} takes {volume.source} from the host's own services; {cure}"
        for place in own:
            if _overlap(volume.source, Path(place.folder)):
                yield (
                    f"{volume.option}: :{letter} takes the label {place.type} from {place.folder}, which is what keeps "
                    f"it apart; {cure}"
                )
        for container, other in mounted:
            if volume.private and _overlap(volume.source, other):
                yield (
                    f"{volume.option}: :Z keeps every other container out of {volume.source}, and the container "
                    f"{container} uses {other}; {cure}, or use :z to share it"
                )


def _is_system(path: Path) -> bool:
    return str(path) in _WHOLE or any(_overlap(path, Path(name)) for name in _BELOW)


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


_MOUNTS = '{{.Name}}{{range .Mounts}}{{if eq .Type "bind"}} {{json .Source}}{{end}}{{end}}'


def _mounted(engine: Engine) -> list[tuple[str, Path]]:
    """The folders of the host that running containers use: name of the container, folder."""
    running = engine.ask("ps", "-q", "--no-trunc").split()
    if not running:
        return []
    found = []
    for line in engine.ask("inspect", "--format", _MOUNTS, *running).splitlines():
        name, *sources = re.findall(r'"[^"]*"|\S+', line) or [""]
        found += [(name.lstrip("/"), Path(source.strip('"'))) for source in sources]
    return found


REFUSALS: Sequence[Refusal] = (_privileged, _labels, _namespaces, _runtimes, _networks, _sysctls, _ports, _volumes)
