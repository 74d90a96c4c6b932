"""labelgen as a distribution ships it: its spec, manual pages, completions."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from labelgen import __version__, cli

TOP = Path(cli.__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*.pyc")

pytestmark = [
    pytest.mark.skipif(not (TOP / "packaging").is_dir(), reason="this is no checkout"),
    # Two workers of pytest-xdist would build the same package twice.
    pytest.mark.xdist_group("labelgen itself"),
]


@pytest.fixture(scope="module")
def own_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labelgen's own packages, built by its spec of the checkout; the folder that rpmbuild worked in."""
    top = tmp_path_factory.mktemp("own")
    (top / "SOURCES").mkdir()
    shutil.copytree(TOP, top / "copy", ignore=LEFT_OUT)
    with tarfile.open(top / f"SOURCES/labelgen-{__version__}.tar.gz", "w:gz") as archive:
        archive.add(top / "copy", f"labelgen-{__version__}")
    # The Python that has what labelgen needs is the one that runs this.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    spec = top / "copy/packaging/labelgen.spec"
    done = subprocess.run(
        ["rpmbuild", "-ba", "--nodeps", "--define", f"_topdir {top}", spec],
        env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return top


def listed(own_packages: Path) -> set[str]:
    """The files of the package."""
    package = next(own_packages.glob("RPMS/noarch/*.rpm"))
    return set(subprocess.run(["rpm", "-qpl", package], capture_output=True, text=True, check=True).stdout.split())


def test_the_spec_has_the_version_of_the_program(own_packages: Path) -> None:
    assert next(own_packages.glob("RPMS/noarch/*.rpm")).name == f"labelgen-{__version__}-1.noarch.rpm"


def test_everything_of_the_package_is_in_it(own_packages: Path) -> None:
    """Every module, template, role and policy file of the checkout, by its name."""
    files = listed(own_packages)
    inside = {file.partition("-packages/labelgen/")[2] for file in files if "-packages/labelgen/" in file}
    wanted = {
        *(str(path.relative_to(TOP / "labelgen")) for path in (TOP / "labelgen").rglob("*.py")),
        *(f"templates/{path.name}" for path in (TOP / "templates").iterdir()),
        *(f"roles/{path.name}" for path in (TOP / "roles").glob("*.yaml")),
        *(f"reference/{path.name}" for path in (TOP / "labelgen/reference").glob("*.cil")),
        "witness/probe.c",
    }
    assert wanted - inside == set()


def test_every_command_has_a_manual_page_in_the_package(own_packages: Path) -> None:
    pages = {Path(file).name.partition(".")[0] for file in listed(own_packages) if "/man1/" in file}
    assert pages >= {"labelgen", *(f"labelgen-{name}" for name in cli.COMMANDS)}


def test_the_installed_program_packs_from_another_folder(own_packages: Path, tmp_path: Path) -> None:
    """What the package holds works where there is no checkout: roles and templates come from it."""
    package = next(own_packages.glob("RPMS/noarch/*.rpm"))
    archive = subprocess.run(["rpm2cpio", package], capture_output=True, check=True).stdout
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    site = next(tmp_path.rglob("*-packages"))
    (tmp_path / "elsewhere").mkdir()

    def labelgen(*arguments: str) -> str:
        command = [sys.executable, str(tmp_path / "usr/bin/labelgen"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    (tmp_path / "cache").mkdir()
    assert "4 roles" in labelgen("build", "--base", "reference")
    assert "lxc-web-selinux-1.0-1.noarch.rpm" in labelgen("rpm", "web")


def test_rpmlint_has_nothing_to_say_of_labelgen(own_packages: Path) -> None:
    rpmlint = shutil.which("rpmlint")
    if rpmlint is None:
        pytest.skip("rpmlint is not installed")
    packages = [*own_packages.glob("RPMS/noarch/*.rpm"), *own_packages.glob("SRPMS/*.rpm")]
    settings, spec = TOP / "packaging/labelgen.rpmlintrc", TOP / "packaging/labelgen.spec"
    done = subprocess.run([rpmlint, "-r", settings, *packages, spec], capture_output=True, text=True, check=False)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


# -- manual pages


@cache
def manpages() -> dict[str, Any]:
    """What the program that writes the pages defines."""
    return runpy.run_path(str(TOP / "packaging/manpages.py"))


def pages() -> dict[str, str]:
    """The manual pages."""
    made = manpages()["pages"]()
    assert isinstance(made, dict)
    return made


def test_manual_pages_say_what_help_says() -> None:
    found = pages()
    for name in cli.COMMANDS:
        command = cli.root.get_command(click.Context(cli.root), name)
        assert command is not None
        page = found[f"labelgen-{name}.1"].replace("\\-", "-")
        for parameter in command.params:
            for option in parameter.opts:
                assert parameter.param_type_name == "argument" or option in page, f"{name} {option}"


def test_commands_below_a_command_have_pages_of_their_own_and_hidden_options_none() -> None:
    @click.group()
    def base() -> None:
        """Work with bases."""

    @base.command()
    @click.option("--to", metavar="FILE", help="Where it goes.")
    @click.option("--secret", hidden=True)
    def capture(to: str, secret: str) -> None:
        """Take the policy of this host."""

    found = dict(manpages()["command_pages"]("labelgen base", "Work with bases.", base, ""))
    assert set(found) == {"labelgen-base.1", "labelgen-base-capture.1"}
    assert "labelgen\\-base\\-capture\\fR(1)" in found["labelgen-base.1"]
    assert "labelgen\\-base\\-capture \\- Take the policy of this host\n" in found["labelgen-base-capture.1"]
    assert "\\-\\-to FILE" in found["labelgen-base-capture.1"]
    assert "secret" not in found["labelgen-base-capture.1"]


@pytest.mark.parametrize("name", ["labelgen", *(f"labelgen-{name}" for name in cli.COMMANDS)])
def test_a_manual_page_is_good_roff(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.1"
    path.write_text(pages()[path.name])
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    command = [groff, "-man", "-Tutf8", "-ww", "-rLL=110n", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert name.upper() in done.stdout


def test_manual_pages_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1704067200")
    once = pages()
    assert once == pages()
    assert '"2024-01-01"' in once["labelgen.1"]


def test_text_does_not_become_a_request() -> None:
    roff = manpages()["roff"]
    page = f".TH X 1\n.SH A\n{roff('.so /etc/passwd')}\n{roff(chr(92) + 'fB it')}\n"
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run([groff, "-man", "-Tascii"], input=page, capture_output=True, text=True, check=True)
    assert ".so /etc/passwd" in done.stdout
    assert "\\fB it" in done.stdout


# -- completion


def completion(shell: str) -> str:
    """The completion script of a shell."""
    done = CliRunner().invoke(cli.root, ["completion", shell])
    assert done.exit_code == 0, done.output
    return done.output


def program(folder: Path) -> None:
    """A command `labelgen` in a folder, of the Python that runs this."""
    path = folder / "labelgen"
    path.write_text(f"#!{sys.executable}\nfrom labelgen.__main__ import run\nrun()\n")
    path.chmod(0o755)


def shell(tmp_path: Path, name: str, *arguments: str) -> str:
    """What a shell prints, with labelgen in its PATH."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    program(tmp_path)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(TOP),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    done = subprocess.run([name, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion("bash"))
    ask = (
        "source {0}/script; COMP_WORDS=(labelgen {1}); COMP_CWORD={2};"
        "_labelgen_completion labelgen; echo ${{COMPREPLY[@]}}"
    )
    assert shell(tmp_path, "bash", "-c", ask.format(tmp_path, "ver", 1)).split() == ["verify"]
    assert shell(tmp_path, "bash", "-c", ask.format(tmp_path, "rpm --passp", 2)).split() == ["--passphrase-file"]


def offered(words: str) -> list[str]:
    """What bash is offered for the last of some words, from the shipped roles, in a process of its own."""
    place = "import sys; sys.argv = ['labelgen']; from labelgen.__main__ import run; run()"
    environment = {**os.environ, "_LABELGEN_COMPLETE": "bash_complete", "PYTHONPATH": str(TOP)}
    environment.update(COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    done = subprocess.run([sys.executable, "-c", place], cwd=TOP, env=environment, capture_output=True, check=True)
    return [line.partition(",")[2] for line in done.stdout.decode().split()]


def test_commands_roles_and_targets_are_offered() -> None:
    assert offered("labelgen ") == list(cli.COMMANDS)
    assert offered("labelgen can ") == ["dns", "ftp", "nonet", "web"]
    assert offered("labelgen rpm w") == ["web"]
    assert offered("labelgen rpm --target el") == ["el7", "el8", "el9", "el10"]
    assert offered("labelgen build --roles packaging ") == []


def test_a_shell_that_asks_for_commands_does_not_wait_for_all_to_be_imported() -> None:
    place = "import sys; from labelgen import cli; import click; "
    place += "cli.root.shell_complete(click.Context(cli.root), ''); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", place], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.startswith("labelgen.commands.")] == []


def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(completion("fish"))
    ask = "source {}/script; complete --do-complete '{}'"
    assert shell(tmp_path, "fish", "-c", ask.format(tmp_path, "labelgen ver")).split()[0] == "verify"
    assert "--passphrase-file" in shell(tmp_path, "fish", "-c", ask.format(tmp_path, "labelgen rpm --passp"))
    whole = shell(tmp_path, "fish", "-c", ask.format(tmp_path, "labelgen rpm --targ"))
    assert whole == "--target\tel7, el8, el9, el10, fedora.\n"


def test_zsh_completes_commands(tmp_path: Path) -> None:
    """zsh's own completion system needs a terminal: here its functions are those of the test, which print."""
    (tmp_path / "_labelgen").write_text(completion("zsh"))
    ask = (
        "compdef() { :; }; compadd() { print -r -- $@ }; _describe() { print -rl -- ${(P)3} };"
        f"words=(labelgen ver); CURRENT=2; source {tmp_path}/_labelgen; _labelgen_completion"
    )
    assert "verify" in shell(tmp_path, "zsh", "-f", "-c", ask)


def test_an_unknown_shell_is_told() -> None:
    done = CliRunner().invoke(cli.root, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "tcsh" in done.output
