"""Kernels that hang, babble or die. A shell script stands in for each."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from labelgen.errors import MachineError
from labelgen.programs import ProgramFailed
from labelgen.witness import machine
from labelgen.witness.answers import WitnessError
from labelgen.witness.kernels import Kernel
from labelgen.witness.script import Script


def _pretend(folder: Path, name: str, body: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


def _boot(tmp_path: Path, body: str, timeout: float = 30.0) -> machine.Booted:
    kernel = Kernel("uml", _pretend(tmp_path, "linux.uml", body), None)
    policy = tmp_path / "policy"
    policy.write_bytes(b"policy")
    return machine.boot(kernel, policy, Script(), {}, processor=machine.processors()[0], timeout=timeout)


def test_a_kernel_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="did not finish within 1 seconds"):
        _boot(tmp_path, f"sleep 321 & echo $! > {tmp_path}/child; exec sleep 321", timeout=1.0)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not _gone(child):
        time.sleep(0.05)
    assert _gone(child)


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_rubbish_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WitnessError, match="did not start with the probe's first line"):
        _boot(tmp_path, "echo Linux version 6.1")


def test_a_kernel_that_ends_early_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(WitnessError, match=r"ended early(.|\n)*Kernel panic"):
        _boot(tmp_path, "echo labelgen-probe 1 6.1; echo Kernel panic - not syncing >&2")


def test_silence_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WitnessError, match="ended early"):
        _boot(tmp_path, "true")


def test_nothing_is_left_of_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(machine, "MEMORY", scratch)
    with pytest.raises(WitnessError):
        _boot(tmp_path, "true")
    assert not list(scratch.iterdir())


def test_without_a_kernel_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_keywords: None)
    with pytest.raises(MachineError) as caught:
        machine.choose("quickest")
    assert "apt-get install user-mode-linux" in str(caught.value.hint) and caught.value.exit_status == 3


@pytest.mark.parametrize(("witness", "package"), [("uml", "user-mode-linux"), ("qemu", "qemu-system-x86")])
def test_a_kernel_asked_for_by_name_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch, witness: str, package: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_keywords: None)
    with pytest.raises(MachineError) as caught:
        machine.choose(witness)
    assert package in str(caught.value.hint)


@pytest.mark.parametrize(
    ("body", "accelerator"),
    [
        ("echo labelgen-probe 1 6.1", "kvm"),
        ("echo failed to set MSR >&2; exit 134", "tcg"),
        ("exec sleep 321", "tcg"),
        ("echo Linux version 6.1", "tcg"),
    ],
)
def test_kvm_is_used_after_a_quick_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, accelerator: str
) -> None:
    _pretend(tmp_path, "qemu-system-x86_64", body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "KVM", tmp_path)
    monkeypatch.setattr(machine, "TRIAL_SECONDS", 1.0)
    assert machine.accelerated(Kernel("qemu", tmp_path / "vmlinuz", None)).accelerator == accelerator


def test_without_kvm_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KVM", tmp_path / "absent")
    assert machine.accelerated(Kernel("qemu", tmp_path / "vmlinuz", None)).accelerator == "tcg"
