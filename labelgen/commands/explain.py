"""labelgen explain"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Optional, TextIO, Union

import click

from labelgen import avc, capabilities, denials, output, printing, terminal
from labelgen.built import open_tree
from labelgen.commands import options
from labelgen.errors import LabelgenError

if TYPE_CHECKING:
    from labelgen.reasons import Reasons


@click.command("explain")
@click.argument("log", type=click.File("r", encoding="utf-8", errors="replace"), default="-")
@options.build_folder
@options.base
@options.built_roles
@click.option(
    "--policy",
    "policy",
    type=click.Path(path_type=Path),
    default=None,
    help="A binary policy with the roles in it, for denials that are not about the network. Default: the one that the "
    "kernel has, else what is kept of the build.",
)
@options.as_json
def command(
    log: TextIO, build_folder: Path, base: Optional[str], roles: Optional[Path], policy: Optional[Path], as_json: bool
) -> int:
    """Explain AVC denials: which role, deliberate or not, and what would allow them.

    LOG is audit.log, or what ausearch, journalctl or dmesg print; without it, standard input. Exit status 0 when every
    denial of a role was deliberate, 1 when one was not or cannot be read.

    \b
    ausearch -m avc -ts today | labelgen explain
    """
    tree = open_tree(build_folder)
    _check_named(base, policy)
    domains = {reach.domain: reach for reach in tree.reach().values()}

    @cache
    def source() -> Union[Reasons, LabelgenError]:
        try:
            return _reasons(build_folder, base, policy, set(domains))
        except LabelgenError as error:
            if policy is not None or base is not None:
                raise
            return error

    refused = avc.Log(log)
    found = list(denials.explain_all(refused, domains, source))
    options.tell_changed(tree, sorted({explanation.role for explanation, _ in found if explanation.role}), roles)
    if as_json:
        terminal.echo_json([explanation.to_json(count) for explanation, count in found])
    else:
        printing.explanations(found, bool(refused.passed_over))
    if refused.passed_over:
        click.echo(_passed_over(refused.passed_over), err=True)
    is_meant = all(explanation.kind in denials.MEANT for explanation, _ in found)
    return 0 if is_meant and not refused.passed_over else 1


def _check_named(base: Optional[str], policy: Optional[Path]) -> None:
    """Raise InputError for a policy or a base that is not there: most logs need neither, so nothing else would tell."""
    if policy is not None:
        capabilities.check_file(policy)
    if base is not None:
        from labelgen import base as bases  # noqa: PLC0415 - few name one

        bases.locate(base)


def _passed_over(lines: Sequence[int]) -> str:
    some, they = (f"line {lines[0]}", "it is") if len(lines) == 1 else (f"{len(lines)} lines", "they are")
    first = "" if len(lines) == 1 else f" (the first is line {lines[0]})"
    return (
        f"passed over: {some} about denials that cannot be read{first}; {they} cut short, two in one, or not as "
        "auditd, ausearch, dmesg and `journalctl -o short` write them"
    )


def _reasons(build_folder: Path, base: Optional[str], path: Optional[Path], roles: set[str]) -> Reasons:
    """The policy that tells why: the one that was named, the kernel's, or what is kept of the build."""
    # Reading a policy takes most of a second, and most denials of roles are about the network.
    from labelgen import build, kept  # noqa: PLC0415
    from labelgen.host import state  # noqa: PLC0415
    from labelgen.policy import Policy  # noqa: PLC0415
    from labelgen.reasons import Reasons  # noqa: PLC0415

    if path is not None:
        return Reasons(Policy(path), str(path))
    if base is None and state.is_enabled():
        with output.temporary() as scratch:
            file = scratch / "policy"
            file.write_bytes(state.loaded_policy())
            loaded = Policy(file)
            if roles & loaded.types.keys():
                return Reasons(loaded, "the loaded policy")
    folder, its_base = build.kept_linked(build_folder, base, terminal.progress)
    return kept.KeptReasons(folder, f"this build on the base {its_base}")
