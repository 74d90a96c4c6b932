"""What each policy module says, before it is written: the rules of a role, from its file and the facts of the base."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional, Union

from labelgen.derivation import DOMAIN, FILE_TYPE, NET_DOMAIN, SharedRule
from labelgen.errors import Problem, RoleFileError, suggestion
from labelgen.facts import Facts
from labelgen.network import (
    CAPABILITY_CLASSES,
    ICMP,
    PROTOCOLS,
    RAW,
    RAW_CAPABILITY,
    REACH_OUT,
    READ_ROUTES,
    ROUTES,
    SERVE,
    SOCKET_USE,
    netlink_class,
    netlink_families,
)
from labelgen.ownports import OwnPortType, own_port_types
from labelgen.ports import Segment
from labelgen.role import Network, Ports, Role, RoleFile

# What a role may do with its private files, as far as its parent may do it with the parent's. Neither executes nor
# relabels: content is data.
READ_FILES = {
    "dir": ("getattr", "ioctl", "lock", "open", "read", "search", "watch"),
    "file": ("getattr", "ioctl", "lock", "map", "open", "read", "watch"),
    "lnk_file": ("getattr", "read"),
}
WRITE_FILES = {
    "dir": (
        "add_name",
        "create",
        "getattr",
        "ioctl",
        "link",
        "lock",
        "open",
        "read",
        "remove_name",
        "rename",
        "reparent",
        "rmdir",
        "search",
        "setattr",
        "unlink",
        "watch",
        "write",
    ),
    "file": (
        "append",
        "create",
        "getattr",
        "ioctl",
        "link",
        "lock",
        "map",
        "open",
        "read",
        "rename",
        "setattr",
        "unlink",
        "watch",
        "write",
    ),
    "lnk_file": ("create", "getattr", "link", "read", "rename", "setattr", "unlink"),
    "sock_file": ("append", "create", "getattr", "link", "open", "read", "rename", "setattr", "unlink", "write"),
    "fifo_file": (
        "append",
        "create",
        "getattr",
        "ioctl",
        "link",
        "lock",
        "open",
        "read",
        "rename",
        "setattr",
        "unlink",
        "write",
    ),
}
FILE_ACCESS = {"read": READ_FILES, "write": WRITE_FILES}

# Without these a declared network is no network: the parent must have them, in every setting of the booleans.
NEEDED_TO_BIND = ("create", "bind")
NEEDED_TO_CONNECT = ("create", "connect")


@dataclass(frozen=True)
class PrivateFileType:
    """A file type that only the role may touch."""

    name: str
    access: str
    paths: tuple[str, ...]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Rules that one part of the role file asked for: the heading says which."""

    heading: tuple[str, ...]
    rules: tuple[SharedRule, ...]


@dataclass(frozen=True)
class RoleModule:
    """The module of one role."""

    role: Role
    source: str
    parent_file_type: str
    attributes: tuple[str, ...]
    blocks: tuple[Block, ...]
    ports: tuple[OwnPortType, ...]
    files: tuple[PrivateFileType, ...]

    @property
    def rules(self) -> list[SharedRule]:
        """Every rule of the module."""
        return [rule for block in self.blocks for rule in block.rules]


