"""Kernels that hang, babble or die. A shell script stands in for each."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Optional

import pytest
from commandline import LABELGEN, Place

from labelgen import base as bases
from labelgen import programs, proving
from labelgen.errors import InputError, MachineError
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
    with pytest.raises(WitnessError, match="after line 0 of 1: the start\ntaskset did not finish within 1 seconds"):
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


def test_a_kernel_that_panics_before_the_probe_starts_is_started_again(tmp_path: Path) -> None:
    count, panic = f"echo >> {tmp_path}/starts", "echo Kernel panic - not syncing >&2"
    with pytest.raises(WitnessError, match=r"after line 0 of 1: the start(.|\n)*Kernel panic"):
        _boot(tmp_path, f"{count}; {panic}")
    assert len((tmp_path / "starts").read_text()) == machine.STARTS
    second = f"{count}; [ $(wc -l < {tmp_path}/starts) -gt {machine.STARTS + 1} ] && echo labelgen-probe 1 6.1; {panic}"
    with pytest.raises(WitnessError, match="ended early"):
        _boot(tmp_path, second)
    assert len((tmp_path / "starts").read_text()) == machine.STARTS + 2


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


def test_what_the_kernel_said_comes_with_the_probes_last_words(tmp_path: Path) -> None:
    said = "echo Kernel panic - not syncing: System is deadlocked on memory >&2; seq 100 >&2"
    with pytest.raises(
        WitnessError, match=r"first line but with b'rubbish\\n'\nKernel panic - not syncing: System"
    ) as caught:
        _boot(tmp_path, f"{said}; sleep 0.2; echo rubbish; sleep 321")
    assert caught.value.message.splitlines()[-1] == str(machine.LAST_WORDS - 1)


def _free(monkeypatch: pytest.MonkeyPatch, free: dict[Path, int]) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free[place]))


def test_where_memory_is_short_temporary_files_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has 64 MB in /dev/shm, and User Mode Linux hangs where its own memory has no room."""
    disk = Path(tempfile.gettempdir())
    monkeypatch.setattr(machine, "MEMORY", tmp_path)
    monkeypatch.setattr(machine, "processors", lambda: [0, 1])
    _free(monkeypatch, {tmp_path: 64 << 20, disk: 1 << 30})
    with pytest.raises(WitnessError, match=f"HOME={disk}/labelgen-"):
        _boot(tmp_path, "echo HOME=$HOME")


def test_without_room_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY", tmp_path)
    monkeypatch.setattr(machine, "processors", lambda: [0, 1])
    _free(monkeypatch, {tmp_path: 64 << 20, Path(tempfile.gettempdir()): 100 << 20})
    with pytest.raises(MachineError, match=f"no room for the kernels: 17[0-9] MB are needed in {tmp_path} or "):
        _boot(tmp_path, f"touch {tmp_path}/started")
    assert not (tmp_path / "started").exists()


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
    (tmp_path / "vmlinuz").touch()
    assert machine.accelerated(Kernel("qemu", tmp_path / "vmlinuz", None)).accelerator == accelerator


def test_without_kvm_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KVM", tmp_path / "absent")
    assert machine.accelerated(Kernel("qemu", tmp_path / "vmlinuz", None)).accelerator == "tcg"


# -- a kernel of the user's own


def _image(folder: Path, name: str, magic: bytes) -> Path:
    image = folder / name
    image.write_bytes(bytes(0x202) + magic if magic == b"HdrS" else magic)
    image.chmod(0o755)
    return image


def test_a_kernel_image_for_boot_loaders_is_for_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(tmp_path, "qemu-system-x86_64", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "KVM", tmp_path / "absent")
    modules = tmp_path / "lib/modules/6.6.6"
    (modules / "kernel").mkdir(parents=True)
    (modules / "kernel/sctp.ko.xz").touch()
    (tmp_path / "boot").mkdir()
    image = _image(tmp_path / "boot", "vmlinuz-6.6.6", b"HdrS")
    assert machine.choose("quickest", image) == [Kernel("qemu", image, modules)]


def test_user_mode_linux_may_be_given_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a kernel image for x86"):
        machine.choose("uml", _pretend(tmp_path, "linux", "echo 6.6.6"))
    uml = shutil.which("linux.uml")
    if uml is None:
        pytest.skip("user-mode-linux is not installed")
    (kernel,) = machine.choose("uml", Path(uml))
    assert kernel.kind == "uml" and kernel.image == Path(uml)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "neither"), (None, "cannot be read"), (b"\x7fELF", "not User Mode Linux")]
)
def test_an_image_that_is_none_is_told(tmp_path: Path, content: Optional[bytes], words: str) -> None:
    image = tmp_path / "image"
    if content is not None:
        image.write_bytes(content)
    if content:
        shutil.copy(shutil.which("true") or "/bin/true", image)
        image.chmod(0o755)
    with pytest.raises(InputError, match=words):
        machine.choose("qemu", image)


def test_a_kernel_of_another_kind_than_asked_for_is_told() -> None:
    uml = shutil.which("linux.uml")
    if uml is None:
        pytest.skip("user-mode-linux is not installed")
    with pytest.raises(InputError, match="for uml, not for qemu"):
        machine.choose("qemu", Path(uml))


