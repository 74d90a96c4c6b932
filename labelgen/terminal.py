"""What every command may print, whatever its result."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


def echo_json(data: Any) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(data, indent=1, ensure_ascii=False))


def progress(message: str) -> None:
    """Tell a person at a terminal what takes time."""
    if sys.stderr.isatty():
        click.secho(f"... {message}", err=True, dim=True)
