"""What a domain tries: the trials, as data."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, Optional

from labelgen.witness.calls import (
    Address,
    Call,
    Data,
    Kept,
    Query,
    Result,
    Swept,
    Text,
    Trial,
    Values,
    Zeros,
    call,
    values,
)

SOCK_DCCP = 6
IPPROTO_DCCP = 33
SOCK_MAX = 11
NPROTO = 46
IPPROTO_UDPLITE = 136
IPPROTO_MPTCP = 262
MSG_FASTOPEN = 0x20000000
SOCKET = Result(0)
PORTS: Values = (range(1, 65536),)

# Addresses reserved for documentation (RFC 5737, RFC 3849). The witness has no route to them: a connect that is allowed
# answers ENETUNREACH at once, and sends nothing.
NOWHERE: dict[int, str] = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
ANY: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
LOOPBACK: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
MAPPED: dict[int, str] = {socket.AF_INET: "::ffff:127.0.0.1", socket.AF_INET6: "::ffff:192.0.2.1"}
IP: dict[int, str] = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}


class Transport(NamedTuple):
    """A protocol with ports: the type and the protocol of its sockets, whether it makes connections, and the protocol
    whose labels its ports have, if any."""

    type: int
    protocol: int
    connects: bool
    labelled_as: Optional[str] = None
    fresh: bool = False

    def socket(self, family: int) -> Call:
        return call("socket", family, self.type, self.protocol)


# An MPTCP socket keeps the first subflow of a failed connect: each port gets a socket of its own.
TRANSPORTS = {
    "tcp": Transport(socket.SOCK_STREAM, socket.IPPROTO_TCP, True, "tcp"),
    "udp": Transport(socket.SOCK_DGRAM, socket.IPPROTO_UDP, False, "udp"),
    "sctp": Transport(socket.SOCK_STREAM, socket.IPPROTO_SCTP, True, "sctp"),
    "sctp-seqpacket": Transport(socket.SOCK_SEQPACKET, socket.IPPROTO_SCTP, True, "sctp"),
    "dccp": Transport(SOCK_DCCP, IPPROTO_DCCP, True, "dccp"),
    "mptcp": Transport(socket.SOCK_STREAM, IPPROTO_MPTCP, True, "tcp", fresh=True),
    "udplite": Transport(socket.SOCK_DGRAM, IPPROTO_UDPLITE, False),
}


def _with_address(name: str, host: str) -> Call:
    address = Address(host)
    return call(name, SOCKET, address, address.size)


def _send(host: str, flags: int) -> Call:
    address = Address(host)
    return call("sendto", SOCKET, Data(b"\0"), 1, flags, address, address.size)


def _ports(action: str, protocol: str, family: int, host: str, swept: Call, values: Values) -> Trial:
    transport = TRANSPORTS[protocol]
    return Trial(
        f"{action} {protocol} {IP[family]} {host}",
        (transport.socket(family), swept),
        values,
        "ports",
        fresh=transport.fresh,
        query=Query(action, transport.labelled_as, host) if transport.labelled_as else None,
    )


def bind(protocol: str, family: int, host: str, values: Values = PORTS) -> Trial:
    """Bind each port on `host`."""
    return _ports("bind", protocol, family, host, _with_address("bind", host), values)


def connect(protocol: str, family: int, host: str, values: Values = PORTS) -> Trial:
    """Connect to each port of `host`."""
    return _ports("connect", protocol, family, host, _with_address("connect", host), values)


def send(protocol: str, family: int, host: str, values: Values = PORTS) -> Trial:
    """Send a datagram to each port of `host`."""
    return _ports("send", protocol, family, host, _send(host, 0), values)


def fast_open(protocol: str, family: int, host: str, values: Values = PORTS) -> Trial:
    """Connect to each port of `host` with the first data (RFC 7413), without calling connect()."""
    return _ports("fastopen", protocol, family, host, _send(host, MSG_FASTOPEN), values)


def port_trials(values: Values = PORTS) -> Iterator[Trial]:
    """Bind and connect, each protocol over IPv4 and IPv6."""
    for protocol, transport in TRANSPORTS.items():
        for family in IP:
            yield bind(protocol, family, ANY[family], values)
            if transport.connects or protocol == "udp":
                yield connect(protocol, family, NOWHERE[family], values)


def detour_trials(values: Values) -> Iterator[Trial]:
    """The less usual ways to name a port: IPv4 in IPv6, TCP Fast Open, datagrams."""
    for protocol in ("tcp", "udp"):
        yield bind(protocol, socket.AF_INET6, MAPPED[socket.AF_INET], values)
    yield connect("tcp", socket.AF_INET6, MAPPED[socket.AF_INET6], values)
    for family in IP:
        yield fast_open("tcp", family, NOWHERE[family], values)
        yield send("udp", family, NOWHERE[family], values)


def node_trials() -> Iterator[Trial]:
    """A free port on each kind of address, and addresses written in unusual families."""
    for protocol, transport in TRANSPORTS.items():
        for family, ip in IP.items():
            for host in (ANY[family], LOOPBACK[family], NOWHERE[family]):
                address = Address(host, port=0)
                yield Trial(
                    f"bind {protocol} {ip} {host} port 0",
                    (transport.socket(family), call("bind", SOCKET, address, address.size)),
                )
    for family, host in (
        (socket.AF_INET, ANY[socket.AF_INET]),
        (socket.AF_INET, LOOPBACK[socket.AF_INET]),
        (socket.AF_INET6, ANY[socket.AF_INET6]),
    ):
        for name in ("bind", "connect"):
            address = Address(host, port=4, family=socket.AF_UNSPEC)
            yield Trial(
                f"{name} tcp {IP[family]} {host} AF_UNSPEC",
                (TRANSPORTS["tcp"].socket(family), call(name, SOCKET, address, address.size)),
            )


# The protocols of a family that mean something: AF_INET's are numbers of IP and Linux's own above 255 (linux/in.h,
# IPPROTO_MAX 263), AF_NETLINK's are below MAX_LINKS 32 (linux/netlink.h), the others' are few.
PROTOCOLS: dict[int, Values] = {
    socket.AF_INET: (range(264),),
    socket.AF_INET6: (range(264),),
    socket.AF_NETLINK: (range(34),),
}
FEW_PROTOCOLS: Values = (range(17),)
FAMILIES = range(48)
TYPES = (0, 1, 2, 3, 4, 5, 6, 10, 11)


def _creation(family: int, type_: int) -> Optional[Query]:
    # net/socket.c: __sock_create refuses families above NPROTO and types above SOCK_MAX before it asks anybody.
    return Query("create", family=family, type=type_) if family < NPROTO and type_ < SOCK_MAX else None


def socket_trials() -> Iterator[Trial]:
    """socket() of every family, type and protocol."""
    for family in FAMILIES:
        for type_ in TYPES:
            yield Trial(
                f"socket family {family} type {type_}",
                (call("socket", family, type_, Swept()),),
                PROTOCOLS.get(family, FEW_PROTOCOLS),
                "sockets",
                query=_creation(family, type_),
            )


def _socket_calls() -> Iterator[tuple[str, tuple[Call, ...]]]:
    level, name = socket.SOL_SOCKET, socket.SO_REUSEADDR
    yield "listen", (call("listen", SOCKET, 1),)
    yield "accept", (call("accept4", SOCKET, 0, 0, 0),)
    yield "listen, accept", (call("listen", SOCKET, 1), call("accept4", SOCKET, 0, 0, 0))
    yield "getsockopt", (call("getsockopt", SOCKET, level, name, Zeros(16), Data(struct.pack("=I", 4))),)
    yield "setsockopt", (call("setsockopt", SOCKET, level, name, Data(struct.pack("=I", 1)), 4),)
    yield "setsockopt SO_MARK", (call("setsockopt", SOCKET, level, 36, Data(struct.pack("=I", 1)), 4),)
    yield "setsockopt SO_RCVBUFFORCE", (call("setsockopt", SOCKET, level, 33, Data(struct.pack("=I", 4096)), 4),)
    yield "getsockname", (call("getsockname", SOCKET, Zeros(128), Data(struct.pack("=I", 128))),)
    yield "getpeername", (call("getpeername", SOCKET, Zeros(128), Data(struct.pack("=I", 128))),)
    yield "shutdown", (call("shutdown", SOCKET, 2),)
    yield "receive", (call("recvfrom", SOCKET, Zeros(16), 16, socket.MSG_DONTWAIT, 0, 0),)
    yield "read", (call("read", SOCKET, Zeros(16), 16),)
    yield "send", (call("sendto", SOCKET, Data(b"\0"), 1, socket.MSG_DONTWAIT, 0, 0),)
    yield "write", (call("write", SOCKET, Data(b"\0"), 1),)


# Sockets that do not block, so that accept, read and receive answer at once.
KINDS = {
    "tcp ipv4": (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "tcp ipv6": (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp ipv4": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp ipv4": (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP),
    "dccp ipv4": (socket.AF_INET, SOCK_DCCP, IPPROTO_DCCP),
    "mptcp ipv4": (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
    "udplite ipv4": (socket.AF_INET, socket.SOCK_DGRAM, IPPROTO_UDPLITE),
    "icmp ipv4": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    "raw ipv4": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "unix stream": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "unix dgram": (socket.AF_UNIX, socket.SOCK_DGRAM, 0),
    "unix seqpacket": (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0),
    "netlink route": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, 0),
}


def use_trials() -> Iterator[Trial]:
    """Every call on a socket of the domain's own."""
    for kind, (family, type_, protocol) in KINDS.items():
        made = call("socket", family, type_ | socket.SOCK_NONBLOCK, protocol)
        yield from (Trial(f"{name} on {kind}", (made, *calls)) for name, calls in _socket_calls())
    for family, type_ in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM)):
        yield Trial(f"socketpair family {family}", (call("socketpair", family, type_, 0, Zeros(8)),))


