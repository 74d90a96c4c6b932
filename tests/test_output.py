"""The result appears whole or not at all: output folders, full disks, Ctrl-C and kill at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import (
    LABELGEN,
    NONET,
    Place,
    as_another_user,
    fake_program,
    public_place,
    shared_cache,
    small_disk,
    tree,
)

from labelgen import base, output, programs
from labelgen.shipped import packaged

REFERENCE = Path(base.__file__).parent / "reference"
OTHER = NONET.replace("A role of the tests.", "Another summary.")


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    place.role(NONET)
    return place


def manifest(output: Path) -> Any:
    return json.loads((output / "manifest.json").read_bytes())


def assert_whole(output: Path) -> None:
    """Assert that a build has every file that its manifest lists, to the byte, and no other."""
    files = {str(path.relative_to(output)): path for path in output.rglob("*") if not path.is_dir()}
    listed = manifest(output)["files"]
    assert set(files) == {*listed, "manifest.json"}
    assert {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in listed} == listed


def summaries(output: Path) -> list[str]:
    """The summaries in a build: they tell one build from the next."""
    return [role["summary"] for role in json.loads((output / "verdict.json").read_bytes())["roles"]]


# -- where it goes


def test_a_build_is_whole_and_a_second_takes_its_place(place: Place) -> None:
    place.build().held()
    assert_whole(place.output)
    place.role(OTHER)
    place.build().held()
    assert_whole(place.output)
    assert summaries(place.output) == ["Another summary."]
    assert sorted(path.name for path in place.folder.iterdir()) == ["build", "roles"]


def test_what_is_no_longer_built_is_gone(place: Place) -> None:
    place.role(NONET.replace("web", "dns"), "dns.yaml")
    place.build().held()
    (place.roles / "dns.yaml").unlink()
    place.build().held()
    assert not (place.output / "lxc_dns").exists()
    assert_whole(place.output)


def test_the_same_inputs_give_the_same_build_wherever_they_lie(tmp_path: Path, tmp_path_factory: Any) -> None:
    builds = []
    for number, spec in enumerate(["{folder}/base", "base", "../other/base", "base/."]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (tmp_path / "other").mkdir(exist_ok=True)
        place = Place(folder, shared_cache(tmp_path_factory))
        place.role(NONET)
        shutil.copytree(REFERENCE, folder / "base", ignore=shutil.ignore_patterns("*.md", "*.py", "__pycache__"))
        if not (tmp_path / "other" / "base").exists():
            shutil.copytree(folder / "base", tmp_path / "other" / "base")
        place.build(base=spec.format(folder=folder)).held()
        builds.append(tree(place.output))
    assert all(build == builds[0] for build in builds)
    assert str(tmp_path) not in str(builds[0])


def test_the_manifest_lists_the_templates_that_made_the_build_and_no_other(place: Place) -> None:
    templates = place.folder / "templates"
    shutil.copytree(packaged("templates"), templates)
    place.build("--templates", "templates").held()
    before = tree(place.output)
    assert "role.te.j2" in manifest(place.output)["templates"]
    (templates / "lxc-policy.spec.j2").write_text("another way to pack")
    (templates / "unused.te.j2").write_text("nobody includes this")
    place.build("--templates", "templates").held()
    assert tree(place.output) == before


def test_an_empty_folder_is_taken(place: Place) -> None:
    place.output.mkdir()
    place.build().held()
    assert_whole(place.output)


def test_the_output_can_be_read_by_others(place: Place) -> None:
    place.build().held()
    assert place.output.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["file", "link to a folder", "dangling link", "pipe"])
def test_an_output_that_is_no_folder_is_refused(place: Place, kind: str) -> None:
    (place.folder / "elsewhere").mkdir()
    if kind == "file":
        place.output.write_text("mine")
    elif kind == "pipe":
        os.mkfifo(place.output)
    else:
        place.output.symlink_to("elsewhere" if kind == "link to a folder" else "nowhere")
    place.build().refused("build: ", "--output")


@pytest.mark.parametrize(
    "theirs",
    [
        {"index.html": "mine"},
        {"manifest.json": "{}", "index.html": "mine"},
        {"manifest.json": '{"main.js": {"file": "assets/main.js"}}', "assets": "mine"},
        {"manifest.json": '{"name": "a web application", "version": "1.0"}'},
        {"manifest.json": "[]"},
        {"manifest.json": "not JSON"},
        {".git": "mine"},
    ],
)
def test_a_folder_that_holds_somebody_elses_files_is_refused(place: Place, theirs: dict[str, str]) -> None:
    place.output.mkdir()
    for name, text in theirs.items():
        (place.output / name).write_text(text)
    place.build().refused("build: ", "labelgen", "--output")


@pytest.mark.parametrize("name", ["notes.txt", "lxc_web/notes.txt", "mine/notes.txt"])
def test_a_file_that_somebody_put_into_a_build_is_not_lost(place: Place, name: str) -> None:
    place.build().held()
    path = place.output / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    place.build().refused(name, "--output")


@pytest.mark.parametrize("output", [".", "..", "/", "", "roles"])
def test_a_folder_in_use_is_refused(place: Place, output: str) -> None:
    place.build("--output", output).refused("--output")


@pytest.mark.parametrize("output", ["no/such/folder", "roles/web.yaml/build", "a" * 300])
def test_an_output_that_cannot_be_is_refused(place: Place, output: str) -> None:
    place.build("--output", output).refused(f"{output}: ")


def test_an_output_folder_that_may_not_be_written_is_refused() -> None:
    prefix = as_another_user()
    with public_place() as place:
        place.role(NONET)
        place.folder.chmod(0o755)
        place.run("build", "--base", "reference", prefix=prefix).refused("cannot be written", "--output")
        place.output.mkdir()
        place.run("build", "--base", "reference", prefix=prefix).refused("cannot be written", "--output")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a build of another user's, and only root can make one")
def test_the_build_of_another_user_is_refused_and_kept() -> None:
    prefix = as_another_user()
    with public_place() as place:
        place.role(NONET)
        place.build().held()
        place.cache = place.cache.parent / "another"
        place.cache.mkdir()
        place.cache.chmod(0o777)
        place.run("build", "--base", "reference", prefix=prefix).refused("build: ")
        assert_whole(place.output)


def test_a_cache_that_cannot_be_written_is_told_with_the_cure(place: Place) -> None:
    place.cache = place.role(NONET)
    place.build().refused("cache", "XDG_CACHE_HOME", status=3)


# -- builds that fail


@pytest.mark.parametrize("content", ["name: [", NONET.replace("none", "{bind: {tcp: [nosuch_port_t]}}")])
def test_a_build_that_is_refused_leaves_the_previous_one(place: Place, content: str) -> None:
    place.build().held()
    place.role(content)
    assert place.build().status == 2
    place.role(NONET)
    before = tree(place.output)
    place.role(content)
    place.build().refused("roles/web.yaml")
    assert tree(place.output) == before
    assert_whole(place.output)


def test_a_build_whose_claim_fails_leaves_the_previous_one_and_says_so(place: Place) -> None:
    templates = place.folder / "templates"
    shutil.copytree(packaged("templates"), templates)
    text = (templates / "role.te.j2").read_text()
    place.build().held()
    # A role that may not have what every role has: the claim `complete` cannot hold.
    (templates / "role.te.j2").write_text(
        text.replace("module.attributes |", 'module.attributes | reject("eq", "lxc_domain") |')
    )
    outcome = place.build("--templates", "templates")
    assert outcome.status == 1, outcome.stderr
    assert "FAILS" in outcome.stdout
    assert "nothing was put in build/" in outcome.stderr
    outcome.changed_nothing()
    assert_whole(place.output)


def test_verify_and_can_and_show_change_nothing(place: Place) -> None:
    place.build().held()
    for arguments in (
        ["verify", "--base", "reference"],
        ["can", "web", "create", "unix_stream"],
        ["show", "web"],
        ["show", "lxc_base", "--base", "reference"],
    ):
        outcome = place.call(*arguments)
        outcome.held()
        outcome.changed_nothing()


# -- full disks


def fill(disk: Path, kilobytes_left: int) -> None:
    """Fill a disk up to so many kilobytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(b"\0" * (free - kilobytes_left * 1024))


