"""labelgen schema"""

from __future__ import annotations

import click

from labelgen import role, terminal


@click.command("schema")
def command() -> int:
    """Print the JSON Schema of role files, so that editors complete and check them."""
    terminal.echo_json(role.json_schema())
    return 0
