"""The probe is compiled on demand, once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from labelgen import programs
from labelgen.errors import MachineError
from labelgen.witness import compile as compiling


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_without_gcc_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_keywords: None)
    with pytest.raises(MachineError) as caught:
        compiling.probe()
    assert "gcc" in caught.value.message and "apt-get install gcc" in str(caught.value.hint)


def test_what_gcc_says_is_passed_on(fp: FakeProcess) -> None:
    gcc = programs.find("gcc")
    fp.register([gcc, "--version"], stdout=b"gcc 12\n")
    fp.register([gcc, fp.any()], returncode=1, stderr=b"cannot find -lc\n")
    with pytest.raises(MachineError, match="cannot find -lc") as caught:
        compiling.probe()
    assert "apt-get install libc6-dev or dnf install glibc-static" in str(caught.value.hint)


def test_a_failed_compilation_leaves_nothing(fp: FakeProcess, tmp_path: Path) -> None:
    test_what_gcc_says_is_passed_on(fp)
    assert not list((tmp_path / "cache").rglob("probe/*"))


def test_two_at_once_get_the_same_probe() -> None:
    with ThreadPoolExecutor(2) as workers:
        first, second = workers.map(lambda _: compiling.probe(), range(2))
    assert first == second and first.stat().st_mode & 0o100


def test_it_compiles_once() -> None:
    made = compiling.probe().stat().st_mtime_ns
    assert compiling.probe().stat().st_mtime_ns == made


ASKS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for kind in map(int, sys.argv[1:]):
    libc.ptrace(0x4204, 0, kind, None)  # PTRACE_GETREGSET, of nobody
    print(errno.errorcode[ctypes.get_errno()])
"""
NT_PRSTATUS, NT_X86_XSTATE = "1", "514"  # elf.h


def test_user_mode_linux_is_told_that_there_are_no_more_registers() -> None:
    """By themselves both questions about the registers of nobody are answered with ESRCH (ptrace(2))."""
    command = [sys.executable, "-c", ASKS, NT_PRSTATUS, NT_X86_XSTATE]
    for prefix, answers in (([], ["ESRCH", "ESRCH"]), ([str(compiling.launcher())], ["ESRCH", "EIO"])):
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, check=True)
        assert done.stdout.split() == answers


def test_a_kernel_that_cannot_be_started_is_told() -> None:
    done = subprocess.run([compiling.launcher(), "/nowhere/linux"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "/nowhere/linux: No such file" in done.stderr
