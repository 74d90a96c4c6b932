"""AVC denials in logs: every form in which they come, and that what others write into a log changes nothing of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen import avc
from labelgen.errors import InputError

ME = "system_u:system_r:lxc_web_t:s0:c1,c2"
PORT = "system_u:object_r:ssh_port_t:s0"
ABOUT = f'pid=7 comm="nginx" src=22 scontext={ME} tcontext={PORT} tclass=tcp_socket permissive=0'
REFUSED = f"avc:  denied  {{ name_bind }} for  {ABOUT}"
EVENT = "audit(1700000000.123:456)"

FORMS = {
    "audit.log": f"type=AVC msg={EVENT}: {REFUSED}",
    "audit.log of a fleet": f"node=web1.example type=AVC msg={EVENT}: {REFUSED}",
    "audit.log, enriched": f'type=AVC msg={EVENT}: {REFUSED}\x1dARCH=x86_64 AUID="unset" src=80',
    "ausearch -i": f"type=AVC msg=audit(11/29/26 10:00:00.123:456) : {REFUSED.replace(chr(34), '')} ",
    "dmesg": f"[   12.345678] audit: type=1400 {EVENT}: {REFUSED}",
    "dmesg, who called": f"[    3.123456][   T45] audit: type=1400 {EVENT}: {REFUSED}",
    "dmesg -T": f"[Sun Nov 29 10:00:00 2026] audit: type=1400 {EVENT}: {REFUSED}",
    "dmesg -x": f"kern  :notice: [   12.345678] audit: type=1400 {EVENT}: {REFUSED}",
    "dmesg -r": f"<5>[   12.345678] audit: type=1400 {EVENT}: {REFUSED}",
    "messages": f"Nov  9 10:00:00 web1 kernel: audit: type=1400 {EVENT}: {REFUSED}",
    "messages, with its time of boot": f"Nov 29 10:00:00 web1 kernel: [ 12.345] audit: type=1400 {EVENT}: {REFUSED}",
    "rsyslog's own times": f"2026-11-29T10:00:00.123456+00:00 web1 kernel: audit: type=1400 {EVENT}: {REFUSED}",
    "journalctl": f"Nov 29 10:00:00 web1 audit[7]: AVC {REFUSED}",
    "audispd": f"Nov 29 10:00:00 web1 audispd: node=web1 type=AVC msg={EVENT}: {REFUSED}",
    "audisp-syslog": f"Nov 29 10:00:00 web1 audisp-syslog[9]: type=AVC msg={EVENT}: {REFUSED}",
    "without auditd, long ago": f"{EVENT}: {REFUSED}",
    "alone": REFUSED,
}


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS.keys())
def test_every_form_says_the_same(line: str) -> None:
    found = avc.parse(f"{line}\n")
    assert found is not None
    assert (found.source, found.target, found.tclass, found.perms) == (
        "lxc_web_t",
        "ssh_port_t",
        "tcp_socket",
        ("name_bind",),
    )
    assert (found.port, found.comm, found.permissive, found.scontext.level) == (22, "nginx", False, "s0:c1,c2")


@pytest.mark.parametrize(
    "who",
    [
        f"type=USER_AVC msg={EVENT}: pid=1 uid=0 auid=4294967295 ses=4294967295 subj=system_u:system_r:init_t:s0 msg='",
        f"type=USER_AVC msg={EVENT}: user pid=1 uid=0 auid=4294967295 ses=4294967295 subj=u:r:init_t:s0 msg='",
        "Nov 29 10:00:00 web1 audit[1]: USER_AVC pid=1 uid=0 auid=4294967295 ses=4294967295 subj=u:r:t:s0 msg='",
    ],
)
def test_object_managers_write_about_the_bus_and_units(who: str) -> None:
    about = f"scontext={ME} tcontext=u:r:init_t:s0 tclass=service permissive=1"
    rest = 'exe="/usr/lib/systemd/systemd" sauid=0 hostname=? addr=? terminal=?\''
    found = avc.parse(f"{who}avc:  denied  {{ start }} for auid=n/a uid=0 gid=0 {about}  {rest}")
    assert found is not None
    assert (found.source, found.tclass, found.permissive) == ("lxc_web_t", "service", True)


def test_a_context_that_the_loaded_policy_does_not_know_is_told_as_it_was() -> None:
    """security/selinux/avc.c, avc_audit_post_callback: of a container whose role is no longer installed."""
    line = FORMS["audit.log"].replace(ME, "system_u:object_r:unlabeled_t:s0")
    found = avc.parse(f'{line} srawcon="{ME}" trawcon="{PORT.replace("ssh", "gone")}"')
    assert found is not None
    assert (found.source, found.target, found.scontext.level) == ("lxc_web_t", "gone_port_t", "s0:c1,c2")


def in_the_log(text: bytes) -> str:
    """As the kernel writes a string of others (kernel/audit.c: audit_log_n_untrustedstring)."""
    if any(byte == ord('"') or not 0x21 <= byte <= 0x7E for byte in text):
        return text.hex().upper()
    return f'"{text.decode()}"'


HOSTILE = [
    b"scontext=x",
    b"scontext=u:r:lxc_dns_t:s0",
    b"scontext=u:r:a_t:s0 tcontext=u:r:b_t:s0 tclass=file permissive=1",
    b"scontext=u:r:lxc_dns_t:s0/tcontext=u:r:b_t:s0/tclass=tcp_socket",
    b"x src=80 dest=80",
    b"src=80",
    b"}",
    b"avc:  denied  { read } for ",
    b"\x1b[31m",
    b"\x1dsrc=1",
    b"AB",
    b"a\nb",
]


@given(st.sampled_from(HOSTILE) | st.binary(min_size=1, max_size=16), st.sampled_from(HOSTILE) | st.binary(min_size=1))
def test_names_of_programs_and_files_change_nothing_of_a_denial(comm: bytes, path: bytes) -> None:
    found = avc.parse(
        f"type=AVC msg={EVENT}: avc:  denied  {{ name_bind }} for  pid=7 comm={in_the_log(comm)} "
        f"path={in_the_log(path)} src=22 scontext={ME} tcontext={PORT} tclass=tcp_socket permissive=0"
    )
    assert found is not None
    assert (found.source, found.target, found.tclass) == ("lxc_web_t", "ssh_port_t", "tcp_socket")
    assert (found.perms, found.port, found.permissive) == (("name_bind",), 22, False)
    assert found.comm.isprintable()


@pytest.mark.parametrize("text", [text.decode("latin-1") for text in HOSTILE if b"avc:" not in text])
def test_nor_do_they_where_ausearch_writes_them_out(text: str) -> None:
    line = FORMS["ausearch -i"].replace("comm=nginx", f"comm={text}")
    found = avc.parse(line)
    assert found is None or (found.source, found.target, found.tclass) == ("lxc_web_t", "ssh_port_t", "tcp_socket")
    assert found is not None or "\x1d" in text or "\n" in text


FORGED = {
    "arguments": f"type=PROCTITLE msg={EVENT} : proctitle=sh -c {REFUSED} ",
    "arguments that look like a record": f"type=EXECVE msg={EVENT} : argc=2 a0=x a1=type=AVC msg={EVENT}: {REFUSED} ",
    "a path": f"type=PATH msg={EVENT} : item=0 name=/tmp/{REFUSED}",
}
WRITTEN_BY_OTHERS = {
    "a program's words": f"Nov 29 10:00:00 web1 nginx[7]: {REFUSED}",
    "a program's words, like a record": f"Nov 29 10:00:00 web1 nginx[7]: kernel: audit: type=1400 {EVENT}: {REFUSED}",
    "a container's": f"Nov 29 10:00:00 web1 conmon[7]: type=AVC msg={EVENT}: {REFUSED}",
}
UNREADABLE = {
    "cut short": FORMS["audit.log"][:-60],
    "two in one": f"{FORMS['audit.log']} {FORMS['audit.log']}",
    "longer than any": FORMS["audit.log"].replace('"nginx"', '"' + 9000 * "scontext=" + '"'),
    "no permission": FORMS["audit.log"].replace("name_bind", ""),
    "no context": FORMS["audit.log"].replace(ME, "lxc_web_t"),
}


@pytest.mark.parametrize("line", FORGED.values(), ids=FORGED.keys())
def test_what_other_records_say_of_a_denial_is_none(line: str) -> None:
    log = avc.Log([line])
    assert (list(log), log.passed_over) == ([], [])


@pytest.mark.parametrize("line", [*WRITTEN_BY_OTHERS.values(), *UNREADABLE.values()])
def test_what_reads_like_a_denial_and_cannot_be_taken_for_one_is_counted(line: str) -> None:
    log = avc.Log(["nothing\n", f"{line}\n", f"{FORMS['journalctl']}\n"])
    assert (len(list(log)), log.passed_over) == (1, [2])


@pytest.mark.parametrize("port", ["²", "٢٢", "-1", "99999999999999", "9" * 5000])
def test_what_is_no_number_of_a_port_is_none(port: str) -> None:
    found = avc.parse(FORMS["audit.log"].replace("src=22", f"src={port}"))
    assert found is not None
    assert found.port is None


def test_nothing_of_a_line_commands_a_terminal() -> None:
    line = FORMS["audit.log"].replace("ssh_port_t", "\x1b[31mport_t").replace('"nginx"', '"\x1b]0;x\x07"')
    found = avc.parse(line)
    assert found is not None
    assert all(text.isprintable() for text in (found.comm, found.target, found.source, found.tclass))


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda _: b"(\xb5/\xfd$x", lambda _: b"\0\1"]
)
def test_what_is_no_text_is_not_called_a_log_without_denials(pack: Callable[[bytes], bytes]) -> None:
    content = pack(FORMS["audit.log"].encode()).decode("utf-8", "replace")
    with pytest.raises(InputError, match="no text"):
        list(avc.Log(io.StringIO(content)))
