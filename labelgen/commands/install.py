"""labelgen install"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import build, printing, terminal
from labelgen.commands import options
from labelgen.host import install, store
from labelgen.shipped import packaged


@click.command("install")
@click.argument("names", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@options.build_folder
@options.roles
@options.host_root
@options.host_store
@options.as_json
def command(
    names: tuple[str, ...], build_folder: Path, roles: Optional[Path], root: Path, store_name: str, as_json: bool
) -> int:
    """Put roles of a build into this host's policy, in one rebuild, and confirm them there.

    Each ROLE is the name of a role; without any, all roles of the build. They are verified on the host's own policy
    first, and on the rebuilt and the loaded policy afterwards; where that fails the old policy is put back. The modules
    get the priority 200.

    \b
    labelgen build --base host && labelgen install
    """
    inputs = build.Inputs(roles or options.default_roles(), names, None, packaged("templates"))
    request = install.Request(store.locate(root, store_name), build_folder, inputs)
    done = install.install(request, terminal.progress)
    if as_json:
        terminal.echo_json(done.to_json())
    else:
        printing.installed(done)
    return 0 if done.holds else 1
