"""labelgen check"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import terminal
from labelgen.commands import options
from labelgen.packing import check
from labelgen.packing.rebuild import Sources
from labelgen.packing.report import Report
from labelgen.shipped import packaged


@click.command("check")
@click.argument("path", metavar="DIR|RPM", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    default=None,
    help="The public key (a file) that packages must be signed with. Default: those that rpm trusts here.",
)
@click.option(
    "--build",
    "build_folder",
    type=click.Path(path_type=Path),
    default=None,
    help="The built tree that packages must be made of. Default: what the manifest in each says.",
)
@click.option("--rebuild", is_flag=True, help="Build and pack again from the role files, and compare bytes.")
@options.base
@options.roles
@options.templates
@options.as_json
def command(
    path: Path,
    key: Optional[Path],
    build_folder: Optional[Path],
    rebuild: bool,
    base: Optional[str],
    roles: Optional[Path],
    templates: Optional[Path],
    as_json: bool,
) -> int:
    """Check packages, or a built tree, back to the source.

    Signatures, digests, and every file against the manifest that the verified build left; with --rebuild also the bytes
    of a new build.
    """
    if base and not rebuild:
        raise click.UsageError("--base is for --rebuild")
    sources = Sources(roles or options.default_roles(), base, templates or packaged("templates")) if rebuild else None
    report = check.check(path, check.Options(key, build_folder), sources, terminal.progress)
    if as_json:
        terminal.echo_json(report.to_json())
    else:
        _print(report)
    return 0 if report.holds else 1


def _print(report: Report) -> None:
    for line in report.checked:
        click.echo(f"{click.style('good', fg='green')}   {line}")
    for line in [*report.notes, *_unsigned(report)]:
        click.echo(f"{click.style('note', fg='yellow')}   {line}")
    for line in report.wrong:
        click.echo(f"{click.style('WRONG', fg='red', bold=True)}  {line}")


def _unsigned(report: Report) -> list[str]:
    number = len(report.unsigned)
    return [f"{number} package{'s are' if number > 1 else ' is'} not signed"] if number else []
