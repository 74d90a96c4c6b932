"""What runs in the guest: containers with real servers, and what is tried with each of them.

The guest reads this file too, so it needs nothing but Python's standard library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

IMAGE = "localhost/servers:1"

# The parent: what a container is when it has no role. The control runs everything in it.
PLAIN = "svirt_lxc_net_t"

# Of the host, on for the whole test.
BOOLEAN = "container_use_host_all_caps"

# A container that the others dial, with a web server and a DNS server.
PEER = "10.88.0.200"
PEER_ANSWER = "192.0.2.1"

PAGE = "a page of the web role"
SECRET = "for this container alone"
GREETING = "hello from the ftp role"
ZONE_ANSWER = "192.0.2.53"
NAME = "host.example"

CONTENT, ZONES, UPLOADS = "/srv/lxc/web", "/srv/lxc/dns", "/srv/lxc/ftp"

# A page that a plain container left its label on before the installation, and one that has categories.
FOREIGN, FOREIGN_CONTEXT = f"{CONTENT}/index.html", "system_u:object_r:container_file_t:s0:c1,c2"
KEPT, KEPT_CONTEXT = f"{CONTENT}/kept.html", "system_u:object_r:lxc_web_content_t:s0:c7,c8"

# A file, as are the other volumes that are not to be reached: of a folder that may not be searched Debian 13's policy
# leaves no AVC line (dontaudit of container_domain for mountpoint).
PRIVATE = "/srv/private/secret"


def dns_server(answer: str) -> str:
    """A command that serves DNS and answers NAME with this address."""
    return (
        f"dnsmasq --keep-in-foreground --user=root --no-resolv --no-hosts --log-facility=- --address=/{NAME}/{answer}"
    )


FTP_SETTINGS = """\
background=NO
listen=YES
listen_ipv6=NO
anonymous_enable=YES
write_enable=YES
anon_upload_enable=YES
anon_root=/srv/ftp
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
secure_chroot_dir=/tmp/empty
pasv_min_port=30100
pasv_max_port=30103
pasv_promiscuous=YES
"""
# As process 1, vsftpd ends with a segmentation fault after its first client; so the shell stays.
FTP_SERVER = f"mkdir -p /tmp/empty && echo '{FTP_SETTINGS}' > /tmp/vsftpd.conf && vsftpd /tmp/vsftpd.conf; exit 1"


@dataclass(frozen=True)
class Server:
    """A container that stays: its name, its role, the engine's options, and its command."""

    name: str
    role: str
    options: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """What the kernel refuses: the class, the permission, and the type of what was to be used."""

    tclass: str
    permission: str
    target: str


@dataclass(frozen=True)
class Attempt:
    """Something tried with a server: by a shell inside its container, or by one on the host.

    what: in words; says: what it prints if it succeeds, and only then; refusal: what the kernel refuses the role, None
    for what the role is there for; plain_may: whether the control may do it.
    """

    server: str
    what: str
    command: str
    says: str
    refusal: Refusal | None = None
    on_host: bool = False
    plain_may: bool = True


# Categories that two containers share on purpose; the others get the engine's.
SHARED_CATEGORIES = ("--security-opt", "label=level:s0:c11,c12")

SERVERS = (
    Server(
        "web",
        "web",
        ("-p", "8080:80", "-v", f"{CONTENT}:/var/www/html", "-v", f"{PRIVATE}:/secret:Z", *SHARED_CATEGORIES),
        ("nginx", "-g", "daemon off;"),
    ),
    Server("web-twin", "web", ("-v", f"{PRIVATE}:/secret", *SHARED_CATEGORIES), ("sleep", "infinity")),
    Server("web-other", "web", ("-v", f"{PRIVATE}:/secret"), ("sleep", "infinity")),
    Server(
        "dns",
        "dns",
        ("-p", "5300:53/udp", "-p", "5300:53/tcp", "-v", f"{ZONES}:/srv/dns", "-v", f"{CONTENT}/index.html:/loot"),
        ("sh", "-c", f"exec {dns_server(ZONE_ANSWER)} --addn-hosts=/srv/dns/hosts"),
    ),
    Server(
        "ftp",
        "ftp",
        ("-p", "2121:21", "-p", "30100-30103:30100-30103", "-v", f"{UPLOADS}:/srv/ftp", "-v", f"{ZONES}/hosts:/loot"),
        ("sh", "-c", FTP_SERVER),
    ),
    Server("nonet", "nonet", (), ("sleep", "infinity")),
)


def _dial() -> str:
    return f"curl -sS -m 20 http://{PEER}/"


def _ask(options: str = "") -> str:
    return f"dig +short +tries=1 +time=20 {options} @{PEER} {NAME}"


def _ask_published(options: str = "") -> str:
    return f"dig +short +tries=1 +time=20 {options} -p 5300 @127.0.0.1 {NAME}"


def _python(code: str) -> str:
    return f'python3 -c "{code}"'


SERVE_WEB = "nginx && nginx -s stop && echo served"
# dig and dnsmasq make other sockets first; these are to be refused for the UDP socket.
ASK_BY_HAND = _python(
    "import socket as s; u = s.socket(s.AF_INET, s.SOCK_DGRAM); u.settimeout(20); "
    rf"u.sendto(b'\0\1\1\0\0\1\0\0\0\0\0\0\4host\7example\0\0\1\0\1', ('{PEER}', 53)); "
    "print(*u.recv(512)[-4:], sep='.')"
)
SERVE_DNS = _python("import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).bind(('', 53)); print('served')")
LISTEN = _python("import socket; socket.create_server(('', 12345)); print('served')")
UNIX_SOCKET = _python("import socket as s; s.socket(s.AF_UNIX).bind('/tmp/a'); print('bound')")

