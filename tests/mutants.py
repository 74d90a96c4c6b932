"""What can be taken out of a module, one thing at a time: the mutants of tests/mutate.py.

A mutant is a module with one thing taken out: a statement that yields findings, a condition (which counts as not met),
one operand of `or` or `|`, one entry of a table. Those that take out what makes an exception from a check (one operand
of `and` or `&`, a condition that counts as met) are marked: they find more, without anything else less.

Where nothing can notice a mutant, a comment in its function says how many there are and why (those that make an
exception apart, which are only tried with --all):

    # mutate.py: 2 survive. This only narrows down what `decide` decides.
    # mutate.py: 1 and 3 exceptions survive. ...
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, NamedTuple, Optional


class Mutant(NamedTuple):
    """A module with one thing taken out: the text says what, `source` makes the module without it. `statement` is the
    number of the statement it is in, which must run if anything is to be noticed; None for what runs on import."""

    module: str
    scope: str
    line: int
    text: str
    source: Callable[[], str]
    exception: bool
    statement: Optional[int] = None
    number: int = 0

    def __str__(self) -> str:
        return f"{self.module}.{self.scope}: {self.text}" + (f" ({self.number})" if self.number else "")


Change_ = Callable[[], None]


class Mutator(ast.NodeVisitor):
    """Finds what can be taken out of a module, and how: each `put` changes the tree, each `back` mends it."""

    def __init__(self, module: ModuleType) -> None:
        assert module.__file__
        self.module = module.__name__.rpartition(".")[2]
        self.lines = Path(module.__file__).read_text(encoding="utf-8").splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.scope: list[str] = []
        self.functions = 0
        self.tables: list[ast.expr] = []
        self.statements = statements(self.tree)
        self.running: list[int] = []
        self.found: list[Mutant] = []

    def mutants(self) -> list[Mutant]:
        """All of them; of several that read alike each has its number."""
        self.visit(self.tree)
        seen: Counter[str] = Counter()
        numbered = []
        for mutant in self.found:
            numbered.append(mutant._replace(number=seen[str(mutant)]))
            seen[str(mutant)] += 1
        return numbered

    def visit(self, node: ast.AST) -> Any:
        """Visit a node, and know in which statement it is."""
        if not isinstance(node, ast.stmt):
            return super().visit(node)
        self.running.append(self.statements.index(node.lineno))
        super().visit(node)
        self.running.pop()
        return None

    def _note(self, node: Any, what: str, put: Change_, back: Change_, exception: bool = False) -> None:
        def source() -> str:
            put()
            text = ast.unparse(ast.fix_missing_locations(self.tree))
            back()
            return text

        statement = self.running[-1] if self.functions else None
        scope = ".".join(self.scope) or "-"
        self.found.append(Mutant(self.module, scope, node.lineno, what, source, exception, statement))

    def _replaced(self, owner: Any, field: str, new: Any, what: str, exception: bool = False) -> None:
        old = getattr(owner, field)
        self._note(old, what, lambda: setattr(owner, field, new), lambda: setattr(owner, field, old), exception)

    def _without(self, items: list[Any], number: int, what: str, exception: bool = False) -> None:
        item = items[number]
        self._note(item, what, lambda: items.__delitem__(number), lambda: items.insert(number, item), exception)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scope.append(node.name)
        self.functions += 1
        self.generic_visit(node)
        self.functions -= 1
        self.scope.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        self.generic_visit(node)
        self.scope.pop()

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, (ast.Yield, ast.YieldFrom)):
            nothing = ast.YieldFrom(ast.Tuple([], ast.Load()))
            self._replaced(node, "value", nothing, f"without `{_short(node.value)}`")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":  # never runs
            return
        skips = isinstance(node.body[0], (ast.Continue, ast.Return))
        for value in (False, True):
            self._replaced(node, "test", ast.Constant(value), f"if {value} for `{_short(node.test)}`", value != skips)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        for value in (False, True):
            self._replaced(node, "test", ast.Constant(value), f"if {value} for `{_short(node.test)}`", value)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.tables.append(node.iter)
        for number, test in enumerate(node.ifs):
            self._without(node.ifs, number, f"without `if {_short(test)}`", True)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        is_and = isinstance(node.op, ast.And)
        for number, value in enumerate(node.values):
            self._without(node.values, number, f"without `{_short(value)}` of `{'and' if is_and else 'or'}`", is_and)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            is_and = isinstance(node.op, ast.BitAnd)
            for kept, lost in ((node.left, node.right), (node.right, node.left)):
                self._in_place(node, kept, f"without `{_short(lost)}` of `{_short(node)}`", is_and)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not isinstance(node.targets[0], ast.Tuple):  # two names, no table
            self.tables.append(node.value)
            self.generic_visit(node)

    def _in_place(self, node: Any, other: Any, what: str, exception: bool = False) -> None:
        """`other` in the place of a node, which is made its copy."""
        kind, fields = node.__class__, dict(node.__dict__)

        def put() -> None:
            node.__class__ = other.__class__
            node.__dict__.update(other.__dict__)

        def back() -> None:
            node.__class__ = kind
            node.__dict__.clear()
            node.__dict__.update(fields)

        self._note(node, what, put, back, exception)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, (ast.BitAnd, ast.BitOr)):
            self._in_place(node, ast.Pass(), f"without `{_short(node)}`")
        self.generic_visit(node)

    def _entries(self, node: Any) -> None:
        """The entries of a table: at the top of a module, or what is compared with or gone through."""
        if len(node.elts) > 1 and (not self.scope or node in self.tables):
            for number, item in enumerate(node.elts):
                self._without(node.elts, number, f"without the entry {_short(item)}")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        self.tables += node.comparators if isinstance(node.ops[0], (ast.In, ast.NotIn)) else []
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self.tables.append(node.iter)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """What stands in brackets is a type or a key."""
        self.visit(node.value)

    visit_Set = visit_List = visit_Tuple = _entries

    def visit_Dict(self, node: ast.Dict) -> None:
        is_table = not self.scope or node in self.tables
        for number, key in enumerate(node.keys if len(node.keys) > 1 and is_table else []):
            keys, values, value = node.keys, node.values, node.values[number]

            def put(number: int = number, keys: Any = keys, values: Any = values) -> None:
                del keys[number], values[number]

            def back(
                number: int = number, keys: Any = keys, values: Any = values, key: Any = key, value: Any = value
            ) -> None:
                keys.insert(number, key)
                values.insert(number, value)

            self._note(value, f"without the entry {_short(key or value)}", put, back)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:  # an annotation is no check
            self.visit(node.value)


def _short(node: Any) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 90 else f"{text[:86]} ..."


def statements(tree: ast.AST) -> list[int]:
    """The lines in which statements start, in order: the number of a statement is the place of its line here, which no
    comment changes."""
    return sorted({node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)})


class Survivors(NamedTuple):
    """How many mutants of one function nothing can notice, and how many of those that make an exception; and why."""

    number: int
    exceptions: int
    reason: str


SURVIVORS = re.compile(r" *# mutate\.py: (\d+)(?: and (\d+) exceptions?)? survives?\. (.*)")


def explained(module: str, source: str) -> dict[str, Survivors]:
    """`module.function` -> what a comment in it says of mutants that survive."""
    lines = source.splitlines()
    scopes = dict(_scopes(ast.parse(source), [module]))
    found = {}
    for place, line in enumerate(lines):
        said = SURVIVORS.fullmatch(line)
        if said:
            more = itertools.takewhile(lambda text: text.strip().startswith("#"), lines[place + 1 :])
            reason = " ".join([said[3], *(text.strip()[1:].strip() for text in more)])
            found[scopes.get(place + 1, f"{module}.-")] = Survivors(int(said[1]), int(said[2] or 0), reason)
    return found


def _scopes(tree: ast.AST, names: list[str]) -> Iterator[tuple[int, str]]:
    """Each line of a function or class and the name of the innermost that it is in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            inner = [*names, node.name]
            assert node.end_lineno
            yield from ((line, ".".join(inner)) for line in range(node.lineno, node.end_lineno + 1))
            yield from _scopes(node, inner)
        else:
            yield from _scopes(node, names)


def put_in_place(mutant: Mutant) -> None:
    """Make this process's labelgen the mutant: functions and tables in every module that has them, of labelgen and of
    its tests; classes keep their identity and get new methods."""
    module = importlib.import_module(f"labelgen.{mutant.module}")
    old = dict(vars(module))
    exec(compile(mutant.source(), module.__name__, "exec"), vars(module))
    new = dict(vars(module))
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, type) and isinstance(before, type) and value.__module__ == module.__name__:
            for attribute, content in vars(value).items():
                if attribute not in ("__dict__", "__weakref__"):
                    setattr(before, attribute, content)
            setattr(module, name, before)
    folder = str(Path(__file__).parent)
    having = [m for n, m in sys.modules.items() if n.startswith("labelgen.") or _lies_in(m, folder)]
    for other in [m for m in having if m is not module]:
        for name, value in vars(other).items():
            if name in old and old[name] is value and not isinstance(value, (type, ModuleType)):
                setattr(other, name, new.get(name))


def _lies_in(module: ModuleType, folder: str) -> bool:
    return str(Path(getattr(module, "__file__", None) or "/").parent) == folder
