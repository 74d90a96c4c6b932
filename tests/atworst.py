"""What a binary may hide that is not taken to be so, unless somebody asks for the worst."""

from __future__ import annotations

from typing import NamedTuple

from labelgen import hidden
from labelgen.claims import Finding, Subject, Verification, _allowed

# Two domains that may do nothing yet, a set that holds them, and one that holds files.
BEFORE = """
(type one_t)(type two_t)(roletype system_r one_t)(roletype system_r two_t)
(allow one_t self (process (fork)))(allow two_t self (process (fork)))
(typeattribute little)(typeattributeset little (one_t two_t))(allow little etc_t (file (getattr)))
(typeattribute odd)(typeattributeset odd (http_port_t))(allow odd etc_t (file (getattr)))
(typeattribute both)(typeattributeset both (container_t one_t))(allow both etc_t (file (getattr)))
(allow container_user_domain etc_t (file (getattr)))
(type some_file_t)(typeattribute kept)(typeattributeset kept (some_file_t))(allow kept fs_t (filesystem (associate)))
"""
_OTHER = "(role other_r)(roletype other_r container_t)"
_FILTER = (
    "(allow one_t tty_device_t (chr_file (ioctl)))(allow container_t tty_device_t (chr_file (ioctl)))"
    "(allowx container_t tty_device_t (ioctl chr_file (0x5401)))"
)


def left(subject: Subject, claim: str, name: str) -> list[Finding]:
    """What would break a claim if all that stands by a name were said of the role too."""
    return list(hidden.Reading(subject, claim, _allowed, name).findings())


def of_role(verification: Verification, role: str = "web") -> Subject:
    """A role that is verified."""
    return next(subject for subject in verification.subjects if subject.role.name == role)


class AtWorst(NamedTuple):
    """What a policy says that is linked before it becomes a binary; what it stands by there, the claim that it breaks
    if whoever wrote it meant more types than were there to be meant, and what a finding says then."""

    says_so: str
    name: str
    claim: str
    says: str

    @property
    def text(self) -> str:
        """The CIL of it."""
        return f"{BEFORE}{self.says_so}\n"

    def is_left(self, subject: Subject) -> bool:
        """Whether a finding says so at the worst."""
        return any(self._is(finding) for finding in left(subject, self.claim, self.name))

    def is_taken(self, subject: Subject) -> bool:
        """Whether one says so anyway."""
        return any(self._is(finding) for finding in hidden.taken(subject, self.claim, _allowed))

    def _is(self, finding: Finding) -> bool:
        return self.says in finding.message or any(self.says in rule for rule in finding.rules)


