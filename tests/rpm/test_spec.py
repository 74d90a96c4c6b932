"""The spec: nothing that a role file says becomes part of its structure."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from handmade import make_tree, role_te
from hypothesis import given
from hypothesis import strategies as st
from packs import Pack, quiet, request

from labelgen.packing import check, pack
from labelgen.packing.spec import _paragraph, escaped
from labelgen.packing.tree import folder_of
from labelgen.shipped import packaged

# Each would end the description, begin a scriptlet, run a program, read a file or lose text, were it not escaped.
HOSTILE = {
    "post": "%post",
    "second_line": "one line\n%post\ntouch /tmp/labelgen-was-here",
    "carriage_return": "one line\r%post\r\n%postun",
    "line_separator": "one line\u2028%post\u0085%post\x0b%post\x0c%post",
    "shell": "%(touch /tmp/labelgen-was-here)",
    "lua": "%{lua:print('lua ran')}",
    "macro": "%{name} %name %{?dist} %%{name}",
    "condition": "%if 0",
    "endif": "words %endif",
    "open_brace": "%{",
    "comment": "# no comment",
    "backslash": "ends in a \\",
    "backslash_and_post": "a\\ %post",
    "tag": "Requires: everything",
    "percent": "100 % of 5%",
    "only_percent": "%",
    "quotes": "\"quoted\" 'single' `touch /tmp/labelgen-was-here` $(id) $HOME",
    "here_document": "NOTE",
    "wraps_before_section": "word " * 14 + "%post " + "word " * 14 + "%files",
    "wraps_before_comment": "word " * 13 + "words # this is no comment",
    "long_word": "x" * 200,
    "german": "Umlaute: äöü, Gedankenstrich \u2013",
}


def query(package: Path, what: str) -> str:
    """What rpm reads in a package."""
    done = subprocess.run(["rpm", "-qp", "--qf", what, package], capture_output=True, check=True)
    return done.stdout.decode()


def one_line(text: str) -> str:
    """Text without its breaks."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def hostile_packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A package for each hostile summary, by its name."""
    folder = tmp_path_factory.mktemp("hostile")
    tree = make_tree(folder / "tree", {name: role_te(name) for name in HOSTILE}, summaries=HOSTILE)
    pack.pack(request(tree), packaged("templates"), None, folder / "packages", quiet)
    return {name: folder / "packages" / f"lxc-{name.replace('_', '-')}-selinux-1.0-1.noarch.rpm" for name in HOSTILE}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_summary_is_text_and_nothing_else(hostile_packages: dict[str, Path], name: str) -> None:
    package = hostile_packages[name]
    words = one_line(HOSTILE[name].replace("\x0b", " ").replace("\x0c", " "))
    assert one_line(query(package, "%{DESCRIPTION}")).endswith(f"The role file says: {words}")
    assert query(package, "%{SUMMARY}") == f"SELinux domain of the container role {name}"
    assert "labelgen-was-here" not in query(package, "%{POSTIN}%{POSTUN}%{POSTTRANS}%{VERIFYSCRIPT}")
    assert not Path("/tmp/labelgen-was-here").exists()


def test_every_package_has_the_same_scriptlets(hostile_packages: dict[str, Path]) -> None:
    """A %post or %if that came of a text would add to them, or take away."""
    scripts = {
        query(package, "%{POSTIN}%{POSTUN}%{POSTTRANS}%{PREIN}%{PREUN}%{PRETRANS}%{VERIFYSCRIPT}")
        .replace(name.replace("_", "-"), "NAME")
        .replace(name, "NAME")
        for name, package in hostile_packages.items()
    }
    assert len(scripts) == 1


# What a person may write in a summary (role.Role): printable, and what a changed build could hold besides.
TEXT = st.text(st.one_of(st.sampled_from("%#\\{}() \n\t"), st.characters(codec="utf-8")), max_size=300)


@given(TEXT)
def test_a_paragraph_has_no_line_that_begins_with_a_sign_of_rpms(text: str) -> None:
    lines = _paragraph(f"The role file says: {text}").split("\n")
    assert not any(line.lstrip().startswith(("%", "#")) for line in lines)
    assert not any(line.endswith("\\") for line in lines[:-1])
    assert all(line.isprintable() for line in lines)


