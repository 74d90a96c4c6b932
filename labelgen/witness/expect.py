"""The kernel's rules: which permissions each system call asks for, in which order, and what a missing one answers.

A trial is walked through call by call, as the kernel would. Each rule names the function of Linux that it was read in
(6.1; the ones marked "measured" were also found that way). What the kernel answers apart from SELinux, a protocol it
does not have, an address it cannot reach, is not modelled but measured, by the same trial while nothing is enforced
(`baseline`).
"""

from __future__ import annotations

import errno
import socket
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple, Optional

from labelgen.witness.answers import Answer, Stretch, Stretches, join, together
from labelgen.witness.calls import (
    Address,
    Argument,
    Call,
    Data,
    Filled,
    Kept,
    Result,
    Swept,
    Text,
    Trial,
    UnixAddress,
    Values,
)
from labelgen.witness.facts import Facts, type_of, with_type
from labelgen.witness.trials import IPPROTO_DCCP, IPPROTO_MPTCP, LOOPBACK, MSG_FASTOPEN, NPROTO, SOCK_MAX

SOCK_TYPE_MASK = 0xF
SOCK_PACKET = 10


@dataclass(frozen=True)
class Check:
    """A permission that a call needs. `stage` says when it is asked for.

    hook: before anything that the baseline could fail of. first: once the protocol exists. last: when all else is
    right.

    `alternatives` are further (class, permission) pairs on the same target, any of which will do.
    """

    source: str
    target: str
    tclass: str
    perm: str
    rule: str
    errno: int = errno.EACCES
    stage: str = "hook"
    alternatives: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.source} {self.target}:{self.tclass} {self.perm} ({self.rule})"


@dataclass(frozen=True)
class Socket:
    """A socket. `opened_by` is the context that opened its descriptor, where that is another process."""

    context: str
    tclass: str
    family: int
    type: int
    protocol: int
    opened_by: Optional[str] = None


@dataclass(frozen=True)
class Thing:
    """Anything else that is labelled and can be named in a call: a process, a file, a queue, a key."""

    context: str
    tclass: str


@dataclass(frozen=True)
class File(Thing):
    """An open file or socket, both to read and to write, that the context `opened_by` opened."""

    opened_by: str


@dataclass(frozen=True)
class Letterbox:
    """A socket of the kernel's own from which a descriptor of `passed` comes."""

    passed: File


Object = object


class Packet(NamedTuple):
    """The last packet of a trial: the socket that sent it, and the address that it came from and went to, which are the
    same on the loopback interface."""

    sender: Socket
    host: str


@dataclass(frozen=True)
class Kernel:
    """What has to be known of a kernel and its network namespace.

    `local_ports` is net.ipv4.ip_local_port_range; `unprivileged_from` net.ipv4.ip_unprivileged_port_start;
    `fast_open_checked` whether data sent with MSG_FASTOPEN is checked like a connect; `asks_userns` whether making a
    user namespace is (Linux 6.1 and later); `labels_subflows` whether the packets of an MPTCP socket have its label
    (Linux 6.4 and later) or that of the kernel.
    """

    local_ports: tuple[int, int] = (32768, 60999)
    unprivileged_from: int = 1024
    fast_open_checked: bool = True
    asks_userns: bool = True
    labels_subflows: bool = True


# Class of a family that has one by itself, and of those that have one with the policy capability extended_socket_class.
ALWAYS = {17: "packet_socket", 15: "key_socket", 5: "appletalk_socket"}
EXTENDED = {
    3: "ax25_socket",
    4: "ipx_socket",
    6: "netrom_socket",
    8: "atmpvc_socket",
    9: "x25_socket",
    11: "rose_socket",
    12: "decnet_socket",
    20: "atmsvc_socket",
    21: "rds_socket",
    23: "irda_socket",
    24: "pppox_socket",
    26: "llc_socket",
    29: "can_socket",
    30: "tipc_socket",
    31: "bluetooth_socket",
    32: "iucv_socket",
    33: "rxrpc_socket",
    34: "isdn_socket",
    35: "phonet_socket",
    36: "ieee802154_socket",
    37: "caif_socket",
    38: "alg_socket",
    39: "nfc_socket",
    40: "vsock_socket",
    41: "kcm_socket",
    42: "qipcrtr_socket",
    43: "smc_socket",
    44: "xdp_socket",
    45: "mctp_socket",
}
NETLINK = {
    0: "netlink_route_socket",
    4: "netlink_tcpdiag_socket",
    5: "netlink_nflog_socket",
    6: "netlink_xfrm_socket",
    7: "netlink_selinux_socket",
    8: "netlink_iscsi_socket",
    9: "netlink_audit_socket",
    10: "netlink_fib_lookup_socket",
    11: "netlink_connector_socket",
    12: "netlink_netfilter_socket",
    14: "netlink_dnrt_socket",
    15: "netlink_kobject_uevent_socket",
    16: "netlink_generic_socket",
    18: "netlink_scsitransport_socket",
    20: "netlink_rdma_socket",
    21: "netlink_crypto_socket",
}
UNIX: dict[int, str] = {
    socket.SOCK_STREAM: "unix_stream_socket",
    socket.SOCK_SEQPACKET: "unix_stream_socket",
    socket.SOCK_DGRAM: "unix_dgram_socket",
    socket.SOCK_RAW: "unix_dgram_socket",
}
PORTED = ("tcp_socket", "dccp_socket", "sctp_socket")


