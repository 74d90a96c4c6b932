"""What the tests of the result share: the shipped roles built on a base, and changed policies linked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelgen import base as bases
from labelgen import build
from labelgen.build import Inputs, Prepared
from labelgen.claims import Verification
from labelgen.compiling import Compiled, compile_all
from labelgen.modules import role_modules
from labelgen.policy import Policy
from labelgen.reach import Reach
from labelgen.render import Renderer
from labelgen.shipped import packaged
from labelgen.verdict import Verdict, verdict

# What a change to CIL text may be: the old text (which must be there) -> the new one.
Edits = Mapping[str, Sequence[tuple[str, str]]]

BASE = "base"


def quiet(_: str) -> None:
    """Tell nobody of progress."""


@dataclass(frozen=True)
class BuiltRoles:
    """Role files made into modules for a base, and the CIL that those modules are when a host links them."""

    prepared: Prepared
    compiled: tuple[Compiled, ...]

    @classmethod
    def build(cls, spec: str, roles: Path, folder: Path, names: Sequence[str] = ()) -> BuiltRoles:
        """Build the roles of a folder on the base `spec` inside `folder`, with labelgen's own steps."""
        inputs = Inputs(roles, tuple(names), spec, packaged("templates"))
        prepared = build.prepare(inputs, quiet)
        modules = role_modules(prepared.files, prepared.facts)
        renderer = Renderer(inputs.templates, prepared.base, prepared.facts)
        return cls(prepared, tuple(compile_all(build._write_sources(folder, renderer, modules), len(modules) + 1)))

    def again_on(self, replacements: Sequence[tuple[str, str]], extra: Path, folder: Path) -> BuiltRoles:
        """The same roles built on this base with changes: replacements in its CIL, and more CIL."""
        changed, modules = folder / "base", folder / "modules"
        changed.mkdir()
        modules.mkdir()
        _edited(self.prepared.base.cil, replacements, changed / "base.cil")
        (changed / "extra.cil").write_bytes(extra.read_bytes())
        return BuiltRoles.build(str(changed), self.prepared.files[0].path.parent, modules)

    @property
    def cil(self) -> dict[str, Path]:
        """module -> its CIL, in the order of linking; the base is called `base`."""
        files = {BASE: self.prepared.base.cil}
        for module in self.compiled:
            files.update({path.stem: path for path in module.linked})
        return files

    def link(self, folder: Path, extra: Sequence[Path] = (), edits: Edits = {}) -> Path:  # noqa: B006 - never written
        """The roles linked onto the base with further CIL, after `edits` (module -> replacements) in what is linked.

        Raises ProgramFailed where it does not link.
        """
        files = self.cil
        assert not set(edits) - set(files), f"no such module: {set(edits) - set(files)}"
        for module, replacements in edits.items():
            files[module] = _edited(files[module], replacements, folder / f"{module}.cil")
        policy = folder / "policy"
        bases.link([*files.values(), *extra], self.prepared.base.mls, policy, policy.with_suffix(".fc"))
        return policy

    def verify(self, policy: Path) -> Verdict:
        """The verdict on a policy in which the roles are linked."""
        return verdict(self.verification(policy))

    def verification(self, policy: Path) -> Verification:
        """What the claims are checked on."""
        return Verification(
            Policy(policy),
            tuple(self.prepared.files),
            self.prepared.base.exact,
            base_ports=self.prepared.facts.ports,
            file_contexts=build.file_contexts(policy, self.prepared.base),
        )


class OnBase:
    """The shipped roles built and linked onto one base, the verdict on them, and the linked policy."""

    def __init__(self, base: str, folder: Path) -> None:
        (folder / "modules").mkdir()
        roles = BuiltRoles.build(base, packaged("roles"), folder / "modules")
        self.take(base, roles, roles.link(folder))

    def take(self, base: str, roles: BuiltRoles, policy: Path) -> None:
        """Verify roles that are built and linked."""
        self.name, self.roles, self.path = base, roles, policy
        self.verification = self.roles.verification(self.path)
        self.verdict: Verdict = verdict(self.verification)
        self.policy = self.verification.policy
        self.reach: dict[str, Reach] = {role.domain: role.reach for role in self.verdict.roles}

    @property
    def parent(self) -> str:
        """The type that the roles derive from."""
        return self.roles.prepared.facts.derivation.parent


def _edited(file: Path, replacements: Sequence[tuple[str, str]], to: Path) -> Path:
    text = file.read_text()
    for old, new in replacements:
        assert old in text, f"{file.name} has no {old!r}: the change would change nothing"
        text = text.replace(old, new)
    to.write_text(text)
    return to
