"""The SELinux network model: which classes and permissions make up the network, and what each lets a domain do.

Data, with the place in the kernel (security/selinux/, Linux 6.1 and 6.12) or libsepol that it was read in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property

# hooks.c, socket_type_to_security_class: AF_UNIX is the one family whose sockets stay on the host.
UNIX_SOCKETS = frozenset({"unix_stream_socket", "unix_dgram_socket"})

# The families that have a class of their own only with the policy capability extended_socket_class (hooks.c,
# socket_type_to_security_class); without it sctp and icmp count as rawip_socket, the others as `socket`.
EXTENDED_SOCKET_CLASSES = frozenset(
    f"{name}_socket"
    for name in (
        "sctp", "icmp", "ax25", "ipx", "netrom", "atmpvc", "x25", "rose", "decnet", "atmsvc", "rds", "irda", "pppox",
        "llc", "can", "tipc", "bluetooth", "iucv", "rxrpc", "isdn", "phonet", "ieee802154", "caif", "alg", "nfc",
        "vsock", "kcm", "qipcrtr", "smc", "xdp", "mctp",
    )
)  # fmt: skip
EXTENDED_SOCKETS = "extended_socket_class"

# Every class of socket but AF_UNIX's that kernels up to 6.12 may ask a policy about (include/classmap.h).
KERNEL_SOCKET_CLASSES = frozenset(
    f"{name}_socket"
    for name in (
        "tcp",
        "udp",
        "rawip",
        "packet",
        "key",
        "netlink",
        "netlink_route",
        "netlink_tcpdiag",
        "netlink_nflog",
        "netlink_xfrm",
        "netlink_selinux",
        "netlink_iscsi",
        "netlink_audit",
        "netlink_fib_lookup",
        "netlink_connector",
        "netlink_netfilter",
        "netlink_dnrt",
        "netlink_kobject_uevent",
        "netlink_generic",
        "netlink_scsitransport",
        "netlink_rdma",
        "netlink_crypto",
        "appletalk",
        "tun",
        "dccp",
        "sctp",
        "icmp",
        "ax25",
        "ipx",
        "netrom",
        "atmpvc",
        "x25",
        "rose",
        "decnet",
        "atmsvc",
        "rds",
        "irda",
        "pppox",
        "llc",
        "can",
        "tipc",
        "bluetooth",
        "iucv",
        "rxrpc",
        "isdn",
        "phonet",
        "ieee802154",
        "caif",
        "alg",
        "nfc",
        "vsock",
        "kcm",
        "qipcrtr",
        "smc",
        "xdp",
        "mctp",
    )
) | {"socket"}

# Labelled networking (hooks.c: selinux_sock_rcv_skb_compat, selinux_inet_sys_rcv_skb, selinux_ip_postroute;
# xfrm.c: selinux_xfrm_sock_rcv_skb): checked only with NetLabel, IPsec or SECMARK rules in force.
LABELLED_NETWORKING = frozenset({"netif", "node", "peer", "association", "packet"})


def asked_of_packets(polcaps: Set[str]) -> Iterator[tuple[str, str, str]]:
    """What a socket needs for its packets where nothing labels them, on any interface and address that the policy does
    not name: (initial SID of the target, class, permission). hooks.c: selinux_ip_postroute, selinux_socket_sock_rcv_skb
    and their forms for policies without network_peer_controls."""
    if "always_check_network" in polcaps:
        yield from (("unlabeled", "packet", perm) for perm in ("send", "recv"))
    if "network_peer_controls" not in polcaps:
        yield from (("unlabeled", "association", perm) for perm in ("sendto", "recvfrom"))
    elif "always_check_network" in polcaps:
        yield from (("unlabeled", "peer", "recv"), ("netif", "netif", "egress"), ("node", "node", "sendto"))


def asked_of_peers(polcaps: Set[str]) -> Iterator[tuple[str, str, str]]:
    """What a peer without label, the initial SID `unlabeled`, needs to be heard (hooks.c: selinux_inet_sys_rcv_skb)."""
    if {"always_check_network", "network_peer_controls"} <= polcaps:
        yield from (("netif", "netif", "ingress"), ("node", "node", "recvfrom"))


# ibpkey.c, hooks.c selinux_ib_pkey_access and selinux_ib_endport_manage_subnet.
INFINIBAND = frozenset({"infiniband_pkey", "infiniband_endport"})

# cred_has_capability: a capability is looked up in `capability`, and in `cap_userns` inside a user namespace.
CAPABILITY_CLASSES = ("capability", "cap_userns")

# inet_bind (net_bind_service below ip_unprivileged_port_start), raw and packet sockets (net_raw), configuration
# of interfaces, routes, tunnels and firewalls (net_admin). net_broadcast is unused by the kernel, and still network.
NETWORK_CAPABILITIES = frozenset({"net_bind_service", "net_raw", "net_admin", "net_broadcast"})

# hooks.c selinux_socket_bind: ports below this one also need net_bind_service
# (sysctl net.ipv4.ip_unprivileged_port_start, 1024 unless changed).
PRIVILEGED_PORTS_BELOW = 1024

# hooks.c selinux_socket_bind skips name_bind inside net.ipv4.ip_local_port_range (this is the kernel's default).
EPHEMERAL_PORTS = (32768, 60999)

# The sysctls of a container's network namespace that close what SELinux leaves open: Fast Open goes round name_connect,
# and inside the range of local ports nothing checks a bind. Who starts no connection needs no local ports: the shortest
# range that the kernel takes is one port. Who starts some gets a thousand, all of them among the kernel's own.
FAST_OPEN_SYSCTL = "net.ipv4.tcp_fastopen"
NO_FAST_OPEN = "0"
LOCAL_PORTS_SYSCTL = "net.ipv4.ip_local_port_range"
ONE_LOCAL_PORT = "65535 65535"
FEW_LOCAL_PORTS = "60000 60999"

# Permissions on another domain by which a process acts with that domain's label, or makes it act for it: it is as good
# as becoming it. hooks.c: selinux_bprm_creds_for_exec (transition), selinux_setprocattr (dyntransition),
# selinux_ptrace_access_check (ptrace: memory, registers and, with pidfd_getfd, sockets of the other),
# selinux_uring_override_creds (io_uring with the credentials of another), selinux_kernel_act_as (kernel services).
LEADING = {
    "process": frozenset({"transition", "dyntransition", "ptrace"}),
    "io_uring": frozenset({"override_creds"}),
    "kernel_service": frozenset({"use_as_override"}),
}

# What lets a domain talk to another through its unix socket (hooks.c: selinux_socket_unix_stream_connect,
# selinux_socket_unix_may_send).
TALKS = (("unix_stream_socket", "connectto"), ("unix_dgram_socket", "sendto"))

# Permissions by which a process does away with the policy itself (selinuxfs.c: sel_write_load, sel_write_enforce;
# hooks.c: selinux_kernel_module_from_file, for a module of the kernel can do anything).
UNDOING = (("security", "load_policy"), ("security", "setenforce"), ("system", "module_load"))

# Those of all these that some of the kernels in use (Linux 3.10 and later) do not ask for: there, and where
# a policy does not know them, a limit stands for them (sys_module; somebody else's io_uring).
NEWER = frozenset({("system", "module_load"), ("io_uring", "override_creds")})

# What every use of a socket takes (hooks.c: selinux_socket_*, selinux_file_permission, file_has_perm).
SOCKET_USE = (
    "append",
    "create",
    "getattr",
    "getopt",
    "ioctl",
    "lock",
    "read",
    "setattr",
    "setopt",
    "shutdown",
    "write",
)
SERVE = ("accept", "bind", "listen")
REACH_OUT = ("connect",)

# Writing below /proc/sys/net sets the ephemeral range, TCP Fast Open and the privileged ports of the container's own
# network namespace (net/ipv4/sysctl_net_ipv4.c), and so undoes what the port types forbid.
SYSCTL_CLASS = "file"
SYSCTL_WRITES = frozenset({"append", "write"})

# Names and types that stand for "no service in particular": a port that only one of them covers must not be granted
# through it, for it would bring thousands of others (refpolicy and Fedora, policy/modules/kernel/corenetwork).
CATCH_ALL_PORT_TYPES = frozenset(
    {
        "reserved_port_t",
        "hi_reserved_port_t",
        "unreserved_port_t",
        "ephemeral_port_t",
        "port_t",
    }
)


@dataclass(frozen=True)
class Protocol:
    """A protocol whose ports SELinux labels.

    connect_is_checked_by_port: hooks.c selinux_socket_connect_helper looks at name_connect for tcp, dccp and sctp
    only; UDP destinations are never checked by port.
    """

    name: str
    tclass: str
    connect_is_checked_by_port: bool
    accepts: bool


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("tcp", "tcp_socket", True, True),
        Protocol("udp", "udp_socket", False, False),
        Protocol("sctp", "sctp_socket", True, True),
        Protocol("dccp", "dccp_socket", True, True),
    )
}

# The declarations of a role file that are not ports -> the classes they open and the capabilities they bring.
ICMP = ("icmp_socket",)
RAW = ("rawip_socket", "packet_socket")
RAW_CAPABILITY = "net_raw"

# A networked role may read routes and addresses: resolvers (getaddrinfo's AI_ADDRCONFIG) and servers ask for them.
ROUTES = "netlink_route_socket"
READ_ROUTES = (
    "append",
    "bind",
    "connect",
    "create",
    "getattr",
    "getopt",
    "ioctl",
    "lock",
    "nlmsg_read",
    "read",
    "setattr",
    "setopt",
    "shutdown",
    "write",
)


# The permissions that decide about the network, by class (include/classmap.h, Linux 6.12). Those that open nothing by
# themselves are left out: map (mmap of a socket that is open), relabelfrom and relabelto, lock, getattr, setattr; and
# nlmsg, which the kernel asks only of a policy with the capability netlink_xperm, that is, one which knows it.
_ANY_SOCKET = frozenset({"accept", "append", "bind", "connect", "create", "listen", "name_bind", "read", "write"})
_MORE_PERMISSIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tcp_socket", "dccp_socket"), ("node_bind", "name_connect")),
    **dict.fromkeys(("udp_socket", "rawip_socket", "icmp_socket"), ("node_bind",)),
    "sctp_socket": ("node_bind", "name_connect", "association"),
    **dict.fromkeys(
        ("netlink_route_socket", "netlink_tcpdiag_socket", "netlink_xfrm_socket"), ("nlmsg_read", "nlmsg_write")
    ),
    "netlink_audit_socket": ("nlmsg_read", "nlmsg_write", "nlmsg_relay", "nlmsg_readpriv", "nlmsg_tty_audit"),
    "tun_socket": ("attach_queue",),
}
DECIDING_PERMISSIONS: dict[str, frozenset[str]] = {
    **{name: _ANY_SOCKET.union(_MORE_PERMISSIONS.get(name, ())) for name in KERNEL_SOCKET_CLASSES},
    **dict.fromkeys(CAPABILITY_CLASSES, NETWORK_CAPABILITIES),
    "netif": frozenset({"ingress", "egress"}),
    "node": frozenset({"recvfrom", "sendto"}),
    "peer": frozenset({"recv"}),
    "packet": frozenset({"send", "recv", "relabelto", "forward_in", "forward_out"}),
    "association": frozenset({"sendto", "recvfrom", "setcontext", "polmatch"}),
    "infiniband_pkey": frozenset({"access"}),
    "infiniband_endport": frozenset({"manage_subnet"}),
}


def netlink_class(family: str) -> str:
    """The class of a netlink family: `route` -> netlink_route_socket (classmap.h)."""
    return f"netlink_{family}_socket"


def netlink_families(classes: Iterable[str]) -> list[str]:
    """The netlink families that `classes` know, sorted."""
    return sorted(
        name[len("netlink_") : -len("_socket")]
        for name in classes
        if name.startswith("netlink_") and name.endswith("_socket") and name != "netlink_socket"
    )


def asked_class(tclass: str, extended: bool) -> str:
    """The class that the kernel asks about for a socket: without extended_socket_class, another one (hooks.c,
    socket_type_to_security_class)."""
    if extended or tclass not in EXTENDED_SOCKET_CLASSES:
        return tclass
    return "rawip_socket" if tclass in ("sctp_socket", "icmp_socket") else "socket"


def unknown_permissions(classes: Mapping[str, frozenset[str]], extended: bool) -> dict[str, frozenset[str]]:
    """class -> those permissions about the network that a kernel asks for and `classes` (class -> permissions) lack,
    so that handle_unknown decides (services.c: selinux_set_mapping, map_decision). An unknown class lacks all."""
    asked = {tclass: perms for tclass, perms in DECIDING_PERMISSIONS.items() if asked_class(tclass, extended) == tclass}
    return not_defined(asked, classes)


def not_defined(
    asked: Mapping[str, frozenset[str]], classes: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """Those of the permissions `asked` for (class -> permissions) that `classes` lack."""
    lacking = {tclass: perms - classes.get(tclass, frozenset()) for tclass, perms in asked.items()}
    return {tclass: perms for tclass, perms in sorted(lacking.items()) if perms}


@dataclass(frozen=True)
class NetworkModel:
    """Which permissions of one policy are network permissions: `sockets` are its socket classes, `sysctls` the bitset
    of the types of /proc/sys/net; `extended` is whether it has the policy capability extended_socket_class."""

    sockets: frozenset[str]
    sysctls: int
    extended: bool = True

    @cached_property
    def classes(self) -> frozenset[str]:
        """The classes all of whose permissions are network permissions."""
        return (self.sockets - UNIX_SOCKETS) | LABELLED_NETWORKING | INFINIBAND

    def of(self, tclass: str, perms: Iterable[str]) -> frozenset[str]:
        """Those of `perms` of the class `tclass` that are network permissions."""
        return frozenset(perm for perm in perms if self._has(tclass, perm))

    def _has(self, tclass: str, perm: str) -> bool:
        return tclass in self.classes or (tclass in CAPABILITY_CLASSES and perm in NETWORK_CAPABILITIES)

    def writes(self, tclass: str, perms: Iterable[str]) -> frozenset[str]:
        """Those of `perms` that are network permissions on the types of /proc/sys/net, and on no other."""
        return SYSCTL_WRITES.intersection(perms) if tclass == SYSCTL_CLASS else frozenset()

    def part(self, tclass: str, perm: str, bits: int) -> int:
        """Those of the target types in `bits` on which a permission is a network permission."""
        key = (tclass, perm)
        if key not in self._counting:
            sysctls = self.sysctls if self.writes(tclass, (perm,)) else 0
            self._counting[key] = -1 if self._has(tclass, perm) else sysctls
        return bits & self._counting[key]

    @cached_property
    def _counting(self) -> dict[tuple[str, str], int]:
        """(class, permission) -> the types on which it is a network permission, as far as was asked; -1 for all."""
        return {}
