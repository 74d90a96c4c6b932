"""What alike types have in common.

Roles differ in a few rules of their own; everything else they have through the same attributes. What the rules about
attributes grant is held against the parent once for all of them. What that leaves open is looked at for each role,
with its own rules: a hundred roles cost a hundred times their own rules, and not those of the whole policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from labelgen import conditions
from labelgen.access import Access, Grants, Key, unite
from labelgen.conditions import Condition
from labelgen.derivation import CONTENT
from labelgen.policy import FILE_CLASSES, Guard, members

# hooks.c, selinux_inode_setxattr and may_create: what it takes to label a file, and of its type to be on a file system.
RELABEL = tuple((tclass, perm) for tclass in ("dir", "file") for perm in ("relabelfrom", "relabelto"))
ASSOCIATE = ("filesystem", "associate")

Branch = Optional[Guard]
Meeting = tuple[Key, int]  # a permission, and the number of the type that has it


def condition_of(branch: Branch) -> Condition:
    """When what a branch grants is in force."""
    return True if branch is None else branch.condition


def together(*parts: Mapping[Key, int]) -> dict[Key, int]:
    """The union of several grants."""
    total = dict(parts[0])
    for part in parts[1:]:
        both = {key: total[key] | part[key] for key in total.keys() & part.keys()}
        total.update(part)
        total.update(both)
    return total


def beyond(mine: Grants, theirs: Grants, like: Sequence[tuple[int, int]] = ()) -> dict[Branch, dict[Key, int]]:
    """What `mine` grants and `theirs` does not grant in the same branch or without any boolean. For each pair of types
    (their bits) in `like`, a permission on the first is as good as one that they have on the second."""
    # mutate.py: 6 and 8 exceptions survive. This only narrows down what claims._beyond decides.
    found: dict[Branch, dict[Key, int]] = {}
    had_on = {one: theirs.always_on(other) for one, other in like}
    for branch, grants in mine.branches():
        same = theirs.sometimes.get(branch, {}) if branch else {}
        for key, bits in grants.items():
            if key in had_on.get(bits, ()):
                continue  # as most are: on one of the first types alone
            had = theirs.always.get(key, 0) | same.get(key, 0)
            left = bits & ~had
            for one, other in like if left else ():
                left &= ~one if had & other else -1
            if left:
                found.setdefault(branch, {})[key] = left
    return found


def acting_beyond(mine: Grants, theirs: Grants) -> Iterator[Meeting]:
    """Who may act by `mine` (incoming grants) where he may not by `theirs`."""
    # What both have in the same branch takes no look at its booleans.
    left: dict[Key, int] = {}
    for grants in beyond(mine, theirs).values():
        unite(left, grants)
    for key, sources in left.items():
        for number in members(sources):
            bit = 1 << number
            if not conditions.implies(mine.condition(key, bit), theirs.condition(key, bit)):
                yield key, number


@dataclass(frozen=True, eq=False)
class Kin:
    """The types with the same attributes, held against one type: domains of roles against the parent, private file
    types against the parent's.

    parent: the parent's domain; domains: the bitset of the domains of all roles; private: of their private types. With
    those each role deals by itself. beside: of files, the bitset of the containers of other kinds.
    """

    access: Access
    attributes: tuple[str, ...]
    counterpart: str
    parent: str
    domains: int
    private: int
    beside: int = 0

    @cached_property
    def outgoing(self) -> Grants:
        """What the attributes let them do."""
        return self.access.through(self.attributes, True)

    @cached_property
    def incoming(self) -> Grants:
        """What may be done to them because of their attributes."""
        return self.access.through(self.attributes, False)

    @cached_property
    def theirs(self) -> Grants:
        """What the type that they are held against may do."""
        return self.access.outgoing(self.counterpart)

    @cached_property
    def done_to_theirs(self) -> Grants:
        """What may be done to the type that they are held against."""
        return self.access.incoming(self.counterpart)

    @cached_property
    def bit(self) -> int:
        """The bit of the type that they are held against."""
        return self.access.policy.bits[self.counterpart]

    @cached_property
    def network(self) -> dict[Key, int]:
        """Their network permissions, at the booleans' worst."""
        # mutate.py: 0 and 1 exception survive. Of permissions on nothing claims.network finds nothing.
        part = self.access.policy.network.part
        found = ((key, part(*key, bits)) for key, bits in self.outgoing.worst().items())
        return {key: bits for key, bits in found if bits}

    @cached_property
    def beyond(self) -> dict[Branch, dict[Key, int]]:
        """What they may and the other may not."""
        return beyond(self.outgoing, self.theirs)

    @cached_property
    def touching(self) -> dict[Key, int]:
        """What they may do to roles, to the private types of roles and to the other."""
        # mutate.py: 1 and 4 exceptions survive. Types that nobody asks about are only left out sooner: claims leaves
        # them out too.
        looked_at = self.domains | self.private | self.bit
        return {key: bits & looked_at for key, bits in self.outgoing.worst().items() if bits & looked_at}

    # -- what the other has besides the network

    def _wanted(self) -> Iterator[tuple[Branch, Key, int]]:
        for branch, grants in self.theirs.branches():
            for key, bits in sorted(grants.items()):
                yield branch, key, bits & ~self.access.policy.network.part(*key, bits)

    def gives(self, branch: Branch, key: Key) -> int:
        """On which types the attributes give a permission where a branch is in force."""
        return given(self.outgoing, branch, key)

    @cached_property
    def lacking(self) -> list[tuple[Branch, Key, int]]:
        """What the other has on types that are not roles', and the attributes do not give."""
        # mutate.py: 4 and 5 exceptions survive. This only narrows down what claims._missing decides.
        aside = self.bit | self.domains | self.private
        return [(branch, key, bits) for branch, key, bits in self._wanted() if bits & ~aside & ~self.gives(branch, key)]

    @cached_property
    def on_itself(self) -> list[tuple[Branch, Key, int]]:
        """What the other has on itself."""
        # mutate.py: 0 and 3 exceptions survive. This only narrows down what claims._missing decides.
        return [(branch, key, bits) for branch, key, bits in self._wanted() if bits & self.bit]

    # -- what may be done to them

    @cached_property
    def acting_beyond(self) -> frozenset[Meeting]:
        """Who may act on them because of their attributes and may not act so on the other."""
        return frozenset(acting_beyond(self.incoming, self.done_to_theirs))

    @cached_property
    def done_by_roles(self) -> dict[Key, int]:
        """What roles may do to them because of their attributes."""
        return {key: bits & self.domains for key, bits in self.incoming.worst().items() if bits & self.domains}

    @cached_property
    def runtimes(self) -> int:
        """Who starts the other."""
        starting = self.done_to_theirs.worst().get(("process", "transition"), 0)
        return starting & ~self.bit & ~self.domains

    @cached_property
    def done_by_runtimes(self) -> dict[str, tuple[Key, ...]]:
        """Runtime -> what it may do to the other, the network of it aside."""
        policy, done = self.access.policy, sorted(self.done_to_theirs.worst().items())
        network = {key for key, _ in done if policy.network.part(*key, self.bit)}
        return {
            name: tuple(key for key, sources in done if sources & policy.bits[name] and key not in network)
            for name in policy.names(self.runtimes)
        }

    @cached_property
    def not_entering(self) -> list[tuple[Key, int, Condition]]:
        """What runtimes may do to the other, and when, and the attributes do not let them do to these: they start it,
        without new privileges too, give it a keyring, and find it below /proc. The network of it is not asked."""
        found = []
        for key, sources in sorted(self.done_to_theirs.worst().items()):
            is_network = self.access.policy.network.part(*key, self.bit)
            for number in members(sources & self.runtimes) if not is_network else ():
                wanted = self.done_to_theirs.condition(key, 1 << number)
                if not conditions.implies(wanted, self.incoming.condition(key, 1 << number)):
                    found.append((key, number, wanted))
        return found

    # -- files

    @cached_property
    def openers(self) -> Grants:
        """Who may open what the other (a type of files) has by a rule that does not mean the parent too, and is no
        container of another kind."""
        policy = self.access.policy
        parent_bit, found = policy.bits[self.parent], Grants()
        for rule in policy.rules_to(self.counterpart):
            if rule.kind == "allow" and not policy.bits[rule.source] & parent_bit:
                found.add(rule, policy.bits[rule.source] & ~self.beside)
        return found

    @cached_property
    def labellers(self) -> int:
        """Who labels files of the other's type and is no container."""
        bits = 0
        for key in RELABEL:
            bits |= self.openers.worst().get(key, 0)
        return bits & ~self.domains

    @cached_property
    def not_labelling(self) -> list[tuple[Key, int, Condition]]:
        """Who labels files of the other's type, and when, and may not label these because of their attributes."""
        found = []
        for key in RELABEL:
            for number in members(self.openers.worst().get(key, 0) & self.labellers):
                wanted = self.openers.condition(key, 1 << number)
                if not conditions.implies(wanted, self.incoming.condition(key, 1 << number)):
                    found.append((key, number, wanted))
        return found

    @cached_property
    def not_placed(self) -> list[tuple[int, Condition]]:
        """The types of file systems on which files of the other's type can be, and when, and those that have these
        attributes cannot. Files are no file systems."""
        found = []
        for number in members(self.theirs.worst().get(ASSOCIATE, 0) & ~self.bit & ~self.private):
            wanted = self.theirs.condition(ASSOCIATE, 1 << number)
            if not conditions.implies(wanted, self.outgoing.condition(ASSOCIATE, 1 << number)):
                found.append((number, wanted))
        return found

    @cached_property
    def opened_beyond(self) -> frozenset[Meeting]:
        """Who else opens them because of their attributes."""
        return frozenset(opened_beyond(self.incoming, self.openers))


