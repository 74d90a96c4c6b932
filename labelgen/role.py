"""Role files: the schema, and the messages for what is wrong with one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from labelgen import filepath, yamlfile
from labelgen.errors import InputError, Problem, RoleFileError, listed, suggestion
from labelgen.network import PRIVILEGED_PORTS_BELOW, PROTOCOLS
from labelgen.ports import own_port_type
from labelgen.sharing import shared_out
from labelgen.shipped import DEFAULT_PARENT, domain_of, module_of

SUFFIXES = (".yaml", ".yml")

# Identifiers end up in policy, in file names and in package names: lower case, and short enough for all of them.
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
LONGEST_NAME = 32
LONGEST_SUMMARY = 200
TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*\Z")
LONGEST_TYPE_NAME = 128
RESERVED_NAMES = dict.fromkeys(("base", "lxc_base"), "lxc_base is the shared module")

NUMBER = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
RANGE = re.compile(r"([0-9]+) *- *([0-9]+)\Z", re.ASCII)
OCTAL = re.compile(r"\b0+([0-9])")
MOST_PORTS = 65535
LONGEST_NUMBER = 9


class Ports(NamedTuple):
    """A range of port numbers, both ends included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


Port = Union[Ports, str]


def _wrong(message: str) -> PydanticCustomError:
    # The message goes in as context: a brace in it is text.
    return PydanticCustomError("labelgen", "{message}", {"message": message})


def _number(text: str) -> int:
    # A number of thousands of digits would take seconds to read.
    number = int(text) if len(text) <= LONGEST_NUMBER and text[0] not in "+-" else 0
    if not 1 <= number <= MOST_PORTS:
        raise _wrong(f"{_short(text)} is no port; ports go from 1 to {MOST_PORTS}")
    return number


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _shown(value: object) -> str:
    text = "an empty value" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _port(value: Any) -> Port:
    text = str(value) if isinstance(value, (str, int)) else ""
    span = RANGE.match(text)
    if (span or NUMBER.match(text)) and OCTAL.search(text):
        plain = OCTAL.sub(r"\1", text)
        raise _wrong(f"{_short(text)} begins with 0, as octal numbers do for some programs; write {_short(plain)}")
    if NUMBER.match(text):
        return Ports(_number(text), _number(text))
    if span:
        low, high = _number(span[1]), _number(span[2])
        if low > high:
            raise _wrong(f"the range {text} ends before it starts; write {high}-{low}")
        return Ports(low, high)
    if TYPE_NAME.match(text) and text.endswith("_t") and len(text) <= LONGEST_TYPE_NAME:
        return text
    raise _wrong(f'{_shown(value)} is no port; write a number (80), a range ("8000-8010") or a port type (http_port_t)')


def _share(one: Any, other: Any) -> bool:
    return bool(one.low <= other.high and other.low <= one.high)


def overlapping(ports: Sequence[Port]) -> Iterator[tuple[int, Port, Port]]:
    """Each port that names again what an earlier one of the list named: its place, itself and the earlier one."""
    for place, port in enumerate(ports):
        for other in ports[:place]:
            both_numbers = isinstance(port, Ports) and isinstance(other, Ports)
            if port == other or (both_numbers and _share(port, other)):
                yield place, port, other
                break


_DIGITS = "[1-9][0-9]{0,8}"
PortField = Annotated[
    Any,
    BeforeValidator(_port),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": rf"^({_DIGITS}|{_DIGITS} *- *{_DIGITS}|[A-Za-z][A-Za-z0-9_.]*_t)$"},
            ],
            "description": 'a number, a range such as "8000-8010", or a port type such as http_port_t',
        }
    ),
]
PortList = Annotated[list[PortField], Field(min_length=1)]


