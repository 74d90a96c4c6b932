"""Constraints: whether an access that a rule allows is allowed between two contexts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import permutations, product
from typing import Callable, NamedTuple

from labelgen.policy import Constraint, Policy

# The SELinux user and role of what a host runs by itself, and the role of what is no process.
SYSTEM = ("system_u", "system_r")
OBJECT = "object_r"
# Two SELinux users, and two roles, that no constraint names: those of a host, or that it is going to have. No policy
# can have these names.
UNNAMED = (("another user", "another role"), ("a third user", "a third role"))


@dataclass(frozen=True)
class Level:
    """A sensitivity (by its place in the policy's order) and a set of categories."""

    sensitivity: int
    categories: frozenset[str]

    def dominates(self, other: Level) -> bool:
        """ebitmap_contains and the order of sensitivities (mls_level_dom, mls_types.h)."""
        return self.sensitivity >= other.sensitivity and self.categories >= other.categories


@dataclass(frozen=True)
class Context:
    """A context, as constraints see one."""

    user: str
    role: str
    type: str
    low: Level
    high: Level

    @property
    def rest(self) -> tuple[str, str, Level, Level]:
        """All but the type."""
        return self.user, self.role, self.low, self.high


# The categories of two containers of one host.
ONE, TWO = ("c1", "c2"), ("c3", "c4")


def single_level(user: str, role: str, type_name: str, *categories: str) -> Context:
    """A context at the lowest sensitivity with these categories, as container runtimes give them."""
    level = Level(0, frozenset(categories))
    return Context(user, role, type_name, level, level)


def ranged(user: str, role: str, type_name: str, low: Collection[str], high: Collection[str]) -> Context:
    """A context with categories of its own at the low and at the high level."""
    return Context(user, role, type_name, Level(0, frozenset(low)), Level(0, frozenset(high)))


# Of what a context is: a process has any SELinux user and role, a file any user and the role of what is none.
PROCESSES, FILES = "processes", "files"


class Parties(NamedTuple):
    """Of what the two contexts of an access are. alike: of one SELinux user and role, as what a container does to
    itself; of_the_system: only of the system's own."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    alike: bool = False
    of_the_system: bool = False


@cache
def ranges() -> tuple[tuple[Level, Level, Level, Level], ...]:
    """Two ranges, each low and high, in every way in which their levels can lie to each other at one sensitivity: for
    each set of levels that a category may be in, there is one or none."""
    kinds = [kind for kind in product((False, True), repeat=4) if kind[0] <= kind[1] and kind[2] <= kind[3]]
    found: dict[tuple[bool, ...], tuple[Level, Level, Level, Level]] = {}
    for there in product((False, True), repeat=len(kinds)):
        given = [(f"c{number}", kind) for number, kind in enumerate(kinds) if there[number]]
        low, high, its_low, its_high = (
            Level(0, frozenset(c for c, kind in given if kind[place])) for place in range(4)
        )
        levels = (low, high, its_low, its_high)
        found.setdefault(tuple(one.dominates(other) for one, other in permutations(levels, 2)), levels)
    return tuple(found.values())


def context_of(policy: Policy, label: str) -> Context:
    """The context that a label such as `system_u:object_r:http_port_t:s0:c5` writes."""
    user, role, type_name, levels = label.split(":", 3)
    low, high = (Level(*level) for level in policy.levels(levels))
    return Context(user, role, type_name, low, high)


def _spans(expression: tuple[object, ...]) -> list[int]:
    """For each place of a postfix expression, where the operand or term that ends there starts."""
    starts: list[int] = []
    stack: list[int] = []
    for place, part in enumerate(expression):
        if part != "not":
            two = part in ("and", "or") or (isinstance(part, str) and part in _RELATIONS)
            stack = [*stack[:-2], stack[-2]] if two else [*stack, place]
        starts.append(stack[-1])
    return starts


@cache  # policies say one expression of many classes
def leaves(expression: tuple[object, ...]) -> tuple[tuple[str, frozenset[str], bool], ...]:
    """The comparisons with a set of names in a constraint: operand, names, and whether being one of the names can only
    make the constraint easier to meet (else only harder)."""
    starts = _spans(expression)
    negations = [(starts[place], place) for place, part in enumerate(expression) if part == "not"]
    found = []
    for place, part in enumerate(expression):
        if isinstance(part, frozenset):
            negated = sum(start <= place <= end for start, end in negations)
            equal = expression[place + 1] == "=="
            found.append((str(expression[place - 1]), part, equal == (negated % 2 == 0)))
    return tuple(found)


_RELATIONS: dict[str, Callable[[Level, Level], bool]] = {
    "==": lambda one, two: one == two,
    "!=": lambda one, two: one != two,
    "dom": lambda one, two: one.dominates(two),
    "domby": lambda one, two: two.dominates(one),
    "incomp": lambda one, two: not one.dominates(two) and not two.dominates(one),
}


# Of SELinux roles: whether the first dominates the second, and the second the first.
_OF_ROLES: dict[str, Callable[[bool, bool], bool]] = {
    "dom": lambda up, down: up,
    "domby": lambda up, down: down,
    "incomp": lambda up, down: not up and not down,
}


def _compares_types(expression: tuple[object, ...]) -> bool:
    """Whether the types of the two are compared with each other, as in `t1 == t2`."""
    return any(str(one).startswith("t") and str(two).startswith("t") for one, two in zip(expression, expression[1:]))


# The SELinux user and role of a source and of a target, and their ranges.
Circumstances = tuple[tuple[str, str], tuple[str, str], tuple[Level, Level, Level, Level]]


def _between(types: tuple[str, str], rest: Circumstances) -> tuple[Context, Context]:
    """The contexts of a source and a target of two types."""
    (user, role), (its_user, its_role), (low, high, its_low, its_high) = rest
    return Context(user, role, types[0], low, high), Context(its_user, its_role, types[1], its_low, its_high)


class Constraints:
    """The constraints of one policy, by class and permission."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.by_class: dict[str, list[Constraint]] = {}
        for constraint in policy.constraints:
            if not constraint.kind.endswith("validatetrans"):
                self.by_class.setdefault(constraint.tclass, []).append(constraint)
        self.about = cache(self._about)
        self.asking = cache(self._asking)
        self.seen_as = cache(self._seen_as)
        self._telling = cache(self._keys_telling)
        self._bits_of = cache(self._union)
        self._harder: dict[tuple[object, ...], bool] = {}
        # Policies say one expression of many classes.
        self._met: dict[tuple[object, ...], dict[tuple[object, ...], bool]] = {}

    @cached_property
    def _type_sets(self) -> list[int]:
        """The bitsets of the types that constraints name together."""
        named = {
            names
            for constraint in self.policy.constraints
            for operand, names, _ in leaves(constraint.expression)
            if operand.startswith("t")
        }
        return [self._bits_of(names) for names in named]

    @cached_property
    def naming(self) -> dict[tuple[str, bool], str]:
        """Each type or attribute that a constraint names, and whether being one of these can only make it easier to
        meet (else only harder) -> the first such constraint."""
        found: dict[tuple[str, bool], str] = {}
        for names, easier, text in self.naming_together:
            for name in sorted(names):
                found.setdefault((name, easier), text)
        return found

    @cached_property
    def naming_together(self) -> list[tuple[frozenset[str], bool, str]]:
        """The types and attributes that a constraint compares a type with at once, whether being one of these can only
        make it easier to meet, and the first such constraint."""
        found: dict[tuple[frozenset[str], bool], str] = {}
        for constraint in self.policy.constraints:
            for operand, names, easier in leaves(constraint.expression):
                if operand.startswith("t"):
                    found.setdefault((names, easier), constraint.text)
        return [(*which, text) for which, text in found.items()]

    @cached_property
    def sets(self) -> dict[tuple[int, bool], tuple[frozenset[str], str]]:
        """The same by the bitset of all types that are named at once: the first of those that name the same types."""
        found: dict[tuple[int, bool], tuple[frozenset[str], str]] = {}
        for names, easier, text in self.naming_together:
            found.setdefault((self._bits_of(names), easier), (names, text))
        return found

    def telling_apart(self, one: str, other: str) -> frozenset[tuple[str, str]]:
        """The classes and permissions whose constraints may answer otherwise of one type than of another, the other end
        being neither of the two: they name a set in which only one of them is."""
        return self._telling(self.seen_as(one), self.seen_as(other))

    def _keys_telling(self, one: int, other: int) -> frozenset[tuple[str, str]]:
        differing = {bits for number, bits in enumerate(self._type_sets) if (one ^ other) >> number & 1}
        return frozenset(
            (constraint.tclass, perm)
            for constraints in self.by_class.values()
            for constraint in constraints
            if any(
                operand.startswith("t") and self._bits_of(names) in differing
                for operand, names, _ in leaves(constraint.expression)
            )
            for perm in constraint.perms
        )

    def _union(self, names: frozenset[str]) -> int:
        bits = 0
        for name in names:
            bits |= self.policy.bits[name]
        return bits

    def _seen_as(self, type_name: str) -> int:
        """What constraints can know of a type: which of the sets that they name it is in, as a bitset."""
        bit = self.policy.bits[type_name]
        return sum(1 << number for number, bits in enumerate(self._type_sets) if bits & bit)

    def _about(self, tclass: str, perm: str) -> list[Constraint]:
        """The constraints on a permission."""
        return [constraint for constraint in self.by_class.get(tclass, ()) if perm in constraint.perms]

    def _asking(self, tclass: str, perm: str) -> frozenset[tuple[object, ...]]:
        """What the constraints on a permission ask. Many permissions are asked the same."""
        return frozenset(constraint.expression for constraint in self.about(tclass, perm))

    def refusing(self, source: Context, target: Context, tclass: str, perm: str) -> tuple[Constraint, ...]:
        """The constraints that refuse an access between two contexts (constraint_expr_eval, ss/services.c).

        Types that constraints cannot tell apart get the answer that was found for the first of them.
        """
        about = self.about(tclass, perm)
        if not about:
            return ()
        types = (self.seen_as(source.type), self.seen_as(target.type), source.type == target.type)
        key = (*types, source.rest, target.rest)
        found = []
        for constraint in about:
            met = self._met.setdefault(constraint.expression, {})
            if key not in met:
                met[key] = self.holds(constraint, source, target)
            if not met[key]:
                found.append(constraint)
        return tuple(found)

    def holds(self, constraint: Constraint, source: Context, target: Context) -> bool:
        """Whether a constraint is met. Raises ValueError for an expression of a kind that is not known."""
        stack: list[object] = []
        for part in constraint.expression:
            if part == "not":
                stack.append(not stack.pop())
            elif part in ("and", "or"):
                two, one = bool(stack.pop()), bool(stack.pop())
                stack.append(one and two if part == "and" else one or two)
            elif isinstance(part, str) and part in _RELATIONS:
                two_, one_ = stack.pop(), stack.pop()
                stack.append(self._compare(part, one_, two_, source, target))
            else:
                stack.append(part)
        (result,) = stack
        return bool(result)

    def _compare(self, relation: str, one: object, two: object, source: Context, target: Context) -> bool:
        left = self._value(one, source, target)
        if isinstance(two, frozenset):
            inside = self._is_one_of(str(one), str(left), two)
            return inside if relation == "==" else not inside
        right = self._value(two, source, target)
        if isinstance(left, Level) and isinstance(right, Level):
            return _RELATIONS[relation](left, right)
        if str(one).startswith("r") and relation in _OF_ROLES:
            dominated = self.policy.dominated_roles
            # A role that the policy has not stands for all that no constraint names: each dominates itself.
            up, down = right in dominated.get(str(left), (left,)), left in dominated.get(str(right), (right,))
            return _OF_ROLES[relation](up, down)
        return (left == right) == (relation == "==")

    # -- whether one is refused what another is let

    def harder(
        self, key: tuple[str, str], mine: tuple[str, str], theirs: tuple[str, str], parties: Parties
    ) -> Iterator[Constraint]:
        """The constraints on a class and permission that are harder to meet for one pair of types (is_harder)."""
        return (constraint for constraint in self.about(*key) if self.is_harder(constraint, mine, theirs, parties))

    def is_harder(
        self, constraint: Constraint, mine: tuple[str, str], theirs: tuple[str, str], parties: Parties
    ) -> bool:
        """Whether a constraint refuses an access between two types, of a source and a target, that it lets pass between
        two others, everything else of the contexts being the same: under any SELinux users and roles that it can tell
        apart, at any levels. Types that constraints cannot tell apart have one answer."""
        if not self._tells(constraint.expression, mine, theirs):
            return False
        alike = (mine[0] == mine[1], theirs[0] == theirs[1])
        seen = (constraint.expression, *map(self.seen_as, (*mine, *theirs)), *alike, parties)
        if seen not in self._harder:
            self._harder[seen] = any(
                self.holds(constraint, *_between(theirs, rest)) and not self.holds(constraint, *_between(mine, rest))
                for rest in self._circumstances(constraint.expression, parties)
            )
        return self._harder[seen]

    def _tells(self, expression: tuple[object, ...], mine: tuple[str, str], theirs: tuple[str, str]) -> bool:
        """Whether a constraint can know two pairs of types apart."""
        # mutate.py: 1 survives. It only spares the asking.
        bits = self.policy.bits
        for operand, names, _ in leaves(expression):
            if operand in ("t1", "t2"):
                one, other = (bits[types[operand == "t2"]] & self._bits_of(names) for types in (mine, theirs))
                if bool(one) != bool(other):
                    return True
        return _compares_types(expression) and (mine[0] == mine[1]) != (theirs[0] == theirs[1])

    def _circumstances(self, expression: tuple[object, ...], parties: Parties) -> Iterator[Circumstances]:
        """What two contexts can have besides their types, as far as a constraint can tell it apart."""
        asked = {str(part)[0] for part in expression if isinstance(part, str) and part[-1:] in "12"}
        levels = ranges() if asked & {"l", "h"} else ranges()[:1]
        for one in self.identities({expression}, parties.sources, parties.of_the_system):
            others = (one,) if parties.alike else self.identities({expression}, parties.targets, parties.of_the_system)
            yield from product((one,), others, levels)

    def identities(
        self, expressions: Collection[tuple[object, ...]], kinds: tuple[str, ...], of_the_system: bool = False
    ) -> list[tuple[str, str]]:
        """The SELinux users and roles of processes or files, as far as some constraints can tell them apart."""
        users, roles = (self._names(expressions, place, of_the_system) for place in (0, 1))
        found = [*product(users, roles)] if PROCESSES in kinds else []
        if FILES in kinds:
            found += product(users, [OBJECT, *(roles if self.policy.files_have_roles else [])])
        return [*dict.fromkeys(found)]

    def _names(self, expressions: Collection[tuple[object, ...]], place: int, of_the_system: bool) -> list[str]:
        """The SELinux users (place 0) or roles (1) that constraints can tell apart: the system's, those that they name,
        those that have a place in the order of roles, and two others."""
        letter, found = "ur"[place], {SYSTEM[place]: None}
        asked = {f"{letter}1", f"{letter}2"}
        if not of_the_system and not all(asked.isdisjoint(expression) for expression in expressions):
            every = (leaf for expression in expressions for leaf in leaves(expression))
            named = (names for operand, names, _ in every if operand[0] == letter)
            found.update(dict.fromkeys(name for names in named for name in sorted(names)))
            if letter == "r":
                orders = (below for below in self.policy.dominated_roles.values() if len(below) > 1)
                found.update(dict.fromkeys(name for below in orders for name in sorted(below)))
            found.update(dict.fromkeys(one[place] for one in UNNAMED))
        found.pop(OBJECT, None)  # no process has it: no role allow statement names it
        return [*found]

    @staticmethod
    def _value(operand: object, source: Context, target: Context) -> object:
        context = source if str(operand).endswith("1") else target
        values = {"u": context.user, "r": context.role, "t": context.type, "l": context.low, "h": context.high}
        return values[str(operand)[0]]

    def _is_one_of(self, operand: str, value: str, names: frozenset[str]) -> bool:
        if not operand.startswith("t"):
            return value in names
        bit = self.policy.bits[value]
        return any(self.policy.bits[name] & bit for name in names)


def confined(policy: Policy, constraints: Constraints, domains: int, file_type: str) -> int:
    """The bitset of those of `domains` that categories confine to their own files, as they do containers.

    Whom they confine is asked of the constraints, by a file with other categories; where they confine the kernel too,
    they say nothing of kinds, and the answer is nobody.
    """

    def is_confined(domain: str) -> bool:
        source = single_level(*SYSTEM, domain, "c1", "c2")
        target = single_level(SYSTEM[0], OBJECT, file_type, "c3", "c4")
        return bool(constraints.refusing(source, target, "file", "read"))

    # mutate.py: 1 survives. Of none, none is confined.
    if not domains or is_confined(policy.initial_sids["kernel"]):
        return 0
    return sum(policy.bits[name] for name in policy.names(domains) if is_confined(name))


def _may_start(constraints: Constraints, domain: str, parent: str) -> bool:
    """Whether constraints let a domain of the system start the parent: at the same categories, or with these as the
    highest of a range, as runtimes have."""
    container = single_level(*SYSTEM, parent, "c1", "c2")
    itself = single_level(*SYSTEM, domain, "c1", "c2")
    sources = (itself, replace(itself, low=single_level(*SYSTEM, domain).low))
    return any(not constraints.refusing(source, container, "process", "transition") for source in sources)


def confined_beside(policy: Policy, constraints: Constraints, parent: str, file_type: str) -> int:
    """The bitset of the domains that are containers of another kind, sandboxes or virtual machines: they reach files
    of the parent's type, categories confine them to their own, and they start no container."""
    reaching = starting = 0
    for rule in policy.rules_to(file_type):
        reaching |= policy.bits[rule.source] if rule.kind == "allow" else 0
    for rule in policy.rules_to(parent):
        # A rule under a boolean may never be in force.
        if rule.kind == "allow" and rule.guard is None and rule.tclass == "process" and "transition" in rule.perms:
            starting |= policy.bits[rule.source]
    starting = sum(
        policy.bits[name] for name in policy.names(starting & reaching) if _may_start(constraints, name, parent)
    )
    return confined(policy, constraints, reaching & ~starting & ~policy.bits[parent], file_type)
