"""labelgen can"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Optional

import click

from labelgen import printing, terminal
from labelgen.built import BuiltTree, open_tree
from labelgen.commands import options
from labelgen.errors import InputError
from labelgen.network import PROTOCOLS
from labelgen.reach import Answer, Reach

QUESTION = re.compile(r"([a-z]+)/([0-9]{1,5})\Z")


def _protocol_and_port(what: str, action: str) -> tuple[str, int]:
    found = QUESTION.match(what)
    if not found or found[1] not in PROTOCOLS or not 1 <= int(found[2]) <= 65535:
        raise InputError(
            f"'{what}' is no port to {action}",
            f"write a protocol ({', '.join(PROTOCOLS)}) and a number from 1 to 65535, as in tcp/80",
        )
    return found[1], int(found[2])


def _socket_class(tree: BuiltTree, what: str) -> str:
    known = tree.socket_classes()
    tclass = what if what.endswith("socket") else f"{what}_socket"
    if tclass not in known:
        names = [name[: -len("_socket")] or name for name in known]
        near = difflib.get_close_matches(what, names, n=1)
        raise InputError(
            f"the base of this build knows no class {tclass}" + (f"; did you mean '{near[0]}'?" if near else ""),
            "known are " + ", ".join(names),
        )
    return tclass


def _ask(tree: BuiltTree, reach: Reach, action: str, what: str) -> Answer:
    if action == "create":
        return reach.can_create(_socket_class(tree, what))
    ask = {"bind": reach.can_bind, "connect": reach.can_connect, "send": reach.can_send}[action]
    return ask(*_protocol_and_port(what, action))


@click.command("can")
@click.argument("role", shell_complete=options.complete_roles)
@click.argument("action", type=click.Choice(["bind", "connect", "create", "send"]))
@click.argument("what", metavar="PROTO/PORT|SOCKET")
@options.build_folder
@options.built_roles
@options.as_json
def command(role: str, action: str, what: str, build_folder: Path, roles: Optional[Path], as_json: bool) -> int:
    """Say whether a built role can do something on the network, and which rules decide it.

    \b
    labelgen can web bind tcp/80
    labelgen can dns send udp/123
    labelgen can nonet create netlink_route
    """
    tree = open_tree(build_folder)
    tree.check_role(role, options.own_roles(roles))
    result = _ask(tree, tree.reach()[role], action, what)
    if as_json:
        terminal.echo_json(result.to_json())
    else:
        printing.answer(result)
    return 0 if result.yes else 1
