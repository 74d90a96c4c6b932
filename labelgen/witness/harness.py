"""What may be linked on top of a policy for a trial, and only for that.

Nothing has to be: processes are labelled before anything is enforced, so that the very policy that ships is tried. A
type that no SELinux role may enter needs one all the same, and a policy without a domain that may do everything, or
nothing, needs controls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from labelgen import base as bases
from labelgen.errors import InputError

ALLOWED, REFUSED, ANYTHING = "labelgen_witness_all_t", "labelgen_witness_none_t", "labelgen_witness_anything"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def _names(names: Iterable[str]) -> list[str]:
    checked = list(names)
    for name in checked:
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name of the policy language")
    return checked


def roles_cil(types: Iterable[str], role: str = "system_r") -> str:
    """CIL that lets the SELinux role `role` enter `types`. Raises InputError for what is no name."""
    return "".join(f"(roletype {role} {name})\n" for name in _names([role, *types])[1:])


def controls_cil(classes: Mapping[str, frozenset[str]], role: str = "system_r") -> str:
    """CIL of a domain that is allowed everything and of one that is allowed nothing.

    Takes: `classes`, those of the policy, each with its permissions.
    """
    named = _names(sorted(name for name in classes if classes[name]))
    granted = "".join(f"(allow {ALLOWED} {ANYTHING} ({name} (all)))\n" for name in named)
    return (
        f"(type {ALLOWED})\n(type {REFUSED})\n(typeattribute {ANYTHING})\n(typeattributeset {ANYTHING} (all))\n"
        f"{roles_cil((ALLOWED, REFUSED), role)}{granted}"
    )


def relink(policy: Path, cil: str, to: Path) -> None:
    """Link `cil` onto a binary policy, decompiled for that, into the file `to`. What a binary no longer says of
    attributes stays lost. Raises InputError, ProgramFailed with the linker's words."""
    base = bases.open_base(bases.locate(str(policy)))
    with TemporaryDirectory(prefix="labelgen-") as scratch:
        extra = Path(scratch) / "witness.cil"
        extra.write_text(cil)
        bases.link([base.cil, extra], base.mls, to)
