"""What the tests of the command line share: a workplace with role files, the command, what became of both."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union
from unittest import mock

import pytest

from labelgen import cli

LABELGEN = Path(sys.executable).parent / "labelgen"
NONET = "name: web\nsummary: A role of the tests.\nnetwork: none\n"
NOBODY = 65534

Argument = Union[str, Path]


def with_network(text: str) -> str:
    """A role file with this under `network:`, from line 4."""
    return f"name: web\nsummary: A role of the tests.\nnetwork:\n{text}\n"


def binds(ports: str) -> str:
    """A role file that binds TCP ports; the list starts at 5:10, its first port at 5:11."""
    return with_network(f"  bind:\n    tcp: [{ports}]")


def tree(folder: Path) -> dict[str, tuple[int, object]]:
    """Everything below a folder: path -> mode and content (of a link, where it points; of a pipe, nothing)."""
    found: dict[str, tuple[int, object]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content: object = None
        if stat.S_ISLNK(mode):
            content = os.readlink(path)  # noqa: PTH115 - Path.readlink hides what the link says
        elif stat.S_ISREG(mode):
            content = path.read_bytes() if mode & 0o400 and path.stat().st_size < 2**20 else path.stat().st_size
        found[str(path.relative_to(folder))] = (mode, content)
    return found


@dataclass(frozen=True)
class Outcome:
    """A command that ended: what it said, and whether anything in its workplace changed."""

    status: int
    stdout: str
    stderr: str
    before: Mapping[str, object]
    after: Mapping[str, object]

    def refused(self, *words: str, status: int = 2, lines: int = 4) -> None:
        """Assert that it ended with one clear message that holds all the `words`, and changed nothing."""
        assert "Traceback" not in self.stderr, self.stderr
        assert "Warning" not in self.stderr, self.stderr
        assert self.status == status, self.stderr or self.stdout
        assert self.stdout == ""
        assert self.stderr.startswith("error: ")
        assert self.stderr.count("error: ") == 1
        assert len(self.stderr.splitlines()) <= lines, self.stderr
        assert all(character.isprintable() or character == "\n" for character in self.stderr), repr(self.stderr)
        for word in words:
            assert word in self.stderr, f"{word!r} is not in:\n{self.stderr}"
        self.changed_nothing()

    def changed_nothing(self) -> None:
        """Assert that the workplace is as it was."""
        assert self.after == self.before

    def held(self) -> None:
        """Assert that it succeeded."""
        assert self.status == 0, self.stderr or self.stdout
        assert self.stderr == ""


class Place:
    """A workplace: the current folder of a command, with role files in roles/ and a cache that all tests share."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.roles = folder / "roles"
        self.roles.mkdir()

    @property
    def output(self) -> Path:
        """Where a build appears."""
        return self.folder / "build"

    def role(self, content: Union[str, bytes], name: str = "web.yaml") -> Path:
        """Write a role file."""
        path = self.roles / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        return path

    def environment(self, extra: Optional[Mapping[str, str]] = None) -> dict[str, str]:
        """The environment of the command."""
        return {**os.environ, "XDG_CACHE_HOME": str(self.cache), **(extra or {})}

    def call(self, *arguments: Argument, env: Optional[Mapping[str, str]] = None) -> Outcome:
        """The command line, in this process: an exception that `main` lets through fails the test."""
        out, err, before = io.StringIO(), io.StringIO(), tree(self.folder)
        status: object = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(sys, "argv", ["labelgen", *map(str, arguments)]))
            stack.enter_context(mock.patch.dict(os.environ, self.environment(env), clear=True))
            stack.enter_context(_inside(self.folder))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("error")
            try:
                cli.main()
            except SystemExit as stop:
                status = stop.code
        assert isinstance(status, int)
        return Outcome(status, out.getvalue(), err.getvalue(), before, tree(self.folder))

    def run(
        self,
        *arguments: Argument,
        prefix: Sequence[Argument] = (),
        env: Optional[Mapping[str, str]] = None,
        timeout: float = 60,
    ) -> Outcome:
        """The command line as a process of its own, behind a `prefix` such as timeout or setpriv."""
        before = tree(self.folder)
        done = subprocess.run(
            [*map(str, prefix), str(LABELGEN), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Outcome(
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
            before,
            tree(self.folder),
        )

    def build(self, *arguments: Argument, base: Argument = "reference") -> Outcome:
        """`labelgen build` in this process."""
        return self.call("build", "--base", base, *arguments)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def shared_cache(factory: pytest.TempPathFactory) -> Path:
    """A cache for all tests of this process: the user's own is left alone."""
    folder = factory.getbasetemp() / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def public_place() -> Iterator[Place]:
    """A workplace that every user can reach (pytest's own folders are for one user), with a cache to match."""
    folder = Path(tempfile.mkdtemp(prefix="labelgen-test-"))
    try:
        for path in (folder, folder / "place", folder / "cache"):
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        yield Place(folder / "place", folder / "cache")
    finally:
        shutil.rmtree(folder)


def as_another_user() -> list[str]:
    """What to put before a command so that permissions count for it: root may do anything, so another user runs it."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    try:
        tried = subprocess.run([*prefix, str(LABELGEN), "--version"], capture_output=True, check=False, cwd="/")
    except FileNotFoundError:
        pytest.skip("the tests run as root, and there is no setpriv to run as somebody else")
    if tried.returncode:
        pytest.skip("the tests run as root, from a folder that no other user may read")
    return prefix


def in_namespace(script: str) -> list[str]:
    """What to put before a command so that `script` (of mounts) runs first, seen by that command alone."""
    user = [] if os.geteuid() == 0 else ["-r"]
    prefix = ["unshare", *user, "-m", "sh", "-c", f'{script} && exec "$@"', "sh"]
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here, so nothing can be mounted for one command alone")
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.decode('utf-8', 'replace').strip()}")
    return prefix


def without_program(*paths: Argument) -> list[str]:
    """What to put before a command so that the programs at these paths are gone: nobody may execute what is there."""
    return in_namespace(" && ".join(f"mount --bind /dev/null '{path}'" for path in paths))


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of this size, which only a sleeping process has mounted; its path, seen through that process."""
    prefix = in_namespace(f"mount -t tmpfs -o size={kilobytes}k none '{folder}'")
    with subprocess.Popen(
        [*prefix, "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as sleeper:
        try:
            assert sleeper.stdout is not None
            assert sleeper.stdout.readline() == b"ready\n"
            yield Path(f"/proc/{sleeper.pid}/root{folder}")
        finally:
            sleeper.kill()


def fake_program(folder: Path, name: str, script: str) -> Path:
    """A shell script that is called like a program, alone in a folder; returns the folder, to be put into PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder
