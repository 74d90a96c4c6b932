"""`labelgen rpm` and `labelgen check` on the command line: what they refuse, and what they leave when they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest
from commandline import Outcome, Place, shared_cache
from handmade import make_tree, role_te
from packs import Pack
from pytest_subprocess import FakeProcess

from labelgen import output
from labelgen.errors import InputError
from labelgen.packing import targets

XPERMS = "allowxperm lxc_web_t self:tcp_socket ioctl { 0x8903 };\n"
XPERM_NEEDS = "    class tcp_socket { ioctl create };\n"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A workplace with a small build in it."""
    folder = tmp_path / "place"
    folder.mkdir()
    found = Place(folder, shared_cache(tmp_path_factory))
    make_tree(found.output, {"web": role_te("web"), "dns": role_te("dns")})
    return found


def pack(place: Place, *arguments: str, env: Optional[Mapping[str, str]] = None) -> Outcome:
    """`labelgen rpm` in a workplace."""
    return place.call("rpm", *arguments, env=env)


def names(place: Place) -> set[str]:
    """What was packed, without version."""
    return {path.name.split("-1.0-1")[0] for path in (place.folder / "packages").glob("*.noarch.rpm")}


def test_all_roles_are_packed_and_listed(place: Place) -> None:
    done = pack(place)
    assert done.status == 0
    assert names(place) == {"lxc-base-selinux", "lxc-web-selinux", "lxc-dns-selinux"}
    assert sorted(done.stdout.split()) == sorted(
        str(path.relative_to(place.folder)) for path in (place.folder / "packages").glob("*.rpm")
    )


def test_only_the_named_roles_are_packed_with_what_they_share(place: Place) -> None:
    assert pack(place, "web").status == 0
    assert names(place) == {"lxc-base-selinux", "lxc-web-selinux"}


def test_json_names_the_packages(place: Place) -> None:
    done = pack(place, "--json")
    said = json.loads(done.stdout)
    assert {Path(name).name for name in said["packages"]} == {
        path.name for path in (place.folder / "packages").glob("*.rpm")
    }


