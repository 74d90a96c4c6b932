"""Take each single check out of the verifier and see that something notices.

    make mutate                     every check; those that nothing notices the lack of are printed
    python tests/mutate.py claims   only those of this module, or `claims.separate`, or `claims:120` (a line)
    python tests/mutate.py --all    what makes an exception from a check too
    python tests/mutate.py --again  what was found before is tried again; --json: for programs

What is taken out: see mutants.py. A mutant is tried in a forked process, in which all policies are linked and read
already: against those sabotages, harmless changes, untouched roles, decisions of libsepol and files of tests in which
what is mutated runs, until one of them is told otherwise than it should be. First comes what noticed it the last time.
A mutant is tried again only when the code or what noticed it has changed. Exit status: 0 when none survives but those
that a comment in the code explains.
"""

from __future__ import annotations

import argparse
import ast
import dis
import gc
import hashlib
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Optional
from unittest import mock

import pytest
from atworst import AT_WORST, AtWorst, of_role
from bases import BuiltRoles, OnBase
from hypothesis import Phase, settings
from judge import Judge, port_types
from mutants import Mutant, Mutator, explained, put_in_place, statements
from sabotages import (
    EVERY_SOCKET,
    FILES,
    HARMLESS,
    HIDDEN,
    MORE_ROLES,
    SOCKET_CLASSES,
    Change,
    Hidden,
    across_categories,
    network_permissions,
    not_asked,
    on_binary,
    rules_of,
    told_permissions,
    told_sockets,
    two_parents,
    uncaught_across_categories,
    untold_of_two_parents,
)
from test_random_policies import EVERY_DECISION, Identity, link

from labelgen import build, claims, refused, verdict
from labelgen.cache import cache_folder
from labelgen.claims import Finding, Verification
from labelgen.constraints import Constraints, Context
from labelgen.filecontexts import FileContexts
from labelgen.policy import Policy
from labelgen.reach import port_table
from labelgen.shipped import packaged

HERE = Path(__file__).parent
TOP = HERE.parent

# What one verification works out and the next one need not, where the mutant is not concerned.
KEPT = ("network", "access", "ports", "reacher", "constraints", "parent_xperms", "_worst", "_kin")
# Module -> what must be worked out again for its mutants.
FORGOTTEN: dict[str, tuple[str, ...]] = {
    "reach": ("ports", "reacher"),
    "refused": (),
    "access": ("access", "parent_xperms", "_worst", "_kin"),
    "hidden": (),
    "atworst": (),
    "kernelpolicy": ("policy", *KEPT),
    "labels": (),
    "labelling": (),
    "expressions": ("contexts",),
    "filecontexts": ("contexts",),
    "kin": ("_worst", "_kin"),
    "ports": ("ports", "reacher"),
    "conditions": ("access", "reacher", "parent_xperms", "_worst", "_kin"),
    "policy": ("policy", *KEPT),
    "verdict": (),
    "claims": (),
    "constraints": ("constraints", "_kin"),
    "network": ("network", "ports", "reacher", "_worst", "_kin"),
}
AT_ONCE = 16  # cases for one process: those that come later need not be made for what the first ones notice
MOST_SECONDS = 30  # of a processor, for one case: a mutant may never end
AGAIN_SECONDS = 5  # then again: who catches that may try once more, as hypothesis does
MOST_MEMORY = 8 << 30  # bytes, for a process: a mutant may never stop collecting
MOST_WAITING = 1800  # for a process, which may wait for ever

# The files of tests that notice mutants in this process -> the modules whose mutants they try, and whether they do so
# before the policies, for they take less than to link one.
TEST_FILES: dict[str, tuple[tuple[str, ...], bool]] = {
    "test_at_worst": (("atworst", "claims", "hidden"), False),
    "test_conditions": (("conditions",), True),
    "test_constraints": (("constraints",), True),
    "test_evidence": (("access", "claims", "conditions", "reach"), False),
    "test_expressions": (("expressions",), True),
    "test_filecontexts": (("expressions", "filecontexts"), True),
    "test_kernelpolicy": (("kernelpolicy", "policy"), False),
    "test_judge": (("access", "policy", "reach"), False),
    "test_limits": (("atworst", "claims", "hidden", "labels", "network", "policy", "verdict"), False),
    "test_local": (("claims", "filecontexts", "labels", "policy", "reach"), False),
    "test_ownports": (("network",), False),
    "test_ports": (("ports",), True),
    "test_ranges": (("claims",), True),
    "test_reach": (("reach",), True),
    "test_rules": (("policy",), True),
}


