"""The guest: a Debian 13 with podman, docker and SELinux enforcing, made of Debian's packages and booted in qemu."""

from __future__ import annotations

import fcntl
import hashlib
import json
import lzma
import os
import selectors
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plan

from labelgen.cache import cache_folder
from labelgen.witness import initramfs

HERE = Path(__file__).parent
TOP = HERE.parent.parent

SUITE = "trixie"
POLICY_TYPE = "default"
GUEST_PACKAGES = (
    *("auditd", "dbus", "initramfs-tools", "iproute2", "kmod", "linux-image-cloud-amd64", "systemd-sysv", "udev"),
    *("aardvark-dns", "crun", "docker-cli", "docker.io", "netavark", "nftables", "podman"),
    *("checkpolicy", "policycoreutils", "secilc", "selinux-policy-default", "selinux-utils", "semodule-utils"),
    *("python3-click", "python3-jinja2", "python3-pydantic", "python3-selinux", "python3-setools", "python3-yaml"),
    *("bind9-dnsutils", "curl", "rpm", "zstd"),
)
CONTAINER_PACKAGES = ("bind9-dnsutils", "curl", "dnsmasq-base", "nginx-light", "python3-minimal", "vsftpd")
# Nor an initramfs: the guest's own is made below.
WITHOUT = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    "/etc/kernel/postinst.d/initramfs-tools",
)

# podman's domain may not make the kernel load modules (Debian 13's policy), so they are there before it starts.
KERNEL_MODULES = (
    *("virtio_pci", "virtio_blk", "ext4", "virtio_console", "overlay", "bridge", "veth", "br_netfilter"),
    *("nf_tables", "nf_conntrack", "nf_nat", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "nft_fib_inet"),
    *("nft_compat", "nft_reject_inet", "nft_limit", "xt_addrtype", "xt_conntrack", "xt_MASQUERADE", "xt_nat"),
    "xt_tcpudp",
)

# Emulated, Debian's own initramfs takes longer than the kernel. This one has what klibc-utils brings to such.
INIT = """\
#!/bin/sh
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
until mount -t ext4 -o rw /dev/vda /sysroot; do sleep 1; done
mount -n -o move /dev /sysroot/dev
exec run-init /sysroot /sbin/init
"""
INIT_PROGRAMS = ("insmod", "mount", "run-init", "sh", "sleep")

# Not labelled as programs by Debian 13's policy, and so not podman's to start.
FILE_CONTEXTS = "".join(
    f"/usr/lib/podman/{name}\t--\tsystem_u:object_r:bin_t:s0\n" for name in ("netavark", "aardvark-dns")
)

UNIT = """\
[Unit]
Description=What is tried in this guest
After=multi-user.target auditd.service

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /opt/guest/guest.py
WorkingDirectory=/opt/guest
TimeoutStartSec=infinity
Environment=HOME=/root LANG=C.UTF-8
"""

# Runs in a mount namespace of its own, with the guest's root as /: podman wants one that is a mount.
ENTER = """\
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
pivot_root . mnt
cd /
umount -l /mnt
shift
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
"""

# Debian's own, and modules that are not packed: emulated, every rebuild of the policy takes ten seconds less.
SEMANAGE_SETTINGS = "module-store = direct\\nexpand-check = 0\\nbzip-blocksize = 0\\n"
DOCKER_SETTINGS = '{"selinux-enabled": true}\n'
DOCKER_TENTHS = 600

SETTLE = f"""\
set -eu
systemctl -q enable guest.timer
systemctl -q disable containerd.service docker.service docker.socket
podman import -q --change 'CMD ["sh"]' /var/tmp/servers.tar {plan.IMAGE} 2>&1
dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false >/var/tmp/dockerd.log 2>&1 &
for _ in $(seq {DOCKER_TENTHS}); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
docker import --change 'CMD ["sh"]' /var/tmp/servers.tar {plan.IMAGE} || {{ cat /var/tmp/dockerd.log; exit 1; }}
kill $! && wait $! || true
rm /var/tmp/servers.tar /var/tmp/dockerd.log
"""