def _inet_class(type_: int, protocol: int, extended: bool) -> str:
    if type_ in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        if protocol in (socket.IPPROTO_IP, socket.IPPROTO_TCP, IPPROTO_MPTCP):
            return "tcp_socket"
        return "sctp_socket" if extended and protocol == socket.IPPROTO_SCTP else "rawip_socket"
    if type_ == socket.SOCK_DGRAM:
        if protocol in (socket.IPPROTO_IP, socket.IPPROTO_UDP):
            return "udp_socket"
        icmp = protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
        return "icmp_socket" if extended and icmp else "rawip_socket"
    return "dccp_socket" if type_ == 6 else "rawip_socket"


def socket_class(family: int, type_: int, protocol: int, extended: bool) -> str:
    """The class of a socket (security/selinux/hooks.c: socket_type_to_security_class)."""
    if family == socket.AF_UNIX:
        return UNIX.get(type_, "socket")
    if family in (socket.AF_INET, socket.AF_INET6):
        return _inet_class(type_, protocol, extended)
    if family == socket.AF_NETLINK:
        return NETLINK.get(protocol, "netlink_socket")
    return ALWAYS.get(family) or (EXTENDED.get(family) if extended else None) or "socket"


# The protocol that a socket made with protocol 0 gets (net/ipv4/af_inet.c: inetsw_array).
DEFAULT_PROTOCOL: dict[int, int] = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}

# Capabilities that a family's create() asks for: before it looks at type and protocol ("first"), or after ("last").
FAMILY_CAPABILITIES: dict[int, tuple[str, tuple[str, ...], str]] = {
    15: ("first", ("net_admin",), "net/key/af_key.c: pfkey_create"),
    17: ("first", ("net_raw",), "net/packet/af_packet.c: packet_create"),
    26: ("first", ("net_raw",), "net/llc/af_llc.c: llc_ui_create"),
    35: ("first", ("sys_admin",), "net/phonet/af_phonet.c: pn_socket_create"),
    37: ("first", ("sys_admin", "net_admin"), "net/caif/caif_socket.c: caif_create"),
    44: ("first", ("net_raw",), "net/xdp/xsk.c: xsk_create"),
}
RAW_CAPABILITIES: dict[int, str] = {
    2: "net/ipv4/af_inet.c: inet_create",
    10: "net/ipv6/af_inet6.c: inet6_create",
    3: "net/ax25/af_ax25.c: ax25_create",
    5: "net/appletalk/ddp.c: atalk_create",
    31: "net/bluetooth/l2cap_sock.c: l2cap_sock_create",
    36: "net/ieee802154/socket.c: ieee802154_create",
    39: "net/nfc/rawsock.c: rawsock_create",
}


class Walk:
    """One trial by one domain: what its calls have made so far."""

    def __init__(self, world: World, label: str, value: int, userns: bool = False) -> None:
        self.world = world
        self.userns = userns
        self.facts = world.facts
        self.label = label
        self.value = value
        self.results: list[Object] = []
        self.sent: Optional[Packet] = None

    def thing(self, argument: Argument) -> Object:
        """What an argument names."""
        if isinstance(argument, Result):
            return self.results[argument.step]
        if isinstance(argument, Kept):
            return self.world.kept[argument.name]
        return self.value if isinstance(argument, Swept) else argument

    def number(self, argument: Argument) -> int:
        """The number an argument stands for. Raises TypeError when it is none."""
        thing = self.thing(argument)
        if not isinstance(thing, int):
            raise TypeError(f"{argument} is no number")
        return thing

    def socket(self, argument: Argument) -> Optional[Socket]:
        """The socket an argument names, if it is one."""
        thing = self.thing(argument)
        return thing if isinstance(thing, Socket) else None

    def capable(self, *capabilities: str, rule: str, stage: str = "hook", errno_: int = errno.EPERM) -> Check:
        """Any of these capabilities, in the first user namespace or another (selinux_capable, cred_has_capability)."""
        classes = ("cap_userns", "cap2_userns") if self.userns else ("capability", "capability2")
        pairs = [(classes[name in CAPABILITIES_2], name) for name in capabilities]
        return Check(self.label, self.label, *pairs[0], rule, errno_, stage, tuple(pairs[1:]))


CAPABILITIES_2 = frozenset(
    {
        "mac_override",
        "mac_admin",
        "syslog",
        "wake_alarm",
        "block_suspend",
        "audit_read",
        "perfmon",
        "bpf",
        "checkpoint_restore",
    }
)

Rule = Callable[[Walk, Call], Iterator[Check]]
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update((name, function) for name in names)
        return function

    return register