def test_packages_take_the_place_of_older_ones_whole(place: Place) -> None:
    assert pack(place).status == 0
    assert pack(place, "web", "--version", "2").status == 0
    assert {path.name for path in (place.folder / "packages").glob("*.noarch.rpm")} == {
        "lxc-base-selinux-2-1.noarch.rpm",
        "lxc-web-selinux-2-1.noarch.rpm",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mail"], ["has no role 'mail'", "it has dns, web"]),
        (["--target", "el6"], ["there is no target 'el6'", "known are el7, el8, el9, el10, fedora"]),
        (["--target", "el77"], ["did you mean 'el7'?"]),
        (["--version", "1-0"], ["'1-0' is no version"]),
        (["--version", "%(id)"], ["is no version"]),
        (["--version", "1..2"], ["'1..2' is no version"]),
        (["--version", "1^2", "--target", "el7"], ["el7's rpm reads no ^ in a version: 1^2"]),
        (["--release", "1^2", "--target", "el8"], ["el8's rpm reads no ^ in a version: 1^2"]),
        (["--selinux-policy", "1^2", "--target", "el8"], ["el8's rpm reads no ^ in a version: 1^2"]),
        (["--release", "1\n%post"], ["is no release"]),
        (["--policy-type", "../x"], ["'../x' is no type of policy"]),
        (["--selinux-policy", "40; id"], ["is no version of selinux-policy"]),
        (["--build", "nowhere"], ["nowhere"]),
        (["--sign", "%(id)"], ["is no key"]),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(place: Place, arguments: list[str], words: list[str]) -> None:
    pack(place, *arguments).refused(*words)


@pytest.mark.parametrize("value", ["yesterday", "-1", "1.5", "", "99999999999"])
def test_a_time_that_is_none_is_told(place: Place, value: str) -> None:
    pack(place, env={"SOURCE_DATE_EPOCH": value}).refused("SOURCE_DATE_EPOCH")


def test_a_passphrase_without_a_signature_is_told(place: Place) -> None:
    done = pack(place, "--passphrase-file", "x")
    assert done.status == 2
    assert "--passphrase-file is for --sign" in done.stderr


def test_a_build_that_was_changed_is_not_packed(place: Place) -> None:
    path = place.output / "lxc_web/lxc_web.te"
    path.write_text(path.read_text() + "# mine\n")
    pack(place).refused("build/lxc_web/lxc_web.te: this file was changed")


def test_a_role_file_that_was_changed_since_is_told(place: Place) -> None:
    path = place.role("name: web\nsummary: A role of the tests.\nnetwork: none\n")
    place.build().held()
    assert "changed after the build" not in pack(place, "web").stderr
    path.write_text(path.read_text() + "# mine\n")
    again = pack(place, "web", "--output", "again")
    assert again.status == 0, again.stderr
    assert "note: roles/web.yaml: the role file was changed after the build" in again.stderr


def test_a_build_of_which_a_claim_does_not_hold_is_not_packed(place: Place) -> None:
    path, manifest = place.output / "verdict.json", place.output / "manifest.json"
    before = output.digest(path)
    path.write_text(path.read_text().replace('"holds": true', '"holds": false'))
    manifest.write_text(manifest.read_text().replace(before, output.digest(path)))
    pack(place).refused("build/verdict.json: a claim does not hold")


def test_a_file_that_the_build_does_not_know_is_told(place: Place) -> None:
    (place.output / "lxc_web/more.cil").write_text("(type x)\n")
    pack(place).refused("build/lxc_web/more.cil")


@pytest.mark.parametrize(
    "change",
    [
        {"modules": [{"name": "../x", "version": 9}]},
        {"modules": [{"name": "lxc_web\n%post", "version": 9}]},
        {"modules": []},
        {"modules": 3},
        {"base": 3},
        {"files": {"../../etc/passwd": "0" * 64}},
        {"files": []},
    ],
)
def test_a_manifest_that_says_something_strange_is_told(place: Place, change: dict[str, object]) -> None:
    path = place.output / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    pack(place).refused("build", lines=20)


def test_folders_of_others_are_not_replaced(place: Place) -> None:
    (place.folder / "packages").mkdir()
    (place.folder / "packages/mine").write_text("mine")
    pack(place).refused("packages")


def test_what_a_target_cannot_have_is_refused_with_its_name(place: Place) -> None:
    shutil.rmtree(place.output)
    make_tree(place.output, {"web": role_te("web", XPERMS, XPERM_NEEDS), "dns": role_te("dns")})
    pack(place, "--target", "el7").refused("lxc_web uses filters of ioctl commands", "el7 reads up to 17")
    assert pack(place, "dns", "--target", "el7").status == 0
    assert pack(place, "--target", "el8").status == 0


@pytest.mark.parametrize(("version", "needed"), [("1^2", "CaretInVersions"), ("1~2", "TildeInVersions")])
def test_rpm_itself_asks_for_what_a_version_needs(place: Place, version: str, needed: str) -> None:
    """What targets.caret goes by: rpm 4.15 reads ^, rpm 4.10 ~, and no older one installs the package."""
    assert pack(place, "--version", version, "--target", "el9").status == 0
    package = next((place.folder / "packages").glob("lxc-base-*.rpm"))
    done = subprocess.run(["rpm", "-qp", "--requires", package], capture_output=True, text=True, check=True)
    assert f"rpmlib({needed})" in done.stdout


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_target_reads_what_the_kernels_of_its_time_have(name: str) -> None:
    """Module version 17 is libsepol 2.5's, the oldest of all."""
    targets.refuse_what_it_cannot_have(targets.named(name), [("lxc_web", 17)])
    with pytest.raises(InputError, match="reads up to"):
        targets.refuse_what_it_cannot_have(targets.named(name), [("lxc_web", 99)])


def test_a_missing_rpmbuild_is_told_with_its_package(place: Place, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("checkmodule", "semodule_package"):
        (bare / program).symlink_to(str(shutil.which(program)))
    if Path("/usr/bin/rpmbuild").exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("labelgen.programs.shutil.which", lambda name, path=None: None)
            done = pack(place)
    else:
        done = pack(place, env={"PATH": str(bare)})
    done.refused("the program rpmbuild is not installed", "apt-get install rpm", "dnf install rpm-build", status=3)


def test_an_rpmbuild_that_fails_is_told_with_its_words_and_leaves_nothing(place: Place, fp: FakeProcess) -> None:
    rpmbuild = str(shutil.which("rpmbuild"))
    noise = [f"+ noise {number}" for number in range(50)]
    fp.register([rpmbuild, fp.any()], stderr="\n".join([*noise, "error: No space left on device"]), returncode=1)
    done = pack(place)
    done.refused("rpmbuild failed", "No space left on device", status=3, lines=14)
    assert "noise" not in done.stderr


def test_an_rpmbuild_that_is_killed_is_told(place: Place, fp: FakeProcess) -> None:
    fp.register([str(shutil.which("rpmbuild")), fp.any()], returncode=-9)
    pack(place).refused("rpmbuild", status=3, lines=6)


def test_one_rpmbuild_makes_all_packages(place: Place, fp: FakeProcess) -> None:
    fp.pass_command([fp.any()])
    assert pack(place).status == 0
    assert fp.call_count([str(shutil.which("rpmbuild")), fp.any()]) == 1


def test_check_ends_with_1_where_something_is_wrong(place: Place) -> None:
    assert pack(place).status == 0
    assert place.call("check", "packages").status == 0
    path = next((place.folder / "packages").glob("lxc-web*"))
    path.write_bytes(path.read_bytes()[:-1])
    done = place.call("check", "packages")
    assert done.status == 1
    assert f"packages/{path.name}" in done.stdout
    said = json.loads(place.call("check", "packages", "--json").stdout)
    assert said["holds"] is False
    assert any(path.name in line for line in said["wrong"])


def test_check_of_nothing_is_told(place: Place) -> None:
    place.call("check", "nowhere").refused("there is no nowhere")


def test_a_base_for_no_rebuild_is_told(place: Place) -> None:
    done = place.call("check", "build", "--base", "reference")
    assert done.status == 2
    assert "--base is for --rebuild" in done.stderr


def test_packages_that_rpmbuild_made_alone_are_the_packages(place: Place, pack_tree: Pack, tmp_path: Path) -> None:
    """What labelgen hands to rpmbuild is all there is: with rpm's own defaults the files are the same."""
    folder = pack_tree(place.output)
    define = ["--define", f"_topdir {tmp_path}"]
    source = next(folder.glob("*.src.rpm"))
    subprocess.run(["rpmbuild", "--rebuild", "--nodeps", *define, source], check=True, capture_output=True)
    query = ["rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEDIGESTS} %{FILEMODES:octal} %{FILEUSERNAME}\n]"]
    for path in folder.glob("*.noarch.rpm"):
        other = next(tmp_path.rglob(f"RPMS/**/{path.name}"))
        said = [subprocess.run([*query, x], capture_output=True, text=True, check=True).stdout for x in (path, other)]
        assert said[0] == said[1]
