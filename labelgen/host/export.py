"""A role in the words of what starts containers: a quadlet, a compose file, a Kubernetes pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from labelgen.errors import InputError
from labelgen.host import limits
from labelgen.network import FAST_OPEN_SYSCTL, LOCAL_PORTS_SYSCTL, PROTOCOLS
from labelgen.role import Role


@dataclass(frozen=True)
class Request:
    """What to write: the role, the image, and the range of local ports if not the usual."""

    role: Role
    image: str
    local_ports: str = ""

    @property
    def sysctls(self) -> dict[str, str]:
        """The sysctls that close the role's limits."""
        found = dict(limits.of_role(self.role).sysctls)
        if self.local_ports and LOCAL_PORTS_SYSCTL in found:
            found[LOCAL_PORTS_SYSCTL] = limits.local_ports(self.local_ports)
        return found

    @property
    def has_network(self) -> bool:
        """Whether the role may have a network."""
        return limits.of_role(self.role).network

    def header(self) -> str:
        """Comments: what the role is, and which ports may be published."""
        network = self.role.declared_network
        bound = [f"{name}/{port}" for name in PROTOCOLS for port in (network.bound(name) if network else ())]
        ports = f"Ports that the role may bind, to be published: {', '.join(bound)}." if bound else "It binds no port."
        return f"# {self.role.type}: {self.role.summary}\n# {ports}\n"


def quadlet(request: Request) -> str:
    """A .container file for podman's systemd generator (podman-systemd.unit(5)): SecurityLabelType since podman 4.5,
    Sysctl since 4.6."""
    lines = [
        "[Unit]",
        f"Description={_escaped(request.role.summary)}",
        "",
        "[Container]",
        f"Image={_escaped(request.image)}",
        f"SecurityLabelType={request.role.type}",
        *(f'Sysctl="{name}={value}"' for name, value in request.sysctls.items()),
        *([] if request.has_network else ["Network=none"]),
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return request.header() + "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A value of a unit file: % begins a specifier, and a backslash at the end joins lines (systemd.syntax(7))."""
    return text.replace("\\", "\\\\").replace("%", "%%")


def compose(request: Request) -> str:
    """A compose file (the Compose Specification, services: security_opt, sysctls, network_mode)."""
    service: dict[str, Any] = {"image": _literal(request.image), "security_opt": [f"label=type:{request.role.type}"]}
    if request.sysctls:
        service["sysctls"] = request.sysctls
    if not request.has_network:
        service["network_mode"] = "none"
    return request.header() + _yaml({"services": {request.role.name: service}})


def _literal(text: str) -> str:
    """A text in which $ begins no variable."""
    return text.replace("$", "$$")


# The kubelet refuses other sysctls of a pod unless it is told to allow them (kubernetes.io, "Using sysctls in a
# Kubernetes Cluster"). Of ours the local port range is among the safe ones.
_UNSAFE = (
    f"# {FAST_OPEN_SYSCTL} is not one of the safe sysctls: the kubelet refuses this pod unless it was started with\n"
    f"# --allowed-unsafe-sysctls={FAST_OPEN_SYSCTL}. Without that line TCP Fast Open may go round the connect check.\n"
)
_NO_NETWORK = (
    "# Kubernetes gives every pod a network. The type keeps the container off it; the NetworkPolicy keeps others from\n"
    "# it, where the cluster's network enforces such policies.\n"
)


def kubernetes(request: Request) -> str:
    """A pod (Kubernetes API v1: seLinuxOptions of a container's securityContext, sysctls of the pod's)."""
    name = request.role.name.replace("_", "-")
    container = {
        "name": name,
        "image": request.image,
        "securityContext": {"privileged": False, "seLinuxOptions": {"type": request.role.type}},
    }
    spec: dict[str, Any] = {"containers": [container]}
    if request.sysctls:
        sysctls = [{"name": key, "value": value} for key, value in request.sysctls.items()]
        spec = {"securityContext": {"sysctls": sysctls}, **spec}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
    text = request.header() + (_UNSAFE if FAST_OPEN_SYSCTL in request.sysctls else "")
    if request.has_network:
        return text + _yaml(pod)
    return text + _NO_NETWORK + _yaml(pod) + "---\n" + _yaml(_closed(name))


def _closed(name: str) -> dict[str, Any]:
    """A NetworkPolicy that lets nothing in and nothing out."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress", "Egress"]},
    }


def _yaml(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


FORMATS: Mapping[str, Callable[[Request], str]] = {"quadlet": quadlet, "compose": compose, "kubernetes": kubernetes}


def export(form: str, request: Request) -> str:
    """A role in a form of FORMATS. Raises InputError for an image that is no image's name."""
    if not request.image.isprintable() or not request.image or " " in request.image or request.image.startswith("-"):
        raise InputError(f"{request.image!r} is no image", "write its name, as in docker.io/library/nginx")
    return FORMATS[form](request)
