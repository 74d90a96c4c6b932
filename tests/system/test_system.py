"""Containers in their roles on an enforcing system: each does its job, and nothing of what a hacker would try.

Two guests run side by side. One gets the roles by `labelgen install`; the other runs everything in the parent first, as
the control in which the attacks succeed, and gets the roles by their packages. `make test-system` runs this.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import image
import pytest
from plan import (
    ATTEMPTS,
    CONTENT,
    DOCKER_ATTEMPTS,
    DOCKER_SERVERS,
    FOREIGN,
    KEPT,
    PLAIN,
    SERVERS,
    UPLOADS,
    ZONES,
    Attempt,
    Server,
)

ROLES = ("dns", "ftp", "nonet", "web")
BUILD = "opt/guest/build"
DOCUMENT = image.TOP / "docs" / "system.md"
WRITE_DOCUMENT = "LABELGEN_WRITE_DOCS"

Told = dict[str, Any]


@dataclass(frozen=True)
class Guest:
    """What a guest reported, and the files that it was started with."""

    way: str
    told: Sequence[Told]
    root: Path

    def steps(self, name: str) -> list[Told]:
        """What it told of a step, as often as it did."""
        return [told for told in self.told if told["step"] == name]

    def step(self, name: str) -> Told:
        """What it told of a step that there is once."""
        (found,) = self.steps(name)
        return found

    def json(self, name: str) -> Any:
        """What a command of labelgen's printed in a step, where that was JSON."""
        told = self.step(name)
        assert told["out"], told["err"]
        return json.loads(told["out"])


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Guest]]:
    """Both guests, run to their ends."""
    if os.geteuid() != 0:
        pytest.fail("the guest's files are root's and have labels of their own: run `make test-system` as root")
    scratch = tmp_path_factory.mktemp("guest")
    try:
        yield _run_guests(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_guests(scratch: Path) -> dict[str, Guest]:
    root, disk = scratch / "root", scratch / "disk"
    image.call("cp", "-a", "--reflink=auto", image.guest_root(), root)
    image.put_labelgen_in(root, scratch)
    image.enter(root, "labelgen", "build", "--base", f"/var/lib/selinux/{image.POLICY_TYPE}", "--output", f"/{BUILD}")
    labelgen = Path(sys.executable).parent / "labelgen"
    packages = root / "opt/guest/packages"
    image.call(labelgen, "rpm", "--build", root / BUILD, "--output", packages, "--policy-type", image.POLICY_TYPE)
    image.make_disk(root, disk)

    def run(way: str) -> Guest:
        return Guest(way, list(image.boot(root, disk, way, scratch / f"console-{way}")), root)

    with ThreadPoolExecutor() as pool:
        return {guest.way: guest for guest in pool.map(run, ("install", "packages"))}


@pytest.fixture(params=("install", "packages"))
def guest(guests: dict[str, Guest], request: pytest.FixtureRequest) -> Guest:
    """Each guest in turn."""
    return guests[str(request.param)]


# -- the guests themselves


def test_the_guest_enforced_all_the_time(guest: Guest) -> None:
    assert guest.step("guest")["enforcing"] == "1"
    assert guest.step("end")["enforcing"] == "1"
    assert guest.step("guest")["engine"]["out"].startswith("true "), "podman has no SELinux support there"


def test_every_attempt_was_made(guest: Guest) -> None:
    assert [told["number"] for told in guest.steps("attempt")] == list(range(len(ATTEMPTS)))


@pytest.mark.parametrize(("prefix", "way"), [("control", "packages"), ("docker attempt", "packages")])
def test_every_attempt_was_made_once_more(guests: dict[str, Guest], prefix: str, way: str) -> None:
    wanted = {"control": ATTEMPTS, "docker attempt": DOCKER_ATTEMPTS}[prefix]
    assert [told["number"] for told in guests[way].steps(prefix)] == list(range(len(wanted)))


def test_every_attempt_was_made_in_the_context_of_its_container(guest: Guest) -> None:
    for prefix, names in (("attempt", "{}"), ("control", "plain-{}"), ("docker attempt", "{}")):
        engine = "docker" if prefix.startswith("docker") else "podman"
        contexts = {told["server"]: told["context"] for told in guest.steps("started") if told["engine"] == engine}
        attempts = DOCKER_ATTEMPTS if engine == "docker" else ATTEMPTS
        for told in guest.steps(prefix):
            attempt = attempts[told["number"]]
            assert attempt.on_host or told["context"] == contexts[names.format(attempt.server)], told


def test_every_container_ran_in_its_domain(guest: Guest) -> None:
    _check_domains(guest, "podman", SERVERS)


def test_every_container_of_docker_ran_in_its_domain(guests: dict[str, Guest]) -> None:
    _check_domains(guests["packages"], "docker", DOCKER_SERVERS)


def _check_domains(guest: Guest, engine: str, servers: Sequence[Server]) -> None:
    started = [told for told in guest.steps("started") if told["engine"] == engine][-len(servers) :]
    assert [told["server"] for told in started] == [server.name for server in servers]
    for told, server in zip(started, servers):
        assert re.fullmatch(rf"system_u:system_r:lxc_{server.role}_t:s0:c\d+,c\d+", told["context"]), told


def test_the_control_ran_in_the_parent(guests: dict[str, Guest]) -> None:
    started = guests["packages"].steps("started")[: len(SERVERS)]
    parent = started[0]["context"].split(":")[2]
    for told in started:
        assert re.fullmatch(rf"system_u:system_r:{parent}:s0:c\d+,c\d+", told["context"]), told
    # svirt_lxc_net_t is a name for it there; no role is.
    assert not parent.startswith("lxc_")


# -- what was tried


def succeeded(told: Told, attempt: Attempt) -> bool:
    """Whether an attempt did what it was to do."""
    return told["status"] == 0 and attempt.says in told["out"]


_AVC = re.compile(
    r"avc:  denied  \{ (?P<permissions>[^}]*) \}.*"
    r" scontext=(?P<source>\S+) tcontext=(?P<target>\S+) tclass=(?P<tclass>\w+)"
)


def evidence(told: Told, attempt: Attempt, domain: str) -> Optional[str]:
    """The AVC line that says what was expected to be refused to this domain."""
    assert attempt.refusal is not None
    target = domain if attempt.refusal.target == "self" else attempt.refusal.target
    for line in told["denials"]:
        found = _AVC.search(line)
        if (
            found
            and found["source"].split(":")[2] == domain
            and found["target"].split(":")[2] == target
            and found["tclass"] == attempt.refusal.tclass
            and attempt.refusal.permission in found["permissions"].split()
        ):
            return str(line)
    return None


def _role(attempt: Attempt) -> str:
    return next(server.role for server in SERVERS if server.name == attempt.server)


def _domain(attempt: Attempt) -> str:
    return f"lxc_{_role(attempt)}_t"


NUMBERED = [pytest.param(number, id=f"{item.server}: {item.what}") for number, item in enumerate(ATTEMPTS)]


@pytest.mark.parametrize("number", NUMBERED)
def test_a_role_does_its_job_and_nothing_else(guest: Guest, number: int) -> None:
    _check(ATTEMPTS[number], guest.steps("attempt")[number])


def _check(attempt: Attempt, told: Told) -> None:
    if attempt.refusal is None:
        assert succeeded(told, attempt), told
    else:
        assert not succeeded(told, attempt), told
        assert evidence(told, attempt, _domain(attempt)), told


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=f"{item.server}: {item.what}") for number, item in enumerate(DOCKER_ATTEMPTS)]
)
def test_a_role_is_the_same_with_docker(guests: dict[str, Guest], number: int) -> None:
    _check(DOCKER_ATTEMPTS[number], guests["packages"].steps("docker attempt")[number])


