"""labelgen completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "labelgen"
VARIABLE = "_LABELGEN_COMPLETE"  # click's own name for it: the program asks itself with this set


def script(root: click.Command, shell: str) -> str:
    """What a shell must read to complete the command line."""
    found = get_completion_class(shell)
    assert found is not None, f"click knows no {shell}"
    # Not BashComplete.source(): it starts bash to look at its version, on the machine that builds a package too.
    complete = found(root, {}, PROGRAM, VARIABLE)
    # click's fish cuts the help of an option at its first comma.
    template = complete.source_template.replace('string split ","', 'string split --max 1 ","')
    return template % complete.source_vars()


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    labelgen completion bash >~/.local/share/bash-completion/completions/labelgen
    labelgen completion zsh >~/.zfunc/_labelgen          (a folder of $fpath)
    labelgen completion fish >~/.config/fish/completions/labelgen.fish
    """
    click.echo(script(context.find_root().command, shell))
    return 0
