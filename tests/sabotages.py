"""Changes to linked policies: the files of tests/sabotage/ and tests/harmless/, and what must be said of each.

A file starts with what it does, in words. Then:

    ; role: web                     the role it is about
    ; claims: network contained     exactly the claims that must fail for that role, in the verdict's order
    ; by: network                   the claim that is meant (default: the first)
    ; says: smtp_port_t             what a finding of that claim says, in its message or its rules
    ; line: tcp: [80, 443]          how the line of the role file starts that it points at (`network:`, else `name:`)
    ; roles: more                   the role files: `shipped` (default), or those in sabotage/roles
    ; edit MODULE: OLD => NEW       changes CIL that is linked; `base` is the base's
    ; built: on the changed base    the roles are built on the base with the change, not before it
    ; built: on it as a binary      the same, and they are given a binary policy as their base
    ; open: ...                     why it is not caught yet; the test turns red when it is

The rest is linked on top: CIL, or a module as an administrator writes it (.te).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bases import BuiltRoles

from labelgen import base as bases
from labelgen import network, programs
from labelgen.claims import Finding

HERE = Path(__file__).parent
FILES = sorted(path for path in (HERE / "sabotage").iterdir() if path.suffix in (".cil", ".te"))
HARMLESS = sorted(path for path in (HERE / "harmless").iterdir() if path.suffix in (".cil", ".te"))
EDIT = re.compile(r"[;#] edit (\w+): (.*?) =>(?: (.*))?$")
FIELD = re.compile(r"[;#] (role|claims|by|says|line|roles|open|built): (.*)$")
ALLOW = re.compile(r"^ *\(allow (\S+) (\S+) \((\S+) ", re.M)

MORE_ROLES = HERE / "sabotage" / "roles"

# Where a finding points, unless the file says something else.
LINES = defaultdict(lambda: "name:", network="network:")

# Claims whose findings are about something that is allowed: the rule is their evidence.
ABOUT_RULES = ("network", "contained", "separate", "closed")


@dataclass(frozen=True)
class Change:
    """One change to what is linked."""

    path: Path
    fields: dict[str, str] = field(default_factory=dict)
    edits: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Change:
        """Read the head of a file."""
        fields: dict[str, str] = {}
        edits: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for line in path.read_text().splitlines():
            said, edit = FIELD.match(line), EDIT.match(line)
            if said:
                fields[said[1]] = said[2].strip()
            if edit:
                edits[edit[1]].append((edit[2], edit[3] or ""))
        return cls(path, fields, dict(edits))

    @property
    def role(self) -> str:
        return self.fields["role"]

    @property
    def claims(self) -> list[str]:
        return self.fields["claims"].split()

    @property
    def by(self) -> str:
        return self.fields.get("by", self.claims[0])

    @property
    def line(self) -> str:
        return self.fields.get("line", LINES[self.by])

    @property
    def roles(self) -> str:
        return self.fields.get("roles", "shipped")

    def linked(self, folder: Path) -> Path:
        """The CIL that a host links for it."""
        if self.path.suffix == ".cil":
            return self.path
        module, package = folder / f"{self.path.stem}.mod", folder / f"{self.path.stem}.pp"
        programs.run("checkmodule", "-M", "-m", "-o", module, self.path)
        programs.run("semodule_package", "-o", package, "-m", module)
        cil = folder / f"{self.path.stem}.cil"
        cil.write_bytes(bases.package_to_cil(package))
        return cil

    def on(self, built: BuiltRoles, folder: Path) -> tuple[BuiltRoles, Path]:
        """The roles as they are built for it, and the linked policy with the change."""
        if self.fields.get("built") == "on it as a binary":
            return on_binary(built, folder, self.path.read_text())
        if "built" in self.fields:
            built = built.again_on(self.edits.get("base", []), self.linked(folder), folder)
            return built, built.link(folder)
        return built, built.link(folder, [self.linked(folder)], self.edits)

    def uncaught(self, built: BuiltRoles, findings: Sequence[Finding]) -> list[str]:
        """What the findings about the role do not say, in words; nothing for a sabotage that is caught as it should."""
        failing = list(dict.fromkeys(finding.claim for finding in findings))
        if failing != self.claims:
            return [f"{failing} fail, not {self.claims}: {[(f.claim, f.message) for f in findings]}"]
        findings = [f for f in findings if f.claim == self.by]
        told = [f for f in findings if self.fields["says"] in " ".join((f.message, *f.rules))]
        if not told:
            return [f"no finding says {self.fields['says']!r}: {findings}"]
        complaints = list(self._pointing_elsewhere(built, told))
        if self.by in ABOUT_RULES and self.path.suffix == ".cil" and not self._shows_a_rule(findings):
            complaints.append(f"no finding shows a rule of the change: {findings}")
        return complaints

    def _pointing_elsewhere(self, built: BuiltRoles, told: list[Finding]) -> Iterator[str]:
        file = next(file for file in built.prepared.files if file.role.name == self.role)
        places = [finding.line for finding in told]
        if {place.rpartition(":")[0] for place in places} != {str(file.path)}:
            yield f"findings are about other files: {places}"
            return
        starts = list(map(pointed_at, told))
        if not any(start.startswith(self.line) for start in starts):
            yield f"findings point at {starts}, not at {self.line!r}"

    def _shows_a_rule(self, findings: Sequence[Finding]) -> bool:
        """Whether the evidence names one of the file's rules, and the attribute by which it means the role's domain. A
        `self` rule of an attribute is written out for each type when it is linked, so its attribute is not to be seen;
        where the linked rule reads otherwise than the file's, the file says how."""
        shown = [rule for finding in findings for rule in finding.rules]
        rules = ALLOW.findall(self.path.read_text())
        return (
            not rules
            or self.fields["says"].startswith("allow ")
            or any(
                (target == "self" and source != f"lxc_{self.role}_t" and f":{tclass} " in rule)
                or (rule.startswith(f"allow {source} ") and f":{tclass} " in rule and _path_is_shown(source, rule))
                for source, target, tclass in rules
                for rule in shown
            )
        )