def opened_beyond(mine: Grants, openers: Grants) -> Iterator[Meeting]:
    """Who opens files by `mine` (incoming grants), when he is none of the `openers`.

    Finding a folder is not opening what is in it, and running a file is nothing more to who reads and writes it anyhow:
    hosts leave out rules that others cover (semanage.conf, optimize-policy), and so a privileged container's own rule
    for the entrypoint, where every container may enter the parent's files.
    """
    for key, number in acting_beyond(mine, openers):
        if key[0] not in FILE_CLASSES or key[1] not in CONTENT or key == ("dir", "open"):
            continue
        when = mine.condition(key, 1 << number)
        if key[1] not in RUNNING or not conditions.implies(when, _owns(openers, key[0], 1 << number)):
            yield key, number


RUNNING = ("entrypoint", "execute", "execute_no_trans")


def _owns(openers: Grants, tclass: str, bit: int) -> Condition:
    """When the type of `bit` opens, reads and writes files of a class."""
    found: Condition = True
    for perm in ("open", "read", "write"):
        found = conditions.both(found, openers.condition((tclass, perm), bit))
    return found


def given(grants: Grants, branch: Branch, key: Key) -> int:
    # mutate.py: 3 and 1 exception survive. This only narrows down what claims._missing decides.
    bits = grants.always.get(key, 0)
    return bits | grants.sometimes.get(branch, {}).get(key, 0) if branch else bits
