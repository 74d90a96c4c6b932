"""Rules as the policy language writes them, when they are in force, and the sets of types that they are about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.conditions import boolean, negation
from labelgen.policy import Guard, Rule, members

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
