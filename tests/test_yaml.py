"""Files that are no role files at all: not YAML, not a mapping, or made to exhaust the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Union

import pytest
from commandline import LABELGEN, NONET, Place, shared_cache
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen import yamlfile
from labelgen.errors import RoleFileError


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path, shared_cache(tmp_path_factory))


# What is wrong -> the file, where the message must point, and words that it must hold.
NOT_YAML: dict[str, tuple[Union[str, bytes], str, str]] = {
    "an open bracket": ("name: [web\n", ":2:1:", "not YAML"),
    "a tab for indentation": ("name: web\n\tsummary: x\n", ":2:1:", "tab"),
    "a stray colon": ("name: web: x\n", ":1:10:", "not YAML"),
    "a NUL": (b"name: web\x00\n", ":1:", "#x0000"),
    "Latin-1": (b"name: web\nsummary: caf\xe9\nnetwork: none\n", ":2:", "UTF-8"),
    "UTF-16": ("name: web\n".encode("utf-16"), ":1:1:", "UTF-8"),
    "half a character": (b"name: web\nsummary: \xe2\x82", ":2:", "UTF-8"),
    "a lone surrogate": (b"name: \xed\xa0\x80\n", ":1:", "UTF-8"),
}

NOT_A_MAPPING = {
    "nothing": "",
    "only comments": "# a role\n---\n",
    "a list": "- name: web\n",
    "a word": "web\n",
    "null": "null\n",
    "a number": "80\n",
}

BOMBS = {
    "billion laughs": "a: &a [x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)),
    "an alias to itself": "name: &a [*a]\n",
    "a merge key": "x: &x {summary: y}\n<<: *x\n",
    "an unknown alias": "name: *nobody\n",
}

DEEP = {
    "brackets, never closed": "name: " + "[" * 100_000,
    "brackets": "name: " + "[" * 50_000 + "]" * 50_000,
    "braces": "name: " + "{a: " * 30_000,
    "indentation": "".join(" " * n + "a:\n" for n in range(700)),
    "lists in lists": "name:\n" + "- " * 60_000 + "x\n",
    "questions": "? " * 60_000,
}

CODE = {
    "a Python object": 'name: !!python/object/apply:os.system ["touch evil"]\n',
    "a tag of one's own": "name: !role web\n",
    "a tagged key": "!!python/name:os.system name: web\n",
    "a set": "!!set {name, summary}\n",
}


@pytest.mark.parametrize("case", NOT_YAML)
def test_what_is_not_yaml_is_refused_with_its_place(place: Place, case: str) -> None:
    content, where, words = NOT_YAML[case]
    place.role(content)
    place.build().refused(f"roles/web.yaml{where}", words)


@pytest.mark.parametrize("case", NOT_A_MAPPING)
def test_what_is_not_a_mapping_is_refused(place: Place, case: str) -> None:
    place.role(NOT_A_MAPPING[case])
    place.build().refused("roles/web.yaml:1:1: ", "a mapping", "`name:`")


@pytest.mark.parametrize(
    ("content", "where", "key"),
    [
        ("name: web\nname: dns\n", "2:1", "'name'"),
        ("name: web\n'name': dns\n", "2:1", "'name'"),
        ("name: web\nnetwork:\n  bind: {tcp: [80], tcp: [22]}\n", "3:21", "'tcp'"),
        ("name: web\nnetwork: none\nsummary: x\nnetwork: {}\n", "4:1", "'network'"),
    ],
)
def test_a_key_that_stands_twice_is_refused_where_it_stands_again(
    place: Place, content: str, where: str, key: str
) -> None:
    place.role(content)
    place.build().refused(f"roles/web.yaml:{where}: ", key, "twice")


def test_a_backslash_in_double_quotes_is_told_to_need_single_ones(place: Place) -> None:
    place.role('name: web\nsummary: x\nnetwork: none\nfiles: [{path: "/srv/lxc/web/a\\.db", access: read}]\n')
    place.build().refused("roles/web.yaml:4:", "unknown escape character", "single quotes")


def test_of_several_parents_the_one_that_most_have_not_is_told(place: Place) -> None:
    """Where one file names its parent, and the others go without, it is this line that is meant."""
    place.role(NONET)
    (place.roles / "a.yaml").write_text("name: a\nsummary: x\nparent: svirt_lxc_net\nnetwork: none\n")
    place.build().refused(
        "roles/a.yaml:3:9: ", "share one parent", "web.yaml has svirt_lxc_net_t", "did you mean 'svirt_lxc_net_t'"
    )


def test_a_second_document_is_refused(place: Place) -> None:
    place.role(f"{NONET}---\n{NONET}")
    place.build().refused("roles/web.yaml:4:1: ", "second document")


@pytest.mark.parametrize("case", CODE)
def test_tags_are_refused_and_run_nothing(place: Place, case: str) -> None:
    place.role(CODE[case])
    place.build().refused("roles/web.yaml:1:")


def test_a_key_that_is_no_word_is_refused(place: Place) -> None:
    place.role(f"{NONET}? [a, b]\n: c\n")
    place.build().refused("roles/web.yaml:4:3: ", "key")


def test_every_wrong_file_and_every_problem_is_told_at_once(place: Place) -> None:
    place.role("name: [web\n", "a.yaml")
    place.role("nome: web\nnetwork: none\n", "b.yaml")
    place.build().refused(
        "roles/a.yaml:2:1: ", "roles/b.yaml:1:1: the key 'summary' is missing", "roles/b.yaml:1:1: unknown key 'nome'"
    )


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(place: Place) -> None:
    place.role("\ufeff" + NONET.replace("\n", "\r\n"))
    place.build().held()


# Linux counts the memory of the process that forked as the child's until its exec, and keeps the highest: so a small
# process starts the command and says what it took.
MEASURED = """
import json, os, resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