@pytest.mark.parametrize("left", [0, 8, 32, 64, 96])
def test_a_full_disk_is_told_and_the_previous_build_stays(place: Place, left: int) -> None:
    (place.folder / "disk").mkdir()
    with small_disk(place.folder / "disk", 1024) as disk:
        place.build("--output", disk / "build").held()
        fill(disk, left)
        before = tree(disk)
        place.role(OTHER)
        place.build("--output", disk / "build").refused("disk", "full", status=3)
        assert tree(disk) == before
        assert_whole(disk / "build")


@pytest.mark.parametrize("size", [16, 200, 400])
def test_a_full_disk_of_the_cache_is_told_and_nothing_half_made_stays(place: Place, size: int) -> None:
    (place.folder / "disk").mkdir()
    with small_disk(place.folder / "disk", size) as disk:
        place.cache = disk
        place.build().refused("cache", "full", "XDG_CACHE_HOME", status=3)
        assert all((made / "done").is_file() for made in (disk / "labelgen").iterdir())


@pytest.mark.parametrize("size", [16, 100])
def test_a_full_disk_of_temporary_files_is_told(place: Place, size: int) -> None:
    place.build("--output", "first").held()
    (place.folder / "disk").mkdir()
    with small_disk(place.folder / "disk", size) as disk:
        outcome = place.run("build", "--base", "reference", env={"TMPDIR": str(disk)})
        if outcome.status:
            outcome.refused("disk", "full", status=3)
        assert list(disk.iterdir()) == []


