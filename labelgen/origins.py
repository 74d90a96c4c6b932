"""Where a rule of a linked policy comes from: the modules that state it, found in their CIL.

A linker writes out rules about attributes of one type, and `self`, for each type, so a statement is looked for under
every name that it may have had for the two types: their own, their attributes', `self`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from labelgen.base import Base
from labelgen.policy import Policy, Rule

BINARY = "the base, which is a binary"

_STATEMENT = re.compile(rb"\(allow\s+([\w.-]+)\s+([\w.-]+)\s+\(([\w.-]+)\s+\(([^()]*)\)\s*\)")
_SET = re.compile(rb"\(typeattributeset\s+([\w.-]+)\s+\(([^()]*)\)\s*\)")


class Statement(NamedTuple):
    """An allow statement: in which module, about which targets, which permissions (`all`)."""

    module: str
    target: str
    perms: frozenset[str]


class Text:
    """CIL of several modules, one after the other; `starts` says where each begins."""

    def __init__(self, content: bytes, names: Sequence[str], starts: Sequence[int]) -> None:
        self.content, self.names, self.starts = content, names, starts

    @classmethod
    def of(cls, modules: Mapping[str, bytes]) -> Text:
        """The CIL of modules by name."""
        starts, place = [], 0
        for text in modules.values():
            starts.append(place)
            place += len(text)
        return cls(b"".join(modules.values()), list(modules), starts)

    def module_at(self, place: int) -> str:
        """The module that holds a place of the text."""
        return self.names[bisect_right(self.starts, place) - 1]

    @cached_property
    def _statements(self) -> dict[tuple[str, str], list[Statement]]:
        found: dict[tuple[str, str], list[Statement]] = defaultdict(list)
        for match in _STATEMENT.finditer(self.content):
            source, target, tclass, perms = (part.decode() for part in match.groups())
            statement = Statement(self.module_at(match.start()), target, frozenset(perms.split()))
            found[source, tclass].append(statement)
        return found

    def statements(self, source: str, tclass: str) -> list[Statement]:
        """The statements about a source and a class."""
        return self._statements.get((source, tclass), [])

    @cached_property
    def of_attributes(self) -> Callable[[tuple[str, ...], str], list[Statement]]:
        """The statements about any of these attributes and a class; they are the same for all types that have these."""
        return cache(lambda names, tclass: [found for name in names for found in self.statements(name, tclass)])

    @cached_property
    def sets(self) -> dict[str, set[str]]:
        """Type or attribute -> the attributes that it is put into by name."""
        found: dict[str, set[str]] = defaultdict(set)
        for match in _SET.finditer(self.content):
            if match[1] != b"cil_gen_require":
                for member in match[2].decode().split():
                    found[member].add(match[1].decode())
        return found


class Origins:
    """Finds the modules behind the rules of a policy that was linked of a base and of modules."""

    def __init__(self, policy: Policy, base: Base, modules: Iterable[Path]) -> None:
        self.policy = policy
        self.base = base
        self._modules = tuple(modules)

    @cached_property
    def _ours(self) -> Text:
        return Text.of({path.stem: path.read_bytes() for path in self._modules})

    @cached_property
    def _bases(self) -> Text:
        """The base's modules, read only when a rule is none of labelgen's: it may be tens of megabytes."""
        content = self.base.cil.read_bytes()
        known = json.loads((self.base.folder / "base.json").read_text(encoding="utf-8")).get("modules")
        names, starts = zip(*known) if known else ((BINARY,), (0,))
        return Text(content, names, starts)

    def _symbols(self, name: str) -> tuple[str, ...]:
        return self.policy.symbols(name) if name in self.policy.types else (name,)

    def of(self, rule: Rule, perms: Iterable[str]) -> list[str]:
        """The modules that state some of the permissions of an allow rule."""
        wanted = frozenset(perms)
        found, left = self._stating(self._ours, rule, wanted)
        if left:
            more, _ = self._stating(self._bases, rule, left)
            found += more
        return list(dict.fromkeys(found))

    def said(self, rule: Rule, perms: Iterable[str]) -> str:
        """The modules of a rule in words, to stand behind it."""
        modules = self.of(rule, perms)
        if not modules:
            return ""
        return f" [{'module' if len(modules) == 1 else 'modules'} {', '.join(modules)}]"

    def _stating(self, text: Text, rule: Rule, wanted: frozenset[str]) -> tuple[list[str], frozenset[str]]:
        """The modules of a text that state some of the permissions, and the permissions that are left."""
        targets = (*self._symbols(rule.target), "self")
        attributes = self.policy.attributes_of.get(rule.source, ())
        found, left = [], wanted
        for statement in chain(text.statements(rule.source, rule.tclass), text.of_attributes(attributes, rule.tclass)):
            stated = wanted if "all" in statement.perms else wanted & statement.perms
            if stated and statement.target in targets:
                found.append(statement.module)
                left -= stated
        return found, left

    def path(self, type_name: str, attribute: str) -> list[str]:
        """The attributes through which a type comes to be in an attribute, from the nearest to this one; only the
        attribute where it is not put into each by name."""
        ways = [[type_name]]
        seen = {type_name}
        while ways:
            way = ways.pop(0)
            for text in (self._ours, self._bases):
                for name in sorted(text.sets.get(way[-1], set()) - seen):
                    if name == attribute:
                        return [*way[1:], name]
                    seen.add(name)
                    ways.append([*way, name])
        return [attribute]