# nlmsghdr: length, type, flags, sequence, port (linux/netlink.h). A header alone asks for nothing.
def _netlink_message(message: int) -> Data:
    return Data(struct.pack("=IHHII", 16, message, 1, 1, 0))


NETLINK_MESSAGES = {
    "route RTM_GETLINK": (socket.NETLINK_ROUTE, 18),
    "route RTM_SETLINK": (socket.NETLINK_ROUTE, 19),
    "route RTM_NEWROUTE": (socket.NETLINK_ROUTE, 24),
    "route RTM_GETROUTE": (socket.NETLINK_ROUTE, 26),
    "xfrm XFRM_MSG_NEWSA": (6, 16),
    "xfrm XFRM_MSG_GETSA": (6, 18),
    "sock_diag SOCK_DIAG_BY_FAMILY": (4, 20),
    "generic": (16, 16),
}


def netlink_trials() -> Iterator[Trial]:
    """A message of each kind that SELinux tells apart."""
    for name, (protocol, message) in NETLINK_MESSAGES.items():
        yield Trial(
            f"netlink {name}",
            (
                call("socket", socket.AF_NETLINK, socket.SOCK_RAW, protocol),
                call("sendto", SOCKET, _netlink_message(message), 16, socket.MSG_DONTWAIT, 0, 0),
            ),
        )


