"""What gets a role's labels, and which labels what a role makes gets, by something else than rules about access.

hooks.c asks the policy for the label of everything that is made (security_compute_sid, ss/services.c): by a
type_transition, a range_transition, or by a statement whose it is by default.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from labelgen.constraints import OBJECT, ONE, SYSTEM, Context, Level, single_level
from labelgen.filecontexts import FileContext, FileContexts, is_within
from labelgen.policy import FILE_CLASSES, Rule

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject
    from labelgen.role import Files


# The kernel asks no rule for the label of these: it is that of who makes them (hooks.c: ipc_init_security,
# selinux_key_alloc, selinux_file_alloc_security, selinux_bpf_map_alloc).
UNCOMPUTED = frozenset({"msgq", "sem", "shm", "key", "fd", "bpf"})


def given_elsewhere(subject: Subject) -> Iterator[Finding]:
    """Nothing is labelled with the role's types but by its own rules, file contexts and portcons."""
    own = (subject.domain, *subject.file_types.values(), *sorted(subject.own_port_types))
    for name in own:
        if name in subject.policy.labelled:
            words = f"{name} is given to what is not the role's"
            yield subject.finding("separate", words, (subject.policy.labelled[name],))
    for name in (subject.domain, *subject.file_types.values()):
        if name in subject.verification.port_types:
            yield subject.finding("separate", f"ports have {name}, which is no type of ports")
    for rule in (rule for name in own for rule in subject.policy.labelling(name)):
        if rule.source != subject.domain and not _starts(subject, rule):
            words = f"what {rule.source} makes in {rule.target} ({rule.tclass}) is labelled {rule.default}"
            yield subject.finding("separate", words, (str(rule),))
    contexts = subject.verification.file_contexts or FileContexts()
    for context in (context for type_name in own for context in contexts.by_type.get(type_name, ())):
        if not _is_declared(subject, context, subject.role.files):
            words = f"the file context {context.path} gives {context.type} to files that are not the role's"
            yield subject.finding("separate", words)
    for number, entry in enumerate(subject.role.files):
        for alias in contexts.borrowing(entry.path):
            words = f"the host looks up what is below {alias.path} as if it were below {alias.meant}, and so gives it"
            where = ("files", number)
            yield subject.finding("separate", f"{words} the role's label (file_contexts.subs)", where=where)


def labelled_otherwise(subject: Subject, path: str, name: str) -> list[FileContext]:
    """The file contexts that give files of a declared path another type than the path's, which `name` is, and not that
    of a declared path in which those files are and which counts before it."""
    contexts = subject.verification.file_contexts or FileContexts()
    shadowing = contexts.shadowing(path)
    paths = {context.path for context in shadowing}
    inner = [entry for entry in subject.role.files if entry.path in paths and is_within(entry.path, path)]
    return [c for c in shadowing if c.type != name and not _is_declared(subject, c, inner)]


def _is_declared(subject: Subject, context: FileContext, entries: Iterable[Files]) -> bool:
    """Whether a file context gives the type of one of the declared paths to files of this path alone."""
    return any(
        context.type == subject.file_types[entry.access]
        and (context.path == entry.path or is_within(context.path, entry.path))
        for entry in entries
    )


def _starts(subject: Subject, rule: Rule) -> bool:
    """Whether a rule starts programs in the role, which is what transitions to it are for."""
    return rule.default == subject.domain and rule.tclass == "process"


# -- what it makes


