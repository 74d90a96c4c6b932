"""Take each single check out of the verifier and see that something notices.

    make mutate                     every check; those that nothing notices the lack of are printed
    python tests/mutate.py claims   only those of this module, or `claims.separate`, or `claims:120` (a line)
    python tests/mutate.py --all    what makes an exception from a check too


A mutant is a module with one thing taken out: a statement that yields findings, a condition (which counts as not met),
one operand of `or` or `|`, one entry of a table; with --all also one of `and` or `&`, and conditions that count as met.
It is tried in a forked process, in which all policies are linked and read already: against every sabotage, every
harmless change and the untouched roles, against decisions of libsepol about constraints and ports, until one of them
is told otherwise than it should be. Exit status: 0 when none survives but those that EQUIVALENT explains.
"""

from __future__ import annotations

import ast
import gc
import importlib
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, NamedTuple

from bases import BuiltRoles
from judge import Judge, port_types
from sabotages import (
    EVERY_SOCKET,
    FILES,
    HARMLESS,
    MORE_ROLES,
    SOCKET_CLASSES,
    Change,
    across_categories,
    network_permissions,
    not_asked,
    rules_of,
    told_permissions,
    told_sockets,
    uncaught_across_categories,
)
from test_random_policies import EVERY_DECISION, Identity, link

from labelgen import build, claims, constraints, kin, network, verdict
from labelgen.claims import Finding, Verification
from labelgen.constraints import Constraints
from labelgen.policy import Policy
from labelgen.reach import port_table
from labelgen.shipped import packaged

MUTATED = (claims, constraints, kin, network)
WORKERS = os.cpu_count() or 1
MOST_SECONDS = 100

# Mutants that no policy can tell from the original, each with the reason. The text is the mutant's own.
EQUIVALENT: dict[str, str] = {}


# -- mutants


class Mutant(NamedTuple):
    """A module with one thing taken out: the text says what, `source` is the module without it. Without an exception
    it finds more, without anything else less."""

    module: str
    scope: str
    line: int
    text: str
    source: str
    exception: bool

    def __str__(self) -> str:
        return f"{self.module}.{self.scope}: {self.text}"


Change_ = Callable[[], None]


class Mutator(ast.NodeVisitor):
    """Finds what can be taken out of a module, and how: each `put` changes the tree, each `back` mends it."""

    def __init__(self, module: ModuleType) -> None:
        assert module.__file__
        self.module = module.__name__.rpartition(".")[2]
        self.lines = Path(module.__file__).read_text(encoding="utf-8").splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.scope: list[str] = []
        self.tables: list[ast.expr] = []
        self.found: list[Mutant] = []

    def mutants(self) -> list[Mutant]:
        self.visit(self.tree)
        return self.found

    def _note(self, node: Any, what: str, put: Change_, back: Change_, exception: bool = False) -> None:
        put()
        source = ast.unparse(ast.fix_missing_locations(self.tree))
        back()
        self.found.append(Mutant(self.module, ".".join(self.scope) or "-", node.lineno, what, source, exception))

    def _replaced(self, owner: Any, field: str, new: Any, what: str, exception: bool = False) -> None:
        old = getattr(owner, field)
        self._note(old, what, lambda: setattr(owner, field, new), lambda: setattr(owner, field, old), exception)

    def _without(self, items: list[Any], number: int, what: str, exception: bool = False) -> None:
        item = items[number]
        self._note(item, what, lambda: items.__delitem__(number), lambda: items.insert(number, item), exception)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scope.append(node.name)
        self.generic_visit(node)
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
        for number, key in enumerate(node.keys if len(node.keys) > 1 and not self.scope else []):
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


def mutants() -> list[Mutant]:
    """Every mutant of the verifier, those that are no Python left out."""
    found = []
    for module in MUTATED:
        for mutant in Mutator(module).mutants():
            try:
                compile(mutant.source, module.__name__, "exec")
            except SyntaxError:
                continue
            found.append(mutant)
    return found


def put_in_place(mutant: Mutant) -> None:
    """Make this process's labelgen the mutant: functions and tables in every module that has them; classes keep their
    identity and get new methods."""
    module = importlib.import_module(f"labelgen.{mutant.module}")
    old = dict(vars(module))
    exec(compile(mutant.source, module.__name__, "exec"), vars(module))
    new = dict(vars(module))
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, type) and isinstance(before, type) and value.__module__ == module.__name__:
            for attribute, content in vars(value).items():
                if attribute not in ("__dict__", "__weakref__"):
                    setattr(before, attribute, content)
            setattr(module, name, before)
    for other in [m for n, m in sys.modules.items() if n.startswith("labelgen.") and m is not module]:
        for name, value in vars(other).items():
            if name in old and old[name] is value and not isinstance(value, (type, ModuleType)):
                setattr(other, name, new.get(name))


