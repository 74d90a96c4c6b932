"""The CIL of modules put together, with what they require said once.

A module says of each name that it requires that it is in the set `cil_gen_require` (libsepol, module_to_cil.c), and
secilc looks through an attribute and all that is in it as often as it is said to be in a set (cil_verify.c,
__verify_no_self_reference_in_expr). Of a thousand roles, most of which require the same, that is most of its time. What
is said once means the same: the set has the same members, and a name that is missing is still missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_REQUIRED = re.compile(rb"\((type|role)attributeset cil_gen_require ([\w.-]+)\)\s*\Z")
_STRING_OR_COMMENT = re.compile(rb'"[^"\n]*"|;.*')


def gathered(texts: Iterable[bytes]) -> bytes:
    """One text of the CIL of modules. A requirement inside a block, which may be left out as a whole, stays there."""
    required: dict[tuple[bytes, bytes], None] = {}
    kept: list[bytes] = []
    for text in texts:
        depth = 0
        for line in text.splitlines(keepends=True):
            found = _REQUIRED.match(line) if depth == 0 else None
            if found:
                required[found[1], found[2]] = None
                continue
            plain = _STRING_OR_COMMENT.sub(b"", line) if b'"' in line or b";" in line else line
            depth += plain.count(b"(") - plain.count(b")")
            kept.append(line)
        kept.append(b"\n")
    for kind in (b"type", b"role"):
        names = b" ".join(name for of, name in required if of == kind)
        if names:
            kept.append(b"(%sattributeset cil_gen_require (%s))\n" % (kind, names))
    return b"".join(kept)