@_rule("socket")
def _socket(walk: Walk, call: Call) -> Iterator[Check]:
    family, type_, protocol = (walk.number(argument) for argument in call.arguments)
    type_ &= SOCK_TYPE_MASK
    walk.results.append(None)
    if family >= NPROTO or type_ >= SOCK_MAX:  # net/socket.c: __sock_create, before the hook
        return
    if family == socket.AF_INET and type_ == SOCK_PACKET:
        family = socket.AF_PACKET
    extended = "extended_socket_class" in walk.facts.polcaps
    tclass = socket_class(family, type_, protocol, extended)
    context = walk.world.new_socket(walk.label, tclass)
    yield Check(walk.label, context, tclass, "create", "security/selinux/hooks.c: selinux_socket_create")
    yield from _create_capabilities(walk, family, type_)
    walk.results[-1] = Socket(context, tclass, family, type_, protocol or DEFAULT_PROTOCOL.get(type_, 0))


def _create_capabilities(walk: Walk, family: int, type_: int) -> Iterator[Check]:
    if family in FAMILY_CAPABILITIES:
        stage, capabilities, rule = FAMILY_CAPABILITIES[family]
        yield walk.capable(*capabilities, rule=rule, stage=stage)
    elif type_ == socket.SOCK_RAW and family in RAW_CAPABILITIES:
        yield walk.capable("net_raw", rule=RAW_CAPABILITIES[family], stage="last")


@_rule("socketpair")
def _socketpair(walk: Walk, call: Call) -> Iterator[Check]:
    # net/socket.c: __sys_socketpair makes two sockets and then joins them; the hook of joining asks for nothing.
    for _ in range(2):
        yield from _socket(walk, Call("socket", call.arguments[:3]))
        walk.results.pop()
    walk.results.append(None)


def _has(walk: Walk, made: Socket, perm: str, rule: str) -> Iterator[Check]:
    """security/selinux/hooks.c: sock_has_perm; a socket with the initial SID of the kernel is never checked
    (measured)."""
    if made.context != walk.facts.initial["kernel"]:
        yield Check(walk.label, made.context, made.tclass, perm, f"security/selinux/hooks.c: {rule}")


def _is_inet(made: Socket) -> bool:
    return made.family in (socket.AF_INET, socket.AF_INET6)


@_rule("bind")
def _bind(walk: Walk, call: Call) -> Iterator[Check]:
    made, address = walk.socket(call.arguments[0]), call.arguments[1]
    walk.results.append(0)
    if made is None or not isinstance(address, Address):
        return
    yield from _has(walk, made, "bind", "selinux_socket_bind")
    unspecified = address.sa_family == socket.AF_UNSPEC
    if not _is_inet(made) or (unspecified and (made.family == socket.AF_INET6 or any(address.packed_host))):
        return
    port = walk.value if address.port is None else address.port
    yield from _name_bind(walk, made, port)
    yield Check(
        made.context,
        walk.facts.node(address.packed_host),
        made.tclass,
        "node_bind",
        "security/selinux/hooks.c: __selinux_socket_bind",
    )
    if 0 < port < walk.world.kernel.unprivileged_from and made.type != socket.SOCK_RAW and made.tclass != "icmp_socket":
        yield walk.capable(
            "net_bind_service",
            rule="net/ipv4/af_inet.c: __inet_bind; net/sctp/socket.c: sctp_do_bind",
            stage="last",
            errno_=errno.EACCES,
        )


def _name_bind(walk: Walk, made: Socket, port: int) -> Iterator[Check]:
    """__selinux_socket_bind: not for port 0, and not for a port that the kernel itself might choose (measured).

    The protocol is passed in eight bits, so that MPTCP, 262, is TCP, 6 (sel_netport_sid, measured).
    """
    low, high = walk.world.kernel.local_ports
    if port and (port < walk.world.kernel.unprivileged_from or not low <= port <= high):
        yield Check(
            made.context,
            walk.facts.port(made.protocol & 0xFF, port),
            made.tclass,
            "name_bind",
            "security/selinux/hooks.c: __selinux_socket_bind",
        )


@_rule("connect")
def _connect(walk: Walk, call: Call) -> Iterator[Check]:
    made, address = walk.socket(call.arguments[0]), call.arguments[1]
    walk.results.append(0)
    if made is None:
        return
    yield from _has(walk, made, "connect", "selinux_socket_connect_helper")
    if isinstance(address, Address):
        yield from _name_connect(walk, made, address)
        if made.type != socket.SOCK_DGRAM:  # to connect that sends nothing
            yield from _sending(walk, made, address)
    elif isinstance(address, UnixAddress):
        yield from _to_unix(walk, made, address, "connectto", "selinux_socket_unix_stream_connect")


def _to_unix(walk: Walk, made: Socket, address: UnixAddress, perm: str, hook: str) -> Iterator[Check]:
    other = walk.world.kept[walk.world.listening[address.name]]
    if isinstance(other, Socket):
        yield Check(made.context, other.context, other.tclass, perm, f"security/selinux/hooks.c: {hook}")


def _name_connect(walk: Walk, made: Socket, address: Address) -> Iterator[Check]:
    """selinux_socket_connect_helper: TCP, DCCP and SCTP only; AF_UNSPEC, which disconnects, is free."""
    if made.tclass in PORTED and address.sa_family != socket.AF_UNSPEC:
        port = walk.value if address.port is None else address.port
        yield Check(
            made.context,
            walk.facts.port(made.protocol & 0xFF, port),
            made.tclass,
            "name_connect",
            "security/selinux/hooks.c: selinux_socket_connect_helper",
        )


