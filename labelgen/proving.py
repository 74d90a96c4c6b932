"""The claims, put to a real kernel: which contexts try what for the roles of a build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, Optional

from labelgen import build, output, role
from labelgen.build import Inputs
from labelgen.built import open_tree
from labelgen.derivation import resolve_parent
from labelgen.errors import InputError
from labelgen.policy import Policy
from labelgen.role import Role
from labelgen.witness.prove import Pair, Proof, prove

ONE, TWO = "s0:c1,c2", "s0:c3,c4"

Share = Callable[[float], None]


def context(type_name: str, level: str = ONE, selinux_role: str = "system_r") -> str:
    """The context of a process (or, with object_r, of a file) as container runtimes give it."""
    return f"system_u:{selinux_role}:{type_name}:{level}"


def pairs(roles: Sequence[Role], file_type: str) -> Iterator[Pair]:
    """Who attacks whom: a role itself with other categories, and with the same as the control; and another role with
    the same categories."""
    for number, item in enumerate(roles):
        files = next(iter(item.file_types.values()), file_type)
        for level in (TWO, ONE):
            yield Pair(context(item.type), context(item.type, level), context(files, level, "object_r"))
        other = roles[(number + 1) % len(roles)]
        if other is not item:
            files = next(iter(other.file_types.values()), file_type)
            yield Pair(context(item.type), context(other.type), context(files, ONE, "object_r"))


def runtime(policy: Policy, parent: str) -> list[str]:
    """The contexts of one runtime that can start the parent, whose sockets the roles may inherit."""
    starters = sorted(
        name
        for rule in policy.rules_to(parent)
        if rule.kind == "allow" and rule.tclass == "process" and "transition" in rule.perms
        for name in policy.names(policy.bits[rule.source])
        if "runtime" in name or "engine" in name
    )
    return [context(starters[0], "s0")] if starters else []


def prove_roles(
    inputs: Inputs, folder: Path, witness: str, denials: bool, progress: build.Progress, share: Share
) -> Proof:
    """Put the roles of a built tree, linked onto a base, to the kernel. Raises InputError, MachineError."""
    files = role.read_all(inputs.roles, inputs.names or open_tree(folder).roles)
    with output.temporary() as scratch:
        path = scratch / "policy"
        build.link_built(folder, inputs, [file.role for file in files], path, progress)
        policy = Policy(path)
        parent, file_type = resolve_parent(policy, files[0].role.parent)
        roles = [file.role for file in files]
        return prove(
            path,
            [context(item.type) for item in roles],
            witness=witness,
            pairs=list(pairs(roles, file_type)),
            runtimes=runtime(policy, parent),
            every_port=not denials,  # each refusal is a line on the console, which is slow
            denials=denials,
            progress=share,
        )


def prove_domains(path: Path, domains: Sequence[str], witness: str, denials: bool, share: Share) -> Proof:
    """Put any domains of any binary policy to the kernel. Raises InputError, MachineError."""
    if not path.is_file():
        raise InputError(f"there is no policy {path}")
    contexts = [name if ":" in name else context(name, "s0", "object_r") for name in domains]
    return prove(path, contexts, witness=witness, every_port=not denials, denials=denials, progress=share)


def shares(tell: Callable[[str], None]) -> Share:
    """Tells of every tenth of the work that is done."""
    last: Optional[int] = None

    def share(done: float) -> None:
        nonlocal last
        if int(done * 10) != last:
            last = int(done * 10)
            tell(f"the kernel has answered {done:.0%}")

    return share
