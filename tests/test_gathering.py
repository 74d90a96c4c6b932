"""Modules linked together, what they require said once: the same policy as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from bases import BuiltRoles, OnBase

from labelgen import base as bases
from labelgen import build
from labelgen.errors import LinkError
from labelgen.gathering import gathered, said_once

# What pp makes of a module with an optional block, and signs in a string that would look like the end of one.
OPTIONAL = """\
(typeattributeset cil_gen_require lxc_web_t)
(type extra_t)
(roletype object_r extra_t)
(filecon "/srv/lxc/extra(/.*)?;" any (system_u object_r extra_t ((s0) (s0))))
(optional extra_optional_1
    (typeattributeset cil_gen_require extra_t)
(typeattributeset cil_gen_require no_such_t)
    (allow extra_t extra_t (file (read)))
)
(typeattributeset cil_gen_require lxc_dns_t)
(optional extra_optional_2
(typeattributeset cil_gen_require lxc_dns_t)
    (allow extra_t extra_t (file (getattr)))
)
"""


def test_roles_linked_together_are_the_policy_of_the_modules_one_by_one(on_base: OnBase, tmp_path: Path) -> None:
    together = tmp_path / "policy"
    build.link_onto(on_base.roles.prepared.base, on_base.roles.compiled, together)
    assert together.read_bytes() == on_base.path.read_bytes()
    assert together.with_suffix(".fc").read_bytes() == on_base.path.with_suffix(".fc").read_bytes()


def test_a_requirement_stays_in_its_optional_block(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    extra, whole = tmp_path / "extra.cil", tmp_path / "whole.cil"
    extra.write_text(OPTIONAL)
    files = [*list(reference_roles.cil.values())[1:], extra]
    whole.write_bytes(gathered(path.read_bytes() for path in files))
    base = reference_roles.prepared.base.cil
    bases.link([base, *files], True, tmp_path / "one")
    bases.link([base, whole], True, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    shared = reference_roles.cil["lxc_base"].read_text().splitlines()
    inside = [line for line in shared if line.startswith(" ") and "cil_gen_require" in line]
    # In the blocks, and the types of all.
    assert inside
    assert whole.read_text().count("cil_gen_require") == len(inside) + 3 + 1


def test_what_modules_require_twice_is_left_out_and_they_link_alike(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    files = [*list(reference_roles.cil.values())[1:], *(tmp_path / name for name in ("extra.cil", "more.cil"))]
    for path, (old, new) in zip(files[-2:], ((b"extra_t", b"extra_t"), (b"extra_", b"more_"))):
        path.write_bytes(OPTIONAL.encode().replace(old, new))
    base, whole = reference_roles.prepared.base.cil, tmp_path / "whole.cil"
    once = said_once([path.read_bytes() for path in files])
    whole.write_bytes(b"".join(once))
    bases.link([base, *files], True, tmp_path / "one")
    bases.link([base, whole], True, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    said = b"".join(text for path, text in zip(files, once) if path.stem != "lxc_base")
    told = [line.strip() for line in said.splitlines() if b"cil_gen_require" in line]
    # What is required in a block only stays there: the type that is nowhere, and the types that the modules declare.
    twice = [b"(typeattributeset cil_gen_require no_such_t)"] * 2
    inside = [b"(typeattributeset cil_gen_require %s)" % name for name in (b"extra_t", b"more_t")]
    assert sorted(line for line in told if told.count(line) > 1) == twice
    assert set(inside) < set(told)
    web = b"(typeattributeset cil_gen_require lxc_web_t)"
    assert [web in text for text in once[-2:]] == [True, False]


def test_what_is_required_and_missing_is_told_of_the_module_that_requires_it(
    reference_roles: BuiltRoles, tmp_path: Path
) -> None:
    base = reference_roles.prepared.base
    files = [path for module in reference_roles.compiled for path in module.linked]
    web = next(path for path in files if path.stem == "lxc_web")
    broken = tmp_path / web.name
    broken.write_text(web.read_text() + "(typeattributeset cil_gen_require no_such_t)\n")
    lines = len(broken.read_text().splitlines())
    build._link(base, files, tmp_path / "policy")
    with pytest.raises(LinkError, match=rf"at lxc_web\.cil:{lines}"):
        build._link(base, [broken if path == web else path for path in files], tmp_path / "policy")
