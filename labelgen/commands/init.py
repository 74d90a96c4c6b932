"""labelgen init"""

from __future__ import annotations

import os
from pathlib import Path

import click

from labelgen import output, role
from labelgen.commands import options
from labelgen.errors import InputError
from labelgen.shipped import packaged


@click.command("init")
@click.argument("name")
@click.option(
    "--roles",
    "roles",
    type=click.Path(path_type=Path),
    default=options.ROLES,
    show_default=True,
    help="The folder to write into.",
)
def command(name: str, roles: Path) -> int:
    """Write a commented role file NAME.yaml, ready to be built."""
    path = roles / f"{role.checked_name(name)}.yaml"
    text = (packaged("templates") / "init.yaml").read_text(encoding="utf-8").replace("NAME", name)
    _make(roles)
    if os.path.lexists(path):
        raise InputError(f"{path}: this file is there already", "choose another name")
    with output.scratch(roles) as hidden:
        (hidden / path.name).write_text(text, encoding="utf-8")
        (hidden / path.name).rename(path)
    click.echo(f"{path}: edit it, then run `labelgen build`")
    return 0


def _make(roles: Path) -> None:
    """Make the folder of role files, if there is none. Raises InputError for a place that cannot be written."""
    try:
        roles.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{roles}: this folder of roles cannot be made: {error.strerror}") from error
    if not os.access(roles, os.W_OK | os.X_OK):
        raise InputError(f"{roles}: no role file can be written here", "name another folder with --roles")
