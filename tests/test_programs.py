"""Programs that are missing, fail, hang or print rubbish, and how that is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commandline import LABELGEN, NONET, Place, fake_program, in_namespace, shared_cache, without_program
from pytest_subprocess import FakeProcess

from labelgen import base, capabilities, programs
from labelgen.errors import MachineError

REFERENCE = Path(base.__file__).parent / "reference"
TOOLS = ("checkmodule", "semodule_package", "secilc")


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    place.role(NONET)
    return place


def with_fake(place: Place, name: str, script: str) -> dict[str, str]:
    """The environment in which a program is a shell script."""
    return {"PATH": f"{fake_program(place.folder / 'bin', name, script)}:{os.environ['PATH']}"}


# -- missing


@pytest.mark.parametrize("name", [*TOOLS, "pp"])
def test_a_program_that_is_missing_is_named_with_the_packages_that_bring_it(place: Place, name: str) -> None:
    prefix = without_program(programs.find(name))
    debian, fedora = programs.PACKAGES[name]
    place.run("build", "--base", "reference", prefix=prefix).refused(
        f"the program {name} is not installed", f"apt-get install {debian}", f"dnf install {fedora}", status=3, lines=2
    )


def test_a_missing_decompiler_is_told_for_a_binary_base(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    base.link(sorted(REFERENCE.glob("*.cil")), True, place.folder / "policy.33")
    place.cache = tmp_path_factory.mktemp("cold")
    place.run("build", "--base", "policy.33", prefix=without_program(programs.find("checkpolicy"))).refused(
        "the program checkpolicy is not installed", status=3, lines=2
    )


def test_programs_are_found_where_administrators_have_them_whatever_path_says(place: Place) -> None:
    place.build("--output", "warm").held()
    place.call("build", "--base", "reference", env={"PATH": "/nowhere"}).held()


@pytest.mark.parametrize(
    "module", ["raise ImportError('No module named setools')", "'''The package of that name on PyPI.'''"]
)
def test_a_missing_or_wrong_setools_is_told_with_the_package(place: Place, module: str) -> None:
    (place.folder / "modules").mkdir()
    (place.folder / "modules" / "setools.py").write_text(module)
    outcome = place.run(
        "build",
        "--base",
        "reference",
        env={"PYTHONPATH": str(place.folder / "modules"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    outcome.refused("setools", "python3-setools", "PyPI", status=3, lines=2)


PARTS_OF_SETOOLS = """
import sys
from labelgen.policy import setools_module, setools_reader
reader = setools_reader()
assert "networkx" not in sys.modules and "setools" not in sys.modules
import setools
assert setools.SELinuxPolicy is reader.policy and setools.exception.NoCommon is reader.exception.NoCommon
assert setools.TERuleQuery and setools_module() is setools
"""


def test_reading_policies_takes_only_a_part_of_setools_and_leaves_the_rest_to_whoever_needs_it() -> None:
    subprocess.run([sys.executable, "-c", PARTS_OF_SETOOLS], check=True)


# -- failing


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("status", [126, 127])
def test_a_program_that_fails_is_told_with_its_words(place: Place, name: str, status: int) -> None:
    env = with_fake(place, name, f"echo nothing works here >&2; exit {status}")
    place.build("--output", "build").held()
    shutil.rmtree(place.output)
    outcome = place.call("build", "--base", "reference", env=env)
    outcome.refused(name, f"exit status {status}", "nothing works here", status=3)


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_refuses_is_told_with_its_words(place: Place, name: str) -> None:
    env = with_fake(place, name, "echo I will not >&2; exit 1")
    outcome = place.call("build", "--base", "reference", env=env)
    # Whether the program is broken or what labelgen wrote, nobody can tell by the status alone.
    outcome.refused("I will not", status=outcome.status)
    assert outcome.status in (2, 3)


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_fails_and_does_not_say_why_is_the_machines_fault(place: Place, name: str) -> None:
    outcome = place.call("build", "--base", "reference", env=with_fake(place, name, "exit 1"))
    outcome.refused(f"{name} failed with exit status 1", status=3, lines=2)


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_is_killed_is_told(place: Place, name: str) -> None:
    env = with_fake(place, name, "kill -9 $$")
    place.call("build", "--base", "reference", env=env).refused(f"{name} was killed by signal 9", status=3)


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_cannot_be_started_is_told(place: Place, name: str) -> None:
    env = with_fake(place, name, "")
    (place.folder / "bin" / name).write_bytes(b"\x7fELF of another machine")
    place.call("build", "--base", "reference", env=env).refused(f"{name} could not be started", status=3)


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_hangs_is_told_and_not_waited_for(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = with_fake(place, name, "echo half a word; exec sleep 300")
    assert programs.run.__kwdefaults__ is not None
    monkeypatch.setitem(programs.run.__kwdefaults__, "timeout", 0.3)
    started = time.monotonic()
    place.call("build", "--base", "reference", env=env).refused(f"{name} did not end within 0.3 seconds", status=3)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_program_hangs_ends_both(place: Place, name: str, number: signal.Signals) -> None:
    """The signal goes to labelgen alone, as `kill` sends it."""
    env = with_fake(place, name, 'echo $$ > "${0%/*}/started"; exec sleep 305')
    place.build("--output", "warm").held()
    started = place.folder / "bin" / "started"
    with subprocess.Popen(
        [LABELGEN, "build", "--base", "reference"],
        cwd=place.folder,
        env=place.environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 30
        while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert_gone(int(started.read_text()))
    assert sorted(path.name for path in place.folder.iterdir()) == ["bin", "roles", "warm"]


class Heeded(Exception):
    """A signal was heeded."""


@pytest.mark.parametrize("in_workers", [True, False])
def test_a_signal_that_another_thread_got_is_heeded_while_a_program_runs(in_workers: bool) -> None:
    """It does not end what the main thread waits for, as one does not that comes just before the wait begins."""
    heeded = threading.Event()

    def heed(*_: object) -> None:
        heeded.set()
        raise Heeded

    def work(_: object = None) -> bool:
        time.sleep(0.3)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return heeded.wait(5)

    before, started = signal.signal(signal.SIGUSR1, heed), time.monotonic()
    try:
        with pytest.raises(Heeded):
            if in_workers:
                programs.side_by_side(work, [1])
            else:
                programs._in_a_thread(work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - started < 4


# -- rubbish


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_says_it_is_done_and_did_nothing_is_told(place: Place, name: str) -> None:
    env = with_fake(place, name, "echo all is well; exit 0")
    place.call("build", "--base", "reference", env=env).refused(name, status=3)


WRITE_RUBBISH = 'for a; do case "$p" in -o) echo rubbish > "$a";; esac; p="$a"; done'


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_that_writes_rubbish_is_told(place: Place, name: str) -> None:
    env = with_fake(place, name, WRITE_RUBBISH)
    outcome = place.call("build", "--base", "reference", env=env)
    outcome.refused(status=3)
    assert "version 33 or lower is needed" not in outcome.stderr


@pytest.mark.parametrize("content", ["", "rubbish", "(allow", "\x00\xff"])
def test_a_converter_that_prints_rubbish_is_told(place: Place, content: str) -> None:
    fake = fake_program(place.folder / "bin", "pp", f"printf '%s' '{content}'") / "pp"
    prefix = in_namespace(f"mount --bind '{fake}' '{programs.find('pp')}'")
    outcome = place.run("build", "--base", "reference", prefix=prefix)
    assert outcome.status in (2, 3)
    outcome.refused(status=outcome.status, lines=8)


def test_a_decompiler_that_prints_rubbish_is_told(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    base.link(sorted(REFERENCE.glob("*.cil")), True, place.folder / "policy.33")
    place.cache = tmp_path_factory.mktemp("cold")
    for script in (WRITE_RUBBISH, "exit 0", "head -c 3000 /dev/zero >&2; exit 1"):
        env = with_fake(place, "checkpolicy", script)
        outcome = place.call("build", "--base", "policy.33", env=env)
        assert outcome.status in (2, 3)
        outcome.refused(status=outcome.status, lines=8)
        assert list((place.cache / "labelgen").iterdir()) == []


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_program_says_cannot_command_a_terminal_or_flood_it(place: Place, name: str) -> None:
    script = r"""
        printf '\033]0;owned\007\033[2J\000\302\233m' >&2
        yes flood | head -n 20000 >&2
        echo last words >&2
        exit 1"""
    outcome = place.call("build", "--base", "reference", env=with_fake(place, name, script))
    outcome.refused("last words", status=outcome.status, lines=60)
    assert len(outcome.stderr) < 20_000


def test_programs_answer_in_english_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert programs.run("sh", "-c", "echo $LC_ALL").stdout == b"C\n"


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_a_summary_in_any_language_is_written_in_any_locale(place: Place, locale: dict[str, str]) -> None:
    place.role("name: web\nsummary: Größe, 大きさ\nnetwork: none\n")
    outcome = place.run("build", "--base", "reference", env=locale)
    assert (outcome.status, outcome.stderr) == (0, "")
    first = (place.output / "lxc_web" / "lxc_web.te").read_bytes()
    assert "# lxc_web: Größe, 大きさ\n".encode() in first
    place.run("build", "--base", "reference", env={"LC_ALL": "C.UTF-8"}).held()
    assert (place.output / "lxc_web" / "lxc_web.te").read_bytes() == first
    place.role("name: größe\nsummary: x\nnetwork: none\n")
    refused = place.run("build", "--base", "reference", env=locale)
    assert refused.status == 2
    assert "Traceback" not in refused.stderr


# -- the one door


def test_a_program_gets_its_input_and_gives_its_output(tmp_path: Path) -> None:
    done = programs.run("sh", "-c", "cat; pwd; echo aside >&2", stdin=b"\x00in\n", cwd=tmp_path)
    assert done.stdout == b"\x00in\n" + os.fsencode(tmp_path) + b"\n"
    assert done.stderr == b"aside\n"


def test_arguments_reach_a_program_unread_by_any_shell(tmp_path: Path) -> None:
    hostile = "$(touch evil); 'a' \"b\" `id` \n *"
    assert programs.run("printf", "%s", hostile, cwd=tmp_path).stdout == hostile.encode()
    assert list(tmp_path.iterdir()) == []


def test_linking_calls_secilc_as_hosts_link(fp: FakeProcess, tmp_path: Path) -> None:
    """Without the checks of neverallow that distributions break (semanage.conf, expand-check=0), several rules of one
    name allowed, for policy version 33."""
    policy = tmp_path / "policy"
    fp.register(
        [programs.find("secilc"), fp.any()], callback=lambda _: policy.write_bytes(capabilities.MAGIC + b"linked")
    )
    base.link([tmp_path / "a.cil", tmp_path / "b.cil"], True, policy)
    (call,) = fp.calls
    arguments = [str(argument) for argument in call][1:]
    assert arguments[-2:] == [str(tmp_path / "a.cil"), str(tmp_path / "b.cil")]
    assert {"-N", "-m"} <= set(arguments)
    assert arguments[arguments.index("-M") + 1] == "true"
    assert arguments[arguments.index("-c") + 1] == "33"
    assert arguments[arguments.index("-o") + 1] == str(policy)


def test_linking_with_checks_leaves_them_on(fp: FakeProcess, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    fp.register(
        [programs.find("secilc"), fp.any()], callback=lambda _: policy.write_bytes(capabilities.MAGIC + b"linked")
    )
    base.link([tmp_path / "a.cil"], False, policy, check=True)
    (call,) = fp.calls
    arguments = [str(argument) for argument in call][1:]
    assert "-N" not in arguments
    assert arguments[arguments.index("-M") + 1] == "false"


def test_an_older_linker_is_asked_for_the_version_that_it_knows(fp: FakeProcess, tmp_path: Path) -> None:
    """What the secilc of libsepol 3.1 said (Debian 11)."""
    policy, secilc = tmp_path / "policy", programs.find("secilc")
    fp.register([secilc, "-c", "33", fp.any()], returncode=1, stderr="Policy version must be between 15 and 32\n")
    fp.register([secilc, "-c", "32", fp.any()], callback=lambda _: policy.write_bytes(capabilities.MAGIC + b"linked"))
    base.link([tmp_path / "a.cil"], True, policy)
    first, second = ([str(argument) for argument in call][3:] for call in fp.calls)
    assert first == second


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (1, b"line one\nline two\n", ["failed with exit status 1", "line one", "line two"]),
        (3, b"", ["failed with exit status 3"]),
        (-9, b"", ["was killed by signal 9"]),
        (1, b"\xff\xfe not UTF-8", ["not UTF-8"]),
    ],
)
def test_a_failure_is_told_with_the_programs_words_and_the_command(
    fp: FakeProcess, status: int, said: bytes, words: list[str]
) -> None:
    secilc = programs.find("secilc")
    fp.register([secilc, "-o", "a file"], returncode=status, stderr=said)
    with pytest.raises(programs.ProgramFailed) as caught:
        programs.run("secilc", "-o", "a file")
    assert caught.value.exit_status == 3
    assert caught.value.status == status
    told = "\n".join(caught.value.lines())
    for word in ["secilc", f"{secilc} -o 'a file'", *words]:
        assert word in told


def test_a_program_that_nobody_knows_is_missing_by_its_own_name() -> None:
    with pytest.raises(MachineError, match="no-such-program is not installed"):
        programs.run("no-such-program")


def test_a_worker_whose_start_is_interrupted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool has not noted it then."""
    start, begun = threading.Thread.start, threading.Event()
    done: list[int] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("worker-"):
            assert begun.wait(10)
            raise KeyboardInterrupt

    def work(item: int) -> None:
        begun.set()
        time.sleep(0.2)
        done.append(item)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        programs.side_by_side(work, [1])
    assert done == [1]