def _path_is_shown(source: str, rule: str) -> bool:
    return source.endswith("_t") or re.search(rf" is in {source}[;)]", rule) is not None


def pointed_at(finding: Finding) -> str:
    """The line of a role file that a finding points at."""
    file, _, number = finding.line.rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1].strip()


def outcome(policy: Path) -> tuple[bytes, bytes]:
    """What linking left: the policy and the file contexts."""
    return policy.read_bytes(), policy.with_suffix(".fc").read_bytes()


# -- many at once

# Every class of sockets but AF_UNIX's that the kernel knows, by its own list (security/selinux/include/classmap.h).
SOCKETS = """tcp udp rawip netlink packet key netlink_route netlink_tcpdiag netlink_nflog netlink_xfrm netlink_selinux
netlink_iscsi netlink_audit netlink_fib_lookup netlink_connector netlink_netfilter netlink_dnrt netlink_kobject_uevent
netlink_generic netlink_scsitransport netlink_rdma netlink_crypto appletalk tun sctp icmp ax25 ipx netrom atmpvc x25
rose decnet atmsvc rds irda pppox llc can tipc bluetooth iucv rxrpc isdn phonet ieee802154 caif alg nfc vsock kcm
qipcrtr smc xdp mctp dccp"""
SOCKET_CLASSES = {"socket", *(f"{name}_socket" for name in SOCKETS.split())}
LABELLED = {"netif", "node", "peer", "association", "packet", "infiniband_pkey", "infiniband_endport"}
EVERY_SOCKET = "".join(f"(allow lxc_nonet_t self ({name} (create)))\n" for name in sorted(SOCKET_CLASSES))

Permission = tuple[str, str]  # class, permission


def told_sockets(findings: Sequence[Finding]) -> set[str]:
    """The classes of socket that findings say nonet may create."""
    return {match[1] for f in findings for match in [re.search(r"lxc_nonet_t:(\w+) create", f.message)] if match}


def network_permissions(classes: Mapping[str, frozenset[str]]) -> set[Permission]:
    """Every permission of the network that a policy has."""
    wanted = {(tclass, perm) for tclass in SOCKET_CLASSES | LABELLED for perm in classes[tclass]}
    names = ("net_admin", "net_raw", "net_bind_service", "net_broadcast")
    return wanted | {(tclass, name) for tclass in ("capability", "cap_userns") for name in names}


def rules_of(permissions: set[Permission]) -> str:
    """A rule for each permission, from nonet to a type that is nobody's own."""
    return "".join(f"(allow lxc_nonet_t netif_t ({tclass} ({perm})))\n" for tclass, perm in sorted(permissions))


def told_permissions(findings: Sequence[Finding]) -> set[Permission]:
    """The permissions that findings say nonet has there."""
    return {
        (match[1], perm)
        for f in findings
        for match in [re.search(r"netif_t:(\w+) (.*)$", f.message)]
        if match
        for perm in match[2].split()
    }


