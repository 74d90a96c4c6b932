"""The command line: finds a command, runs it, and tells errors to a person."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Optional, cast

import click

from labelgen import __version__
from labelgen.errors import LabelgenError, MachineError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# command -> what it does. Each lives in labelgen/commands/ and is imported only when it is called.
COMMANDS = {
    "build": "Make policy modules of role files and verify them.",
    "verify": "Check roles again, against a base or an installed policy.",
    "can": "Say whether a role can bind, connect, create or send, and why.",
    "show": "Print what a role may do, or how the shared module came about.",
    "prove": "Put the claims to a real kernel, enforcing.",
    "explain": "Explain AVC denials: deliberate, a fault, or not a role's.",
    "diff": "Say what differs between two role files, builds or policies.",
    "install": "Put roles into this host's policy, and confirm them there.",
    "status": "Say which roles are installed here, and how they stand.",
    "remove": "Take roles out of this host's policy again.",
    "run": "Start a container in its role.",
    "contexts": "Print the file that makes a role the default of containers.",
    "export": "Print a role for quadlet, compose or kubernetes.",
    "base": "Capture a host's policy, to build for it elsewhere.",
    "rpm": "Pack a verified build as RPMs.",
    "check": "Check packages or a build back to the source.",
    "init": "Write a commented role file.",
    "schema": "Print the JSON Schema of role files, for editors.",
    "completion": "Print the completion script of a shell.",
}

INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"labelgen.commands.{cmd_name}")
        return cast(click.Command, module.command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell offers: click's own way is to import every command for its help."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for a shell that asks

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib  # noqa: PLC0415 - only a mistyped command pays for it

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command '{args[0]}'" + (f"; did you mean '{near[0]}'?" if near else ""))
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="labelgen")
def root() -> None:
    """SELinux domains for containers, one for each job, verified on the linked policy.

    Exit status: 0 holds or yes, 1 a claim fails or the answer is no, 2 the input is wrong, 3 the machine lacks
    something.
    """


def _tell(error: LabelgenError) -> None:
    for number, line in enumerate(error.lines()):
        prefix = click.style("error: ", fg="red", bold=True) if number == 0 else ""
        click.echo(prefix + line, err=True, color=_colour())


def _colour() -> Optional[bool]:
    """Whether to print colours: not where NO_COLOR is set, else (None) where a terminal shows them."""
    return False if os.environ.get("NO_COLOR") else None


def main() -> None:
    """Run the command line; every error that is a person's to mend is told without a traceback."""
    try:
        status = root.main(standalone_mode=False, color=_colour()) or 0
        sys.stdout.flush()
        sys.exit(status)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LabelgenError as error:
        _tell(error)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except MemoryError:
        _tell(MachineError("the memory of this machine does not suffice"))
        sys.exit(MachineError.exit_status)
    except ModuleNotFoundError as error:
        if (error.name or "labelgen").partition(".")[0] == "labelgen":
            raise
        words = f"the Python module {error.name} is missing in {sys.prefix}"
        _tell(MachineError(words, "the environment is not whole: remove .venv and `make build`, or install it again"))
        sys.exit(MachineError.exit_status)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _tell(MachineError(f"{place}{error.strerror or error}"))
        sys.exit(MachineError.exit_status)


def run() -> None:
    """The command, for scripts that were installed when it stood here."""
    from labelgen.__main__ import run as begin  # noqa: PLC0415 - it sets the signals of the process

    begin()
