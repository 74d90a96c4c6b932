"""The command line: what it takes, what it prints for people and programs, and its exit status."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commandline import LABELGEN, NONET, Place, binds, fake_program, shared_cache, tree

from labelgen import __version__, base, cli, programs

REFERENCE = Path(base.__file__).parent / "reference"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    place.role(NONET)
    return place


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workplace with a role `web` that binds tcp/80 and one without a network, built; tests leave it as it is."""
    place = Place(tmp_path_factory.mktemp("built"), shared_cache(tmp_path_factory))
    place.role(binds("80"))
    place.role(NONET.replace("web", "none"), "none.yaml")
    place.build().held()
    return place


def test_a_build_is_asked_from_a_folder_without_its_role_files(
    built: Place, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The roles that come with labelgen are not those of the build, though one has the same name."""
    elsewhere = Place(tmp_path, shared_cache(tmp_path_factory))
    elsewhere.roles.rmdir()
    elsewhere.call("can", "web", "bind", "tcp/80", "--build", built.output).held()


@pytest.fixture
def damaged(built: Place, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A copy of the built workplace, to be damaged."""
    place = Place(tmp_path, shared_cache(tmp_path_factory))
    for name, (_, content) in tree(built.folder).items():
        path = place.folder / name
        path.mkdir(exist_ok=True) if content is None else path.write_bytes(content)  # type: ignore[arg-type]
    return place


# -- help and mistakes


def test_without_a_command_the_commands_are_listed(place: Place) -> None:
    outcome = place.run()
    for name, words in cli.COMMANDS.items():
        assert f"  {name} " in outcome.stdout + outcome.stderr
        assert words.split()[0] in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_the_exit_status(place: Place, option: str) -> None:
    outcome = place.run(option)
    outcome.held()
    assert "Exit status: 0 holds or yes, 1 a claim fails or the answer is no, 2 the" in outcome.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(place: Place, command: str) -> None:
    outcome = place.call(command, "--help")
    outcome.held()
    assert f" {command} " in outcome.stdout.splitlines()[0]
    assert len(outcome.stdout.splitlines()) > 5


def test_help_names_the_program_as_it_is_called(place: Place) -> None:
    assert place.run("build", "--help").stdout.startswith("Usage: labelgen build ")


def test_the_version_is_told(place: Place) -> None:
    outcome = place.run("--version")
    outcome.held()
    assert outcome.stdout == f"labelgen, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bild"], "did you mean 'build'?"),
        (["zzz"], "there is no command 'zzz'"),
        (["build", "--bse", "reference"], "--base"),
        (["build", "--base"], "--base"),
        (["can", "web", "bind"], "Missing argument"),
        (["can", "web", "listen", "tcp/80"], "'listen'"),
        (["verify", "--policy", "a", "--base", "b"], "exclude each other"),
        (["verify", "--policy", "a", "--build", "b"], "exclude each other"),
        (["schema", "extra"], "extra"),
        (["init"], "Missing argument"),
    ],
)
def test_a_mistyped_command_line_is_told(place: Place, arguments: list[str], words: str) -> None:
    outcome = place.call(*arguments)
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    outcome.changed_nothing()


def test_what_is_printed_into_a_pipe_has_no_colours(built: Place) -> None:
    for arguments in (["verify", "--base", "reference"], ["can", "web", "bind", "tcp/80"], ["show", "web"], ["--help"]):
        assert "\x1b" not in built.run(*arguments).stdout
    assert "\x1b" not in built.run("build", "nobody").stderr


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_colours_are_for_terminals_without_no_color(built: Place, no_colour: str) -> None:
    for arguments in (["can", "web", "bind", "tcp/22"], ["build", "nobody"], ["frobnicate"]):
        leader, follower = pty.openpty()
        command = [str(LABELGEN), *arguments]
        environment = built.environment({"NO_COLOR": no_colour, "TERM": "xterm"})
        subprocess.run(command, cwd=built.folder, env=environment, stdout=follower, stderr=follower, check=False)
        os.close(follower)
        shown = os.read(leader, 65536).decode()
        os.close(leader)
        assert shown
        assert ("\x1b" in shown) == (not no_colour and arguments != ["frobnicate"]), shown


# -- roles by default


def test_without_a_folder_of_roles_those_that_come_with_labelgen_are_built_and_that_is_told(place: Place) -> None:
    """In the wrong folder a build would be of other roles than are meant, and succeed."""
    (place.roles / "web.yaml").unlink()
    place.roles.rmdir()
    outcome = place.build()
    assert outcome.status == 0
    assert outcome.stderr == "roles: those that come with labelgen, as there is no roles/ here\n"
    names = sorted(path.name for path in place.output.iterdir() if path.is_dir())
    assert names == ["lxc_base", "lxc_dns", "lxc_ftp", "lxc_nonet", "lxc_web"]