@_rule("sendto")
def _sendto(walk: Walk, call: Call) -> Iterator[Check]:
    made, data, _length, flags, address = (walk.thing(argument) for argument in call.arguments[:5])
    walk.results.append(0)
    if not isinstance(made, Socket) or not isinstance(flags, int):
        return
    yield from _has(walk, made, "write", "selinux_socket_sendmsg")
    opens_fast = flags & MSG_FASTOPEN and made.tclass == "tcp_socket" and walk.world.kernel.fast_open_checked
    if opens_fast and isinstance(address, Address):
        yield from _has(walk, made, "connect", "selinux_socket_sendmsg, selinux_socket_connect_helper")
        yield from _name_connect(walk, made, address)
    if isinstance(address, UnixAddress):
        yield from _to_unix(walk, made, address, "sendto", "selinux_socket_unix_may_send")
    yield from _sending(walk, made, address)
    if made.family == socket.AF_NETLINK and isinstance(data, Data):
        yield from _netlink_send(walk, made, data)


# -- packets

LOOPBACK_INTERFACE = "lo"
ALWAYS_CHECKED, PEERS_CHECKED = "always_check_network", "network_peer_controls"


def _carried_by(walk: Walk, made: Socket) -> str:
    """The label of the packets of a socket: its own. The subflows of MPTCP are sockets that the kernel makes for itself
    (net/mptcp/subflow.c: mptcp_subflow_create_socket), which have the socket's label since Linux 6.4
    (security_mptcp_add_subflow)."""
    if made.protocol == IPPROTO_MPTCP and not walk.world.kernel.labels_subflows:
        return walk.facts.initial["kernel"]
    return made.context


def _leaving(walk: Walk, made: Socket, host: str, errno_: int) -> Iterator[Check]:
    """What a packet of a socket needs to leave through the loopback interface to `host`.

    No rule labels packets there (SECMARK), and no peer is labelled (NetLabel, IPsec): without the policy capability
    always_check_network nothing is asked (selinux_secmark_enabled, selinux_peerlbl_enabled), and with it all that is
    not labelled has the initial SID `unlabeled` (ss/sidtab.c: sidtab_search_core, of SECSID_NULL). A policy without
    network_peer_controls is asked for IPsec's permission whatever there is (xfrm.c: selinux_xfrm_postroute_last, in
    kernels with CONFIG_SECURITY_NETWORK_XFRM).
    """
    context, unlabeled, polcaps = _carried_by(walk, made), walk.facts.initial["unlabeled"], walk.facts.polcaps
    compatible = "" if PEERS_CHECKED in polcaps else "_compat"
    rule = f"security/selinux/hooks.c: selinux_ip_postroute{compatible}"
    if ALWAYS_CHECKED in polcaps:
        yield Check(context, unlabeled, "packet", "send", rule, errno_)
    if PEERS_CHECKED not in polcaps:
        xfrm = "security/selinux/xfrm.c: selinux_xfrm_postroute_last"
        yield Check(context, unlabeled, "association", "sendto", xfrm, errno_)
    elif ALWAYS_CHECKED in polcaps:
        yield Check(context, walk.facts.netif(LOOPBACK_INTERFACE), "netif", "egress", rule, errno_)
        yield Check(context, walk.facts.node(Address(host).packed_host), "node", "sendto", rule, errno_)


def _arriving(walk: Walk, made: Socket, host: str) -> Iterator[Check]:
    """What a socket needs to get a packet from `host` by the loopback interface; a packet that is dropped is one that
    does not come. Interface and address are asked of the peer, which is unlabelled, and not of the domain
    (selinux_inet_sys_rcv_skb)."""
    context, unlabeled, polcaps = _carried_by(walk, made), walk.facts.initial["unlabeled"], walk.facts.polcaps
    hook = "selinux_socket_sock_rcv_skb" if PEERS_CHECKED in polcaps else "selinux_sock_rcv_skb_compat"
    rule, missing = f"security/selinux/hooks.c: {hook}", errno.EAGAIN
    if ALWAYS_CHECKED in polcaps:
        if PEERS_CHECKED in polcaps:
            peer = "security/selinux/hooks.c: selinux_inet_sys_rcv_skb"
            yield Check(unlabeled, walk.facts.netif(LOOPBACK_INTERFACE), "netif", "ingress", peer, missing)
            yield Check(unlabeled, walk.facts.node(Address(host).packed_host), "node", "recvfrom", peer, missing)
            yield Check(context, unlabeled, "peer", "recv", rule, missing)
        yield Check(context, unlabeled, "packet", "recv", rule, missing)
    if PEERS_CHECKED not in polcaps:
        xfrm = "security/selinux/xfrm.c: selinux_xfrm_sock_rcv_skb"
        yield Check(context, unlabeled, "association", "recvfrom", xfrm, missing)


def _loopback(walk: Walk, address: Object) -> Optional[str]:
    """The address of a call, where packets for it go to the loopback interface; there is no route to any other."""
    if isinstance(address, Filled) and walk.sent:
        return walk.sent.host
    if isinstance(address, Address) and address.sa_family and address.host in LOOPBACK.values():
        return address.host
    return None


