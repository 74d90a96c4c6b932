"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import click

from labelgen.shipped import packaged

if TYPE_CHECKING:
    from labelgen.built import BuiltTree

Command = TypeVar("Command", bound=Callable[..., Any])

ROLES = Path("roles")
OUTPUT = Path("build")


def default_roles() -> Path:
    """The folder `roles` here, or the roles that come with labelgen."""
    return ROLES if ROLES.is_dir() else packaged("roles")


def chosen_roles(roles: Optional[Path]) -> Path:
    """The folder of role files that is meant; that it is not one of the user's is told."""
    if roles is None and not ROLES.is_dir():
        click.echo(f"roles: those that come with labelgen, as there is no {ROLES}/ here", err=True)
    return roles or default_roles()


def own_roles(roles: Optional[Path]) -> Optional[Path]:
    """The folder of the user's role files that a build is held against; None where there is none here."""
    return roles or (ROLES if ROLES.is_dir() else None)


def tell_changed(tree: BuiltTree, names: Iterable[str], roles: Optional[Path]) -> None:
    """Tell of each role file that was changed since the build: what is printed of the role is of the file before."""
    folder = own_roles(roles)
    for name in names if folder else ():
        assert folder is not None
        changed = tree.changed(name, folder)
        if changed:
            click.secho(f"note: {changed}, and this is of that; run `labelgen build`", fg="yellow", err=True)


def complete_roles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of roles that begin so, for a shell: those of the folder of role files."""
    given = context.params.get("roles")
    folder = given if isinstance(given, Path) else default_roles()
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem.startswith(incomplete))


def roles(command: Command) -> Command:
    """--roles"""
    return click.option(
        "--roles",
        "roles",
        type=click.Path(path_type=Path),
        default=None,
        help="The folder of role files. Default: roles/ here, else those that come with labelgen.",
    )(command)


def built_roles(command: Command) -> Command:
    """--roles, of commands that ask a build"""
    return click.option(
        "--roles",
        "roles",
        type=click.Path(path_type=Path),
        default=None,
        help="The folder of role files; whether one was changed after the build is told. Default: roles/ here.",
    )(command)


def base(command: Command) -> Command:
    """--base"""
    return click.option(
        "--base",
        "base",
        default=None,
        metavar="BASE",
        help="The policy to build for: host, reference, a binary policy, a folder of modules, a policy "
        "store or a bundle of `base capture`. Default: the host's if it has containers, else reference.",
    )(command)


def templates(command: Command) -> Command:
    """--templates"""
    return click.option(
        "--templates",
        "templates",
        type=click.Path(path_type=Path),
        default=None,
        help="The folder of templates. Default: those that come with labelgen.",
    )(command)


def build_folder(command: Command) -> Command:
    """--build"""
    return click.option(
        "--build",
        "build_folder",
        type=click.Path(path_type=Path),
        default=OUTPUT,
        show_default=True,
        help="The built tree to ask.",
    )(command)


def as_json(command: Command) -> Command:
    """--json"""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def host_root(command: Command) -> Command:
    """--root"""
    return click.option(
        "--root",
        "root",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        default=Path("/"),
        metavar="DIR",
        help="The folder that is / of the host meant, for an image that is not running; nothing is loaded then.",
    )(command)


def host_store(command: Command) -> Command:
    """--store"""
    return click.option(
        "--store",
        "store_name",
        default="",
        metavar="TYPE",
        help="The policy store (targeted, default, ...). Default: SELINUXTYPE of /etc/selinux/config.",
    )(command)
