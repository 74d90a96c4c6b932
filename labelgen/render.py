"""Modules written out as policy source: templates under templates/ filled in, the same input to the same bytes."""

from __future__ import annotations

import textwrap
import traceback
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

import jinja2

from labelgen import __version__, templating
from labelgen.base import Base, told_name
from labelgen.derivation import DOMAIN, FILE_TYPE, NET_DOMAIN, OWN_ATTRIBUTES, REASONS, SharedRule
from labelgen.errors import InputError
from labelgen.facts import Facts
from labelgen.modules import RoleModule
from labelgen.ownports import OwnPortType
from labelgen.policy import ACCESS_RULES, FILE_CLASSES, XPERM_RULES
from labelgen.shipped import SHARED_MODULE

WIDTH = 100


# -- the module language


def braces(names: Sequence[str]) -> str:
    """A set as the module language writes it."""
    return names[0] if len(names) == 1 else "{ " + " ".join(names) + " }"


def _rule_text(rule: SharedRule) -> str:
    sets = f"{rule.kind} {braces(rule.sources)} {braces(rule.targets)}:{braces(rule.classes)} "
    if rule.kind in ACCESS_RULES:
        return f"{sets}{braces(rule.perms)};"
    if rule.kind in XPERM_RULES:
        return f"{sets}{rule.perms[0]} {{ {rule.xperms} }};"
    return sets + rule.default + (f' "{rule.filename}"' if rule.filename else "") + ";"


def _wrapped(text: str, indent: str = "") -> str:
    if not text or "  " in text or text != text.strip() or not text.isprintable():
        return _wrapped_by_textwrap(text, indent)
    lines, rest, start = [], indent + text, len(indent)
    while len(rest) > WIDTH:
        blank = rest.rfind(" ", start, WIDTH + 1)
        if blank < 0:
            blank = rest.find(" ", start)
        if blank < 0:
            break
        lines.append(rest[:blank])
        rest, start = f"{indent}    {rest[blank + 1 :]}", len(indent) + 4
    return "\n".join((*lines, rest))


