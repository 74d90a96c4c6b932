"""The claims, put to a real kernel: which contexts try what for the roles of a build, or for any domains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from labelgen import build, output, role
from labelgen.build import Inputs
from labelgen.built import open_tree
from labelgen.derivation import resolve_parent
from labelgen.errors import InputError, suggestion
from labelgen.policy import Policy
from labelgen.role import Role
from labelgen.witness import machine
from labelgen.witness.kernels import Kernel
from labelgen.witness.prove import Pair, Proof, Reaching, prove

ONE, TWO = "s0:c1,c2", "s0:c3,c4"

Share = Callable[[float], None]


@dataclass(frozen=True)
class Wish:
    """How a user wants it proved: `witness` as in `machine.choose`, a kernel `image` of their own with its folder of
    `modules`, and whether to have the AVC lines."""

    witness: str = "quickest"
    image: Optional[Path] = None
    modules: Optional[Path] = None
    denials: bool = False

    def kernels(self) -> list[Kernel]:
        """The kernels to boot. Raises MachineError, InputError."""
        return machine.choose(self.witness, self.image, self.modules)


@dataclass(frozen=True)
class Matter:
    """What the roles of a policy are to try: `domains` by themselves, `pairs` on each other, `reaching` on private
    files, with the sockets of `runtimes` inherited."""

    domains: tuple[str, ...]
    pairs: tuple[Pair, ...]
    reaching: tuple[Reaching, ...]
    runtimes: tuple[str, ...]

    @classmethod
    def of(cls, policy: Policy, roles: Sequence[Role]) -> Matter:
        """All of it, for roles that are linked into `policy`. Raises InputError without their parent."""
        parent, file_type = resolve_parent(policy, roles[0].parent)
        starters = tuple(_runtimes(policy, parent))
        return cls(
            tuple(context(item.type) for item in roles),
            tuple(_pairs(roles, file_type)),
            tuple(_reaching(roles, (context(parent), *starters))),
            starters,
        )


def context(type_name: str, level: str = ONE, selinux_role: str = "system_r") -> str:
    """The context of a process (or, with object_r, of a file) as container runtimes give it."""
    return f"system_u:{selinux_role}:{type_name}:{level}"


def _files(item: Role, file_type: str, level: str) -> str:
    return context(next(iter(item.file_types.values()), file_type), level, "object_r")


def _pairs(roles: Sequence[Role], file_type: str) -> Iterator[Pair]:
    """Who attacks whom: a role itself with other categories, and with the same as the control; and another role with
    the same categories."""
    for number, item in enumerate(roles):
        for level in (TWO, ONE):
            yield Pair(context(item.type), context(item.type, level), _files(item, file_type, level))
        other = roles[(number + 1) % len(roles)]
        if other is not item:
            yield Pair(context(item.type), context(other.type), _files(other, file_type, ONE))


def _reaching(roles: Sequence[Role], others: Sequence[str]) -> Iterator[Reaching]:
    """Every role, the parent and a runtime on the private files of every role, with the same categories."""
    for owner in roles:
        for files in owner.file_types.values():
            attackers = (*(context(item.type) for item in roles), *others)
            yield from (Reaching(attacker, context(files, ONE, "object_r")) for attacker in attackers)


def _runtimes(policy: Policy, parent: str) -> Iterator[str]:
    """The context of one runtime that can start the parent, whose sockets the roles may inherit."""
    starters = sorted(
        name
        for rule in policy.rules_to(parent)
        if rule.kind == "allow" and rule.tclass == "process" and "transition" in rule.perms
        for name in policy.names(policy.bits[rule.source])
        if "runtime" in name or "engine" in name
    )
    if starters:
        yield context(starters[0], "s0")


def prove_roles(inputs: Inputs, folder: Path, wish: Wish, progress: build.Progress, share: Share) -> Proof:
    """Put the roles of a built tree, linked onto a base, to the kernel. Raises InputError, MachineError."""
    files = role.read_all(inputs.roles, inputs.names or open_tree(folder).roles)
    kernels = wish.kernels()
    with output.temporary() as scratch:
        path = scratch / "policy"
        build.link_built(folder, inputs, [file.role for file in files], path, progress)
        policy = Policy(path)
        matter = Matter.of(policy, [file.role for file in files])
        return prove(
            path,
            matter.domains,
            expected=policy,
            kernels_=kernels,
            pairs=matter.pairs,
            reaching=matter.reaching,
            runtimes=matter.runtimes,
            every_port=not wish.denials,  # each refusal is a line on the console, which is slow
            denials=wish.denials,
            progress=share,
        )


def prove_domains(path: Path, domains: Sequence[str], wish: Wish, share: Share) -> Proof:
    """Put any domains (types, aliases or whole contexts) of any binary policy to the kernel.

    Raises InputError, MachineError.
    """
    if not path.is_file():
        raise InputError(f"there is no policy {path}")
    kernels, policy = wish.kernels(), Policy(path)
    return prove(
        path,
        list(dict.fromkeys(_domain(policy, name) for name in domains)),
        expected=policy,
        kernels_=kernels,
        every_port=not wish.denials,
        denials=wish.denials,
        progress=share,
    )


def _domain(policy: Policy, name: str) -> str:
    """The context of a domain: as given, or that of the kernel with its type. As SELinux role object_r, which may stand
    with any type and any user (security/selinux/ss/policydb.c: policydb_context_isvalid)."""
    user, *others = name.split(":", 3) if ":" in name else (policy.initial_contexts["kernel"].split(":")[0], name)
    selinux_role, type_name, *level = others if ":" in name else ("object_r", name, *_level(policy))
    resolved = policy.resolve(type_name)
    if resolved is None and type_name in policy.attributes:
        raise InputError(f"{type_name}: this is an attribute, not a type", f"a type of it: {_of(policy, type_name)}")
    if resolved is None:
        raise InputError(f"{type_name}: this policy has no such type{suggestion(type_name, policy.types)}")
    return ":".join((user, selinux_role, resolved, *level))


def _of(policy: Policy, attribute: str) -> str:
    return next(iter(policy.names(policy.attributes[attribute])), "none")


def _level(policy: Policy) -> list[str]:
    return policy.initial_contexts["kernel"].split(":", 3)[3:]


def shares(tell: Callable[[str], None]) -> Share:
    """Tells of every tenth of the work that is done."""
    last: Optional[int] = None

    def share(done: float) -> None:
        nonlocal last
        if int(done * 10) != last:
            last = int(done * 10)
            tell(f"the kernel has answered {done:.0%}")

    return share
