"""Of the file contexts of a host, those are found that take files from a role's path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labelgen import programs
from labelgen.expressions import meet
from labelgen.filecontexts import Alias, FileContext, FileContexts, is_within

MINE = "/srv/lxc/web(/.*)?"


def shadowing(*paths: str) -> list[str]:
    """Those of several expressions, all counting before the role's, that take some of its files."""
    contexts = [FileContext(path, "", "other_t") for path in paths]
    return [context.path for context in FileContexts([FileContext(MINE, "", "mine_t"), *contexts]).shadowing(MINE)]


@pytest.mark.parametrize(
    "path",
    [
        MINE,
        "/srv/lxc/web/x",
        "/srv/lxc/we?b(/.*)?",
        "/srv/lxc/wex?b(/.*)?",
        "/srv/lxc/wex*b(/.*)?",
        "/srv/lxc/wex{0}b(/.*)?",
        "/srv/l.c/web/x",
        "/srv/.*",
        "/.*",
        ".*",
        "/srv/lxc/w{1}eb",
        "/nowhere|/srv/lxc/web/x",
        r"/now\(here|/srv/lxc/web/x",
        "/srv(/lxc|/podman)/web/x",
    ],
)
def test_an_expression_that_matches_files_of_the_role_is_found(path: str) -> None:
    """Wherever its plain part ends; libselinux anchors an expression as a whole (^...$), alternatives and all."""
    assert shadowing("/srv/lxc/other(/.*)?", path, "/var/.*") == [path]


@pytest.mark.parametrize(
    "path", ["/srv/lxc/webs(/.*)?", "/srv/lxc/we", "/srv/lxc", r"/srv/lxc/web\.d(/.*)?", "/srv/(a|b)/web", "/var/.*"]
)
def test_an_expression_that_matches_none_of_them_is_not(path: str) -> None:
    assert shadowing(path) == []


@pytest.mark.parametrize(
    ("mine", "other", "path"),
    [
        ("/srv/lxc/web/[0-9]+", "/srv/lxc/web/...", "/srv/lxc/web/123"),
        ("/srv/lxc/web/[0-9]+", "/srv/lxc/web/[5-7][0-9]{4}", "/srv/lxc/web/51234"),
        ("/srv/lxc/web/(a|b)c*", "/srv/lxc/web/.cccc?", "/srv/lxc/web/bcccc"),
        ("/srv/lxc/web/[a-z]+", "/srv/lxc/web/[[:alpha:]]{4}", "/srv/lxc/web/abcd"),
        (MINE, "/srv/lx./we./sec", "/srv/lxc/web/sec"),
        (MINE, "/srv/lxc|/nowhere", "/srv/lxc/web/x"),
        (MINE, "/nowhere|lxc/web/x", "/srv/lxc/web/x"),
        (MINE, ".*/private", "/srv/lxc/web/private"),
        (MINE, r"/srv/lxc/web/\Qa.b\E", "/srv/lxc/web/a.b"),
        (MINE, r"/srv/lxc/(?!dns).*/x", "/srv/lxc/web/x"),
        (MINE, r"/srv/lxc/(w)eb/\1", "/srv/lxc/web/w"),
        ("/srv/lxc/web/[^a-y]", r"/srv/lxc/web/\w", "/srv/lxc/web/z"),
        ("/srv/lxc/web/[^a-y]", r"/srv/lxc/web/[^[:alnum:]]", "/srv/lxc/web/-"),
        (r"/srv/lxc/my\-site(/.*)?", "/srv/lxc/my-site/secret", "/srv/lxc/my-site/secret"),
        ("/srv/lxc/my-site(/.*)?", r"/srv/lxc/my\-site/secret", "/srv/lxc/my-site/secret"),
        (MINE, "/srv/lxc/web/x{2,70}", "/srv/lxc/web/" + 70 * "x"),
    ],
)
def test_what_libselinux_labels_otherwise_is_found(mine: str, other: str, path: str, tmp_path: Path) -> None:
    """Where an expression that counts before the role's takes a path from it, as matchpathcon has it, that is told."""
    lines = [
        f"{expression}\tsystem_u:object_r:{name}_t:s0\n" for expression, name in ((mine, "mine"), (other, "other"))
    ]
    (tmp_path / "file_contexts").write_text("".join(lines))
    said = programs.run("matchpathcon", "-f", tmp_path / "file_contexts", path).stdout.decode()
    (tmp_path / "file_contexts").write_text(lines[0])
    alone = programs.run("matchpathcon", "-f", tmp_path / "file_contexts", path).stdout.decode()
    assert "mine_t" in alone
    assert "other_t" in said
    contexts = [FileContext(mine, "", "mine_t"), FileContext(other, "", "other_t")]
    assert [context.path for context in FileContexts(contexts).shadowing(mine)] == [other]


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ("/srv/lxc/web/[0-9]+", "/srv/lxc/web/[a-z]+"),
        ("/srv/lxc/web/[^a-y]", "/srv/lxc/web/[b-x]"),
        ("/srv/lxc/web/[0-9]{2}", "/srv/lxc/web/[0-9]{3,9}"),
        ("/srv/lxc/web/(a|b)", "/srv/lxc/web/(c|d)"),
        ("/srv/lxc/web/[^0-9]", r"/srv/lxc/web/\d"),
        (MINE, "/srv/[^/]+/dns(/.*)?"),
    ],
)
def test_expressions_that_match_nothing_in_common_do_not_meet(mine: str, other: str) -> None:
    assert not meet(mine, other)
    assert not meet(other, mine)


