"""labelgen export"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import role
from labelgen.commands import options
from labelgen.host import export


@click.command("export")
@click.argument("form", metavar="|".join(export.FORMATS), type=click.Choice(list(export.FORMATS)))
@click.argument("name", metavar="ROLE", shell_complete=options.complete_roles)
@click.option("--image", default=None, metavar="IMAGE", help="The image to start. Default: localhost/ROLE.")
@click.option("--local-ports", default="", metavar="LOW-HIGH", help="The ports connections start from; see `run`.")
@options.roles
def command(form: str, name: str, image: Optional[str], local_ports: str, roles: Optional[Path]) -> int:
    """Print what starts a container in ROLE: a quadlet, a compose file or a Kubernetes pod.

    \b
    labelgen export quadlet web --image docker.io/library/nginx >/etc/containers/systemd/web.container
    """
    item = role.read_all(roles or options.default_roles(), (name,))[0].role
    click.echo(
        export.export(form, export.Request(item, f"localhost/{name}" if image is None else image, local_ports)),
        nl=False,
    )
    return 0
