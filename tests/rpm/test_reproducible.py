"""The same inputs give the same bytes, wherever and whenever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from labelgen.shipped import packaged

LABELGEN = Path(sys.executable).parent / "labelgen"


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for LOCPATH with two locales in which much is otherwise: a decimal comma, an i without its dot, Latin 1.

    Machines that build have but C; an LC_ALL that names a locale which is not there would change nothing.
    """
    folder = tmp_path_factory.mktemp("locales")
    for name, source, charmap in (("tr_TR.UTF-8", "tr_TR", "UTF-8"), ("de_DE", "de_DE", "ISO-8859-1")):
        if not Path(f"/usr/share/i18n/locales/{source}").exists() or shutil.which("localedef") is None:
            pytest.skip("the sources of locales are not installed")
        command = ["localedef", "--no-archive", "-i", source, "-f", charmap, str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
        answer = [sys.executable, "-c", "import locale; locale.setlocale(locale.LC_ALL, '')"]
        subprocess.run(answer, env={"LOCPATH": str(folder), "LC_ALL": name}, check=True)
    return folder


def pack_elsewhere(
    tree: Path, folder: Path, environment: Mapping[str, str], prefix: Sequence[str] = (), umask: int = 0o022
) -> Path:
    """Pack a copy of a tree in another folder with the command line, as its own process."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tree, folder / "some build")
    done = subprocess.run(
        [*prefix, LABELGEN, "rpm", "--build", "some build", "--output", "out"],
        cwd=folder,
        env={**os.environ, **environment},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def assert_same(one: Path, other: Path) -> None:
    """Every file of both folders has the same bytes."""
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), f"{path.name} differs"


def test_another_folder_locale_zone_home_and_umask(
    reference_build: Path, packages: Path, locales: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp dir").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.rpmmacros").write_text("%vendor Somebody\n%packager Me\n%dist .mine\n%_topdir /nonexistent\n")
    environment = {
        "LC_ALL": "de_DE",
        "LOCPATH": str(locales),
        "TZ": "Asia/Tokyo",
        "TMPDIR": str(tmp_path / "tmp dir"),
        "HOME": str(tmp_path / "home"),
    }
    assert_same(packages, pack_elsewhere(reference_build, tmp_path / "an other place", environment, umask=0o077))


@pytest.mark.parametrize("when", ["2031-07-01 12:00:00", "2019-02-03 04:05:06"])
def test_another_year(reference_build: Path, packages: Path, tmp_path: Path, when: str) -> None:
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed")
    out = pack_elsewhere(reference_build, tmp_path, {"NO_FAKE_STAT": "1"}, prefix=[faketime, "-f", f"@{when}"])
    assert_same(packages, out)


def test_a_build_in_another_folder_year_locale_and_umask(reference_build: Path, locales: Path, tmp_path: Path) -> None:
    """Modules, sources, verdict and manifest: what packages are made of."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed")
    place = tmp_path / "an other place"
    shutil.copytree(packaged("roles"), place / "my roles")
    environment = {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(locales), "TZ": "Asia/Tokyo", "NO_FAKE_STAT": "1"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    command = ["build", "--base", "reference", "--roles", "my roles", "--output", "out"]
    subprocess.run(
        [faketime, "-f", "@2031-07-01 12:00:00", LABELGEN, *command],
        cwd=place,
        env={**os.environ, **environment},
        umask=0o077,
        check=True,
        capture_output=True,
    )
    names = [path.relative_to(reference_build) for path in reference_build.rglob("*") if path.is_file()]
    assert len([name for name in names if name.suffix == ".pp"]) == 5
    for name in names:
        assert (place / "out" / name).read_bytes() == (reference_build / name).read_bytes(), name


def test_another_user(reference_build: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # pytest's own folders are for one user.
    place = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        place.chmod(0o777)
        setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        out = pack_elsewhere(reference_build, place, {"HOME": str(place), "XDG_CACHE_HOME": str(place)}, prefix=setpriv)
        assert_same(packages, out)
    finally:
        shutil.rmtree(place)


def test_source_date_epoch_is_the_time_in_the_packages(reference_build: Path, tmp_path: Path) -> None:
    one = pack_elsewhere(reference_build, tmp_path / "one", {"SOURCE_DATE_EPOCH": "1000000000"})
    other = pack_elsewhere(reference_build, tmp_path / "other", {"SOURCE_DATE_EPOCH": "1000000000"})
    assert_same(one, other)
    for path in one.glob("*.rpm"):
        times = subprocess.run(
            ["rpm", "-qp", "--qf", "%{BUILDTIME}\n[%{FILEMTIMES}\n]", path], capture_output=True, text=True, check=True
        )
        assert set(times.stdout.split()) == {"1000000000"}


def test_nothing_of_this_machine_is_in_a_package(packages: Path) -> None:
    """No path, no host, no user: rpm keeps the expanded spec in the source package."""
    for path in packages.glob("*.rpm"):
        header = subprocess.run(["rpm", "-qp", "--xml", path], capture_output=True, text=True, check=True).stdout
        for word in ("labelgen-", str(Path.home()) + "/", os.uname().nodename, "/tmp/"):
            assert word not in header.replace("labelgen-build", ""), f"{word} is in {path.name}"
