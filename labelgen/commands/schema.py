"""labelgen schema"""

from __future__ import annotations

import click

from labelgen import printing, role


@click.command("schema")
def command() -> int:
    """Print the JSON Schema of role files, so that editors complete and check them."""
    printing.echo_json(role.json_schema())
    return 0