@pytest.mark.parametrize("number", NUMBERED)
def test_the_control_may_all_but_what_categories_keep_apart(guests: dict[str, Guest], number: int) -> None:
    attempt, told = ATTEMPTS[number], guests["packages"].steps("control")[number]
    assert succeeded(told, attempt) == attempt.plain_may, told


def test_explain_says_of_every_refusal_that_it_was_meant(guest: Guest) -> None:
    told = guest.steps("attempt")
    refused = [
        (item, evidence(told[number], item, _domain(item))) for number, item in enumerate(ATTEMPTS) if item.refusal
    ]
    (guest.root / "tmp/audit.log").write_text("".join(f"{line}\n" for _, line in refused))
    said = image.enter(guest.root, "labelgen", "explain", "--build", f"/{BUILD}", "--json", "/tmp/audit.log")
    kinds = Counter(found["kind"] for found in json.loads(said))
    assert sum(kinds.values()) > 0
    assert set(kinds) <= {"deliberate", "mcs"}, said


# -- labelgen on that host


def test_before_the_installation_nothing_is_there(guests: dict[str, Guest]) -> None:
    status = guests["install"].json("status before")
    assert status == {"good": True, "unfinished": False, "selinux": "", "roles": []}


def test_run_refuses_a_role_that_is_not_loaded(guests: dict[str, Guest]) -> None:
    refused = guests["install"].step("refused run")
    assert refused["status"] == 3
    assert "the loaded policy has no role lxc_mail_t (it has lxc_dns_t, lxc_ftp_t" in refused["err"]


def test_the_roles_are_installed_and_loaded(guests: dict[str, Guest]) -> None:
    done = guests["install"].json("install")
    assert done["installed"]
    assert done["loaded"]
    assert sorted(done["roles"]) == list(ROLES)
    # Debian 13's policy: podman.te, docker.te.
    engines = {engine["program"]: engine for engine in done["engines"]}
    for program, domain in (("/usr/bin/podman", "podman_t"), ("/usr/sbin/dockerd", "dockerd_t")):
        assert domain in engines[program]["domains"]
        assert engines[program]["starts_containers"]
        assert engines[program]["refused"] == []


def test_the_packages_install_without_a_complaint(guests: dict[str, Guest]) -> None:
    told = guests["packages"].step("install")
    assert (told["status"], told["err"]) == (0, "")


