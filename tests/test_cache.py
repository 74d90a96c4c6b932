"""The cache of bases does not grow for ever, and takes nothing from a command that works with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labelgen import base as bases
from labelgen.cache import cache_folder

DIGEST, OTHER = "a" * 32, "b" * 32
HOURS = 3600.0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def opened(name: str, monkeypatch: pytest.MonkeyPatch, code: int, hours_ago: float) -> Path:
    """A folder of the cache that a version of labelgen made and opened last some hours ago."""
    monkeypatch.setattr(bases, "_code", lambda: f"{code:016x}")
    with bases.cached(name, lambda folder: (folder / "content").touch()) as folder:
        pass
    when = time.time() - hours_ago * HOURS
    os.utime(folder / "done", (when, when))
    return folder


def test_of_one_base_the_last_two_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [opened(f"base-{DIGEST}", monkeypatch, code, 50 - code) for code in range(5)]
    others = [opened(f"base-{OTHER}", monkeypatch, 1, 60), opened(f"facts-{DIGEST}-parent_t", monkeypatch, 1, 70)]
    new = opened(f"base-{DIGEST}", monkeypatch, 9, 0)
    assert sorted(cache.iterdir()) == sorted([old[-1], new, *others])


def test_what_was_used_within_the_hour_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command may be working with it."""
    old = [opened(f"base-{DIGEST}", monkeypatch, code, 0.5) for code in range(5)]
    new = opened(f"base-{DIGEST}", monkeypatch, 9, 0)
    assert sorted(cache.iterdir()) == sorted([*old, new])


def test_using_it_counts_and_not_making_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (opened(f"base-{DIGEST}", monkeypatch, code, 50 - code) for code in range(2))
    monkeypatch.setattr(bases, "_code", lambda: f"{0:016x}")
    with bases.cached(f"base-{DIGEST}", lambda _: pytest.fail("it was made before")) as again:
        assert again == first
    new = opened(f"base-{DIGEST}", monkeypatch, 9, 0)
    assert sorted(cache.iterdir()) == sorted([first, new])
    assert not second.exists()


def test_bases_that_nobody_asks_for_any_more_are_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [opened(f"base-{number:032x}", monkeypatch, 1, 100 - number) for number in range(60)]
    assert sorted(cache.iterdir()) == sorted(made[-bases.KEPT_OF_A_KIND :])


def test_what_is_not_a_base_in_the_cache_is_left_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = cache / "kernels"
    kernels.mkdir()
    strange = cache / f"base-{DIGEST}-of-mine"
    strange.mkdir()
    for code in range(4):
        opened(f"base-{DIGEST}", monkeypatch, code, 50 - code)
    assert kernels.is_dir() and strange.is_dir()


def test_one_that_cannot_be_written_is_used_all_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(f"base-{DIGEST}", monkeypatch, 1, 5)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    with bases.cached(f"base-{DIGEST}", lambda _: pytest.fail("it was made before")) as again:
        assert again == folder
