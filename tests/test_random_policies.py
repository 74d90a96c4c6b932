"""Random rules, attributes, booleans, constraints and ports: Access, Constraints and Reach decide as libsepol does.

LABELGEN_TEST_DECISIONS says how many decisions at least are compared (a million by default), LABELGEN_TEST_SEED repeats
a run: a failure prints the seed it came from. Without it the seed is always the same, with LABELGEN_HYPOTHESIS=explore
a new one.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from judge import Judge, port_types

from labelgen import base as bases
from labelgen.access import Access
from labelgen.conditions import Condition, holds
from labelgen.constraints import Constraints, Context, Level
from labelgen.policy import Constraint, Policy
from labelgen.reach import Need, Reacher, port_table

SMALL = Path(__file__).parent / "policies" / "small.cil"
DECISIONS = int(os.environ.get("LABELGEN_TEST_DECISIONS", "1000000"))
EXPLORE = os.environ.get("LABELGEN_HYPOTHESIS") == "explore"
SEED = int(os.environ.get("LABELGEN_TEST_SEED") or (secrets.randbelow(2**32) if EXPLORE else 1))

TYPES = [f"{letter}_t" for letter in "abcdefgh"]
ATTRIBUTES = ["one", "two", "three", "four", "five"]
BOOLEANS = ["red", "green", "blue"]
SOCKET = ["ioctl", "read", "write", "create", "getattr", "setattr", "append", "bind", "connect", "listen", "accept"]
SOCKET += ["getopt", "setopt", "shutdown"]
CLASSES = {
    "process": ["fork", "transition", "dyntransition", "sigchld", "signal", "ptrace"],
    "file": ["ioctl", "read", "write", "create", "getattr", "setattr", "append", "execute", "open", "entrypoint"],
    "tcp_socket": [*SOCKET, "node_bind", "name_connect", "name_bind"],
    "udp_socket": [*SOCKET, "node_bind", "name_bind"],
    "unix_stream_socket": [*SOCKET, "connectto"],
    "capability": ["chown", "net_bind_service", "net_raw", "net_admin"],
}
# Each type as source and target, every permission of every class.
EVERY_DECISION = [
    (source, target, tclass, perm)
    for source in TYPES
    for target in TYPES
    for tclass, perms in CLASSES.items()
    for perm in perms
]


class Identity(NamedTuple):
    """What a context has besides its type."""

    user: str
    role: str
    low: tuple[str, ...]
    high: tuple[str, ...]

    def text(self, type_name: str) -> str:
        """The context as libsepol reads it."""
        low, high = (":".join(("s0", ",".join(names))).rstrip(":") for names in (self.low, self.high))
        return f"{self.user}:{self.role}:{type_name}:{low}" + (f"-{high}" if high != low else "")

    def context(self, type_name: str) -> Context:
        """The context as labelgen reads it."""
        low, high = (Level(0, frozenset(names)) for names in (self.low, self.high))
        return Context(self.user, self.role, type_name, low, high)


# -- what is random


def sets(names: Sequence[str]) -> st.SearchStrategy[str]:
    """A set of types as CIL writes it: names, and, or, xor, not, all."""
    leaves = st.one_of(st.sampled_from(names).map(lambda name: f"({name})"), st.just("(all)"))
    leaves = st.one_of(leaves, st.lists(st.sampled_from(names), min_size=1, max_size=3).map(_in_parentheses))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, st.sampled_from(["and", "or", "xor"]), inner, inner),
            inner.map(lambda one: f"(not {one})"),
        ),
        max_leaves=4,
    )


def _in_parentheses(names: Sequence[str]) -> str:
    return f"({' '.join(names)})"


def attributes() -> st.SearchStrategy[str]:
    """What is in each attribute: types, and the attributes before it."""
    statements = [
        sets([*TYPES, *ATTRIBUTES[:number]]).map(f"(typeattributeset {name} {{}})\n".format)
        for number, name in enumerate(ATTRIBUTES)
    ]
    return st.tuples(*statements).map("".join)


@st.composite
def access_rules(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["allow", "allow", "allow", "allow", "dontaudit", "auditallow"]))
    source = draw(st.sampled_from([*TYPES, *ATTRIBUTES]))
    target = draw(st.sampled_from([*TYPES, *ATTRIBUTES, "self", "self"]))
    tclass = draw(st.sampled_from(sorted(CLASSES)))
    perms = draw(st.lists(st.sampled_from(CLASSES[tclass]), min_size=1, max_size=5, unique=True))
    return f"({kind} {source} {target} ({tclass} ({' '.join(perms)})))"


def conditions() -> st.SearchStrategy[str]:
    """An expression over the booleans."""
    return st.recursive(
        st.sampled_from(BOOLEANS).map(lambda name: f"({name})"),
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, st.sampled_from(["and", "or", "xor", "eq", "neq"]), inner, inner),
            inner.map(lambda one: f"(not {one})"),
        ),
        max_leaves=5,
    )


def blocks() -> st.SearchStrategy[str]:
    """A conditional block with one branch or both."""
    rules = st.lists(access_rules(), min_size=1, max_size=3).map(" ".join)
    return st.one_of(
        st.builds("(booleanif {} (true {}))".format, conditions(), rules),
        st.builds("(booleanif {} (false {}))".format, conditions(), rules),
        st.builds("(booleanif {} (true {}) (false {}))".format, conditions(), rules, rules),
    )


def constraint_expressions(levels: bool) -> st.SearchStrategy[str]:
    """What a constraint needs. Roles are compared for equality only."""
    equal = st.sampled_from(["eq", "neq"])
    leaves = [
        st.builds("({} {})".format, equal, st.sampled_from(["u1 u2", "r1 r2", "t1 t2", "u1 system_u", "u2 other_u"])),
        st.builds("({} {})".format, equal, st.sampled_from(["r1 system_r", "r2 object_r", "r2 other_r"])),
        st.builds("({} {} {})".format, equal, st.sampled_from(["t1", "t2"]), st.sampled_from([*TYPES, *ATTRIBUTES])),
    ]
    if levels:
        compare = st.sampled_from(["eq", "neq", "dom", "domby", "incomp"])
        pairs = st.sampled_from(["l1 l2", "l1 h2", "h1 l2", "h1 h2", "l1 h1", "l2 h2"])
        leaves += [st.builds("({} {})".format, compare, pairs)] * 2
    return st.recursive(
        st.one_of(*leaves),
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, st.sampled_from(["and", "or"]), inner, inner),
            inner.map(lambda one: f"(not {one})"),
        ),
        max_leaves=5,
    )


@st.composite
def constraints(draw: st.DrawFn) -> str:
    levels = draw(st.booleans())
    tclass = draw(st.sampled_from(sorted(CLASSES)))
    perms = draw(st.lists(st.sampled_from(CLASSES[tclass]), min_size=1, max_size=5, unique=True))
    expression = draw(constraint_expressions(levels))
    return f"({'mlsconstrain' if levels else 'constrain'} ({tclass} ({' '.join(perms)})) {expression})"


@st.composite
def portcons(draw: st.DrawFn) -> str:
    low = draw(st.integers(1, 60))
    high = draw(st.one_of(st.just(low), st.integers(low, 70)))
    protocol, name = draw(st.sampled_from(["tcp", "udp"])), draw(st.sampled_from(TYPES))
    ports = str(low) if low == high else f"({low} {high})"
    return f"(portcon {protocol} {ports} (system_u object_r {name} ((s0) (s0))))"


def lines(statements: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(statements, max_size=most).map("\n".join)


RULES = st.tuples(attributes(), lines(access_rules(), 14), lines(blocks(), 5)).map("\n".join)
POLICIES = st.tuples(RULES, lines(constraints(), 4)).map("\n".join)
CATEGORIES = [(), ("c0",), ("c1",), ("c0", "c1"), ("c0", "c1", "c2", "c3")]


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    low = draw(st.sampled_from(CATEGORIES))
    high = draw(st.sampled_from([names for names in CATEGORIES if set(names) >= set(low)]))
    user, role = draw(st.sampled_from(["system_u", "other_u"])), draw(st.sampled_from(["system_r", "other_r"]))
    return Identity(user, role, low, high)


SETTINGS = st.fixed_dictionaries({name: st.booleans() for name in BOOLEANS})
SYSTEM = Identity("system_u", "system_r", (), ())


# -- linking and asking


def link(text: str, setting: Mapping[str, bool], folder: Path) -> Path:
    """The small policy with random statements on top, its booleans by default as in `setting`."""
    whole = SMALL.read_text() + text
    for name, value in setting.items():
        whole = re.sub(rf"\(boolean {name} \w+\)", f"(boolean {name} {str(value).lower()})", whole)
    source, policy = folder / "random.cil", folder / f"policy{len(list(folder.iterdir()))}"
    source.write_text(whole)
    bases.link([source], True, policy)
    return policy


Decision = tuple[str, str, str, str]


def granted(policy: Policy) -> dict[Decision, Condition]:
    """(source, target, class, permission) -> when rules grant it."""
    access = Access(policy)
    found: dict[Decision, Condition] = {}
    for source in TYPES:
        grants = access.outgoing(source)
        for (tclass, perm), bits in grants.worst().items():
            for target in policy.names(bits):
                found[source, target, tclass, perm] = grants.condition((tclass, perm), policy.bits[target])
    return found


@dataclass(frozen=True)
class Asking:
    """How one policy is asked."""

    pair: tuple[Identity, Identity]
    setting: dict[str, bool]

    def differences(self, path: Path, policy: Policy, rules: Mapping[Decision, Condition]) -> list[Decision]:
        """The decisions in which Access with Constraints and libsepol differ."""
        refusing = Constraints(policy).refusing
        one, two = self.pair
        with Judge(path) as judge:
            return [
                decision
                for decision in EVERY_DECISION
                if self._let_by(rules, refusing, decision)
                != judge.allows(one.text(decision[0]), two.text(decision[1]), *decision[2:])
            ]

    def _let_by(
        self, rules: Mapping[Decision, Condition], refusing: Callable[..., Sequence[Constraint]], decision: Decision
    ) -> bool:
        source, target, tclass, perm = decision
        if not holds(rules.get(decision, False), self.setting):
            return False
        return not refusing(self.pair[0].context(source), self.pair[1].context(target), tclass, perm)


ASKINGS = st.builds(Asking, st.tuples(identities(), identities()), SETTINGS)


def enough(decisions: int, share: float = 1.0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis's settings for as many examples as make up a share of DECISIONS, each of which makes `decisions`."""

    def set_up(test: Callable[..., None]) -> Callable[..., None]:
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
        configured = settings(
            max_examples=max(20, int(share * DECISIONS) // decisions),
            deadline=None,
            database=None,
            suppress_health_check=checks,
        )
        return seed(SEED)(configured(test))

    return set_up


def test_every_decision_is_libsepols(tmp_path_factory: pytest.TempPathFactory) -> None:
    asked = 0

    # Two ways to ask each policy: other identities, another setting.
    @enough(2 * len(EVERY_DECISION), share=1.02)
    @given(POLICIES, st.lists(ASKINGS, min_size=2, max_size=2))
    def alike(text: str, askings: list[Asking]) -> None:
        nonlocal asked
        note(f"LABELGEN_TEST_SEED={SEED}")
        folder = tmp_path_factory.mktemp("random")
        paths = [link(text, asking.setting, folder) for asking in askings]
        policy = Policy(paths[0])
        rules = granted(policy)
        for asking, path in zip(askings, paths):
            assert asking.differences(path, policy, rules) == []
            asked += len(EVERY_DECISION)

    alike()
    assert asked >= DECISIONS


@enough(2 * 65536, share=0.2)
@given(lines(portcons(), 12))
def test_every_port_has_libsepols_type(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    note(f"LABELGEN_TEST_SEED={SEED}")
    path = link(text, {}, tmp_path_factory.mktemp("random"))
    ports = port_table(Policy(path))
    for protocol in ("tcp", "udp"):
        ours = [s.type for s in ports.segments[protocol] for _ in range(s.low, s.high + 1)]
        assert ours == port_types(path, protocol)[1:]


def own_network_questions(domain: str) -> Iterator[tuple[str, str, str]]:
    """(target, class, permission) of what Reach answers about: own sockets, ports, nodes, capabilities."""
    for tclass in ("tcp_socket", "udp_socket"):
        for perm in CLASSES[tclass]:
            targets = TYPES if perm in ("name_bind", "name_connect", "node_bind") else [domain]
            yield from ((target, tclass, perm) for target in targets)
    yield from ((domain, "capability", perm) for perm in ("net_bind_service", "net_raw", "net_admin"))


@enough(2 * sum(1 for domain in TYPES for _ in own_network_questions(domain)), share=0.02)
@given(RULES, st.lists(SETTINGS, min_size=2, max_size=2))
def test_reach_is_libsepols(tmp_path_factory: pytest.TempPathFactory, text: str, asked: list[dict[str, bool]]) -> None:
    """Reach knows no constraint, so none is linked here; the verdict asks them besides."""
    note(f"LABELGEN_TEST_SEED={SEED}")
    folder = tmp_path_factory.mktemp("random")
    paths = [link(text, setting, folder) for setting in asked]
    policy = Policy(paths[0])
    reacher = Reacher(policy, port_table(policy))
    for setting, path in zip(asked, paths):
        with Judge(path) as judge:
            for domain in TYPES:
                reach = reacher.of(domain)
                for target, tclass, perm in own_network_questions(domain):
                    ours = holds(reach.condition([Need(tclass, perm, (target,), "")]), setting)
                    theirs = judge.allows(SYSTEM.text(domain), SYSTEM.text(target), tclass, perm)
                    assert ours == theirs, (domain, target, tclass, perm, setting)