# -- what notices


def findings_about(verification: Verification, role: str) -> list[Finding]:
    """What the claims find about one role."""
    subject = next(s for s in verification.subjects if s.role.name == role)
    return list(dict.fromkeys(f for check in claims.CLAIMS.values() for f in check(subject)))


# What a verification keeps, and its subjects.
OF_POLICIES = ("access", "ports", "reacher", "constraints", "parent_xperms")
OF_SUBJECTS = ("own", "worst", "reach")


@dataclass(eq=False)
class Linked:
    """Roles linked with a change, read once; what the verdict must say."""

    name: str
    built: BuiltRoles
    path: Path
    complain: Callable[[Linked], object]
    text: str = ""
    base_ports: Any = None

    def __post_init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.subjects: dict[str, dict[str, Any]] = {}
        self.policy = Policy(self.path)
        self.contexts = build.file_contexts(self.path, self.built.prepared.base)
        for name in ("booleans", "roles", "portcons", "initial_sids", "initial_contexts", "polcaps", "bounds"):
            getattr(self.policy, name)
        assert self.policy.classes and self.policy.constraints is not None

        self.known = self._known(self.verification)

    @property
    def verification(self) -> Verification:
        prepared = self.built.prepared
        made = Verification(
            self.policy,
            tuple(prepared.files),
            prepared.base.exact,
            base_ports=prepared.facts.ports,
            file_contexts=self.contexts,
        )
        vars(made).update(self.known)
        for subject in made.subjects if self.known else ():
            vars(subject).update(self.subjects[subject.role.name])
        return made

    def _known(self, verification: Verification) -> dict[str, Any]:
        """What every verification of this policy works out once, by code that most mutants do not touch."""
        self.subjects = {
            subject.role.name: {name: getattr(subject, name) for name in OF_SUBJECTS}
            for subject in verification.subjects
        }
        return {name: getattr(verification, name) for name in OF_POLICIES}

    def complaints(self) -> object:
        """What is told otherwise than it should be."""
        return self.complain(self)

    def forget(self, names: Sequence[str]) -> None:
        """Have something worked out again, by a mutant."""
        for known in (self.known, *self.subjects.values()):
            for name in names:
                known.pop(name, None)


def _holds(linked: Linked) -> object:
    verification = linked.verification
    return [f for subject in verification.subjects for f in findings_about(verification, subject.role.name)]


def _sockets(linked: Linked) -> object:
    return SOCKET_CLASSES ^ told_sockets(_of_network(linked))


def _permissions(linked: Linked) -> object:
    return network_permissions(linked.policy.classes) ^ told_permissions(_of_network(linked))


def _of_network(linked: Linked) -> list[Finding]:
    return [f for f in findings_about(linked.verification, "nonet") if f.claim == "network"]


