"""What `semanage` set on a host counts as it does there: its ports and nodes before the policy's, its interfaces in
their place, its file contexts after."""

from __future__ import annotations

import shutil
from ipaddress import ip_address
from pathlib import Path

import judge
import pytest
from bases import quiet

from labelgen import base as bases
from labelgen import build, programs
from labelgen.errors import InputError
from labelgen.filecontexts import FileContexts
from labelgen.policy import Policy, setools_module
from labelgen.reach import port_table
from labelgen.shipped import packaged
from labelgen.verdict import RoleVerdict

REFERENCE = Path(bases.__file__).parent / "reference"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A policy store with the modules of the reference."""
    modules = tmp_path / "store" / "active" / "modules" / "100"
    for path in REFERENCE.glob("*.cil"):
        (modules / path.stem).mkdir(parents=True)
        shutil.copy(path, modules / path.stem / "cil")
    return tmp_path / "store"


def roles(store: Path, *names: str) -> dict[str, RoleVerdict]:
    inputs = build.Inputs(packaged("roles"), names, str(store), packaged("templates"))
    return {role.role: role for role in build.verify(inputs, None, quiet)[0].roles}


def types(store: Path, *numbers: int) -> list[str]:
    table = port_table(Policy(bases.open_base(bases.locate(str(store))).policy))
    return [next(table.within("tcp", number, number)).type for number in numbers]


def test_a_wide_range_of_the_hosts_own_comes_before_a_narrow_one_of_the_policy(store: Path) -> None:
    """libsepol puts it at the head of the list (sepol_port_modify), and the first that matches counts."""
    before = types(store, 19, 20, 22, 25, 31, 443)
    (store / "active" / "ports.local").write_text(
        "# by semanage\nportcon tcp 20 - 30 system_u:object_r:http_port_t:s0\n"
        "portcon tcp 25 system_u:object_r:smtp_port_t:s0\n"
    )
    after = types(store, 19, 20, 22, 25, 31, 443)
    assert before[2] == "ssh_port_t"
    assert after == [before[0], "http_port_t", "http_port_t", "smtp_port_t", before[4], before[5]]
    (web,) = roles(store, "web").values()
    assert web.holds
    assert any("20-24, 26-30" in neighbour.ports for neighbour in web.neighbours)


def test_a_range_of_the_hosts_own_cuts_one_of_the_policy(store: Path) -> None:
    (store / "active" / "ports.local").write_text("portcon tcp 8009 - 8400 system_u:object_r:smtp_port_t:s0\n")
    assert types(store, 8008, 8009, 8400) == ["http_port_t", "smtp_port_t", "smtp_port_t"]


def test_file_contexts_of_the_hosts_own_are_looked_at(store: Path) -> None:
    (store / "active" / "file_contexts.local").write_text(
        "# by semanage\n/srv/lxc/web(/.*)?    system_u:object_r:container_file_t:s0\n"
        "/etc/secret    --    system_u:object_r:lxc_dns_data_t:s0\n"
    )
    found = roles(store)
    assert [(f.claim, f.message) for f in found["web"].findings] == [
        (
            "able",
            "the file context `/srv/lxc/web(/.*)? container_file_t` takes files of /srv/lxc/web(/.*)? from the role",
        )
    ]
    assert [f.claim for f in found["dns"].findings] == ["separate"]
    assert "/etc/secret" in found["dns"].findings[0].message
    assert found["ftp"].holds
    assert found["nonet"].holds


def test_what_the_host_sets_itself_changes_the_digest_of_the_base(store: Path) -> None:
    source = bases.locate(str(store))
    before = bases.digest(source)
    (store / "active" / "file_contexts.local").write_text("/srv/x    system_u:object_r:etc_t:s0\n")
    assert bases.digest(bases.locate(str(store))) != before


def test_a_range_of_the_hosts_own_comes_before_a_roles_own_port(store: Path, tmp_path: Path) -> None:
    """Roles were built before semanage set it: the kernel finds the host's range first, though it is wider."""
    inputs = build.Inputs(packaged("roles"), ("ftp",), str(store), packaged("templates"))
    build.build(inputs, tmp_path / "build", quiet)
    ((store / "active") / "ports.local").write_text("portcon tcp 30000-31000 system_u:object_r:smtp_port_t:s0\n")
    (ftp,) = build.verify_built(tmp_path / "build", inputs, quiet).verdict.roles
    assert [f.claim for f in ftp.findings if "smtp_port_t" in f.message and "30100-30199" in f.message] == ["able"]


