"""Packets: what a domain sends over the loopback interface to sockets of the kernel's own, and what it gets from them.

A packet is checked as it leaves and as it arrives only where the policy has the capability always_check_network, or
lacks network_peer_controls (`labelgen.witness.expect`: leaving, arriving). The other end is always a socket that PID 1
opened, whose label is the kernel's: calls on it are free, so that what a trial shows is the domain's own packets.

Both ends are in a network namespace in which nothing else is tried: one for those who send first (`CLIENTS`), and one
for those who are sent to (`SERVERS`), for a port may have a listener of the kernel's in the one, and one of the
domain's in the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from labelgen.network import EPHEMERAL_PORTS, LOCAL_PORTS_SYSCTL
from labelgen.witness import trials
from labelgen.witness.calls import Address, Argument, Call, Data, Filled, Kept, Result, Trial, Zeros, call
from labelgen.witness.expect import Socket, World, socket_class
from labelgen.witness.facts import Facts, edges
from labelgen.witness.trials import IP, LOOPBACK, TRANSPORTS

KIND = "packets"
CLIENTS, SERVERS = "clients", "servers"

# Datagrams are not checked by port: any will do (9 is "discard").
DATAGRAM_PORT = 9
DATAGRAMS = ("udp", "udplite")
# MPTCP meets a listener of TCP, and falls back to it (RFC 8684, 3.7).
DIALLING, LISTENING = ("tcp", "mptcp", "sctp", "dccp"), ("tcp", "sctp", "dccp")
# A client of SCTP cannot be used again, and DCCP keeps the port of what was closed.
SERVING = ("tcp",)

# Sysctls of both namespaces: many local ports, or what one domain left half open meets the next; and no port that
# stays taken after a connection is closed.
LOCAL_PORTS = EPHEMERAL_PORTS
SYSCTLS = {LOCAL_PORTS_SYSCTL: "{} {}".format(*LOCAL_PORTS), "net.ipv4.tcp_max_tw_buckets": "0"}
# SCTP listens only where it can sign cookies, with an algorithm that may be in a module.
UNSIGNED = {"net.sctp.cookie_hmac_alg": "none"}

# The loopback interface hands a packet over before the call that sent it returns (kernel/softirq.c:
# __local_bh_enable_ip runs the queue), unless a thread of the kernel has to: it gets the time.
WAIT = call("nanosleep", Data(struct.pack("=qq", 0, 3_000_000)), 0)
UNBLOCKING = socket.SOCK_NONBLOCK
# Nothing but the family of an address that disconnects.
NOBODY = Address("0.0.0.0", port=0, family=socket.AF_UNSPEC)
# An echo request (RFC 792, RFC 4443); the kernel puts identifier and checksum of ICMP sockets right.
ECHO: dict[int, tuple[int, bytes]] = {
    socket.AF_INET: (socket.IPPROTO_ICMP, struct.pack(">BBHHH", 8, 0, 0xF7FE, 0, 1)),
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, struct.pack(">BBHHH", 128, 0, 0, 0, 1)),
}


class Ports(NamedTuple):
    """The ports that are dialled and served, by protocol."""

    dialled: dict[str, tuple[int, ...]]
    served: dict[str, tuple[int, ...]]


def _is_asked_for(world: World, port: int) -> bool:
    """Whether binding a port is checked with the sysctls of the profile as with those here."""
    return not any(low <= port <= high for low, high in (world.kernel.local_ports, LOCAL_PORTS))


def _first(world: World, context: str, trial: Trial, ports: Sequence[int]) -> int:
    """The first port of a trial that a domain may, or else the first."""
    may = (port for port in ports if all(world.holds(check) for _, check in world.checks(trial, context, port)))
    return next(may, ports[0])


def ports(world: World, contexts: Sequence[str]) -> Ports:
    """For each protocol a port that a domain may connect to and one that it may bind, where it may any; for all of the
    domains together."""
    family = socket.AF_INET
    sought = [port for span in edges(world.facts) for port in span if _is_asked_for(world, port)]

    def of(make: Callable[..., Trial], protocol: str, host: str) -> tuple[int, ...]:
        trial = make(protocol, family, host)
        return tuple(sorted({_first(world, context, trial, sought) for context in contexts}))

    return Ports(
        {name: of(trials.connect, name, trials.NOWHERE[family]) for name in DIALLING},
        {name: of(trials.bind, name, LOOPBACK[family]) for name in SERVING},
    )


def _address(family: int, port: int) -> Address:
    return Address(LOOPBACK[family], port=port)


def _end(protocol: str, family: int, port: int = 0) -> str:
    """The name of the kernel's end; without a port that of what dials."""
    return " ".join(("kernel's", protocol, IP[family], *((str(port),) if port else ())))


def _made(protocol: str, family: int) -> Call:
    transport = TRANSPORTS[protocol]
    return call("socket", family, transport.type | UNBLOCKING, transport.protocol)


def _bound(protocol: str, family: int, port: int) -> tuple[Call, ...]:
    address = _address(family, port)
    bound = (_made(protocol, family), call("bind", Result(0), address, address.size))
    return (*bound, call("listen", Result(0), 64)) if TRANSPORTS[protocol].connects else bound


class End(NamedTuple):
    """A socket of the kernel's own, and the calls of PID 1 that make it."""

    name: str
    protocol: str
    family: int
    calls: tuple[Call, ...]

    def socket(self, facts: Facts) -> Socket:
        """What the name stands for."""
        transport, kernel = TRANSPORTS[self.protocol], facts.initial["kernel"]
        extended = "extended_socket_class" in facts.polcaps
        tclass = socket_class(self.family, transport.type, transport.protocol, extended)
        return Socket(kernel, tclass, self.family, transport.type, transport.protocol, opened_by=kernel)