# -- what notices


@dataclass(eq=False)
class Case:
    """Something that is told, and what must be told. text: what it is made of, besides the code; only: the part of it
    that is tried, empty for all."""

    name: str
    text: str = ""
    only: str = field(default="", init=False)

    def tries(self, module: str) -> bool:
        """Whether mutants of a module are tried with it, as far as they run in it."""
        return bool(module)

    @property
    def turn(self) -> int:
        """What is quick comes first."""
        return 1

    def load(self) -> None:
        """Have everything ready that no mutant works out."""

    def forget(self, names: Iterable[str]) -> None:
        """Have something worked out again, by a mutant."""

    def complaints(self) -> object:
        """What is told otherwise than it should be; in words that start with ::, the part that tells it."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """The digest of what it is made of, besides the code."""
        return _digest([self.text.encode()])


@dataclass(eq=False)
class Linked(Case):
    """Roles linked with a change and read once; `complain` says what a verification does not tell that it must."""

    make: Callable[[], tuple[BuiltRoles, Path]] = NotImplemented
    complain: Callable[[BuiltRoles, Verification], object] = NotImplemented

    @cached_property
    def _made(self) -> tuple[BuiltRoles, Policy, FileContexts]:
        built, path = self.make()
        policy = Policy(path)
        for name in ("booleans", "roles", "portcons", "initial_sids", "initial_contexts", "polcaps", "bounds"):
            getattr(policy, name)
        assert policy.classes and policy.constraints is not None
        return built, policy, build.file_contexts(path, built.prepared.base)

    @cached_property
    def _known(self) -> dict[str, Any]:
        """What every verification of this policy works out alike."""
        verification = self._verification()
        found = {name: getattr(verification, name) for name in KEPT if name != "network"}
        self.complain(self._made[0], verification)
        return found

    def _verification(self) -> Verification:
        built, policy, contexts = self._made
        return Verification(
            policy,
            tuple(built.prepared.files),
            built.prepared.base.exact,
            base_ports=built.prepared.facts.ports,
            file_contexts=contexts,
        )

    def load(self) -> None:
        assert self._known

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._known.pop(name, None)
        if "network" in names:
            for name in ("network", "undoing"):  # what a policy works out by the network's model
                vars(self._made[1]).pop(name, None)
        if "policy" in names:
            self._made = self._made[0], _read_again(self._made[1]), self._made[2]
        if "contexts" in names:
            built, policy_, _ = self._made
            self._made = built, policy_, build.file_contexts(policy_.path, built.prepared.base)

    def complaints(self) -> object:
        verification = self._verification()
        vars(verification).update(self._known)
        return self.complain(self._made[0], verification)


def _read_again(known: Policy) -> Policy:
    """A policy as setools has it, indexed anew."""
    again = Policy.__new__(Policy)
    kept = ("path", "mls", "version", "handle_unknown", "_policy", "_exception")
    vars(again).update((name, vars(known)[name]) for name in kept)
    again.levels = cache(again._levels)
    again._read_types()
    again._read_rules()
    return again


def _found(verification: Verification, role: str) -> list[Finding]:
    """What the claims find about one role."""
    subject = next(s for s in verification.subjects if s.role.name == role)
    return list(dict.fromkeys(f for check in claims.CLAIMS.values() for f in check(subject)))


def _raised(_: BuiltRoles, verification: Verification) -> object:
    return [f for file in verification.files for f in _found(verification, file.role.name)]


def _without_file_contexts(built: BuiltRoles, known: Verification) -> object:
    """A policy by itself, whose file contexts are not known, is verified too."""
    return _raised(built, Verification(known.policy, known.files, known.exact, base_ports=known.base_ports))


def _sockets(_: BuiltRoles, verification: Verification) -> object:
    return SOCKET_CLASSES ^ told_sockets(_of_network(verification))


def _permissions(_: BuiltRoles, verification: Verification) -> object:
    return network_permissions(verification.policy.classes) ^ told_permissions(_of_network(verification))


def _of_network(verification: Verification) -> list[Finding]:
    return [f for f in _found(verification, "nonet") if f.claim == "network"]


def _across_categories(_: BuiltRoles, verification: Verification) -> object:
    subject = next(s for s in verification.subjects if s.role.name == "dns")
    return uncaught_across_categories(_found(verification, "dns"), verdict.limits(subject))


def _of_two_parents(built: BuiltRoles, verification: Verification) -> object:
    _raised(built, verification)
    return untold_of_two_parents(_found(verification, "web"))


def remember_all() -> None:
    """Have what is kept for a few policies kept for all of them."""
    for name in ("_outgoing", "_to_bounded"):
        setattr(refused, name, cache(getattr(refused, name).__wrapped__))


class Bench:
    """Everything that may notice; what it needs is linked when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = [
            self._linked("every class of socket", "shipped", lambda built, to: built.link(to, [_rules(to)]), _sockets),
            self._linked("every permission", "shipped", self._every_permission, _permissions),
            *map(self._sabotage, FILES),
            *map(self._harmless, HARMLESS),
            self._linked("shipped roles", "shipped", lambda built, to: built.link(to), _raised),
            self._linked("no file contexts", "shipped", lambda built, to: built.link(to), _without_file_contexts),
            self._linked("more roles", "more", lambda built, to: built.link(to), _raised),
            self._linked("no categories", "shipped", across_categories, _across_categories),
            Linked("two parents", "", self._two_parents, _of_two_parents),
            self._binary("a binary", "", _raised),
            *(self._hidden(hidden) for hidden in HIDDEN),
            *map(self._at_worst, AT_WORST),
            Asked("what kernels ask for"),
            Sepol("libsepol's decisions", folder=self._folder("sepol")),
            *(Tests(name, (HERE / f"{name}.py").read_text(), bench=self) for name in TEST_FILES),
        ]

    def _folder(self, name: str) -> Path:
        # A name may be longer than that of a folder.
        plain, digest = re.sub(r"[^\w -]", "-", name)[:80], hashlib.sha256(name.encode()).hexdigest()[:8]
        folder = self.folder / f"{plain}-{digest}"
        folder.mkdir()
        return folder

    @cached_property
    def roles(self) -> dict[str, BuiltRoles]:
        """The role files that are tried, built."""
        files = {"shipped": packaged("roles"), "more": MORE_ROLES}
        return {
            name: BuiltRoles.build("reference", path, self._folder(f"{name}-roles")) for name, path in files.items()
        }

    def _linked(
        self,
        name: str,
        roles: str,
        link_: Callable[[BuiltRoles, Path], Path],
        complain: Callable[[BuiltRoles, Verification], object],
    ) -> Linked:
        def make() -> tuple[BuiltRoles, Path]:
            return self.roles[roles], link_(self.roles[roles], self._folder(name))

        return Linked(name, "", make, complain)

    def _binary(self, name: str, hidden: str, complain: Callable[[BuiltRoles, Verification], object]) -> Linked:
        def make() -> tuple[BuiltRoles, Path]:
            return on_binary(self.roles["shipped"], self._folder(name), hidden)

        return Linked(name, hidden, make, complain)

    def _two_parents(self) -> tuple[BuiltRoles, Path]:
        return two_parents(self.roles["shipped"], self._folder("two parents"))

    def _hidden(self, hidden: Hidden) -> Linked:
        def complain(_: BuiltRoles, verification: Verification) -> object:
            return not hidden.is_told(_found(verification, hidden.role))

        return self._binary(f"a binary that hides {hidden.members}: {hidden.rule}", hidden.text, complain)

    def _at_worst(self, case: AtWorst) -> Linked:
        def complain(_: BuiltRoles, verification: Verification) -> object:
            return not case.is_left(of_role(verification))

        return self._binary(f"at worst: {case.claim}: {case.says_so}", case.text, complain)

    def _sabotage(self, path: Path) -> Linked:
        change = Change.read(path)

        def complain(built: BuiltRoles, verification: Verification) -> object:
            if path.stem.startswith("constraint"):  # what was found of the roles before is remembered
                _raised(built, verification)
            return change.uncaught(built, _found(verification, change.role))

        return self._changed(path.stem, change, complain)

    def _harmless(self, path: Path) -> Linked:
        return self._changed(f"harmless/{path.stem}", Change.read(path), _raised)

    def _changed(self, name: str, change: Change, complain: Callable[[BuiltRoles, Verification], object]) -> Linked:
        def make() -> tuple[BuiltRoles, Path]:
            return change.on(self.roles[change.roles], self._folder(name))

        return Linked(name, change.path.read_text(), make, complain)

    def _every_permission(self, built: BuiltRoles, folder: Path) -> Path:
        rules = rules_of(network_permissions(Policy(built.link(folder)).classes))
        return built.link(folder, [_rules(folder, rules)])


