"""Many modules compiled with one start of a shell: the same as each alone, and the same words where one is wrong."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from bases import BuiltRoles

from labelgen import compiling, programs, sepol
from labelgen.errors import InputError

MADE = (".pp", ".cil")


@pytest.fixture
def folders(reference_roles: BuiltRoles, tmp_path: Path) -> list[Path]:
    """The sources of some modules, each in its folder; two are longer than the others and one has no file contexts."""
    copies = []
    for module in reference_roles.compiled:
        copies.append(tmp_path / module.name)
        copies[-1].mkdir()
        for source in (module.te, module.fc):
            shutil.copy(source, copies[-1])
    assert {bool((folder / f"{folder.name}.fc").stat().st_size) for folder in copies} == {True, False}
    return copies


def _made(modules: list[compiling.Compiled]) -> list[bytes]:
    assert all(sorted(path.suffix for path in module.te.parent.iterdir()) == [".cil", ".fc", ".pp", ".te"]
               for module in modules)  # fmt: skip
    return [module.te.with_suffix(suffix).read_bytes() for module in modules for suffix in MADE]


def test_many_at_once_are_made_as_each_alone(folders: list[Path]) -> None:
    alone = [compiling.compile_module(folder, folder.name) for folder in folders]
    made = _made(alone)
    for module in alone:
        module.package.unlink()
        module.cil.unlink()
    together = compiling._compiled_together([compiling._planned(folder, folder.name) for folder in folders])
    assert together == alone
    assert _made(together) == made


def test_libsepol_converts_as_pp_does(reference_roles: BuiltRoles) -> None:
    packages = [module.package for module in reference_roles.compiled]
    said = {package.stem: programs.run("pp", package).stdout for package in packages}
    found = {package.stem: sepol.package_to_cil(package.read_bytes()) for package in packages}
    numbered = {name for name, cil in said.items() if b"_typeattr_1" in cil}
    assert numbered == {"lxc_base"}
    assert found == {name: None if name in numbered else cil for name, cil in said.items()}


@pytest.mark.parametrize("content", [b"", b"no package", b"\x8f\xff\x7c\xf9\1\0\0\0\2\0\0\0"])
def test_what_libsepol_refuses_is_left_to_pp(content: bytes) -> None:
    assert sepol.package_to_cil(content) is None


def test_without_libsepol_pp_is_started(
    folders: list[Path], reference_roles: BuiltRoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sepol, "LIBRARY", "libnone.so.1")
    sepol._libraries.cache_clear()
    try:
        assert sepol.package_to_cil(reference_roles.compiled[1].package.read_bytes()) is None
        together = compiling._compiled_together([compiling._planned(folder, folder.name) for folder in folders])
    finally:
        sepol._libraries.cache_clear()
    assert together is not None
    assert [module.cil.read_bytes() for module in together] == [m.cil.read_bytes() for m in reference_roles.compiled]


# What many at once do not make is made one by one, and told by what is said of the one that is wrong.
NOTHING = (
    "exit 1",
    "true",
    'shift 2; while [ "$1" ]; do : > "$1.mod"; shift 2; done',
    "kill -9 $$",
    compiling._MANY + "exit 3\n",
)


@pytest.mark.parametrize("script", NOTHING, ids=["fails", "makes-nothing", "makes-empty-files", "is-killed", "at-last"])
def test_what_is_not_made_together_is_made_alone(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    expected = _made([compiling.compile_module(folder, folder.name) for folder in folders])
    for folder in folders:
        (folder / f"{folder.name}.cil").unlink()
    monkeypatch.setattr(compiling, "_MANY", script)
    assert _made(compiling.compile_many(folders)) == expected


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_module_that_is_wrong_is_named(folders: list[Path], place: int) -> None:
    wrong = folders[place] / f"{folders[place].name}.te"
    wrong.write_text(wrong.read_text() + "\nallow nosuch_t self:file read;\n")
    with pytest.raises(InputError, match=f"^{wrong.name}: checkmodule refuses this module"):
        compiling.compile_many(folders)


def test_words_of_a_path_are_no_commands(folders: list[Path]) -> None:
    strange = folders[0].parent / "a b;touch $(touch x)'\""
    strange.mkdir()
    moved = [folder.rename(strange / folder.name) for folder in folders]
    assert compiling._compiled_together([compiling._planned(folder, folder.name) for folder in moved])
    assert not Path("x").exists()


def test_what_a_shell_started_ends_with_it(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    script = 'sleep 60 & echo $! > "$1"; wait'
    with pytest.raises(programs.ProgramFailed, match="did not end within"):
        programs.run("sh", "-c", script, "sh", noted, timeout=1.0, group=True)
    pid = int(noted.read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if status == "Z":  # dead, and not yet noticed by who inherits it
            return
        time.sleep(0.02)
    raise AssertionError("it still runs")
