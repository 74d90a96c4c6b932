"""The base: the policy of a host, onto which modules are linked.

A base made of modules is exact. A base known only as a binary is read pessimistically, for a kernel policy hides the
`self` rules of attributes and the sets behind generated names (SELINUX.md, section 3). What is costly to make of a
base is cached by its digest.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Callable, Optional

from labelgen import __version__, bundle, capabilities, filecontexts, local, ours, output, programs, rpmdb
from labelgen.cache import cache_folder
from labelgen.errors import UNPRINTABLE, InputError, LabelgenError, printable
from labelgen.gathering import said_once

REFERENCE = "reference"
HOST = "host"

POLICY_VERSION = 33  # the highest that setools 4.4 reads
MODULE_SUFFIXES = (".pp", ".pp.bz2", ".cil", ".cil.bz2")
STORES = Path("/var/lib/selinux")
SELINUX_CONFIG = Path("/etc/selinux/config")
LOADED_POLICY = Path("/sys/fs/selinux/policy")

# A decompiled binary names these without declaring them.
DECOMPILED_PRELUDE = "(typeattribute cil_gen_require)\n(roleattribute cil_gen_require)\n"


@dataclass(frozen=True)
class Source:
    """Where a base comes from: `kind` is modules, store or binary; `files` are module files or the binary; `extra` what
    semanage set besides; `selinux_policy` as a bundle tells it."""

    name: str
    kind: str
    files: tuple[Path, ...]
    extra: tuple[Path, ...] = ()
    selinux_policy: Optional[str] = None

    @property
    def exact(self) -> bool:
        """Whether the base is known as modules."""
        return self.kind != "binary"

    def module_name(self, file: Path) -> str:
        """The name of the module that a file holds; in a store the folder has it."""
        return file.parent.name if self.kind == "store" else file.name.split(".")[0]


def told_name(name: str) -> str:
    """A base as a module or a manifest may name it: on one line, and not by a path, which is of one machine."""
    last = Path(name).name if Path(name).name not in ("", "..") else Path(name).resolve().name
    return printable(last).replace("\n", UNPRINTABLE)


@dataclass(frozen=True)
class Base:
    """A base that is ready to be linked onto.

    name: as a person knows it; digest: SHA-256 over what it is made of; exact: made of modules; cil: its CIL;
    policy: it alone, linked; folder: its place in the cache; selinux_policy: version and release of the package that
    brought it, where that is known.
    """

    name: str
    digest: str
    exact: bool
    mls: bool
    cil: Path
    policy: Path
    folder: Path
    selinux_policy: Optional[str] = None


IN_THE_CACHE = "this is the cache; make room, or set XDG_CACHE_HOME to a folder elsewhere"


# -- finding


def locate(spec: str) -> Source:
    """The source of the base that `spec` names: host, reference, a file or a folder. Raises InputError."""
    if spec == REFERENCE:
        return _reference()
    if spec == HOST:
        return _host()
    path = Path(spec)
    try:
        if path.is_dir():
            return _folder(path)
        is_file = path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error
    if is_file:
        return _file(path)
    raise InputError(
        f"there is no base {spec}",
        "name `host`, `reference`, a binary policy, a folder of modules (.pp, .pp.bz2, .cil), a policy store, or a "
        "bundle of `labelgen base capture`",
    )


def _reference() -> Source:
    folder = Path(__file__).parent / "reference"
    return Source(REFERENCE, "modules", tuple(sorted(folder.glob("*.cil"))))


def selinux_type(root: Path = Path("/")) -> Optional[str]:
    """The name of the policy that a host is set up with; None without one. `root` is the folder that its / is."""
    try:
        config = (root / SELINUX_CONFIG.relative_to("/")).read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^\s*SELINUXTYPE\s*=\s*(\S+)", config, re.M)
    except OSError:
        return None
    return found[1] if found else None


def host_has_policy() -> bool:
    """Whether this host is set up with an SELinux policy."""
    return selinux_type() is not None


def _host() -> Source:
    configured = selinux_type()
    if configured is None:
        raise InputError(
            "this host has no SELinux policy",
            "use --base reference, or a bundle that `labelgen base capture` made on a host",
        )
    own = STORES / configured
    if os.access(own / "active" / "modules", os.R_OK | os.X_OK):
        return store(own, HOST)
    binaries = sorted(
        (SELINUX_CONFIG.parent / configured / "policy").glob("policy.*"),
        key=lambda path: int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0,
    )
    for path in (LOADED_POLICY, *reversed(binaries)):
        if os.access(path, os.R_OK):
            return Source(HOST, "binary", (path,))
    raise InputError(f"the policy of this host ({configured}) cannot be read", "run labelgen as root")


def policy_package(root: Path = Path("/")) -> Optional[str]:
    """Version and release of a host's package selinux-policy; None where rpm knows of none."""
    return rpmdb.ask("%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}", "selinux-policy", root=root)