def _rules(folder: Path, text: str = EVERY_SOCKET) -> Path:
    path = folder / "rules.cil"
    path.write_text(text)
    return path


class Asked(Case):
    """What kernels ask for, which is told without a policy."""

    def complaints(self) -> object:
        return not_asked()


@dataclass(eq=False)
class Tests(Case):
    """A file of tests, with the roles that are built already."""

    bench: Bench = NotImplemented
    failed: str = field(default="", init=False)

    def tries(self, module: str) -> bool:
        return module in TEST_FILES[self.name][0]

    @property
    def turn(self) -> int:
        return 0 if TEST_FILES[self.name][1] else 2

    @cached_property
    def _linked(self) -> Path:
        return self.bench.roles["shipped"].link(self.bench._folder(self.name))

    def load(self) -> None:
        assert self._linked

    def complaints(self) -> object:
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--noconftest", "--no-header"]
        phases = (Phase.explicit, Phase.generate)  # one example is enough, be it the smallest or not
        settings.register_profile("same", derandomize=True, deadline=None, database=None, phases=phases)
        settings.load_profile("same")
        arguments = [*options, str(HERE / f"{self.name}.py") + self.only]
        with tempfile.TemporaryDirectory() as scratch, Path(os.devnull).open("w") as nowhere:
            kept = mock.patch.dict(os.environ, XDG_CACHE_HOME=scratch)  # what a mutant makes is nobody else's
            with kept, redirect_stdout(nowhere):
                status = pytest.main(arguments, plugins=[self])
        is_gone = self.only and status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
        return None if is_gone else status and (self.failed or status)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid[report.nodeid.index("::") :]

    @pytest.fixture(scope="session")
    def reference_roles(self) -> BuiltRoles:
        """As in conftest.py, and so are the others."""
        return self.bench.roles["shipped"]

    @pytest.fixture(scope="session")
    def more_roles(self) -> BuiltRoles:
        return self.bench.roles["more"]

    @pytest.fixture(scope="session")
    def on_base(self) -> OnBase:
        found = OnBase.__new__(OnBase)
        found.take("reference", self.bench.roles["shipped"], self._linked)
        return found


