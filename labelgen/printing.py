"""Results for people: aligned, coloured on a terminal, plain when piped. click takes the colours out."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelgen.changes import to_json as changes_json
from labelgen.conditions import smallest_setting
from labelgen.derivation import REASONS
from labelgen.errors import LabelgenError, listed
from labelgen.ports import as_text
from labelgen.terminal import echo_json

# What makes these is imported by the commands that make them: a question to a built tree pays for none of it.
if TYPE_CHECKING:
    from labelgen.build import Built
    from labelgen.changes import Change, Standing
    from labelgen.claims import Finding
    from labelgen.denials import Explanation
    from labelgen.facts import Facts
    from labelgen.host.contexts import Place
    from labelgen.host.install import Installed, Removed
    from labelgen.host.status import Report
    from labelgen.host.status import Standing as OnHost
    from labelgen.reach import Answer
    from labelgen.verdict import RoleVerdict, Verdict
    from labelgen.witness.prove import Attempt, Proof

LABEL = 14
NARROWEST = 40
# Of more roles than these, those that hold are told in a line: a wall of text hides the one that does not.
MOST_IN_FULL = 12


def table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need."""
    shown = [list(row) for row in rows]
    widths = [max(len(click.unstyle(row[n])) for row in shown) for n in range(len(shown[0]))] if shown else []
    for row in shown:
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths)]
        click.echo("  ".join(cells).rstrip())


def _line(label: str, text: str, **style: Any) -> None:
    width = min(shutil.get_terminal_size((100, 25)).columns, 120)
    first = f"  {label:<{LABEL}} "
    for number, part in enumerate(_wrap(text, max(NARROWEST, width - len(first)))):
        lead = click.style(first, **style) if number == 0 else " " * len(first)
        click.echo(lead + part)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def verdict(result: Verdict, notice: str) -> None:
    """Print the verdict on every role: claims, reach, neighbours, limits; of many, in full only those that fail."""
    if notice:
        click.echo(notice)
    in_full = [role for role in result.roles if len(result.roles) <= MOST_IN_FULL or not role.holds]
    holds = "every claim holds" if result.exact else "every claim holds on what the binary shows"
    for role in in_full:
        click.echo()
        _role(role, holds)
    if len(in_full) < len(result.roles):
        _holding([role.role for role in result.roles if role.holds], holds)
    _concerning(
        "Ports that come with a declared one, because they share its type:",
        {role.role: [_neighbour(**item._asdict()) for item in role.neighbours] for role in result.roles},
        fg="yellow",
    )
    _concerning(
        "Files with a label that may not reach as far as is meant:",
        {role.role: [files.note for files in role.files if files.note] for role in result.roles},
        fg="yellow",
    )
    _limits({role.role: role.limits for role in result.roles})


def _role(role: RoleVerdict, holds: str) -> None:
    state = click.style(holds, fg="green") if role.holds else click.style("FAILS", fg="red", bold=True)
    click.echo(f"{click.style(role.role, bold=True)}  {role.domain}  {state}")
    _line("", role.summary)
    _line("holds", " ".join(claim for claim, holds in role.claims().items() if holds))
    for finding in role.findings:
        _finding(finding)
    reach(role.reach.summary())
    for files in role.files:
        _own_files(**files._asdict())


def _own_files(access: str, path: str, type: str, note: str) -> None:
    _line("files", f"{access} {path} ({type})")


def _holding(names: Sequence[str], holds: str) -> None:
    """Print which of many roles hold."""
    click.echo()
    state = click.style(holds, fg="green")
    click.echo(f"{click.style(f'{len(names)} roles', bold=True)}  {state}  (`labelgen show ROLE` says what one may do)")
    _line("", ", ".join(names))


def _neighbour(action: str, protocol: str, ports: str, type: str) -> str:
    return f"{action} {protocol} {ports} ({type})"


def _limits(limits: Mapping[str, Iterable[str]]) -> None:
    """Print what SELinux does not check."""
    _concerning("What SELinux does not check, or this base leaves open:", limits)


