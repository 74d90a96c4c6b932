"""labelgen contexts"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import build, role, terminal
from labelgen.commands import options
from labelgen.host import contexts


@click.command("contexts")
@click.argument("name", metavar="ROLE", shell_complete=options.complete_roles)
@options.base
@options.roles
@options.host_root
@options.host_store
@options.as_json
def command(name: str, base: Optional[str], roles: Optional[Path], root: Path, store_name: str, as_json: bool) -> int:
    """Print an lxc_contexts file, for a host on which containers run in ROLE unless they are told otherwise.

    \b
    labelgen contexts nonet >new && install -m 644 new /etc/selinux/targeted/contexts/lxc_contexts

    A `>` to the host's own file would empty it before it is read, and without it engines give containers no label.
    """
    item = role.read_all(roles or options.default_roles(), (name,))[0].role
    opened, known, _ = build.open_with_parent(base, item.parent, terminal.progress)
    made = contexts.defaults(item, known, opened, root, store_name)
    if as_json:
        terminal.echo_json(
            {
                "text": made.text,
                "place": str(made.place),
                "read_first": [str(path) for path in made.instead],
                "notes": list(made.notes),
            }
        )
        return 0
    click.echo(made.text, nl=False)
    first = made.instead[0] if made.instead else made.place
    for note in (f"on this host it belongs to {first}", *made.notes):
        click.echo(f"note: {note}", err=True)
    return 0