def test_a_full_disk_leaves_no_empty_role_file(place: Place) -> None:
    (place.folder / "disk").mkdir()
    with small_disk(place.folder / "disk", 64) as disk:
        fill(disk, 0)
        before = tree(disk)
        place.call("init", "shop", "--roles", disk).refused("disk", "full", status=3)
        assert tree(disk) == before


def test_a_full_standard_output_is_told_and_the_build_is_whole(place: Place) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [LABELGEN, "build", "--base", "reference"],
            cwd=place.folder,
            env=place.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
    assert_whole(place.output)


# -- signals


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workplace with the four shipped roles, built."""
    place = Place(tmp_path_factory.mktemp("busy"), shared_cache(tmp_path_factory))
    for path in packaged("roles").glob("*.yaml"):
        shutil.copy(path, place.roles)
    place.role(NONET)
    place.build().held()
    return place


# Read by Python before anything of ours: a signal to itself (and to its programs, as a terminal sends Ctrl-C) at the
# so-manieth thing that the build does, of those that Python tells: what it imports, opens, makes, starts and renames.
# Counted from when labelgen has seen to its signals; what Python does before is Python's own.
INTERRUPTED_AT = """
import itertools, os, signal, sys

kinds = ("import", "open", "os.", "shutil.", "tempfile.", "subprocess.", "ctypes.")
moment, number, counted = (int(os.environ[f"LABELGEN_TEST_{name}"]) for name in ("MOMENT", "SIGNAL", "COUNTED"))
begun = False
numbers = itertools.count(1)  # each number is given out once, whatever thread asks: there is one signal and no second

def hook(event, arguments):
    global begun
    begun = begun or (event == "import" and arguments[0] == "labelgen.cli")
    if event.startswith(kinds) and begun:
        number_now = next(numbers)
        if counted:
            os.write(counted, b".")
        elif number_now == moment:
            (os.killpg if number in (signal.SIGINT, signal.SIGKILL) else os.kill)(os.getpid(), number)

