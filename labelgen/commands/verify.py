"""labelgen verify"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import build, changes, printing, terminal
from labelgen.commands import options
from labelgen.errors import LinkError, ParentError
from labelgen.shipped import packaged


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@options.base
@options.roles
@options.templates
@click.option(
    "--policy",
    "policy",
    type=click.Path(path_type=Path),
    default=None,
    help="A binary policy in which the roles are installed already; nothing is built.",
)
@click.option(
    "--build",
    "build_folder",
    type=click.Path(path_type=Path),
    default=None,
    help="A built tree: its modules as they are, on the base; says what changed since they were built.",
)
@click.option(
    "--at-worst",
    is_flag=True,
    help="Let each claim fail that cannot be shown if a base that is a binary hides the worst it may hide.",
)
@options.as_json
def command(
    names: tuple[str, ...],
    base: Optional[str],
    roles: Optional[Path],
    templates: Optional[Path],
    policy: Optional[Path],
    build_folder: Optional[Path],
    at_worst: bool,
    as_json: bool,
) -> int:
    """Check the claims of roles again, and build nothing.

    Against a base (as `build` would), or with --policy against a policy in which the roles are installed. Exit status 0
    when every claim holds.

    With --build each role is, against what it was when it was built: wider, it can do something more on the network;
    broken, a claim fails otherwise; narrower, it can do less; or the same. What is wider and breaks no claim is no
    failure; then see what changed, and build again.
    """
    if policy is not None and base is not None:
        raise click.UsageError("--policy and --base exclude each other: a policy with the roles in it is no base")
    if policy is not None and build_folder is not None:
        raise click.UsageError("--policy and --build exclude each other: the roles are in the policy, or in the build")
    inputs = build.Inputs(
        roles or options.default_roles(), names, base, templates or packaged("templates"), None, at_worst
    )
    if build_folder is not None:
        try:
            standing = changes.standing(build_folder, inputs, terminal.progress)
        except (LinkError, ParentError) as error:
            printing.unlinkable(changes.broken(build_folder, names), error, as_json)
            return 1
        printing.standing(standing, as_json)
        return 0 if standing.verdict.holds else 1
    result, notice = build.verify(inputs, policy, terminal.progress)
    if as_json:
        terminal.echo_json(result.to_json())
    else:
        printing.verdict(result, notice)
    return 0 if result.holds else 1
