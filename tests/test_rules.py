"""Rules as the policy language writes them, when they are in force, and the sets of types that they are about."""

from __future__ import annotations

import pytest
from bases import BuiltRoles
from hypothesis import given
from hypothesis import strategies as st

from labelgen.access import Access
from labelgen.conditions import boolean, negation
from labelgen.policy import Guard, Policy, Rule, members

ON, OFF = Guard(("red",), True), Guard(("red", "blue", "&&"), False)
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("allow", "a_t", "b_t", "file", frozenset({"write", "read"})), "allow a_t b_t:file { read write };"),
        (Rule("auditallow", "a_t", "b_t", "file", frozenset({"read"})), "auditallow a_t b_t:file { read };"),
        (Rule("dontaudit", "a_t", "b_t", "file", frozenset({"read"})), "dontaudit a_t b_t:file { read };"),
        (
            Rule("allowxperm", "a_t", "b_t", "file", frozenset({"ioctl"}), xperms="0x5401"),
            "allowxperm a_t b_t:file ioctl { 0x5401 };",
        ),
        (Rule("type_change", "a_t", "b_t", "file", NONE, "c_t"), "type_change a_t b_t:file c_t;"),
        (
            Rule("type_transition", "a_t", "b_t", "file", NONE, "c_t", "name"),
            'type_transition a_t b_t:file c_t "name";',
        ),
        (
            Rule("allow", "a_t", "b_t", "file", frozenset({"read"}), guard=ON),
            "allow a_t b_t:file { read }; [if red]",
        ),
        (
            Rule("allow", "a_t", "b_t", "file", frozenset({"read"}), guard=OFF),
            "allow a_t b_t:file { read }; [if !(red && blue)]",
        ),
    ],
)
def test_a_rule_reads_as_the_policy_language_writes_it(rule: Rule, text: str) -> None:
    assert str(rule) == text


def test_a_rule_of_the_other_branch_is_in_force_where_the_condition_is_not_met() -> None:
    assert ON.condition is boolean("red")
    assert Guard(("red",), False).condition is negation(boolean("red"))


@given(st.sets(st.integers(0, 300)))
def test_the_members_of_a_set_of_types_are_those_whose_bits_are_set(numbers: set[int]) -> None:
    assert list(members(sum(1 << number for number in numbers))) == sorted(numbers)


def test_what_is_supposed_of_a_policy_is_as_if_it_had_been_said(reference_roles: BuiltRoles) -> None:
    """The types in more attributes, and the rules from both ends; the policy itself stays as it is."""
    policy = Policy(reference_roles.prepared.base.policy)
    search = ("dir", "search")
    rule = Rule("allow", "container_t", "shadow_t", "dir", frozenset({"search"}))
    had = Access(policy).outgoing("container_t").worst()
    other = policy.supposing({"shadow_t": ("domain",), "container_t": ()}, [rule])
    assert "domain" in other.attributes_of["shadow_t"]
    assert other.attributes_of["container_t"] == policy.attributes_of["container_t"]
    assert other.bits["domain"] == other.attributes["domain"] == policy.bits["domain"] | policy.bits["shadow_t"]
    shadow, container = policy.bits["shadow_t"], policy.bits["container_t"]
    assert Access(other).outgoing("container_t").worst()[search] == had.get(search, 0) | shadow
    assert Access(other).incoming("shadow_t").worst()[search] & container
    assert Access(policy).outgoing("container_t").worst() == had
    assert "domain" not in policy.attributes_of["shadow_t"]
    assert not Access(policy).incoming("shadow_t").worst().get(search, 0) & container
