"""A linked policy, read with setools in one pass into an index.

Sets of types are bitsets (Python integers, one bit a type): the union of a thousand rules costs microseconds.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from fnmatch import fnmatchcase
from functools import cache, cached_property
from itertools import chain, compress, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from labelgen import capabilities, conditions
from labelgen.conditions import Condition
from labelgen.errors import InputError, MachineError, listed
from labelgen.kernelpolicy import KernelPolicy
from labelgen.network import EXTENDED_SOCKETS, UNDOING, NetworkModel

if TYPE_CHECKING:
    import setools

    from labelgen.sharing import Ahead

SETOOLS_HINT = (
    "apt-get install python3-setools or dnf install python3-setools "
    "(the package called setools on PyPI is another program)"
)
_OTHER = "is another program, not the SELinux policy library"

MOST_TOLD = 3  # types of one constraint

FILE_CLASSES = ("dir", "file", "lnk_file", "sock_file", "fifo_file", "chr_file", "blk_file")

# The kinds of rule whose perms are permissions; the others name a default type.
ACCESS_RULES = frozenset({"allow", "dontaudit", "auditallow"})
LABELLING = ("TERule", "FileNameTERule")  # setools' classes of the others
NETWORK_SYSCTLS = "/sys/net/"  # below /proc
# These name the programs that the kernel starts by itself, outside of any container (kernel/umh.c and who calls it:
# do_coredump, __request_module, kobject_uevent_env, orderly_poweroff), or instead of those that somebody else starts
# (fs/binfmt_misc.c, bm_register_write).
HELPERS = (
    *(("proc", f"/sys/kernel/{name}") for name in ("core_pattern", "hotplug", "modprobe", "poweroff_cmd")),
    ("sysfs", "/kernel/uevent_helper"),
    ("binfmt_misc", "/register"),
)
# So does this, in control groups of version 1 (kernel/cgroup/cgroup-v1.c, cgroup_release_agent_write).
RELEASE_AGENT = ("cgroup", "/release_agent")
# And these, of modules that few hosts have loaded and of old machine checks (fs/ocfs2/stackglue.c, fs/nfs/cache_lib.c,
# fs/nfsd/nfs4recover.c, drivers/block/drbd/drbd_main.c, arch/x86/kernel/cpu/mce/dev-mcelog.c).
HELPERS_OF_MODULES = (
    ("proc", "/sys/fs/ocfs2/nm/hb_ctl_path"),
    ("sysfs", "/module/nfs/parameters/cache_getent"),
    ("sysfs", "/module/nfsd/parameters/cltrack_prog"),
    ("sysfs", "/module/drbd/parameters/usermode_helper"),
    ("sysfs", "/devices/system/machinecheck/machinecheck0/trigger"),
)
# Of these Linux talks to servers itself (fs/ and net/9p, Linux 6.12).
NETWORK_FILESYSTEMS = frozenset(re.findall(r"\w+", "nfs nfs4 cifs smb3 ceph 9p afs coda orangefs"))
# Newer kernels take these for wildcards in a genfscon (policy capability genfs_seclabel_wildcard).
_PLAIN = re.compile(r"[*?]")
XPERM_RULES = frozenset({"allowxperm", "dontauditxperm", "auditallowxperm"})


class Guard(NamedTuple):
    """The conditional block a rule stands in: the expression in postfix, and which branch."""

    postfix: tuple[str, ...]
    branch: bool

    @property
    def condition(self) -> Condition:
        """When the rule is in force."""
        return _condition(self.postfix, self.branch)

    def __str__(self) -> str:
        expression = conditions.infix(self.postfix)
        return expression if self.branch else f"!{expression}"


@cache
def _condition(postfix: tuple[str, ...], branch: bool) -> Condition:
    condition = conditions.parse_postfix(postfix)
    return condition if branch else conditions.negation(condition)


class Rule(NamedTuple):
    """A type enforcement rule of the linked policy. Source and target are types or attributes."""

    kind: str
    source: str
    target: str
    tclass: str
    perms: frozenset[str]
    default: str = ""
    filename: str = ""
    xperms: str = ""
    guard: Optional[Guard] = None

    def __str__(self) -> str:
        what = f"{self.kind} {self.source} {self.target}:{self.tclass} "
        if self.kind in ACCESS_RULES:
            what += "{ " + " ".join(sorted(self.perms)) + " }"
        elif self.kind in XPERM_RULES:
            what += f"{' '.join(self.perms)} {{ {self.xperms} }}"
        else:
            what += self.default + (f' "{self.filename}"' if self.filename else "")
        return f"{what};" + (f" [if {self.guard}]" if self.guard else "")


class Portcon(NamedTuple):
    """The label of a range of ports."""

    protocol: str
    low: int
    high: int
    type: str
    context: str


class Genfscon(NamedTuple):
    """The type of the files of a file system whose path in it starts so; `kind` is empty for any kind of file."""

    filesystem: str
    path: str
    kind: str
    type: str


class Default(NamedTuple):
    """Whose user, role, type or level what is made of a class gets: `whose` is source, target or glblub."""

    kind: str
    tclass: str
    whose: str
    text: str


class Nodecon(NamedTuple):
    """The label of the addresses from `network` to `last`, by the version of IP; `is_met`: whether any address has
    it."""

    network: int
    last: int
    version: int
    type: str
    context: str
    text: str
    is_met: bool


class RoleTransition(NamedTuple):
    """Which SELinux role what is made gets: by whom of a role, of what (a type), of which class."""

    source: str
    target: str
    tclass: str
    default: str
    text: str


class Constraint(NamedTuple):
    """A constraint: what an access needs besides a rule. The expression is in postfix, names of a set together;
    written_out: those types of it that no tool tells, as they came by a set that was written out."""

    kind: str
    tclass: str
    perms: frozenset[str]
    expression: tuple[object, ...]
    text: str
    written_out: frozenset[str] = frozenset()


class Reader(NamedTuple):
    """What of setools reads policies: its class SELinuxPolicy, and the module of its exceptions."""

    policy: Any
    exception: Any


@cache
def setools_reader() -> Reader:
    """What of the distribution's setools reads policies. Raises MachineError as `setools_module` does.

    The package itself imports every query it has, networkx and pkg_resources, which takes longer than to load a policy;
    so its parts are imported without running it.
    """
    # mutate.py: 3 survive. test_programs.py notices them, in processes of its own.
    spec = importlib.util.find_spec("setools") if "setools" not in sys.modules else None
    if spec is not None and spec.submodule_search_locations:
        sys.modules["setools"] = importlib.util.module_from_spec(spec)
        try:
            parts = [importlib.import_module(f"setools.{name}") for name in ("policyrep", "exception")]
            return Reader(parts[0].SELinuxPolicy, parts[1])
        except (ImportError, AttributeError):
            pass  # it is made otherwise, or is another program of that name
        finally:
            del sys.modules["setools"]  # so that whoever imports it later gets all of it
    library = setools_module()
    return Reader(library.SELinuxPolicy, library.exception)


def setools_module() -> Any:
    """The distribution's setools. Raises MachineError where it is missing or is PyPI's package of that name."""
    # mutate.py: 2 survive. test_programs.py and test_packaging.py notice them, in processes of their own.
    try:
        import setools  # noqa: PLC0415 - heavy: only commands that read a policy pay for it
    except ImportError as error:
        other = _other_program()
        what = f"{other} {_OTHER}" if other else "this Python cannot import it"
        raise MachineError(f"there is no setools here: {what}", _setools_cure(bool(other))) from error
    if not hasattr(setools, "SELinuxPolicy"):
        raise MachineError(f"the module setools of {setools.__file__} {_OTHER}", _setools_cure(True))
    return setools


def _other_program() -> Optional[str]:
    """What pip installed here as setools where Python knows no module of that name: PyPI's brings a module SETools."""
    # mutate.py: 1 survives. test_packaging.py notices it, in an environment of its own.
    import importlib.metadata  # noqa: PLC0415 - slow to import, for an error alone

    if importlib.util.find_spec("setools"):
        return None
    try:
        return f"setools {importlib.metadata.version('setools')}, which pip installed,"
    except importlib.metadata.PackageNotFoundError:
        return None


