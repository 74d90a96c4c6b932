"""The wheel and the sdist hold what they must, and a labelgen installed from the wheel works anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
NOT_SOURCE = (".git", ".venv", "build", "dist", ".setuptools", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

# Two workers of pytest-xdist would make the same packages twice.
pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: object, cwd: Path, cache: Path) -> str:
    """Run a command to its end; what it printed. Its words are the failure when it fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the packages' own: another place of the code has nothing to do with the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, as a new clone would be."""
    folder = tmp_path_factory.mktemp("source") / "labelgen"
    shutil.copytree(TOP, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return folder


@pytest.fixture(scope="module")
def dist(source: Path, cache: Path) -> Path:
    """The folder with the sdist of that checkout, and the wheel made from the sdist."""
    folder = source.parent / "dist"
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=source, cache=cache)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, cache: Path) -> Path:
    """A virtual environment that sees nothing of the machine, with the wheel installed by pip."""
    folder = wheel.parent.parent / "environment"
    run(sys.executable, "-m", "venv", folder, cwd=wheel.parent, cache=cache)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=wheel.parent, cache=cache)
    return folder


@pytest.fixture
def installed(environment: Path) -> Iterator[Path]:
    """`labelgen` in that environment, which now sees the distribution's packages: setools is one."""
    settings = environment / "pyvenv.cfg"
    before = settings.read_text()
    after = before.replace("include-system-site-packages = false", "include-system-site-packages = true")
    assert after != before
    settings.write_text(after)
    yield environment / "bin/labelgen"
    settings.write_text(before)


def in_package(folder: str, *patterns: str) -> set[str]:
    """The files of a folder of the checkout, by the names they should have inside the package."""
    inside = folder if folder.startswith("labelgen") else f"labelgen/{folder}"
    return {
        f"{inside}/{path.relative_to(TOP / folder)}"
        for pattern in patterns
        for path in (TOP / folder).rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_program_and_all_its_data_and_nothing_else(wheel: Path) -> None:
    expected = (
        in_package("labelgen", "*.py", "*.c", "*.cil", "py.typed")
        | in_package("roles", "*.yaml")
        | in_package("templates", "*")
    )
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert len(expected) > 50
    assert names == expected


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
    assert archive.read(licence) == (TOP / "LICENSE").read_bytes()


def test_the_sdist_holds_what_the_two_commands_and_the_tests_need(source: Path, dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("Makefile", "README.md", "LICENSE", "tools/setup", "tools/needs", "roles/web.yaml"):
        assert name in names
    for folder in ("tests", "templates", "docs", "labelgen"):
        expected = {str(path.relative_to(source)) for path in (source / folder).rglob("*") if path.is_file()}
        assert expected <= names


def test_packaging_leaves_no_folder_named_build_in_the_checkout(source: Path, dist: Path) -> None:
    # labelgen puts its result into ./build and refuses a folder there that it did not make.
    assert dist.exists()
    assert not (source / "build").exists()


def test_without_setools_the_command_that_brings_it_is_told(environment: Path, tmp_path: Path) -> None:
    command = [str(environment / "bin/labelgen"), "build", "--base", "reference"]
    plain = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: there is no setools here: this Python cannot import it" in done.stderr
    for cure in ("apt-get install python3-setools", "dnf install python3-setools", "venv --system-site-packages"):
        assert cure in done.stderr
    assert not (tmp_path / "build").exists()


def refusal_with(folder: Path, environment: Path) -> str:
    """What is said in an environment without the distribution's setools, with the modules of a folder besides."""
    command = [str(environment / "bin/labelgen"), "build", "--base", "reference"]
    surroundings = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    return str(done.stderr)


def test_pypis_setools_is_told_from_selinuxs(environment: Path, tmp_path: Path) -> None:
    """As `pip install setools` leaves it: a package setools whose module is SETools."""
    (tmp_path / "SETools").mkdir()
    (tmp_path / "SETools/__init__.py").write_text("import librosa\n")
    (tmp_path / "SETools-1.2.3.dist-info").mkdir()
    (tmp_path / "SETools-1.2.3.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: SETools\nVersion: 1.2.3\n")
    said = refusal_with(tmp_path, environment)
    assert "error: there is no setools here: setools 1.2.3, which pip installed, is another program" in said
    assert f"hint: {environment}/bin/python" in said and "-m pip uninstall setools, then apt-get install" in said


def test_another_module_of_the_name_setools_is_told(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "setools.py").write_text("def tool(): ...\n")
    said = refusal_with(tmp_path, environment)
    assert f"error: the module setools of {tmp_path}/setools.py is another program" in said
    assert "-m pip uninstall setools, then apt-get install python3-setools" in said


def test_an_installed_labelgen_builds_the_roles_that_came_with_it_as_the_checkout_does(
    installed: Path, tmp_path: Path, cache: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(installed, "build", "--base", "reference", cwd=elsewhere, cache=cache)
    here = Path(sys.executable).parent / "labelgen"
    arguments = ("build", "--base", "reference", "--roles", TOP / "roles", "--output", tmp_path / "build")
    run(here, *arguments, cwd=tmp_path, cache=cache)
    made = {path.relative_to(elsewhere / "build") for path in (elsewhere / "build").rglob("*.pp")}
    assert {path.stem for path in made} == {"lxc_base", "lxc_dns", "lxc_ftp", "lxc_nonet", "lxc_web"}
    for path in made:
        assert (elsewhere / "build" / path).read_bytes() == (tmp_path / "build" / path).read_bytes()


def test_an_installed_labelgen_answers_and_writes_role_files(installed: Path, tmp_path: Path, cache: Path) -> None:
    run(installed, "init", "mail", cwd=tmp_path, cache=cache)
    assert (tmp_path / "roles" / "mail.yaml").exists()
    run(installed, "build", "mail", "--base", "reference", cwd=tmp_path, cache=cache)
    run(installed, "show", "mail", cwd=tmp_path, cache=cache)
