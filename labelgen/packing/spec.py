"""The spec file: what each package is, and the template filled in with it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import jinja2

from labelgen import __version__, templating
from labelgen.errors import InputError
from labelgen.packing.targets import Target, packed_version
from labelgen.packing.tree import MANIFEST, Module, Place, Tree

SOURCE = "lxc-policy"
BUNDLE = "lxc-selinux"
DIGESTS = "SHA256SUMS"
RECORD = "packing.json"
SPEC = f"{SOURCE}.spec"
TEMPLATE = f"{SOURCE}.spec.j2"
RPMLINTRC = f"{SOURCE}.rpmlintrc"
DATA_FOLDER = "/usr/share/lxc-selinux"
# Packages with the programs that the scriptlets start; %posttrans and %verifyscript need them later too.
# policycoreutils brings libselinux-utils (selinuxenabled) with it.
PROGRAMS = ("coreutils", "findutils", "grep", "policycoreutils", "sed")
WIDTH = 79
# A time in the header of a package is a number of 32 bits.
LAST_EPOCH = 0xFFFFFFFF

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def escaped(text: str) -> str:
    """A text as one line of a spec: every % doubled, every control character and line break a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("%", "%%")


def _paragraph(text: str) -> str:
    """A text, escaped, as lines of a description.

    rpm reads a spec line by line *after* it has expanded macros, so a line that begins with `%%post` begins a second
    %post, and `%%if` a condition; one that begins with # is dropped and one that ends in \\ takes the next with it. So
    a word with such a sign stays beside the words around it.
    """
    words = escaped(text).split(" ")
    glued: list[str] = []
    for word in words:
        if glued and (word[0] in "%#" or glued[-1][-1] == "\\"):
            glued[-1] += "\0" + word
        else:
            glued.append(word)
    lines = textwrap.wrap(" ".join(glued), WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def script(text: str) -> str:
    """A shell script as a section of a spec: what is % there is %% here."""
    return text.replace("%", "%%")


class Packed(NamedTuple):
    """A file of a package that semodule installs: a module, or the CIL module with its ports."""

    name: str
    file: str
    is_source: bool
    version: int


class Package(NamedTuple):
    """One package of the spec, as the templates see it.

    order: shared before roles, for the notes of a transaction; types: those it brings; data: files beside the modules;
    applies_on_erase: whether its own %postun changes the policy; triggers: whether it does so for erased roles.
    """

    name: str
    order: int
    summary: str
    description: tuple[str, ...]
    modules: tuple[Packed, ...]
    types: tuple[str, ...]
    places: tuple[Place, ...]
    data: tuple[str, ...]
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    conflicts: tuple[str, ...]
    applies_on_erase: bool
    triggers: bool


class Plan(NamedTuple):
    """Everything that decides the bytes of the packages."""

    tree: Tree
    modules: tuple[Module, ...]
    target: Target
    version: str
    release: str
    policy_type: str
    selinux_policy: Optional[str]
    bundle: bool
    epoch: int

    @property
    def sources(self) -> list[str]:
        """The names of the source files, in the order of the spec."""
        names = [DIGESTS, MANIFEST, RECORD, RPMLINTRC]
        for module in self.modules:
            names += [module.files[key].name for key in ("te", "fc", "ports") if key in module.files]
        return names

    @property
    def roles(self) -> list[str]:
        """The names of the roles packed."""
        return [module.role for module in self.modules if not module.is_shared]

    def record(self) -> dict[str, Any]:
        """What a build and this program need to make the same packages again."""
        return {
            "labelgen": __version__,
            "build": self.tree.digest,
            "target": self.target.name,
            "version": self.version,
            "release": self.release,
            "policy_type": self.policy_type,
            "selinux_policy": self.selinux_policy,
            "bundle": self.bundle,
            "epoch": self.epoch,
            "roles": self.roles,
        }

    @property
    def evr(self) -> str:
        """Version and release of the packages."""
        return f"{self.version}-{self.release}{self.target.dist}"

    @property
    def folder(self) -> str:
        """Where the packages put modules."""
        return f"/usr/share/selinux/packages/{self.policy_type}"


def package_name(module: str) -> str:
    """lxc_web -> lxc-web-selinux"""
    return module.replace("_", "-") + "-selinux"


def _packed(plan: Plan, module: Module) -> tuple[Packed, ...]:
    version = packed_version(plan.target, module.version)
    found = [Packed(module.name, f"{module.name}.pp", True, version)]
    if module.has_ports:
        found.append(Packed(f"{module.name}_ports", module.files["ports"].name, False, 0))
    return tuple(found)


def _types(module: Module) -> tuple[str, ...]:
    own = () if module.is_shared else (f"{module.name}_t",)
    return (*own, *sorted({place.type for place in module.places}))


def _policy_requires(plan: Plan) -> tuple[str, ...]:
    needed = f"selinux-policy >= {plan.selinux_policy}" if plan.selinux_policy else "selinux-policy"
    # The parent of Fedora's and RHEL's containers is container-selinux's; svirt_lxc_net_t itself is the policy's own.
    container = ("container-selinux",) if plan.tree.manifest.get("parent") == "container_t" else ()
    return (*container, needed, f"selinux-policy-{plan.policy_type}")


def _exact_shared(plan: Plan) -> str:
    """The very lxc_base that a role was verified with, as a capability."""
    return f"{package_name(plan.modules[0].name)}({plan.modules[0].digests['cil']})"


def _description(plan: Plan, module: Module) -> tuple[str, ...]:
    if module.is_shared:
        return (
            "What every container role has: the parent domain's rules, less the network. "
            "A role's own package brings its domain.",
        )
    summary = plan.tree.summaries.get(module.role, "")
    return (
        f"The SELinux domain {module.name}_t, for containers started with the option "
        f"--security-opt label=type:{module.name}_t.",
        f"The role file says: {summary}",
    )


def _split(plan: Plan) -> list[Package]:
    shared = plan.modules[0]
    return [
        Package(
            name=package_name(module.name),
            order=0 if module is shared else 1,
            summary="SELinux policy that container roles share"
            if module is shared
            else f"SELinux domain of the container role {module.role}",
            description=_description(plan, module),
            modules=_packed(plan, module),
            types=_types(module),
            places=module.places,
            data=(MANIFEST, RECORD, module.files["te"].name),
            provides=(f"{_exact_shared(plan)} = {plan.evr}",) if module is shared else (),
            requires=_policy_requires(plan) if module is shared else (_exact_shared(plan),),
            conflicts=(),
            applies_on_erase=module is shared or not plan.target.file_triggers,
            triggers=module is shared and plan.target.file_triggers,
        )
        for module in plan.modules
    ]


def _bundle(plan: Plan) -> Package:
    names = [package_name(module.name) for module in plan.modules]
    return Package(
        name=BUNDLE,
        order=0,
        summary="SELinux policy for containers, one domain for each job",
        description=tuple(line for module in plan.modules for line in _description(plan, module)),
        modules=tuple(packed for module in plan.modules for packed in _packed(plan, module)),
        types=tuple(name for module in plan.modules for name in _types(module)),
        places=tuple(place for module in plan.modules for place in module.places),
        data=(MANIFEST, RECORD, *(module.files["te"].name for module in plan.modules)),
        provides=tuple(f"{name} = {plan.evr}" for name in (*names, _exact_shared(plan))),
        requires=_policy_requires(plan),
        conflicts=tuple(names),
        applies_on_erase=True,
        triggers=False,
    )


def packages(plan: Plan) -> list[Package]:
    """The packages that come of a plan, the shared module's first."""
    return [_bundle(plan)] if plan.bundle else _split(plan)


def _date(epoch: int) -> str:
    """A date as a changelog has it, in English whatever the locale."""
    then = time.gmtime(epoch)
    return f"{_DAYS[then.tm_wday]} {_MONTHS[then.tm_mon - 1]} {then.tm_mday:02} {then.tm_year}"


def render(plan: Plan, made: Sequence[Package], templates: Path) -> str:
    """The spec file of a plan. Raises InputError where a template is wrong or missing."""
    environment = templating.environment(templates, jinja2.FileSystemLoader(templates))
    environment.filters.update(text=escaped, paragraph=_paragraph, script=script)
    values: dict[str, Any] = {
        "plan": plan,
        "source": SOURCE,
        "sources": plan.sources,
        "packages": made,
        "modules": [packed for package in made for packed in package.modules],
        "programs": PROGRAMS,
        "target": plan.target,
        "folder": plan.folder,
        "data_folder": DATA_FOLDER,
        "store": f"{plan.target.stores}/{plan.policy_type}/active/modules/200",
        "policy_type": plan.policy_type,
        "rpm_version": plan.version,
        "release": plan.release,
        "license": "Apache-2.0",
        "version": __version__,
        "digests": DIGESTS,
        "base": {**plan.tree.manifest["base"], "name": Path(plan.tree.manifest["base"]["name"]).name},
        "date": _date(plan.epoch),
    }
    try:
        return environment.get_template(TEMPLATE).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{error.filename or TEMPLATE}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise InputError(f"the template {error.name} is missing") from error
    except jinja2.UndefinedError as error:
        raise InputError(f"{TEMPLATE}: {error.message}") from error
