"""Templates that were compiled stay so, and what is in the cache never decides what they say."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from labelgen import templating


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "greeting").write_text("Hello {{ name }}.\n")
    monkeypatch.setattr(templating, "packaged", lambda name: tmp_path / name)
    return folder


def compiled(templates: Path) -> list[Path]:
    return list((templates.parent / "cache" / "labelgen" / "templates").iterdir())


def fill(templates: Path) -> str:
    loader = jinja2.FileSystemLoader(templates)
    return templating.environment(templates, loader).get_template("greeting").render(name="you")


def never_compile(*_: object, **__: object) -> None:
    pytest.fail("it was compiled again")


def test_a_template_is_compiled_once(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fill(templates) == "Hello you.\n"
    monkeypatch.setattr(jinja2.Environment, "compile", never_compile)
    assert fill(templates) == "Hello you.\n"


def test_a_changed_template_is_compiled_again(templates: Path) -> None:
    fill(templates)
    (templates / "greeting").write_text("Good day, {{ name }}.\n")
    assert fill(templates) == "Good day, you.\n"
    assert len(compiled(templates)) == 1


@pytest.mark.parametrize("damage", [b"", b"rubbish", None], ids=["empty", "rubbish", "cut off"])
def test_a_damaged_cache_is_no_matter(templates: Path, damage: bytes | None) -> None:
    fill(templates)
    [kept] = compiled(templates)
    kept.write_bytes(kept.read_bytes()[:-20] if damage is None else damage)
    assert fill(templates) == "Hello you.\n"


def test_without_a_cache_it_is_compiled_each_time(templates: Path) -> None:
    (templates.parent / "cache" / "labelgen").write_text("a file where the folder should be")
    assert fill(templates) == "Hello you.\n"


def test_templates_of_ones_own_are_not_kept(templates: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    templates.rename(other)
    assert fill(other) == "Hello you.\n"
    assert not (tmp_path / "cache" / "labelgen").exists()
