"""The SELinux of this host as it is now: on, enforcing, and what the loaded policy lets a role do."""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from labelgen import base as bases
from labelgen.derivation import DOMAIN
from labelgen.errors import LabelgenError, MachineError, listed
from labelgen.host import contexts
from labelgen.policy import Policy
from labelgen.reach import Reach, Reacher, port_table, reaches_from_json, reaches_to_json
from labelgen.shipped import role_of

SELINUXFS = Path("/sys/fs/selinux")
PROC = Path("/proc")

# The kernel lets one process at a time open its policy (selinuxfs.c: sel_open_policy, EBUSY).
TRIES = 20
SECONDS_BETWEEN = 0.1

Progress = Callable[[str], None]


class NotReady(LabelgenError):
    """This host cannot start a container in a role as it is."""

    exit_status = MachineError.exit_status


@dataclass(frozen=True)
class Loaded:
    """The roles of the loaded policy: domain -> what it can do on the network; and those that are permissive."""

    roles: dict[str, Reach]
    permissive: frozenset[str]


def is_enabled() -> bool:
    """Whether the kernel runs with SELinux."""
    return (SELINUXFS / "enforce").exists()


def is_enforcing() -> bool:
    """Whether SELinux refuses what the policy does not allow."""
    try:
        return (SELINUXFS / "enforce").read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def loaded_policy() -> bytes:
    """The policy that the kernel has. Raises MachineError where it cannot be read."""
    path = SELINUXFS / "policy"
    for attempt in range(TRIES):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == TRIES - 1:
                raise MachineError(f"{path}: {error.strerror}", "run labelgen as root") from error
            time.sleep(SECONDS_BETWEEN)
    raise AssertionError("not reached")


def loaded(progress: Progress) -> Loaded:
    """The roles of the loaded policy, from the cache where this policy was read before. Raises MachineError."""
    content = loaded_policy()
    digest = hashlib.sha256(content).hexdigest()
    with bases.cached(f"loaded-{digest[:32]}", lambda folder: _read(content, folder, progress)) as folder:
        data = json.loads((folder / "roles.json").read_text(encoding="utf-8"))
    return Loaded({reach.domain: reach for reach in reaches_from_json(data)}, frozenset(data["permissive"]))


def _read(content: bytes, folder: Path, progress: Progress) -> None:
    progress("reading the loaded policy (once)")
    path = folder / "policy"
    path.write_bytes(content)
    policy = Policy(path)
    reacher = Reacher(policy, port_table(policy))
    domains = policy.names(policy.attributes.get(DOMAIN, 0))
    data = {
        **reaches_to_json(map(reacher.of, domains), reacher.ports, reacher.addresses, reacher.constraints),
        "permissive": sorted(policy.permissive & set(domains)),
    }
    (folder / "roles.json").write_text(json.dumps(data), encoding="utf-8")
    path.unlink()


def not_holding() -> Optional[NotReady]:
    """Why this host's SELinux holds no container to its role, and the cure; None where it does."""
    if not is_enabled():
        return NotReady(
            "SELinux is not enabled on this host, so no role holds a container",
            "set SELINUX=enforcing in /etc/selinux/config (on Debian: selinux-activate) and boot again",
        )
    if not is_enforcing():
        return NotReady("SELinux is permissive on this host: it only logs what a role may not do", "run `setenforce 1`")
    return _without_defaults()


def _without_defaults() -> Optional[NotReady]:
    """go-selinux, which engines take labels from (containerLabels; label.InitLabels): without these two a container
    gets none, whatever type it names, and the engine reports no error."""
    path, found = contexts.read_by_engines()
    lacking = [key for key in ("process", "file") if not found.get(key)]
    if not lacking:
        return None
    named = " and no ".join(lacking)
    return NotReady(
        f"container engines leave out every label on this host, also a role's: {path} names no {named}",
        "put the file of the policy's package back, or make one with `labelgen contexts`",
    )


def told(of_this_host: bool) -> str:
    """Why this host's SELinux holds no container to its role, and the cure, in a line; empty where it does, and of
    another host."""
    why = not_holding() if of_this_host else None
    return f"{why.message}; {why.hint}" if why else ""


def check_role(domain: str, progress: Progress) -> Reach:
    """What a role can do by the loaded policy. Raises NotReady where SELinux would not hold it to that."""
    holds_nothing = not_holding()
    if holds_nothing:
        raise holds_nothing
    roles = loaded(progress)
    if domain not in roles.roles:
        name = role_of(domain)
        known = listed(sorted(roles.roles)) or "none"
        raise NotReady(
            f"the loaded policy has no role {domain} (it has {known})", f"run `labelgen install {name}` as root"
        )
    if domain in roles.permissive:
        raise NotReady(
            f"{domain} is a permissive domain here: SELinux only logs what it may not do",
            f"run `semanage permissive -d {domain}`",
        )
    return roles.roles[domain]


def processes_of(domain: str) -> list[int]:
    """The processes that run in a domain, whoever started them."""
    return sorted(process for process, context in _contexts() if _type(context) == domain)


def contexts_of(domain: str) -> Counter[str]:
    """The contexts that run in a domain, each with its number of processes: the categories tell containers apart."""
    return Counter(context for _, context in _contexts() if _type(context) == domain)


def _type(context: str) -> str:
    return context.split(":")[2] if context.count(":") > 1 else ""


def _contexts() -> Iterator[tuple[int, str]]:
    for path in sorted(PROC.glob("[0-9]*/attr/current")):
        try:
            yield int(path.parts[-3]), path.read_bytes().rstrip(b"\0\n").decode("utf-8", "replace")
        except OSError:  # it ended meanwhile, or there is no SELinux
            continue