def other_categories(subject: Subject) -> Iterator[Finding]:
    """What the domain runs and makes has its own categories, or those that the parent's has; what it makes where it may
    make something, and its sockets, have its own whatever the parent's have."""
    rules = subject.verification.range_transitions
    makes_in = subject.bit | subject.worst.get(("dir", "add_name"), 0)
    theirs: dict[tuple[str, str], int] = defaultdict(int)
    for source, target, tclass, levels in rules:
        if subject.policy.bits[source] & subject.policy.bits[subject.parent]:
            theirs[tclass, levels] |= subject.policy.bits[target]
    for source, target, tclass, levels in rules:
        targets = subject.policy.bits[target]
        if not subject.policy.bits[source] & subject.bit:
            continue
        if tclass == "process":
            words = f"{subject.domain} changes its categories to {levels} when it runs {target}"
        elif targets & (makes_in | ~theirs[tclass, levels]):
            words = f"what {subject.domain} makes in {target} ({tclass}) has the level {levels}, whatever its own is"
        else:
            continue
        yield subject.finding("separate", words, (f"range_transition {source} {target}:{tclass} {levels};",))
    for default in subject.policy.defaults:
        if default.kind == "default_range" and default.tclass == "process" and default.whose != "source":
            words = f"{subject.domain} changes its categories to those of a file when it runs one"
            yield subject.finding("separate", words, (default.text,))


def unusable(subject: Subject) -> Iterator[Finding]:
    """What the domain runs, and the sockets that it makes, have a label with which they work."""
    sockets = subject.policy.socket_classes
    for rule in subject.policy.labelling_from(subject.domain):
        if rule.kind == "type_transition" and (rule.tclass == "process" or rule.tclass in sockets):
            words = f"what {subject.domain} makes is labelled {rule.default}, which it may not use"
            yield subject.finding("able", words, (str(rule),))
    for default in subject.policy.defaults:
        is_file = default.tclass in FILE_CLASSES and default.kind == "default_type" and default.whose == "source"
        is_program = default.tclass == "process" and default.kind != "default_range" and default.whose == "target"
        if is_file or is_program:
            words = f"what {subject.domain} makes or runs ({default.tclass}) has a label that it may not use"
            yield subject.finding("able", words, (default.text,))
    yield from _of_another_role(subject)
    yield from _not_made_at_their_level(subject)
    yield from labelled_its_own(subject, "able")


def _not_made_at_their_level(subject: Subject) -> Iterator[Finding]:
    """Sockets of its own, and files in its own, that a range_transition gives a level at which a constraint lets no
    container make them."""
    policy, sockets, files = subject.policy, subject.policy.socket_classes, subject.file_types
    for source, target, tclass, levels in subject.verification.range_transitions:
        own = (subject.domain,) if tclass in sockets else tuple(files.values()) if tclass in FILE_CLASSES else ()
        for name in own:
            if not (policy.bits[source] & subject.bit and policy.bits[target] & policy.bits.get(name, 0)):
                continue
            selinux_role = SYSTEM[1] if tclass in sockets else OBJECT
            low, high = (Level(*level) for level in policy.levels(levels))
            made = Context(SYSTEM[0], selinux_role, name, low, high)
            mine = single_level(*SYSTEM, subject.domain, *ONE)
            for constraint in subject.verification.constraints.refusing(mine, made, tclass, "create"):
                words = (
                    f"what {subject.domain} makes in {target} ({tclass}) has the level {levels}, at which it may not"
                )
                yield subject.finding("able", words, (constraint.text,))


def labelled_its_own(subject: Subject, claim: str) -> Iterator[Finding]:
    """What it makes in its own files has another type than these, which it may not create there or others may open:
    `able`. What it makes in what it has with its parent has a type of its own, which those with whom it shares that may
    not open: `complete`. hooks.c, may_create, asks for the new label."""
    files = subject.file_types.values()
    for rule in _about_made(subject, subject.domain):
        is_in_own = rule.target in files
        is_about = is_in_own or rule.default in (subject.domain, *files)
        about = "able" if is_in_own else "complete"
        if rule.kind == "type_transition" and is_about and rule.target != rule.default and claim == about:
            words = f"what {subject.domain} makes in {rule.target} ({rule.tclass}) is labelled {rule.default}"
            yield subject.finding(claim, words, (str(rule),))