def refused_cheaply(place: Place, where: str) -> None:
    """Assert that the command refuses roles/web.yaml at `where` with 3 s of processor and 200 MB."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MEASURED, LABELGEN, "build", "--base", "reference"],
        cwd=place.folder,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    status, seconds, size = json.loads(done.stdout)
    assert status == 2, done.stderr
    assert done.stderr.startswith(f"error: roles/web.yaml{where}"), done.stderr
    assert len(done.stderr) < 500
    assert not place.output.exists()
    assert seconds < 3
    assert size < 200 * 2**20


@pytest.mark.parametrize("case", BOMBS)
def test_aliases_are_refused_before_they_grow(place: Place, case: str) -> None:
    place.role(BOMBS[case])
    refused_cheaply(place, ":1:")


@pytest.mark.parametrize("case", DEEP)
def test_deep_nesting_is_refused_before_it_overflows(place: Place, case: str) -> None:
    place.role(DEEP[case])
    refused_cheaply(place, "")


def test_a_file_of_100_megabytes_is_refused_unread(place: Place) -> None:
    path = place.role("name: web\nsummary: ")
    with path.open("r+b") as file:
        file.truncate(100 * 2**20)
    refused_cheaply(place, ": ")


def test_a_file_that_never_ends_is_refused(place: Place) -> None:
    (place.roles / "web.yaml").symlink_to("/dev/zero")
    refused_cheaply(place, ": ")


def test_a_pipe_is_refused_and_not_waited_for(place: Place) -> None:
    os.mkfifo(place.roles / "web.yaml")
    place.run("build", "--base", "reference", timeout=10).refused("roles/web.yaml: ")


def test_a_file_of_too_many_values_is_refused(place: Place) -> None:
    place.role(f"{NONET}files: [{'a,' * 40_000}]\n")
    refused_cheaply(place, ":4:")


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore"))))
def test_any_bytes_are_a_document_or_an_error_with_a_place(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        document = yamlfile.read(path)
    except RoleFileError as error:
        assert error.problems
        assert all(problem.path == path for problem in error.problems)
    else:
        assert document.path == path


# What YAML 1.1 (5.1, c-printable) lets stand in a file, less line breaks; its readers refuse the rest.
SCALARS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\ufeff\ufffe\uffff")
)


@settings(max_examples=100)
@given(st.dictionaries(SCALARS, st.lists(SCALARS), min_size=1))
def test_what_was_written_is_what_is_read_and_at_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, list[str]]
) -> None:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    path = tmp_path_factory.getbasetemp() / "written.yaml"
    lines = [f"? {quoted(key)}\n: [{', '.join(map(quoted, items))}]" for key, items in data.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = yamlfile.read(path)
    assert document.data == data
    for number, key in enumerate(data):
        assert document.key_places[(key,)] == (2 * number + 1, 3)
        assert document.places[(key,)] == (2 * number + 2, 3)