def _setools_cure(other: bool) -> str:
    """What brings setools; before it, where there is another program of that name, what takes that away; in a virtual
    environment also what lets the distribution's packages in."""
    # mutate.py: 2 survive. test_packaging.py notices them, in an environment of its own.
    away = f"{sys.executable} -m pip uninstall setools, then " if other else ""
    if sys.prefix == sys.base_prefix:
        return f"{away}{SETOOLS_HINT}"
    venv = "/usr/bin/python3 -m venv --system-site-packages for an environment that sees it"
    return f"{away}{SETOOLS_HINT}, and {venv}"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without garbage collection: a hundred thousand rules are made, none of them garbage, and looking them through
    again and again costs a third of the time."""
    # mutate.py: 1 survives. Without collection from then on more memory is used, and nothing else is different.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# Taking out the lowest bit costs a copy of the whole set each time; more than a few are found faster all at once.
_FEW = 8
_TRUTHS = bytes.maketrans(b"01", b"\x00\x01")


def members(bits: int) -> Iterator[int]:
    """The positions of the bits that are set, ascending."""
    for _ in range(_FEW):
        if not bits:
            return
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
    yield from compress(count(), f"{bits:b}"[::-1].encode().translate(_TRUTHS))


class Policy:
    """The index over one linked policy.

    Takes the path of a binary policy; `to_verify`: whether what only a verdict asks is worked out from the start, while
    the rules are read. Raises InputError when setools cannot read it, MachineError without setools.
    """

    def __init__(self, path: Path, to_verify: bool = False) -> None:
        # mutate.py: 2 survive. What is not worked out ahead is when it is asked for.
        reader = setools_reader()
        self.path = path
        self.levels = cache(self._levels)
        self._exception = reader.exception
        try:
            with path.open("rb") as file:
                capabilities.check(file.read(capabilities.HEAD), path)
            self._policy: setools.SELinuxPolicy = reader.policy(str(path))
            ahead = self._ahead() if to_verify else None
            self.mls = bool(self._policy.mls)
            self.version = int(self._policy.version)
            self.handle_unknown = str(self._policy.handle_unknown)
            self._read_types()
            with _no_collection():
                self._read_rules()
            if ahead:
                self.role_transitions = ahead.result()
        except (OSError, SyntaxError, UnicodeDecodeError, reader.exception.SEToolsException) as error:
            raise InputError(
                f"{path}: setools cannot read this policy: {error}",
                "a binary policy of version 33 or lower is needed, without extended permissions on netlink messages; "
                "labelgen links one from modules",
            ) from error

    def _ahead(self) -> Ahead[dict[str, list[RoleTransition]]]:
        """The role_transitions, for which setools makes the set of all types of a SELinux role anew for each rule that
        names it: a fifth of what the other rules take."""
        from labelgen.sharing import Ahead  # noqa: PLC0415 - few commands need it

        return Ahead(self._role_transitions)

    @property
    def of_setools(self) -> setools.SELinuxPolicy:
        """The policy as setools holds it, for a reader that shall not go by this index."""
        return self._policy

    def _read_types(self) -> None:
        self.types: dict[str, int] = {}
        self.type_names: list[str] = []
        self.aliases: dict[str, str] = {}
        self.permissive: set[str] = set()
        self.attributes_of: dict[str, tuple[str, ...]] = {}
        for number, item in enumerate(sorted(self._policy.types(), key=str)):
            name = item.name
            self.types[name] = number
            self.type_names.append(name)
            self.attributes_of[name] = tuple(sorted(a.name for a in item.attributes()))
            self.aliases.update((alias, name) for alias in map(str, item.aliases()))
            if item.ispermissive:
                self.permissive.add(name)
        self.bits: dict[str, int] = {name: 1 << number for name, number in self.types.items()}
        self.attributes: dict[str, int] = defaultdict(int)
        for attribute in self._policy.typeattributes():
            self.attributes[attribute.name] = 0
        for name, attributes in self.attributes_of.items():
            for attribute in attributes:
                self.attributes[attribute] |= self.bits[name]
        self.attributes = dict(self.attributes)
        self.bits.update(self.attributes)

    def _read_rules(self) -> None:
        """Sort the rules by what they are about, as setools has them: nine of ten are about nothing that is asked."""
        self._items_from: dict[str, list[Any]] = defaultdict(list)
        self._items_to: dict[str, list[Any]] = defaultdict(list)
        for item in self._policy.terules():
            self._items_from[item.source.name].append(item)
            self._items_to[item.target.name].append(item)
        self._rules_from: dict[str, list[Rule]] = {}
        self._rules_to: dict[str, list[Rule]] = {}
        self._picked: dict[tuple[str, tuple[str, ...]], list[Rule]] = {}
        self._guards: dict[tuple[Any, bool], Guard] = {}

    def naming_source(self, symbol: str) -> list[Rule]:
        """The rules whose source is this type or attribute by name."""
        if symbol not in self._rules_from:
            self._rules_from[symbol] = list(map(self._rule, self._items_from.get(symbol, ())))
        return self._rules_from[symbol]

    def naming_target(self, symbol: str) -> list[Rule]:
        """The rules whose target is this type or attribute by name."""
        if symbol not in self._rules_to:
            self._rules_to[symbol] = list(map(self._rule, self._items_to.get(symbol, ())))
        return self._rules_to[symbol]

    def _rule(self, item: Any) -> Rule:
        kind = item.ruletype.name
        try:
            guard: Optional[Guard] = self._guard(item)
        except self._exception.RuleNotConditional:
            guard = None
        if kind in ACCESS_RULES:
            return Rule(kind, item.source.name, item.target.name, item.tclass.name, item.perms, guard=guard)
        return self._other_rule(kind, item, guard)

    def _guard(self, item: Any) -> Guard:
        key = (item.conditional, bool(item.conditional_block))
        if key not in self._guards:
            self._guards[key] = Guard(tuple(map(str, item.conditional.expression())), key[1])
        return self._guards[key]

    def _other_rule(self, kind: str, item: Any, guard: Optional[Guard]) -> Rule:
        if kind in XPERM_RULES:
            return Rule(
                kind,
                item.source.name,
                item.target.name,
                item.tclass.name,
                frozenset({item.xperm_type}),
                xperms=str(item.perms),
                guard=guard,
            )
        try:
            filename = str(item.filename)
        except (self._exception.TERuleNoFilename, self._exception.RuleUseError):
            filename = ""
        return Rule(
            kind,
            item.source.name,
            item.target.name,
            item.tclass.name,
            frozenset(),
            default=item.default.name,
            filename=filename,
            guard=guard,
        )

    @cached_property
    def _items_giving(self) -> dict[str, list[Any]]:
        """Type -> what of setools gives it to what is made or labelled."""
        items = list(chain.from_iterable(self._items_from.values()))
        # A class is asked far faster than a kind of rule, and Fedora has 270,000 of these rules.
        classes = {kind for kind in set(map(type, items)) if kind.__name__ in LABELLING}
        found: dict[str, list[Any]] = defaultdict(list)
        for item in compress(items, map(classes.__contains__, map(type, items))):
            found[item.default.name].append(item)
        return found

    def labelling(self, type_name: str) -> list[Rule]:
        """The rules by which something gets a type when it is made or labelled: type_transition, type_change and
        type_member."""
        return list(map(self._rule, self._items_giving.get(type_name, ())))

    def labelling_from(self, type_name: str) -> Iterator[Rule]:
        """The rules that name the type of what a domain makes."""
        return self._pick("labelling", type_name, lambda rule: bool(rule.default))

    def supposing(self, attributes: Mapping[str, Iterable[str]], rules: Iterable[Rule]) -> Policy:
        """The same policy, if types (the keys) were in more attributes than they are, and there were more rules, which
        name types of it. Nothing is read again; what a policy counts as network goes by types, and stays."""
        other = copy(self)
        other.attributes, other.attributes_of, other.bits = dict(self.attributes), dict(self.attributes_of), self.bits
        for name, more in attributes.items():
            other.attributes_of[name] = tuple(sorted({*self.attributes_of[name], *more}))
            for attribute in more:
                other.attributes[attribute] |= self.bits[name]
        other.bits = {**self.bits, **other.attributes}
        other._rules_from, other._rules_to, other._picked = dict(self._rules_from), dict(self._rules_to), {}
        for rule in rules:
            other._rules_from[rule.source] = [*other.naming_source(rule.source), rule]
            other._rules_to[rule.target] = [*other.naming_target(rule.target), rule]
        return other

    def resolve(self, name: str) -> Optional[str]:
        """The type that `name` names, through aliases; None where there is none."""
        return name if name in self.types else self.aliases.get(name)

    @property
    def every_type(self) -> int:
        """The bitset of all types."""
        return (1 << len(self.types)) - 1

    def names(self, bits: int) -> list[str]:
        """The names of the types in a bitset, sorted."""
        return [self.type_names[number] for number in members(bits)]

    def symbols(self, type_name: str) -> tuple[str, ...]:
        """The names under which rules may mean this type: its own and its attributes'."""
        return (type_name, *self.attributes_of[type_name])

    def rules_from(self, type_name: str) -> Iterator[Rule]:
        """Every rule whose source includes the type."""
        for symbol in self.symbols(type_name):
            yield from self.naming_source(symbol)

    def rules_of_kind(self, kind: str, type_name: str) -> Iterator[Rule]:
        """Those of a kind."""
        return self._pick(kind, type_name, lambda rule: rule.kind == kind)

    def _pick(self, what: str, type_name: str, wanted: Callable[[Rule], bool]) -> Iterator[Rule]:
        """The rules from a type that are wanted; by attributes they are found once for all types that have these."""
        attributes = self.attributes_of[type_name]
        if (what, attributes) not in self._picked:
            rules = chain.from_iterable(map(self.naming_source, attributes))
            self._picked[what, attributes] = list(filter(wanted, rules))
        return chain(filter(wanted, self.naming_source(type_name)), self._picked[what, attributes])

    def rules_to(self, type_name: str) -> Iterator[Rule]:
        """Every rule whose target includes the type."""
        for symbol in self.symbols(type_name):
            yield from self.naming_target(symbol)

    @cached_property
    def classes(self) -> dict[str, frozenset[str]]:
        """Class -> its permissions, those of its common included."""
        return {item.name: frozenset(map(str, item.perms)) | self._inherited(item) for item in self._policy.classes()}

    def _inherited(self, item: Any) -> frozenset[str]:
        try:
            return frozenset(map(str, item.common.perms))
        except self._exception.NoCommon:
            return frozenset()

    @cached_property
    def socket_classes(self) -> frozenset[str]:
        """The classes of sockets: those that inherit the common `socket`, and any named like one."""
        inheriting = set()
        for item in self._policy.classes():
            try:
                if item.common.name == "socket":
                    inheriting.add(item.name)
            except self._exception.NoCommon:
                continue
        return frozenset(inheriting | {name for name in self.classes if name.endswith("socket")})

    @cached_property
    def _genfscons(self) -> list[Genfscon]:
        """Every genfscon, read once: setools makes them anew each time."""
        return [
            Genfscon(item.fs, item.path, str(item.filetype), item.context.type_.name)
            for item in self._policy.genfscons()
        ]

    @cached_property
    def network_sysctls(self) -> int:
        """The bitset of the types of the files below /proc/sys/net: of every genfscon in there and, where the folder
        has none of its own, of the longest that its path starts with (__security_genfs_sid, ss/services.c)."""
        inside = 0
        for item in self._genfscons:
            path = _PLAIN.split(item.path)[0]
            is_inside = path.startswith(NETWORK_SYSCTLS) or (path != item.path and NETWORK_SYSCTLS.startswith(path))
            if item.filesystem == "proc" and is_inside:
                inside |= self._union({item.type} & self.types.keys())
        return inside | self._labelling_file("proc", NETWORK_SYSCTLS)

    @cached_property
    def undoing(self) -> dict[tuple[str, str], int]:
        """The permissions by which the policy is done away with -> the bitset of the types on which they do that:
        loading one or none, naming the programs that the kernel starts, and giving such files another label (hooks.c:
        selinux_inode_setxattr and, for those of a file system that is mounted, may_context_mount_inode_relabel)."""
        found = dict.fromkeys(UNDOING, self.every_type)
        helpers = filesystems = 0
        for filesystem, path in HELPERS:
            helpers |= self._labelling_file(filesystem, path)
        for filesystem in {filesystem for filesystem, _ in HELPERS}:
            filesystems |= self._labelling_file(filesystem, "/")
        return {
            **found,
            ("file", "write"): helpers,
            ("file", "append"): helpers,
            ("file", "relabelfrom"): helpers,
            ("filesystem", "relabelfrom"): filesystems,
        }

    def _labelling_file(self, filesystem: str, path: str) -> int:
        """The bitset of the types that a file of a file system without labels of its own may have: that of the longest
        genfscon that its path starts with, for any kind of file (__security_genfs_sid, ss/services.c)."""
        longest: dict[str, tuple[int, str]] = {}
        names = set()
        for item in self._genfscons:
            if item.filesystem == filesystem and item.kind in ("", "--"):
                if path.startswith(item.path):
                    longest[item.kind] = max(longest.get(item.kind, (0, "")), (len(item.path), item.type))
                elif fnmatchcase(path, f"{item.path}*"):
                    names.add(item.type)
        names.update(name for _, name in longest.values())
        names.update(() if longest else [self.initial_sids.get("unlabeled", "")])
        return self._union(names & self.types.keys()) | self._instead_of_genfscon(filesystem)

    @cached_property
    def control_groups(self) -> int:
        """The bitset of the types of that file of control groups which names a program."""
        return self._labelling_file(*RELEASE_AGENT)

    @cached_property
    def helpers_of_modules(self) -> dict[str, int]:
        """Each file of a module by which a program is named that the kernel starts -> the bitset of its types."""
        mounted = {"proc": "/proc", "sysfs": "/sys"}
        return {f"{mounted[place]}{path}": self._labelling_file(place, path) for place, path in HELPERS_OF_MODULES}

    @cached_property
    def network_filesystems(self) -> int:
        """The bitset of the types of file systems for which the kernel talks to servers, by genfscon and fs_use."""
        items = (*self._policy.genfscons(), *self._policy.fs_uses())
        found = {item.context.type_.name for item in items if item.fs in NETWORK_FILESYSTEMS}
        return self._union(found & self.types.keys())

    def _instead_of_genfscon(self, filesystem: str) -> int:
        """What files of a file system have where an fs_use statement labels them, which is looked for first
        (security_fs_use, ss/services.c): the type that it names or, with fs_use_task, that of any process."""
        found = 0
        for item in self._policy.fs_uses():
            if item.fs == filesystem:
                task = item.ruletype.name == "fs_use_task"
                found |= self._union(self.types) if task else self.bits[item.context.type_.name]
        return found

    @cached_property
    def labelled(self) -> dict[str, str]:
        """Type -> what gives it to something else than by a rule or a portcon: a genfscon, an initial SID, ..."""
        found = {item.context.type_.name: str(item) for item in self._policy.genfscons()}
        found.update((item.context.type_.name, str(item)) for item in self._policy.fs_uses())
        found.update((item.type, item.text) for item in self.nodecons)
        found.update((item.context.type_.name, str(item)) for item in self._policy.netifcons())
        found.update((item.context.type_.name, str(item)) for item in self._policy.ibpkeycons())
        found.update((item.context.type_.name, str(item)) for item in self._policy.ibendportcons())
        found.update((name, f"initial SID {sid}") for sid, name in self.initial_sids.items())
        return found

    @cached_property
    def defaults(self) -> list[Default]:
        """Every statement about whose user, role, type or level it is that what is made gets (default_range, ...)."""
        return [
            Default(str(item.ruletype.name), str(item.tclass), str(item.default.name), str(item))
            for item in self._policy.defaults()
        ]

    @cached_property
    def role_transitions(self) -> dict[str, list[RoleTransition]]:
        """Type -> the role_transitions about what is made in or run of it. They stand over what is so by default
        (security_compute_sid, ss/services.c)."""
        return self._role_transitions()

    def _role_transitions(self) -> dict[str, list[RoleTransition]]:
        found: dict[str, list[RoleTransition]] = defaultdict(list)
        for item in self._policy.rbacrules():
            if item.ruletype.name == "role_transition":
                words = (item.source.name, item.target.name, item.tclass.name, item.default.name, str(item))
                found[words[1]].append(RoleTransition(*words))
        return dict(found)

    @cached_property
    def network(self) -> NetworkModel:
        """Which permissions of this policy are network permissions."""
        return NetworkModel(self.socket_classes, self.network_sysctls, EXTENDED_SOCKETS in self.polcaps)

    @cached_property
    def nodecons(self) -> list[Nodecon]:
        """Every nodecon. No address has the label of one whose own address has bits that its mask takes out
        (security_node_sid); setools says that in its log alone."""
        told: list[logging.LogRecord] = []

        def unheard(record: logging.LogRecord) -> bool:
            told.append(record)
            return False

        log = logging.getLogger("setools.policyrep")
        log.addFilter(unheard)
        try:
            found = []
            for item in self._policy.nodecons():
                first, last, context = item.network[0], item.network[-1], item.context
                words = (context.type_.name, str(context), str(item))
                found.append(Nodecon(int(first), int(last), first.version, *words, not told))
                told.clear()
            return found
        finally:
            log.removeFilter(unheard)

    @cached_property
    def interfaces(self) -> dict[str, str]:
        """Interface -> its type, by the netifcons."""
        return {item.netif: item.context.type_.name for item in self._policy.netifcons()}

    @cached_property
    def node_types(self) -> tuple[str, ...]:
        """The types that addresses may have: of the initial SID and of every nodecon."""
        return tuple(sorted({self.initial_sids["node"], *(item.type for item in self.nodecons)}))

    @cached_property
    def any_address(self) -> tuple[str, ...]:
        """The labels of any address, of IPv4 and of IPv6: of the first nodecon that holds zero, else of the initial SID
        (security_node_sid, ss/services.c)."""
        found: dict[int, str] = {}
        for item in self.nodecons:
            if item.is_met and not item.network:
                found.setdefault(item.version, item.context)
        return tuple(sorted({found.get(version, self.initial_contexts["node"]) for version in (4, 6)}))

    @cached_property
    def booleans(self) -> dict[str, bool]:
        """Boolean -> its default."""
        return {item.name: bool(item.state) for item in self._policy.bools()}

    @cached_property
    def roles(self) -> dict[str, int]:
        """SELinux role -> the bitset of its types."""
        return {role.name: self._union(t.name for t in role.types()) for role in self._policy.roles()}

    def _union(self, names: Iterable[str]) -> int:
        result = 0
        for name in names:
            result |= self.bits[name]
        return result

    def _levels(self, text: str) -> tuple[tuple[int, frozenset[str]], tuple[int, frozenset[str]]]:
        """The low and the high level of a range such as `s0-s0:c0.c1023`, each the place of its sensitivity in the
        policy's order and its categories. Raises InputError when the policy has no such range."""
        try:
            found = self._policy.lookup_range(text)
        except (ValueError, self._exception.SEToolsException) as error:
            raise InputError(f"{text}: this policy has no such range: {error}") from error
        return self._level(found.low), self._level(found.high)

    def _level(self, level: Any) -> tuple[int, frozenset[str]]:
        order = sorted(self._policy.sensitivities())
        return order.index(level.sensitivity), frozenset(map(str, level.categories()))

    @cached_property
    def portcons(self) -> list[Portcon]:
        """Every portcon, in the order in which the kernel looks them up."""
        return [
            Portcon(
                str(item.protocol.name), item.ports.low, item.ports.high, item.context.type_.name, str(item.context)
            )
            for item in self._policy.portcons()
        ]

    @cached_property
    def initial_sids(self) -> dict[str, str]:
        """Initial SID -> the type of its context."""
        return {item.name: item.context.type_.name for item in self._policy.initialsids()}

    @cached_property
    def initial_contexts(self) -> dict[str, str]:
        """Initial SID -> its context."""
        return {item.name: str(item.context) for item in self._policy.initialsids()}

    @cached_property
    def polcaps(self) -> frozenset[str]:
        """The policy capabilities that are on."""
        return frozenset(item.name for item in self._policy.polcaps())

    @cached_property
    def bounds(self) -> dict[str, str]:
        """Bounded type -> the type that bounds it (typebounds)."""
        return {item.child.name: item.parent.name for item in self._policy.bounds()}

    @cached_property
    def _kernel_policy(self) -> KernelPolicy:
        return KernelPolicy(self.path.read_bytes(), self.path)

    @cached_property
    def dominated_roles(self) -> dict[str, frozenset[str]]:
        """SELinux role -> those that it dominates: itself, but for object_r, which dominates none. Raises
        InputError."""
        return self._kernel_policy.dominated_roles

    @cached_property
    def files_have_roles(self) -> bool:
        """Whether files may have the SELinux role of who makes them or another, and not only the one of what is no
        process."""
        classes = {default.tclass for default in self.defaults if default.kind == "default_role"}
        classes.update(rule.tclass for rules in self.role_transitions.values() for rule in rules)
        return not classes.isdisjoint(FILE_CLASSES)

    @cached_property
    def constraints(self) -> list[Constraint]:
        """Every constraint (constrain, mlsconstrain, validatetrans, mlsvalidatetrans), with the types that the kernel
        asks for: those of a set that was written out by name. Raises InputError."""
        read = self._kernel_policy
        in_order = {name: (iter(item.constraints), iter(item.validatetrans)) for name, item in read.classes.items()}

        def constraint(item: Any) -> Constraint:
            kind, tclass = str(item.ruletype.name), str(item.tclass.name)
            of_labels = kind.endswith("validatetrans")
            named = iter(next(in_order[tclass][of_labels]))
            expression: list[Union[str, frozenset[str]]] = []
            more: set[str] = set()
            for part in item.expression:
                if isinstance(part, (frozenset, set)):
                    told = frozenset(map(str, part))
                    asked = self._asked_for(read, told, next(named))
                    more.update(asked - told)
                    expression.append(asked)
                else:
                    expression.append(str(part))
            perms = frozenset() if of_labels else frozenset(map(str, item.perms))
            also = f" (and {listed(sorted(more), MOST_TOLD)}, by a set that was written out)" if more else ""
            return Constraint(kind, tclass, perms, tuple(expression), f"{item}{also}", frozenset(more))

        return [constraint(item) for item in self._policy.constraints()]

    def _asked_for(self, read: KernelPolicy, told: frozenset[str], asked: Optional[int]) -> frozenset[str]:
        """What a constraint names: as it is told, where the kernel asks for the same, and else type by type."""
        # mutate.py: 1 survives. Where both are the same, working it out says the same.
        if asked is None or bin(self._union(told)).count("1") == bin(asked).count("1"):
            return told
        types = {read.type_names[number] for number in members(asked)}
        whole = self._union(types)
        sets = {name for name in told if not self.bits[name] & ~whole}
        return frozenset(sets | {name for name in types if not self.bits[name] & self._union(sets)})

    @cached_property
    def range_transitions(self) -> list[tuple[str, str, str, str]]:
        """Every range_transition: source, target, class, range."""
        return [
            (item.source.name, item.target.name, item.tclass.name, str(item.default))
            for item in self._policy.mlsrules()
        ]
