"""Built trees made by hand: modules of a few lines in the form that `labelgen build` leaves, without a verification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from labelgen import output
from labelgen.compiling import compile_all

SHARED = (
    "module lxc_base 1.0;\n\nrequire {\n    role system_r;\n}\nattribute lxc_domain;\nrole system_r types lxc_domain;\n"
)


def role_te(name: str, extra: str = "", needs: str = "") -> str:
    """A module with one domain in it."""
    return (
        f"module lxc_{name} 1.0;\n\nrequire {{\n    attribute lxc_domain;\n    attribute domain;\n{needs}}}\n"
        f"type lxc_{name}_t, domain, lxc_domain;\n{extra}"
    )


def make_tree(
    folder: Path,
    roles: Mapping[str, str],
    summaries: Mapping[str, str] = {},
    contexts: Mapping[str, str] = {},
    ports: Mapping[str, str] = {},
    shared: str = SHARED,
) -> Path:
    """A built tree of roles, given as name -> module source; by name too: summary, file contexts, CIL with ports."""
    sources = {"lxc_base": shared, **{f"lxc_{name}": te for name, te in roles.items()}}
    for module, te in sources.items():
        (folder / module).mkdir(parents=True)
        (folder / module / f"{module}.te").write_text(te)
        (folder / module / f"{module}.fc").write_text(contexts.get(module[len("lxc_") :], ""))
    for name, cil in ports.items():
        (folder / f"lxc_{name}" / f"lxc_{name}_ports.cil").write_text(cil)
    compiled = compile_all([folder / module for module in sources], len(sources))
    verdicts = [{"role": name, "summary": summaries.get(name, "A role of the tests.")} for name in roles]
    output.write_json(folder / "verdict.json", {"holds": True, "roles": verdicts})
    output.write_json(folder / "reach.json", {})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    output.write_json(
        folder / "manifest.json",
        output.sealed(
            {
                "labelgen": "0",
                "base": {"name": "by hand", "sha256": "0" * 64, "exact": True},
                "parent": "container_t",
                "roles": {},
                "templates": {},
                "modules": [{"name": module.name, "version": module.version} for module in compiled],
                "tools": {},
                "files": {str(path.relative_to(folder)): output.digest(path) for path in files},
            }
        ),
    )
    return folder