ONE = Identity("system_u", "system_r", ("c0",), ("c0", "c1"))
TWO = Identity("other_u", "other_r", ("c0", "c1"), ("c0", "c1"))
THREE = Identity("system_u", "system_r", (), ("c1",))
IDENTITIES = ((ONE, TWO), (ONE, THREE), (THREE, TWO))  # of who acts and of what it acts on
PAIRS = ["l1 l2", "l1 h2", "h1 l2", "h1 h2", "l1 h1", "l2 h2"]
FORMS = [
    *(f"({word} {pair})" for word in ("eq", "neq", "dom", "domby", "incomp") for pair in PAIRS),
    *(f"({word} {pair})" for word in ("eq", "neq") for pair in ("u1 u2", "r1 r2", "t1 t2")),
    *(f"({word} r1 r2)" for word in ("dom", "domby", "incomp")),
    "(eq u1 system_u)", "(neq u1 system_u)", "(eq r2 other_r)", "(neq r2 other_r)",
    "(eq t1 one)", "(neq t2 one)", "(eq t1 a_t)", "(not (eq t2 b_t))", "(and (eq t1 one) (eq u1 u2))",
    "(or (eq t1 one) (eq u1 u2))", "(or (not (eq t1 one)) (and (dom h1 h2) (eq r1 r2)))",
]  # fmt: skip