sys.addaudithook(hook)
"""
# LABELGEN_TEST_MOMENTS=20 tries twenty times as many.
MORE_MOMENTS = int(os.environ.get("LABELGEN_TEST_MOMENTS", "1"))


def build_with_hook(place: Place, folder: Path, moment: int, number: int, counted: int = 0) -> tuple[int, str]:
    """A build in a session of its own that gets a signal at a moment; status and stderr."""
    hook, temporary = folder / "hook", folder / "temporary"
    for made in (hook, temporary):
        made.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(INTERRUPTED_AT)
    extra = {"LABELGEN_TEST_MOMENT": moment, "LABELGEN_TEST_SIGNAL": int(number), "LABELGEN_TEST_COUNTED": counted}
    settings = {**{name: str(value) for name, value in extra.items()}, "PYTHONPATH": str(hook)}
    done = subprocess.run(
        [LABELGEN, "build", "--base", "reference"],
        cwd=place.folder,
        env=place.environment({**settings, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        start_new_session=True,
        pass_fds=[counted] if counted else [],
    )
    return done.returncode, done.stderr


def moments(place: Place, folder: Path, number: int) -> Iterator[int]:
    """So many moments of a build, from its first to its last, evenly."""
    with tempfile.TemporaryFile() as count:
        assert build_with_hook(place, folder, 0, 0, count.fileno()) == (0, "")
        last = count.seek(0, os.SEEK_END)
    assert last > 500
    number *= MORE_MOMENTS
    return (1 + last * step // number for step in range(number))


def leftovers(place: Place) -> list[str]:
    """What is in the workplace besides its roles and its build."""
    return sorted(path.name for path in place.folder.iterdir() if path.name not in ("build", "roles"))


def temporary_files(folder: Path) -> list[str]:
    """What is left of temporary files, less the four bytes with which Python's tempfile tries whether it may write."""
    return sorted(
        path.name for path in folder.iterdir() if not (path.is_file() and path.read_bytes() in (b"", b"blat"))
    )


@pytest.mark.parametrize(
    ("number", "status", "times"), [(signal.SIGINT, 130, 12), (signal.SIGTERM, 143, 6), (signal.SIGHUP, 129, 4)]
)
def test_ctrl_c_and_polite_signals_at_any_moment_leave_a_whole_build_and_nothing_else(
    busy: Place, tmp_path: Path, number: signal.Signals, status: int, times: int
) -> None:
    seen = set()
    for moment in moments(busy, tmp_path, times):
        before = manifest(busy.output)
        busy.role(NONET.replace("A role of the tests.", f"{number.name} {moment}."))
        got, err = build_with_hook(busy, tmp_path, moment, number)
        changed = manifest(busy.output) != before
        told = f"{number.name} at {moment}: status {got}, {changed=}, {err!r}"
        seen.add(got)
        assert "Traceback" not in err, told
        # While the command line is imported Python is ended by the signal itself; a shell says 128+n then too.
        assert got in (status, -number, 0), told
        assert_whole(busy.output)
        assert got != 130 or err.strip() == "interrupted", told
        assert got != 0 or changed, told
        assert leftovers(busy) == [], told
        assert temporary_files(tmp_path / "temporary") == [], told
    assert status in seen, f"no moment was inside the build: {seen}"


