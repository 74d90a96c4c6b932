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
    ; open: ...                     why it is not caught yet; the test turns red when it is

The rest is linked on top: CIL, or a module as an administrator writes it (.te).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bases import BuiltRoles

from labelgen import base as bases
from labelgen import programs
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
        if "built" in self.fields:
            built = built.again_on(self.edits["base"], self.linked(folder), folder)
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
        lines = file.path.read_text().splitlines()
        places = [finding.line.rpartition(":") for finding in told]
        if {where for where, _, _ in places} != {str(file.path)}:
            yield f"findings are about other files: {places}"
            return
        starts = [lines[int(number) - 1].strip() for _, _, number in places]
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