def test_only_the_roles_that_were_named_are_built_and_what_is_left_out_is_told(place: Place) -> None:
    place.role(NONET.replace("web", "other"), "other.yaml")
    place.build().held()
    outcome = place.build("other")
    outcome.held()
    assert sorted(path.name for path in place.output.iterdir() if path.is_dir()) == ["lxc_base", "lxc_other"]
    assert "the other role is not in it" in outcome.stdout
    assert "not in it" not in place.build("other", "web").stdout
    assert "not in it" not in place.build().stdout
    place.role(NONET.replace("web", "third"), "third.yaml")
    assert "the other 2 roles are not in it" in place.build("web").stdout


# -- answers


@pytest.mark.parametrize(
    ("question", "status"),
    [
        (["web", "bind", "tcp/80"], 0),
        (["web", "bind", "tcp/81"], 0),  # a neighbour: http_port_t has both
        (["web", "bind", "tcp/22"], 1),
        (["web", "bind", "udp/80"], 1),
        (["web", "connect", "tcp/80"], 1),
        (["web", "send", "udp/53"], 1),
        (["web", "create", "tcp"], 0),
        (["web", "create", "unix_stream_socket"], 0),
        (["none", "bind", "tcp/80"], 1),
        (["none", "create", "netlink_route"], 1),
        (["none", "create", "unix_stream"], 0),
    ],
)
def test_a_question_is_answered_by_words_and_status(built: Place, question: list[str], status: int) -> None:
    outcome = built.call("can", *question)
    assert outcome.status == status, outcome.stderr
    assert outcome.stdout.startswith("no: " if status else "yes: ")
    assert outcome.stderr == ""
    outcome.changed_nothing()


@pytest.mark.parametrize(
    "what",
    ["80", "tcp", "tcp/", "/80", "tcp/0", "tcp/65536", "tcp/-1", "tcp/eighty", "tpc/80", "tcp/80/1", "", "tcp/80\n"],
)
def test_what_is_no_port_is_no_question(built: Place, what: str) -> None:
    built.call("can", "web", "bind", what).refused("tcp/80")


def test_a_class_that_the_base_does_not_know_is_no_question(built: Place) -> None:
    outcome = built.call("can", "web", "create", "tpc")
    outcome.refused("tpc_socket", "tcp")


@pytest.mark.parametrize("name", ["nobody", "", "../web", "web\n", "lxc_web"])
def test_a_role_that_was_not_built_is_no_question(built: Place, name: str) -> None:
    built.call("can", name, "bind", "tcp/80").refused("it has", "web")
    built.call("show", name).refused("it has", "web")


def test_an_answer_without_a_build_is_refused_with_what_to_do(place: Place) -> None:
    place.call("can", "web", "bind", "tcp/80").refused("build: ", "labelgen build")
    place.call("show", "web").refused("build: ", "labelgen build")
    place.call("can", "web", "bind", "tcp/80", "--build", "roles/web.yaml").refused("labelgen build")


def test_an_answer_from_before_the_role_file_changed_is_refused(damaged: Place) -> None:
    damaged.role(binds("80, 22"))
    damaged.call("can", "web", "bind", "tcp/22").refused("roles/web.yaml: ", "changed", "run `labelgen build`")
    assert damaged.call("can", "none", "bind", "tcp/22").status == 1


def test_what_a_build_says_of_a_role_file_that_changed_is_said_to_be_of_the_old_one(damaged: Place) -> None:
    """What was built is still there to be seen, and may be what is installed."""
    told = (
        "note: roles/web.yaml: the role file was changed after the build, and this is of that; run `labelgen build`\n"
    )
    assert damaged.call("show", "web").stderr == ""
    elsewhere = damaged.folder / "elsewhere"
    shutil.copytree(damaged.roles, elsewhere)
    damaged.role(binds("80, 22"))
    shown = damaged.call("show", "--json", "web")
    assert (shown.status, shown.stderr) == (0, told)
    assert json.loads(shown.stdout)["role"] == "web"
    assert damaged.call("show", "none").stderr == ""
    assert damaged.call("show", "web", "--roles", elsewhere).stderr == ""