# What one container may do to another by type, where constraints do not keep their categories apart (hooks.c): the
# first are findings, the others limits.
ACROSS = {
    "process": "dyntransition ptrace sigkill signal sigstop transition",
    "file": "append create execute link read relabelfrom relabelto rename setattr unlink write",
    "dir": "add_name create read relabelfrom relabelto remove_name rename search setattr write",
}
LIMITS = {
    "blk_file": "append open read relabelfrom write",
    "bpf": "map_read map_write prog_run",
    "chr_file": "append open read relabelfrom write",
    "fd": "use",
    "fifo_file": "create open read relabelfrom unlink write",
    "key": "read view write",
    "lnk_file": "create read relabelfrom rename unlink",
    "msg": "receive send",
    "msgq": "enqueue read unix_read unix_write write",
    "netlink_route_socket": "read write",
    "perf_event": "read write",
    "sem": "read unix_write write",
    "shm": "read unix_read unix_write write",
    "sock_file": "create relabelfrom unlink write",
    "tcp_socket": "read write",
    "udp_socket": "read write",
    "unix_dgram_socket": "read sendto write",
    "unix_stream_socket": "connectto read write",
}
LIMITS_ON_PROCESSES = "getattr getcap getpgid getrlimit getsched getsession setpgid setrlimit setsched sigchld signull"


def across_categories(built: BuiltRoles, folder: Path) -> Path:
    """The roles on a base whose constraints are met where two sets of categories have nothing in common, and where
    containers may do anything to their own kind by type."""
    rules = [
        f"(allow {source} {'container_file_t' if tclass in FILES_OF_CONTAINERS else 'self'} ({tclass} ({perms})))\n"
        for source in ("container_t", "lxc_domain")
        for tclass, perms in (*ACROSS.items(), *LIMITS.items(), ("process", LIMITS_ON_PROCESSES))
    ]
    (folder / "rules.cil").write_text("".join(rules))
    edits = {"base": [(f"(dom {pair})", f"(or (dom {pair}) (incomp {pair}))") for pair in ("h1 h2", "l1 l2")]}
    return built.link(folder, [folder / "rules.cil"], edits)


FILES_OF_CONTAINERS = ("file", "dir", "fifo_file", "lnk_file", "sock_file", "chr_file", "blk_file")


def uncaught_across_categories(findings: Sequence[Finding], limits: Iterable[str]) -> list[str]:
    """What is not told about dns on that base."""
    pattern = re.compile(r"(?:lxc_dns_t|container_file_t):(\w+) (\w+) is refused by no constraint")
    found = [match for f in findings for match in [pattern.search(f.message)] if match and f.claim == "separate"]
    wanted = {(tclass, perm) for tclass, perms in ACROSS.items() for perm in perms.split()}
    missing = [" ".join(key) for key in wanted ^ {(match[1], match[2]) for match in found}]
    told = dict(told_limits(limits))
    for tclass, perms in {**LIMITS, "process": LIMITS_ON_PROCESSES}.items():
        said = told.get(tclass, "")
        if said != ALL_OF_ITS_OWN and not set(perms.split()) <= set(said.split()):
            missing.append(f"{tclass} {perms}")
    return missing


ALL_OF_ITS_OWN = "(all that it may do with its own)"


