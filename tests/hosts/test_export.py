"""What a role is exported as, checked by a real reader of each format: podman's systemd generator, docker-compose, the
schemas of the Kubernetes API, and libsepol for default contexts."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from commandline import Place, shared_cache

from labelgen.shipped import packaged

GENERATORS = ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet")
ROLES = ("dns", "ftp", "nonet", "web")
ONE_PORT = {"net.ipv4.tcp_fastopen": "0", "net.ipv4.ip_local_port_range": "65535 65535"}
FEW_PORTS = {**ONE_PORT, "net.ipv4.ip_local_port_range": "60000 60999"}
SYSCTLS = {"dns": FEW_PORTS, "ftp": ONE_PORT, "nonet": {}, "web": ONE_PORT}
ODD_IMAGE = "registry.example/100%/$name:1"


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path / "place"
    folder.mkdir()
    place = Place(folder, shared_cache(tmp_path_factory))
    for role in packaged("roles").glob("*.yaml"):
        shutil.copy(role, place.roles)
    return place


def exported(place: Place, *arguments: str) -> str:
    done = place.call("export", *arguments)
    assert done.status == 0, done.stderr
    return done.stdout


# -- quadlet


def _generated(tmp_path: Path, unit: str, name: str) -> list[str]:
    """The command that podman's generator makes of a .container file."""
    generator = next((path for path in GENERATORS if os.access(path, os.X_OK)), None)
    if generator is None:
        pytest.skip("podman's systemd generator is not here (it comes with podman 4.4)")
    (tmp_path / "units").mkdir()
    (tmp_path / f"units/{name}.container").write_text(unit)
    done = subprocess.run(
        [generator, "-dryrun"], env={**os.environ, "QUADLET_UNIT_DIRS": str(tmp_path / "units")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return shlex.split(next(line for line in done.stdout.splitlines() if line.startswith("ExecStart=")))


@pytest.mark.parametrize("role", ROLES)
def test_the_generator_of_podman_makes_the_command_of_a_quadlet(place: Place, tmp_path: Path, role: str) -> None:
    command = _generated(tmp_path, exported(place, "quadlet", role), role)
    assert command[command.index("--security-opt") + 1] == f"label=type:lxc_{role}_t"
    sysctls = [command[number + 1] for number, word in enumerate(command) if word == "--sysctl"]
    assert dict(item.split("=", 1) for item in sysctls) == SYSCTLS[role]
    assert ("none" in command) is (role == "nonet")
    assert command[-1] == f"localhost/{role}"


@pytest.mark.parametrize("role", ROLES)
def test_a_quadlet_says_what_the_generator_needs(place: Place, role: str) -> None:
    lines = exported(place, "quadlet", role, "--image", ODD_IMAGE).splitlines()
    container = lines[lines.index("[Container]") + 1 : lines.index("[Install]")]
    assert f"SecurityLabelType=lxc_{role}_t" in container
    assert [line for line in container if line.startswith("Sysctl=")] == [
        f'Sysctl="{name}={value}"' for name, value in SYSCTLS[role].items()
    ]
    assert ("Network=none" in container) is (role == "nonet")
    # systemd.unit(5): a percent sign begins a specifier.
    assert "Image=registry.example/100%%/$name:1" in container


# -- compose


@pytest.mark.parametrize("role", ROLES)
def test_docker_compose_reads_a_compose_file(place: Place, tmp_path: Path, role: str) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    path = tmp_path / "compose.yaml"
    path.write_text(exported(place, "compose", role, "--image", ODD_IMAGE))
    done = subprocess.run(["docker-compose", "-f", path, "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load(done.stdout)["services"][role]
    assert service["security_opt"] == [f"label=type:lxc_{role}_t"]
    assert service.get("sysctls", {}) == SYSCTLS[role]
    assert service.get("network_mode") == ("none" if role == "nonet" else None)
    assert service["image"].replace("$$", "$") == ODD_IMAGE


# -- kubernetes


def _documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_is_what_the_kubernetes_api_takes(place: Place, role: str) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    documents = _documents(exported(place, "kubernetes", role))
    for document in documents:
        validate.validate(document, validate.latest_version(), strict=True)
    pod = documents[0]["spec"]
    [container] = pod["containers"]
    assert container["securityContext"] == {"privileged": False, "seLinuxOptions": {"type": f"lxc_{role}_t"}}
    sysctls = pod.get("securityContext", {}).get("sysctls", [])
    assert {item["name"]: item["value"] for item in sysctls} == SYSCTLS[role]


def test_the_schema_of_the_api_refuses_what_it_does_not_know(place: Place) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    [pod] = _documents(exported(place, "kubernetes", "web"))
    pod["spec"]["containers"][0]["securityContext"]["seLinuxType"] = "lxc_web_t"
    with pytest.raises(validate.ValidationError):
        validate.validate(pod, validate.latest_version(), strict=True)


def test_a_pod_says_which_sysctl_the_kubelet_must_allow(place: Place) -> None:
    assert "--allowed-unsafe-sysctls=net.ipv4.tcp_fastopen" in exported(place, "kubernetes", "web")
    assert "unsafe" not in exported(place, "kubernetes", "nonet")


def test_a_role_without_a_network_gets_a_policy_that_lets_nothing_through(place: Place) -> None:
    policy = _documents(exported(place, "kubernetes", "nonet"))[1]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"] and "egress" not in policy["spec"]


def test_a_name_that_kubernetes_would_refuse_is_written_its_way(place: Place) -> None:
    place.role("name: job_runner\nsummary: Runs jobs.\nnetwork: none\n", "job_runner.yaml")
    [pod, _] = _documents(exported(place, "kubernetes", "job_runner"))
    assert pod["metadata"]["name"] == "job-runner"
    assert pod["spec"]["containers"][0]["securityContext"]["seLinuxOptions"]["type"] == "lxc_job_runner_t"


# -- all


@pytest.mark.parametrize("form", ["quadlet", "compose", "kubernetes"])
def test_the_ports_to_publish_and_the_local_ports_are_said(place: Place, form: str) -> None:
    said = exported(place, form, "ftp", "--local-ports", "40000-40009")
    assert "# Ports that the role may bind, to be published: tcp/21, tcp/30100-30199." in said
    assert "40000 40009" in said


@pytest.mark.parametrize("image", ["", "--privileged", "a b", "x\nPodmanArgs=--privileged"])
def test_what_is_no_image_is_refused(place: Place, image: str) -> None:
    place.call("export", "quadlet", "web", "--image", image).refused("is no image")


def test_a_summary_cannot_add_a_line(place: Place) -> None:
    place.role('name: web\nsummary: "x %n \\\\"\nnetwork: none\n')
    lines = exported(place, "quadlet", "web").splitlines()
    assert "Description=x %%n \\\\" in lines


def test_an_unknown_form_or_role_is_told(place: Place) -> None:
    assert place.call("export", "helm", "web").status == 2
    assert place.call("export", "compose", "mail").status == 2


# -- default contexts


def loaded_labels(text: str) -> dict[str, str]:
    """What opencontainers/selinux reads (go-selinux/selinux_linux.go, loadLabels): blank lines and those that begin
    with ; or # are skipped, the rest is cut at the first =, and quotes are trimmed."""
    found = {}
    for line in map(str.strip, text.splitlines()):
        if line and line[0] not in ";#" and "=" in line:
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip().strip('"')
    return found


def _root(place: Place, contexts: str, at: str = "etc/selinux/targeted/contexts/lxc_contexts") -> Path:
    root = place.folder.parent / "root"
    for path in (root / "etc/selinux/config", root / at):
        path.parent.mkdir(parents=True, exist_ok=True)
    (root / "etc/selinux/config").write_text("SELINUXTYPE=targeted\n")
    (root / at).write_text(contexts)
    return root


def test_the_contexts_of_a_host_are_kept_but_for_the_process(place: Place) -> None:
    root = _root(
        place,
        'process = "system_u:system_r:container_t:s0"\ncontent = "system_u:object_r:virt_var_lib_t:s0"\n'
        'file = "system_u:object_r:container_file_t:s0"\nro_file="system_u:object_r:container_ro_file_t:s0"\n'
        'sandbox_kvm_process = "system_u:system_r:svirt_qemu_net_t:s0"\n'
        'sandbox_lxc_process = "system_u:system_r:container_t:s0"\n',
    )  # fmt: skip
    done = place.call("contexts", "nonet", "--base", "reference", "--root", root)
    assert loaded_labels(done.stdout) == {
        "process": "system_u:system_r:lxc_nonet_t:s0",
        "init_process": "system_u:system_r:lxc_nonet_t:s0",
        "sandbox_lxc_process": "system_u:system_r:lxc_nonet_t:s0",
        "content": "system_u:object_r:virt_var_lib_t:s0",
        "file": "system_u:object_r:container_file_t:s0",
        "ro_file": "system_u:object_r:container_ro_file_t:s0",
        "sandbox_kvm_process": "system_u:system_r:svirt_qemu_net_t:s0",
    }
    assert str(root / "etc/selinux/targeted/contexts/lxc_contexts") in done.stderr


def test_what_the_policy_lacks_of_the_contexts_is_told(place: Place) -> None:
    """An engine that is given a context which the policy does not have starts no container at all."""
    root = _root(
        place, 'content = "system_u:object_r:virt_var_lib_t:s0"\nfile = "system_u:object_r:container_file_t:s0"\n'
    )
    done = place.call("contexts", "nonet", "--base", "reference", "--root", root)
    notes = done.stderr.splitlines()[1:]
    assert len(notes) == 2
    assert "lxc_nonet_t is not in the policy of this host" in notes[0] and "labelgen install nonet" in notes[0]
    assert "content names virt_var_lib_t" in notes[1]


def test_the_file_that_engines_read_first_is_the_one_to_change(place: Place) -> None:
    at = "usr/share/containers/selinux/contexts"
    root = _root(place, 'process = "system_u:system_r:container_t:s0"\nfile = "a:object_r:b_t:s0"\n', at)
    shown = json.loads(place.call("contexts", "web", "--base", "reference", "--root", root, "--json").stdout)
    assert shown["read_first"] == [str(root / at)]
    assert loaded_labels(shown["text"])["file"] == "a:object_r:b_t:s0"


def test_contexts_made_for_a_base_are_valid_in_its_policy(place: Place, tmp_path: Path) -> None:
    """setfiles -c asks libsepol whether each context is one of the policy's."""
    (tmp_path / "none").mkdir()
    assert place.build().status == 0
    done = place.call("contexts", "web", "--base", "reference", "--root", tmp_path / "none")
    labels = loaded_labels(done.stdout)
    assert labels["process"] == "system_u:system_r:lxc_web_t:s0"
    assert set(labels) >= {"process", "file", "content"}
    policy = _linked(place)
    for label in labels.values():
        (tmp_path / "contexts").write_text(f"/x -- {label}\n")
        checked = subprocess.run(["setfiles", "-c", policy, tmp_path / "contexts"], capture_output=True, check=False)
        assert checked.returncode == 0, (label, checked.stderr)


def _linked(place: Place) -> Path:
    """The build of a place, linked onto the reference base with secilc."""
    policy = place.folder.parent / "linked"
    reference = sorted((packaged("roles").parent / "labelgen/reference").glob("*.cil"))
    files = [*reference, *sorted(place.output.glob("*/*.cil"))]
    subprocess.run(
        ["secilc", "-N", "-m", "-M", "true", "-c", "33", "-o", policy, "-f", place.folder.parent / "fc", *files],
        check=True,
    )
    return policy