@dataclass(eq=False)
class Sepol(Case):
    """libsepol's decisions about constraints of every form, and its ports, on the small policy."""

    folder: Path = Path()

    @cached_property
    def _linked(self) -> Path:
        text = "(typeattributeset one (a_t c_t))(portcon tcp (1 9) (system_u object_r b_t ((s0) (s0))))"
        text += "(portcon tcp 5 (system_u object_r c_t ((s0) (s0))))"
        text += "(portcon udp (7 65535) (system_u object_r c_t ((s0) (s0))))"
        perms = sorted({(tclass, perm) for _, _, tclass, perm in EVERY_DECISION})
        assert len(perms) >= len(FORMS)
        text += "".join(f"(allow every every ({tclass} ({perm})))" for tclass, perm in perms)
        for (tclass, perm), form in zip(perms, FORMS):
            text += f"(mlsconstrain ({tclass} ({perm})) {form})"
        return link(text, {}, self.folder)

    @cached_property
    def _policy(self) -> Policy:
        policy = Policy(self._linked)
        assert policy.constraints and policy.portcons and policy.initial_sids and policy.initial_contexts
        return policy

    @cached_property
    def _asked(self) -> list[tuple[Context, Context, str, str, bool]]:
        """Source, target, class, permission, and whether libsepol allows it."""
        with Judge(self._linked) as judge:
            return [
                (
                    *(one.context(source), two.context(target), tclass, perm),
                    judge.allows(one.text(source), two.text(target), tclass, perm),
                )
                for one, two in IDENTITIES
                for source, target, tclass, perm in EVERY_DECISION
            ]

    @cached_property
    def _ports(self) -> dict[str, list[str]]:
        return {protocol: port_types(self._linked, protocol)[1:] for protocol in ("tcp", "udp")}

    def load(self) -> None:
        assert self._policy and self._asked and self._ports

    def forget(self, names: Iterable[str]) -> None:
        if "policy" in names:
            self._policy = _read_again(self._policy)

    def complaints(self) -> object:
        """Where this process decides otherwise than libsepol."""
        refusing = Constraints(self._policy).refusing
        for source, target, tclass, perm, allowed in self._asked:
            if (not refusing(source, target, tclass, perm)) != allowed:
                return source, target, tclass, perm, allowed
        table = port_table(self._policy)
        for protocol, theirs in self._ports.items():
            if [s.type for s in table.segments[protocol] for _ in range(s.low, s.high + 1)] != theirs:
                return protocol
        return None


# -- what is known of the last time


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def _code() -> str:
    """The digest of all that mutants are made of or tried with, but the changes to policies and this script itself."""
    folders = ("labelgen/*.py", "labelgen/reference/*", "templates/*", "roles/*", "tests/sabotage/roles/*")
    tests = ("sabotages", "bases", "judge", "test_random_policies")
    files = [file for pattern in folders for file in sorted(TOP.glob(pattern)) if file.is_file()]
    return _digest(map(_content, [*files, *(HERE / f"{name}.py" for name in tests)]))


def _content(file: Path) -> bytes:
    """What is in a file; of Python without its comments."""
    content = file.read_bytes()
    return ast.dump(ast.parse(content)).encode() if file.suffix == ".py" else content


def _tree(module: str) -> ast.AST:
    return ast.parse((TOP / "labelgen" / f"{module}.py").read_bytes())


class Memory:
    """What was found before, in a file: of each mutant what noticed it (`by`) or did not (`let_by`), each with its
    digest, and of each case the statements that run in it. All that is true as long as the code is the same; `hints`
    are what noticed mutants of other code, and `parts` which part of it did: they are tried first."""

    def __init__(self, path: Path) -> None:
        self.path, code = path, _code()
        known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        self.results: dict[str, dict[str, dict[str, str]]] = known.get("results", {})
        self.hints: dict[str, str] = known.get("hints", {})
        self.parts: dict[str, str] = known.get("parts", {})
        for name, found in self.results.items():
            for by in found.get("by", ()):
                self.hints[name], self.parts[name] = by, found["how"][by]
        self.lines: dict[str, dict[str, list[str]]] = known.get("lines", {})
        if known.get("code") != code:
            self.results, self.lines = {}, {}
        self.code = code

    def forget(self) -> None:
        """Find everything again."""
        self.results, self.lines = {}, {}

    def save(self) -> None:
        """Keep it."""
        made = self.path.with_suffix(".new")
        made.write_text(json.dumps(vars(self), default=str))
        made.replace(self.path)


