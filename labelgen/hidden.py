"""What a binary base may hide: a set of types has a name in it and no expression (`not shadow_t`), so that a role which
joins the policy later may be in the set though nothing in the binary says so. It is taken to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from labelgen.access import Key
from labelgen.constraints import OBJECT
from labelgen.derivation import GENERATED, OWN_ATTRIBUTES
from labelgen.network import LEADING, UNDOING
from labelgen.policy import Policy, Rule
from labelgen.shipped import SHARED_MODULE

if TYPE_CHECKING:
    from labelgen.claims import Finding, Subject


def _hold_most(bits: int, of: int) -> bool:
    return 2 * bin(bits & of).count("1") > bin(of).count("1")


def _may_hold(subject: Subject, most: bool = False) -> tuple[str, ...]:
    """The sets that may hold the role: those that hold most types there are, and those with a generated name that hold
    every other type of an attribute that the role joins or, where the network depends on it, `most` of them."""
    policy = subject.policy
    joined = (
        policy.attributes[name] & ~subject.verification.role_domains
        for name in policy.attributes_of[subject.domain]
        if name not in OWN_ATTRIBUTES
    )
    return _holding(policy, frozenset(joined), most)


# Roles of one parent join the same attributes.
@lru_cache(maxsize=16)
def _holding(policy: Policy, joined: frozenset[int], most: bool) -> tuple[str, ...]:
    every = (1 << len(policy.types)) - 1

    def holds(bits: int, of: int) -> bool:
        return _hold_most(bits, of) if most else bool(of) and not of & ~bits

    return tuple(
        name
        for name, bits in sorted(policy.attributes.items())
        if _hold_most(bits, every) or (_is_hidden(name) and any(holds(bits, of) for of in joined))
    )


def _is_hidden(name: str) -> bool:
    """Whether a set was named when it was compiled, and is not one of our own modules, in which its expression is."""
    return GENERATED.match(name) is not None and not name.startswith(f"{SHARED_MODULE}_")


@lru_cache(maxsize=16)
def _without_parent(policy: Policy, names: tuple[str, ...], parent: str) -> tuple[str, ...]:
    """Those of the sets that hold most domains, and not the parent."""
    domains = 0
    for name, bits in policy.roles.items():
        domains |= bits if name != OBJECT else 0
    sets = ((name, policy.attributes[name]) for name in names)
    return tuple(name for name, bits in sets if _hold_most(bits, domains) and not bits & policy.bits[parent])


def _told(subject: Subject, claim: str, name: str, does: str, rule: Rule) -> Finding:
    words = (
        f"it cannot be shown that {subject.domain} is not in the set that the binary calls {name}, {does}; "
        "verify on the modules of the base"
    )
    return subject.finding(claim, words, (str(rule),), where=("network",) if claim == "network" else ("name",))


def _rules(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Key]]:
    for rule in rules:
        for perm in sorted(rule.perms) if rule.kind == "allow" else ():
            yield rule, (rule.tclass, perm)


def network(subject: Subject, allowed: Callable[[Subject, Key], int]) -> Iterator[Finding]:
    """Network that such a set has, beyond what is `allowed` to the role."""
    policy = subject.policy
    for name in _may_hold(subject, most=True):
        for rule, key in _rules(policy.naming_source(name)):
            if policy.network.part(*key, policy.bits[rule.target]) & ~allowed(subject, key):
                yield _told(subject, "network", name, f"which has {key[0]} {key[1]}", rule)


def closed(subject: Subject) -> Iterator[Finding]:
    """Another domain that such a set may become, or the policy that it may do away with."""
    policy = subject.policy
    for name in _may_hold(subject, most=True):
        for rule, key in _rules(policy.naming_source(name)):
            leads = key[1] in LEADING.get(key[0], ()) and policy.bits[rule.target] & ~subject.bit
            if leads or key in UNDOING:
                yield _told(subject, "closed", name, f"which has {key[0]} {key[1]} on {rule.target}", rule)


def contained(subject: Subject) -> Iterator[Finding]:
    """What such a set may do and the parent, which is not in it, may not."""
    rules, theirs = subject.policy.naming_source, subject.kin.theirs.worst()
    for name, rule in _more_than_parent(subject, rules, lambda rule: rule.target, theirs):
        yield _told(subject, "contained", name, f"which has what {subject.parent} lacks", rule)


def separate(subject: Subject) -> Iterator[Finding]:
    """Who may act on such a set and not on the parent, which is not in it."""
    rules, theirs = subject.policy.naming_target, subject.kin.done_to_theirs.worst()
    for name, rule in _more_than_parent(subject, rules, lambda rule: rule.source, theirs):
        yield _told(subject, "separate", name, f"on which {rule.source} can act", rule)


def _more_than_parent(
    subject: Subject,
    naming: Callable[[str], Iterable[Rule]],
    other_end: Callable[[Rule], str],
    theirs: Mapping[Key, int],
) -> Iterator[tuple[str, Rule]]:
    """Each set that the parent is not in, and its first rule that goes beyond `theirs` at its other end."""
    for name in _without_parent(subject.policy, _may_hold(subject), subject.parent):
        for rule, key in _rules(naming(name)):
            if subject.policy.bits[other_end(rule)] & ~theirs.get(key, 0):
                yield name, rule
                break
