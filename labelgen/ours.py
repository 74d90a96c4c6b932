"""Which modules of a base are labelgen's own: those that the next build replaces, and that a base is taken without.

A module is known by the name and by what is in it: it declares what its name says, and says nothing of anybody else's
roles. Any other module that speaks of a role is somebody else's, and a base cannot be taken without the roles then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Callable

from labelgen.derivation import OWN_ATTRIBUTES
from labelgen.network import CATCH_ALL_PORT_TYPES
from labelgen.ports import own_port_type_names

SHARED = "lxc_base"
MODULE = re.compile(r"lxc_([a-z][a-z0-9_]*?)(_ports)?\Z")

_NO_WORDS = re.compile(rb'"[^"\n]*"|;[^\n]*')
_WORD = re.compile(rb"(?<![\w.-])lxc_\w+")
_DECLARED = re.compile(rb"\((?:type|typeattribute|typealias) (lxc_\w+)\)")
_TYPE = re.compile(rb"\(type (lxc_\w+)\)")
_PORTCON = re.compile(rb"\(portcon \w+ (?:\d+|\(\d+ \d+\)) \(\w+ \w+ lxc_\w+ \([sc0-9. ()]+\)\)\)")
# What makes a role one: it joins these attributes, and has no rule about them.
_JOINS = re.compile(
    rb"\(typeattributeset (?:cil_gen_require )?(?:%s)(?: \([\w ]*\))? *\)" % "|".join(OWN_ATTRIBUTES).encode()
)


# Of sets and of optional blocks.
_BY_THE_COMPILER = tuple(f"{SHARED}_{kind}_".encode() for kind in ("typeattr", "optional"))
_OF_SHARED = "|".join((*OWN_ATTRIBUTES, rf"{SHARED}_typeattr_[0-9]+"))
_DECLARED_IN_SHARED = re.compile(rf"\(typeattribute ({_OF_SHARED})\)")


def is_of_shared(attribute: str) -> bool:
    """Whether an attribute has a name that the shared module declares, itself or through the compiler."""
    return re.fullmatch(_OF_SHARED, attribute) is not None


def declared_in_shared(text: str) -> list[str]:
    """The attributes in CIL that the shared module declares."""
    return _DECLARED_IN_SHARED.findall(text)


def _plain(text: bytes) -> bytes:
    """CIL without comments and strings."""
    return _NO_WORDS.sub(b"", text)


def _declared(text: bytes) -> set[bytes]:
    return set(_DECLARED.findall(text))


def _is_shared(text: bytes) -> bool:
    """Whether it is the shared module: it declares the roles' attribute, and no role is named in it."""
    attributes = {name.encode() for name in OWN_ATTRIBUTES}
    own = _declared(text) | {word for word in _WORD.findall(text) if word.startswith(_BY_THE_COMPILER)}
    return b"(typeattribute lxc_domain)" in text and set(_WORD.findall(text)) <= attributes | own


def _is_role(name: str, text: bytes) -> bool:
    """Whether it is a role's module: it declares the role, joins the roles' attribute, and speaks of nothing of ours
    but of that."""
    types = set(_TYPE.findall(text))
    generated = f"lxc_{name}_typeattr_".encode()
    rest = {word for word in _WORD.findall(_JOINS.sub(b"", text)) if not word.startswith(generated)}
    return (
        f"lxc_{name}_t".encode() in types
        and b"(typeattributeset lxc_domain (" in text
        and rest <= types
        and _is_about(types, generated, text)
    )


# What pp makes of a role's module (policycoreutils, hll/pp), a statement a line. OWN is one of its types; SET is a set
# that a rule is about, which may hold anybody's types: nothing is given to one, nor is one put into an attribute.
_STATEMENTS = (
    r"\(type OWN\)",
    r"\(typeattribute SET\)",
    r"\(roletype object_r OWN\)",
    r"\(typebounds \w+ OWN\)",
    r"\((?:type|role)attributeset cil_gen_require \w+\)",
    r"\(typeattributeset \w+ \((?:OWN ?)+\)\)",
    r"\(typeattributeset SET .*\)",
    r"\((?:allow|auditallow|dontaudit)x? OWN .*\)",
    r"\(type(?:transition|change|member) OWN .*\)",
    r"\(filecon +\w+ \(\w+ \w+ OWN \([sc0-9. ()]+\)\)\)",
    r"\(booleanif (?:(?!\((?:true|false) ).)*",
    r"\((?:true|false)",
    r"\)",
)


def _is_about(types: Iterable[bytes], generated: bytes, text: bytes) -> bool:
    """Whether nothing is in a module but what its own types are and may do: without it, nobody else has more."""
    own, sets = b"(?:%s)" % b"|".join(map(re.escape, types)), re.escape(generated) + rb"\w+"
    forms = (form.encode().replace(b"OWN", own).replace(b"SET", sets) for form in _STATEMENTS)
    statement = re.compile(b"|".join(forms))
    lines = filter(None, map(bytes.strip, text.splitlines()))
    return all(statement.fullmatch(line) and _is_one(line) for line in lines)


def _is_one(line: bytes) -> bool:
    """Whether no second statement begins on a line."""
    depth = 0
    for place, sign in enumerate(line):
        depth += {40: 1, 41: -1}.get(sign, 0)
        if depth == 0 and place + 1 < len(line):
            return False
    return True


def _is_ports(name: str, text: bytes) -> bool:
    """Whether it holds nothing but the ports of the role's own port types."""
    own = {known.encode() for known in own_port_type_names(name, CATCH_ALL_PORT_TYPES)}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return all(map(_PORTCON.fullmatch, lines)) and bool(lines) and set(_WORD.findall(text)) <= own


_KINDS: tuple[tuple[bool, Callable[[str, bytes], bool]], ...] = ((True, _is_ports), (False, _is_role))


def is_ours(module: str, text: bytes) -> bool:
    """Whether the CIL of the module called `module` was made by labelgen."""
    found, plain = MODULE.match(module), _plain(text)
    if module == SHARED:
        return _is_shared(plain)
    return found is not None and any(check(found[1], plain) for ports, check in _KINDS if ports == bool(found[2]))


def speaks_of_roles(text: bytes, ours: Iterable[bytes]) -> list[str]:
    """What labelgen's own modules declare and a module that is not labelgen's speaks of; all in CIL."""
    words = set(_WORD.findall(_plain(text)))
    return sorted(name.decode() for own in ours for name in _declared(_plain(own)) & words)
