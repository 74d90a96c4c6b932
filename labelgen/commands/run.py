"""labelgen run"""

from __future__ import annotations

import shlex
from typing import Optional

import click

from labelgen import terminal
from labelgen.commands import options
from labelgen.host import launch


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--engine", default=None, metavar="PROGRAM", help="podman, docker or nerdctl. Default: the first there is."
)
@click.option("--print", "print_only", is_flag=True, help="Print the command, checked all the same; start nothing.")
@click.option(
    "--local-ports",
    default=None,
    metavar="LOW-HIGH",
    help="The ports connections start from, in which SELinux checks no bind. Default: one, or 60000-60999 for a role "
    "that starts connections.",
)
@click.argument("role", shell_complete=options.complete_roles)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ENGINE OPTIONS] IMAGE [COMMAND]")
def command(
    engine: Optional[str], print_only: bool, local_ports: Optional[str], role: str, arguments: tuple[str, ...]
) -> int:
    """Start a container in its role, with what closes the role's limits.

    What comes after ROLE is the engine's own: options of its `run`, the image, a command. Options that would undo the
    role are refused, and so is a host that would not hold the container to it.

    \b
    labelgen run web -d -p 8080:80 -v /srv/lxc/web:/usr/share/nginx/html:ro nginx
    """
    prepared = launch.prepare(launch.Request(role, arguments, engine, local_ports), terminal.progress)
    for note in prepared.notes:
        click.secho(f"note: {note}", fg="yellow", err=True)
    if print_only:
        click.echo(shlex.join(prepared.argv))
        return 0
    prepared.start()
    return 0