def test_a_folder_of_modules_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of modules"):
        machine.choose("qemu", _image(tmp_path, "vmlinuz", b"HdrS"), tmp_path / "absent")


# -- the command


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "place").mkdir()
    (tmp_path / "cache").mkdir()
    return Place(tmp_path / "place", tmp_path / "cache")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "absent", "--domain", "a_t"), "there is no policy absent"),
        (("--policy", "small", "--domain", "a_u"), "no such type; did you mean 'a_t'?"),
        (("--policy", "small", "--domain", "a_t", "--kernel", "absent"), "cannot be read"),
        (("--policy", "small", "--domain", "system_u:system_r:a_t"), "no such context\nhint: a context reads user:"),
        (("--policy", "small", "--domain", "system_u:system_r:a_t:s0:c9"), "no such context"),
        (("--policy", "small", "--domain", "nobody_u:system_r:a_t:s0"), "no such context"),
        (("--policy", "small", "--domain", "other_u:nobody_r:a_t:s0"), "no such context"),
        (("--policy", "small", "--domain", "a_t", "web"), "roles, --roles and --base go with a build"),
        (("--policy", "small", "--domain", "a_t", "--base", "reference"), "roles, --roles and --base go with a build"),
        (("--policy", "small"), "--policy and --domain go together"),
        (("--modules", "."), "--modules goes with --kernel"),
    ],
)
def test_a_mistake_is_told_before_anything_boots(place: Place, arguments: tuple[str, ...], words: str) -> None:
    text = (Path(__file__).parents[1] / "policies/small.cil").read_text()
    source = place.folder / "small.cil"
    source.write_text(text)
    programs.run(
        "secilc",
        "-N",
        "-m",
        "-M",
        "true",
        "-c",
        "33",
        "-o",
        place.folder / "small",
        "-f",
        place.folder / "small.fc",
        source,
    )
    outcome = place.call("prove", *arguments)
    assert outcome.status == 2 and words in outcome.stderr and "Traceback" not in outcome.stderr


def test_an_attribute_is_no_domain(place: Place) -> None:
    (place.folder / "policy").write_bytes(bases.open_base(bases.locate("reference")).policy.read_bytes())
    outcome = place.call("prove", "--policy", "policy", "--domain", "container_runtime_domain")
    outcome.refused("container_runtime_domain: this is an attribute, not a type", "hint: a type of it: container_")


def test_without_any_kernel_the_status_is_3_and_the_cure_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "policy").write_bytes(b"policy")
    monkeypatch.setattr(shutil, "which", lambda *_args, **_keywords: None)
    outcome = place.call("prove", "--policy", "policy", "--domain", "a_t")
    outcome.refused("no kernel that could bear witness is installed", "apt-get install user-mode-linux", status=3)


@pytest.mark.parametrize("body", ["exec sleep 321", "echo labelgen-probe 1 6.1; exit 1", "echo rubbish", "exit 134"])
def test_a_kernel_that_bears_no_witness_ends_the_command_with_3(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    policy = place.folder / "policy"
    policy.write_bytes(bases.open_base(bases.locate("reference")).policy.read_bytes())
    image = _pretend(tmp_path, "linux.uml", body)
    monkeypatch.setattr(machine, "choose", lambda *_: [Kernel("uml", image, None)])
    defaults = machine.boot.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "timeout", 1.0)
    outcome = place.call("prove", "--policy", "policy", "--domain", "container_t")
    outcome.refused(status=3, lines=20)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_at_once_and_leaves_nothing(place: Place, tmp_path: Path, number: int, status: int) -> None:
    """Two guests run then, each of more than one process."""
    (place.folder / "policy").write_bytes(bases.open_base(bases.locate("reference")).policy.read_bytes())
    (tmp_path / "bin").mkdir()
    _pretend(
        tmp_path / "bin",
        "linux.uml",
        f'[ "$1" = --version ] && exec echo 6.1; echo "$*" >> {tmp_path}/started; '
        f"sleep 321 & echo $! >> {tmp_path}/children; exec sleep 321",
    )
    command = [str(LABELGEN), "prove", "--policy", "policy", "--domain", "container_t", "--witness", "uml"]
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=place.folder, env=place.environment(path), stderr=subprocess.PIPE) as proving_:
        children = _children(tmp_path / "children", min(2, len(machine.processors())))
        started = time.monotonic()
        proving_.send_signal(number)
        assert proving_.stderr is not None and b"Traceback" not in proving_.stderr.read()
    assert proving_.returncode == status and time.monotonic() - started < 10
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not all(map(_gone, children)):
        time.sleep(0.05)
    assert all(map(_gone, children))
    # Other tests may have guests of their own meanwhile.
    used = re.findall(r"/[^ =]*/labelgen-\w{8}(?=/)", (tmp_path / "started").read_text())
    assert used and not any(map(os.path.exists, used))


def _children(file: Path, number: int) -> list[int]:
    """The process ids in a file, once there are so many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = file.read_text().split() if file.exists() else []
        if len(found) == number:
            return [int(one) for one in found]
        time.sleep(0.05)
    raise AssertionError(f"{number} guests did not start in time")


def test_progress_is_told_by_tenths() -> None:
    said: list[str] = []
    share = proving.shares(said.append)
    for thousandth in range(1001):
        share(thousandth / 1000)
    assert len(said) == 11 and said[-1] == "the kernel has answered 100%"
