"""labelgen status"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import printing, terminal
from labelgen.commands import options
from labelgen.host import status, store


@click.command("status")
@options.roles
@options.host_root
@options.host_store
@options.as_json
def command(roles: Optional[Path], root: Path, store_name: str, as_json: bool) -> int:
    """Say which roles are in this host's policy, where they came from, and whether they hold today.

    A role that was verified on a policy that the host no longer has is verified again, on the policy as it is now. Exit
    status 0 when every role holds and is as it was installed.
    """
    found = status.report(store.locate(root, store_name), roles or options.default_roles(), terminal.progress)
    if as_json:
        terminal.echo_json(found.to_json())
    else:
        printing.host_status(found)
    return 0 if found.good else 1
