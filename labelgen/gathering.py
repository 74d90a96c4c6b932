"""The CIL of modules put together, with what they require said once.

A module says of each name that it requires that it is in the set `cil_gen_require` (libsepol, module_to_cil.c), and
secilc looks through an attribute and all that is in it as often as it is said to be in a set (cil_verify.c,
__verify_no_self_reference_in_expr). Of a thousand roles, most of which require the same, that is most of its time. What
is said once means the same: the set has the same members, and a name that is missing is still missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

_REQUIRED = re.compile(rb"\((type|role)attributeset cil_gen_require ([\w.-]+)\)\s*\Z")
_STRING_OR_COMMENT = re.compile(rb'"[^"\n]*"|;.*')

Required = tuple[bytes, bytes]  # type or role, and a name


def _lines(text: bytes) -> Iterator[tuple[bytes, Optional[Required], bool]]:
    """Each line, what it requires where it is a requirement, and whether it is inside a block."""
    depth = 0
    for line in text.splitlines(keepends=True):
        found = _REQUIRED.match(line.lstrip()) if b"cil_gen_require" in line else None
        yield line, (found[1], found[2]) if found else None, depth > 0
        if found is None:
            plain = _STRING_OR_COMMENT.sub(b"", line) if b'"' in line or b";" in line else line
            depth += plain.count(b"(") - plain.count(b")")


def gathered(texts: Iterable[bytes]) -> bytes:
    """One text of the CIL of modules. A requirement inside a block, which may be left out as a whole, stays there."""
    all_required: dict[Required, None] = {}
    kept: list[bytes] = []
    for text in texts:
        for line, required, is_inside in _lines(text):
            if required and not is_inside:
                all_required[required] = None
            else:
                kept.append(line)
        kept.append(b"\n")
    for kind in (b"type", b"role"):
        names = b" ".join(name for of, name in all_required if of == kind)
        if names:
            kept.append(b"(%sattributeset cil_gen_require (%s))\n" % (kind, names))
    return b"".join(kept)


def said_once(texts: Sequence[bytes]) -> list[bytes]:
    """The CIL of modules that are linked together, each without what is required elsewhere: of what is required outside
    of all blocks, which then must be there, the first statement is left, and none inside a block."""
    read = [list(_lines(text)) for text in texts]
    outside = {required for lines in read for _, required, is_inside in lines if required and not is_inside}
    said: set[Required] = set()

    def is_needed(required: Optional[Required], is_inside: bool) -> bool:
        if required is None or required not in outside:
            return True
        is_first = not is_inside and required not in said
        said.update([required] if is_first else ())
        return is_first

    return [b"".join(line for line, required, is_inside in lines if is_needed(required, is_inside)) for lines in read]


_DECLARED = re.compile(rb"\((?:type|typeattribute|typealias|role|roleattribute) ([\w.-]+)\)")


def not_declared(modules: Iterable[bytes], base: bytes) -> list[str]:
    """The types, attributes and roles that modules require and neither they nor a base (all in CIL) declare."""
    required: set[bytes] = set()
    declared = set(_DECLARED.findall(base))
    for content in modules:
        declared.update(_DECLARED.findall(content))
        required.update(match[2] for match in map(_REQUIRED.match, map(bytes.lstrip, content.splitlines())) if match)
    return sorted(name.decode() for name in required - declared)