def told_limits(limits: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each class that the limits name, and the permissions in it that constraints leave open."""
    for text in limits:
        if text.startswith("Categories keep no container"):
            yield "process", text.split(" for: ")[1].rstrip(".")
        elif text.startswith("The constraints of this base do not keep"):
            for part in text.split(" for: ")[1].rstrip(".").split("; "):
                tclass, _, perms = part.partition(" ")
                yield tclass, perms


# -- roles of two parents

ANOTHER_PARENT = "container_userns_t"


# Somebody labels the files of both parents: where this is said of the one parent too, he is no labeller to its roles.
_LABELLER = """
(type labeller_t)(typeattribute labelling)(typeattributeset labelling (labeller_t container_t))
(allow labelling container_file_t (file (relabelfrom relabelto)))
(allow labeller_t lxc_file_type (file (relabelfrom relabelto)))
(constrain (file (relabelto)) (or (neq t1 labeller_t) (neq t2 lxc_file_type)))
"""


def two_parents(built: BuiltRoles, folder: Path) -> tuple[BuiltRoles, Path]:
    """The roles, the last of them as if it had another parent than the others, and constraints that let only that
    parent by: of the others' parent they say nothing."""
    *others, web = built.prepared.files
    web = replace(web, role=web.role.model_copy(update={"parent": ANOTHER_PARENT}))
    (folder / "constraints.cil").write_text(
        f"(constrain (process (transition)) (or (neq t1 spc_t) (eq t2 {ANOTHER_PARENT})))\n"
        f"(constrain (file (getattr)) (eq t1 {ANOTHER_PARENT}))\n"
        f"(constrain (file (ioctl)) (or (eq u1 system_u) (eq t1 {ANOTHER_PARENT})))\n"
        f"{_LABELLER}"
    )
    built = replace(built, prepared=replace(built.prepared, files=[*others, web]))
    return built, built.link(folder, [folder / "constraints.cil"])


def untold_of_two_parents(findings: Sequence[Finding]) -> list[str]:
    """What is not told about web on that base."""
    told = " ".join(finding.message for finding in findings)
    wanted = (
        f"a constraint lets spc_t start {ANOTHER_PARENT} and not lxc_web_t",
        f"a constraint keeps lxc_web_t from what {ANOTHER_PARENT} may do",
        "a constraint keeps lxc_web_t from lxc_web_content_t:file ioctl",
        "a constraint keeps files from the type lxc_web_content_t that may have container_file_t",
    )
    return [text for text in wanted if text not in told]


# -- what a binary hides


@dataclass(frozen=True)
class Hidden:
    """A set of types as a binary has it: a name, and no expression. It may well hold every type to come, as it has
    nearly all types, or most of an attribute that roles join. `claim` is the one that its rule breaks then, and `says`
    what the finding says besides the name; `role` is the one that is asked, `line` what it points at."""

    name: str
    members: str
    rule: str
    claim: str = "network"
    says: str = ""
    role: str = "nonet"
    line: str = ""

    @property
    def text(self) -> str:
        """The CIL of it."""
        rule = self.rule if self.rule.startswith("(") else f"(allow {self.rule})"
        return f"(typeattribute {self.name})(typeattributeset {self.name} {self.members}){rule}\n"

    def is_told(self, findings: Iterable[Finding]) -> bool:
        """Whether one says, of the right line, that it cannot be shown that a role is not in the set."""
        words = ("cannot be shown", self.says or self.name)
        told = [f for f in findings if f.claim == self.claim and all(word in f.message for word in words)]
        return bool(told) and all(pointed_at(finding).startswith(self.line or LINES[self.claim]) for finding in told)


_BIND = "node_type (udp_socket (node_bind))"
_BUT_PARENT = "(and (mcs_constrained_type) (not (container_t)))"
_FEW = "(and (mcs_constrained_type) (not (container_t container_init_t)))"
_FILES = "(and (non_security_file_type) (not (container_file_t)))"
_WRITTEN_OUT = "(expandtypeattribute (many) true)"
HIDDEN = [
    Hidden("sabotage_typeattr_1", "(not (shadow_t))", f"sabotage_typeattr_1 {_BIND}"),
    Hidden("sabotage_typeattr_1", "(not (container_t))", f"sabotage_typeattr_1 {_BIND}"),
    Hidden("sabotage_typeattr_1", "(mcs_constrained_type)", f"sabotage_typeattr_1 {_BIND}"),
    # However few it holds, and wherever these are: modules say `{ domain -X }` and much else in such a set.
    Hidden("sabotage_typeattr_1", "(httpd_t)", f"sabotage_typeattr_1 {_BIND}"),
    Hidden("sabotage_typeattr_2", "(httpd_t)", "sabotage_typeattr_2 kernel_t (system (module_load))", "closed", "load"),
    Hidden(
        "sabotage_typeattr_1",
        "(and (domain) (not (container_t)))",
        "sabotage_typeattr_1 shadow_t (file (quotaon))",
        "contained",
        "container_t lacks",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(shadow_t)",
        "mcs_constrained_type sabotage_typeattr_1 (file (quotaon))",
        "contained",
        "quotaon",
        "web",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(httpd_t)",
        "(constrain (file (write)) (neq t1 sabotage_typeattr_1))",
        "complete",
        "binds more than container_t",
    ),
    Hidden("not_shadow", "(not (shadow_t))", f"not_shadow {_BIND}"),
    Hidden("some_containers", _FEW, f"some_containers {_BIND}"),
    # Half of the confined domains are not in it, and nearly all types are.
    Hidden("nearly_all", "(not (container_t container_init_t svirt_t))", f"nearly_all {_BIND}"),
    Hidden("not_shadow", "(not (shadow_t))", "not_shadow httpd_t (process (dyntransition))", "closed", "on httpd_t"),
    Hidden("not_shadow", "(not (shadow_t))", "not_shadow kernel_t (system (module_load))", "closed", "module_load"),
    Hidden("some_containers", _FEW, "some_containers kernel_t (system (module_load))", "closed", "module_load"),
    Hidden(
        "sabotage_typeattr_1",
        "(and (mcs_constrained_type) (not (shadow_t)))",
        "sabotage_typeattr_1 httpd_t (process (ptrace))",
        "closed",
        "ptrace on httpd_t",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(and (mcs_constrained_type) (not (container_init_t)))",
        "sabotage_typeattr_1 httpd_t (process (transition))",
        "closed",
        "transition on httpd_t",
    ),
    Hidden("not_parent", "(not (container_t))", "not_parent shadow_t (file (read))", "contained", "container_t lacks"),
    Hidden("other_containers", _BUT_PARENT, "other_containers shadow_t (file (read))", "contained"),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(allow other_containers tty_device_t (chr_file (ioctl)))"
        "(allowx other_containers tty_device_t (ioctl chr_file (0x5412)))"
        "(allow container_t tty_device_t (chr_file (ioctl)))"
        "(allowx container_t tty_device_t (ioctl chr_file (0x5401)))",
        "contained",
        "other_containers, which has what",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(allow container_domain tty_device_t (chr_file (ioctl)))"
        "(allowx other_containers tty_device_t (ioctl chr_file (0x5401)))",
        "complete",
        "limited in its commands",
    ),
    Hidden(
        "web_files",
        _FILES,
        "mcs_constrained_type web_files (file (quotaon))",
        "contained",
        "quotaon",
        "web",
    ),
    Hidden("not_parent", "(not (container_t))", "httpd_t not_parent (process (ptrace))", "separate", "httpd_t can act"),
    Hidden(
        "other_containers", _BUT_PARENT, "httpd_t other_containers (process (ptrace))", "separate", "httpd_t can act"
    ),
    Hidden("more_files", _FILES, "httpd_t more_files (file (quotaon))", "separate", "httpd_t can act", "web"),
    # What was written out of nearly all is said of other roles too, and of the role on them.
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(allow container_t file_type (dir (search)))(allow many file_type (dir (search)))",
        "separate",
        "may not search (dir) as nearly all like it may",
        "web",
    ),
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(typeattribute nots)(typeattributeset nots (not (shadow_t container_t container_file_t)))"
        "(allow container_t nots (dir (search)))(allow many nots (dir (search)))",
        "separate",
        "may not search (dir) as nearly all like it may",
        "web",
    ),
    Hidden(
        "many",
        "(not (httpd_t))",
        f"{_WRITTEN_OUT}(allow container_t self (packet (send)))(allow many unlabeled_t (packet (send)))",
        "network",
        "may not send (packet) as nearly all like it may on unlabeled_t",
    ),
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(allow many self (node (recvfrom)))",
        "network",
        "may not recvfrom (node) as nearly all like it may on themselves",
    ),
    Hidden(
        "not_parent",
        "(not (container_t))",
        "(allowx container_t self (ioctl unix_stream_socket (0x2)))"
        "(allowx container_t not_parent (ioctl unix_stream_socket (0x1)))",
        "contained",
        "lxc_nonet_t is not in the set that the binary calls not_parent",
    ),
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(allow container_t tty_device_t (chr_file (ioctl)))"
        "(allowx container_t tty_device_t (ioctl chr_file (0x5401)))"
        "(allowx many tty_device_t (ioctl chr_file (0x5412)))",
        "contained",
        "lxc_nonet_t is not among nearly all that are like it",
    ),
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(allow container_t tty_device_t (chr_file (ioctl)))"
        "(allowx many tty_device_t (ioctl chr_file (0x5412)))",
        "complete",
        "lxc_nonet_t is not among nearly all that are like it",
    ),
    Hidden(
        "many",
        "(not (container_t))",
        f"{_WRITTEN_OUT}(allowx many self (ioctl file (0x5412)))",
        "complete",
        "lxc_nonet_t is not among nearly all that are like it",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(typetransition other_containers self anon_inode etc_t)",
        "separate",
        "all others of mcs_constrained_type but container_t",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(typetransition other_containers self tcp_socket etc_t)",
        "able",
        "all others of mcs_constrained_type but container_t",
    ),
    Hidden(
        "not_parent",
        "(not (container_t))",
        "(allowx container_t self (ioctl tcp_socket (0x2)))"
        "(allowx mcs_constrained_type not_parent (ioctl tcp_socket (0x1)))",
        "contained",
        "lxc_web_t",
        "web",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(and (mcs_constrained_type) (not (container_t svirt_t container_init_t)))",
        "(allow container_t file_type (fifo_file (getattr)))"
        "(allow sabotage_typeattr_1 file_type (fifo_file (getattr)))",
        "contained",
        "lxc_web_t has more than the declared read: lxc_web_content_t:fifo_file getattr",
        "web",
        "- {path",
    ),
    Hidden(
        "many",
        "(not (httpd_t))",
        f"{_WRITTEN_OUT}(allow many file_type (fifo_file (getattr)))",
        "contained",
        "lxc_web_t has more than the declared read: lxc_web_content_t:fifo_file getattr",
        "web",
        "- {path",
    ),
    Hidden(
        "not_shadow",
        "(not (shadow_t))",
        "not_shadow file_type (dir (search))",
        "separate",
        "which may search (dir) file_type",
    ),
    Hidden(
        "not_shadow",
        "(not (shadow_t))",
        "container_t not_shadow (packet (send))",
        "separate",
        "lxc_dns_t, can act on lxc_nonet_t: lxc_nonet_t:packet send",
    ),
    Hidden(
        "some",
        "(httpd_t)",
        "(typetransition mcs_constrained_type file_type fifo_file shadow_t)",
        "able",
        "what lxc_web_t makes in lxc_web_content_t is not labelled",
        "web",
    ),
    # A type of which nothing says what it is may be one of files.
    Hidden(
        "sabotage_typeattr_3",
        "(http_port_t)",
        "mcs_constrained_type sabotage_typeattr_3 (file (link))",
        "contained",
        "lxc_web_content_t is not in the set",
        "web",
    ),
    # What the parent may do to such a set a role may do to a copy of it that leaves the parent out.
    Hidden(
        "big", "(not (shadow_t))", "container_t big (file (link))", "contained", "to which lxc_web_t may link", "web"
    ),
    # Whatever the parent may do to itself, a role may not do to it.
    Hidden("not_shadow", "(not (shadow_t))", "not_shadow container_t (process (signal))", "separate", "not_shadow"),
    Hidden(
        "many",
        "(and (domain) (not (container_t)))",
        "(expandtypeattribute (many) true)(allow many container_t (process (signal)))",
        "separate",
        "nearly all like it may on container_t",
    ),
    Hidden(
        "more_files",
        "(and (non_security_file_type) (not (shadow_t)))",
        "container_init_t more_files (file (read open))",
        "separate",
        "of another kind may",
        "web",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(mlsconstrain (process (ptrace)) (or (eq l1 l2) (eq t1 other_containers)))",
        "separate",
        "binds less than container_t",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(constrain (file (write)) (neq t1 other_containers))",
        "complete",
        "binds more than container_t",
    ),
    Hidden(
        "more_files",
        _FILES,
        "(mlsconstrain (file (quotaon)) (or (eq l1 l2) (eq t2 more_files)))",
        "separate",
        "binds less than container_file_t",
        "web",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(typetransition other_containers etc_t file shadow_t)",
        "separate",
        "all others of mcs_constrained_type but container_t",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(rangetransition other_containers etc_t file ((s0)(s0)))",
        "separate",
        "all others of mcs_constrained_type but container_t",
    ),
    Hidden(
        "nearly_all",
        "(not (shadow_t svirt_t))",
        "nearly_all self (udp_socket (create))",
        says="create (udp_socket) as nearly all like it may on themselves",
    ),
    Hidden(
        "nearly_all",
        "(not (container_t container_init_t))",
        "nearly_all self (process (execheap))",
        "contained",
        "execheap (process) as nearly all like it may on themselves",
    ),
    Hidden(
        "nearly_all",
        "(not (container_init_t))",
        "(expandtypeattribute (nearly_all) true)(allow nearly_all node_type (udp_socket (node_bind)))",
        says="node_bind (udp_socket) as nearly all like it may on",
    ),
    Hidden(
        "nearly_all",
        "(not (container_init_t))",
        "(expandtypeattribute (nearly_all) true)(allow nearly_all httpd_t (process (transition)))",
        "closed",
        "transition (process) as nearly all like it may on httpd_t",
    ),
    Hidden("sabotage_typeattr_1", "(http_port_t)", f"sabotage_typeattr_1 {_BIND}"),
    Hidden(
        "sabotage_typeattr_1",
        "(httpd_t)",
        "mcs_constrained_type sabotage_typeattr_1 (process (setcurrent))",
        "contained",
        "to which lxc_nonet_t may setcurrent",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(http_port_t)",
        "mcs_constrained_type sabotage_typeattr_1 (file (quotaon))",
        "contained",
        "quotaon",
        "web",
    ),
    # A domain that files may have, too: it is no sign that the set holds domains alone.
    Hidden(
        "sabotage_typeattr_1",
        "(httpd_t)",
        "(allow httpd_t fs_t (filesystem (associate)))"
        "(allow mcs_constrained_type sabotage_typeattr_1 (file (quotaon)))",
        "contained",
        "lxc_web_content_t is not in the set",
        "web",
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(container_ro_file_t)",
        "(typeattribute sabotage_typeattr_2)(typeattributeset sabotage_typeattr_2 (container_t))"
        "(allow sabotage_typeattr_2 sabotage_typeattr_1 (file (quotaon)))",
        "contained",
        "to which lxc_web_t may quotaon",
        "web",
    ),
    # Where the parent has the same: what categories, programs and SELinux roles do to it they do to a role, too.
    Hidden(
        "some",
        "(httpd_t)",
        "(rangetransition mcs_constrained_type bin_t process ((s0)(s0)))",
        "separate",
        "all others of",
    ),
    Hidden("some", "(httpd_t)", "(typetransition mcs_constrained_type bin_t process httpd_t)", "able", "all others of"),
    Hidden(
        "some",
        "(httpd_t)",
        "(role other_r)(roletype other_r container_t)(roletransition system_r file_type process other_r)",
        "able",
        "made in or run of lxc_web_content_t has no SELinux role other_r",
        "web",
    ),
    Hidden(
        "other_containers", _BUT_PARENT, "(constrain (tcp_socket (listen)) (neq t1 other_containers))", "able", "binds"
    ),
    Hidden(
        "sabotage_typeattr_1",
        "(mcs_constrained_type)",
        "(constrain (tcp_socket (listen)) (neq t1 sabotage_typeattr_1))",
        "able",
        "binds",
    ),
    Hidden(
        "other_containers",
        _BUT_PARENT,
        "(constrain (process (transition)) (neq t2 other_containers))",
        "enterable",
        "binds more than container_t",
    ),
    Hidden(
        "more_files",
        _FILES,
        "(allowx mcs_constrained_type more_files (ioctl file (0x1)))",
        "complete",
        "limited in its commands",
        "web",
    ),
    Hidden("lxc_base_x_typeattr_1", "(not (shadow_t))", f"lxc_base_x_typeattr_1 {_BIND}"),
    Hidden(
        "not_shadow",
        "(not (shadow_t))",
        "not_shadow not_shadow (process (sigkill))",
        "separate",
        "which may hold other roles",
    ),
    Hidden(
        "not_shadow", "(not (shadow_t))", "container_t not_shadow (process (sigkill))", "separate", "hold other roles"
    ),
    Hidden(
        "not_shadow",
        "(not (shadow_t))",
        "container_t not_shadow (file (read))",
        "separate",
        "may hold other roles",
        "web",
    ),
    Hidden(
        "more_files",
        "(and (non_security_file_type) (not (shadow_t)))",
        "container_t more_files (file (read))",
        "separate",
        "lxc_web_content_t is not in the set that the binary calls more_files, on which",
        "web",
    ),
    Hidden(
        "other_containers",
        "(not (container_t))",
        "(boolean local false)(allow other_containers shadow_t (file (read)))"
        "(booleanif local (true (allow container_t shadow_t (file (read)))))",
        "contained",
        "other_containers, which has what",
    ),
    Hidden(
        "other_containers",
        "(not (container_t))",
        "(boolean local false)(allow httpd_t other_containers (process (ptrace)))"
        "(booleanif local (true (allow httpd_t container_t (process (ptrace)))))",
        "separate",
        "httpd_t can act",
    ),
    Hidden(
        "nearly_all",
        "(not (container_t container_init_t))",
        "(typetransition nearly_all etc_t file shadow_t)",
        "separate",
        "labelled as with nearly all domains",
    ),
    Hidden(
        "nearly_all",
        "(not (container_t container_init_t))",
        "(rangetransition nearly_all etc_t file ((s0)(s0)))",
        "separate",
        "labelled as with nearly all domains",
    ),
    Hidden(
        "others",
        _BUT_PARENT,
        "others self (system (module_load))",
        "closed",
        "module_load (system) as nearly all like it may on themselves",
    ),
    Hidden(
        "nearly_all",
        "(not (container_t svirt_t shadow_t etc_t bin_t))",
        "(role other_r)(roletype other_r shadow_t)(roletype other_r etc_t)(roletype other_r bin_t)"
        "(allow nearly_all self (udp_socket (create)))",
        says="create (udp_socket) as nearly all like it",
    ),
    Hidden(
        "not_parent",
        "(not (container_t))",
        "(typeattribute not_shadow)(typeattributeset not_shadow (not (shadow_t)))"
        "(allow not_parent not_shadow (process (sigkill)))",
        "separate",
        "on which not_parent can act, which may hold other roles",
    ),
]