# Protocols whose calls do not tell that a packet was lost on its way out. SCTP and DCCP send it again later (net/sctp/
# output.c: sctp_packet_transmit; net/dccp/output.c: dccp_connect), ICMPv6 does not (net/ipv6/ping.c: ping_v6_sendmsg).
# TCP's do (net/ipv4/tcp_output.c: tcp_connect), and those of datagrams (net/ipv4/ip_output.c: ip_send_skb).
SILENT = (socket.IPPROTO_SCTP, IPPROTO_DCCP, socket.IPPROTO_ICMPV6)


def _is_silent(made: Socket) -> bool:
    return made.protocol in SILENT and made.type != socket.SOCK_RAW


def _sending(walk: Walk, made: Socket, address: Object) -> Iterator[Check]:
    """A packet that may not leave is an error of the call that sends it (NF_DROP_ERR of selinux_ip_postroute), or else
    shows in what does not come of it."""
    host = _loopback(walk, address)
    if host is not None:
        walk.sent = Packet(made, host)
        if not _is_silent(made):
            yield from _leaving(walk, made, host, errno.ECONNREFUSED)


def _unsaid(walk: Walk, packet: Packet) -> Iterator[Check]:
    """What was asked as the packet left, where the call that sent it did not tell."""
    if _is_silent(packet.sender):
        yield from _leaving(walk, packet.sender, packet.host, errno.EAGAIN)


def _received(walk: Walk, made: Socket) -> Iterator[Check]:
    """The last packet that was sent has to arrive. An echo comes from a socket of the kernel's own, which gets requests
    without a check (net/ipv4/icmp.c: icmp_rcv, icmp_reply; net/ipv6/icmp.c: icmpv6_rcv, icmpv6_echo_reply); a raw
    socket gets the request itself as well (net/ipv4/raw.c: raw_local_deliver; net/ipv6/raw.c: raw6_local_deliver)."""
    if walk.sent is None:
        return
    yield from _unsaid(walk, walk.sent)
    if walk.sent.sender is made and made.type != socket.SOCK_RAW:
        kernel = Socket(walk.facts.initial["kernel"], made.tclass, made.family, made.type, made.protocol)
        yield from _leaving(walk, kernel, walk.sent.host, errno.EAGAIN)
    yield from _arriving(walk, made, walk.sent.host)


def _accepted(walk: Walk, made: Socket) -> Iterator[Check]:
    """A packet of each side has to reach the other. The answer of a socket that listens has its label
    (selinux_ip_postroute: selinux_conn_sid with a peer that has none)."""
    if walk.sent is None:
        return
    sender, host = walk.sent
    yield from _unsaid(walk, walk.sent)
    yield from _arriving(walk, made, host)
    yield from _leaving(walk, made, host, errno.EAGAIN)
    yield from _arriving(walk, sender, host)