@given(TEXT)
def test_an_escaped_text_holds_no_macro(text: str) -> None:
    assert "%" not in escaped(text).replace("%%", "")
    assert escaped(text).replace("%%", "%") == one_line("".join(c if c.isprintable() else " " for c in text))


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/srv/lxc/web(/.*)?", "/srv/lxc/web"),
        ("/srv/lxc/web", "/srv/lxc/web"),
        ("/srv/lxc/web/.*", "/srv/lxc/web"),
        ("/srv/lxc/web[0-9]+(/.*)?", "/srv/lxc"),
        ("/srv/lxc/(a|b)(/.*)?", "/srv/lxc"),
        (r"/srv/lxc/web\.d(/.*)?", "/srv/lxc/web.d"),
        (r"/srv/lxc/web\.d/x*", "/srv/lxc/web.d"),
        ("/srv/lxc/web.d", "/srv/lxc"),
        ("/srv/lxc/web?", "/srv/lxc"),
        (r"/srv/lxc/w\w+", "/srv/lxc"),
    ],
)
def test_files_are_looked_for_where_the_pattern_is_plain(pattern: str, folder: str) -> None:
    assert folder_of(pattern) == folder


# -- what a package is


def test_a_package_names_what_it_needs_and_where_its_modules_lie(packages: Path) -> None:
    base, web = (packages / f"lxc-{name}-selinux-1.0-1.noarch.rpm" for name in ("base", "web"))
    needs = query(base, "[%{REQUIRENAME}\n]").split()
    assert {"container-selinux", "selinux-policy", "selinux-policy-targeted", "policycoreutils"} <= set(needs)
    exact = [name for name in query(web, "[%{REQUIRENAME}\n]").split() if name.startswith("lxc-base-selinux(")]
    assert exact
    assert exact[0] in query(base, "[%{PROVIDENAME}\n]").split()
    files = query(web, "[%{FILENAMES} %{FILEFLAGS:fflags}\n]").splitlines()
    assert "/usr/share/selinux/packages/targeted/lxc_web.pp " in files
    assert "/var/lib/selinux/targeted/active/modules/200/lxc_web g" in files
    assert query(web, "%{ARCH}") == "noarch"


def test_the_policy_built_against_is_required(reference_build: Path, pack_tree: Pack) -> None:
    folder = pack_tree(reference_build, selinux_policy="38.1.35-2.el9", target="el9")
    base = next(folder.glob("lxc-base*"))
    assert base.name == "lxc-base-selinux-1.0-1.el9.noarch.rpm"
    assert "selinux-policy >= 38.1.35-2.el9" in query(base, "[%{REQUIRENEVRS}\n]").splitlines()


def test_each_target_gets_its_store(tmp_path: Path, pack_tree: Pack) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web")})
    stores = {}
    for target in ("el7", "el8", "el9", "el10", "fedora"):
        names = query(next(pack_tree(tree, target=target).glob("lxc-web*")), "[%{FILENAMES}\n]").split()
        stores[target] = next(name for name in names if name.endswith("/200/lxc_web"))
    new = "/var/lib/selinux/targeted/active/modules/200/lxc_web"
    assert stores == {
        "el7": "/etc/selinux/targeted/active/modules/200/lxc_web",
        **dict.fromkeys(("el8", "el9", "el10", "fedora"), new),
    }


def test_the_module_for_el7_is_of_the_version_its_own_tools_write(tmp_path: Path, pack_tree: Pack) -> None:
    tree = make_tree(tmp_path / "tree", {"web": role_te("web")})
    module = cpio(next(pack_tree(tree, target="el7").glob("lxc-web*")), "lxc_web.pp")
    old, new = tmp_path / "old.pp", tree / "lxc_web/lxc_web.pp"
    old.write_bytes(module)
    assert module_version(old) == 17
    assert module_version(new) < 17
    as_cil = [
        subprocess.run(["/usr/libexec/selinux/hll/pp", path], capture_output=True, check=True) for path in (old, new)
    ]
    assert as_cil[0].stdout == as_cil[1].stdout


def cpio(package: Path, name: str) -> bytes:
    """One file of a package."""
    archive = subprocess.run(["rpm2cpio", package], capture_output=True, check=True).stdout
    return subprocess.run(
        ["cpio", "-i", "--quiet", "--to-stdout", f"*/{name}"], input=archive, capture_output=True, check=True
    ).stdout


def module_version(package: Path) -> int:
    """The module version of a package, as the module's own header has it: after the magic number and the name."""
    data = package.read_bytes()
    name = b"SE Linux Module"
    at = data.index(name) + len(name)
    return int.from_bytes(data[at + 4 : at + 8], "little")