def _concerning(heading: str, texts: Mapping[str, Iterable[str]], **style: Any) -> None:
    """Print what is true of roles, each text once with the roles it concerns."""
    concerned: dict[str, list[str]] = defaultdict(list)
    for role, said in texts.items():
        for text in dict.fromkeys(said):
            concerned[text].append(role)
    if not concerned:
        return
    click.echo()
    click.secho(heading, bold=True)
    for text, roles in concerned.items():
        names = ", ".join(roles)
        every = 1 < len(roles) == len(texts)
        in_label = every or len(names) <= LABEL
        _line("every role" if every else names if in_label else f"{len(roles)} roles", text, **style)
        if not in_label:
            _line("", listed(roles))


def reach(summary: dict[str, Any]) -> None:
    """Print what a domain can do on the network."""
    _line("sockets", ", ".join(name.replace("_socket", "") for name in summary["sockets"]) or "none")
    for action in ("bind", "connect"):
        parts = [f"{protocol} {ports}" for protocol, ports in summary[action].items()]
        if action == "connect" and summary["send_udp_anywhere"]:
            parts.append("udp any")
        _line(action, "; ".join(parts) or "nothing")
    if summary["capabilities"]:
        _line("capabilities", ", ".join(summary["capabilities"]))


def _finding(finding: Finding) -> None:
    _line(f"{finding.claim}", finding.message, fg="red", bold=True)
    for rule in finding.rules:
        _line("  rule", rule)
    if finding.booleans:
        _line("  booleans", ", ".join(f"{name}={'on' if on else 'off'}" for name, on in finding.booleans))
    if finding.line:
        _line("  role file", finding.line)


def answer(result: Answer) -> None:
    """Print the answer to one question with what it rests on."""
    word = click.style("yes", fg="green") if result.yes else click.style("no", fg="red")
    click.echo(f"{word}: {result.domain} {'can' if result.yes else 'cannot'} {result.question}")
    setting = smallest_setting(result.condition)
    if setting:
        _line("only if", ", ".join(f"{name}={'on' if on else 'off'}" for name, on in setting.items()))
    for met in result.met:
        if met.condition is False:
            _line("missing", str(met.need), fg="red")
    for rule in dict.fromkeys(rule for met in result.met for rule in met.rules):
        _line("rule", rule)
    for note in result.notes:
        _line("note", note)


def closing(built: Built, output: Path, left_out: int = 0) -> None:
    """Print what was put where, or why nothing was. left_out: how many roles there are besides those asked for."""
    click.echo()
    if built.verdict.holds:
        number = len(built.verdict.roles)
        roles = "1 role" if number == 1 else f"{number} roles"
        click.echo(f"{output}/: {roles} and the shared module, for the base {built.base.name}")
        if left_out:
            others = "the other role is" if left_out == 1 else f"the other {left_out} roles are"
            click.echo(f"{others} not in it: `labelgen build` without a name builds all")
    else:
        click.echo(f"nothing was put in {output}/: a claim does not hold", err=True)


def show_role(shown: dict[str, Any]) -> None:
    """Print the kept verdict on one role."""
    click.echo(f"{click.style(shown['role'], bold=True)}  {shown['domain']}")
    _line("", shown["summary"])
    reach(shown["reach"])
    for item in shown["neighbours"]:
        _line("neighbours", _neighbour(**item), fg="yellow")
    for item in shown.get("files", ()):
        _own_files(**item)
        if item["note"]:
            _line("note", item["note"], fg="yellow")
    _limits({shown["role"]: shown["limits"]})


def show_base(facts: Facts, notice: str, as_json: bool) -> None:
    """Print how the shared module came about: what became of the base's rules about the parent, and why."""
    derivation = facts.derivation
    rows = [(str(number), REASONS[reason]) for reason, number in sorted(derivation.counts.items()) if number]
    if as_json:
        echo_json(
            {
                "parent": derivation.parent,
                "file_type": derivation.file_type,
                "joined": derivation.joined,
                "file_joined": derivation.file_joined,
                "selinux_roles": derivation.selinux_roles,
                "statements": len(derivation.rules),
                "rules": {reason: number for number, reason in rows},
            }
        )
        return
    click.echo(f"{notice}; parent: {derivation.parent}; its files: {derivation.file_type}")
    click.echo(f"a role joins: {', '.join(derivation.joined) or 'no attribute of the base'}")
    click.echo(f"SELinux roles: {', '.join(derivation.selinux_roles)}")
    click.echo(
        f"{sum(int(number) for number, _ in rows)} rules of the base, {len(derivation.rules)} statements in lxc_base:"
    )
    table(rows)


