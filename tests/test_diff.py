"""labelgen diff: what differs between two states of roles, and that two things which hold no roles are not the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bases import BuiltRoles
from commandline import Place, binds, shared_cache, with_network


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path, shared_cache(tmp_path_factory))


def test_role_files_differ_by_what_they_declare(place: Place) -> None:
    old = place.role(binds("80, '8000-8010'"), "old.yaml")
    new = place.role(with_network("  bind:\n    tcp: [80, '8005-8010']\n  connect: {udp: any}"), "new.yaml")
    done = place.call("diff", old, new)
    assert (done.status, done.stdout) == (1, "web: - bind tcp/8000-8004; + connect udp\n")
    assert place.call("diff", new, new).stdout == "nothing differs on the network\n"


def test_builds_differ_by_what_their_roles_can_do(place: Place) -> None:
    for name, ports in (("old", "443"), ("new", "443, 22")):
        place.role(binds(ports))
        place.build("--output", name).held()
    done = place.call("diff", "old", "new", "--json")
    assert done.status == 1
    assert {"role": "web", "sign": "+", "what": "bind tcp/22"} in json.loads(done.stdout)
    assert place.call("diff", "old", "old").status == 0


def test_neighbours_of_declared_ports_are_set_apart(place: Place) -> None:
    """80, 81 and 443 have one type on the reference; SSH's has port 22 alone."""
    for name, ports in (("old", "22"), ("new", "80"), ("more", "80, 443")):
        place.role(binds(ports))
        place.build("--output", name).held()
    done = place.call("diff", "old", "new")
    assert done.stdout.startswith("web: + bind tcp/80; + neighbours: bind tcp/81, 443")
    assert "; - bind tcp/22" in done.stdout
    assert place.call("diff", "new", "more").stdout == "web: + declared, and no longer a neighbour: bind tcp/443\n"
    assert place.call("diff", "more", "new").stdout == "web: - declared, and now a neighbour: bind tcp/443\n"


def test_builds_differ_by_the_files_of_their_roles(place: Place) -> None:
    files = "files:\n  - {{path: '/srv/lxc/web/{}(/.*)?', access: {}}}\n"
    for name, path, access in (("old", "a", "read"), ("new", "a", "write"), ("other", "b", "read")):
        place.role(binds("443") + files.format(path, access))
        place.build("--output", name).held()
    done = place.call("diff", "old", "new")
    assert (done.status, done.stdout) == (
        1,
        "web: + write /srv/lxc/web/a(/.*)?; - read /srv/lxc/web/a(/.*)?\n",
    )
    done = place.call("diff", "old", "other")
    assert (done.status, done.stdout) == (1, "web: + read /srv/lxc/web/b(/.*)?; - read /srv/lxc/web/a(/.*)?\n")


def _without_and_with(rule: str, roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two policies with the roles in them, the second with a rule more."""
    more = tmp_path_factory.mktemp("rule") / "more.cil"
    more.write_text(f"{rule}\n")
    return roles.link(tmp_path_factory.mktemp("old")), roles.link(tmp_path_factory.mktemp("new"), [more])


def test_policies_differ_by_the_unix_sockets_that_roles_may_talk_to(
    place: Place, reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old, new = _without_and_with(
        "(allow lxc_web_t named_t (unix_stream_socket (connectto)))", reference_roles, tmp_path_factory
    )
    done = place.call("diff", old, new)
    assert done.stdout == "web: + talk to the unix sockets of named_t (unix_stream_socket connectto)\n"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("(typepermissive lxc_web_t)", "permissive: nothing is refused to it"),
        ("(allow lxc_web_t named_t (process (transition)))", "process transition on named_t"),
        ("(allow lxc_web_t security_t (security (load_policy)))", "security load_policy on security_t"),
        ("(allow lxc_web_t sysctl_net_t (file (write)))", "file write on sysctl_net_t"),
        ("(allow lxc_web_t usermodehelper_t (file (append)))", "file append on usermodehelper_t"),
        ("(allow lxc_web_t proc_t (filesystem (relabelfrom)))", "filesystem relabelfrom on proc_t"),
        (
            "(typetransition lxc_web_t lxc_web_t tcp_socket container_t)",
            "another label: type_transition lxc_web_t lxc_web_t:tcp_socket container_t;",
        ),
    ],
    ids=["permissive", "transition", "no-policy", "sysctl", "helper", "relabels-helpers", "sockets-of-another"],
)
def test_policies_differ_by_what_leads_to_more_network(
    place: Place, reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory, rule: str, told: str
) -> None:
    old, new = _without_and_with(rule, reference_roles, tmp_path_factory)
    done = place.call("diff", old, new)
    assert (done.status, done.stdout) == (1, f"web: + {told}\n")
    assert place.call("diff", new, new).status == 0


@pytest.mark.parametrize(
    ("statement", "sign", "told"),
    [
        ("(policycap always_check_network)", "+", "the policy capability always_check_network"),
        (
            "(mlsconstrain (tcp_socket (name_bind)) (neq t1 lxc_web_t))",
            "-",
            "what this refuses: constrain tcp_socket name_bind (t1 != lxc_web_t);",
        ),
    ],
    ids=["capability", "constraint"],
)
def test_policies_differ_by_what_decides_about_the_network_besides_rules(
    place: Place,
    reference_roles: BuiltRoles,
    tmp_path_factory: pytest.TempPathFactory,
    statement: str,
    sign: str,
    told: str,
) -> None:
    old, new = _without_and_with(statement, reference_roles, tmp_path_factory)
    done = place.call("diff", old, new)
    assert done.status == 1
    assert f"web: {sign} {told}\n" in done.stdout


def test_policies_differ_by_what_their_roles_can_do(
    place: Place, reference_roles: BuiltRoles, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old, new = _without_and_with(
        "(allow lxc_web_t ssh_port_t (tcp_socket (name_bind)))", reference_roles, tmp_path_factory
    )
    done = place.call("diff", old, new)
    assert (done.status, done.stdout) == (1, "web: + bind tcp/22\n")
    bare = reference_roles.prepared.base.policy
    gone = place.call("diff", old, bare)
    assert gone.status == 1
    assert "web: - the role" in gone.stdout


def test_two_policies_without_roles_are_not_called_the_same(place: Place, reference_roles: BuiltRoles) -> None:
    bare = reference_roles.prepared.base.policy
    place.call("diff", bare, bare).refused("has a role of labelgen's", "lxc_domain")


def test_what_is_of_two_kinds_or_not_there_is_refused(place: Place, reference_roles: BuiltRoles) -> None:
    file = place.role(binds("80"))
    policy = reference_roles.prepared.base.policy
    place.build("--output", "build").held()
    place.call("diff", file, policy).refused("role file", "policy", "verify --policy POLICY")
    place.call("diff", file, "build").refused("role file", "build", "build the role file")
    place.call("diff", policy, "build").refused("policy", "build", "verify --build BUILD --base POLICY")
    place.call("diff", file, "nothing").refused("there is no nothing")
