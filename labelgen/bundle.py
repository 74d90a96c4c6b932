"""A bundle: what the policy of a host is made of, in one file, so that roles can be built for the host elsewhere.

It is a tar archive packed with gzip: `modules/NAME/cil` or `hll` as they are in the policy store, `extra/` what
semanage set besides, and `capture.json`. A base made of it has the digest that the host's own store gives.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from labelgen import output
from labelgen.errors import InputError

MAGIC = b"\x1f\x8b"  # gzip, RFC 1952
FORMAT = 1
ABOUT = "capture.json"

_MEMBER = re.compile(r"modules/(?!\.)[A-Za-z0-9_.-]{1,255}/(?:cil|hll)|extra/(?!\.)[a-z_.]{1,64}|capture\.json")
# Fedora's modules are 3 MB as they are stored, and 40 MB of text.
MOST_BYTES = 512 * 1024 * 1024
MOST_PADDING = 2 * tarfile.RECORDSIZE


def pack(
    modules: dict[str, Path], extra: tuple[Path, ...], selinux_policy: Optional[str], to: Path, host: str = ""
) -> None:
    """Write a bundle of module files (by the names of the modules) and of what semanage set besides.

    selinux_policy: version and release of the package that brought the policy; host: the name of its SELINUXTYPE. The
    same contents give the same bytes. The file appears whole or not at all. Raises InputError where it cannot be put.
    """
    about = {"format": FORMAT, "type": host, "selinux_policy": selinux_policy}
    contents = {
        ABOUT: (json.dumps(about, indent=1) + "\n").encode(),
        **{f"extra/{path.name}": path.read_bytes() for path in extra},
        **{f"modules/{name}/{path.name}": path.read_bytes() for name, path in modules.items()},
    }
    _check_place(to)
    with output.scratch(to.absolute().parent) as folder:
        made = folder / "new"
        made.write_bytes(_archive(contents))
        made.chmod(0o644)
        made.rename(to)


def _check_place(to: Path) -> None:
    parent = to.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{to}: the bundle cannot be put here", "name a file in a folder that you may write")
    if to.is_symlink() or (to.exists() and not (to.is_file() and is_bundle(to))):
        raise InputError(f"{to}: there is something else of this name", "name another file")


def _archive(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    # What is in a store is compressed already; the times and owners of a host are nobody's business.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in sorted(contents.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def is_bundle(path: Path) -> bool:
    """Whether a file looks like one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def unpack(bundle: Path, folder: Path) -> None:
    """Unpack a bundle into a folder. Raises InputError for one that is damaged, or is none."""
    try:
        contents = dict(_members(bundle))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{bundle}: this bundle is damaged or cut off: {error}", "capture it again") from error
    _check_about(bundle, contents.get(ABOUT, b""))
    if not any(name.startswith("modules/") for name in contents):
        raise InputError(f"{bundle}: this bundle holds no module", "capture it again")
    for name, content in contents.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _members(bundle: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member. Nothing but plain files of the names that `pack` gives is taken."""
    left = MOST_BYTES
    with gzip.open(bundle) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                left -= member.size
                if not member.isreg() or not _MEMBER.fullmatch(member.name) or left < 0:
                    raise _no_bundle(bundle)
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()
        # The checksum is that of the whole, and looked at where the whole was read.
        if len(stream.read(MOST_PADDING + 1)) > MOST_PADDING:
            raise _no_bundle(bundle)


def _check_about(bundle: Path, text: bytes) -> None:
    try:
        about = json.loads(text)
        known, version = about["format"], about["selinux_policy"]
    except (ValueError, KeyError, TypeError) as error:
        raise _no_bundle(bundle) from error
    if known != FORMAT:
        raise InputError(f"{bundle}: this bundle was made by another labelgen, whose form this one does not know")
    if version is not None and not isinstance(version, str):
        raise _no_bundle(bundle)


def _no_bundle(bundle: Path) -> InputError:
    return InputError(
        f"{bundle}: this is no bundle of `labelgen base capture`",
        "for modules in an archive of your own: unpack it and name the folder",
    )


def selinux_policy(folder: Path) -> Optional[str]:
    """Version and release of the package that brought the policy of an unpacked bundle, where the host knew."""
    found: Optional[str] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["selinux_policy"]
    return found