@_rule("nanosleep")
def _nanosleep(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    return
    yield


# security/selinux/nlmsgtab.c, the messages that trials send. A class that is not here has no table.
NETLINK_PERMISSIONS = {
    "netlink_route_socket": {18: "nlmsg_read", 19: "nlmsg_write", 24: "nlmsg_write", 26: "nlmsg_read"},
    "netlink_xfrm_socket": {16: "nlmsg_write", 18: "nlmsg_read"},
    "netlink_tcpdiag_socket": {20: "nlmsg_read"},
}


def _netlink_send(walk: Walk, made: Socket, data: Data) -> Iterator[Check]:
    if len(data.content) < 16:
        return
    message = struct.unpack_from("=H", data.content, 4)[0]
    perm = NETLINK_PERMISSIONS.get(made.tclass, {}).get(message)
    if perm:
        yield from _has(walk, made, perm, "selinux_netlink_send")


def _through_file(walk: Walk, made: Socket, perm: str) -> Iterator[Check]:
    """security/selinux/hooks.c: selinux_file_permission, which a descriptor of one's own passes without a check."""
    if made.opened_by is not None and made.opened_by != walk.label:
        yield Check(walk.label, made.opened_by, "fd", "use", "security/selinux/hooks.c: file_has_perm")
    if made.opened_by is not None:
        yield Check(walk.label, made.context, made.tclass, perm, "security/selinux/hooks.c: file_has_perm")


@_rule("read", "write")
def _read_write(walk: Walk, call: Call) -> Iterator[Check]:
    made = walk.socket(call.arguments[0])
    walk.results.append(0)
    if made is not None:
        yield from _through_file(walk, made, call.name)
        hook = "selinux_socket_recvmsg" if call.name == "read" else "selinux_socket_sendmsg"
        yield from _has(walk, made, call.name, hook)


SIMPLE = {
    "listen": ("listen", "selinux_socket_listen"),
    "accept4": ("accept", "selinux_socket_accept"),
    "getsockopt": ("getopt", "selinux_socket_getsockopt"),
    "setsockopt": ("setopt", "selinux_socket_setsockopt"),
    "getsockname": ("getattr", "selinux_socket_getsockname"),
    "getpeername": ("getattr", "selinux_socket_getpeername"),
    "shutdown": ("shutdown", "selinux_socket_shutdown"),
    "recvfrom": ("read", "selinux_socket_recvmsg"),
}
OPTION_CAPABILITIES = {36: ("net_raw", "net_admin"), 33: ("net_admin",)}


@_rule(*SIMPLE)
def _simple(walk: Walk, call: Call) -> Iterator[Check]:
    made = walk.socket(call.arguments[0])
    walk.results.append(0)
    if made is None:
        return
    yield from _has(walk, made, *SIMPLE[call.name])
    if call.name == "recvfrom":
        yield from _received(walk, made)
    if call.name == "accept4":
        yield from _accepted(walk, made)
    if call.name == "setsockopt" and call.arguments[1] == socket.SOL_SOCKET:
        capabilities = OPTION_CAPABILITIES.get(walk.number(call.arguments[2]))
        if capabilities:
            yield walk.capable(*capabilities, rule="net/core/sock.c: sk_setsockopt", stage="last")


SIGNALS = {0: "signull", 17: "sigchld", 9: "sigkill", 19: "sigstop"}


def _on(walk: Walk, thing: Object, perms: Iterable[str], rule: str, errno_: int = errno.EACCES) -> Iterator[Check]:
    """Permissions of the domain itself on a labelled thing."""
    if isinstance(thing, (Thing, Socket)):
        for perm in perms:
            yield Check(walk.label, thing.context, thing.tclass, perm, rule, errno_)


@_rule("kill")
def _kill(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    perm = SIGNALS.get(walk.number(call.arguments[1]), "signal")
    yield from _on(walk, walk.thing(call.arguments[0]), (perm,), "security/selinux/hooks.c: selinux_task_kill")


# Calls that ask for one permission on a process: the argument that names it, and the permission.
ON_PROCESS = {
    "getpgid": (0, "getpgid", "selinux_task_getpgid"),
    "getsid": (0, "getsession", "selinux_task_getsid"),
    "sched_getscheduler": (0, "getsched", "selinux_task_getscheduler"),
    "sched_setaffinity": (0, "setsched", "selinux_task_setscheduler"),
    "setpriority": (1, "setsched", "selinux_task_setnice"),
    "ioprio_get": (1, "getsched", "selinux_task_getioprio"),
    "prlimit64": (0, "getrlimit", "selinux_task_prlimit"),
    "ptrace": (1, "ptrace", "selinux_ptrace_access_check"),
}


@_rule(*ON_PROCESS)
def _on_process(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    argument, perm, hook = ON_PROCESS[call.name]
    yield from _on(walk, walk.thing(call.arguments[argument]), (perm,), f"security/selinux/hooks.c: {hook}")


@_rule("process_vm_readv")
def _process_vm_readv(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    yield from _on(
        walk, walk.thing(call.arguments[0]), ("ptrace",), "mm/process_vm_access.c: process_vm_rw_core", errno.EPERM
    )


@_rule("pidfd_open")
def _pidfd_open(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(walk.thing(call.arguments[0]))
    return
    yield


@_rule("pidfd_getfd")
def _pidfd_getfd(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    process, taken = walk.thing(call.arguments[0]), walk.socket(call.arguments[1])
    yield from _on(walk, process, ("ptrace",), "kernel/pid.c: __pidfd_fget", errno.EPERM)
    if taken is not None:
        rule = "security/selinux/hooks.c: selinux_file_receive"
        if taken.opened_by != walk.label:
            yield Check(walk.label, str(taken.opened_by), "fd", "use", rule)
        yield from _on(walk, taken, ("read", "write"), rule)


# /proc files of a process that need more than their own label (fs/proc/base.c: proc_mem_open, mem_open).
PROC_FILES = {"environ": ("file", "read"), "maps": ("file", "read"), "mem": ("process", "ptrace")}


# What opening asks for (include/linux/fs.h: ACC_MODE; hooks.c: file_mask_to_av, file_to_av).
O_ACCMODE, O_APPEND, O_DIRECTORY = 3, 0o2000, 0o200000


def _opening(walk: Walk, flags: int) -> Iterator[str]:
    if flags & O_ACCMODE != 1:
        yield "read"
    if flags & O_ACCMODE:
        yield "append" if flags & O_APPEND else "write"
    if "open_perms" in walk.facts.polcaps:
        yield "open"


@_rule("openat")
def _openat(walk: Walk, call: Call) -> Iterator[Check]:
    folder, name, flags = walk.thing(call.arguments[0]), call.arguments[1], walk.number(call.arguments[2])
    walk.results.append(None)
    if not isinstance(folder, Thing) or not isinstance(name, Text):
        return
    yield from _on(walk, folder, ("search",), "security/selinux/hooks.c: selinux_inode_permission")
    opened = Thing(folder.context, "dir" if flags & O_DIRECTORY else "file")
    yield from _on(walk, opened, _opening(walk, flags), "security/selinux/hooks.c: selinux_file_open")
    if name.content in PROC_FILES:
        tclass, perm = PROC_FILES[name.content]
        yield from _on(
            walk, Thing(folder.context, tclass), (perm,), "security/selinux/hooks.c: selinux_ptrace_access_check"
        )
    walk.results[-1] = File(opened.context, opened.tclass, walk.label)


@_rule("mmap")
def _mmap(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    perms = ("map", "read", "execute")
    yield from _on(walk, walk.thing(call.arguments[4]), perms, "security/selinux/hooks.c: selinux_mmap_file")


# What a call on a name in a folder takes of the folder and of the file there, and the hook that asks for the latter.
IN_FOLDER = {
    "newfstatat": (("search",), ("getattr",), "selinux_inode_getattr"),
    "fchmodat": (("search",), ("setattr",), "selinux_inode_setattr"),
    "linkat": (("search", "write", "add_name"), ("link",), "may_link"),
    "unlinkat": (("search", "write", "remove_name"), ("unlink",), "may_link"),
}


@_rule(*IN_FOLDER)
def _in_folder(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    folder = walk.thing(call.arguments[0])
    of_folder, of_file, hook = IN_FOLDER[call.name]
    if isinstance(folder, Thing):
        yield from _on(walk, folder, of_folder, "security/selinux/hooks.c: selinux_inode_permission, may_link")
        yield from _on(walk, Thing(folder.context, "file"), of_file, f"security/selinux/hooks.c: {hook}")


@_rule("receive")
def _receive(walk: Walk, call: Call) -> Iterator[Check]:
    """A descriptor that may not be had is left out of the message (net/core/scm.c: scm_detach_fds)."""
    box = walk.thing(call.arguments[0])
    walk.results.append(0)
    if isinstance(box, Letterbox):
        rule = "security/selinux/hooks.c: selinux_file_receive"
        if box.passed.opened_by != walk.label:
            yield Check(walk.label, box.passed.opened_by, "fd", "use", rule, errno.ENOMSG)
        yield from _on(walk, box.passed, ("read", "write"), rule, errno.ENOMSG)


@_rule("mq_open")
def _mq_open(walk: Walk, call: Call) -> Iterator[Check]:
    """ipc/mqueue.c: do_mq_open, which looks the name up in the root of the file system and then opens a file."""
    walk.results.append(0)
    name, rule = call.arguments[0], "ipc/mqueue.c: do_mq_open"
    queue = walk.world.kept[walk.world.listening[name.content]] if isinstance(name, Text) else None
    yield from _on(walk, Thing(walk.facts.queues, "dir"), ("search",), rule)
    yield from _on(walk, queue, _opening(walk, walk.number(call.arguments[1])), rule)


# ipc/util.c: ipcperms asks for unix_read and unix_write, the hook of the call for its own.
@_rule("shmat")
def _shmat(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    access = ("read",) if walk.number(call.arguments[2]) & 0o10000 else ("read", "write")
    shm = walk.thing(call.arguments[0])
    yield from _on(walk, shm, [f"unix_{perm}" for perm in access], "security/selinux/hooks.c: selinux_ipc_permission")
    yield from _on(walk, shm, access, "security/selinux/hooks.c: selinux_shm_shmat")


IPC_HOOKS = {"shmctl": "selinux_shm_shmctl", "msgctl": "selinux_msg_queue_msgctl"}


@_rule(*IPC_HOOKS)
def _ipc_stat(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    yield from _on(
        walk,
        walk.thing(call.arguments[0]),
        ("unix_read", "getattr", "associate"),
        f"security/selinux/hooks.c: selinux_ipc_permission, {IPC_HOOKS[call.name]}",
    )


@_rule("semctl")
def _semctl(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    perms = ("unix_write", "write") if walk.number(call.arguments[2]) == 16 else ("unix_read", "read")
    yield from _on(
        walk,
        walk.thing(call.arguments[0]),
        perms,
        "security/selinux/hooks.c: selinux_ipc_permission, selinux_sem_semctl",
    )


@_rule("keyctl")
def _keyctl(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    perm = {6: "view", 11: "read"}[walk.number(call.arguments[0])]
    yield from _on(walk, walk.thing(call.arguments[1]), (perm,), "security/selinux/hooks.c: selinux_key_permission")


CAPABILITIES = {
    "sethostname": ("sys_admin", "kernel/sys.c: sethostname"),
    "delete_module": ("sys_module", "kernel/module/main.c: delete_module"),
    "reboot": ("sys_boot", "kernel/reboot.c: reboot"),
    "clock_settime": ("sys_time", "security/commoncap.c: cap_settime"),
    "acct": ("sys_pacct", "kernel/acct.c: acct"),
    "ioperm": ("sys_rawio", "arch/x86/kernel/ioport.c: ksys_ioperm"),
    "prctl": ("setpcap", "security/commoncap.c: cap_prctl_drop"),
    "setgroups": ("setgid", "kernel/groups.c: may_setgroups"),
    "timerfd_create": ("wake_alarm", "fs/timerfd.c: timerfd_create"),
}


@_rule(*CAPABILITIES)
def _capability(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    capability, rule = CAPABILITIES[call.name]
    yield walk.capable(capability, rule=rule)


@_rule("unshare")
def _unshare(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    if walk.world.kernel.asks_userns:
        rule = "security/selinux/hooks.c: selinux_userns_create"
        yield Check(walk.label, walk.label, "user_namespace", "create", rule)


@_rule("syslog")
def _syslog(walk: Walk, call: Call) -> Iterator[Check]:
    walk.results.append(0)
    yield walk.capable("syslog", "sys_admin", rule="kernel/printk/printk.c: check_syslog_permissions")
    yield Check(
        walk.label, walk.facts.initial["kernel"], "system", "syslog_console", "security/selinux/hooks.c: selinux_syslog"
    )


def _cut(values: Values, borders: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first value, last value) of the stretches into which `borders` cut `values`."""
    cuts = sorted(borders)
    for span in values:
        starts = [span.start, *cuts[bisect_right(cuts, span.start) : bisect_left(cuts, span.stop)]]
        yield from ((low, after - 1) for low, after in zip(starts, [*starts[1:], span.stop]))


@dataclass(frozen=True)
class World:
    """A policy in a kernel: what every trial is walked through with. `kept` maps the names of slots to what they hold,
    `listening` names to the slots of the unix sockets and message queues that have them."""

    facts: Facts
    kernel: Kernel = Kernel()
    kept: Mapping[str, Object] = field(default_factory=dict)
    listening: Mapping[str, str] = field(default_factory=dict)

    def new_socket(self, label: str, tclass: str) -> str:
        """The context of a new socket: its maker's, unless a type_transition says otherwise (socket_sockcreate_sid)."""
        other = self.facts.transitions.get((type_of(label), tclass))
        return with_type(label, other) if other else label

    @cached_property
    def _decisions(self) -> dict[tuple[str, str, str, str], bool]:
        return {}

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """The kernel's decision (security/selinux/avc.c: avc_denied for permissive domains; ss/services.c:
        security_compute_av for what the policy does not know, type_attribute_bounds_av for bounded types)."""
        key = (source, target, tclass, perm)
        if key not in self._decisions:
            self._decisions[key] = self._decide(*key)
        return self._decisions[key]

    def _decide(self, source: str, target: str, tclass: str, perm: str) -> bool:
        facts = self.facts
        if type_of(source) in facts.permissive:
            return True
        if perm not in facts.classes.get(tclass, ()):
            return facts.unknown_allowed
        if not facts.access.allows(source, target, tclass, perm):
            return False
        parent = facts.bounds.get(type_of(source))
        if parent is None:
            return True
        bound = facts.bounds.get(type_of(target))
        return facts.access.allows(
            with_type(source, parent), with_type(target, bound) if bound else target, tclass, perm
        )

    def holds(self, check: Check) -> bool:
        """Whether the policy grants what the kernel asks for."""
        pairs = ((check.tclass, check.perm), *check.alternatives)
        return any(self.allows(check.source, check.target, tclass, perm) for tclass, perm in pairs)

    def checks(self, trial: Trial, label: str, value: int) -> Iterator[tuple[int, Check]]:
        """(step, check) in the order in which the kernel asks."""
        walk = Walk(self, label, value, trial.userns)
        for step, made in enumerate(trial.calls):
            if made.name not in RULES:
                raise KeyError(f"there is no rule for the call {made.name}")
            for check in RULES[made.name](walk, made):
                yield step, check

    def answer(self, trial: Trial, label: str, value: int, baseline: Answer) -> tuple[Answer, Optional[Check]]:
        """What the kernel will answer, and the check that decides it, if one does."""
        for step, check in self.checks(trial, label, value):
            if baseline.errno and step > baseline.step:
                break
            failing = baseline.errno if step == baseline.step else 0
            if _reached(check, failing) and not self.holds(check):
                return Answer(step, check.errno), check
        return baseline, None

    def answers(self, trial: Trial, label: str, baseline: Stretches) -> Stretches:
        """The answers to a trial. For ports, whose baseline is that of the first of them, they are worked out once
        for each stretch of ports that the kernel cannot tell apart."""
        same: Iterable[Stretch] = baseline
        if trial.ports:
            same = (Stretch(trial.first, trial.values[-1].stop - 1, baseline[0].answer),)
        cut = together(((low, high, None) for low, high in self.stretches(trial)), same)
        return join(Stretch(low, high, self.answer(trial, label, low, base)[0]) for low, high, (_, base) in cut)

    def stretches(self, trial: Trial) -> Iterator[tuple[int, int]]:
        """(first, last) of the values of a trial that SELinux cannot tell apart: ports with one label, protocols of one
        class of sockets, each by itself elsewhere."""
        if trial.ports:
            protocol = trial.calls[0].arguments[2]
            labels = self.facts.borders.get(protocol & 0xFF, frozenset()) if isinstance(protocol, int) else frozenset()
            return _cut(trial.values, self._port_borders | labels)
        if trial.kind == "sockets" and trial.query:
            return _cut(trial.values, _class_borders(trial.query.family, trial.query.type, trial.values))
        return ((value, value) for span in trial.values for value in span)

    @cached_property
    def _port_borders(self) -> frozenset[int]:
        low, high = self.kernel.local_ports
        return frozenset({low, high + 1, self.kernel.unprivileged_from})


@cache
def _class_borders(family: int, type_: int, values: Values) -> frozenset[int]:
    """The protocols at which another class of sockets begins, with the policy capability extended_socket_class or
    without."""
    classes = {
        value: tuple(socket_class(family, type_, value, extended) for extended in (True, False))
        for span in values
        for value in span
    }
    return frozenset(value for value in classes if classes[value] != classes.get(value - 1))


def _reached(check: Check, failing: int) -> bool:
    """Whether the kernel comes to `check` in a step that, without SELinux, fails with errno `failing` (0: succeeds)."""
    if failing in (errno.ENOSYS, errno.EBADF):  # no such call; no such socket, for want of the protocol
        return False
    if check.stage == "first":
        return failing != errno.EAFNOSUPPORT
    return check.stage == "hook" or not failing
