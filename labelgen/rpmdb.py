"""What a host's RPM database says of its packages."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from labelgen import programs

PLACES = ("usr/lib/sysimage/rpm", "var/lib/rpm")


def ask(form: str, *what: str, root: Path = Path("/")) -> Optional[str]:
    """The first answer of `rpm -q` about packages of the host whose / is `root`, in the form of a --queryformat.

    None where it has no such package, no database, or rpm is not here. Nothing is written: rpm makes a database where
    there is none, so it is asked only about one that is there.
    """
    database = next((place for place in PLACES if (root / place).is_dir() and any((root / place).iterdir())), None)
    if database is None:
        return None
    elsewhere = ["--root", str(root.resolve())] if root != Path("/") else []
    # Debian's rpm looks for its database in the user's home.
    try:
        said = programs.run("rpm", *elsewhere, "--dbpath", f"/{database}", "-q", "--qf", f"{form}\n", *what).stdout
    except (programs.ProgramMissing, programs.ProgramFailed):
        return None
    return said.decode("utf-8", "replace").split("\n")[0].strip() or None