AT_WORST = [
    AtWorst("(allow little node_type (udp_socket (node_bind)))", "little", "network", "udp_socket node_bind"),
    AtWorst("(allow little self (key_socket (create)))", "one_t", "network", "key_socket create"),
    AtWorst(
        "(expandtypeattribute (little) true)(allow little etc_t (key_socket (read)))", "two_t", "network", "key_socket"
    ),
    AtWorst("(allow little shadow_t (file (quotaon)))", "little", "contained", "quotaon"),
    AtWorst(f"{_FILTER}(allowx one_t tty_device_t (ioctl chr_file (0x5412)))", "one_t", "contained", "0x5412"),
    AtWorst("(allow mcs_constrained_type kept (file (quotaon)))", "kept", "contained", "quotaon"),
    AtWorst("(allowx one_t tty_device_t (ioctl chr_file (0x5401)))", "one_t", "complete", "0x5401"),
    AtWorst("(constrain (file (quotaon)) (neq t1 one_t))", "one_t", "complete", "binds more"),
    AtWorst("(constrain (file (quotaon)) (neq t1 little))", "little", "complete", "binds more"),
    AtWorst("(mlsconstrain (process (ptrace)) (or (eq l1 l2) (eq t1 one_t)))", "one_t", "separate", "binds less"),
    AtWorst("(allow init_t little (process (ptrace)))", "little", "separate", "on which init_t can act"),
    AtWorst("(allow little two_t (process (setsched)))", "two_t", "separate", "may hold other roles"),
    AtWorst(
        "(allow little container_t (process (signal)))", "little", "separate", "which may signal (process) container_t"
    ),
    AtWorst(
        "(allow one_t container_t (process (signal)))", "one_t", "separate", "which may signal (process) container_t"
    ),
    AtWorst(
        "(allow init_t kept (file (quotaon)))",
        "kept",
        "separate",
        "lxc_web_content_t is not in the set that the binary calls kept, on which init_t can act",
    ),
    AtWorst(
        "(allow little mcs_constrained_type (unix_stream_socket (connectto)))",
        "little",
        "separate",
        "no other role is in",
    ),
    AtWorst("(allow container_init_t kept (file (read open)))", "kept", "separate", "another kind"),
    AtWorst("(typetransition one_t etc_t file shadow_t)", "one_t", "separate", "etc_t:file shadow_t"),
    AtWorst("(rangetransition one_t etc_t file ((s0)(s0)))", "one_t", "separate", "etc_t:file"),
    AtWorst("(allowx one_t self (ioctl unix_stream_socket (0x9999)))", "one_t", "complete", "0x9999"),
    AtWorst(
        "(allowx container_t self (ioctl unix_stream_socket (0x9998)))"
        "(allowx one_t self (ioctl unix_stream_socket (0x9999)))",
        "one_t",
        "contained",
        "0x9999",
    ),
    AtWorst("(allowx mcs_constrained_type kept (ioctl file (0x1)))", "kept", "complete", "limited"),
    AtWorst(
        "(allowx container_t container_file_t (ioctl file (0x2)))(allowx mcs_constrained_type kept (ioctl file (0x1)))",
        "kept",
        "contained",
        "0x0001",
    ),
    AtWorst("(typetransition one_t bin_t process httpd_t)", "one_t", "able", "bin_t:process httpd_t"),
    AtWorst("(typetransition one_t self tcp_socket two_t)", "one_t", "able", "tcp_socket two_t"),
    AtWorst(f"{_OTHER}(roletransition system_r kept file other_r)", "some_file_t", "able", "other_r"),
    AtWorst(f"{_OTHER}(roletransition system_r one_t tcp_socket other_r)", "one_t", "able", "other_r"),
    AtWorst("(constrain (tcp_socket (listen)) (neq t1 one_t))", "one_t", "able", "binds"),
    AtWorst("(allow odd node_type (udp_socket (node_bind)))", "odd", "network", "udp_socket node_bind"),
    AtWorst("(allow odd kernel_t (system (module_load)))", "odd", "closed", "module_load"),
    AtWorst("(allow httpd_t odd (process (ptrace)))", "odd", "separate", "on which httpd_t can act"),
    AtWorst("(allow container_init_t odd (file (read open)))", "odd", "separate", "another kind"),
    AtWorst("(typetransition http_port_t etc_t file shadow_t)", "http_port_t", "separate", "etc_t:file shadow_t"),
    AtWorst("(allow container_t kept (file (execute)))", "kept", "contained", "may execute"),
    AtWorst("(allow mcs_constrained_type little (process (setcurrent)))", "little", "contained", "may setcurrent"),
    AtWorst(
        "(constrain (file (read)) (or (neq r1 user_r) (eq t1 container_user_domain)))",
        "container_user_domain",
        "complete",
        "asks for",
    ),
    AtWorst("(constrain (process (transition)) (or (neq r1 user_r) (eq t2 both)))", "both", "enterable", "asks for"),
    AtWorst("(typetransition container_t some_file_t file etc_t)", "some_file_t", "able", "some_file_t:file etc_t"),
    AtWorst(
        "(rangetransition container_t some_file_t file ((s0)(s0)))", "some_file_t", "separate", "some_file_t:file s0"
    ),
    AtWorst("(constrain (process (transition)) (neq t2 little))", "little", "enterable", "binds more"),
    # All domains have it, the parent among them: such is passed over where the worst is not asked for.
    AtWorst("(typetransition domain etc_t process httpd_t)", "init_t", "able", "etc_t:process httpd_t"),
    # A set that a compiler made holds no domain where all that it holds may be on file systems.
    AtWorst(
        "(typeattribute named_typeattr_1)(typeattributeset named_typeattr_1 (some_file_t))"
        "(allow named_typeattr_1 node_type (udp_socket (node_bind)))",
        "named_typeattr_1",
        "network",
        "udp_socket node_bind",
    ),
    AtWorst("(allow init_t some_file_t (file (quotaon)))", "some_file_t", "separate", "on which init_t can act"),
    AtWorst("(allow little kernel_t (system (module_load)))", "little", "closed", "module_load"),
    AtWorst("(allow one_t kernel_t (system (module_load)))", "one_t", "closed", "module_load"),
]