def on_binary(built: BuiltRoles, folder: Path, text: str = "") -> tuple[BuiltRoles, Path]:
    """The same roles built on the base as a binary, made with more CIL."""
    extra, binary, modules = folder / "more.cil", folder / "binary", folder / "modules"
    extra.write_text(text)
    bases.link([built.prepared.base.cil, extra], True, binary)
    modules.mkdir()
    roles = BuiltRoles.build(str(binary), built.prepared.files[0].path.parent, modules)
    return roles, roles.link(folder)


# -- what kernels ask for (security/selinux/include/classmap.h and hooks.c, Linux 6.12)

# Asked only with the policy capability extended_socket_class.
EXTENDED = """sctp icmp ax25 ipx netrom atmpvc x25 rose decnet atmsvc rds irda pppox llc can tipc bluetooth iucv rxrpc
isdn phonet ieee802154 caif alg nfc vsock kcm qipcrtr smc xdp mctp"""
ANY_SOCKET = "accept append bind connect create listen name_bind read write"
MORE = {
    "tcp_socket": "node_bind name_connect",
    "dccp_socket": "node_bind name_connect",
    "udp_socket": "node_bind",
    "rawip_socket": "node_bind",
    "icmp_socket": "node_bind",
    "sctp_socket": "node_bind name_connect association",
    "netlink_route_socket": "nlmsg_read nlmsg_write",
    "netlink_tcpdiag_socket": "nlmsg_read nlmsg_write",
    "netlink_xfrm_socket": "nlmsg_read nlmsg_write",
    "netlink_audit_socket": "nlmsg_read nlmsg_write nlmsg_relay nlmsg_readpriv nlmsg_tty_audit",
    "tun_socket": "attach_queue",
}
NO_SOCKETS = {
    "netif": "ingress egress",
    "node": "recvfrom sendto",
    "peer": "recv",
    "packet": "send recv relabelto forward_in forward_out",
    "association": "sendto recvfrom setcontext polmatch",
    "infiniband_pkey": "access",
    "infiniband_endport": "manage_subnet",
    "capability": "net_bind_service net_raw net_admin net_broadcast",
    "cap_userns": "net_bind_service net_raw net_admin net_broadcast",
}


# What other claims rest on, of what Linux 3.10 asked for already.
BESIDES = {
    **ACROSS,
    "filesystem": "relabelfrom",
    "kernel_service": "use_as_override",
    "security": "load_policy setenforce",
    "unix_dgram_socket": "sendto",
    "unix_stream_socket": "connectto",
}


def not_asked() -> object:
    """Where labelgen and these lists differ about what handle_unknown decides in a policy that knows no class."""
    asked = {name: set(f"{ANY_SOCKET} {MORE.get(name, '')}".split()) for name in SOCKET_CLASSES}
    asked.update({name: set(perms.split()) for name, perms in NO_SOCKETS.items()})
    extended = {f"{name}_socket" for name in EXTENDED.split()}
    usual = {name: perms for name, perms in asked.items() if name not in extended}
    for is_on, wanted in ((True, asked), (False, usual)):
        found = {name: set(perms) for name, perms in network.unknown_permissions({}, is_on).items()}
        if found != wanted:
            return sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    others = {name: "rawip_socket" if name in ("sctp_socket", "icmp_socket") else "socket" for name in extended}
    return [name for name in SOCKET_CLASSES if network.asked_class(name, False) != others.get(name, name)]