def test_items_are_done_side_by_side_and_kept_in_order() -> None:
    assert programs.side_by_side(lambda number: number * 2, range(100)) == list(range(0, 200, 2))
    if (os.cpu_count() or 1) > 1:
        both = threading.Barrier(2, timeout=10)
        programs.side_by_side(lambda _: both.wait(), range(2))


def test_of_several_that_fail_side_by_side_the_first_is_told() -> None:
    def fail(number: int) -> None:
        time.sleep(0.05 if number == 3 else 0)
        if number >= 3:
            raise ValueError(number)

    with pytest.raises(ValueError, match=r"^3$"):
        programs.side_by_side(fail, range(10))


# -- watching


def test_a_watched_program_is_ended_when_enough_was_seen_and_nothing_of_it_stays() -> None:
    started = time.monotonic()
    seen: list[bytes] = []

    def enough(line: bytes) -> bool:
        seen.append(line)
        return line == b"enough\n"

    programs.watch("sh", "-c", "sleep 301 & echo $!; echo enough; sleep 302", on_line=enough, timeout=60)
    assert time.monotonic() - started < 20
    assert seen[1:] == [b"enough\n"]
    assert_gone(int(seen[0]))


def test_of_what_a_watched_program_tells_as_an_error_nothing_is_lost() -> None:
    """Not even of one that does not wait until it is read, as the console of User Mode Linux does not."""
    tell = "import os; os.set_blocking(2, False); [os.write(2, b'%07d\\n' % n) for n in range(100_000)]; print()"
    done = programs.watch(sys.executable, "-c", tell, on_line=lambda _: True)
    assert done.stderr.split() == [b"%07d" % number for number in range(100_000)]


def test_a_watched_program_that_says_nothing_is_ended_in_time() -> None:
    with pytest.raises(programs.ProgramFailed, match=r"did not finish within 0\.3 seconds"):
        programs.watch("sh", "-c", "sleep 303", on_line=lambda _: True, timeout=0.3)


def test_a_watched_program_is_ended_when_the_watcher_fails() -> None:
    seen: list[bytes] = []

    def fail(line: bytes) -> bool:
        seen.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        programs.watch("sh", "-c", "sleep 304 & echo $!; wait", on_line=fail, timeout=60)
    assert_gone(int(seen[0]))


def assert_gone(process: int) -> None:
    """Assert that a process ended, or ends at once (its new parent may take a moment to collect it)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
        if state.stdout.strip()[:1] in ("", "Z"):
            return
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    raise AssertionError(f"process {process} is still there: {state.stdout}")