def changes(found: Sequence[Change]) -> None:
    """Print differences, those of one role together."""
    if not found:
        click.echo("nothing differs on the network")
    by_role: dict[str, list[Change]] = defaultdict(list)
    for change in found:
        by_role[change.role].append(change)
    for role, items in by_role.items():
        click.echo(f"{click.style(role, bold=True)}: {'; '.join(map(str, items))}")


def explanations(found: Sequence[tuple[Explanation, int]], passed_over: bool) -> None:
    """Print what denials mean, alike ones once; `passed_over`: whether there are others that cannot be read."""
    if not found:
        click.echo("no AVC denial in this can be read" if passed_over else "there is no AVC denial in this")
    for explanation, count in found:
        denial = explanation.denial
        times = f" ({count} times)" if count > 1 else ""
        port = f" port {denial.port}" if denial.port else ""
        program = f" by {denial.comm}" if denial.comm else ""
        click.echo(f"{click.style(explanation.role or denial.source, bold=True)}{times}")
        _line("", explanation.message)
        file = f", {'such as ' if count > 1 else ''}{denial.name}" if denial.name else ""
        _line("refused", f"{' '.join(denial.perms)} on {denial.target}:{denial.tclass}{port}{program}{file}"
              + (", but let through: the domain is permissive" if denial.permissive else ""))  # fmt: skip
        if explanation.claim:
            _line("claim", explanation.claim)
        if explanation.allow:
            _line("to allow it", explanation.allow)


def standing(found: Standing, as_json: bool) -> None:
    """Print how built roles stand on a base now."""
    if as_json:
        echo_json({"same_base": found.same_base, "states": found.states, "changes": changes_json(found.changes),
                   "verdict": found.verdict.to_json()})  # fmt: skip
        return
    verdict(found.verdict, "the base is the one they were built for" if found.same_base else "the base is another one")
    click.echo()
    table((role, state) for role, state in found.states.items())
    if found.changes:
        changes(found.changes)


def unlinkable(states: Mapping[str, str], error: LabelgenError, as_json: bool) -> None:
    """Print that built roles are broken, because they no longer link onto a base."""
    if as_json:
        echo_json({"same_base": False, "states": dict(states), "changes": [], "verdict": None, "error": error.message})
        return
    click.echo("\n".join(error.lines()))
    click.echo()
    table(states.items())


def proof(found: Proof) -> None:
    """Print what the kernels answered: per domain the ports that were let by, and what differs from the expectation."""
    for testimony in found.testimonies:
        click.echo()
        about = f"Linux {testimony.release}, sysctls: {testimony.profile}, {testimony.seconds:.1f} s"
        click.echo(f"{click.style(testimony.witness, bold=True)}  {about}")
        # With net.ipv4.tcp_fastopen=0, as under the hardened sysctls, the kernel has none to let by.
        fast_open = testimony.profile == "default" and not testimony.fast_open_checked
        for domain in testimony.domains:
            _line(domain.context.split(":")[2], f"{domain.compared} answers, {domain.differing} differ")
            for ranges in domain.ports:
                _let_by(ranges.trial, ranges.ranges, fast_open)
            _attempts(domain.attempts)
        for limit in testimony.limits:
            _line("limit", limit)
        for finding in testimony.findings:
            _line("DIFFERS", str(finding), fg="red", bold=True)
        for denial in testimony.denials:
            click.echo(denial)
    click.echo()
    for limit in found.limits:
        _line("limit", limit)
    state = click.style("no answer differs", fg="green") if found.holds else click.style("FAILS", fg="red", bold=True)
    click.echo(f"{found.compared} answers of the kernel compared, {found.differing} differ: {state}")


def _attempts(attempts: Iterable[Attempt]) -> None:
    """Of what a domain tried on others and in a user namespace: how much it was let, by what it is about."""
    groups: dict[str, list[bool]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.group, []).append(attempt.answer == "ok")
    if groups:
        told = ", ".join(f"{group} {sum(came)} of {len(came)}" for group, came in groups.items())
        _line("", f"attempts that came to something: {told}")


