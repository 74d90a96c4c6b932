"""Of the file contexts of a host, those are found that take files from a role's path."""

from __future__ import annotations

import pytest

from labelgen.filecontexts import FileContext, FileContexts

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
