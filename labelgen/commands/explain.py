"""labelgen explain"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from labelgen import denials, printing, terminal
from labelgen.built import open_tree
from labelgen.commands import options


@click.command("explain")
@click.argument("log", type=click.File("r", encoding="utf-8", errors="replace"), default="-")
@options.build_folder
@options.as_json
def command(log: TextIO, build_folder: Path, as_json: bool) -> int:
    """Explain AVC denials: which role, deliberate or not, and what would allow them.

    LOG is audit.log, or what ausearch, journalctl or dmesg print; without it, standard input. Exit status 0 when every
    denial of a role was deliberate, 1 when one was not.

    \b
    ausearch -m avc -ts today | labelgen explain
    """
    roles = {reach.domain: reach for reach in open_tree(build_folder).reach().values()}
    found = list(denials.explain_all(log, roles))
    if as_json:
        terminal.echo_json([explanation.to_json(count) for explanation, count in found])
    else:
        printing.explanations(found)
    return 1 if any(explanation.kind in ("parent", "stale") for explanation, _ in found) else 0