# -- trying


def forked(work: Callable[[], object], cases: int = 1) -> Any:
    """What a piece of work on some cases returns (what JSON can say), in a process of its own; None if that ends before
    or never would."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            gc.freeze()
            # More than `in_time` gives: this ends what heeds no signal.
            resource.setrlimit(resource.RLIMIT_CPU, (2 * cases * MOST_SECONDS,) * 2)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY,) * 2)
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        if not select.select([pipe], [], [], MOST_WAITING)[0]:
            os.kill(pid, signal.SIGKILL)
        said = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(said) if said else None


@contextmanager
def in_time() -> Iterator[None]:
    """Raise TimeoutError in what takes too long."""

    def end(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def clear_caches() -> None:
    """Let no function of the verifier remember what it returned."""
    for name in FORGOTTEN:
        for value in vars(importlib.import_module(f"labelgen.{name}")).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def notice(mutant: Mutant, cases: Iterable[Case]) -> tuple[str, str]:
    """The case that notices a mutant, in this process, and how; nothing if none does. A mutant that fails in some other
    way is noticed too."""
    is_of_kin = mutant.module == "claims" and mutant.scope.startswith("Verification")
    name = ""
    try:
        put_in_place(mutant)
        clear_caches()
        for case in cases:
            name = case.name
            with in_time():
                case.forget(FORGOTTEN["kin" if is_of_kin else mutant.module])
                said = case.complaints()
                if said:
                    return name, str(said) if str(said).startswith("::") else "told otherwise"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return name, f"{type(error).__name__} in {where.name}"
    return "", ""


def statements_run(case: Case) -> list[str]:
    """The statements of the verifier that run in a case, in this process, when nothing is known before; none where not
    even the original tells what it should."""
    files = {str(TOP / "labelgen" / f"{name}.py"): (name, statements(_tree(name))) for name in FORGOTTEN}
    found: set[str] = set()
    left: dict[int, set[int]] = {}

    def note(frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_filename not in files:
            return None
        if id(code) not in left:
            left[id(code)] = {line for _, line in dis.findlinestarts(code)}
        if frame.f_lineno in left[id(code)]:
            left[id(code)].remove(frame.f_lineno)
            name, starts = files[code.co_filename]
            found.add(f"{name}:{bisect_right(starts, frame.f_lineno) - 1}")
        return note if left[id(code)] else None  # where every line has run nothing more is to be seen

    clear_caches()
    sys.settrace(note)
    case.forget(("policy", "contexts", *KEPT))  # which reads them again
    complaints = case.complaints()
    sys.settrace(None)
    return [] if complaints else sorted(found)


@dataclass
class Trials:
    """Tries mutants, and remembers."""

    bench: Bench
    memory: Memory

    def __post_init__(self) -> None:
        self.cases = {case.name: case for case in self.bench.cases}
        self.kills: Counter[tuple[str, str]] = Counter()

    @cached_property
    def _running(self) -> dict[str, set[str]]:
        """Statement -> the cases in which it runs."""
        found: dict[str, set[str]] = defaultdict(set)
        lines = self.memory.lines
        policies = [case for case in self.cases.values() if not isinstance(case, Tests)]
        missing = [case for case in policies if lines.get(case.name, {}).get(case.digest) is None]
        for number, case in enumerate(missing):
            progress(f"what runs in the cases: {number} of {len(missing)}")
            case.load()
            ran = forked(lambda case=case: statements_run(case))  # type: ignore[misc]
            if not ran:
                raise AssertionError(f"{case.name}: not even the original tells what it should")
            lines[case.name] = {case.digest: ran}
        self.memory.save()
        for case in policies:
            for line in lines[case.name][case.digest]:
                found[line].add(case.name)
        return found

    def concerned(self, mutant: Mutant) -> list[Case]:
        """The cases in which a mutant runs, the likely ones first: those that noticed others of the same function, the
        quick, those that name the same, that noticed most."""
        names = {case.name for case in self.cases.values() if case.tries(mutant.module)}
        if mutant.statement is not None:
            running = self._running.get(f"{mutant.module}:{mutant.statement}", set())
            names = {name for name in names if name in running or isinstance(self.cases[name], Tests)}
        scope, words = f"{mutant.module}.{mutant.scope}", _words(mutant)

        def rank(name: str) -> tuple[int, int, int, int, str]:
            case, named = self.cases[name], sum(word in self.cases[name].text for word in words)
            return -self.kills[scope, name], case.turn, -named, -self.kills["", name], name

        return [self.cases[name] for name in sorted(names, key=rank)]

    def known(self, mutant: Mutant) -> Optional[str]:
        """What notices it, as found before and still true."""
        for name, digest in self.memory.results.get(str(mutant), {}).get("by", {}).items():
            if name in self.cases and self.cases[name].digest == digest:
                return name
        return None

    def killer(self, mutant: Mutant) -> str:
        """What notices a mutant; nothing if nothing does."""
        known = self.known(mutant)
        if known is None:
            hint = self.memory.hints.get(str(mutant), "")
            if hint in self.cases:
                known = self._try(mutant, [self.cases[hint]], self.memory.parts.get(str(mutant), ""))
            if not known:
                known = self._search(mutant)
        self.kills[f"{mutant.module}.{mutant.scope}", known] += 1
        self.kills["", known] += 1
        return known

    def _search(self, mutant: Mutant) -> str:
        let_by = self.memory.results.get(str(mutant), {}).get("let_by", {})
        left = [case for case in self.concerned(mutant) if let_by.get(case.name) != case.digest]
        while left:
            some, left = left[:AT_ONCE], left[AT_ONCE:]
            known = self._try(mutant, some)
            if known:
                return known
            let_by.update((case.name, case.digest) for case in some)
            self.memory.results[str(mutant)] = {"let_by": let_by}
        return ""

    def _try(self, mutant: Mutant, cases: Sequence[Case], only: str = "") -> str:
        for case in cases:
            case.load()

        def work() -> tuple[str, str]:
            for case in cases:
                case.only = only if only.startswith("::") else ""
            return notice(mutant, cases)

        said = forked(work, len(cases))
        if said is None and len(cases) > 1:  # the process ended: in which case?
            return next(filter(None, (self._try(mutant, [case]) for case in cases)), "")
        name, how = said if said is not None else (cases[0].name, "the process ended")
        if name:
            self._see_that_the_original_passes(mutant.module, self.cases[name])
            self.memory.results[str(mutant)] = {"by": {name: self.cases[name].digest}, "how": {name: how}}
        return str(name)

    def _see_that_the_original_passes(self, module: str, case: Case) -> None:
        """What is not mutated, put in its own place, must not be noticed; else what was noticed means nothing."""
        original = Mutant(module, "-", 1, "without nothing", (TOP / "labelgen" / f"{module}.py").read_text, True)
        passed = self.memory.results.setdefault(str(original), {"let_by": {}})["let_by"]
        if passed.get(case.name) != case.digest:
            said = forked(lambda: notice(original, [case]))
            if said is None or said[0]:
                raise AssertionError(f"{module} is noticed by {case.name} as it is: {said}")
            passed[case.name] = case.digest


def _words(mutant: Mutant) -> list[str]:
    words = [word for word in re.findall(r"\w+", mutant.text) if "_" in word or len(word) > 5]
    return [*words, f"claims: {mutant.scope}"]


# -- the command


def progress(text: str) -> None:
    """Say on a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{text[:110]:110}", end="", file=sys.stderr, flush=True)