def host(tmp_path: Path, store: Path) -> tuple[Path, Path]:
    """The store below /var/lib/selinux of a host, and the folder of that host's file contexts."""
    place, contexts = tmp_path / "host/var/lib/selinux/own", tmp_path / "host/etc/selinux/own/contexts/files"
    place.parent.mkdir(parents=True)
    contexts.mkdir(parents=True)
    shutil.move(store, place)
    return place, contexts


@pytest.mark.parametrize(
    ("file", "line", "role", "claim", "says"),
    [
        ("file_contexts.subs", "/srv/lxc/web /srv/other", "web", "able", "files of /srv/lxc/web(/.*)? do not get"),
        ("file_contexts.subs_dist", "/srv /var/srv", "dns", "able", "files of /srv/lxc/dns(/.*)? do not get"),
        ("file_contexts.subs", "/srv/lxc/web/pub /etc", "web", "able", "files of /srv/lxc/web(/.*)? do not get"),
        ("file_contexts.subs", "/etc/web /srv/lxc/web/conf", "web", "separate", "below /etc/web"),
        ("file_contexts.subs", "/data /srv/lxc/web", "web", "separate", "below /data"),
        ("file_contexts.homedirs", "/srv/[^/]+/.+ u:r:user_home_t:s0", "web", "able", "user_home_t` takes files"),
    ],
)
def test_what_a_host_says_of_paths_beside_its_policy_is_looked_at(
    file: str, line: str, role: str, claim: str, says: str, store: Path, tmp_path: Path
) -> None:
    place, contexts = host(tmp_path, store)
    (contexts / "file_contexts.subs_dist").write_text(
        "# of the distribution\n/run /var/run\n/srv/lxc/webs /etc\n/chroot/srv /srv\n"
    )
    assert roles(place, role)[role].holds
    before = bases.digest(bases.locate(str(place)))
    (contexts / file).write_text(line + "\n")
    found = roles(place, role)[role].findings
    told = [f for f in found if says in f.message]
    assert [f.claim for f in told][:1] == [claim], found
    written = (packaged("roles") / f"{role}.yaml").read_text().splitlines()
    assert "- {path:" in written[int(told[0].line.rpartition(":")[2]) - 1]
    assert bases.digest(bases.locate(str(place))) != before


def test_libselinux_looks_paths_up_by_these_files(tmp_path: Path) -> None:
    """What the tests above rest on, asked of libselinux."""
    (tmp_path / "file_contexts").write_text("/srv/lxc/web(/.*)?\tu:r:web_t:s0\n/srv/lxc/one\tu:r:one_t:s0\n")
    (tmp_path / "file_contexts.homedirs").write_text("/srv/lxc/(web/home|one)\tu:r:home_t:s0\n")
    (tmp_path / "file_contexts.subs").write_text("/etc/web /srv/lxc/web/conf\n/srv/lxc/web/pub /srv/lxc/one\n")

    def label(path: str) -> str:
        return programs.run("matchpathcon", "-n", "-f", tmp_path / "file_contexts", path).stdout.decode().strip()

    paths = ("/srv/lxc/web/x", "/srv/lxc/web/home", "/srv/lxc/one", "/etc/web/x", "/srv/lxc/web/pub")
    assert [label(path).split(":")[2] for path in paths] == ["web_t", "home_t", "one_t", "web_t", "one_t"]


def test_what_a_host_does_with_the_unknown_counts_whatever_its_policy_says(store: Path, tmp_path: Path) -> None:
    """semanage.conf(5): handle-unknown overrides the policy's own setting."""
    place, contexts = host(tmp_path, store)
    settings = contexts.parents[2] / "semanage.conf"
    found = []
    for text in ("expand-check = 0\n# handle-unknown = reject\n", "handle-unknown = allow\n"):
        settings.write_text(text)
        found.append(Policy(bases.open_base(bases.locate(str(place))).policy).handle_unknown)
    assert found == ["deny", "allow"]


# -- a host that libsemanage made

