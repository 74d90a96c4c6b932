#!/usr/bin/env python3
"""Write the manual pages of labelgen, made from its commands.

packaging/manpages.py FOLDER writes labelgen.1, and labelgen-COMMAND.1 for each command. The date in them is
SOURCE_DATE_EPOCH's, or none.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from labelgen import __version__
from labelgen.cli import COMMANDS, root

STATUS = """0 holds or yes, 1 a claim fails or the answer is no, 2 the input is wrong, 3 the machine lacks something."""
FILES = (
    ("roles/*.yaml", "The role files."),
    ("build/", "What `labelgen build` leaves; build/manifest.json holds the digest of everything in it."),
    ("~/.cache/labelgen/", "What is costly to make of a base, by the base's digest. XDG_CACHE_HOME moves it."),
)


def roff(text: str) -> str:
    """Text as roff takes it: no escape, no request, minus signs that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.M)


def paragraphs(text: str) -> Iterator[str]:
    """A docstring's paragraphs; one that click must not wrap (it begins with \\b) keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0] == "\b":
            yield ".PP\n.nf\n.RS 4\n" + "\n".join(roff(line) for line in lines[1:]) + "\n.RE\n.fi"
        else:
            yield ".PP\n" + roff(" ".join(lines))


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """The options that help shows, each with what it takes and what it is without being given."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            yield f".TP\n\\fB{roff(record[0])}\\fR\n{roff(record[1])}"


def heading(title: str, summary: str, date: str) -> list[str]:
    """The beginning of a page."""
    name = title.replace(" ", "-")
    return [
        f'.TH "{roff(name.upper())}" "1" "{date}" "labelgen {__version__}" "labelgen"',
        ".SH NAME",
        f"{roff(name)} \\- {roff(summary.rstrip('.'))}",
    ]


def command_pages(title: str, summary: str, command: click.Command, date: str) -> Iterator[tuple[str, str]]:
    """File name and page of a command, and of those below it if it is a group."""
    context = click.Context(command, info_name=title, **root.context_settings)
    lines = [*heading(title, summary, date), ".SH SYNOPSIS"]
    usage = " ".join(command.collect_usage_pieces(context))
    lines += [f"\\fB{roff(title)}\\fR {roff(usage)}", ".SH DESCRIPTION", *paragraphs(command.help or "")]
    lines += [".SH OPTIONS", *options(command, context)]
    also = ["\\fBlabelgen\\fR(1)"]
    for name, below in sorted(command.commands.items()) if isinstance(command, click.Group) else ():
        also.append(f"\\fB{roff(title.replace(' ', '-'))}\\-{roff(name)}\\fR(1)")
        yield from command_pages(f"{title} {name}", below.get_short_help_str(200), below, date)
    lines += [".SH EXIT STATUS", roff(STATUS), ".SH SEE ALSO", ", ".join(also)]
    yield f"{title.replace(' ', '-')}.1", "\n".join(lines) + "\n"


def main_page(date: str) -> str:
    """The page of labelgen itself."""
    lines = heading("labelgen", "SELinux domains for containers, verified on the linked policy", date)
    lines += [".SH SYNOPSIS", "\\fBlabelgen\\fR \\fICOMMAND\\fR [OPTIONS]...", ".SH DESCRIPTION"]
    # The help ends in the exit status, which has a section of its own here.
    lines += [*paragraphs((root.help or "").partition("Exit status")[0]), ".SH COMMANDS"]
    for name, summary in COMMANDS.items():
        lines += [".TP", f"\\fBlabelgen\\-{roff(name)}\\fR(1)", roff(summary)]
    lines += [".SH FILES"]
    for path, words in FILES:
        lines += [".TP", f"\\fI{roff(path)}\\fR", roff(words)]
    return "\n".join([*lines, ".SH EXIT STATUS", roff(STATUS)]) + "\n"


def pages() -> dict[str, str]:
    """File name -> page, of labelgen and all its commands."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = time.strftime("%Y-%m-%d", time.gmtime(int(epoch))) if epoch else ""
    context = click.Context(root, info_name="labelgen")
    found = {"labelgen.1": main_page(date)}
    for name, summary in COMMANDS.items():
        command = root.get_command(context, name)
        assert command is not None
        found.update(command_pages(f"labelgen {name}", summary, command, date))
    return found


def main() -> None:
    """Write all pages into a folder."""
    if len(sys.argv) != 2:
        sys.exit("usage: manpages.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (folder / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
