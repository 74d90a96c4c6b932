"""The part of a policy that tells why roles were denied something, kept in the cache beside the policy: to read all of
that again takes most of a second.

What was kept is asked; what it does not know, the whole policy is.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from labelgen.policy import Policy
from labelgen.reasons import Reason, Reasons

if TYPE_CHECKING:
    from labelgen.avc import Denial

POLICY, INDEX = "policy", "index"  # the files in a folder

Answer = TypeVar("Answer")
Level = tuple[int, frozenset[str]]

# What of an index belongs to setools, which no other process can take over.
_OF_SETOOLS = ("_policy", "_exception", "levels", "_items_from", "_items_to", "_items_giving", "_guards")
# What is read when it is first asked for, and is asked for by Reasons.
_ASKED = ("classes", "bounds", "booleans", "constraints", "network")


class NotKept(Exception):
    """Something was asked that only the whole policy says."""


class _Gone:
    """What stands in the place of setools."""

    def __getattr__(self, name: str) -> Any:
        raise NotKept(name)


class _Levels:
    """The levels of a policy, by the names of its sensitivities and categories in their order."""

    def __init__(self, sensitivities: Mapping[str, int], categories: Mapping[str, int], names: tuple[str, ...]) -> None:
        self.sensitivities = sensitivities
        self.categories = categories
        self.names = names

    @classmethod
    def of(cls, policy: Policy) -> _Levels:
        """Those of a policy as setools has it."""
        sensitivities = sorted(policy.of_setools.sensitivities()) if policy.mls else []
        categories = sorted(policy.of_setools.categories()) if policy.mls else []
        return cls(_places(sensitivities), _places(categories), tuple(map(str, categories)))

    def __call__(self, text: str) -> tuple[Level, Level]:
        """As Policy.levels. Raises NotKept for what is no range that it knows."""
        low, _, high = text.partition("-")
        return self._level(low), self._level(high or low)

    def _level(self, text: str) -> Level:
        sensitivity, _, categories = text.strip().partition(":")
        found: set[str] = set()
        try:
            for part in filter(None, categories.split(",")):
                first, _, last = part.partition(".")
                found.update(self.names[self.categories[first] : self.categories[last or first] + 1])
            return self.sensitivities[sensitivity], frozenset(found)
        except KeyError as error:
            raise NotKept(text) from error


def _places(items: Iterable[Any]) -> dict[str, int]:
    """Each name and alias -> its place in the order of the policy."""
    return {str(name): place for place, item in enumerate(items) for name in (item, *item.aliases())}


def keep(policy: Policy, domains: Iterable[str], folder: Path) -> None:
    """Write what `policy`, which is in `folder`, says of the `domains` of roles and of their parents."""
    for name in {bound for domain in domains for bound in (domain, policy.bounds.get(domain, domain))}:
        for symbol in (name, *policy.attributes_of[name]):
            policy.naming_source(symbol)
    for name in _ASKED:
        getattr(policy, name)
    index = {name: value for name, value in vars(policy).items() if name not in _OF_SETOOLS}
    with (folder / INDEX).open("wb") as file:
        pickle.dump((index, _Levels.of(policy)), file, pickle.HIGHEST_PROTOCOL)


def read(folder: Path) -> Policy:
    """What `keep` wrote, as a Policy that raises NotKept where more is asked of it."""
    with (folder / INDEX).open("rb") as file:
        index, levels = pickle.load(file)
    policy = Policy.__new__(Policy)
    vars(policy).update(index, **dict.fromkeys(_OF_SETOOLS, _Gone()))
    policy.levels = levels
    return policy


class KeptReasons(Reasons):
    """Asks what was kept in a folder of a policy, and all of it where that is not enough."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(read(folder), name)
        self._folder = folder

    @cached_property
    def _whole(self) -> Reasons:
        return Reasons(Policy(self._folder / POLICY), self.name)

    def lacks(self, denial: Denial) -> bool:
        """As of Reasons."""
        return self._asked(super().lacks, lambda: self._whole.lacks(denial), denial)

    def of(self, denial: Denial) -> Reason:
        """As of Reasons."""
        return self._asked(super().of, lambda: self._whole.of(denial), denial)

    def of_another(self, denial: Denial, role: str) -> Reason:
        """As of Reasons: what others may do is not kept."""
        return self._whole.of_another(denial, role)

    def _asked(self, kept: Callable[[Denial], Answer], whole: Callable[[], Answer], denial: Denial) -> Answer:
        try:
            return kept(denial)
        except NotKept:
            return whole()