# Both of YAML's own words for a truth; an editor that knows YAML 1.2 takes yes, no, on and off for text.
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_TRUTH_WORDS = {spelt: truth for word, truth in _TRUTHS.items() for spelt in (word, word.title(), word.upper())}


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _TRUTH_WORDS:
        return _TRUTH_WORDS[value]
    raise _wrong(f"{_shown(value)} is neither true nor false; write true, or leave the key out")


Truth = Annotated[
    bool,
    BeforeValidator(_truth),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"^({'|'.join(_TRUTH_WORDS)})$"}]}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bind(_Strict):
    """The ports a role may serve on."""

    tcp: PortList = []
    udp: PortList = []
    sctp: PortList = []
    dccp: PortList = []


class Connect(_Strict):
    """The ports a role may reach. SELinux does not check UDP destinations by port, so udp is any or absent."""

    tcp: PortList = []
    udp: Optional[Literal["any"]] = None
    sctp: PortList = []
    dccp: PortList = []


class Network(_Strict):
    """What a role may do on the network. Everything that is not declared is refused."""

    bind: Bind = Bind()
    connect: Connect = Connect()
    icmp: Truth = False
    raw: Truth = False
    netlink: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]] = []

    def bound(self, protocol: str) -> list[Port]:
        """The ports of `protocol` the role may bind."""
        return list(getattr(self.bind, protocol))

    def reached(self, protocol: str) -> list[Port]:
        """The ports of `protocol` the role may connect to; none for udp, which has no such check."""
        return [] if protocol == "udp" else list(getattr(self.connect, protocol))

    def uses(self, protocol: str) -> bool:
        """Whether the role may open a socket of `protocol`."""
        return bool(self.bound(protocol) or getattr(self.connect, protocol))

    @property
    def protocols(self) -> list[str]:
        """The protocols the role may open sockets of."""
        return [name for name in PROTOCOLS if self.uses(name)]

    @property
    def binds_privileged(self) -> bool:
        """Whether the role binds a port below 1024; a port type may hold one, so it counts."""
        return any(
            isinstance(port, str) or port.low < PRIVILEGED_PORTS_BELOW
            for protocol in PROTOCOLS
            for port in self.bound(protocol)
        )


def _file_path(value: str) -> str:
    for problem in filepath.problems(value):
        raise _wrong(f"the path {_shown(value)} {problem}")
    return value


class Files(_Strict):
    """Files of the role's own: a path (a regular expression as in file_contexts) and what the role may do with them."""

    path: Annotated[
        str,
        AfterValidator(_file_path),
        WithJsonSchema({"type": "string", "pattern": "^/", "maxLength": filepath.LONGEST}),
    ]
    access: Literal["read", "write"]


def _name(value: str) -> str:
    if value in RESERVED_NAMES:
        raise _wrong(f"the name {value!r} is reserved: {RESERVED_NAMES[value]}")
    if len(value) > LONGEST_NAME:
        raise _wrong(f"the name is {len(value)} characters long; {LONGEST_NAME} is the most")
    if not NAME.match(value):
        near = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")
        hint = f"; did you mean '{near}'?" if NAME.match(near) else ""
        raise _wrong(
            f"{_shown(value)} is no name for a role; start with a lower-case letter, then letters, digits and single _ "
            f"between them{hint}"
        )
    return value


def checked_name(value: str) -> str:
    """A name that a role may have. Raises InputError."""
    try:
        return _name(value)
    except PydanticCustomError as error:
        raise InputError(error.message()) from error