# What the guest does without: emulated, each takes a second or more of the start.
MASKED = (
    *("apt-daily-upgrade.timer", "apt-daily.timer", "dev-hugepages.mount"),
    *("dev-mqueue.mount", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "getty.target"),
    *("kmod-static-nodes.service", "ldconfig.service", "modprobe@.service", "netavark-dhcp-proxy.service"),
    *("netavark-dhcp-proxy.socket", "podman-auto-update.timer", "podman-restart.service", "podman.service"),
    *("podman.socket", "proc-sys-fs-binfmt_misc.automount", "serial-getty@.service"),
    *("sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "systemd-hwdb-update.service", "systemd-journal-catalog-update.service"),
    *("systemd-journal-flush.service", "systemd-logind.service", "systemd-modules-load.service"),
    *("systemd-networkd.service", "systemd-networkd.socket", "systemd-random-seed.service"),
    *("systemd-sysctl.service", "systemd-sysusers.service", "systemd-timesyncd.service"),
    *("systemd-tmpfiles-clean.timer", "systemd-udev-load-credentials.service", "systemd-udev-settle.service"),
    *("systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket"),
    *("systemd-udevd.service", "systemd-update-done.service", "systemd-update-utmp.service"),
    "systemd-user-sessions.service",
)
# With one of its own, systemd does not take the start for the first, in which it looks at all units.
MACHINE_ID = "6c61626c656c67656e00000000000001\n"

TIMER = """\
[Timer]
OnBootSec=1s
AccuracySec=1s

[Install]
WantedBy=multi-user.target
"""

RECIPE = (
    *(SUITE, GUEST_PACKAGES, CONTAINER_PACKAGES, WITHOUT, KERNEL_MODULES, INIT, INIT_PROGRAMS, FILE_CONTEXTS),
    *(UNIT, TIMER, MASKED, MACHINE_ID, ENTER, SEMANAGE_SETTINGS, DOCKER_SETTINGS, SETTLE),
)

# A step says nothing while it works, and installing roles takes minutes where the processor is emulated.
SILENCE_SECONDS = 1200.0
MEMORY = "1536M"
# Linux 6.12 panics in some starts under Debian 12's qemu, before anything of the guest's own runs.
STARTS = 4
END, BROKEN = "end", "broken"


def call(*command: object) -> str:
    """Run a program to its end; what it printed. What it said is the failure when it fails."""
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def enter(root: Path, *command: object) -> str:
    """Run a command with this folder as its /."""
    return call("unshare", "--mount", "sh", "-c", ENTER, "enter", root, *command)


def _bootstrap(packages: Sequence[str], form: str, target: Path) -> None:
    options = [
        "--aptopt=APT::Install-Recommends false",
        *("--dpkgopt=force-unsafe-io", "--dpkgopt=force-confold"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT),
        f'--essential-hook=mkdir -p "$1/etc/selinux" && printf "{SEMANAGE_SETTINGS}" >"$1/etc/selinux/semanage.conf"',
        f"--include={','.join(packages)}",
    ]
    call("mmdebstrap", "--quiet", "--variant=minbase", *options, f"--format={form}", SUITE, target)


def _make_root(folder: Path) -> None:
    """The guest's files, without labelgen: what is costly to make and always the same."""
    root, servers = folder / "root", folder / "servers.tar"
    with ThreadPoolExecutor() as pool:
        list(pool.map(_bootstrap, (GUEST_PACKAGES, CONTAINER_PACKAGES), ("directory", "tar"), (root, servers)))
    shutil.move(servers, root / "var/tmp/servers.tar")
    etc = root / "etc"
    (etc / "selinux/config").write_text(f"SELINUX=enforcing\nSELINUXTYPE={POLICY_TYPE}\n")
    (etc / f"selinux/{POLICY_TYPE}/contexts/files/file_contexts.local").write_text(FILE_CONTEXTS)
    (etc / "hostname").write_text("guest\n")
    (etc / "machine-id").write_text(MACHINE_ID)
    (etc / "systemd/system/guest.service").write_text(UNIT)
    (etc / "systemd/system/guest.timer").write_text(TIMER)
    (etc / "docker").mkdir(exist_ok=True)
    (etc / "docker/daemon.json").write_text(DOCKER_SETTINGS)
    for unit in MASKED:
        mask = etc / "systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")
    enter(root, "sh", "-c", SETTLE)
    (root / "boot/initramfs").write_bytes(_initramfs(root))