def test_status_tells_the_truth(guest: Guest) -> None:
    status = guest.json("status installed")
    assert status["good"], status
    assert [role["role"] for role in status["roles"]] == list(ROLES)
    for role in status["roles"]:
        assert role["loaded"]
        assert role["containers"] == []


def test_status_counts_the_containers(guests: dict[str, Guest]) -> None:
    roles = {role["role"]: role["containers"] for role in guests["install"].json("status running")["roles"]}
    # web and its twin share their categories, so they are one to SELinux.
    assert {name: len(containers) for name, containers in roles.items()} == {"dns": 1, "ftp": 1, "nonet": 1, "web": 2}
    assert "lxc_web_t:s0:c11,c12" in " ".join(container["context"] for container in roles["web"])


def test_a_quadlet_that_was_exported_runs_in_the_role_with_its_sysctls(guests: dict[str, Guest]) -> None:
    told = guests["install"].step("quadlet")
    context, fast_open, local_ports = told["out"].split("\n", 2)
    assert context.startswith("system_u:system_r:lxc_web_t:s0:c"), told
    assert (fast_open, local_ports.split()) == ("0", ["65535", "65535"])


def test_a_role_can_be_the_default_type_of_a_host(guests: dict[str, Guest]) -> None:
    told = guests["install"].step("by default")
    assert told["out"].startswith("system_u:system_r:lxc_nonet_t:s0:c"), told


def test_docker_sets_the_sysctls(guests: dict[str, Guest]) -> None:
    _, fast_open, local_ports = guests["packages"].step("docker sysctls")["out"].split("\n", 2)
    assert (fast_open, local_ports.split()) == ("0", ["65535", "65535"])


def test_standard_input_signals_and_exit_status_pass_through(guests: dict[str, Guest]) -> None:
    told = guests["install"].step("pipe")
    assert (told["status"], told["said"].splitlines()) == (5, ["got piped", "interrupted", "told to end"])


def test_a_terminal_passes_through(guests: dict[str, Guest]) -> None:
    told = guests["install"].step("terminal")
    assert told["status"] == 5, told
    positions = [told["said"].find(word) for word in ("33 77", "got typed", "interrupted", "told to end")]
    assert positions == sorted(positions), told
    assert -1 not in positions, told


def test_files_of_the_roles_are_labelled(guest: Guest) -> None:
    labels = {told["path"]: told["context"].split(":", 2)[2] for told in guest.steps("label")}
    assert labels == {
        CONTENT: "lxc_web_content_t:s0",
        ZONES: "lxc_dns_data_t:s0",
        UPLOADS: "lxc_ftp_data_t:s0",
        FOREIGN: "lxc_web_content_t:s0",
    }


def test_files_that_have_the_roles_type_keep_their_categories(guests: dict[str, Guest]) -> None:
    told = guests["install"].step("relabelled")
    assert told["status"] == 0, told
    labels = {path: context.split(":", 2)[2] for path, context in told["labels"].items()}
    assert labels == {
        CONTENT: "lxc_web_content_t:s0",
        FOREIGN: "lxc_web_content_t:s0",
        KEPT: "lxc_web_content_t:s0:c7,c8",
    }


def test_remove_refuses_while_containers_run(guests: dict[str, Guest]) -> None:
    refused = guests["install"].step("refused remove")
    assert refused["status"] == 2
    assert "lxc_" in refused["err"]


def test_removal_leaves_no_trace(guest: Guest) -> None:
    assert guest.step("remove")["status"] == 0, guest.step("remove")
    assert guest.json("status removed")["roles"] == []
    assert " lxc_" not in guest.step("modules left")["out"]
    assert guest.step("contexts left")["lines"] == []


# -- the table in the documentation


def _cell(told: Told, attempt: Attempt, domain: str) -> str:
    if succeeded(told, attempt):
        return "yes"
    if attempt.refusal is None:
        return "FAILED"
    return (
        f"refused: {attempt.refusal.tclass} {attempt.refusal.permission}" if evidence(told, attempt, domain) else "no"
    )


def _table(guests: dict[str, Guest]) -> str:
    rows = [("role", "tries to", f"with `{PLAIN}`", "in its role")]
    for number, attempt in enumerate(ATTEMPTS):
        control = guests["packages"].steps("control")[number]
        cells = {_cell(guest.steps("attempt")[number], attempt, _domain(attempt)) for guest in guests.values()}
        plain = "yes" if succeeded(control, attempt) else "refused"
        rows.append((_role(attempt), attempt.what, plain, " / ".join(sorted(cells))))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---|---|---|---|", *lines[1:]])


def test_the_table_in_the_docs_is_what_was_measured(guests: dict[str, Guest]) -> None:
    begin, end = "<!-- measured -->\n", "<!-- /measured -->\n"
    table = _table(guests)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    fresh = f"{before}{begin}{table}\n{end}{after}"
    if os.environ.get(WRITE_DOCUMENT):
        DOCUMENT.write_text(fresh, encoding="utf-8")
    assert text == fresh or os.environ.get(WRITE_DOCUMENT), f"{WRITE_DOCUMENT}=1 make test-system writes it anew"