@dataclass
class _Builder:
    """Builds the module of one role and gathers what is wrong with its file on this base."""

    file: RoleFile
    facts: Facts
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def own(self) -> tuple[OwnPortType, ...]:
        """The port types of the role's own."""
        return own_port_types(self.role, self.role.declared_network, self.facts.ports, self.facts.catch_all)

    @property
    def role(self) -> Role:
        return self.file.role

    def wrong(self, *where: Union[str, int], message: str) -> None:
        self.problems.append(self.file.problem(*where, message=message))

    def heading(self, *where: Union[str, int], says: str) -> tuple[str, ...]:
        return (f"{self.file.path.name}:{self.file.line(*where).rsplit(':', 1)[1]}: {says}",)

    def allow(self, targets: Iterable[str], tclass: str, perms: Iterable[str]) -> SharedRule:
        return SharedRule("allow", (self.role.type,), tuple(sorted(targets)), (tclass,), tuple(sorted(perms)))

    # -- sockets

    def own_socket(self, tclass: str, wanted: Iterable[str]) -> list[SharedRule]:
        """The wanted permissions on the role's own sockets of a class, as far as the parent has them, and the parent's
        filter of ioctl commands with them."""
        granted = sorted(set(wanted) & set(self.facts.derivation.own_sockets.get(tclass, ())))
        rules = [self.allow(("self",), tclass, granted)] if granted else []
        if "ioctl" in granted:
            rules += [
                rule._replace(sources=(self.role.type,))
                for rule in self.facts.derivation.own_xperms
                if rule.classes == (tclass,)
            ]
        return rules

    def parent_lacks(self, tclass: str, needed: Iterable[str]) -> list[str]:
        return sorted(set(needed) - set(self.facts.derivation.own_sockets.get(tclass, ())))

    def protocol_blocks(self, network: Network, name: str) -> Iterator[Block]:
        protocol, bound, reached = PROTOCOLS[name], network.bound(name), network.reached(name)
        part = "bind" if bound else "connect"
        if protocol.tclass not in self.facts.classes:
            self.wrong("network", part, name, message=f"the base does not know {name} (no class {protocol.tclass})")
            return
        connects = bool(reached) or (name == "udp" and bool(network.connect.udp))
        needed = (NEEDED_TO_BIND if bound else ()) + (NEEDED_TO_CONNECT if connects else ())
        lacking = self.parent_lacks(protocol.tclass, needed)
        if lacking:
            self.wrong(
                "network",
                part,
                name,
                message=f"{self.role.parent} itself may not use {name} on this base "
                f"({protocol.tclass}: {' '.join(lacking)}), nor may its roles",
            )
            return
        # Resolvers (musl's among them) bind UDP port 0 before they ask, so whoever may send UDP may bind: which
        # port, name_bind decides, and inside the ephemeral range nothing does.
        serves = ("bind",) if name == "udp" else SERVE
        perms = (*SOCKET_USE, *(serves if bound or name == "udp" else ()), *(REACH_OUT if connects else ()))
        yield Block(
            self.heading("network", part, name, says=f"{name} sockets"), tuple(self.own_socket(protocol.tclass, perms))
        )
        if bound or name == "udp":
            yield self.node_bind(name, part)
        for perm, key, ports in (("name_bind", "bind", bound), ("name_connect", "connect", reached)):
            if ports:
                yield self.port_block(name, key, perm, ports)

    def node_bind(self, name: str, part: str) -> Block:
        tclass = PROTOCOLS[name].tclass
        nodes = self.facts.derivation.node_bind.get(tclass, ())
        if not nodes:
            self.wrong(
                "network",
                part,
                name,
                message=f"{self.role.parent} itself may bind no address with {name} on this base ({tclass}: node_bind)",
            )
        rules = (self.allow(nodes, tclass, ("node_bind",)),) if nodes else ()
        return Block(("Addresses to bind: those of the parent.",), rules)

    def port_block(self, name: str, key: str, perm: str, ports: Sequence[Union[Ports, str]]) -> Block:
        tclass = PROTOCOLS[name].tclass
        types: set[str] = set()
        for number, port in enumerate(ports):
            where = ("network", key, name, number)
            found = set(self.types_of(name, port, where))
            allowed = set(self.facts.derivation.port_types[perm].get(tclass, ()))
            for refused in sorted(found - allowed - self.own_names):
                self.wrong(
                    *where,
                    message=f"{self.role.parent} itself may not {key} {name}/{port} on this base ({refused}: {perm})",
                )
            types |= found
        words = ", ".join(map(str, ports))
        return Block(
            self.heading("network", key, name, says=f"{key} {name} {words}"), (self.allow(types, tclass, (perm,)),)
        )

    def types_of(self, protocol: str, port: Union[Ports, str], where: tuple[Union[str, int], ...]) -> Iterator[str]:
        """The port types behind a declared port; in the place of a catch-all one, those of the role's own."""
        if isinstance(port, str):
            yield from self.named_type(port, where)
            return
        for segment in self.facts.ports.within(protocol, port.low, port.high):
            if segment.type in self.facts.catch_all:
                yield from (own.name for own in self.own if own.covers(protocol, segment))
            else:
                yield segment.type

    def named_type(self, name: str, where: tuple[Union[str, int], ...]) -> Iterator[str]:
        resolved = self.facts.resolve(name)
        if resolved in self.facts.catch_all:
            message = f"{name} stands for thousands of ports; declare numbers, and the role gets a port type of its own"
            self.wrong(*where, message=message)
        elif resolved in self.facts.port_type_names:
            yield resolved
        elif resolved in self.facts.taken:
            self.wrong(*where, message=f"{name} is not a port type; it is another kind of type")
        else:
            # By their stems: the ending alone makes any two port types alike.
            stems = {known[: -len("_port_t")]: known for known in self.facts.port_type_names if "_port_t" in known}
            near = difflib.get_close_matches(name.replace("_port_t", ""), stems, n=1, cutoff=0.7)
            whole = difflib.get_close_matches(name, self.facts.port_type_names, n=1, cutoff=0.85)
            best = [stems[stem] for stem in near] + whole
            known = f"; did you mean '{best[0]}'?" if best else ""
            self.wrong(*where, message=f"the base has no port type '{name}'{known}")

    @property
    def own_names(self) -> set[str]:
        return {own.name for own in self.own}

    # -- the rest of the network

    def network_blocks(self, network: Network) -> Iterator[Block]:
        yield Block(
            ("A networked role may read routes and addresses: resolvers and servers ask for them.",),
            tuple(self.own_socket(ROUTES, READ_ROUTES)),
        )
        for name in network.protocols:
            yield from self.protocol_blocks(network, name)
        if network.binds_privileged:
            yield from self.capability("net_bind_service", ("network", "bind"), "a port below 1024")
        if network.icmp:
            yield from self.declared_classes(ICMP, ("network", "icmp"), "icmp")
        if network.raw:
            yield from self.declared_classes(RAW, ("network", "raw"), "raw and packet sockets")
            yield from self.capability(RAW_CAPABILITY, ("network", "raw"), "raw sockets")
        for number, family in enumerate(network.netlink):
            yield from self.netlink(family, ("network", "netlink", number))

    def declared_classes(
        self, classes: Iterable[str], where: tuple[Union[str, int], ...], says: str
    ) -> Iterator[Block]:
        rules: list[SharedRule] = []
        for tclass in classes:
            if tclass not in self.facts.classes:
                self.wrong(*where, message=f"the base does not know {says} (no class {tclass})")
            elif self.parent_lacks(tclass, ("create",)):
                self.wrong(*where, message=f"{self.role.parent} itself may not open {says} on this base ({tclass})")
            else:
                rules += self.own_socket(tclass, self.facts.derivation.own_sockets[tclass])
                nodes = self.facts.derivation.node_bind.get(tclass)
                rules += [self.allow(nodes, tclass, ("node_bind",))] if nodes else []
        yield Block(self.heading(*where, says=says), tuple(rules))

    def netlink(self, family: str, where: tuple[Union[str, int], ...]) -> Iterator[Block]:
        families = netlink_families(self.facts.classes)
        if family not in families:
            known = suggestion(family, families) or f"; known are {', '.join(families)}"
            self.wrong(*where, message=f"the base knows no netlink family '{family}'{known}")
            return
        yield from self.declared_classes((netlink_class(family),), where, f"netlink {family}")

    def capability(self, perm: str, where: tuple[Union[str, int], ...], why: str) -> Iterator[Block]:
        rules = tuple(
            self.allow(("self",), tclass, (perm,))
            for tclass in CAPABILITY_CLASSES
            if not self.parent_lacks(tclass, (perm,))
        )
        if not rules:
            self.wrong(*where, message=f"{why} needs {perm}, which {self.role.parent} does not have on this base")
        yield Block(self.heading(*where, says=f"{why} needs {perm}"), rules)

    # -- files

    def private_files(self) -> tuple[PrivateFileType, ...]:
        return tuple(
            PrivateFileType(
                name,
                access,
                tuple(f.path for f in self.role.files if f.access == access),
                (FILE_TYPE, *self.facts.derivation.file_joined),
            )
            for access, name in self.role.file_types.items()
        )

    def file_blocks(self) -> Iterator[Block]:
        for access, name in self.role.file_types.items():
            number = next(n for n, entry in enumerate(self.role.files) if entry.access == access)
            wanted = FILE_ACCESS[access]
            rules = []
            for tclass, perms in wanted.items():
                granted = sorted(set(perms) & set(self.facts.derivation.own_files.get(tclass, ())))
                if granted:
                    rules.append(self.allow((name,), tclass, granted))
            yield Block(self.heading("files", number, says=f"{access} the role's own files"), tuple(rules))

    def own_object_blocks(self) -> Iterator[Block]:
        own = (self.role.type,)
        yield Block(
            ("Objects that the role makes of itself are labelled like the parent's.",),
            tuple(rule._replace(sources=own, targets=own) for rule in self.facts.derivation.own_transitions),
        )

    # -- the whole

    def check_names(self) -> None:
        for name in (self.role.type, *self.role.file_types.values(), *sorted(self.own_names)):
            if name in self.facts.taken:
                self.wrong("name", message=f"the base already has a type {name}; choose another name")
        if self.facts.resolve(self.role.parent) != self.facts.derivation.parent:
            self.wrong("parent", message=f"the base has no type '{self.role.parent}'")

    def build(self) -> RoleModule:
        network: Optional[Network] = self.role.declared_network
        blocks = [*(self.network_blocks(network) if network else ()), *self.file_blocks(), *self.own_object_blocks()]
        self.check_names()
        if self.problems:
            raise RoleFileError(self.problems)
        derivation = self.facts.derivation
        return RoleModule(
            role=self.role,
            source=self.file.path.name,
            parent_file_type=derivation.file_type,
            attributes=(DOMAIN, *((NET_DOMAIN,) if network else ()), *derivation.joined),
            blocks=tuple(block for block in blocks if block.rules),
            ports=self.own,
            files=self.private_files(),
        )