def ends_of_clients(which: Ports) -> Iterator[End]:
    """What the kernel has for those who send first."""
    for family in IP:
        for name in DATAGRAMS:
            yield End(_end(name, family), name, family, _bound(name, family, DATAGRAM_PORT))
        for name in LISTENING:
            asked = {port for other in DIALLING if _listener(other) == name for port in which.dialled[other]}
            for port in sorted(asked):
                yield End(_end(name, family, port), name, family, _bound(name, family, port))


def _listener(protocol: str) -> str:
    return "tcp" if protocol == "mptcp" else protocol


def ends_of_servers() -> Iterator[End]:
    """What the kernel has for those who are sent to."""
    for family in IP:
        for name in SERVING:
            yield End(_end(name, family), name, family, (_made(name, family),))


def _received(by: Argument, *address: Argument) -> Call:
    return call("recvfrom", by, Zeros(64), 64, socket.MSG_DONTWAIT, *(address or (0, 0)))


def exchange(name: str, protocol: str, family: int, made: tuple[Call, ...], own: Argument) -> Trial:
    """A datagram to the kernel's end and one back. `made` are the calls that make the domain's socket, `own` names
    it."""
    to, theirs = _address(family, DATAGRAM_PORT), Kept(_end(protocol, family))
    size = Data(struct.pack("=I", to.size))
    asked = len(made) + 2
    calls = (
        *made,
        call("sendto", own, Data(b"\0"), 1, 0, to, to.size),
        WAIT,
        _received(theirs, Zeros(to.size), size),
        call("sendto", theirs, Data(b"\0"), 1, 0, Filled(asked, 4), to.size),
        WAIT,
        _received(own),
    )
    return Trial(f"exchange {name}", calls, kind=KIND)


def _ping(name: str, family: int, type_: int) -> Trial:
    protocol, echo = ECHO[family]
    to = _address(family, 0)
    calls = (
        call("socket", family, type_, protocol),
        call("sendto", Result(0), Data(echo), len(echo), 0, to, to.size),
        WAIT,
        _received(Result(0)),
    )
    return Trial(f"ping {name} {IP[family]}", calls, kind=KIND)


def _dial(protocol: str, family: int, port: int) -> Trial:
    to, theirs = _address(family, port), Kept(_end(_listener(protocol), family, port))
    calls = (
        _made(protocol, family),
        call("connect", Result(0), to, to.size),
        WAIT,
        call("accept4", theirs, 0, 0, 0),
    )
    return Trial(f"dial {protocol} {IP[family]} {port}", calls, kind=KIND)


def _free(client: Argument) -> Call:
    return call("connect", client, NOBODY, NOBODY.size)


def freeing_trials() -> Iterator[Trial]:
    """Ends what the last trial without SELinux left, whose end may need packets that are refused later."""
    for family in IP:
        for name in SERVING:
            yield Trial(f"free {name} {IP[family]}", (_free(Kept(_end(name, family))),), kind=KIND)


def _serve(protocol: str, family: int, port: int) -> Trial:
    at, theirs = _address(family, port), Kept(_end(protocol, family))
    calls = (
        _free(theirs),  # of what an earlier trial left
        *_shifted(_bound(protocol, family, port), 1),
        call("connect", theirs, at, at.size),
        WAIT,
        call("accept4", Result(1), 0, 0, 0),
        _free(theirs),  # or the next domain meets the port still taken
        WAIT,
    )
    return Trial(f"serve {protocol} {IP[family]} {port}", calls, kind=KIND)


def _shifted(calls: Sequence[Call], by: int) -> Iterator[Call]:
    for made in calls:
        yield Call(made.name, tuple(Result(a.step + by) if isinstance(a, Result) else a for a in made.arguments))


def left_by(runtime: str) -> tuple[str, str, tuple[Call, ...]]:
    """The name of a datagram socket that PID 1 makes as the domain `runtime` would, what it is among `trials.KINDS`,
    and the calls, of which step 2 opens it."""
    kind, at = "udp ipv4", _address(socket.AF_INET, DATAGRAM_PORT + 1)
    made = trials.inherited(runtime)[f"{runtime} {kind}"]
    return f"{runtime} {kind} to send", kind, (*made, call("bind", Result(2), at, at.size))


def client_trials(which: Ports, runtimes: Sequence[str] = ()) -> Iterator[Trial]:
    """What those try who send first, and with the sockets that `runtimes` left them."""
    for runtime in runtimes:
        name, kind, _ = left_by(runtime)
        yield exchange(f"{kind} on a socket of {runtime}", "udp", socket.AF_INET, (), Kept(name))
    for family in IP:
        for name in DATAGRAMS:
            yield exchange(f"{name} {IP[family]}", name, family, (TRANSPORTS[name].socket(family),), Result(0))
        yield _ping("icmp", family, socket.SOCK_DGRAM)
        yield _ping("raw", family, socket.SOCK_RAW)
        for name in DIALLING:
            yield from (_dial(name, family, port) for port in which.dialled[name])


def server_trials(which: Ports) -> Iterator[Trial]:
    """What those try who are sent to."""
    for family in IP:
        for name in SERVING:
            yield from (_serve(name, family, port) for port in which.served[name])