@pytest.mark.parametrize("name", ["manifest.json", "reach.json", "verdict.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", '"x"', '{"roles": 1, "files": 2}', '{"roles": {}}', "\udcff"]
)
def test_a_damaged_build_answers_nothing_and_brings_no_traceback(damaged: Place, name: str, content: str) -> None:
    (damaged.output / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    damaged.call("can", "web", "bind", "tcp/80").refused("build")
    if name == "verdict.json":
        damaged.call("show", "web").refused("build")


@pytest.mark.parametrize("name", ["reach.json", "verdict.json", "lxc_web"])
def test_a_build_with_a_part_missing_answers_nothing(damaged: Place, name: str) -> None:
    path = damaged.output / name
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        assert damaged.call("can", "web", "bind", "tcp/80").status == 0
    else:
        path.unlink()
        damaged.call("can", "web", "bind", "tcp/80").refused("build")


def test_an_answer_that_was_tampered_with_is_refused(damaged: Place) -> None:
    reach, verdict = (damaged.output / name for name in ("reach.json", "verdict.json"))
    reach.write_text(reach.read_text().replace("name_bind", "name_connect"))
    damaged.call("can", "web", "bind", "tcp/80").refused("reach.json: ", "changed")
    verdict.write_text(verdict.read_text().replace("A role of the tests.", "Somebody's."))
    damaged.call("show", "web").refused("verdict.json: ", "changed")


# -- verify


def test_verify_says_what_build_says_and_leaves_nothing(place: Place) -> None:
    verified = place.call("verify", "--base", "reference")
    verified.held()
    verified.changed_nothing()
    assert place.build().stdout.startswith(verified.stdout.rstrip("\n"))


@pytest.mark.parametrize("policy", ["nowhere", "empty", "rubbish", "roles", "truncated", "without"])
def test_a_policy_that_cannot_be_verified_is_refused(place: Place, policy: str) -> None:
    whole = place.folder / "without"
    base.link(sorted(REFERENCE.glob("*.cil")), True, whole)
    (place.folder / "empty").touch()
    (place.folder / "rubbish").write_bytes(b"rubbish" * 100)
    (place.folder / "truncated").write_bytes(whole.read_bytes()[:5000])
    words = {"without": "lxc_web_t"}.get(policy, policy)
    place.call("verify", "--policy", policy).refused(f"{policy}", words)


def test_roles_are_verified_in_a_policy_that_has_them(built: Place, tmp_path: Path) -> None:
    cil = sorted(REFERENCE.glob("*.cil")) + sorted(built.output.rglob("*.cil"))
    base.link(cil, True, tmp_path / "policy.33")
    built.call("verify", "--policy", tmp_path / "policy.33").held()
    without = [path for path in cil if path.name != "lxc_none.cil"]
    base.link(without, True, tmp_path / "policy.33")
    built.call("verify", "--policy", tmp_path / "policy.33").refused("lxc_none_t")
    built.call("verify", "--policy", tmp_path / "policy.33", "web").held()


# -- for programs


def parsed(text: str) -> Any:
    """JSON, in which nothing is said twice and there is no NaN."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["can", "web", "bind", "tcp/80"], 0),
        (["can", "web", "bind", "tcp/22"], 1),
        (["can", "none", "create", "tcp"], 1),
        (["show", "web"], 0),
        (["show", "lxc_base", "--base", "reference"], 0),
        (["verify", "--base", "reference"], 0),
        (["verify", "--base", "reference", "none"], 0),
    ],
)
def test_json_is_all_that_is_printed(built: Place, arguments: list[str], status: int) -> None:
    outcome = built.call(*arguments, "--json")
    assert outcome.status == status
    assert outcome.stderr == ""
    assert parsed(outcome.stdout)
    outcome.changed_nothing()


def test_build_prints_its_verdict_as_json_too(place: Place) -> None:
    outcome = place.build("--json")
    outcome.held()
    verdict = parsed(outcome.stdout)
    assert [(role["role"], role["domain"]) for role in verdict["roles"]] == [("web", "lxc_web_t")]
    kept = parsed((place.output / "verdict.json").read_text(encoding="utf-8"))
    assert kept["roles"] == verdict["roles"]
    for name in ("manifest.json", "reach.json"):
        assert parsed((place.output / name).read_text(encoding="utf-8"))


def test_json_agrees_with_the_words(built: Place) -> None:
    answers = {}
    for port in ("tcp/80", "tcp/22"):
        words = built.call("can", "web", "bind", port)
        answers[port] = parsed(built.call("can", "web", "bind", port, "--json").stdout)
        assert words.stdout.startswith("yes" if answers[port]["answer"] else "no")
    assert (answers["tcp/80"]["answer"], answers["tcp/22"]["answer"]) == (True, False)


def test_an_error_is_told_in_words_even_where_json_was_asked_for(place: Place) -> None:
    place.role("name: [")
    place.build("--json").refused("roles/web.yaml:")


def test_the_schema_is_json(place: Place) -> None:
    assert parsed(place.run("schema").stdout)["title"] == "labelgen role file"


# -- pipes


def shell(place: Place, script: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in the workplace, where $L is the command."""
    environment = place.environment({"L": str(LABELGEN)})
    return subprocess.run(
        ["bash", "-c", script], cwd=place.folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["verify --base reference", "show web", "show lxc_base --base reference", "schema"])
@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_reader_that_has_seen_enough_is_no_error(built: Place, command: str, reader: str) -> None:
    done = shell(built, f'"$L" {command} | {reader} >/dev/null; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_streams_are_no_error(place: Place, closed: str) -> None:
    done = shell(place, f'"$L" build --base reference {closed}')
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.output / "manifest.json").is_file()


def test_an_error_behind_a_closed_stream_keeps_its_status(place: Place) -> None:
    place.role("name: [")
    assert shell(place, '"$L" build --base reference 2>&-').returncode == 2


@pytest.mark.parametrize(("port", "status"), [("tcp/80", 0), ("tcp/22", 1)])
def test_an_answer_keeps_its_status_when_nobody_reads_it(built: Place, port: str, status: int) -> None:
    done = shell(built, f'"$L" can web bind {port} | true; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (status, "")
    assert shell(built, f'"$L" can web bind {port} >&-').returncode == status


def test_an_error_that_cannot_be_told_keeps_its_status(place: Place) -> None:
    for nowhere in ("2>/dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}", ">/dev/full 2>/dev/full"):
        done = shell(place, f'"$L" build --base nowhere {nowhere}')
        assert (done.returncode, done.stdout, done.stderr) == (2, "", ""), nowhere


def test_a_full_standard_output_is_named(built: Place) -> None:
    done = shell(built, '"$L" show web >/dev/full')
    assert (done.returncode, done.stderr) == (3, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_a_signal_that_is_ignored_stays_so(place: Place, name: str) -> None:
    """As nohup and the background jobs of scripts have it."""
    waits = 'cd "${0%/*}"; touch started; until [ -e go ]; do sleep 0.05; done; cd "$OLDPWD"'
    fake = fake_program(place.folder / "bin", "secilc", f'{waits}; exec {programs.find("secilc")} "$@"')
    done = shell(
        place,
        f"""trap '' {name}; PATH="{fake}:$PATH" "$L" build --base reference >/dev/null & job=$!
        until [ -e bin/started ]; do sleep 0.05; done
        kill -{name} $job; touch bin/go; wait $job""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.output / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["yaml", "yaml.nodes", "labelgen.nodes"])
def test_a_module_of_python_that_is_missing_is_named_and_one_of_labelgens_is_a_fault(place: Place, name: str) -> None:
    """As after an update of the distribution, under an environment made before it."""
    (place.folder / "modules").mkdir()
    (place.folder / "modules" / "sitecustomize.py").write_text(
        "import sys, labelgen.role\n"
        f"def fault(): raise ModuleNotFoundError('No module', name={name!r})\nlabelgen.role.json_schema = fault\n"
    )
    outcome = place.run("schema", env={"PYTHONPATH": str(place.folder / "modules"), "PYTHONDONTWRITEBYTECODE": "1"})
    if name.startswith("labelgen"):
        assert (outcome.status, "a fault of labelgen itself" in outcome.stderr) == (3, True)
    else:
        outcome.refused(f"the Python module {name} is missing", "make build", status=3)


def test_a_fault_of_labelgen_itself_is_no_answer(place: Place) -> None:
    """Python ends with 1 after a traceback, which would mean that a claim fails."""
    (place.folder / "modules").mkdir()
    (place.folder / "modules" / "sitecustomize.py").write_text(
        "import sys, labelgen.role\ndef fault(): raise KeyError('a fault')\nlabelgen.role.json_schema = fault\n"
    )
    outcome = place.run("schema", env={"PYTHONPATH": str(place.folder / "modules"), "PYTHONDONTWRITEBYTECODE": "1"})
    assert (outcome.status, outcome.stdout) == (3, "")
    assert "KeyError: 'a fault'" in outcome.stderr
    assert outcome.stderr.endswith("error: this is a fault of labelgen itself, not of what it was given\n")
