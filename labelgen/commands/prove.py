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
@click.argument("names", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@options.build_folder
@options.base
@options.roles
@click.option(
    "--witness", type=click.Choice(WITNESSES), default="quickest", show_default=True, help="Which kernel to boot."
)
@click.option(
    "--kernel",
    "image",
    type=click.Path(path_type=Path),
    default=None,
    help="A kernel image of your own: one for qemu, or User Mode Linux.",
)
@click.option(
    "--modules",
    type=click.Path(path_type=Path),
    default=None,
    help="The folder of that kernel's modules. Default: where distributions have it beside the image.",
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
    image: Optional[Path],
    modules: Optional[Path],
    policy: Optional[Path],
    domains: tuple[str, ...],
    denials: bool,
    as_json: bool,
) -> int:
    """Boot a kernel with the linked policy, enforcing, and let each role try everything.

    Every answer of the kernel is held against what the verdict (Reach) and libsepol lead one to expect. Exit status 0
    when none differs, 1 when one does, 3 when no kernel bears witness to its end.
    """
    if (policy is None) != (not domains):
        raise click.UsageError("--policy and --domain go together")
    if modules is not None and image is None:
        raise click.UsageError("--modules goes with --kernel")
    if policy is not None and (names or base is not None or roles is not None):
        raise click.UsageError("roles, --roles and --base go with a build, not with --policy")
    share = proving.shares(terminal.progress)
    wish = proving.Wish(witness, image, modules, denials)
    if policy is not None:
        proof = proving.prove_domains(policy, domains, wish, share)
    else:
        inputs = build.Inputs(roles or options.default_roles(), names, base, packaged("templates"))
        proof = proving.prove_roles(inputs, build_folder, wish, terminal.progress, share)
    if as_json:
        terminal.echo_json(proof.to_json())
    else:
        printing.proof(proof)
    return 0 if proof.holds else 1
