"""labelgen show"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import printing, terminal
from labelgen.built import open_tree
from labelgen.commands import options
from labelgen.shipped import DEFAULT_PARENT, SHARED_MODULE


@click.command("show")
@click.argument("what", metavar="ROLE|lxc_base", shell_complete=options.complete_roles)
@options.build_folder
@options.base
@options.built_roles
@click.option("--parent", "parent", default=DEFAULT_PARENT, show_default=True, help="For lxc_base: the parent type.")
@options.as_json
def command(
    what: str, build_folder: Path, base: Optional[str], roles: Optional[Path], parent: str, as_json: bool
) -> int:
    """Print what a built role may do on the network; or, for lxc_base, what became of the parent's rules."""
    if what == SHARED_MODULE:
        from labelgen import build  # noqa: PLC0415 - heavy, and `show ROLE` does without

        known, notice = build.describe_base(base, parent, terminal.progress)
        printing.show_base(known, notice, as_json)
        return 0
    tree = open_tree(build_folder)
    shown = tree.verdict(what)
    options.tell_changed(tree, (what,), roles)
    if as_json:
        terminal.echo_json(shown)
    else:
        printing.show_role(shown)
    return 0
