"""What rendering needs to know of a base, derived once and cached by the base's digest."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen import base as bases
from labelgen import output
from labelgen.base import Base
from labelgen.derivation import Derivation, Probe, SharedRule, derive, resolve_parent
from labelgen.errors import InputError
from labelgen.network import CATCH_ALL_PORT_TYPES, EXTENDED_SOCKET_CLASSES, EXTENDED_SOCKETS
from labelgen.policy import Policy
from labelgen.ports import PortTable, Segment


@dataclass(frozen=True)
class Facts:
    """A base as the templates see it.

    derivation: the shared module; ports: the type of each port; port_type_names: what may be declared as a port type;
    catch_all: the types that mean no service in particular -> their attributes; aliases: alias -> type;
    classes and attributes: those the base defines; taken: every name of a type or attribute.
    """

    derivation: Derivation
    ports: PortTable
    port_type_names: frozenset[str]
    catch_all: dict[str, tuple[str, ...]]
    aliases: dict[str, str]
    classes: frozenset[str]
    attributes: frozenset[str]
    taken: frozenset[str]

    def resolve(self, name: str) -> str:
        """The type that a name means, through aliases."""
        return self.aliases.get(name, name)


def _require_mls(policy: Policy, base: Base) -> None:
    if not policy.mls:
        raise InputError(
            f"{base.name}: this base is a policy without MLS/MCS",
            "containers are kept apart by MCS categories; use a base of type mcs or mls",
        )


def _probe(base: Base) -> Probe:
    """Links the base with a type for each attribute, to see what each attribute alone grants."""

    def link(attributes: Sequence[str]) -> tuple[Policy, list[str]]:
        types = [f"labelgen_probe_{number}_t" for number in range(len(attributes))]
        with output.temporary() as scratch:
            source, linked = scratch / "probe.cil", scratch / "policy"
            source.write_text(
                "".join(
                    f"(type {name})\n(typeattributeset {attribute} ({name}))\n"
                    for attribute, name in zip(attributes, types)
                )
            )
            bases.link([base.cil, source], base.mls, linked)
            return Policy(linked), types

    return link


def _classes_in_use(policy: Policy) -> frozenset[str]:
    """The classes that a kernel asks this policy about."""
    unused = frozenset() if EXTENDED_SOCKETS in policy.polcaps else EXTENDED_SOCKET_CLASSES
    return frozenset(policy.classes) - unused


def _require_whole_constraints(policy: Policy, base: Base) -> None:
    """Refuse a binary that checkpolicy cannot write out again: it reads of a constraint what is told to people, and
    leaves out of it what the kernel asks besides."""
    lost = next((item for item in policy.constraints if item.written_out), None) if not base.exact else None
    if lost is not None:
        raise InputError(
            f"{base.name}: this binary policy cannot be made into a base: no tool writes out all that is named in\n"
            f"{lost.text}",
            "take the modules that it was made of: the host's policy store, or `labelgen base capture` there",
        )


def gather(policy: Policy, base: Base, parent: str) -> Facts:
    """Read the facts of a base from its policy. Raises InputError without the parent or without MLS, and for a binary
    that cannot be taken apart."""
    _require_mls(policy, base)
    _require_whole_constraints(policy, base)
    resolve_parent(policy, parent, f"the base {base.name}")
    for sid in ("port", "node"):
        if sid not in policy.initial_sids:
            raise InputError(
                f"{base.name}: this base has no context for the initial SID {sid}", "it is no whole policy"
            )
    catch_all = {name for name in CATCH_ALL_PORT_TYPES if name in policy.types} | {policy.initial_sids["port"]}
    portcon_types = {con.type for con in policy.portcons}
    return Facts(
        derivation=derive(policy, parent, _probe(base) if base.exact else None),
        ports=PortTable.of(policy.portcons, policy.initial_sids["port"], policy.initial_contexts["port"]),
        port_type_names=frozenset(policy.names(policy.attributes.get("port_type", 0))) | portcon_types,
        catch_all={name: policy.attributes_of[name] for name in sorted(catch_all)},
        aliases=dict(policy.aliases),
        classes=_classes_in_use(policy),
        attributes=frozenset(policy.attributes),
        taken=frozenset(policy.bits) | frozenset(policy.aliases) | _ours_in(base),
    )


def _to_json(facts: Facts) -> Any:
    return {
        "derivation": {**vars(facts.derivation)},
        "ports": facts.ports.segments,
        "port_type_names": sorted(facts.port_type_names),
        "catch_all": facts.catch_all,
        "aliases": facts.aliases,
        "classes": sorted(facts.classes),
        "attributes": sorted(facts.attributes),
        "taken": sorted(facts.taken),
    }


def _tuples(value: Any) -> Any:
    """JSON's lists back to tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _from_json(data: Any) -> Facts:
    derivation = _tuples(data["derivation"])
    for name in ("rules", "own_xperms", "own_transitions"):
        derivation[name] = tuple(SharedRule(*rule) for rule in derivation[name])
    fields = {field.name for field in dataclasses.fields(Derivation)}
    assert fields == set(derivation)
    return Facts(
        derivation=Derivation(**derivation),
        ports=PortTable({protocol: [Segment(*row) for row in rows] for protocol, rows in data["ports"].items()}),
        port_type_names=frozenset(data["port_type_names"]),
        catch_all=_tuples(data["catch_all"]),
        aliases=data["aliases"],
        classes=frozenset(data["classes"]),
        attributes=frozenset(data["attributes"]),
        taken=frozenset(data["taken"]),
    )


def _ours_in(base: Base) -> frozenset[str]:
    """The names that start like a role's and that the base declares, those too that a linker leaves out as unused."""
    found = re.findall(rb"\((?:type|typeattribute|typealias) (lxc_\w+)\)", base.cil.read_bytes())
    return frozenset(name.decode() for name in found)


def names_type(base: Base, name: str) -> bool:
    """Whether the base declares a type or an alias of this name."""
    text = base.cil.read_bytes()
    return any(f"({kind} {name})".encode() in text for kind in ("type", "typealias"))


def of_base(base: Base, parent: str) -> Facts:
    """The facts of a base for one parent, from the cache where they were gathered before.

    Raises InputError without the parent or without MLS.
    """

    def make(folder: Path) -> None:
        facts = gather(Policy(base.policy), base, parent)
        (folder / "facts.json").write_text(json.dumps(_to_json(facts)), encoding="utf-8")

    with bases.cached(f"facts-{base.digest[:32]}-{parent}", make) as folder:
        return _from_json(bases.load_json(folder / "facts.json"))