def capability_trials() -> Iterator[Trial]:
    """Calls that nothing but a capability stands before, and that change nothing that matters to the witness."""
    timespec = struct.pack("=qq", 1_700_000_000, 0)
    attempts = {
        "sys_admin": call("sethostname", Text("witness"), 7),
        "sys_module": call("delete_module", Text("nothing"), 0),
        "sys_boot": call("reboot", 0xFEE1DEAD, 672274793, 0, 0),
        "sys_time": call("clock_settime", 0, Data(timespec)),
        "sys_pacct": call("acct", 0),
        "sys_rawio": call("ioperm", 0x80, 1, 1),
        "setpcap": call("prctl", 24, 63, 0, 0, 0),
        "setgid": call("setgroups", 0, 0),
        "syslog": call("syslog", 7, 0, 0),
        "wake_alarm": call("timerfd_create", 8, 0),
    }
    for capability, attempt in attempts.items():
        yield Trial(f"capability {capability}", (attempt,))


CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWNET = 0x4000000, 0x10000000, 0x40000000
# In a network namespace of its own a process has the kernel's default sysctls; so ports below 1024 alone.
FEW_PORTS: Values = values((1, 21, 53, 80, 443, 512, 1023))


def userns_trials() -> Iterator[Trial]:
    """Calls that a capability in the user namespace of the caller stands before (capabilities(7), user_namespaces(7)).
    For a process that has unshared its user, network and UTS namespaces."""
    attempts: dict[str, tuple[tuple[Call, ...], Values]] = {
        "sethostname": ((call("sethostname", Text("witness"), 7),), (range(1),)),
        "prctl PR_CAPBSET_DROP": ((call("prctl", 24, 63, 0, 0, 0),), (range(1),)),
        "setsockopt SO_MARK": (
            (
                call("socket", socket.AF_INET, socket.SOCK_STREAM, 0),
                call("setsockopt", SOCKET, socket.SOL_SOCKET, 36, Data(struct.pack("=I", 1)), 4),
            ),
            (range(1),),
        ),
        "raw socket": ((call("socket", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),), (range(1),)),
        "packet socket": ((call("socket", socket.AF_PACKET, socket.SOCK_RAW, 0),), (range(1),)),
    }
    for protocol in ("tcp", "udp"):
        for family, ip in IP.items():
            made = TRANSPORTS[protocol].socket(family)
            attempts[f"bind {protocol} {ip}"] = ((made, _with_address("bind", ANY[family])), FEW_PORTS)
    for name, (calls, ports) in attempts.items():
        yield Trial(f"in a user namespace: {name}", calls, ports, "userns", userns=True)


