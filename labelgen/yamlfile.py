"""YAML with positions and limits: every value knows its line and column, and no file can exhaust the machine.

Scalars stay the text that was written. YAML 1.1 would read `080` as text, `010` as eight, `1:30` as ninety and `no`
as false; a port or a name must mean what it says. What YAML 1.2 takes for something else than text is noted, since
editors read a file so when they check it against the schema.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from labelgen.errors import Problem, RoleFileError

MOST_BYTES = 256 * 1024
MOST_NODES = 20_000
MOST_DEPTH = 20

# The core schema of YAML 1.2 (10.3.2), less null: what a word without quotes is; and what YAML 1.1 takes besides
# (yaml.org/type/bool.html as read by programs, int.html, timestamp.html), for many programs read that.
NOT_TEXT = {
    "true or false": re.compile(r"(true|false|yes|no|on|off)\Z", re.IGNORECASE),
    "a number": re.compile(
        r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|[-+]?0b[01_]+)\Z"
    ),
    "a date": re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?\Z"),
}

PathInFile = tuple[Union[str, int], ...]


@dataclass
class Document:
    """A parsed file: plain data, and where each part of it stands (line and column, from 1).

    not_text: the scalars that YAML takes for something else than text, and for what; quoted: those in quotes, and
    blocks (| and >), which are text for every reader.
    """

    path: Path
    data: Any
    places: dict[PathInFile, tuple[int, int]] = field(default_factory=dict)
    key_places: dict[PathInFile, tuple[int, int]] = field(default_factory=dict)
    not_text: dict[PathInFile, str] = field(default_factory=dict)
    quoted: set[PathInFile] = field(default_factory=set)

    def problem(self, where: PathInFile, message: str, at_key: bool = False) -> Problem:
        """A problem at the nearest part of `where` that the file has; at its key where `at_key`."""
        places = {**self.places, **self.key_places} if at_key else self.places
        while where and where not in places:
            where = where[:-1]
        line, column = places.get(where, (1, 1))
        return Problem(self.path, line, column, message)


# What the parser says -> what to write instead.
CURES = {
    "cannot start any token": "indent with spaces, not with tabs; a text that begins with @, % or ` needs quotes",
    "mapping values are not allowed": "a text with `: ` in it needs quotes, and a key a space behind its colon",
    "could not find expected ':'": "write `key: value`, with a space behind the colon",
    "found unexpected end of stream": "the quote that opens here is never closed",
    "found unknown escape character": "in double quotes a `\\` is YAML's; write the text in single quotes",
    "did not find expected ',' or": "a bracket that opens before this is never closed, or a comma is missing",
}


class _Reader:
    """Builds a Document from YAML events, without recursion into the parser."""

    def __init__(self, path: Path, events: Iterator[Any]) -> None:
        self.document = Document(path, None)
        self.events = events
        self.nodes = 0

    def fail(self, mark: Any, message: str) -> RoleFileError:
        return RoleFileError([Problem(self.document.path, mark.line + 1, mark.column + 1, message)])

    def read(self) -> Document:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.document.data = self.node(next(self.events), ())
                next(self.events)
                break
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self.fail(event.start_mark, "a second document starts here; a role file holds one")
        return self.document

    def node(self, event: Any, where: PathInFile) -> Any:
        mark = event.start_mark
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise self.fail(mark, f"the file has more than {MOST_NODES} values")
        if len(where) > MOST_DEPTH:
            raise self.fail(mark, f"values are nested more than {MOST_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self.fail(mark, "anchors and aliases (& and *) are not allowed in a role file; write the value out")
        if event.tag is not None:
            raise self.fail(mark, f"the tag {event.tag!r} is not allowed in a role file")
        self.document.places[where] = (mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, where)
        return self.sequence(where) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(where)

    def scalar(self, event: Any, where: PathInFile) -> Optional[str]:
        is_plain, text = event.implicit[0], str(event.value)
        if not is_plain:
            self.document.quoted.add(where)
        if is_plain and text in ("", "~", "null", "Null", "NULL"):
            return None
        kinds = (kind for kind, pattern in NOT_TEXT.items() if is_plain and pattern.match(text))
        self.document.not_text.update((where, kind) for kind in kinds)
        return text

    def sequence(self, where: PathInFile) -> list[Any]:
        items: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, (*where, len(items))))
        return items

    def mapping(self, where: PathInFile) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise self.fail(event.start_mark, "a key must be a plain word")
            key, place = str(event.value), (*where, str(event.value))
            mark: Any = event.start_mark
            if key in items:
                raise self.fail(mark, f"the key {key!r} stands twice in this mapping")
            self.document.key_places[place] = (mark.line + 1, mark.column + 1)
            items[key] = self.node(next(self.events), place)
        return items


def _text(path: Path) -> str:
    try:
        # A pipe would be waited for; what a link points to counts.
        if not stat.S_ISREG(path.stat().st_mode):
            raise RoleFileError([Problem(path, 0, 0, "is not a file")])
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RoleFileError([Problem(path, 0, 0, f"cannot be read: {error.strerror}")]) from error
    if len(raw) > MOST_BYTES:
        raise RoleFileError([Problem(path, 0, 0, f"is larger than {MOST_BYTES // 1024} KiB; a role file is a page")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RoleFileError([Problem(path, line, 1, "is not UTF-8 text")]) from error


def read(path: Path) -> Document:
    """Parse one YAML file. Raises RoleFileError with the place of what is wrong."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(path, yaml.parse(_text(path), Loader=loader)).read()
    except yaml.MarkedYAMLError as error:
        is_quote = "quoted scalar" in (error.context or "") and "end of stream" in (error.problem or "")
        mark = (error.context_mark if is_quote else error.problem_mark) or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = ", ".join(part for part in (error.context, error.problem) if part)
        cure = next((f"; {cure}" for words, cure in CURES.items() if words in what), "")
        raise RoleFileError([Problem(path, line, column, f"not YAML: {what}{cure}")]) from error
    except yaml.YAMLError as error:
        raise RoleFileError([Problem(path, 1, 1, f"not YAML: {' '.join(str(error).split())}")]) from error
    except RecursionError as error:
        raise RoleFileError([Problem(path, 1, 1, f"values are nested more than {MOST_DEPTH} deep")]) from error
