"""labelgen init"""

from __future__ import annotations

from pathlib import Path

import click

from labelgen import role
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
    roles.mkdir(exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: this file is there already", "choose another name") from None
    click.echo(f"{path}: edit it, then run `labelgen build`")
    return 0