def _summary(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise _wrong("the summary must be one line of printable text")
    if len(value) > LONGEST_SUMMARY:
        raise _wrong(f"the summary is {len(value)} characters long; {LONGEST_SUMMARY} is the most")
    return value.strip()


def _parent(value: str) -> str:
    if not TYPE_NAME.match(value) or len(value) > LONGEST_TYPE_NAME:
        raise _wrong(f"{_shown(value)} is no type; write a name such as {DEFAULT_PARENT}")
    return value


def _says_nothing(network: Any) -> bool:
    return not network or (
        isinstance(network, dict)
        and set(network) <= {"bind", "connect"}
        and all(value == {} for value in network.values())
    )


class Role(_Strict):
    """A role file: what one kind of container may do."""

    name: Annotated[
        str,
        AfterValidator(_name),
        WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9]*(_[a-z0-9]+)*$", "maxLength": LONGEST_NAME}),
    ]
    summary: Annotated[
        str, AfterValidator(_summary), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_SUMMARY})
    ]
    parent: Annotated[str, AfterValidator(_parent)] = DEFAULT_PARENT
    network: Union[Literal["none"], Network]
    files: list[Files] = []

    @model_validator(mode="before")
    @classmethod
    def _network_is_said(cls, data: Any) -> Any:
        if isinstance(data, dict) and "network" in data and _says_nothing(data["network"]):
            raise PydanticCustomError("network", "network is empty; write `network: none`, or what it may do")
        return data

    @property
    def module(self) -> str:
        """The name of its policy module."""
        return module_of(self.name)

    @property
    def type(self) -> str:
        """Its domain."""
        return domain_of(self.name)

    def port_type(self, replaced: str = "", only: str = "") -> str:
        """The name of its own port type, and where it needs several, of the one in the place of the type `replaced`,
        for `only` bind or connect."""
        return own_port_type(self.name, replaced, only)

    @property
    def declared_network(self) -> Optional[Network]:
        """Its network; None for `network: none`."""
        return self.network if isinstance(self.network, Network) else None

    @property
    def file_types(self) -> dict[str, str]:
        """access -> the private type for it, for the accesses it declares."""
        names = {"read": f"lxc_{self.name}_content_t", "write": f"lxc_{self.name}_data_t"}
        return {access: names[access] for access in names if any(entry.access == access for entry in self.files)}


@dataclass(frozen=True)
class RoleFile:
    """A role and the file it was read from, which knows the line of each part."""

    role: Role
    document: yamlfile.Document

    @property
    def path(self) -> Path:
        """Where it was read."""
        return self.document.path

    def problem(self, *where: Union[str, int], message: str) -> Problem:
        """A problem at one part of the file, e.g. ("network", "bind", "tcp", 0)."""
        return self.document.problem(where, message)

    def line(self, *where: Union[str, int]) -> str:
        """`file:line` of one part."""
        place = self.document.problem(where, "", at_key=True)
        return f"{place.path}:{place.line}"


_FIELDS: dict[str, tuple[type[BaseModel], str]] = {
    "network": (Network, "key"),
    "bind": (Bind, "protocol"),
    "connect": (Connect, "protocol"),
    "files": (Files, "key"),
}


def _kind_of_key(where: Sequence[Union[str, int]]) -> tuple[type[BaseModel], str]:
    parents = [part for part in where[:-1] if isinstance(part, str)]
    return _FIELDS[parents[-1]] if parents and parents[-1] in _FIELDS else (Role, "key")


def _known_keys(where: Sequence[Union[str, int]]) -> list[str]:
    return list(_kind_of_key(where)[0].model_fields)


def _unknown_key(where: Sequence[Union[str, int]]) -> str:
    kind, known = _kind_of_key(where)[1], _known_keys(where)
    key = str(where[-1])
    shown = _shown(key)
    return f"unknown {kind} {shown}{suggestion(key, known) or '; known are ' + ', '.join(known)}"


# pydantic's error type -> what a person is told; {input} is what was written, and every key of the error's context
# may be named.
_MESSAGES = {
    "missing": "the key '{key}' is missing",
    "literal_error": "{input} is not allowed here; write {expected}",
    "list_type": "a list is needed here, as in {example}",
    "model_type": "a mapping is needed here, as in {mapping}",
    "model_attributes_type": "a mapping is needed here, as in {mapping}",
    "dict_type": "a mapping is needed here, as in {mapping}",
    "string_type": "a text is needed here",
    "too_short": "the list is empty; leave the key out instead",
    "string_pattern_mismatch": "{input} is not a name of lower-case letters, digits and _",
    "string_too_long": "the text is longer than {max_length} characters",
}
_MAPPINGS = {"bind": "{tcp: [80]}", "connect": "{tcp: [5432], udp: any}", "network": "{bind: {tcp: [80]}}"}
_EXAMPLES = {"files": "[{path: /srv/lxc/web, access: read}]", "netlink": "[generic]"}
_UDP_DESTINATIONS = "SELinux does not check where UDP goes; write `udp: any`, or leave it out"


