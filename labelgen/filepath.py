"""Paths of a role's own files: regular expressions of file_contexts that label nothing but what they say.

libselinux anchors an expression as it is written, without parentheses round it (label_file.h), and matches it with
PCRE2. What is accepted here means the same to Python and to PCRE2, and starts with two folders that nothing can change.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

LONGEST = 1024
# libsemanage, semanage_store.c (semanage_split_fc) and genhomedircon.c: what such a word is in is no path of its own.
TEMPLATES = {"USER": "name", "ROLE": "SELinux role"}
DEEPEST = 20

SIGNS = re.compile(r"/[A-Za-z0-9_./()*+?\[\]|^\\-]*\Z")
# Two whole folders, then the end, everything below, or a further folder.
START = re.compile(r"/((?:[A-Za-z0-9_-]|\\\.)+)/(?:[A-Za-z0-9_-]|\\\.)+(?=\Z|\(/\.\*\)\?\Z|/(?![*+?|)]))")
ESCAPED = ".+*?()[]^|\\-"
POSSESSIVE = re.compile(r"(?<!\\)[*+?]\+")

# How an expression ends that means what is in a folder too.
BELOW = ("(/.*)?", "(/.+)?", "(/.*)", "(/.+)", ".*", ".+", "]*", "]+")
# As a regular expression it would be any number of slashes.
GLOB = re.compile(r"/\*")
# Names that a folder hardly has; others, such as example.org, it may.
ENDING_OF_A_FILE = re.compile(
    r"\.(cfg|cf|cnf|conf|crt|csv|db|env|html?|ini|jar|js|json|key|log|pem|php|py|sock|sqlite3?|toml|txt|xml|ya?ml|zone)\Z"
)

# A slip here would give the label of a container's files to the system itself at the next restorecon.
OF_THE_SYSTEM = (
    *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "usr"),
)


def _signs_wrong(path: str) -> Iterator[str]:
    """What is wrong with the signs of an expression, sign by sign."""
    depth, in_set, place = 0, False, 0
    while place < len(path):
        sign = path[place]
        if sign == "\\":
            place += 1
            if path[place : place + 1] not in tuple(ESCAPED):
                yield "is no regular expression that every host reads: a \\ may stand before one of " + " ".join(
                    ESCAPED
                )
        elif in_set:
            if sign == "[":
                yield "is no regular expression that every host reads: a [ inside [ ] needs a \\"
            in_set = sign != "]"
        elif sign == "[":
            in_set = True
        elif sign == "(":
            depth += 1
            if path[place + 1 : place + 2] == "?":
                yield "is no regular expression that every host reads: (? is not allowed"
            if depth > DEEPEST:
                yield f"nests more than {DEEPEST} parentheses"
        elif sign == ")":
            depth -= 1
        elif sign == "|" and depth == 0:
            yield "would label all that begins like its first part; put the alternatives in parentheses: /srv/lxc/(a|b)"
        elif sign == "^":
            yield "holds a ^ outside [ ], where it can never match"
        place += 1


def _compiles(path: str) -> str:
    """Why an expression cannot be compiled; empty when it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(path)
    except (re.error, RecursionError, Warning) as error:
        return f"is no regular expression: {error}"
    return ""


def problems(path: str) -> Iterator[str]:
    """What is wrong with a path, as the rest of a sentence that starts with it; nothing where it is good."""
    if not path.startswith("/"):
        yield "is relative; it must start with /"
        return
    if len(path) > LONGEST:
        yield f"is {len(path)} characters long; {LONGEST} is the most"
        return
    if not SIGNS.match(path):
        yield (
            "holds a space or a sign that file contexts cannot carry; use letters, digits, _ - / and the signs of a "
            "regular expression ( ) [ ] * + ? | ^ with \\. for a dot"
        )
        return
    glob = GLOB.search(path)
    if glob:
        yield (
            "is a pattern of a shell; file contexts have regular expressions, in which a folder and all in it is "
            f"{path[: glob.start()]}(/.*)?"
        )
        return
    for name in (name for name in TEMPLATES if name in path):
        yield f"holds {name}, which hosts take for the {TEMPLATES[name]} of each user (genhomedircon); rename it"
    if "//" in path:
        yield "holds '//', which no file's path does; write one /"
    elif path.endswith("/") and path != "/":
        yield f"ends in /, which no file's path does; for a folder and all in it write {path.rstrip('/')}(/.*)?"
    if ".." in path.replace("\\", "").split("/"):
        yield "holds '..'; write the path it means"
    yield from _signs_wrong(path)
    if POSSESSIVE.search(path):
        yield "is no regular expression that every host reads: a + after * + or ? is not allowed"
    why = _compiles(path)
    if why:
        yield why
    yield from _reach_wrong(path)


def _reach_wrong(path: str) -> Iterator[str]:
    first = path.split("/")[1]
    if first in OF_THE_SYSTEM:
        yield f"lies in /{first}, which is the system's; a container's files need a place of their own, as /srv/lxc/web"
    elif not START.match(path):
        yield "is too wide; it must start with two plain folders of its own, as in /srv/lxc/web(/.*)?"


def may_be_one_folder(path: str) -> bool:
    """Whether an expression may name a folder and means nothing in it."""
    return not path.endswith(BELOW) and not ENDING_OF_A_FILE.search(path)