def _folder(path: Path) -> Source:
    if (path / "active" / "modules").is_dir():
        return store(path, str(path))
    if path.name == "active" and (path / "modules").is_dir():
        return store(path.parent, str(path))
    files = tuple(sorted(file for file in path.iterdir() if file.name.endswith(MODULE_SUFFIXES)))
    if not files:
        raise InputError(f"{path}: there is no module (.pp, .pp.bz2, .cil) in this folder")
    return Source(str(path), "modules", files)


def _file(path: Path) -> Source:
    """A binary policy, or a bundle."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(capabilities.MAGIC))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not magic:
        raise InputError(f"{path}: this file is empty")
    if magic.startswith(bundle.MAGIC):
        return _bundle(path)
    if magic != capabilities.MAGIC:
        raise InputError(
            f"{path}: this is no binary policy, and no bundle",
            "name a policy.N file, what `labelgen base capture` made, or the folder that holds the modules",
        )
    return Source(str(path), "binary", (path,))


def _bundle(path: Path) -> Source:
    with cached(f"bundle-{output.digest(path)[:32]}", lambda folder: bundle.unpack(path, folder)) as folder:
        files = tuple(sorted((folder / "modules").glob("*/*"), key=lambda file: file.parent.name))
        extra = tuple(sorted((folder / "extra").glob("*")))
        return Source(str(path), "store", files, extra, bundle.selinux_policy(folder))


def store(path: Path, name: str) -> Source:
    """The modules of a policy store (libsemanage: active/modules/PRIORITY/NAME/{hll,cil,lang_ext}): of each name the
    one with the highest priority, without those disabled."""
    modules = path / "active" / "modules"
    disabled = {file.name for file in (modules / "disabled").glob("*")}
    chosen: dict[str, tuple[int, Path]] = {}
    for folder in modules.glob("[0-9]*/*"):
        priority = int(folder.parent.name)
        if folder.name not in disabled and priority >= chosen.get(folder.name, (0, folder))[0]:
            chosen[folder.name] = (priority, folder)
    files = [_module_file(folder) for _, (_, folder) in sorted(chosen.items())]
    if not files:
        raise InputError(f"{path}: this policy store holds no module")
    beside = contexts_of_store(path)
    found = [path / "active" / own for own in local.STORED]
    homes = (beside / filecontexts.OF_HOST[0], path / "active" / filecontexts.OF_HOST[0])
    found += [next((file for file in homes if file.is_file()), homes[0])]
    found += [beside / own for own in filecontexts.ALIASES]
    settings = beside.parents[2] / local.SETTINGS
    if settings.is_file() and local.sets_handle_unknown(_content(settings)):
        found.append(settings)
    extra = tuple(file for file in found if file.is_file())
    return Source(name, "store", tuple(files), extra)


def contexts_of_store(path: Path) -> Path:
    """The folder with the file contexts of the host that a policy store is of: of /var/lib/selinux/TYPE it is below
    /etc/selinux/TYPE, where RHEL 7 keeps the store itself."""
    if path.parent.name == "selinux" and path.parent.parent.name == "lib":
        path = path.absolute().parents[3] / SELINUX_CONFIG.parent.relative_to("/") / path.name
    return path / "contexts" / "files"


def _module_file(folder: Path) -> Path:
    for name in ("cil", "hll"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: this module of the store has neither cil nor hll")


# -- opening


def open_base(source: Source, progress: Callable[[str], None] = lambda _: None) -> Base:
    """Make the base ready, from the cache where it was made before. `progress` is told of what takes long.

    Raises InputError where the base is wrong (not a policy, truncated, does not link), MachineError where a
    program is missing.
    """
    contents, extra = _contents(source)
    known = _digest(source, contents, extra)
    with cached(f"base-{known[:32]}", lambda folder: _make(source, contents, extra, folder, progress)) as folder:
        about = json.loads((folder / "base.json").read_text(encoding="utf-8"))
        return Base(
            source.name,
            known,
            source.exact,
            about["mls"],
            folder / "base.cil",
            folder / "base.policy",
            folder,
            policy_package() if source.name == HOST else source.selinux_policy,
        )


def digest(source: Source) -> str:
    """The digest of a base, without making it ready. Raises InputError where it cannot be read."""
    return _digest(source, *_contents(source))


def _contents(source: Source) -> tuple[list[bytes], dict[str, bytes]]:
    """What the modules hold, and what else is set on the host, by the name of the file."""
    return [_content(file) for file in source.files], {file.name: _content(file) for file in source.extra}


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> InputError:
    return InputError(f"{file}: cannot be read: {error.strerror}")


def _digest(source: Source, contents: Sequence[bytes], extra: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256(f"{source.kind}\n".encode())
    for file, content in zip(source.files, contents):
        if _is_installed_role(source, file, content):
            continue
        whole.update(f"{source.module_name(file)} {file.name} {hashlib.sha256(content).hexdigest()}\n".encode())
    for name, content in sorted(extra.items()):
        whole.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


def _is_installed_role(source: Source, file: Path, content: bytes) -> bool:
    """Whether a module of a store is labelgen's own. It is no part of the base, so its digest is the same before and
    after roles are installed."""
    if source.kind != "store" or file.name != "cil" or not source.module_name(file).startswith("lxc_"):
        return False
    try:
        text = bz2.decompress(content) if content[:3] == b"BZh" else content
    except (OSError, ValueError, EOFError):
        return False
    return ours.is_ours(source.module_name(file), text)


@cache
def _code() -> str:
    """A digest of labelgen's own code: what another version of it derived is not reused."""
    whole = hashlib.sha256(__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


@contextmanager
def cached(name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """The folder `name` of the cache, made by `make` if it is missing.

    Two processes may make it at once: each makes its own and the first to finish puts it in place, whole. Then what
    has long been used by nobody is removed.
    """
    cache = cache_folder()
    final = cache / f"{name}-{_code()}"
    if not (final / "done").is_file():
        with output.scratch(cache, IN_THE_CACHE) as hidden:
            folder = hidden / "new"
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
            _put(folder, final)
            _remove_unused(cache, hidden)
    with suppress(OSError):  # a cache that is only read keeps its times
        os.utime(final / "done")
    yield final


# What `cached` makes: a kind, the digest of what it was made of, whatever else it depends on, the digest of the code.
_CACHED = re.compile(r"((base|bundle|facts|linked|loaded)-[0-9a-f]{32}.*)-[0-9a-f]{16}")
KEPT_OF_ONE, KEPT_OF_A_KIND = 2, 24
UNUSED_SECONDS = 3600  # longer than any command works with what it opened


def _remove_unused(cache: Path, hidden: Path) -> None:
    """Remove what nobody used for an hour, but for the last two of the same (made by other versions of labelgen) and
    the last few of a kind. Each goes into `hidden` first, in one step: a command that opens it finds it whole or not
    at all."""
    used = {}
    for folder in cache.iterdir():
        if _CACHED.fullmatch(folder.name):
            with suppress(OSError):
                used[folder] = (folder / "done").stat().st_mtime
    seen: Counter[str] = Counter()
    for folder, when in sorted(used.items(), key=lambda item: -item[1]):
        match = _CACHED.fullmatch(folder.name)
        assert match is not None
        seen.update((match[1], match[2]))
        too_many = seen[match[1]] > KEPT_OF_ONE or seen[match[2]] > KEPT_OF_A_KIND
        if too_many and time.time() - when > UNUSED_SECONDS:
            with suppress(OSError):
                folder.rename(hidden / folder.name)


def _put(folder: Path, final: Path) -> None:
    if final.exists() and not (final / "done").is_file():
        shutil.rmtree(final, ignore_errors=True)
    try:
        folder.rename(final)
    except OSError:
        if not (final / "done").is_file():
            raise


def _make(
    source: Source,
    contents: Sequence[bytes],
    extra: Mapping[str, bytes],
    folder: Path,
    progress: Callable[[str], None],
) -> None:
    if source.exact:
        progress(f"reading the {len(source.files)} modules of the base {source.name} (once)")
        _make_from_modules(source, contents, extra, folder)
    else:
        progress(f"reading the binary policy {source.name} (once)")
        _make_from_binary(source, contents[0], folder)


def _make_from_binary(source: Source, content: bytes, folder: Path) -> None:
    policy = folder / "base.policy"
    policy.write_bytes(content)
    mls = _decompile(source, content, policy, folder / "decompiled.cil")
    decompiled = (folder / "decompiled.cil").read_text(encoding="utf-8")
    _check_without_roles(source, decompiled)
    (folder / "base.cil").write_text(DECOMPILED_PRELUDE + decompiled, encoding="utf-8")
    (folder / "decompiled.cil").unlink()
    (folder / "base.json").write_text(json.dumps({"mls": mls}), encoding="utf-8")


def _check_without_roles(source: Source, decompiled: str) -> None:
    """Refuse a binary policy that has what labelgen's shared module declares: nobody can take that out again."""
    found = ours.declared_in_shared(decompiled)
    if found:
        raise InputError(
            f"{source.files[0]}: this policy has roles of labelgen's in it already: it declares {found[0]}",
            "`labelgen verify --policy` verifies roles where they are installed; a base is a policy without them, such "
            "as the policy store, of which they can be left out",
        )


def _decompile(source: Source, content: bytes, policy: Path, to: Path) -> bool:
    """Decompile a binary policy to CIL; whether it is an MLS policy."""
    capabilities.check(content, source.files[0])
    failure: Optional[LabelgenError] = None
    for mls in (True, False):
        try:
            programs.run("checkpolicy", "-b", *(["-M"] if mls else []), "-C", "-o", to, policy, makes=to)
        except programs.ProgramFailed as error:
            if error.is_of_machine:
                raise
            failure = failure or error
        else:
            _check_decompiled(to.read_bytes())
            return mls
    assert failure is not None
    raise InputError(f"{source.files[0]}: {_why_not_decompiled(content, failure)}") from failure


def _check_decompiled(cil: bytes) -> None:
    if b"(class " not in cil or b"(sid " not in cil:
        raise programs.NothingMade("checkpolicy", "something that is no policy")


def _why_not_decompiled(content: bytes, failure: LabelgenError) -> str:
    version, highest = _binary_version(content), _highest_version()
    if highest and version > highest:
        return f"this policy is of version {version}; the tools of this machine read up to {highest}"
    words = _last_line(getattr(failure, "stderr", "") or failure.message)
    return f"checkpolicy cannot read this policy, it is damaged or truncated: {words}"


def _binary_version(content: bytes) -> int:
    """The version that a binary policy says it has, 0 where that is cut off (libsepol, policydb.c: magic, length of a
    string, the string, version; numbers of 32 bits, little-endian)."""
    start = 8 + int.from_bytes(content[4:8], "little")
    return int.from_bytes(content[start : start + 4], "little")


def _highest_version() -> int:
    """The highest version of binary policies that checkpolicy says it knows, as in `33 (compatibility range 33-15)`."""
    found = re.match(rb"\d+", programs.run("checkpolicy", "-V").stdout)
    return int(found[0]) if found else 0


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else text


def _make_from_modules(source: Source, contents: Sequence[bytes], extra: Mapping[str, bytes], folder: Path) -> None:
    with output.temporary() as scratch:
        texts = programs.side_by_side(
            lambda pair: _to_cil(source, pair[0], pair[1], scratch), list(zip(source.files, contents))
        )
    own, settings = local.statements(extra), extra.get(local.SETTINGS, b"")
    modules = {
        file: local.with_tunables(local.with_handle_unknown(local.without(text, own), settings), extra)
        for file, text in _others(source, texts).items()
    }
    linked = dict(zip(modules, said_once(list(modules.values()))))
    whole = b"".join((*linked.values(), local.of_base(own, modules.values())))
    for name, content in extra.items():
        (folder / name).write_bytes(content)
    (folder / "base.cil").write_bytes(whole)
    _check_whole(source, whole)
    mls = b"(mls true)" in whole or (b"(sensitivity " in whole and b"(mls false)" not in whole)
    try:
        link([folder / "base.cil"], mls, folder / "base.policy")
    except programs.ProgramFailed as error:
        if error.is_of_machine:
            raise
        raise InputError(
            f"{source.name}: the modules of this base do not link:\n{_words_by_module(modules, mls) or error.stderr}",
            "a base needs all the modules that its modules require",
        ) from error
    (folder / "base.json").write_text(json.dumps({"mls": mls, "modules": _places(source, linked)}), encoding="utf-8")


def _places(source: Source, modules: Mapping[Path, bytes]) -> list[tuple[str, int]]:
    """The name of each module, and where it starts in all of them one after the other."""
    places, place = [], 0
    for file, text in modules.items():
        places.append((source.module_name(file), place))
        place += len(text)
    return places


# Real policies have thousands of rules about `self`, hundreds of them said of attributes. Decompiled, they are written
# out for each type, for a kernel policy knows no `self`.
_SELF_RULE = re.compile(rb"\(allow (\S+) self ")
_ATTRIBUTE = re.compile(rb"\(typeattribute (\S+?)\s*\)")
MANY_SELF_RULES = 1000


def _check_whole(source: Source, whole: bytes) -> None:
    """Refuse a binary policy that was decompiled into CIL: it has lost what `self` was said of, and is no module."""
    sources = _SELF_RULE.findall(whole)
    if len(sources) > MANY_SELF_RULES and not set(sources) & set(_ATTRIBUTE.findall(whole)):
        raise InputError(
            f"{source.name}: this is a binary policy that was decompiled: no attribute has a rule about `self`",
            "name the binary policy itself, which is read with what it hides in mind",
        )


def _words_by_module(modules: Mapping[Path, bytes], mls: bool) -> str:
    """What the linker says of modules that do not link, each in a file of its own: it names the file and its line."""
    with output.temporary() as scratch:
        places = {scratch / f"{number:06}.cil": file for number, file in enumerate(modules)}
        for place, text in zip(places, modules.values()):
            place.write_bytes(text)
        try:
            link(list(places), mls, scratch / "policy")
        except programs.ProgramFailed as error:
            return re.sub(
                re.escape(str(scratch)) + r"/\d{6}\.cil", lambda found: str(places[Path(found[0])]), error.stderr
            )
    return ""


def _others(source: Source, texts: Sequence[bytes]) -> dict[Path, bytes]:
    """The modules of a base that are not labelgen's: a base is what the host has besides.

    Raises InputError for one that says something about roles: what it gives them would be overlooked.
    """
    found = list(zip(source.files, texts))
    made = {file: text for file, text in found if ours.is_ours(source.module_name(file), text)}
    for file, text in found:
        about = ours.speaks_of_roles(text, made.values()) if file not in made else []
        if about:
            raise InputError(
                f"{file}: this module, which is not labelgen's, has rules about roles ({', '.join(about)}), "
                "which a base without the roles cannot hold",
                "check what is installed with `labelgen verify --policy`, or remove the module first",
            )
    return {file: text for file, text in found if file not in made}


def _to_cil(source: Source, file: Path, content: bytes, scratch: Path) -> bytes:
    """The CIL of one module. libsemanage keeps modules compressed with bzip2, or plain."""
    if not content:
        raise InputError(f"{file}: this file is empty", "it may have been cut off")
    if content[:3] == b"BZh":
        try:
            content = bz2.decompress(content)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file}: is not whole bzip2 data") from error
    is_cil = file.name == "cil" or ".cil" in file.name
    if is_cil:
        return content.rstrip() + b"\n"
    name = source.module_name(file)
    (scratch / name).mkdir(exist_ok=True)
    module = scratch / name / f"{name}.pp"
    module.write_bytes(content)
    try:
        return package_to_cil(module)
    except programs.ProgramFailed as error:
        if error.is_of_machine:
            raise
        raise InputError(
            f"{file}: pp cannot read this module: {_last_line(error.message)}",
            "it may be truncated, or of a newer module version than this machine's tools",
        ) from error


def package_to_cil(package: Path) -> bytes:
    """The CIL that a module package (.pp) becomes when a host links it. Raises ProgramFailed, NothingMade."""
    cil = programs.run("pp", package).stdout.rstrip()
    if not cil:
        raise programs.NothingMade("pp", "nothing")
    return cil + b"\n"


# What secilc says before it reads anything (secilc.c), where its libsepol is older than 3.2, as on Debian 11.
_HIGHEST_OF_SECILC = re.compile(r"Policy version must be between \d+ and (\d+)")


def link(
    cil: Sequence[Path], mls: bool, policy: Path, file_contexts: Optional[Path] = None, check: bool = False
) -> None:
    """Link CIL files into a binary policy, as a host does.

    Without `check`, neverallow and typebounds are not checked: distributions' policies break their own neverallows
    and hosts link them so (semanage.conf, expand-check=0). Raises ProgramFailed.
    """
    rest = ["-m", "-M", "true" if mls else "false", "-o", policy, "-f", file_contexts or "/dev/null", *cil]
    arguments = [*([] if check else ["-N"]), *rest]
    try:
        programs.run("secilc", "-c", str(POLICY_VERSION), *arguments, makes=policy)
    except programs.ProgramFailed as error:
        older = _HIGHEST_OF_SECILC.search(error.stderr)
        if older is None:
            raise
        programs.run("secilc", "-c", older[1], *arguments, makes=policy)
    with policy.open("rb") as file:
        if file.read(len(capabilities.MAGIC)) != capabilities.MAGIC:
            raise programs.NothingMade("secilc", "something that is no policy")


def setools_version() -> str:
    """The version of the setools in use."""
    from labelgen.policy import setools_module  # noqa: PLC0415 - heavy

    return str(getattr(setools_module(), "__version__", "unknown"))


def program_digest(program: str) -> str:
    """The SHA-256 of a program's file: most of the SELinux tools cannot tell their version."""
    return hashlib.sha256(Path(programs.find(program)).read_bytes()).hexdigest()


def load_json(path: Path) -> Any:
    """The JSON in a file of the cache."""
    return json.loads(path.read_text(encoding="utf-8"))
