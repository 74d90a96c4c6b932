"""What is read of an expression of a constraint is what evaluating it in every case says."""

from __future__ import annotations

import itertools
from typing import Union

from hypothesis import given
from hypothesis import strategies as st

from labelgen.constraints import leaves

Tree = Union[str, tuple[object, ...]]
# Comparisons that name nobody, as they stand among those that do.
NAMELESS = {"categories": ("l1", "l2", "dom"), "users": ("u1", "u2", "=="), "types": ("t1", "t2", "!=")}


def _trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.sampled_from(["named", "not named", *NAMELESS]),
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
        ),
        max_leaves=6,
    )


def _numbered(tree: object, numbers: itertools.count[int]) -> Tree:
    """The same with a number behind each comparison, by which it is told from the others."""
    if isinstance(tree, str):
        return f"{tree} {next(numbers)}"
    assert isinstance(tree, tuple)
    return (tree[0], *(_numbered(part, numbers) for part in tree[1:]))


def _comparisons(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    assert isinstance(tree, tuple)
    return [name for part in tree[1:] for name in _comparisons(part)]


def _postfix(tree: object) -> tuple[object, ...]:
    """As setools has it: operands before operators, names of a set together."""
    if isinstance(tree, str):
        kind, _, number = tree.rpartition(" ")
        return NAMELESS.get(kind) or ("t1", frozenset({f"{number}_t"}), "!=" if kind.startswith("not") else "==")
    assert isinstance(tree, tuple)
    return (*(sign for part in tree[1:] for sign in _postfix(part)), tree[0])


def _met(tree: object, values: dict[str, bool]) -> bool:
    if isinstance(tree, str):
        return values[tree] != tree.startswith("not")
    assert isinstance(tree, tuple)
    inner = [_met(part, values) for part in tree[1:]]
    return not inner[0] if tree[0] == "not" else all(inner) if tree[0] == "and" else any(inner)


@given(_trees())
def test_a_name_makes_a_constraint_easier_where_having_it_meets_it(tree: Tree) -> None:
    """Each comparison stands in an expression once, so that some case turns on it alone."""
    numbered = _numbered(tree, itertools.count())
    comparisons = _comparisons(numbered)
    cases = [dict(zip(comparisons, values)) for values in itertools.product((False, True), repeat=len(comparisons))]
    named = [name for name in comparisons if "named" in name]
    turned = {
        name: {_met(numbered, {**case, name: True}) for case in cases if _turns(numbered, case, name)} for name in named
    }
    found = leaves(_postfix(numbered))
    assert [(operand, names) for operand, names, _ in found] == [
        ("t1", frozenset({f"{name.rpartition(' ')[2]}_t"})) for name in named
    ]
    assert [{easier} for _, _, easier in found] == [turned[name] for name in named]


def _turns(tree: Tree, case: dict[str, bool], name: str) -> bool:
    return _met(tree, {**case, name: True}) != _met(tree, {**case, name: False})
