"""labelgen rpm"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from labelgen import terminal
from labelgen.built import open_tree
from labelgen.commands import options
from labelgen.packing import pack, targets
from labelgen.packing.sign import Key
from labelgen.shipped import packaged


@click.command("rpm")
@click.argument("roles", nargs=-1, metavar="[ROLE]...", shell_complete=options.complete_roles)
@options.build_folder
@click.option(
    "--output",
    "output",
    type=click.Path(path_type=Path),
    default=Path("packages"),
    show_default=True,
    help="Where the packages appear, all or none.",
)
@click.option(
    "--target",
    default="fedora",
    show_default=True,
    metavar="TARGET",
    help=", ".join(targets.TARGETS) + ".",
    shell_complete=lambda _context, _parameter, begun: [name for name in targets.TARGETS if name.startswith(begun)],
)
@click.option("--bundle", is_flag=True, help="One package for all, instead of one for each role.")
@click.option("--version", default="1.0", show_default=True, help="The version of the packages.")
@click.option("--release", default="1", show_default=True, help="Their release, without the distribution's part.")
@click.option("--policy-type", default="targeted", show_default=True, help="The policy of the hosts (SELINUXTYPE).")
@click.option("--selinux-policy", default=None, metavar="VERSION", help="The selinux-policy that the packages require.")
@click.option("--sign", "sign_with", default=None, metavar="KEYID", help="Sign with this key of GnuPG's.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    default=None,
    help="A file with the key's passphrase; without it GnuPG's agent asks.",
)
@options.templates
@options.as_json
def command(
    roles: tuple[str, ...],
    build_folder: Path,
    output: Path,
    target: str,
    bundle: bool,
    version: str,
    release: str,
    policy_type: str,
    selinux_policy: Optional[str],
    sign_with: Optional[str],
    passphrase_file: Optional[Path],
    templates: Optional[Path],
    as_json: bool,
) -> int:
    """Pack a verified build as RPMs, with their source RPM.

    Each ROLE is the name of a role; without any, all roles of the build are packed. The time in the packages is
    SOURCE_DATE_EPOCH, or one that is always the same.
    """
    if passphrase_file and not sign_with:
        raise click.UsageError("--passphrase-file is for --sign")
    request = pack.Request(
        build_folder, roles, target, version, release, policy_type, selinux_policy, bundle, pack.epoch()
    )
    key = Key(sign_with, passphrase_file) if sign_with else None
    made = pack.pack(request, templates or packaged("templates"), key, output, terminal.progress)
    tree = open_tree(build_folder)
    options.tell_changed(tree, roles or tree.roles, None)
    if as_json:
        terminal.echo_json({"output": str(output), "packages": list(made.files), "notes": list(made.notes)})
        return 0
    for name in made.files:
        click.echo(output / name)
    for note in made.notes:
        click.secho(f"note: {note}", fg="yellow", err=True)
    return 0
