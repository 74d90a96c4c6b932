"""labelgen prove"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import build, printing, proving, terminal
from labelgen.commands import options
from labelgen.shipped import packaged

WITNESSES = ("quickest", "uml", "qemu", "both")


@click.command("prove")
@click.argument("names", nargs=-1, metavar="[ROLE]...")
@options.build_folder
@options.base
@options.roles
@click.option(
    "--witness", type=click.Choice(WITNESSES), default="quickest", show_default=True, help="Which kernel to boot."
)
@click.option(
    "--policy",
    "policy",
    type=click.Path(path_type=Path),
    default=None,
    help="Any binary policy instead of a build; with --domain.",
)
@click.option("--domain", "domains", multiple=True, metavar="TYPE", help="A domain of --policy; may be repeated.")
@click.option("--denials", is_flag=True, help="Print the AVC lines of what was refused (tries fewer ports).")
@options.as_json
def command(
    names: tuple[str, ...],
    build_folder: Path,
    base: Optional[str],
    roles: Optional[Path],
    witness: str,
    policy: Optional[Path],
    domains: tuple[str, ...],
    denials: bool,
    as_json: bool,
) -> int:
    """Boot a kernel with the linked policy, enforcing, and let each role try everything.

    Every answer of the kernel is held against what the policy leads one to expect. Exit status 0 when none differs.
    """
    if (policy is None) != (not domains):
        raise click.UsageError("--policy and --domain go together")
    share = proving.shares(terminal.progress)
    if policy is not None:
        proof = proving.prove_domains(policy, domains, witness, denials, share)
    else:
        inputs = build.Inputs(roles or options.default_roles(), names, base, packaged("templates"))
        proof = proving.prove_roles(inputs, build_folder, witness, denials, terminal.progress, share)
    if as_json:
        terminal.echo_json(proof.to_json())
    else:
        printing.proof(proof)
    return 0 if proof.holds else 1
