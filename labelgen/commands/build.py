"""labelgen build"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import build, printing, role, terminal
from labelgen.commands import options
from labelgen.shipped import packaged


@click.command("build")
@click.argument("names", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@options.base
@options.roles
@options.templates
@click.option(
    "--output",
    "output",
    type=click.Path(path_type=Path),
    default=options.OUTPUT,
    show_default=True,
    help="Where the result appears, whole or not at all.",
)
@options.as_json
def command(
    names: tuple[str, ...],
    base: Optional[str],
    roles: Optional[Path],
    templates: Optional[Path],
    output: Path,
    as_json: bool,
) -> int:
    """Make policy modules of role files and verify them on the linked policy.

    Each ROLE is the name of a role; without any, all roles of the folder are built. The result is put in the output
    folder only if every claim holds, in the place of all that an earlier build left there.
    """
    inputs = build.Inputs(options.chosen_roles(roles), names, base, templates or packaged("templates"))
    try:
        built = build.build(inputs, output, terminal.progress, keep=True)
    except build.ClaimsFail as failure:
        built = failure.built
    if as_json:
        terminal.echo_json(built.verdict.to_json())
    else:
        printing.verdict(built.verdict, built.notice)
        printing.closing(built, output, len(role.paths(inputs.roles)) - len(built.verdict.roles))
    return 0 if built.verdict.holds else 1
