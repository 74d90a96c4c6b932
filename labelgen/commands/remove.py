"""labelgen remove"""

from __future__ import annotations

from pathlib import Path

import click

from labelgen import printing, terminal
from labelgen.commands import options
from labelgen.host import install, store


@click.command("remove")
@click.argument("names", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@click.option("--force", is_flag=True, help="Also while containers run in the role.")
@options.host_root
@options.host_store
@options.as_json
def command(names: tuple[str, ...], force: bool, root: Path, store_name: str, as_json: bool) -> int:
    """Take roles out of this host's policy, with their file contexts and what was kept of them.

    Each ROLE is the name of a role; without any, all that are installed.
    """
    done = install.remove(store.locate(root, store_name), names, force, terminal.progress)
    if as_json:
        terminal.echo_json(done.to_json())
    else:
        printing.removed(done)
    return 0