def _problem(document: yamlfile.Document, error: Any) -> Problem:
    where = tuple(part for part in error["loc"] if part not in ("literal['none']", "Network"))
    where = ("network",) if error["type"] == "network" else where
    if error["type"] == "extra_forbidden":
        return document.problem(where, _unknown_key(where), at_key=True)
    if where == ("network", "connect", "udp"):
        return document.problem(where, _UDP_DESTINATIONS)
    key = where[-1] if where else ""
    words = {
        "input": _shown(error["input"]),
        "key": key,
        "example": _EXAMPLES.get(str(key), "[80, 443]"),
        "mapping": _MAPPINGS.get(str(key), "{path: /srv/lxc/web, access: read}"),
    }
    words.update(error.get("ctx", {}))
    message = _MESSAGES.get(error["type"], "").format(**words) or error["msg"]
    if error["type"] == "list_type" and error["input"] == "any":
        message += "; only where UDP goes is not checked by port, and may be any"
    return document.problem(where, message)


def _errors(error: ValidationError, data: dict[str, Any]) -> list[Any]:
    """The errors, less those of the union's other arm: what was written for `network` tells which was meant."""
    arm = "Network" if isinstance(data.get("network"), dict) else "literal['none']"
    found = []
    for item in error.errors():
        if item["loc"][:1] == ("network",) and len(item["loc"]) > 1:
            if item["loc"][1] != arm:
                continue
            if arm != "Network":
                item["ctx"] = {"expected": "none, or a mapping of bind and connect"}
        found.append(item)
    return found


def _problems(document: yamlfile.Document, errors: Sequence[Any]) -> Iterator[Problem]:
    """What is wrong; a key that is missing because it is mistyped is told once, where it stands."""
    meant = {
        (*error["loc"][:-1], key)
        for error in errors
        if error["type"] == "extra_forbidden"
        for key in difflib.get_close_matches(str(error["loc"][-1]), _known_keys(error["loc"]), n=1)
    }
    yield from (
        _problem(document, error) for error in errors if error["type"] != "missing" or error["loc"] not in meant
    )


def read(path: Path) -> RoleFile:
    """Read one role file. Raises RoleFileError with every problem in it."""
    document = yamlfile.read(path)
    if not isinstance(document.data, dict):
        raise RoleFileError([Problem(path, 1, 1, "a role file is a mapping; start it with `name:`")])
    try:
        file = RoleFile(Role.model_validate(document.data), document)
    except ValidationError as error:
        raise RoleFileError(list(_problems(document, _errors(error, document.data)))) from error
    problems = [*_unquoted(file), *_quoted(file), *_overlaps(file), *_same_paths([file])]
    if problems:
        raise RoleFileError(problems)
    return file


_TEXTS = (("name",), ("summary",), ("parent",), ("network", "netlink"))


def _unquoted(file: RoleFile) -> Iterator[Problem]:
    """Words that are text here and something else to every editor and program that reads YAML: one file must mean one
    thing everywhere."""
    for where, kind in file.document.not_text.items():
        if where in _TEXTS or where[:-1] in _TEXTS:
            value: Any = file.document.data
            for part in where:
                value = value[part]
            yield file.problem(*where, message=f'without quotes this is {kind} and no text; write "{value}"')