def chosen(words: Sequence[str], everything: bool) -> list[Mutant]:
    """The mutants that are asked for."""
    found = [m for name in FORGOTTEN for m in Mutator(importlib.import_module(f"labelgen.{name}")).mutants()]
    return [m for m in found if (everything or not m.exception) and (not words or any(_is_meant(m, w) for w in words))]


def _is_meant(mutant: Mutant, word: str) -> bool:
    return f"{mutant.module}.{mutant.scope}.".startswith(f"{word}.") or f"{mutant.module}:{mutant.line}" == word


@dataclass
class Outcome:
    """Mutants with what noticed each, and what comments say of those that nothing noticed. whole: none was left out but
    what makes an exception."""

    found: list[tuple[Mutant, str]]
    whole: bool

    @cached_property
    def explained(self) -> dict[tuple[str, bool], str]:
        """Function, and whether of what makes an exception -> what its comment says, where it says the truth about how
        many survive (of a part: at most so many)."""
        survive = Counter((f"{m.module}.{m.scope}", m.exception) for m, killer in self.found if not killer)
        reasons = {}
        for module in FORGOTTEN:
            source = (TOP / "labelgen" / f"{module}.py").read_text(encoding="utf-8")
            for name, said in explained(module, source).items():
                for exception, number in ((False, said.number), (True, said.exceptions)):
                    if survive[name, exception] == number or (not self.whole and survive[name, exception] < number):
                        reasons[name, exception] = said.reason
        return reasons

    def reason(self, mutant: Mutant) -> str:
        """Why a mutant that nothing noticed may survive; nothing where no comment explains it."""
        return self.explained.get((f"{mutant.module}.{mutant.scope}", mutant.exception), "")

    @property
    def survivors(self) -> list[Mutant]:
        """Those that nothing notices and nothing explains."""
        return [mutant for mutant, killer in self.found if not killer and not self.reason(mutant)]

    def table(self) -> Iterator[str]:
        """Of each module: mutants, noticed, explained, surviving."""
        yield f"{'module':14} {'mutants':>8} {'noticed':>8} {'explained':>10} {'survive':>8}"
        for module in (*FORGOTTEN, ""):
            of = [(m, killer) for m, killer in self.found if module in ("", m.module)]
            noticed = sum(bool(killer) for _, killer in of)
            left = sum(module in ("", m.module) for m in self.survivors)
            if of:
                yield f"{module or 'all':14} {len(of):8} {noticed:8} {len(of) - noticed - left:10} {left:8}"

    def to_json(self) -> list[dict[str, Any]]:
        """For programs."""
        return [
            {
                "module": mutant.module,
                "function": mutant.scope,
                "line": mutant.line,
                "mutant": mutant.text,
                "exception": mutant.exception,
                "noticed_by": killer,
                "explained": "" if killer else self.reason(mutant),
            }
            for mutant, killer in self.found
        ]