def _initramfs(root: Path) -> bytes:
    """What loads the modules and mounts the disk, before systemd."""
    release = next((root / "usr/lib/modules").iterdir()).name
    printed = enter(root, "modprobe", "-S", release, "-a", "--show-depends", *KERNEL_MODULES)
    modules = dict.fromkeys(line.split()[1] for line in printed.splitlines() if line.startswith("insmod "))
    library = next((root / "usr/lib").glob("klibc-*.so"))
    tools = root / "usr/lib/klibc/bin"
    entries = [
        initramfs.console(),
        initramfs.file("init", INIT.encode(), 0o755),
        initramfs.file(str(library.relative_to(root)), library.read_bytes(), 0o755),
        *(initramfs.file(f"bin/{name}", (tools / name).read_bytes(), 0o755) for name in INIT_PROGRAMS),
        initramfs.Entry("sysroot", stat.S_IFDIR | 0o755),
    ]
    for number, path in enumerate(modules):
        packed = (root / path.lstrip("/")).read_bytes()
        entries.append(initramfs.file(f"modules/{number:03}", lzma.decompress(packed)))
    return b"".join(initramfs.records(entries))


def guest_root() -> Path:
    """The guest's files, from the cache where a guest of this recipe was made before."""
    digest = hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:16]
    cache = cache_folder()
    folder = cache / f"test-guest-{digest}"
    with _locked(cache / ".test-guest.lock"):
        if not folder.exists():
            scratch = cache / f".test-guest-{os.getpid()}"
            scratch.mkdir()
            try:
                _make_root(scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder / "root"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- labelgen in it


def put_labelgen_in(root: Path, scratch: Path) -> None:
    """labelgen as a wheel brings it, and what the guest runs."""
    wheels = scratch / "wheel"
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, TOP)
    libraries = next((root / "usr/lib").glob("python3.*/")).name
    target = root / "usr/local/lib" / libraries / "dist-packages"
    shutil.unpack_archive(next(wheels.glob("*.whl")), target, "zip")
    enter(root, "/usr/bin/python3", "-m", "compileall", "-q", "/" / target.relative_to(root))
    command = root / "usr/local/bin/labelgen"
    command.write_text('#!/bin/sh\nexec /usr/bin/python3 -m labelgen "$@"\n')
    command.chmod(0o755)
    (root / "opt/guest").mkdir()
    for name in ("guest.py", "plan.py"):
        shutil.copy(HERE / name, root / "opt/guest")


def make_disk(root: Path, disk: Path) -> None:
    """A file system with the guest's files, each with the label that the guest's policy gives it."""
    contexts = f"/etc/selinux/{POLICY_TYPE}/contexts/files/file_contexts"
    enter(root, "setfiles", "-F", contexts, "/")
    with disk.open("wb") as file:
        file.truncate(4 << 30)
    call("mkfs.ext4", "-q", "-O", "^has_journal", "-d", root, disk)


# -- a run


def boot(root: Path, disk: Path, way: str, console: Path) -> Iterator[dict[str, Any]]:
    """Boot the guest with a copy of the disk that is thrown away; what it reports, as it comes.

    Raises AssertionError for a guest that falls silent, ends early or says that its program broke.
    """
    kernel = next((root / "boot").glob("vmlinuz-*"))
    words = (
        "console=ttyS0 root=/dev/vda rw lsm=selinux enforcing=1 audit=1 audit_backlog_limit=8192 fsck.mode=skip "
        f"systemd.show_status=false systemd.getty_auto=no mitigations=off cryptomgr.notests quiet panic=-1 way={way}"
    )
    command = [
        *("qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", MEMORY, "-smp", "1"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", kernel, "-initrd", root / "boot/initramfs", "-append", words),
        *("-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe"),
        *("-serial", f"file:{console}", "-device", "virtio-serial-pci"),
        *("-chardev", "file,id=report,path=/dev/stdout", "-device", "virtserialport,chardev=report,name=report"),
    ]
    for _ in range(STARTS):
        spoke = False
        with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                for line in _lines(process.stdout.fileno()):
                    spoke = True
                    told = json.loads(line)
                    assert told["step"] != BROKEN, told
                    yield told
                    if told["step"] == END:
                        return
            finally:
                process.kill()
        if spoke:
            break
    said = console.read_text(errors="replace").splitlines()[-30:]
    raise AssertionError("the guest ended before its report\n" + "\n".join(said))


def _lines(source: int) -> Iterator[bytes]:
    """Lines, until there are no more; AssertionError where none comes for too long."""
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            assert selector.select(SILENCE_SECONDS), f"the guest said nothing for {SILENCE_SECONDS:.0f} s"
            more = os.read(source, 1 << 16)
            if not more:
                return
            *lines, held = (held + more).split(b"\n")
            yield from lines
