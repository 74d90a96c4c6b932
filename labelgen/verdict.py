"""The verdict: per role which claims hold, what else a port type brings, and what SELinux does not check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Optional, Union

from labelgen import conditions, filepath
from labelgen.access import Key
from labelgen.atworst import NotTaken
from labelgen.claims import (
    CLAIMS,
    Finding,
    Subject,
    Verification,
    must_be_refused,
    packet_needs,
    refused_to_runtime,
)
from labelgen.errors import listed
from labelgen.network import (
    CAPABILITY_CLASSES,
    EPHEMERAL_PORTS,
    INFINIBAND,
    LABELLED_NETWORKING,
    PROTOCOLS,
    TALKS,
    asked_of_peers,
)
from labelgen.policy import Policy
from labelgen.ports import Ranges, Segment, as_text, without
from labelgen.reach import Reach
from labelgen.role import Network, Ports, Role
from labelgen.sharing import shared_out

MOST_SHOWN = 8


class Neighbour(NamedTuple):
    """Ports granted because they share a type with a declared one."""

    action: str
    protocol: str
    ports: str
    type: str


class OwnFiles(NamedTuple):
    """Files that a role may read or write and no other role may touch, their type, and what to know about the path."""

    access: str
    path: str
    type: str
    note: str = ""

    @classmethod
    def of(cls, role: Role) -> tuple[OwnFiles, ...]:
        """Those that a role file declares."""
        return tuple(
            cls(entry.access, entry.path, role.file_types[entry.access], _about(entry.path)) for entry in role.files
        )


def _about(path: str) -> str:
    if not filepath.may_be_one_folder(path):
        return ""
    return f'{path} has the label and nothing in it; if it is a folder, write "{path}(/.*)?"'


@dataclass(frozen=True)
class RoleVerdict:
    """The verdict on one role. left_to_the_machine: those of the limits that turn on what the host gives the container;
    packets_not_granted: what is asked about packets without a label and is not granted."""

    role: str
    domain: str
    summary: str
    findings: tuple[Finding, ...]
    neighbours: tuple[Neighbour, ...]
    limits: tuple[str, ...]
    reach: Reach
    ways_out: tuple[WayOut, ...] = ()
    files: tuple[OwnFiles, ...] = ()
    not_taken: Mapping[str, NotTaken] = field(default_factory=dict)
    left_to_the_machine: tuple[str, ...] = ()
    packets_not_granted: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return not self.findings

    def claims(self) -> dict[str, bool]:
        """claim -> whether it holds."""
        failed = {finding.claim for finding in self.findings}
        return {claim: claim not in failed for claim in CLAIMS}

    def to_json(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {
            "role": self.role,
            "domain": self.domain,
            "summary": self.summary,
            "holds": self.holds,
            "claims": self.claims(),
            "findings": [_finding_json(finding) for finding in self.findings],
            "neighbours": [neighbour._asdict() for neighbour in self.neighbours],
            "limits": list(self.limits),
            "left_to_the_machine": list(self.left_to_the_machine),
            "packets_not_granted": list(self.packets_not_granted),
            "ways_out": [way._asdict() for way in self.ways_out],
            "files": [files._asdict() for files in self.files],
            "not_shown_at_worst": list(self.not_taken),
            "sets_not_taken": {claim: list(left.sets) for claim, left in self.not_taken.items() if left.sets},
            "types_not_taken": {claim: left.type for claim, left in self.not_taken.items() if left.type},
            "reach": self.reach.summary(),
        }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "rules": list(finding.rules), "booleans": dict(finding.booleans)}


@dataclass(frozen=True)
class Verdict:
    """The verdict on all roles."""

    exact: bool
    roles: tuple[RoleVerdict, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim of every role holds."""
        return all(role.holds for role in self.roles)

    def to_json(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {"holds": self.holds, "exact": self.exact, "roles": [role.to_json() for role in self.roles]}


def verdict(verification: Verification) -> Verdict:
    """Check every claim of every role."""
    roles = shared_out(lambda file: _role_verdict(verification.subject(file)), verification.files)
    return Verdict(verification.exact, tuple(roles))


def _role_verdict(subject: Subject) -> RoleVerdict:
    findings = tuple(dict.fromkeys(finding for check in CLAIMS.values() for finding in check(subject)))
    left, packets = tuple(_left_to_the_machine(subject)), tuple(_packets_not_granted(subject))
    return RoleVerdict(
        subject.role.name,
        subject.domain,
        subject.role.summary,
        findings,
        tuple(neighbours(subject)),
        tuple(_limits(subject, left, packets)),
        subject.reach,
        tuple(ways_out(subject)),
        OwnFiles.of(subject.role),
        subject.not_taken,
        left,
        packets,
    )


# -- neighbours


def _declared(subject: Subject, ports: Iterable[Union[Ports, str]], protocol: str) -> list[tuple[int, int]]:
    """The numbers a role file declares; a port type it names declares all of its own."""
    table, ranges = subject.verification.ports, []
    for port in ports:
        if isinstance(port, str):
            name = subject.policy.aliases.get(port, port)
            ranges += [(segment.low, segment.high) for segment in table.of_type(protocol, name)]
        else:
            ranges.append((port.low, port.high))
    return ranges


def _beside(segment: Segment, declared: Iterable[tuple[int, int]]) -> Ranges:
    """What is left of a segment without the declared ranges."""
    return without([(segment.low, segment.high)], declared)


def neighbours(subject: Subject) -> Iterator[Neighbour]:
    """The ports the role can use besides the declared ones, by type."""
    network = subject.network or Network()
    for protocol in PROTOCOLS:
        for action, segments, ports in (
            ("bind", subject.reach.bindable(protocol), network.bound(protocol)),
            ("connect", subject.reach.connectable(protocol), network.reached(protocol)),
        ):
            declared = _declared(subject, ports, protocol)
            found: dict[str, list[tuple[int, int]]] = defaultdict(list)
            for segment in segments:
                found[segment.type] += _beside(segment, declared)
            for port_type, ranges in sorted(found.items()):
                if ranges:
                    yield Neighbour(action, protocol, as_text(ranges), port_type)


# -- limits


def limits(subject: Subject) -> Iterator[str]:
    """What SELinux does not check, whatever the policy says, as far as it concerns this role."""
    return _limits(subject, tuple(_left_to_the_machine(subject)), tuple(_packets_not_granted(subject)))


def _limits(subject: Subject, left: Sequence[str], packets: Sequence[str]) -> Iterator[str]:
    network = subject.network
    if network is not None:
        yield from _network_limits(subject, network)
        yield from _packet_limits(subject, packets)
    else:
        yield (
            "Unix sockets work; a process outside that shares a socket or a folder with the container can pass "
            "data on for it."
        )
    yield "A socket that another process made and labelled as the role's own is the role's to use."
    yield from _ways_out(subject)
    yield from left
    if subject.role.files and (subject.verification.file_contexts is None or not subject.verification.exact):
        yield (
            "A binary policy has no file contexts: whether the host labels the role's files with its types is to be "
            "seen there (matchpathcon)."
        )
    yield from _mcs_limits(subject)
    if not subject.verification.exact:
        yield from _binary_limits(subject)


def _network_limits(subject: Subject, network: Network) -> Iterator[str]:
    serving = [name for name in PROTOCOLS if network.bound(name) or (name == "udp" and network.uses(name))]
    low, high = EPHEMERAL_PORTS
    if serving:
        yield (
            f"Inside the ephemeral range ({low}-{high}, sysctl net.ipv4.ip_local_port_range) SELinux checks no "
            f"bind: the role can serve {' and '.join(serving)} there."
        )
    if network.uses("udp"):
        yield "UDP destinations are not checked by port: a role with UDP sockets can send to any."
    if network.uses("tcp"):
        yield (
            "TCP Fast Open goes round name_connect on some kernels: the role can dial out with it unless "
            "net.ipv4.tcp_fastopen=0 is set for the container."
        )
    if not subject.policy.network.extended and (network.raw or network.icmp or network.uses("sctp")):
        yield (
            "This base has no class for sctp and icmp sockets: the kernel takes them for raw ones, as it does those of "
            "UDP-Lite, which reach any port."
        )
    if network.raw:
        yield "Raw and packet sockets carry any protocol to any port: no port of this role is checked."
    if any(network.bound(name) for name in PROTOCOLS):
        yield "A published port (-p 80:80) is bound on the host by the container runtime, not by the role."


def _packets_not_granted(subject: Subject) -> Iterator[str]:
    """What is asked about packets that nothing labels, and is not granted. A role may have no more of it than its
    parent, and rules of the host's firewall may label what it sends and gets: so this is no claim."""
    if subject.network is None:
        return
    initial = subject.policy.initial_sids
    unlabelled = initial["unlabeled"]
    for need in packet_needs(subject):
        if not _is_unknown(subject, need.tclass, need.perm) and subject.lacking(need):
            yield f"{subject.domain} {need.targets[0]}:{need.tclass} {need.perm}"
    for sid, tclass, perm in asked_of_peers(subject.policy.polcaps):
        theirs = subject.verification.access.outgoing(unlabelled)
        granted = theirs.condition((tclass, perm), subject.policy.bits[initial[sid]])
        if granted is not True and not _is_unknown(subject, tclass, perm):
            yield f"{unlabelled} {initial[sid]}:{tclass} {perm}"


def _packet_limits(subject: Subject, lacking: Sequence[str]) -> Iterator[str]:
    if lacking:
        is_set = "always_check_network" in subject.policy.polcaps
        why = "has always_check_network" if is_set else "lacks network_peer_controls"
        yield (
            f"This base {why}: packets without a label are checked too, and what it takes is not granted: "
            f"{', '.join(lacking)}. Unless the host labels packets, peers or interfaces otherwise, none gets to or "
            "from the role."
        )


def _is_unknown(subject: Subject, tclass: str, perm: str) -> bool:
    """Whether the policy lets by what it does not know."""
    return subject.policy.handle_unknown == "allow" and perm not in subject.policy.classes.get(tclass, ())


class WayOut(NamedTuple):
    """A domain whose unix sockets the role may talk to, and whether its parent may too."""

    domain: str
    permission: str
    parent: bool


def ways_out(subject: Subject) -> Iterator[WayOut]:
    """The domains that could act on the network for the role, because it may talk to their unix sockets."""
    theirs = subject.kin.theirs.worst()
    for key in TALKS:
        yield from _talking(subject.policy, key, subject.worst.get(key, 0) & ~subject.bit, theirs.get(key, 0))


@lru_cache(maxsize=16)
def _talking(policy: Policy, key: Key, bits: int, theirs: int) -> tuple[WayOut, ...]:
    """Those of the domains in `bits`; roles have them by the attributes that all of them are in."""
    return tuple(WayOut(name, " ".join(key), bool(theirs & policy.bits[name])) for name in policy.names(bits))


def _ways_out(subject: Subject) -> Iterator[str]:
    ways = list(ways_out(subject))
    for parents, words in ((True, "as its parent may"), (False, "which its parent may not")):
        names = sorted({way.domain for way in ways if way.parent == parents})
        if names:
            yield (
                f"It may talk to the unix sockets of {listed(names, MOST_SHOWN)}, {words}; those can act on the "
                "network for it if they choose to."
            )


# What a role may do with something that the administrator has to give it first.
def _left_to_the_machine(subject: Subject) -> Iterator[str]:
    if subject.policy.handle_unknown == "allow" and INFINIBAND & set(subject.verification.unknown):
        yield (
            "This base does not know InfiniBand's partitions, and handle_unknown=allow: a container that is given "
            "an InfiniBand device can use it on every one of them."
        )
    if _is_unknown(subject, "io_uring", "override_creds"):
        yield (
            "This base does not know io_uring's override_creds, and handle_unknown=allow: a process outside that "
            "passes its own ring to the container lets it act in its name."
        )
    yield from _given_devices(subject)
    yield from _control_groups(subject)
    yield from _helpers_of_modules(subject)
    # kernel/bpf/syscall.c, bpf_prog_load; kernel/trace/bpf_trace.c, bpf_get_probe_write_proto.
    if subject.worst.get(("bpf", "prog_load"), 0) or _is_unknown(subject, "bpf", "prog_load"):
        yield (
            "It may load BPF programs as its parent may, if the container is started with CAP_BPF or CAP_SYS_ADMIN: "
            "with CAP_SYS_ADMIN those read and write the memory of any process."
        )
    # kernel/kexec.c, kexec_load_check; arch/x86/kernel/ioport.c, ksys_ioperm.
    for perm, words in (("sys_boot", "start another kernel"), ("sys_rawio", "write to the machine's ports")):
        if subject.worst.get(("capability", perm), 0):
            yield f"It may {words} as its parent may, if the container is started with CAP_{perm.upper()}."
    # The kernel makes such a mount with sockets of its own, which SELinux does not ask about (hooks.c,
    # selinux_socket_create: kern).
    mounted = subject.worst.get(("filesystem", "mount"), 0) & subject.policy.network_filesystems
    if mounted:
        yield (
            f"It may mount file systems of the network ({', '.join(sorted(subject.policy.names(mounted)))}) as its "
            "parent may, if the container is started with CAP_SYS_ADMIN: the kernel then talks to servers for it, and "
            "no rule about sockets or ports is asked for."
        )
    if any(subject.worst.get((tclass, "sys_module"), 0) for tclass in CAPABILITY_CLASSES):
        yield (
            "It may load kernel modules as its parent may, if the container is started with CAP_SYS_MODULE: "
            "no policy binds those."
        )


# The devices that are the host itself (refpolicy, devices.te and storage.te).
_HOST_DEVICES = (("chr_file", "memory_device_t"), ("blk_file", "fixed_disk_device_t"))


def _given_devices(subject: Subject) -> Iterator[str]:
    """Devices of the host that the role may write to when the administrator hands them in."""
    under = _writes(subject, [(tclass, subject.policy.bits.get(name, 0)) for tclass, name in _HOST_DEVICES])
    if under is not None:
        yield (
            f"It may write to the host's memory or disks as its parent may{under}, if the container is given those "
            "devices."
        )


def _control_groups(subject: Subject) -> Iterator[str]:
    """Control groups by which the kernel is told what to start."""
    under = _writes(subject, [("file", subject.policy.control_groups)])
    if under is not None:
        yield (
            f"It may write to control groups as its parent may{under}: where those of version 1 are mounted writable "
            "in a container that has CAP_SYS_ADMIN, release_agent names a program that the kernel starts outside."
        )


def _helpers_of_modules(subject: Subject) -> Iterator[str]:
    """Files of modules of the kernel by which it is told what to start."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, types in subject.policy.helpers_of_modules.items():
        under = _writes(subject, [("file", types)])
        if under is not None:
            found[under].append(path)
    for under, paths in found.items():
        yield (
            f"It may write to {', '.join(paths)} as its parent may{under}: where the kernel has such a file, and it is "
            "writable in a container that runs as the host's root, it names a program that the kernel starts outside."
        )


def _writes(subject: Subject, files: Iterable[tuple[str, int]]) -> Optional[str]:
    """Under which booleans, in words, the role may write to some files (class, and the bitset of their types); None if
    it may not."""
    perms = ("append", "write")
    when = (subject.condition((tclass, perm), bits) for tclass, bits in files for perm in perms)
    setting = conditions.smallest_setting(conditions.any_of(when))
    if setting is None:
        return None
    under = " and ".join(f"{name}={'on' if is_on else 'off'}" for name, is_on in sorted(setting.items()))
    return f" (boolean {under})" if under else ""


def _mcs_limits(subject: Subject) -> Iterator[str]:
    """What one container may do to another of the same role, whatever their categories."""
    open_: dict[str, set[str]] = defaultdict(set)
    for _, key in subject.open_to_others:
        if not must_be_refused(key):
            open_[key[0]].add(key[1])
    on_processes = sorted(open_.pop("process", ()))
    if on_processes:
        yield (
            "Categories keep no container of a role from another one's processes, where it can see them, for: "
            f"{' '.join(on_processes)}."
        )
    acting = {tclass: perms - SEEING for tclass, perms in sorted(open_.items())}
    own: dict[str, set[str]] = defaultdict(set)
    sockets = subject.policy.socket_classes.intersection(acting)
    for (tclass, perm), bits in subject.worst.items() if sockets else ():
        if tclass in sockets and bits & subject.bit:
            own[tclass].add(perm)
    words = "; ".join(f"{tclass} {_all_or_some(own[tclass], perms)}" for tclass, perms in acting.items() if perms)
    if words:
        yield f"The constraints of this base do not keep two containers of one role apart for: {words}."
    seen = " ".join(tclass for tclass, perms in sorted(open_.items()) if perms & SEEING)
    if seen:
        yield f"Nor do they keep one from seeing what another's are, or that they change (getattr, watch): {seen}."


SEEING = frozenset({"getattr", "watch", "watch_mount", "watch_reads", "watch_sb", "watch_with_perm"})


def _all_or_some(own: set[str], perms: set[str]) -> str:
    """The permissions, or that they are all that the role has on its `own` of a class of sockets."""
    whole = own and own <= perms | {"create"} | SEEING
    return "(all that it may do with its own)" if whole else " ".join(sorted(perms))


def _hidden_attributes(subject: Subject) -> Iterator[str]:
    """What a binary base costs: attributes that constraints ask for, and that a role may join only if it is seen that
    they grant no network."""
    missing = {
        name
        for name, _ in subject.verification.constraints.naming
        if name in subject.policy.attributes
        and subject.policy.bits[name] & subject.policy.bits[subject.parent]
        and not subject.policy.bits[name] & subject.bit
    }
    if missing:
        yield (
            f"It is not in {', '.join(sorted(missing))}, which its parent is in and constraints ask for: a binary does "
            "not show what else they grant; on modules it may be."
        )


def _binary_limits(subject: Subject) -> Iterator[str]:
    yield (
        "The base is known only as a binary, which hides rules of attributes: verify on the host's modules "
        "(its policy store) before you rely on this."
    )
    counts = ", ".join(
        f"{claim} ({len(left.sets)} sets)" if left.sets else claim for claim, left in subject.not_taken.items()
    )
    if counts:
        yield (
            "A binary does not show how its sets of types were made, nor of whom its rules were said before they were "
            "written out. Sets that a module made by leaving types out, or that hold most of what a role is in, are "
            "taken to hold it; named sets that hold less, and rules about few, are not. If they were "
            "(verify --at-worst), these "
            f"claims would not be shown: {counts}."
        )
    yield from _hidden_attributes(subject)
    hidden = sorted(
        f"{tclass} {perm}"
        for (tclass, perm), bits in subject.kin.theirs.worst().items()
        if tclass in LABELLED_NETWORKING
        and bits & subject.policy.bits[subject.parent]
        and not subject.worst.get((tclass, perm), 0) & subject.bit
    )
    if hidden:
        yield f"On the host it may have more of labelled networking on itself, as its parent has: {'; '.join(hidden)}."
    runtimes = subject.policy.names(subject.kin.runtimes)
    refused = sorted(name for name in runtimes if refused_to_runtime(subject, name, False))
    if refused:
        yield (
            f"A constraint may keep {listed(refused, MOST_SHOWN)} from starting the role where it or the role runs "
            "as another SELinux user or role than system_u:system_r."
        )