OWN = {
    "ports.local": """portcon tcp 20 - 30 system_u:object_r:http_port_t:s0
portcon tcp 35 system_u:object_r:smtp_port_t:s0:c5
portcon tcp 443 system_u:object_r:http_port_t:s0-s0:c0.c3,c7
portcon udp 1000 - 40000 system_u:object_r:http_port_t:s0
""",
    "nodes.local": """nodecon ipv4 10.0.0.0 255.0.0.0 system_u:object_r:lo_node_t:s0
nodecon ipv4 10.1.0.0 255.255.0.0 system_u:object_r:inaddr_any_node_t:s0
nodecon ipv4 0.0.0.0 0.0.0.0 system_u:object_r:link_local_node_t:s0:c1
nodecon ipv4 127.0.0.0 255.0.0.0 system_u:object_r:multicast_node_t:s0
nodecon ipv6 fd00:: ff00:: system_u:object_r:lo_node_t:s0
nodecon ipv6 fe80:: ff00:: system_u:object_r:multicast_node_t:s0
""",
    "interfaces.local": """netifcon lo system_u:object_r:netif_t:s0 system_u:object_r:unlabeled_t:s0
netifcon eth0 system_u:object_r:lo_netif_t:s0 system_u:object_r:lo_node_t:s0
""",
    "pkeys.local": "ibpkeycon fe80:: 1 - 65535 system_u:object_r:lo_node_t:s0\n",
    "ibendports.local": "ibendportcon mlx4_0 2 system_u:object_r:lo_node_t:s0\n",
}
ADDRESSES = ("0.0.0.0", "10.0.0.1", "10.1.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "192.0.2.1")
ADDRESSES_6 = ("::", "::1", "fd00::1", "fe80::1", "ff00::1", "2001:db8::1")
TUNABLE = """(tunable own_tunable false)
(typeattribute every_type)
(typeattributeset every_type (all))
(tunableif own_tunable (true (allow every_type self (udp_socket (create write)))))
"""


def semodule(root: Path, *arguments: str | Path) -> None:
    programs.run("semodule", "-p", root, "-s", "own", "-n", *arguments)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A host whose policy libsemanage linked: the reference, and a module with a tunable."""
    root = tmp_path / "root"
    (root / "etc/selinux").mkdir(parents=True)
    (root / "var/lib/selinux").mkdir(parents=True)
    (root / "etc/selinux/semanage.conf").write_text("module-store = direct\nexpand-check = 0\n")
    (tmp_path / "tunable.cil").write_text(TUNABLE)
    semodule(root, "-i", *sorted(REFERENCE.glob("*.cil")), tmp_path / "tunable.cil")
    return root


def place(root: Path) -> Path:
    return root / "var/lib/selinux/own"


def labels(path: Path) -> object:
    """What a policy labels besides ports: addresses, interfaces and InfiniBand, by the first that fits."""
    policy = setools_module().SELinuxPolicy(str(path))
    nodes = list(policy.nodecons())
    found = []
    for text in (*ADDRESSES, *ADDRESSES_6):
        address = ip_address(text)
        fitting = (str(n.context) for n in nodes if n.network.version == address.version and address in n.network)
        found.append((text, next(fitting, "the initial SID")))
    others = (policy.netifcons, policy.ibpkeycons, policy.ibendportcons, policy.bools)
    return found, [sorted(map(str, kind())) for kind in others]


def test_a_base_is_labelled_as_the_host_itself_links_it(made: Path) -> None:
    """libsemanage links these files, and libsepol and setools read what it made."""
    for name, text in OWN.items():
        (place(made) / "active" / name).write_text(text)
    semodule(made, "-P", "-B")
    linked, ours = made / "etc/selinux/own/policy/policy.33", bases.open_base(bases.locate(str(place(made)))).policy
    assert labels(ours) == labels(linked)
    for protocol in ("tcp", "udp"):
        assert judge.port_types(ours, protocol) == judge.port_types(linked, protocol)
    levels = {con.low: con.context for con in Policy(ours).portcons if con.protocol == "tcp"}
    assert levels[443].endswith(":s0 - s0:c0.c3,c7")
    assert levels[35].endswith(":s0:c5")


def test_tunables_that_a_host_keeps_are_booleans(made: Path) -> None:
    assert roles(place(made), "nonet")["nonet"].holds
    semodule(made, "-P", "-B")
    (nonet,) = roles(place(made), "nonet").values()
    assert [f.claim for f in nonet.findings if ("own_tunable", True) in f.booleans] == ["network"]


@pytest.mark.parametrize(
    ("file", "line", "role", "claim", "says"),
    [
        ("ports.local", "portcon tcp 9999 system_u:object_r:lxc_ftp_port_t:s0", "ftp", "network", "tcp/9999"),
        ("ports.local", "portcon tcp 21 system_u:object_r:ftp_port_t:s0:c9", "ftp", "", ""),
        (
            "nodes.local",
            "nodecon ipv4 10.0.0.0 255.0.0.0 system_u:object_r:lxc_web_t:s0",
            "web",
            "separate",
            "lxc_web_t",
        ),
        ("nodes.local", "nodecon ipv4 0.0.0.0 0.0.0.0 system_u:object_r:lo_node_t:s0:c9", "web", "able", "any address"),
        (
            "nodes.local",
            "nodecon ipv6 :: ff00:: system_u:object_r:etc_t:s0",
            "web",
            "able",
            "etc_t:tcp_socket node_bind",
        ),
        (
            "interfaces.local",
            "netifcon eth9 system_u:object_r:netif_t:s0 system_u:object_r:lxc_web_content_t:s0",
            "web",
            "",
            "",
        ),
        (
            "interfaces.local",
            "netifcon eth9 system_u:object_r:lxc_web_content_t:s0 system_u:object_r:unlabeled_t:s0",
            "web",
            "separate",
            "lxc_web_content_t",
        ),
        ("pkeys.local", "ibpkeycon fe80:: 7 system_u:object_r:lxc_web_t:s0", "web", "separate", "lxc_web_t"),
        ("ibendports.local", "ibendportcon mlx 1 system_u:object_r:lxc_web_t:s0", "web", "separate", "lxc_web_t"),
        ("pkeys.local", "ibpkeycon fe80:: 7 system_u:object_r:lxc_dns_t:s0", "web", "", ""),
    ],
)
def test_what_a_host_labels_itself_is_looked_at(
    file: str, line: str, role: str, claim: str, says: str, store: Path
) -> None:
    """A type of a role's too, which a base without the roles does not have."""
    (store / "active" / file).write_text(f"# by semanage\n\n{line}\n")
    found = roles(store, role)[role].findings
    assert {f.claim for f in found} == ({claim} if claim else set()), found
    assert all(says in f" {f.message} {f.rules}" for f in found)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ports.local", "portcon tcp twenty system_u:object_r:http_port_t:s0"),
        ("nodes.local", "nodecon ipv4 10.0.0 255.0.0.0 system_u:object_r:lo_node_t:s0"),
        ("interfaces.local", "netifcon eth0 system_u:object_r:netif_t:s0"),
        ("pkeys.local", "ibpkeycon fe80:: system_u:object_r:lo_node_t:s0"),
        ("ibendports.local", "ibendportcon mlx4_0 system_u:object_r:lo_node_t:s0"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_name(file: str, line: str, store: Path) -> None:
    (store / "active" / file).write_text(line + "\n")
    with pytest.raises(InputError, match=f"{file}: cannot read the line"):
        bases.open_base(bases.locate(str(store)))


def test_home_folders_are_labelled_as_the_host_itself_does(made: Path) -> None:
    """libsemanage makes file_contexts.homedirs of what a policy says of homes; where there is none yet, they count as
    anybody's."""
    templates = ("HOME_DIR/.+", "HOME_DIR", "HOME_ROOT", r"HOME_ROOT/\.journal", "/srv/USER/.+", "/srv/ROLE/.+")
    lines = (f'(filecon "{path}" any (system_u object_r etc_t ((s0) (s0))))\n' for path in (*templates, "/srv/home"))
    (made / "homes.cil").write_text("".join(lines))
    semodule(made, "-i", made / "homes.cil")
    files = made / "etc/selinux/own/contexts/files"
    modules = [*REFERENCE.glob("*.cil"), made / "homes.cil"]
    bases.link(modules, True, made / "policy", made / "policy.fc")
    ours = FileContexts.read(made / "policy.fc", made / "nothing")
    theirs = FileContexts.read(files / "file_contexts", files)
    assert {str(context) for context in theirs} == {str(context) for context in ours}
    assert "/home/[^/]+/.+ etc_t" in map(str, ours)


def test_files_that_the_host_gives_other_categories_are_looked_at(store: Path) -> None:
    """They have the role's type and cannot be read by it."""
    own = store / "active" / "file_contexts.local"
    own.write_text("/srv/lxc/web/sub    system_u:object_r:lxc_web_content_t:s0:c9\n")
    found = roles(store, "web")["web"].findings
    assert "a constraint keeps lxc_web_t from lxc_web_content_t:file read" in [f.message for f in found]
    own.write_text("/srv/lxc/web(/.*)?    system_u:object_r:lxc_web_content_t:s0\n")
    assert roles(store, "web")["web"].holds