DIALS, ASKS, SERVES_WEB = "dials a web server", "asks a DNS server, UDP", "serves the web"
NO_CONNECT = Refusal("tcp_socket", "connect", "self")
NO_CONNECT_THERE = Refusal("tcp_socket", "name_connect", "http_port_t")
NO_BIND_THERE = Refusal("tcp_socket", "name_bind", "http_port_t")
NO_UDP = Refusal("udp_socket", "create", "self")
NO_TCP = Refusal("tcp_socket", "create", "self")

ATTEMPTS = (
    Attempt("web", "serves a page, published", "curl -sS -m 20 http://127.0.0.1:8080/", PAGE, on_host=True),
    Attempt(
        "web",
        "changes its pages",
        "echo defaced > /var/www/html/defaced && echo changed",
        "changed",
        Refusal("dir", "write", "lxc_web_content_t"),
    ),
    Attempt("web", DIALS, _dial(), "nginx", NO_CONNECT),
    Attempt("web", ASKS, _ask(), PEER_ANSWER, NO_UDP),
    Attempt("web", "listens on tcp/12345", LISTEN, "served", Refusal("tcp_socket", "name_bind", "unreserved_port_t")),
    Attempt("web", "reads its private file", "cat /secret", SECRET),
    Attempt("web-twin", "reads the private file of a container with its categories", "cat /secret", SECRET),
    Attempt(
        "web-other",
        "reads the private file of another container of its role",
        "cat /secret",
        SECRET,
        Refusal("file", "read", "container_file_t"),
        plain_may=False,
    ),
    Attempt("dns", "answers UDP, published", _ask_published(), ZONE_ANSWER, on_host=True),
    Attempt("dns", "answers TCP, published", _ask_published("+tcp"), ZONE_ANSWER, on_host=True),
    Attempt("dns", "asks a DNS server, UDP", _ask(), PEER_ANSWER),
    Attempt("dns", "asks a DNS server, TCP", _ask("+tcp"), PEER_ANSWER),
    Attempt("dns", "writes a zone", "echo 192.0.2.7 new.example >> /srv/dns/hosts && echo written", "written"),
    Attempt("dns", SERVES_WEB, SERVE_WEB, "served", NO_BIND_THERE),
    Attempt("dns", DIALS, _dial(), "nginx", NO_CONNECT_THERE),
    Attempt(
        "dns",
        "reads the web role's page",
        "cat /loot",
        PAGE,
        Refusal("file", "read", "lxc_web_content_t"),
    ),
    Attempt(
        "ftp",
        "takes a file, published",
        "date > /tmp/sent && curl -sS -m 30 -T /tmp/sent ftp://127.0.0.1:2121/upload/$(date +%s%N) && echo sent",
        "sent",
        on_host=True,
    ),
    Attempt("ftp", "gives a file, published", "curl -sS -m 30 ftp://127.0.0.1:2121/greeting", GREETING, on_host=True),
    Attempt("ftp", DIALS, _dial(), "nginx", NO_CONNECT),
    Attempt("ftp", SERVES_WEB, SERVE_WEB, "served", NO_BIND_THERE),
    Attempt("ftp", ASKS, _ask(), PEER_ANSWER, NO_UDP),
    Attempt(
        "ftp",
        "writes to the dns role's zone",
        "echo 192.0.2.8 evil.example >> /loot && echo written",
        "written",
        Refusal("file", "append", "lxc_dns_data_t"),
    ),
    Attempt("nonet", "uses a unix socket", UNIX_SOCKET, "bound"),
    Attempt("nonet", ASKS, ASK_BY_HAND, PEER_ANSWER, NO_UDP),
    Attempt("nonet", DIALS, _dial(), "nginx", NO_TCP),
    Attempt("nonet", "serves DNS", SERVE_DNS, "served", NO_UDP),
)

# Some of it once more with docker, which takes three times as long as podman to start a container there.
DOCKER_SERVERS = tuple(server for server in SERVERS if server.name in ("web", "dns"))
DOCKER_ATTEMPTS = tuple(
    item
    for item in ATTEMPTS
    if (item.server, item.what)
    in {
        ("web", "serves a page, published"),
        ("web", "changes its pages"),
        ("web", DIALS),
        ("dns", "answers UDP, published"),
        ("dns", SERVES_WEB),
    }
)

# -- the same a second time

# To stop a container takes as long as to start one, so those of the control and of podman run on while others of the
# same kind are tried. These have ports of the host of their own.
_OTHER_PORTS = (("8080", "18080"), ("5300", "15300"), ("2121", "12121"), ("3010", "3110"))
_OTHER_VOLUMES = (("/srv/lxc/", "/srv/plain/"), ("/srv/private/", "/srv/plain/private/"))
PLAIN_PRIVATE = "/srv/plain/private/secret"


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def with_other_ports(server: Server) -> Server:
    """The same container, published elsewhere."""
    options, command = (
        tuple(_replaced(word, _OTHER_PORTS) for word in words) for words in (server.options, server.command)
    )
    return replace(server, options=options, command=command)


def at_other_ports(attempt: Attempt) -> Attempt:
    """The same attempt at a container that is published elsewhere."""
    return replace(attempt, command=_replaced(attempt.command, _OTHER_PORTS)) if attempt.on_host else attempt


def plain(server: Server) -> Server:
    """The same container for the control: with volumes of its own that any container may use."""
    other = with_other_ports(server)
    options = [_replaced(option, _OTHER_VOLUMES) for option in other.options]
    name = f"plain-{server.name}"
    return replace(other, name=name, options=("--security-opt", f"label=type:{PLAIN}", *options))


def on_plain(attempt: Attempt) -> Attempt:
    """The same attempt for the control."""
    return replace(at_other_ports(attempt), server=f"plain-{attempt.server}")