def _quoted(file: RoleFile) -> Iterator[Problem]:
    """True and false in quotes, which are text to every other program, and no text is false."""
    network = file.role.declared_network
    for key in ("icmp", "raw"):
        if network and ("network", key) in file.document.quoted:
            truth = str(getattr(network, key)).lower()
            yield file.problem("network", key, message=f"in quotes this is text; write {truth}, without quotes")


def _overlaps(file: RoleFile) -> Iterator[Problem]:
    network = file.role.declared_network
    for protocol in PROTOCOLS if network else ():
        assert network is not None
        for action, ports in (("bind", network.bound(protocol)), ("connect", network.reached(protocol))):
            for place, port, other in overlapping(ports):
                message = f"{port} overlaps {other}; name each port once"
                yield file.problem("network", action, protocol, place, message=message)


def _same_paths(files: Sequence[RoleFile]) -> Iterator[Problem]:
    """Paths that are named twice: a host refuses two labels for one expression."""
    first: dict[str, tuple[RoleFile, int]] = {}
    for file in files:
        for place, entry in enumerate(file.role.files):
            other, before = first.setdefault(entry.path, (file, place))
            if (other, before) == (file, place):
                continue
            cure = (
                "name it once, with `write` if both are meant"
                if other is file
                else "two roles have no files together: give each a path of its own"
            )
            message = f"the path {_shown(entry.path)} stands in {other.line('files', before, 'path')} already; {cure}"
            yield file.problem("files", place, "path", message=message)


def paths(folder: Path) -> list[Path]:
    """The role files of a folder, in order. Raises InputError where there is none."""
    try:
        # Editors keep .web.yaml.swp and .#web.yaml beside a file that is open.
        found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{folder}: the roles cannot be read: {error.strerror}",
            "name the folder of role files with --roles, or write one with `labelgen init NAME`",
        ) from error
    if not found:
        raise InputError(f"{folder}: there is no role file (*.yaml) here", "write one with `labelgen init NAME`")
    return found


def _identifiers(role: Role) -> list[str]:
    """Every name of types and modules that the role may bring."""
    stem = role.module
    return [stem, f"{stem}_ports", role.type, *role.file_types.values(), f"{stem}_port_t"]


def _clashes(files: Sequence[RoleFile]) -> list[Problem]:
    owner: dict[str, RoleFile] = {}
    problems = []
    for file in files:
        for name in _identifiers(file.role):
            other = owner.setdefault(name, file)
            if other is not file:
                problems.append(file.problem("name", message=f"{name} is also what {other.path} makes; rename one"))
                break
    return problems


def _unprintable_names(paths: Sequence[Path]) -> list[Problem]:
    """The name of a role file stands in the comments of its module, where a line break would end the comment."""
    message = "the name of this file holds signs that cannot be printed; rename it"
    return [Problem(path, 0, 0, message) for path in paths if not path.name.isprintable()]


def _file_or_problems(path: Path) -> Union[RoleFile, list[Problem]]:
    try:
        return read(path)
    except RoleFileError as error:
        return list(error.problems)


def read_all(folder: Path, names: Sequence[str] = ()) -> list[RoleFile]:
    """Read the role files of a folder, in the order of their names; only those `names`d, where any are.

    Raises RoleFileError with the problems of all files at once, InputError for a folder without roles or a name that
    no file has.
    """
    found = paths(folder)
    files, problems = [], _unprintable_names(found)
    for item in shared_out(_file_or_problems, found):
        if isinstance(item, RoleFile):
            files.append(item)
        else:
            problems += item
    problems += [*_clashes(files), *_same_paths(files)]
    if problems:
        raise RoleFileError(problems)
    known = {file.role.name: file for file in files}
    for name in names:
        if name not in known:
            raise InputError(
                f"there is no role '{name}' in {folder}{suggestion(name, known)}",
                f"known are {listed(sorted(known))}",
            )
    return [known[name] for name in sorted(set(names) or known)]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a role file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Role.model_json_schema(),
        "title": "labelgen role file",
    }