def main(arguments: Sequence[str]) -> int:
    """Try the mutants; the exit status."""
    parser = argparse.ArgumentParser(
        prog="mutate.py", description="Take each check out of the verifier, one at a time."
    )
    parser.add_argument("which", nargs="*", help="a module, module.function or module:line")
    parser.add_argument("--all", action="store_true", help="also what makes an exception from a check")
    parser.add_argument("--again", action="store_true", help="try again what was found before")
    parser.add_argument("--verbose", action="store_true", help="print what notices each mutant")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    started, outcome = time.monotonic(), Outcome([], not options.which)
    remember_all()
    with tempfile.TemporaryDirectory() as scratch:
        memory = Memory(cache_folder() / "mutate.json")
        if options.again:
            memory.forget()
        trials = Trials(Bench(Path(scratch)), memory)
        mutants = chosen(options.which, options.all)
        for number, mutant in enumerate(mutants):
            progress(f"{number} of {len(mutants)}, {time.monotonic() - started:.0f} s: {mutant}")
            killer = trials.killer(mutant)
            outcome.found.append((mutant, killer))
            if options.verbose:
                print(
                    f"{mutant.module}.py:{mutant.line} {mutant}  <- {killer or 'NOTHING'}", file=sys.stderr, flush=True
                )
            if number % 20 == 0:
                memory.save()
        memory.save()
    if options.json:
        print(json.dumps(outcome.to_json(), indent=1))
    else:
        for mutant in outcome.survivors:
            print(f"survives: {mutant.module}.py:{mutant.line} {mutant}")
        print("\n".join(outcome.table()), f"\n{time.monotonic() - started:.0f} s", sep="")
    return 1 if outcome.survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
