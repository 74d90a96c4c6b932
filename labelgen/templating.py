"""Jinja as labelgen has it: strict about what is undefined, and what was compiled once stays compiled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Optional

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from labelgen import output
from labelgen.cache import cache_folder
from labelgen.errors import MachineError
from labelgen.shipped import packaged


class _Compiled(BytecodeCache):
    """Compiled templates in a folder of the user's cache, each good for one source: to compile one takes ten times
    longer than to fill it in. Where the folder cannot be used, they are compiled each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            bucket.bytecode_from_string((self.folder / bucket.key).read_bytes())

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError, MachineError):
            self.folder.mkdir(exist_ok=True)
            with output.scratch(self.folder) as scratch:
                (scratch / bucket.key).write_bytes(bucket.bytecode_to_string())
                (scratch / bucket.key).replace(self.folder / bucket.key)


def _compiled(templates: Path) -> Optional[_Compiled]:
    """Where those that come with labelgen are kept; others change, and one who writes them has the time."""
    if templates != packaged("templates"):
        return None
    with suppress(MachineError):
        return _Compiled(cache_folder() / "templates")
    return None


def environment(templates: Path, loader: jinja2.BaseLoader) -> jinja2.Environment:
    """The environment in which templates are filled in: those of the folder `templates`, found by `loader`.

    Nothing is escaped as for HTML: policy, specs and shell have their own ways, which are filters. Strict: a name that
    is undefined raises jinja2.UndefinedError.
    """
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        bytecode_cache=_compiled(templates),
    )
