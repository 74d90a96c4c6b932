"""Controls: domains whose answers are known beforehand, found in the policy itself.

A witness that refuses everything, or nothing, would agree with many an expectation. So in every boot one domain must be
allowed all that the controls try and one must be refused it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Optional

from labelgen.errors import InputError
from labelgen.witness import trials
from labelgen.witness.answers import Answer, Stretch, Stretches
from labelgen.witness.calls import Trial, Values
from labelgen.witness.expect import World
from labelgen.witness.facts import PROTOCOL_NUMBERS, Facts

REFUSED = Answer(0, 13)


def attempts(ports: Values) -> tuple[Trial, ...]:
    """What the controls try: TCP and UDP on `ports`."""
    v4, v6 = socket.AF_INET, socket.AF_INET6
    return (
        trials.bind("tcp", v4, trials.ANY[v4], ports),
        trials.bind("udp", v6, trials.ANY[v6], ports),
        trials.connect("tcp", v4, trials.NOWHERE[v4], ports),
    )


def contexts(facts: Facts) -> Iterator[str]:
    """A context for each type, the kernel's first. As SELinux role object_r, which may stand with any type and any user
    (security/selinux/ss/policydb.c: policydb_context_isvalid), so that any type can be tried as a process."""
    yield facts.initial["kernel"]
    user, _, _, *rest = facts.initial["kernel"].split(":", 3)
    for name in facts.types:
        yield ":".join((user, "object_r", name, *rest))


def _first(found: Iterator[str], what: str) -> str:
    context = next(found, None)
    if context is None:
        raise InputError(
            f"no type of this policy is {what}, which the witness needs as a control",
            "link such a type into a copy of the policy, and prove that",
        )
    return context


def allowed(facts: Facts) -> str:
    """A context that is allowed every attempt. Raises InputError when the policy has none."""
    world, ports = World(facts), attempts((range(1, 2),))
    needed = {
        (check.target, check.tclass, check.perm)
        for trial in ports
        for value in _ports(facts)
        for _, check in world.checks(trial, facts.initial["kernel"], value)
        if check.target != check.source
    }

    def may(context: str) -> bool:
        own = all(
            world.holds(check)
            for trial in ports
            for _, check in world.checks(trial, context, 1)
            if check.target == check.source
        )
        return own and all(world.allows(context, *need) for need in needed)

    return _first((context for context in contexts(facts) if may(context)), "allowed every port")


def _ports(facts: Facts) -> list[int]:
    return sorted({1, *(edge for borders in facts.borders.values() for edge in borders if 0 < edge < 65536)})


def refused(facts: Facts) -> str:
    """A context that is refused every attempt. Raises InputError when the policy has none."""
    world = World(facts)

    def may_not(context: str) -> bool:
        return not any(world.allows(context, context, tclass, "create") for tclass in ("tcp_socket", "udp_socket"))

    return _first((context for context in contexts(facts) if may_not(context)), "refused every port")


def fast_open_gap(facts: Facts) -> Optional[str]:
    """A context that may make and write TCP sockets and may not connect to port 9: what it answers to TCP Fast Open
    tells whether a kernel checks that. None where the policy has none."""
    world, port = World(facts), facts.port(PROTOCOL_NUMBERS["tcp"], 9)
    for context in contexts(facts):
        may = {perm: world.allows(context, context, "tcp_socket", perm) for perm in ("create", "write", "connect")}
        connects = may["connect"] and world.allows(context, port, "tcp_socket", "name_connect")
        if may["create"] and may["write"] and not connects:
            return context
    return None


def fast_open_trial() -> Trial:
    """What that context tries."""
    return trials.fast_open("tcp", socket.AF_INET, trials.NOWHERE[socket.AF_INET], (range(9, 10),))


def other_than(answers: Stretches, wanted: Answer) -> Optional[Stretch]:
    """The first stretch with another answer than `wanted`."""
    return next((stretch for stretch in answers if stretch.answer != wanted), None)