def test_nothing_is_imported_before_ctrl_c_ends_the_command_quietly() -> None:
    """Python itself would tell of it with a traceback, in the middle of whatever is imported then."""
    watch = (
        "import signal, sys\n"
        "class Watch:\n"
        "    def find_spec(name, *_):\n"
        "        if signal.getsignal(signal.SIGINT) is signal.default_int_handler: print(name)\n"
        "for name in ('typing', 'contextlib', 'labelgen'): sys.modules.pop(name, None)\n"
        "sys.meta_path.insert(0, Watch)\n"
        "import labelgen.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["labelgen", "labelgen.__main__"]


def test_kill_at_any_moment_leaves_a_whole_build_and_what_the_next_one_clears_away(busy: Place, tmp_path: Path) -> None:
    seen = set()
    for moment in moments(busy, tmp_path, 12):
        before = manifest(busy.output)
        busy.role(NONET.replace("A role of the tests.", f"kill {moment}."))
        got, _ = build_with_hook(busy, tmp_path, moment, signal.SIGKILL)
        seen.add(got)
        assert_whole(busy.output)
        assert got != 0 or manifest(busy.output) != before
    assert -signal.SIGKILL in seen
    busy.run("build", "--base", "reference", env={"TMPDIR": str(tmp_path / "temporary")}).held()
    assert_whole(busy.output)
    assert leftovers(busy) == []
    assert temporary_files(tmp_path / "temporary") == []


def test_kill_while_the_base_is_read_leaves_no_half_made_cache(place: Place, tmp_path: Path) -> None:
    place.cache = tmp_path / "cache"
    seen = set()
    for moment in moments(place, tmp_path, 6):
        shutil.rmtree(place.cache, ignore_errors=True)
        got, _ = build_with_hook(place, tmp_path, moment, signal.SIGKILL)
        seen.add(got)
        for made in place.cache.glob("labelgen/[!.]*"):
            assert (made / "done").is_file() or made.name == "templates"
    assert seen == {-signal.SIGKILL}
    place.run("build", "--base", "reference").held()
    assert_whole(place.output)
    assert list((place.cache / "labelgen").rglob(".*")) == []


def test_two_builds_at_once_leave_one_whole_build_and_one_cache(place: Place, tmp_path: Path) -> None:
    place.cache = tmp_path / "cache"
    commands = [
        subprocess.Popen(
            [LABELGEN, "build", "--base", "reference"],
            cwd=place.folder,
            env=place.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for command in commands:
        _, err = command.communicate(timeout=60)
        assert (command.returncode, err) == (0, "")
    assert_whole(place.output)
    assert sorted(path.name for path in place.folder.iterdir() if path.name != "cache") == ["build", "roles"]
    assert list((place.cache / "labelgen").glob(".*")) == []


def test_a_build_that_is_under_way_is_not_cleared_away_by_another(place: Place) -> None:
    place.build().held()
    waits = 'cd "${0%/*}"; touch started; until [ -e go ]; do sleep 0.05; done; cd "$OLDPWD"'
    programs_of_first = fake_program(place.folder / "bin", "secilc", f'{waits}; exec {programs.find("secilc")} "$@"')
    with subprocess.Popen(
        [LABELGEN, "build", "--base", "reference"],
        cwd=place.folder,
        env=place.environment({"PATH": f"{programs_of_first}:{os.environ['PATH']}"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        while not (programs_of_first / "started").exists():
            assert first.poll() is None
            time.sleep(0.01)
        under_way = leftovers(place)
        assert len(under_way) == 2
        place.build().held()
        assert leftovers(place) == under_way
        (programs_of_first / "go").touch()
        _, err = first.communicate(timeout=60)
    assert (first.returncode, err) == (0, "")
    assert_whole(place.output)
    assert leftovers(place) == ["bin"]


def test_a_hidden_folder_that_is_not_ours_is_not_cleared_away(place: Place) -> None:
    theirs = [
        place.folder / name
        for name in (".build-cache", ".builder", ".build", ".build-notes-of-mine", ".build-12345678")
    ]
    for folder in theirs:
        folder.mkdir()
        (folder / "mine").write_text("mine")
    place.build().held()
    assert all((folder / "mine").read_text() == "mine" for folder in theirs)


def test_a_name_full_of_signs_is_a_name(place: Place) -> None:
    """Nothing that looks for leftovers takes the name of the output for a pattern."""
    (place.folder / ".mine-precious").mkdir()
    for name in ("*", "[a-z]", "-x", "a b $(id) %s"):
        place.build(f"--output={name}").held()
        assert_whole(place.folder / name)
    assert (place.folder / ".mine-precious").is_dir()


@pytest.mark.parametrize(
    "data",
    [
        {"name": "é\n", "roles": [{"a": [1, {"b": None}]}, "x"], "files": {"p": "q", "r": []}, "none": [], "nil": {}},
        {"one": True},
    ],
)
def test_what_is_written_is_what_json_reads(tmp_path: Path, data: dict[str, object]) -> None:
    output.write_json(tmp_path / "data.json", data)
    text = (tmp_path / "data.json").read_text(encoding="utf-8")
    assert json.loads(text) == data
    assert list(json.loads(text)) == list(data)
    assert text.endswith("}\n")


def test_what_is_in_a_list_has_a_line_each(tmp_path: Path) -> None:
    output.write_json(tmp_path / "data.json", {"roles": [{"a": 1}, {"a": 2}], "files": {"p": "q"}})
    lines = (tmp_path / "data.json").read_text().splitlines()
    assert lines == ["{", ' "roles": [', '  {"a": 1},', '  {"a": 2}', " ],", ' "files": {', '  "p": "q"', " }", "}"]