class Bench:
    """Every policy that notices, linked and read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[Any] = []
        self.roles = {
            "shipped": BuiltRoles.build("reference", packaged("roles"), self._folder("roles")),
            "more": BuiltRoles.build("reference", MORE_ROLES, self._folder("more-roles")),
        }
        self._rules()
        for path in FILES:
            self._sabotage(Change.read(path))
        for path in HARMLESS:
            built, policy = Change.read(path).on(self.roles["shipped"], self._folder(path.stem))
            self.cases.append(Linked(f"harmless/{path.stem}", built, policy, _holds))
        for name, built in self.roles.items():
            policy = built.link(self._folder(f"untouched-{name}"))
            linked = Linked(f"{name} roles untouched", built, policy, _holds)
            if not _holds(linked):
                self.cases.append(linked)
        self._without_categories()
        self.cases.append(Asked("what kernels ask for", not_asked))
        self.cases += [Sepol(self._folder("sepol")), Sepol(self._folder("sepol-more"), OTHER_IDENTITIES)]

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _sabotage(self, change: Change) -> None:
        if "open" in change.fields:
            return
        built, policy = change.on(self.roles[change.roles], self._folder(change.path.stem))

        def complain(linked: Linked) -> object:
            return change.uncaught(built, findings_about(linked.verification, change.role))

        text = change.path.read_text()
        self.cases.append(Linked(change.path.stem, built, policy, complain, text))

    def _without_categories(self) -> None:
        built, folder = self.roles["shipped"], self._folder("without-categories")

        def complain(linked: Linked) -> object:
            found = findings_about(linked.verification, "dns")
            subject = next(s for s in linked.verification.subjects if s.role.name == "dns")
            return uncaught_across_categories(found, verdict.limits(subject))

        self.cases.append(Linked("no categories", built, across_categories(built, folder), complain))

    def _rules(self) -> None:
        built, folder = self.roles["shipped"], self._folder("rules")
        plain = Policy(built.link(folder))
        for name, text, complain in (
            ("every class of socket", EVERY_SOCKET, _sockets),
            ("every permission", rules_of(network_permissions(plain.classes)), _permissions),
        ):
            (folder / "rules.cil").write_text(text)
            path = built.link(self._folder(name), [folder / "rules.cil"])
            self.cases.append(Linked(name, built, path, complain))


@dataclass(eq=False)
class Asked:
    """Something that is told without a policy."""

    name: str
    complaints: Callable[[], object]
    text: str = ""

    def forget(self, names: Sequence[str]) -> None:
        """Nothing is kept."""


ONE = Identity("system_u", "system_r", ("c0",), ("c0", "c1"))
TWO = Identity("other_u", "other_r", ("c0", "c1"), ("c0", "c1"))
OTHER_IDENTITIES = (ONE, Identity("system_u", "system_r", (), ("c1",)))
PAIRS = ["l1 l2", "l1 h2", "h1 l2", "h1 h2", "l1 h1", "l2 h2"]
FORMS = [
    *(f"({word} {pair})" for word in ("eq", "neq", "dom", "domby", "incomp") for pair in PAIRS),
    *(f"({word} {pair})" for word in ("eq", "neq") for pair in ("u1 u2", "r1 r2", "t1 t2")),
    "(eq u1 system_u)", "(neq u1 system_u)", "(eq r2 other_r)", "(neq r2 other_r)",
    "(eq t1 one)", "(neq t2 one)", "(eq t1 a_t)", "(not (eq t2 b_t))", "(and (eq t1 one) (eq u1 u2))",
    "(or (eq t1 one) (eq u1 u2))", "(or (not (eq t1 one)) (and (dom h1 h2) (eq r1 r2)))",
]  # fmt: skip


class Sepol:
    """libsepol's decisions about constraints of every form, and its ports, on the small policy."""

    name = "libsepol's decisions"
    text = "constraints ports dom domby incomp"

    def __init__(self, folder: Path, pair: tuple[Identity, Identity] = (ONE, TWO)) -> None:
        self.pair, self.asked = pair, []
        text = "(typeattributeset one (a_t c_t))(portcon tcp (1 9) (system_u object_r b_t ((s0) (s0))))"
        text += "(portcon tcp 5 (system_u object_r c_t ((s0) (s0))))"
        text += "(portcon udp (7 65535) (system_u object_r c_t ((s0) (s0))))"
        perms = sorted({(tclass, perm) for _, _, tclass, perm in EVERY_DECISION})
        text += "".join(f"(allow every every ({tclass} ({perm})))" for tclass, perm in perms)
        for (tclass, perm), form in zip(perms, FORMS):
            text += f"(mlsconstrain ({tclass} ({perm})) {form})"
        self.path = link(text, {}, folder)
        self.policy = Policy(self.path)
        assert len(perms) >= len(FORMS) and self.policy.constraints and self.policy.portcons
        assert self.policy.initial_sids and self.policy.initial_contexts
        with Judge(self.path) as judge:
            for source, target, tclass, perm in EVERY_DECISION:
                allowed = judge.allows(pair[0].text(source), pair[1].text(target), tclass, perm)
                self.asked.append((source, target, tclass, perm, allowed))
        self.ports = {protocol: port_types(self.path, protocol)[1:] for protocol in ("tcp", "udp")}

    def forget(self, names: Sequence[str]) -> None:
        """Nothing is kept."""

    def complaints(self) -> object:
        """Where this process decides otherwise than libsepol."""
        refusing, (one, two) = Constraints(self.policy).refusing, self.pair
        for source, target, tclass, perm, allowed in self.asked:
            if (not refusing(one.context(source), two.context(target), tclass, perm)) != allowed:
                return source, target, tclass, perm, allowed
        table = port_table(self.policy)
        for protocol, theirs in self.ports.items():
            if [s.type for s in table.segments[protocol] for _ in range(s.low, s.high + 1)] != theirs:
                return protocol
        return None


# -- trying