def test_a_literal_path_counts_before_any_expression(tmp_path: Path) -> None:
    """libselinux puts them behind, wherever they were read: a host's own expression takes nothing from one."""
    (tmp_path / "linked").write_text("/srv/lxc/web/index\tsystem_u:object_r:mine_t:s0\n")
    (tmp_path / "file_contexts.local").write_text("/srv/lxc/web(/.*)?\tsystem_u:object_r:other_t:s0\n")
    found = FileContexts.read(tmp_path / "linked", tmp_path)
    assert list(found.shadowing("/srv/lxc/web/index")) == []
    (tmp_path / "file_contexts.local").write_text("/srv/lxc/web/index\tsystem_u:object_r:other_t:s0\n")
    (shadow,) = FileContexts.read(tmp_path / "linked", tmp_path).shadowing("/srv/lxc/web/index")
    assert shadow.type == "other_t"


def test_templates_are_for_anybodys_home_where_the_host_has_made_nothing_of_them(tmp_path: Path) -> None:
    """genhomedircon.c, for the fallback user: FALLBACK_NAME, FALLBACK_UIDGID and FALLBACK_PREFIX."""
    templates = {
        "HOME_DIR/x": "/home/[^/]+/x",
        "HOME_ROOT/x": "/home/x",
        "HOME_DIR/ROLE/x": "/home/[^/]+/user/x",
        "/srv/USER/x": "/srv/[^/]+/x",
        "/run/user/%{USERID}/x": "/run/user/[0-9]+/x",
        "/srv/%{USERNAME}/x": "/srv/[^/]+/x",
    }
    (tmp_path / "linked").write_text("".join(f"{path}\tsystem_u:object_r:etc_t:s0\n" for path in templates))
    found = FileContexts.read(tmp_path / "linked", tmp_path)
    assert sorted(context.path for context in found) == sorted(templates.values())


def test_a_line_that_gives_no_label_reads_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "linked").write_text("/srv/lxc/web/x\t--\t<<none>>\n")
    (context,) = FileContexts.read(tmp_path / "linked", tmp_path)
    assert str(context) == "/srv/lxc/web/x -- <<none>>"
    assert context.type == context.label == ""


def test_an_escaped_sign_ends_no_plain_part() -> None:
    """Or every alias in the folder would seem to be about the files."""
    contexts = FileContexts([], [Alias("/srv/lxc/other", "/elsewhere")])
    assert list(contexts.hiding(r"/srv/lxc/\.web(/.*)?")) == []
    assert list(contexts.hiding("/srv/lxc/.web(/.*)?")) == list(contexts.aliases)


@pytest.mark.parametrize(
    ("path", "tree", "within"),
    [
        ("/srv/a/b(/.*)?", "/srv/a(/.*)?", True),
        ("/srv/a/[^/]*", "/srv/a(/.*)?", True),
        ("/srv/a", "/srv/a(/.*)?", True),
        ("/srv/a\\.b/c", "/srv/a\\.b(/.*)?", True),
        ("/srv/a.*", "/srv/a(/.*)?", False),  # /srv/ab
        ("/srv/ab(/.*)?", "/srv/a(/.*)?", False),
        ("/srv/a/?b", "/srv/a(/.*)?", False),  # /srv/ab
        ("/srv/a/b|/etc", "/srv/a(/.*)?", False),
        ("/srv(/.*)?", "/srv/a(/.*)?", False),
        ("/srv/a/b", "/srv/[ab](/.*)?", False),  # it is, and this is not seen
        ("/srv/a/b", "/srv/a/b", False),  # no tree
        ("/srv/a/b", "/srv/a123456", False),  # no tree either, though as long as one
        ("/srv/a/b", "/srv/a.(/.*)?", False),  # /srv/a/, and what is in it
    ],
)
def test_what_is_within_a_tree(path: str, tree: str, within: bool) -> None:
    assert is_within(path, tree) is within


@pytest.mark.parametrize(
    ("mine", "other", "meets"),
    [
        ("/srv/a(/.*)?", "/srv/ab(/.*)?", False),
        ("/srv/a(/.*)?", "/srv/a/b(/.*)?", True),
        ("/srv/a/b(/.*)?", "/srv/a(/.*)?", True),
        ("/srv/a\\.b(/.*)?", "/srv/a.b(/.*)?", True),
        ("/srv/a5(/.*)?", "/srv/a\\d(/.*)?", True),
        ("/srv/a(/.*)?", "/srv/a.(/.*)?", True),  # /srv/a/, and what is in it
        ("/srv/a(/.*)?", "/srv/(/.*)?", False),
        ("/srv/a(/.*)?", "/(/.*)?", False),  # //, and what is in it
    ],
)
def test_trees_meet_where_one_is_in_the_other(mine: str, other: str, meets: bool) -> None:
    names = ("a", "ab", "a5", "a.b", "a/b", "")
    paths = [f"/srv/{name}{end}" for name in names for end in ("", "/", "/c")]
    both = [path for path in paths if re.fullmatch(mine, path) and re.fullmatch(other, path)]
    found = FileContexts([FileContext(mine, "", "mine_t"), FileContext(other, "", "other_t")]).shadowing(mine)
    assert bool(found) is meets
    assert bool(both) is meets
