"""Why a policy refuses a role something that is not about the network: no rule, a boolean, a constraint, a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Callable, Optional

from labelgen import conditions
from labelgen.access import Access, Grants, Xperms
from labelgen.conditions import Condition
from labelgen.constraints import Constraints, Context, Level
from labelgen.derivation import DOMAIN, FILE_TYPE, resolve_parent
from labelgen.errors import InputError
from labelgen.modules import FILE_ACCESS
from labelgen.network import LABELLED_NETWORKING, LEADING, UNDOING
from labelgen.policy import FILE_CLASSES, Policy
from labelgen.shipped import role_of

if TYPE_CHECKING:
    from labelgen.avc import Denial, Label

CHANGED = "the base changed since the build (`labelgen verify --build build` says how), build and install again"
# As container-selinux calls it, and called it before (container.te).
READ_ONLY = ("container_ro_file_t", "container_share_t")
VOLUME = "-v PATH:PATH:Z for this container alone, :z for several"


@dataclass(frozen=True)
class Reason:
    """Why something was refused. kind and claim as in an Explanation; allow: what to change so that it is let."""

    kind: str
    claim: str
    message: str
    allow: str = ""


class Reasons:
    """Asks one policy in which roles are linked; `name` is what people call it."""

    def __init__(self, policy: Policy, name: str) -> None:
        self.policy = policy
        self.name = name

    @cached_property
    def access(self) -> Access:
        """Its rules."""
        return Access(self.policy)

    @cached_property
    def constraints(self) -> Constraints:
        """Its constraints."""
        return Constraints(self.policy)

    def lacks(self, denial: Denial) -> bool:
        """Whether no rule grants what was denied."""
        known = all(self.policy.resolve(name) for name in (denial.source, denial.target))
        return not known or bool(_Asked(self, denial).lacking)

    def of(self, denial: Denial) -> Reason:
        """Why the policy refuses a role what was denied, or that it does not."""
        return self._of_another_policy(denial) or _Asked(self, denial).reason()

    def of_another(self, denial: Denial, role: str) -> Reason:
        """Why the policy refuses another domain what it wanted of a role or of its files, or that it does not."""
        return self._of_another_policy(denial) or _Asked(self, denial, role).reason_of_another()

    def _of_another_policy(self, denial: Denial) -> Optional[Reason]:
        """That the policy does not know what was denied, where it does not."""
        for name in (denial.source, denial.target):
            if self.policy.resolve(name) is None:
                return Reason("stale", "", f"{self.name} has no type {name}: it was refused by another policy")
        unknown = [perm for perm in denial.perms if perm not in self.policy.classes.get(denial.tclass, ())]
        if unknown:
            what = f"permission {unknown[0]} of the class {denial.tclass}"
            return Reason("stale", "", f"{self.name} has no {what}: it was refused by another policy")
        return None


class _Asked:
    """One denial, held against the policy. Of what it names, `lacking` are the permissions that no rule grants."""

    def __init__(self, reasons: Reasons, denial: Denial, role: str = "") -> None:
        self.reasons, self.policy, self.denial = reasons, reasons.policy, denial
        self.role = role or role_of(denial.source)
        self.source = denial.source
        self.target = self.policy.resolve(denial.target) or denial.target
        self.parent = self.policy.bounds.get(self.source)
        self.lacking = self.lacks(self.source, self.target, denial.perms)

    def grants(self, domain: str) -> Grants:
        return self.reasons.access.outgoing(domain)

    def condition(self, domain: str, target: str, perm: str) -> Condition:
        return self.grants(domain).condition((self.denial.tclass, perm), self.policy.bits[target])

    def lacks(self, domain: str, target: str, perms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(perm for perm in perms if self.condition(domain, target, perm) is False)

    @property
    def what(self) -> str:
        return f"{self.target}:{self.denial.tclass} {' '.join(self.lacking or self.denial.perms)}"

    def is_in(self, attribute: str) -> bool:
        return bool(self.policy.bits.get(attribute, 0) & self.policy.bits[self.target])

    def reason(self) -> Reason:
        """The first reason that applies."""
        no_rule: tuple[Callable[[], Optional[Reason]], ...] = (
            self.own_files, self.of_another_role, self.of_a_plain_container, self.withheld, self.of_the_parent,
            self.label, self.nobody)  # fmt: skip
        with_rule = (self.categories, self.constraint, self.boolean, self.ioctl, self.bound, self.granted)
        found = (ask() for ask in (no_rule if self.lacking else with_rule))
        return next(reason for reason in found if reason is not None)

    def reason_of_another(self) -> Reason:
        """Why somebody else is refused something of the role or of its files."""
        if self.lacking:
            return self.unlike_the_counterpart()
        found = (ask() for ask in (self.constraint, self.boolean, self.granted))
        return next(reason for reason in found if reason is not None)

    def unlike_the_counterpart(self) -> Reason:
        """What no rule lets another do to the role or its files, held against plain containers and theirs."""
        counterpart = self.policy.bounds.get(self.target, "")
        if not counterpart or self.lacks(self.source, counterpart, self.lacking):
            than = f", nor on {counterpart}" if counterpart else ""
            return Reason("other", "", f"{self.source} is no role, and no rule lets it act so on {self.target}{than}")
        if self.denial.tclass in FILE_CLASSES:
            return Reason("deliberate", "separate",
                          f"deliberate: {self.what} is {self.role}'s alone; {self.source} may use files of plain "
                          f"containers ({counterpart})")  # fmt: skip
        if self.condition_of_starting(counterpart) is False:
            return Reason("deliberate", "separate",
                          f"deliberate: {self.source} starts no containers, and may act on plain ones "
                          f"({counterpart}) only: {self.what}")  # fmt: skip
        return Reason("parent", "enterable",
                      f"a fault: {self.source} may act so on {counterpart}, so it should on {self.target}: "
                      f"{CHANGED}")  # fmt: skip

    def condition_of_starting(self, domain: str) -> Condition:
        """When the source starts containers in a domain."""
        return self.grants(self.source).condition(("process", "transition"), self.policy.bits[domain])

    # -- no rule grants it

    def own_files(self) -> Optional[Reason]:
        if self.target not in (f"lxc_{self.role}_content_t", f"lxc_{self.role}_data_t"):
            return None
        access, tclass = "read" if self.target.endswith("_content_t") else "write", self.denial.tclass
        declared = tuple(perm for perm in self.lacking if perm in FILE_ACCESS[access].get(tclass, ()))
        bound = self.policy.bounds.get(self.target, self.target)
        if declared and self.parent and not self.lacks(self.parent, bound, declared):
            return Reason("parent", "able", f"a fault: {self.role} declares `access: {access}` for this file of its "
                          f"own, which {self.target}:{tclass} {' '.join(declared)} belongs to: {CHANGED}")  # fmt: skip
        if access == "read" and set(self.lacking) <= set(FILE_ACCESS["write"].get(tclass, ())):
            return Reason(
                "deliberate", "contained", f"deliberate: {self.role} declares `access: read` for this file of its own",
                "files: [{path: ..., access: write}]")  # fmt: skip
        return Reason("deliberate", "contained",
                      f"deliberate: {self.what}: a role's own files are data, which none runs or relabels")  # fmt: skip

    def of_another_role(self) -> Optional[Reason]:
        if self.target == self.source or not (self.is_in(DOMAIN) or self.is_in(FILE_TYPE)):
            return None
        return Reason("deliberate", "separate",
                      f"deliberate: {self.what} is another role's; no rule lets one role act on another")  # fmt: skip

    def of_a_plain_container(self) -> Optional[Reason]:
        if self.target != self.parent:
            return None
        return Reason("deliberate", "separate",
                      f"deliberate: {self.target} is a plain container; no rule lets a role act on one")  # fmt: skip

    def withheld(self) -> Optional[Reason]:
        """What the derivation leaves out of what the parent has."""
        tclass, bits = self.denial.tclass, self.policy.bits[self.target]
        if tclass not in LABELLED_NETWORKING and any(self.policy.network.part(tclass, p, bits) for p in self.lacking):
            return Reason("deliberate", "network",
                          f"deliberate: {self.what} changes the network, which no role may")  # fmt: skip
        leading = [p for p in self.lacking if p in LEADING.get(tclass, ()) or (tclass, p) in UNDOING]
        if leading and self.target != self.source:
            return Reason("deliberate", "closed",
                          f"deliberate: {self.what} could lead to more network than the role declares")  # fmt: skip
        return None

    def of_the_parent(self) -> Optional[Reason]:
        if self.parent is None or self.lacks(self.parent, self.target, self.lacking):
            return None
        return Reason("parent", "complete",
                      f"a fault: {self.parent} may use {self.what}, so the role should: {CHANGED}")  # fmt: skip

    def label(self) -> Optional[Reason]:
        """Files that would be let with the label of containers' files."""
        file_type = self.file_type
        if file_type in (None, self.target) or self.denial.tclass not in FILE_CLASSES:
            return None
        if self.lacks(self.source, str(file_type), self.denial.perms):
            return None
        if self.target in map(self.policy.resolve, READ_ONLY):
            return Reason("label", "",
                          f"{self.what}: the label of what containers read and do not change, such as images; "
                          f"{self.parent} may not do that either. A volume to write needs another label",
                          VOLUME)  # fmt: skip
        return Reason("label", "",
                      f"{self.what}: these files have a label of the host's, not one of a container's; {self.parent} "
                      "may not do that either. A volume (no folder of the system) needs a label for containers",
                      f"{VOLUME}; the role's own: the path under `files:`, then `restorecon -FR`")  # fmt: skip

    @property
    def file_type(self) -> Optional[str]:
        """The label of plain containers' files."""
        try:
            return resolve_parent(self.policy, self.parent)[1] if self.parent else None
        except InputError:
            return None

    def nobody(self) -> Reason:
        parent = f": {self.parent} may not either" if self.parent else ""
        return Reason("deliberate", "contained", f"deliberate: no container may use {self.what}{parent}")

    # -- rules grant it

    def boolean(self) -> Optional[Reason]:
        needed: Condition = True
        for perm in self.denial.perms:
            needed = conditions.both(needed, self.condition(self.source, self.target, perm))
        if conditions.holds(needed, self.policy.booleans):
            return None
        setting = conditions.smallest_setting(needed) or {}
        words = " ".join(f"{name}={'on' if value else 'off'}" for name, value in sorted(setting.items()))
        return Reason("boolean", "", f"{self.what} depends on booleans of the host, for its parent too",
                      f"setsebool -P {words}")  # fmt: skip

    def ioctl(self) -> Optional[Reason]:
        command = self.denial.ioctl
        left = Xperms(self.policy, self.source).filters.get(
            (self.denial.tclass, "ioctl", self.policy.types[self.target]))  # fmt: skip
        if "ioctl" not in self.denial.perms or command is None or left is None or command in left:
            return None
        return Reason("deliberate", "contained",
                      f"deliberate: the ioctl command {command:#06x} on {self.target}:{self.denial.tclass} is not "
                      "among those that its parent may use")  # fmt: skip

    def contexts(self) -> Optional[tuple[Context, Context]]:
        try:
            return self.context(self.denial.scontext), self.context(self.denial.tcontext)
        except InputError:
            return None

    def context(self, label: Label) -> Context:
        """A context as the constraints see it. Raises InputError where this policy has no such range."""
        low, high = self.policy.levels(label.level) if label.level else ((0, frozenset[str]()),) * 2
        return Context(label.user, label.role, self.policy.resolve(label.type) or "", Level(*low), Level(*high))

    def refusing(self) -> Iterator[str]:
        """The constraints that refuse it."""
        pair = self.contexts()
        for perm in self.denial.perms if pair else ():
            assert pair is not None
            yield from (c.text for c in self.reasons.constraints.refusing(*pair, self.denial.tclass, perm))

    def categories(self) -> Optional[Reason]:
        pair = self.contexts()
        if pair is None or pair[0].high.categories >= pair[1].high.categories or not any(self.refusing()):
            return None
        if self.denial.tclass not in FILE_CLASSES:
            return Reason("mcs", "separate",
                          f"deliberate: {self.what} has other categories; it belongs to another container")  # fmt: skip
        return Reason("mcs", "separate",
                      f"deliberate: {self.what} has other categories; the file belongs to another container, or to a "
                      "volume that was labelled for one", VOLUME)  # fmt: skip

    def constraint(self) -> Optional[Reason]:
        text = next(self.refusing(), None)
        return (
            Reason("constraint", "", f"{self.what} is granted, and a constraint refuses it: {text}") if text else None
        )

    def bound(self) -> Optional[Reason]:
        bound = self.policy.bounds.get(self.target, self.target)
        masked = self.lacks(self.parent, bound, self.denial.perms) if self.parent else ()
        if not masked:
            return None
        return Reason("parent", "complete", f"a fault: {self.what} is granted, and the bound by {self.parent} masks it")

    def granted(self) -> Reason:
        return Reason("stale", "",
                      f"{self.what} is granted by {self.reasons.name}: it was refused by another policy, before that "
                      "was loaded (`labelgen status`)")  # fmt: skip