@dataclass
class Trial:
    """One mutant in a process of its own."""

    mutant: Mutant
    pid: int
    pipe: int
    started: float

    @classmethod
    def start(cls, mutant: Mutant, cases: Sequence[Any]) -> Trial:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.write(writing, _killer(mutant, cases).encode())
            os._exit(0)
        os.close(writing)
        return cls(mutant, pid, reading, time.monotonic())

    def finish(self) -> str:
        with os.fdopen(self.pipe, "rb") as pipe:
            said = pipe.read().decode()
        os.waitpid(self.pid, 0)
        return said or "the process ended"


def _killer(mutant: Mutant, cases: Sequence[Any]) -> str:
    """`=` and the case that notices, or `-`. A mutant that fails in some other way is noticed too."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))  # a mutant may never end
    try:
        put_in_place(mutant)
        for case in cases:
            case.forget(_touched(mutant))
            if case.complaints():
                return f"={case.name}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"={type(error).__name__} in {where.name}"
    return "-"


def _touched(mutant: Mutant) -> tuple[str, ...]:
    """What a mutant may work out otherwise."""
    if mutant.module == "claims":
        is_part = mutant.scope.startswith(("Verification", "Subject"))
        return (*OF_POLICIES, *OF_SUBJECTS) if is_part else ()
    if mutant.module == "kin":
        return (*OF_POLICIES, *OF_SUBJECTS)
    return ("constraints",) if mutant.module == "constraints" else ("reacher", "reach")


class Order:
    """The cases, those first that are likely to notice: what noticed the mutant before, what names the same."""

    def __init__(self, cases: Sequence[Any]) -> None:
        self.cases = list(cases)
        self.noticed: dict[str, list[str]] = {}

    def of(self, mutant: Mutant) -> list[Any]:
        before = self.noticed.get(f"{mutant.module}.{mutant.scope}", [])
        return sorted(self.cases, key=lambda case: (case.name not in before, not _names(case.text, mutant)))

    def note(self, mutant: Mutant, name: str) -> None:
        self.noticed.setdefault(f"{mutant.module}.{mutant.scope}", []).append(name)


def _names(text: str, mutant: Mutant) -> bool:
    words = [word for word in mutant.text.replace("'", " ").split() if "_" in word or word.islower()]
    return any(word in text for word in words) or f"claims: {mutant.scope}" in text


def try_all(chosen: Sequence[Mutant], cases: Sequence[Any]) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with the name of what notices it, or nothing."""
    order, waiting = Order(cases), list(chosen)
    running: list[Trial] = []
    while waiting or running:
        while waiting and len(running) < WORKERS:
            mutant = waiting.pop(0)
            running.append(Trial.start(mutant, order.of(mutant)))
        trial = running.pop(0)
        said = trial.finish()
        if said.startswith("="):
            order.note(trial.mutant, said[1:])
            _check_the_original(order.cases, said[1:])
        yield trial.mutant, said[1:] if said.startswith("=") else "" if said == "-" else said


@cache
def _passes(case: Any) -> bool:
    return not case.complaints()


def _check_the_original(cases: Sequence[Any], name: str) -> None:
    for case in cases:
        if case.name == name and not _passes(case):
            raise AssertionError(f"{name}: not even the original passes: {case.complaints()}")


def _chosen(words: Sequence[str], everything: bool) -> list[Mutant]:
    return [
        mutant
        for mutant in mutants()
        if (everything or not mutant.exception)
        and (
            not words
            or any(
                f"{mutant.module}.{mutant.scope}".startswith(w) or f"{mutant.module}:{mutant.line}" == w for w in words
            )
        )
    ]


def main(words: Sequence[str]) -> int:
    """Try the mutants; the exit status."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        gc.freeze()
        chosen = _chosen([word for word in words if word != "--all"], "--all" in words)
        print(f"{len(chosen)} mutants, {len(bench.cases)} policies; {time.monotonic() - started:.0f} s to link them")
        survivors, explained = [], 0
        for mutant, killer in try_all(chosen, bench.cases):
            if os.environ.get("LABELGEN_MUTATE_VERBOSE"):
                print(f"{mutant.line:4} {mutant}  <- {killer or 'NOBODY'}", flush=True)
            if not killer and str(mutant) in EQUIVALENT:
                explained += 1
            elif not killer:
                survivors.append(mutant)
                print(f"survives: {mutant.module}.py:{mutant.line} {mutant}", flush=True)
    noticed = len(chosen) - len(survivors) - explained
    print(f"{noticed} noticed, {explained} explained, {len(survivors)} survive; {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
