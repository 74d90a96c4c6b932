"""The policy as libsepol decides it: a second opinion that shares no code with the model from which roles are made.

libsepol computes decisions with the code from which the kernel's was written, constraints and conditions included,
every boolean at its default. setools reads the rest (labels of ports and nodes, initial SIDs, policy capabilities).
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Optional

from labelgen.errors import InputError, MachineError
from labelgen.policy import setools_reader
from labelgen.witness.facts import PROTOCOL_NUMBERS, Access, Facts, NodeLabel, PortLabel, node_label, type_of

CONTEXT = (
    "a context reads user:role:type, and where the policy has levels user:role:type:range; user and SELinux role, "
    "SELinux role and type, user and range have to go together"
)
HINT = "apt-get install libsepol2 or dnf install libsepol, version 3.4 or later"


class _Decision(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("allowed", "decided", "auditallow", "auditdeny", "seqno")]


@cache
def _library() -> ctypes.PyDLL:
    name = ctypes.util.find_library("sepol") or "libsepol.so.2"
    try:
        library = ctypes.PyDLL(name)  # holds the interpreter's lock: libsepol is not made for threads
        library.sepol_compute_av.argtypes = [
            ctypes.c_uint32,
            ctypes.c_uint32,
            ctypes.c_uint16,
            ctypes.c_uint32,
            ctypes.POINTER(_Decision),
        ]
        library.sepol_context_to_sid.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint32)]
        library.sepol_sid_to_context.argtypes = [
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        library.sepol_set_policydb_from_file.argtypes = [ctypes.c_void_p]
        library.sepol_debug(0)
    except (OSError, AttributeError) as error:
        raise MachineError(f"libsepol cannot be used: {error}", HINT) from error
    return library


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    libc.fclose.argtypes = libc.free.argtypes = [ctypes.c_void_p]
    return libc


class Sepol:
    """libsepol's own access decisions on a binary policy.

    The library holds one policy at a time: the one that was asked last. Raises InputError for a policy it cannot read.
    """

    _loaded: Optional[Sepol] = None

    def __init__(self, policy: Path) -> None:
        self.policy = policy
        self._sids: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._perms: dict[tuple[str, str], int] = {}
        self._load()

    def _load(self) -> None:
        libc = _libc()
        file = libc.fopen(bytes(self.policy), b"r")
        if not file:
            raise InputError(f"{self.policy}: this policy cannot be opened")
        failed = _library().sepol_set_policydb_from_file(file)
        libc.fclose(file)
        if failed:
            raise InputError(f"{self.policy}: libsepol cannot read this policy")
        self._sids.clear()
        Sepol._loaded = self

    def _at_hand(self) -> None:
        if Sepol._loaded is not self:
            self._load()

    def _sid(self, context: str) -> int:
        if context not in self._sids:
            number, text = ctypes.c_uint32(), context.encode()
            if _library().sepol_context_to_sid(text, len(text), ctypes.byref(number)):
                raise InputError(f"{context}: this policy has no such context", CONTEXT)
            self._sids[context] = number.value
        return self._sids[context]

    def spelled(self, context: str) -> str:
        """The context as the kernel spells it: s0:c2,c1 is s0:c1,c2. Raises InputError where the policy has none such:
        a part that it does not know, a SELinux role or a range that does not go with the user, a missing range."""
        self._at_hand()
        text, length = ctypes.c_void_p(), ctypes.c_size_t()
        sid = self._sid(context)
        if _library().sepol_sid_to_context(sid, ctypes.byref(text), ctypes.byref(length)) or not text.value:
            raise InputError(f"libsepol cannot spell the context {context}")
        try:
            return ctypes.string_at(text.value).decode()
        finally:
            _libc().free(text)

    def _class(self, tclass: str) -> int:
        if tclass not in self._classes:
            number = ctypes.c_uint16()
            if _library().sepol_string_to_security_class(tclass.encode(), ctypes.byref(number)):
                raise InputError(f"the policy does not know the class {tclass}")
            self._classes[tclass] = number.value
        return self._classes[tclass]

    def _perm(self, tclass: str, perm: str) -> int:
        if (tclass, perm) not in self._perms:
            bit = ctypes.c_uint32()
            if _library().sepol_string_to_av_perm(
                ctypes.c_uint16(self._class(tclass)), perm.encode(), ctypes.byref(bit)
            ):
                raise InputError(f"the class {tclass} has no permission {perm}")
            self._perms[tclass, perm] = bit.value
        return self._perms[tclass, perm]

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """Whether libsepol grants it. Raises InputError for a name that the policy does not know."""
        self._at_hand()
        bit, decision = self._perm(tclass, perm), _Decision()
        if _library().sepol_compute_av(
            self._sid(source), self._sid(target), self._class(tclass), bit, ctypes.byref(decision)
        ):
            raise InputError(f"libsepol cannot decide {source} {target}:{tclass} {perm}")
        return bool(decision.allowed & bit)


def _classes(policy: Any) -> dict[str, frozenset[str]]:
    no_common = setools_reader().exception.NoCommon
    found = {}
    for item in policy.classes():
        perms = set(map(str, item.perms))
        with contextlib.suppress(no_common):
            perms |= set(map(str, item.common.perms))
        found[item.name] = frozenset(perms)
    return found


def _ports(policy: Any) -> tuple[PortLabel, ...]:
    return tuple(
        PortLabel(PROTOCOL_NUMBERS[item.protocol.name], item.ports.low, item.ports.high, str(item.context))
        for item in policy.portcons()
    )


def _nodes(policy: Any) -> tuple[NodeLabel, ...]:
    return tuple(
        node_label(str(item.network.network_address), str(item.network.netmask), str(item.context))
        for item in policy.nodecons()
    )


def _by_transition(policy: Any) -> Iterator[Any]:
    """The type_transition rules."""
    return (rule for rule in policy.terules() if rule.ruletype.name == "type_transition")


def _transitions(policy: Any) -> dict[tuple[str, str], str]:
    found = {}
    for rule in _by_transition(policy):
        if rule.tclass.name.endswith("socket"):
            sources = {t.name for t in rule.source.expand()} & {t.name for t in rule.target.expand()}
            found.update({(name, rule.tclass.name): rule.default.name for name in sources})
    return found


def _queue_types(policy: Any, queues: str) -> dict[str, str]:
    unnamed = setools_reader().exception.TERuleNoFilename
    found = {}
    for rule in _by_transition(policy) if queues else ():
        if rule.tclass.name != "file" or type_of(queues) not in {t.name for t in rule.target.expand()}:
            continue
        with contextlib.suppress(unnamed):
            if rule.filename:
                continue
        found.update({item.name: rule.default.name for item in rule.source.expand()})
    return found


def read(policy: Any, access: Access) -> Facts:
    """What a policy says, a SELinuxPolicy of setools'; who may do what as `access` decides it."""
    queues = next((str(item.context) for item in policy.fs_uses() if item.fs == "mqueue"), "")
    return Facts(
        access=access,
        ports=_ports(policy),
        nodes=_nodes(policy),
        initial={item.name: str(item.context) for item in policy.initialsids()},
        polcaps=frozenset(item.name for item in policy.polcaps()),
        classes=_classes(policy),
        unknown_allowed=str(policy.handle_unknown) == "allow",
        permissive=frozenset(item.name for item in policy.types() if item.ispermissive),
        bounds={item.child.name: item.parent.name for item in policy.bounds()},
        transitions=_transitions(policy),
        netifs={item.netif: str(item.context) for item in policy.netifcons()},
        types=tuple(sorted(item.name for item in policy.types())),
        queues=queues,
        queue_types=_queue_types(policy, queues),
    )
