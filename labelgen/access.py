"""Who may do what to whom in a linked policy: the rules of a type added up, with the booleans they depend on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Optional

from labelgen import conditions
from labelgen.conditions import Condition
from labelgen.policy import XPERM_RULES, Guard, Policy, Rule, members

if TYPE_CHECKING:
    from labelgen.origins import Origins

Key = tuple[str, str]  # class, permission


@dataclass
class Grants:
    """What a type may do: (class, permission) -> the bitset of the types it may do it to. `always` needs no boolean;
    `sometimes` holds what each branch of a conditional block adds."""

    always: dict[Key, int] = field(default_factory=dict)
    sometimes: dict[Guard, dict[Key, int]] = field(default_factory=dict)

    def add(self, rule: Rule, bits: int) -> None:
        """Count a rule towards the types in `bits`, unless no setting of the booleans brings it in force."""
        if rule.guard is not None and rule.guard.condition is False:
            return
        into = self.always if rule.guard is None else self.sometimes.setdefault(rule.guard, {})
        for perm in rule.perms:
            key = (rule.tclass, perm)
            into[key] = into.get(key, 0) | bits

    def plus(self, other: Grants) -> Grants:
        """Everything of both."""
        together = Grants(dict(self.always), {guard: dict(grants) for guard, grants in self.sometimes.items()})
        unite(together.always, other.always)
        for guard, grants in other.sometimes.items():
            unite(together.sometimes.setdefault(guard, {}), grants)
        return together

    def worst(self) -> dict[Key, int]:
        """What is granted in at least one setting of the booleans."""
        return self._worst

    @cached_property
    def _worst(self) -> dict[Key, int]:
        total = dict(self.always)
        for grants in self.sometimes.values():
            unite(total, grants)
        return total

    def branches(self) -> Iterator[tuple[Optional[Guard], dict[Key, int]]]:
        """What needs no boolean, under None, and what each branch of a conditional block adds; in a fixed order."""
        yield None, self.always
        yield from sorted(self.sometimes.items(), key=lambda item: item[0])

    def condition(self, key: Key, bit: int) -> Condition:
        """When the permission on the type of `bit` is granted."""
        if self.always.get(key, 0) & bit:
            return True
        return conditions.any_of(guard.condition for guard, bits in self._depending.get(key, ()) if bits & bit)

    def always_on(self, bits: int) -> frozenset[Key]:
        """What is granted on one of the types in `bits`, whatever the booleans."""
        if bits not in self._always_on:
            self._always_on[bits] = frozenset(key for key, had in self.always.items() if had & bits)
        return self._always_on[bits]

    @cached_property
    def _always_on(self) -> dict[int, frozenset[Key]]:
        return {}

    @cached_property
    def _depending(self) -> dict[Key, list[tuple[Guard, int]]]:
        """Permission -> the branches that add it, and on which types."""
        found: dict[Key, list[tuple[Guard, int]]] = defaultdict(list)
        for guard, grants in self.sometimes.items():
            for key, bits in grants.items():
                found[key].append((guard, bits))
        return dict(found)


def unite(into: dict[Key, int], other: dict[Key, int]) -> None:
    """Add to the bitsets of one the bitsets of the other."""
    for key, bits in other.items():
        into[key] = into.get(key, 0) | bits


class Access:
    """The allow rules of a policy, added up by type."""

    def __init__(self, policy: Policy, origins: Optional[Origins] = None) -> None:
        self.policy = policy
        self.origins = origins
        self.through = cache(self._through)
        # Of one role much is asked about the rules that name its types, and then nothing more.
        self.own = lru_cache(maxsize=16)(self._own)

    def outgoing(self, type_name: str) -> Grants:
        """What a type may do to others and itself."""
        return self._of(type_name, True)

    def incoming(self, type_name: str) -> Grants:
        """What others (the bitsets) may do to a type."""
        return self._of(type_name, False)

    def _of(self, type_name: str, outgoing: bool) -> Grants:
        return self.through(self.policy.attributes_of[type_name], outgoing).plus(self.own(type_name, outgoing))

    def _own(self, type_name: str, outgoing: bool, but: str = "") -> Grants:
        """What the rules grant that name the type itself, without those about it and the type `but`."""
        return self._sum((type_name,), outgoing, but)

    def _through(self, attributes: tuple[str, ...], outgoing: bool) -> Grants:
        """What the rules grant that name one of the attributes: the same for all types that have these."""
        return self._sum(attributes, outgoing)

    def _sum(self, symbols: Iterable[str], outgoing: bool, but: str = "") -> Grants:
        grants = Grants()
        rules = self.policy.naming_source if outgoing else self.policy.naming_target
        for symbol in symbols:
            for rule in rules(symbol):
                other = rule.target if outgoing else rule.source
                if rule.kind == "allow" and other != but:
                    grants.add(rule, self.policy.bits[other])
        return grants

    def rules(self, source: str, target: str, key: Key) -> Iterator[Rule]:
        """The rules that grant a permission."""
        bit = self.policy.bits[target]
        for rule in self.policy.rules_from(source):
            if (
                rule.kind == "allow"
                and rule.tclass == key[0]
                and key[1] in rule.perms
                and self.policy.bits[rule.target] & bit
            ):
                yield rule

    def evidence(self, source: str, target: str, key: Key) -> tuple[str, ...]:
        """The rules that grant a permission, each with the modules that state it, where they are known, and the
        attributes by which it means the two types."""
        return tuple(
            f"{rule}{self.origins.said(rule, key[1:]) if self.origins else ''}{self._path(rule, source, target)}"
            for rule in self.rules(source, target, key)
        )

    def _path(self, rule: Rule, source: str, target: str) -> str:
        ways = [
            f"{name} is in {self._way(name, symbol)}"
            for name, symbol in ((source, rule.source), (target, rule.target))
            if name != symbol
        ]
        return f" ({'; '.join(dict.fromkeys(ways))})" if ways else ""

    def _way(self, name: str, attribute: str) -> str:
        return ", that in ".join(self.origins.path(name, attribute)) if self.origins else attribute


def xperm_ranges(text: str) -> set[int]:
    """The numbers in a list of extended permissions such as `0x5401 0x5411-0x5415`."""
    numbers: set[int] = set()
    for part in text.replace(",", " ").split():
        low, _, high = part.partition("-")
        numbers.update(range(int(low, 0), int(high or low, 0) + 1))
    return numbers


class Xperms:
    """The extended permissions of a type: where any rule is about those of a class on a target, be it one that only
    audits, nothing passes but what allowxperm lists (services.c, services_compute_xperms_drivers; avc.c,
    avc_has_extended_perms)."""

    def __init__(self, policy: Policy, type_name: str) -> None:
        self.filters: dict[tuple[str, str, int], set[int]] = defaultdict(set)
        for rule in (rule for kind in sorted(XPERM_RULES) for rule in policy.rules_of_kind(kind, type_name)):
            numbers = xperm_ranges(rule.xperms) if rule.kind == "allowxperm" else set()
            for number in members(policy.bits[rule.target]):
                for perm in rule.perms:
                    self.filters[rule.tclass, perm, number] |= numbers
