"""A base in which roles are installed already: it is taken without them, and nobody else's rule about them is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bases import BuiltRoles

from labelgen import base as bases
from labelgen.errors import InputError, RoleFileError

MORE = "(allow lxc_web_t smtp_port_t (tcp_socket (name_connect)))\n"
REQUIRED = "(typeattributeset cil_gen_require lxc_domain)\n(typeattributeset cil_gen_require smtp_port_t)\n"


@pytest.fixture
def installed(reference_roles: BuiltRoles, tmp_path: Path) -> Path:
    """A folder with the modules of the reference and of the shipped roles, as a host's store has them."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, cil in reference_roles.cil.items():
        shutil.copy(cil, folder / f"{name}.cil")
    return folder


def cil_of(folder: Path) -> str:
    return bases.open_base(bases.locate(str(folder))).cil.read_text()


def test_a_base_is_what_the_host_has_besides_the_roles(installed: Path) -> None:
    assert (installed / "lxc_ftp_ports.cil").exists()
    assert cil_of(installed).strip() == (installed / "base.cil").read_text().strip()


@pytest.mark.parametrize(
    "text",
    [
        REQUIRED + "(allow lxc_domain smtp_port_t (tcp_socket (name_connect)))\n",
        MORE,
        f"(optional local_optional\n{MORE})\n",
        "(typeattribute local_set)\n(typeattributeset local_set (lxc_web_t))\n"
        "(allow local_set smtp_port_t (tcp_socket (name_connect)))\n",
        '(filecon "/etc(/.*)?" any (system_u object_r lxc_dns_data_t ((s0) (s0))))\n',
        "(portcon tcp 22 (system_u object_r lxc_ftp_port_t ((s0) (s0))))\n",
        f"; a comment\n(type lxc_local_t)\n(typeattributeset lxc_domain (lxc_local_t))\n{MORE}",
        f"(typeattribute lxc_domain)\n{MORE}",
    ],
    ids=["attribute", "type", "optional", "set", "file-context", "port", "like-a-role", "like-the-shared-module"],
)
@pytest.mark.parametrize("name", ["local", "lxc_local", "lxc_local_ports"])
def test_a_module_of_others_with_rules_about_roles_is_refused_by_name(installed: Path, name: str, text: str) -> None:
    (installed / f"{name}.cil").write_text(text)
    with pytest.raises(InputError, match=rf"{name}\.cil: this module, which is not labelgen's, has rules about roles"):
        cil_of(installed)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lxc_web", MORE.replace("lxc_web_t", "lxc_dns_t")),
        ("lxc_web", "(allow lxc_domain smtp_port_t (tcp_socket (name_connect)))\n"),
        ("lxc_web", "(allow mcs_constrained_type smtp_port_t (tcp_socket (name_connect)))\n"),
        (
            "lxc_web",
            "(allow lxc_web_t self (process (fork))) (allow container_t smtp_port_t (tcp_socket (name_bind)))\n",
        ),
        (
            "lxc_web",
            "(booleanif (secure_mode)\n(true\n(allow container_t smtp_port_t (tcp_socket (name_bind)))\n)\n)\n",
        ),
        (
            "lxc_web",
            "(typeattribute lxc_web_typeattr_9)\n(typeattributeset lxc_web_typeattr_9 (not (shadow_t)))\n"
            "(allow lxc_web_typeattr_9 smtp_port_t (tcp_socket (name_connect)))\n",
        ),
        (
            "lxc_web",
            "(typeattribute lxc_web_typeattr_9)\n(typeattributeset lxc_web_typeattr_9 (all))\n"
            "(typeattributeset corenet_unconfined_type (lxc_web_typeattr_9 ))\n",
        ),
        (
            "lxc_web",
            "(typeattribute lxc_web_all)\n(typeattributeset lxc_web_all (all))\n"
            "(allow lxc_web_all self (udp_socket (create)))\n",
        ),
        ("lxc_web", '(filecon "/etc/shadow" file (system_u object_r bin_t ((s0) (s0))))\n'),
        ("lxc_base", MORE),
        ("lxc_ftp_ports", "(portcon tcp 22 (system_u object_r http_port_t ((s0) (s0)))) "),
        ("lxc_ftp_ports", "(portcon tcp 22 (system_u object_r lxc_web_port_t ((s0) (s0))))\n"),
    ],
)
def test_a_module_of_ours_that_speaks_of_other_roles_is_not_ours(installed: Path, name: str, text: str) -> None:
    """Another build replaces a module by its name, and what it says of others would be lost from sight."""
    file = installed / f"{name}.cil"
    file.write_text(text + file.read_text())
    with pytest.raises(InputError, match=name):
        cil_of(installed)


def test_two_roles_with_one_port_type_are_refused(tmp_path: Path) -> None:
    """Of its several port types, `ftp` would call one as `ftp_unreserved` calls its only one."""
    for name, ports in (("ftp", "[700, 30100]"), ("ftp_unreserved", "[31100]")):
        text = f"name: {name}\nsummary: Serves.\nnetwork: {{bind: {{tcp: {ports}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(RoleFileError, match=r"ftp_unreserved\.yaml:1:7: lxc_ftp_unreserved_port_t is also what"):
        BuiltRoles.build("reference", tmp_path, tmp_path)


def test_words_in_strings_and_comments_are_no_rules(installed: Path) -> None:
    local = installed / "local.cil"
    local.write_text('; lxc_web_t\n(filecon "/srv/lxc_web_t" any (system_u object_r shadow_t ((s0) (s0))))\n')
    assert "/srv/lxc_web_t" in cil_of(installed)


def test_a_binary_with_roles_in_it_is_no_base(reference_roles: BuiltRoles, tmp_path: Path) -> None:
    policy = reference_roles.link(tmp_path)
    with pytest.raises(InputError, match="has roles of labelgen's in it already: it declares lxc_"):
        bases.open_base(bases.locate(str(policy)))