def role_module(file: RoleFile, facts: Facts) -> RoleModule:
    """The module of a role on a base. Raises RoleFileError with everything in the file that this base cannot give."""
    return _Builder(file, facts).build()


def _declares(file: RoleFile, protocol: str, segment: Segment) -> tuple[Union[str, int], ...]:
    """Where in its file a role declares ports of a segment."""
    network = file.role.declared_network or Network()
    for action, ports in (("bind", network.bound(protocol)), ("connect", network.reached(protocol))):
        for place, port in enumerate(ports):
            if isinstance(port, Ports) and port.low <= segment.high and segment.low <= port.high:
                return "network", action, protocol, place
    return ("network",)


def _overlaps(modules: Sequence[tuple[RoleFile, RoleModule]]) -> Iterator[Problem]:
    """Numbers for which two roles would each bring a port type: of two portcons for a port a linker keeps one, and
    says nothing."""
    taken: list[tuple[str, Segment, RoleFile]] = []
    for file, module in modules:
        for own in module.ports:
            for protocol, segment in own.portcons:
                for other_protocol, other, owner in taken:
                    if (
                        protocol == other_protocol
                        and owner is not file
                        and segment.low <= other.high
                        and other.low <= segment.high
                    ):
                        yield file.problem(
                            *_declares(file, protocol, segment),
                            message=(
                                f"{protocol}/{segment} has no port type of its own in the base, and {owner.path} "
                                "declares it too; two roles have no port type together, so give it one in a module of "
                                "the host's own (a type in port_type, and a portcon or `semanage port -a`) and declare "
                                "that type in both"
                            ),
                        )
                taken.append((protocol, segment, file))


def _same_names(modules: Sequence[tuple[RoleFile, RoleModule]]) -> Iterator[Problem]:
    """Roles that would each declare one and the same type on this base: a linker takes several declarations for one.
    A role that needs several port types has one like `lxc_ftp_unreserved_port_t`, as a role `ftp_unreserved` may."""
    taken: dict[str, RoleFile] = {}
    for file, module in modules:
        own = (*(port.name for port in module.ports), *(private.name for private in module.files))
        for name in (module.role.type, *own):
            other = taken.setdefault(name, file)
            if other is not file:
                yield file.problem("name", message=f"{name} is also what {other.path} makes; rename one")


def role_modules(files: Sequence[RoleFile], facts: Facts) -> list[RoleModule]:
    """The modules of several roles. Raises RoleFileError with the problems of all of them."""
    built: list[tuple[RoleFile, RoleModule]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            built.append((file, role_module(file, facts)))
        except RoleFileError as error:
            problems += error.problems
    problems += [*_overlaps(built), *_same_names(built)]
    if problems:
        raise RoleFileError(problems)
    return [module for _, module in built]