# The trials whose ports are worth a line; the others (IPv6, MPTCP, mapped addresses, UDP destinations, which nothing
# checks) are compared too, and in the JSON.
_SHOWN_TRIALS = re.compile(r"(bind (tcp|udp|sctp|dccp)|connect (tcp|sctp|dccp)) ipv4 (0\.0\.0\.0|192\.0\.2\.1)\Z")


def _let_by(trial: str, ranges: Sequence[tuple[int, int]], fast_open: bool) -> None:
    if _SHOWN_TRIALS.match(trial):
        _line("", f"{' '.join(trial.split()[:2])}: {as_text(ranges)}")
    elif fast_open and trial.startswith("fastopen tcp ipv4"):
        _line("", "TCP Fast Open goes round name_connect")


def installed(done: Installed) -> None:
    """Print what an installation did, or why it did nothing."""
    if not done.holds:
        verdict(done.verdict, "on this host's own policy:")
        click.echo()
        click.echo(
            "nothing was installed: a claim does not hold here; `labelgen build --base host`, then again", err=True
        )
        return
    for name in done.roles:
        click.echo(f"{click.style(name, bold=True)}  lxc_{name}_t  installed; every claim holds on the rebuilt policy"
                   + (" and on the loaded one" if done.loaded else ""))  # fmt: skip
        if done.state.get(name) in ("wider", "narrower"):
            _line("note", f"{done.state[name]} on this host than where it was built: `labelgen verify --build`",
                  fg="yellow")  # fmt: skip
    for starter in done.starters:
        _line("engine", f"{starter.program} runs as {', '.join(starter.domains) or 'its caller'}"
              + (", which may start them" if starter.starts_containers else ""))  # fmt: skip
    if done.selinux:
        _line("SELinux", done.selinux, fg="red")
    elif not done.loaded:
        _line("note", "SELinux is not running from this policy store: the policy is loaded at boot", fg="yellow")
    _places(done.places, done.loaded, done.relabelled)


def _places(places: Sequence[Place], loaded: bool, relabelled: int) -> None:
    if loaded and relabelled:
        _line("files", f"the labels of {relabelled} files were set")
    elif places and not loaded:
        folders = " ".join(dict.fromkeys(place.folder for place in places))
        _line("files", f"once it is loaded, set their labels: restorecon -FR {folders}")


def removed(done: Removed) -> None:
    """Print what was taken out of the policy."""
    click.echo(f"removed {', '.join(done.roles) or 'nothing'}"
               + (f" ({', '.join(done.modules)})" if done.modules else ""))  # fmt: skip
    if not done.loaded and done.modules:
        _line("note", "SELinux is not running from this policy store: what is loaded stays until boot", fg="yellow")
    _places(done.places, done.loaded, done.relabelled)


def host_status(found: Report) -> None:
    """Print how the roles of a host stand."""
    if found.unfinished:
        _line("cut off", "an installation did not end; `labelgen install` or `labelgen remove` puts the old state back",
              fg="red")  # fmt: skip
    if found.selinux:
        _line("SELinux", found.selinux, fg="red")
    if not found.roles:
        click.echo("no role is installed here")
    for item in found.roles:
        _on_host(item)


_VERIFIED = {True: ("verified", "green"), False: ("NOT VERIFIED", "red"), None: ("not known", "yellow")}


def _on_host(item: OnHost) -> None:
    word, colour = _VERIFIED[item.verified]
    source = " ".join(filter(None, (item.source, item.version))) or "origin unknown"
    click.echo(f"{click.style(item.role, bold=True)}  lxc_{item.role}_t  {click.style(word, fg=colour)}  {source}")
    _line("verified" if item.verified else "why", item.why)
    for problem in item.problems:
        _line("problem", problem, fg="red")
    if item.loaded is None:
        _line("running", "SELinux is not running from this policy store")
    elif item.running:
        _line(
            "running",
            f"{len(item.running)} containers: "
            + ", ".join(
                f"{context.split(':', 3)[-1]} ({number} processes)" for context, number in sorted(item.running.items())
            ),
        )
    else:
        _line("running", "no container")