def unshare_trial() -> Trial:
    """Making a user namespace: for a process that does nothing else."""
    return Trial("make a user namespace", (call("unshare", CLONE_NEWUSER),), kind="userns")


def network_trials(ports: Values = PORTS, detours: Values = PORTS) -> tuple[Trial, ...]:
    """All that one domain tries by itself: `ports` to bind and connect, `detours` to reach otherwise."""
    return (
        *port_trials(ports),
        *detour_trials(detours),
        *node_trials(),
        *socket_trials(),
        *use_trials(),
        *netlink_trials(),
        *capability_trials(),
    )


def inherited(runtime: str) -> dict[str, tuple[Call, ...]]:
    """Name of slot -> the calls by which PID 1 makes a socket labelled as the domain `runtime` would make it.

    The label is asked for through /proc/self/attr/sockcreate (proc_pid_attr(5)), and no longer asked for afterwards.
    """
    label = runtime.encode() + b"\0"
    setting = (call("open", Text("/proc/self/attr/sockcreate"), 1), call("write", Result(0), Data(label), len(label)))
    clearing = (call("open", Text("/proc/self/attr/sockcreate"), 1), call("write", Result(3), Data(b"\n"), 1))
    return {
        f"{runtime} {kind}": (*setting, call("socket", family, type_ | socket.SOCK_NONBLOCK, protocol), *clearing)
        for kind, (family, type_, protocol) in KINDS.items()
    }


# To connect there is to disconnect. Any other address would bind a datagram or SCTP socket to a port, which a sweep
# would find taken.
NOBODY = Address("0.0.0.0", port=0, family=socket.AF_UNSPEC)


def inherit_trials(runtime: str) -> Iterator[Trial]:
    """Every call on a socket that the domain `runtime` made and left open. None changes the socket: the addresses to
    bind and connect are nobody's."""
    for kind, (family, type_, protocol) in KINDS.items():
        kept = Kept(f"{runtime} {kind}")
        for name, calls in _socket_calls():
            if "shutdown" not in name and len(calls) == 1 and not name.startswith("listen"):
                only = calls[0]
                yield Trial(f"{name} on {kind} of {runtime}", (Call(only.name, (kept, *only.arguments[1:])),))
        if family in NOWHERE:
            address = Address(NOWHERE[family], port=7)
            yield Trial(f"bind on {kind} of {runtime}", (call("bind", kept, address, address.size),))
            to = address if type_ in (socket.SOCK_STREAM, SOCK_DCCP) and protocol != socket.IPPROTO_SCTP else NOBODY
            yield Trial(f"connect on {kind} of {runtime}", (call("connect", kept, to, to.size),))