def _of_another_role(subject: Subject) -> Iterator[Finding]:
    """What of its own gets another SELinux role than the parent's has. One that may not have the type is no label at
    all, and nothing is made (compute_sid_handle_invalid_context, ss/services.c)."""
    policy, own = subject.policy, (subject.domain, *subject.file_types.values())
    started_as = [name for name, bits in policy.roles.items() if bits & subject.bit]
    for rule in (rule for name in own for rule in policy.role_transitions.get(name, ()) if rule.source in started_as):
        words = f"what {subject.domain} makes in or runs of {rule.target} ({rule.tclass}) has the SELinux role"
        yield subject.finding("able", f"{words} {rule.default}", (rule.text,))
    written = subject.verification.bits_of(name for access, name in subject.file_types.items() if access == "write")
    lacking = [name for name in started_as if written & ~policy.roles[name]]
    for default in policy.defaults:
        is_made = default.kind == "default_role" and default.tclass in FILE_CLASSES and default.whose == "source"
        if lacking and is_made:
            words = f"a {default.tclass} that {subject.domain} makes in its own has the SELinux role {lacking[0]}"
            yield subject.finding("able", f"{words}, which may not have its type", (default.text,))


def not_made_alike(subject: Subject) -> Iterator[Finding]:
    """What it makes has the labels that what the parent makes has in the same place."""
    mine, theirs = _labels(subject, subject.domain), _labels(subject, subject.parent)
    for kind, targets in theirs.items():
        lacking = targets & ~_labelled_so(mine, kind) & ~_apart(subject)
        if lacking and kind.default != subject.parent:
            words = f"is not labelled {kind.default}, as what {subject.parent} makes is"
            yield _otherwise(subject, "complete", kind, lacking, words)


def made_otherwise(subject: Subject) -> Iterator[Finding]:
    """What it makes has no label that what the parent makes has not, but the role's own."""
    mine, theirs = _labels(subject, subject.domain), _labels(subject, subject.parent)
    for kind, targets in mine.items():
        more = targets & ~_labelled_so(theirs, kind)
        if more and kind.default not in (subject.domain, *subject.file_types.values()):
            words = f"is labelled {kind.default}, and what {subject.parent} makes is not"
            yield _otherwise(subject, "separate", kind, more, words)


def _labels(subject: Subject, domain: str) -> dict[Rule, int]:
    """What rules label that a domain makes, each without the types that it is about -> the targets; of those on itself,
    the role."""
    found: dict[Rule, int] = defaultdict(int)
    for rule in _about_made(subject, domain):
        # Linkers write these rules out for each type, for the kernel looks for no attribute (security_compute_sid).
        bits = subject.bit if rule.target == domain else subject.policy.bits[rule.target]
        found[rule._replace(source="", target="")] |= bits
    return found


def _about_made(subject: Subject, domain: str) -> Iterator[Rule]:
    """The rules that label what a domain makes, but for programs and sockets. What is made without a file is made of
    the domain's own label, whatever rules say of others' (hooks.c, selinux_inode_init_security_anon)."""
    elsewhere = {"process", *UNCOMPUTED, *subject.policy.socket_classes}
    for rule in subject.policy.labelling_from(domain):
        if rule.tclass not in elsewhere and (rule.target == domain or rule.tclass != "anon_inode"):
            yield rule


def _labelled_so(labels: dict[Rule, int], kind: Rule) -> int:
    """The targets for which rules say the same, in the same branch or without any boolean; of a name also those for
    which they say so of all names, and nothing of this one (security_compute_sid, ss/services.c)."""
    found = labels.get(kind, 0) | labels.get(kind._replace(guard=None), 0)
    if kind.filename:
        of_all = labels.get(kind._replace(filename="", guard=None), 0)
        for rule, targets in labels.items() if of_all else ():
            of_all &= ~targets if (rule.tclass, rule.filename) == (kind.tclass, kind.filename) else -1
        found |= of_all
    return found


def _otherwise(subject: Subject, claim: str, kind: Rule, targets: int, words: str) -> Finding:
    target = subject.policy.names(targets)[0]
    rule = kind._replace(source=subject.parent if claim == "complete" else subject.domain, target=target)
    return subject.finding(claim, f"what {subject.domain} makes in {target} ({kind.tclass}) {words}", (str(rule),))


def _apart(subject: Subject) -> int:
    """The types of roles, but for the role itself."""
    return subject.verification.types_of_roles & ~subject.bit
