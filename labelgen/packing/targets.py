"""The distributions that packages are made for, and what each can have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from labelgen.errors import InputError


class Target(NamedTuple):
    """One distribution.

    name: as --target has it; dist: the end of a release; module_version: the highest module version that every minor
    release of it reads; selects_module_version: whether its checkmodule can be told one (-c); stores: where
    libsemanage keeps its policy stores; file_triggers: whether its rpm knows %transfiletriggerpostun; caret: whether
    it reads ^ in a version.
    """

    name: str
    dist: str
    module_version: int
    selects_module_version: bool = True
    stores: str = "/var/lib/selinux"
    file_triggers: bool = True
    caret: bool = True


# module_version: libsepol 2.5, 2.9, 3.3 (9.0), 3.8, 3.8, by the table of libsepol's MOD_POLICYDB_VERSION_MAX.
# checkmodule has -c since 2.9. RHEL 7 keeps its stores under /etc/selinux (_selinux_store_path of its selinux-policy).
# File triggers are in rpm since 4.13, ^ in versions since 4.15; RHEL 7 has 4.11, RHEL 8 4.14.
TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "el7",
            ".el7",
            17,
            selects_module_version=False,
            stores="/etc/selinux",
            file_triggers=False,
            caret=False,
        ),
        Target("el8", ".el8", 19, caret=False),
        Target("el9", ".el9", 20),
        Target("el10", ".el10", 22),
        Target("fedora", "", 22),
    )
}

# Module version -> what a module has when it needs it (compiling.NEEDED_VERSIONS).
FEATURES = {9: "typebounds", 11: "type transitions", 18: "filters of ioctl commands"}


def named(name: str) -> Target:
    """The target of a name. Raises InputError."""
    if name in TARGETS:
        return TARGETS[name]
    import difflib  # noqa: PLC0415 - only a mistyped target pays for it

    near = difflib.get_close_matches(name, TARGETS, n=1)
    raise InputError(
        f"there is no target '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""),
        f"known are {', '.join(TARGETS)}",
    )


def refuse_what_it_cannot_have(target: Target, modules: Iterable[tuple[str, int]]) -> None:
    """Refuse modules, given as name and version, that a target cannot read. Raises InputError that names each."""
    refused = [(name, version) for name, version in modules if version > target.module_version]
    if refused:
        lines = [
            f"{name} uses {FEATURES.get(version, 'something')}, which needs module version {version}; "
            f"{target.name} reads up to {target.module_version}"
            for name, version in refused
        ]
        raise InputError(
            "\n".join(lines), "build for a base of that target, which has no such rule, or choose another --target"
        )


def refuse_versions_it_cannot_read(target: Target, versions: Iterable[str]) -> None:
    """Refuse versions that a target's rpm cannot read: it would install no package that has one. Raises InputError."""
    refused = [version for version in versions if "^" in version and not target.caret]
    if refused:
        raise InputError(f"{target.name}'s rpm reads no ^ in a version: {', '.join(refused)}", "~ and + it reads")


def packed_version(target: Target, version: int) -> int:
    """The module version to pack: as built, or the only one that the target's own tools write."""
    return version if target.selects_module_version else target.module_version