def rpmlint(*arguments: object) -> str:
    """rpmlint's last line."""
    done = subprocess.run(["rpmlint", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1] + "\n" + done.stdout


@pytest.mark.parametrize("bundle", [False, True], ids=["single", "bundle"])
@pytest.mark.parametrize("target", ["el7", "el9", "fedora"])
def test_rpmlint_has_nothing_to_say(tmp_path: Path, pack_tree: Pack, target: str, bundle: bool) -> None:
    contexts = "/srv/lxc/web(/.*)?\tsystem_u:object_r:lxc_web_content_t:s0\n"
    te = role_te("web", "type lxc_web_content_t;\n")
    portcon = "(portcon tcp 30100 (system_u object_r lxc_web_t ((s0) (s0))))\n"
    tree = make_tree(tmp_path / "tree", {"web": te}, contexts={"web": contexts}, ports={"web": portcon})
    folder = pack_tree(tree, target=target, bundle=bundle)
    spec, settings = tmp_path / "lxc-policy.spec", tmp_path / "lxc-policy.rpmlintrc"
    source = next(folder.glob("*.src.rpm"))
    for path in (spec, settings):
        archive = subprocess.run(["rpm2cpio", source], capture_output=True, check=True).stdout
        path.write_bytes(
            subprocess.run(
                ["cpio", "-i", "--quiet", "--to-stdout", path.name], input=archive, capture_output=True, check=True
            ).stdout
        )
    said = rpmlint("-r", settings, *sorted(folder.glob("*.rpm")), spec)
    assert "0 errors, 0 warnings" in said.splitlines()[0], said
    assert " 3 packages and 1 specfiles" in said or " 2 packages and 1 specfiles" in said


# -- the source package


def test_the_source_package_rebuilds_without_labelgen(packages: Path, tmp_path: Path) -> None:
    source = next(packages.glob("*.src.rpm"))
    bare = tmp_path / "bin"
    bare.mkdir()
    for path in (path for folder in ("/usr/bin", "/usr/sbin") for path in Path(folder).iterdir()):
        if not path.name.startswith(("python", "pip", "labelgen", "secilc")) and not (bare / path.name).exists():
            (bare / path.name).symlink_to(path)
    done = subprocess.run(
        ["rpmbuild", "--rebuild", "--nodeps", "--define", f"_topdir {tmp_path}", source],
        env={"PATH": str(bare), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path.name: path for path in tmp_path.rglob("*.noarch.rpm")}
    assert set(made) == {path.name for path in packages.glob("*.noarch.rpm")}
    for name, path in made.items():
        for file in query(path, "[%{FILENAMES}\n]").split():
            if file.endswith((".pp", ".cil", ".te")):
                assert cpio(path, Path(file).name) == cpio(packages / name, Path(file).name)


def test_a_module_that_is_not_what_was_verified_is_not_packed(packages: Path, tmp_path: Path) -> None:
    """%check compares: here the source of a module was changed behind its back."""
    define = ["--define", f"_topdir {tmp_path}"]
    subprocess.run(
        ["rpm", "-i", "--nodeps", *define, next(packages.glob("*.src.rpm"))], check=True, capture_output=True
    )
    te = tmp_path / "SOURCES/lxc_web.te"
    te.write_text(te.read_text().replace("{ accept", "{ relabelto accept") + "\n# changed\n")
    spec = tmp_path / "SPECS/lxc-policy.spec"
    same = subprocess.run(["rpmbuild", "-bc", "--nodeps", *define, spec], capture_output=True, text=True, check=False)
    text = te.read_text()
    assert "name_bind" in text
    te.write_text(text.replace("name_bind", "name_connect"))
    done = subprocess.run(["rpmbuild", "-bb", "--nodeps", *define, spec], capture_output=True, text=True, check=False)
    assert same.returncode == 0, same.stderr
    assert done.returncode != 0
    assert "lxc_web.pp: FAILED" in done.stdout
    assert "cil/lxc_web.cil: FAILED" in done.stdout
    assert "lxc_dns.pp: OK" in done.stdout
    assert not list(tmp_path.rglob("*.noarch.rpm"))


def test_a_module_of_another_checkmodule_is_packed_when_it_becomes_the_same_cil(packages: Path, tmp_path: Path) -> None:
    """As on a build system of another distribution; here checkmodule writes another module version."""
    checkmodule = tmp_path / "bin/checkmodule"
    checkmodule.parent.mkdir()
    checkmodule.write_text(f'#!/bin/sh\nshift 4\nexec {shutil.which("checkmodule")} -M -m -c 20 "$@"\n')
    checkmodule.chmod(0o755)
    target = ["--target", "noarch", "--define", f"_topdir {tmp_path}"]
    done = subprocess.run(
        ["rpmbuild", "--rebuild", "--nodeps", *target, next(packages.glob("*.src.rpm"))],
        env={**os.environ, "PATH": f"{checkmodule.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lxc_web.pp: FAILED" in done.stdout
    assert "cil/lxc_web.cil: OK" in done.stdout
    web = next(tmp_path.rglob("lxc-web-selinux*.noarch.rpm"))
    assert check.check(web, check.Options(), None, quiet).wrong == []
