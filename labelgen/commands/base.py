"""labelgen base"""

from __future__ import annotations

from pathlib import Path

import click

from labelgen import base as bases
from labelgen import bundle, terminal
from labelgen.commands import options
from labelgen.host import store as stores


@click.group("base")
def command() -> None:
    """Capture the policy that roles are built for."""


@command.command("capture")
@click.argument("file", type=click.Path(path_type=Path))
@options.host_root
@options.host_store
@options.as_json
def capture(file: Path, root: Path, store_name: str, as_json: bool) -> int:
    """Pack this host's policy into FILE, to build elsewhere.

    \b
    sudo labelgen base capture web1.tar.gz      (on the host)
    labelgen build --base web1.tar.gz           (anywhere)

    FILE holds the policy modules of the host, the ports and file contexts that semanage set, how home folders are
    labelled and which paths stand for others (file_contexts.homedirs, .subs, .subs_dist), semanage.conf where it
    sets handle-unknown, and nothing else. A
    base made of it is the host's own: `labelgen verify --build build --base host` there finds it the same.
    """
    found = stores.locate(root, store_name)
    source = bases.store(found.folder, str(found.folder))
    modules = {source.module_name(path): path for path in source.files}
    bundle.pack(modules, source.extra, bases.policy_package(root), file, found.type)
    captured = {"bundle": str(file), "type": found.type, "modules": len(modules), "sha256": bases.digest(source)}
    if as_json:
        terminal.echo_json(captured)
    else:
        click.echo(f"{file}: {len(modules)} modules of the policy {found.type}")
    return 0
