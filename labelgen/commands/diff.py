"""labelgen diff"""

from __future__ import annotations

from pathlib import Path

import click

from labelgen import changes, printing, terminal
from labelgen.commands import options


@click.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@options.as_json
def command(old: Path, new: Path, as_json: bool) -> int:
    """Say what differs between two role files, two builds or two policies: on the network, by what leads there, and
    in a role's own files.

    Exit status 0 when nothing does, 1 when something does. What else a policy allows, `labelgen verify` says.
    """
    found = changes.compare(old, new)
    if as_json:
        terminal.echo_json(changes.to_json(found))
    else:
        printing.changes(found)
    return 1 if found else 0
