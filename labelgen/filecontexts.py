"""The file contexts that were linked with a policy: which label a host gives to which path.

A linker writes them in the order in which they count (libsepol, cil_post_filecon_compare; a host's libsemanage sorts
alike): expressions before literal paths, by the length of what comes before the first special sign. Of all that match
a path the last one counts (libselinux, label_file.c: lookup_all).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from labelgen.expressions import is_divided, meet

SPECIAL = ".^$?*+|[({"  # libsepol, cil_post.c: cil_post_fc_fill_data
NO_LABEL = "<<none>>"

# What a host has beside the file_contexts of its policy: of home folders, and what semanage set; then which paths stand
# for others, of the distribution and of semanage.
OF_HOST = ("file_contexts.homedirs", "file_contexts.local")
ALIASES = ("file_contexts.subs_dist", "file_contexts.subs")


class FileContext(NamedTuple):
    """One line: an expression over whole paths, the kind of file it is for (empty for any), the type it gives (empty
    for none) and the whole label."""

    path: str
    kind: str
    type: str
    label: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.path, self.kind, self.type or NO_LABEL)))


class Alias(NamedTuple):
    """A line of file_contexts.subs: what is below `path` is looked up as if it were below `meant`."""

    path: str
    meant: str

    def __str__(self) -> str:
        return f"{self.path} {self.meant}"


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        return []
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]


# Lines that are templates for homes and users (libsemanage, semanage_store.c: semanage_split_fc), and what stands in
# them for those of anybody whose home is where it is by default (genhomedircon.c, for the fallback user).
_TEMPLATE = re.compile(r"^HOME_(?:DIR|ROOT)|ROLE|USER")
_OF_HOMES = {"HOME_DIR": "/home/[^/]+", "HOME_ROOT": "/home", "%{USERID}": "[0-9]+"}
_OF_HOMES.update({"%{USERNAME}": "[^/]+", "USER": "[^/]+", "ROLE": "user"})


def _of_anybody(line: str) -> str:
    for name, meant in _OF_HOMES.items():
        line = line.replace(name, meant)
    return line


def _is_literal(expression: str) -> bool:
    """Whether it has no special sign (label_file.h, spec_hasMetaChars)."""
    return not any(sign in SPECIAL for sign in re.sub(r"\\.", "", expression))


def _parsed(lines: Iterable[str]) -> Iterator[FileContext]:
    for words in map(str.split, lines):
        if len(words) > 1:
            context = words[-1].split(":", 3)
            kind, labelled = words[1] if len(words) > 2 else "", len(context) > 2
            yield FileContext(words[0], kind, context[2] if labelled else "", words[-1] if labelled else "")


@cache
def stem(expression: str) -> str:
    """What every path starts with that an expression matches, as far as it is plain."""
    if is_divided(expression):
        return ""
    plain, place = "", 0
    while place < len(expression):
        sign = expression[place]
        if sign == "\\" and place + 1 < len(expression) and not expression[place + 1].isalnum():
            place, sign = place + 1, expression[place + 1]
        elif sign in SPECIAL or sign == "\\":
            # A \\ before a letter or a digit means many signs; what stands before some of these need not be there.
            return plain[:-1] if sign in "?*{" else plain
        plain, place = plain + sign, place + 1
    return plain


_PLAIN = re.compile(r"[^\\.^$?*+|\[({]*")


def _start(expression: str) -> str:
    """What every path starts with that an expression matches, up to its first special or escaped sign: the `stem` or
    less, found at once."""
    # mutate.py: 1 survives. Without a start, which is an index, all are looked at.
    if is_divided(expression):
        return ""
    plain = _PLAIN.match(expression)
    assert plain is not None
    return plain[0][:-1] if expression[plain.end() : plain.end() + 1] in tuple("?*{") else plain[0]


class FileContexts:
    """File contexts in the order in which they count, with an index over what their paths start with."""

    def __init__(self, contexts: Sequence[FileContext] = (), aliases: Sequence[Alias] = ()) -> None:
        self.contexts = tuple(contexts)
        self.aliases = tuple(aliases)
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, context in enumerate(self.contexts):
            self._places[_start(context.path)].append(place)
        self._starts = sorted(self._places)
        self.shadowing = cache(self._shadowing)

    @cached_property
    def by_type(self) -> dict[str, list[FileContext]]:
        """Type -> those that give it."""
        found: dict[str, list[FileContext]] = defaultdict(list)
        for context in self.contexts:
            found[context.type].append(context)
        return dict(found)

    def _near(self, start: str) -> list[int]:
        """The places of those whose path starts as far as it is plain with `start`, or with a part of it."""
        # mutate.py: 1 survives. Of those that are too many `shadowing` looks at each.
        starts = [start[:length] for length in range(len(start))]
        for place in range(bisect_left(self._starts, start), len(self._starts)):
            if not self._starts[place].startswith(start):
                break
            starts.append(self._starts[place])
        return sorted(place for one in starts for place in self._places.get(one, ()))

    @classmethod
    def read(cls, linked: Path, host: Path) -> FileContexts:
        """The file contexts that were linked with a policy, and those of a host in the folder `host`, where they are
        known: libselinux reads them in this order, and puts those without a special sign behind all others
        (label_file.c: init, sort_specs)."""
        plain: list[str] = []
        templates: list[str] = []
        for line in _lines(linked):
            (templates if _TEMPLATE.search(line) else plain).append(line)
        homes, own = (_lines(host / name) for name in OF_HOST)
        # A host makes these of the templates, for the homes that its users have; of one that has ROLE alone, nothing.
        if not (host / OF_HOST[0]).is_file():
            homes = [_of_anybody(line) for line in templates if "USER" in line or line.startswith("HOME_")]
        contexts = list(_parsed((*plain, *homes, *own)))
        contexts.sort(key=lambda context: _is_literal(context.path))
        aliases = (line.split() for name in ALIASES for line in _lines(host / name))
        return cls(contexts, [Alias(*words) for words in aliases if len(words) == 2])

    def __iter__(self) -> Iterator[FileContext]:
        return iter(self.contexts)

    def _shadowing(self, path: str) -> tuple[FileContext, ...]:
        """Those that count before the line of the expression `path` for paths that it matches."""
        # mutate.py: 1 survives. That an expression meets itself is only told sooner.
        places = self._near(_start(path))
        mine = next((place for place in places if self.contexts[place].path == path), None)
        later = [self.contexts[place] for place in places if mine is not None and place > mine]
        return tuple(
            context
            for context in later
            if context.path == path or (_may_meet(path, context.path) and meet(path, context.path))
        )

    def hiding(self, path: str) -> Iterator[Alias]:
        """The aliases by which files that the expression `path` matches are looked up as others (label_file.c:
        selabel_sub)."""
        start = stem(path)
        return (a for a in self.aliases if _is_below(start, a.path) or (start and _is_below(a.path, start)))

    def borrowing(self, path: str) -> Iterator[Alias]:
        """The aliases by which other files are looked up as those that the expression `path` matches. One for a whole
        tree, in which they are, says that the host has that tree in two places, and is none."""
        return (alias for alias in self.aliases if _is_below(alias.meant, stem(path)))


_WHOLE = "(/.*)?"


def _is_below(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def is_within(path: str, tree: str) -> bool:
    """Whether all that the expression `path` matches is in a tree (`FOLDER(/.*)?`); False where that is not seen."""
    folder, start = tree[: -len(_WHOLE)], stem(path)
    if not tree.endswith(_WHOLE) or not _is_literal(folder):
        return False
    return start.startswith(f"{stem(folder)}/") or (_is_literal(path) and start == stem(folder))


def _is_plain_tree(path: str) -> bool:
    return path.endswith(_WHOLE) and stem(path) == path[: -len(_WHOLE)]


def _may_meet(one: str, other: str) -> bool:
    """Whether what two expressions match starts alike; of two trees, as most are, whether one is in the other."""
    left, right = stem(one), stem(other)
    if _is_plain_tree(one) and _is_plain_tree(other):
        return _is_below(left, right) or _is_below(right, left)
    return left.startswith(right) or right.startswith(left)