def _wrapped_by_textwrap(text: str, indent: str) -> str:
    """The same at a tenth of the speed, for text with other blanks than single spaces between its words."""
    return "\n".join(
        textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def rules_text(rules: Iterable[SharedRule], indent: str = "") -> str:
    """Rules as statements: first those always in force, then a block for each condition."""
    plain: list[SharedRule] = []
    conditional: dict[str, list[SharedRule]] = defaultdict(list)
    for rule in rules:
        (conditional[rule.condition] if rule.condition else plain).append(rule)
    lines = [_wrapped(_rule_text(rule), indent) for rule in plain]
    for condition, inside in sorted(conditional.items()):
        shown = condition if condition.startswith("(") else f"({condition})"
        block = (_wrapped(_rule_text(rule), f"{indent}    ") for rule in inside)
        lines += [f"{indent}if {shown} {{", *block, f"{indent}}}"]
    return "\n".join(lines)


@dataclass(frozen=True)
class Requirements:
    """Everything that a module names and does not declare: checkmodule wants it listed."""

    types: tuple[str, ...]
    attributes: tuple[str, ...]
    booleans: tuple[str, ...]
    classes: tuple[tuple[str, tuple[str, ...]], ...]


def _booleans(condition: str) -> set[str]:
    for sign in "()!&|^=":
        condition = condition.replace(sign, " ")
    return set(condition.split())


def _all_perms(rules: Iterable[SharedRule]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    classes: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for tclass in rule.classes:
            # A class cannot be required without a permission; whatever a transition labels is created.
            classes[tclass].update(rule.perms or ("create",))
    return tuple((tclass, tuple(sorted(perms))) for tclass, perms in sorted(classes.items()))


def _named(rule: SharedRule) -> set[str]:
    """The types and attributes in a rule."""
    names = {name.lstrip("-") for name in (*rule.sources, *rule.targets)} - {"self"}
    return names | {rule.default} if rule.default else names


def requirements(
    rules: Sequence[SharedRule],
    types: Iterable[str],
    attributes: Iterable[str],
    declared: Iterable[str],
    is_attribute: Callable[[str], bool],
) -> Requirements:
    """What a module of these rules must require, besides `types` and `attributes` that its declarations name."""
    named = {name for rule in rules for name in _named(rule)} - set(declared)
    found = {name for name in named if is_attribute(name)}
    booleans = sorted({name for rule in rules if rule.condition for name in _booleans(rule.condition)})
    return Requirements(
        tuple(sorted((named - found) | set(types))),
        tuple(sorted(found | set(attributes))),
        tuple(booleans),
        _all_perms(rules),
    )


# -- the shared module, in the order of a policy author: from itself outwards


def _is(
    sources: Optional[str] = None, targets: Optional[str] = None, classes: Sequence[str] = ()
) -> Callable[[SharedRule], bool]:
    return lambda rule: (
        (sources is None or rule.sources == (sources,))
        and (targets is None or rule.targets == (targets,))
        and (not classes or set(rule.classes) <= set(classes))
    )


SECTIONS: tuple[tuple[str, Callable[[SharedRule], bool]], ...] = (
    ("A role and itself", _is(DOMAIN, "self")),
    ("Files and devices", _is(DOMAIN, classes=FILE_CLASSES)),
    ("Filesystems", _is(DOMAIN, classes=("filesystem",))),
    ("Other domains and the kernel", _is(DOMAIN)),
    ("Labelled networking, as the parent has it, for networked roles", _is(NET_DOMAIN)),
    ("Who may act on a role", _is(targets=DOMAIN)),
    ("Who may act on the sockets of a networked role", _is(targets=NET_DOMAIN)),
    ("Private files of roles: mounted by runtimes, managed by admins", _is(targets=FILE_TYPE)),
    ("Private files of roles: where they may be", _is(FILE_TYPE)),
)


@dataclass(frozen=True)
class Section:
    """Rules of the shared module under a heading: those of any base, and those that name something of other modules,
    which they go away with. optionals: what they name -> the rules."""

    title: str
    rules: list[SharedRule] = field(default_factory=list)
    optionals: dict[tuple[str, ...], list[SharedRule]] = field(default_factory=lambda: defaultdict(list))


def sections(rules: Iterable[SharedRule], always: Collection[str]) -> list[Section]:
    """The rules of the shared module under their headings; `always`: the names that are there whatever a host has."""
    found = {title: Section(title) for title, _ in SECTIONS}
    for rule in rules:
        section = found[next(title for title, belongs in SECTIONS if belongs(rule))]
        needs = (_named(rule) | _booleans(rule.condition)).difference(always)
        (section.optionals[tuple(sorted(needs))] if needs else section.rules).append(rule)
    return [section for section in found.values() if section.rules or section.optionals]


# -- templates


class _Templates(jinja2.FileSystemLoader):
    """The templates of a folder, and the names of those that were used."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.used: set[str] = set()

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        found = super().get_source(environment, template)
        self.used.add(template)
        return found


class Renderer:
    """The templates of a folder, filled in for one base."""

    def __init__(self, templates: Path, base: Base, facts: Facts) -> None:
        if not templates.is_dir():
            raise InputError(
                f"{templates}: there is no folder of templates here",
                "leave out --templates to use those that come with labelgen",
            )
        self.facts = facts
        self.templates = templates
        # What goes into a template is validated names and one printable line (role.py).
        self.loader = _Templates(templates)
        self.environment = templating.environment(templates, self.loader)
        self.environment.filters.update(braces=braces, rules=rules_text, wrapped=_wrapped, base_name=told_name)
        self.environment.globals.update(
            base=base,
            derivation=facts.derivation,
            version=__version__,
            DOMAIN=DOMAIN,
            NET_DOMAIN=NET_DOMAIN,
            FILE_TYPE=FILE_TYPE,
        )

    def _fill(self, template: str, **values: Any) -> str:
        try:
            return self.environment.get_template(template).render(values)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"{error.filename or template}:{error.lineno}: {error.message}") from error
        except jinja2.TemplateNotFound as error:
            raise InputError(
                f"{self.templates}: the template {error.name} is missing in this folder of templates"
            ) from error
        except jinja2.UndefinedError as error:
            raise InputError(f"{self._place(template, error)}: {error.message}") from error
        except OSError as error:
            raise InputError(f"{self.templates / template}: cannot be read: {error.strerror}") from error
        except (
            *(jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError),
            *(TypeError, ValueError),
        ) as error:
            place = self._place(template, error)
            raise InputError(f"{place}: this template cannot be filled in: {error}") from error

    def _place(self, template: str, error: Exception) -> str:
        """File and line of a template at which an error came up: jinja gives its frames their names and lines."""
        files = {str(self.templates / name) for name in self.loader.used}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(self.templates / template)

    @property
    def used(self) -> list[Path]:
        """The templates that were filled in so far, and those that they include."""
        return [self.templates / name for name in sorted(self.loader.used)]

    def _is_attribute(self, name: str) -> bool:
        return name in OWN_ATTRIBUTES or name in self.facts.attributes

    def shared(self) -> str:
        """The source of the shared module."""
        derivation = self.facts.derivation
        parts = sections(derivation.rules, {*OWN_ATTRIBUTES, derivation.parent, derivation.file_type})
        needs = requirements(
            [rule for part in parts for rule in part.rules], (), (), OWN_ATTRIBUTES, self._is_attribute
        )
        counts = [(reason, REASONS[reason], number) for reason, number in derivation.counts.items() if number]
        return self._fill(
            "shared.te.j2",
            module=SHARED_MODULE,
            needs=replace(needs, classes=_all_perms(derivation.rules)),
            needs_of=lambda rules: requirements(rules, (), (), OWN_ATTRIBUTES, self._is_attribute),
            counts=counts,
            sections=parts,
        )

    def role(self, module: RoleModule) -> str:
        """The source of a role's module."""
        attributes = {
            *module.attributes,
            *(name for own in module.ports for name in own.attributes),
            *(name for private in module.files for name in private.attributes),
        }
        declared = {module.role.type, *(own.name for own in module.ports), *(private.name for private in module.files)}
        types = {
            module.role.parent,
            *(own.replaces for own in module.ports),
            *([module.parent_file_type] if module.files else []),
        }
        needs = requirements(module.rules, types, attributes, declared, self._is_attribute)
        return self._fill("role.te.j2", module=module, role=module.role, needs=needs)

    def file_contexts(self, module: RoleModule) -> str:
        """The file contexts of a role's private files."""
        return self._fill("role.fc.j2", module=module, role=module.role)

    def ports(self, module: RoleModule) -> str:
        """The companion CIL module that carries the portcons of a role's own port types."""
        return self._fill("ports.cil.j2", module=module, role=module.role, portcons=list(_portcons(module.ports)))


def _portcons(ports: Iterable[OwnPortType]) -> Iterator[dict[str, str]]:
    for own in ports:
        for protocol, segment in own.portcons:
            user, selinux_role, _, level = segment.context.split(":", 3)
            low, _, high = level.partition("-")
            yield {
                "protocol": protocol,
                "type": own.name,
                "user": user,
                "role": selinux_role,
                "numbers": str(segment.low) if segment.low == segment.high else f"({segment.low} {segment.high})",
                "low": _cil_level(low.strip()),
                "high": _cil_level((high or low).strip()),
            }


def _cil_level(level: str) -> str:
    """`s0:c0.c1023,c5` as CIL writes it: (s0 ((range c0 c1023) c5))."""
    sensitivity, _, categories = level.partition(":")
    parts = [f"(range {' '.join(part.split('.'))})" if "." in part else part for part in categories.split(",") if part]
    return f"({sensitivity}{' (' + ' '.join(parts) + ')' if parts else ''})"
