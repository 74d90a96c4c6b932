"""Times and memory of labelgen beside the bare commands it cannot do without.

    .venv/bin/python bench/bench.py [--base BASE]... [--roles N]... [--repeat N]

Every figure is the best of several runs, taken in turn with the ones it is compared with. Wall time is what a person
waits for; processor time is also right on a busy machine. The cache of the base is warm, and labelgen's modules are
compiled to bytecode, as an installer does: in an environment with PYTHONDONTWRITEBYTECODE a checkout would compile them
anew in each run, at a fifth of a second. What the bare commands are given is what labelgen could not do without either:

* the linker gets the modules as pp leaves them, one by one; labelgen gives it the same in one file, with what they
  require said once, which is linked sooner to the same bytes;
* a load and pass imports all of setools; labelgen only what of it reads policies;
* beside the time per further role stand checkmodule and semodule_package alone, each started by itself. What else a
  role cannot do without (pp, secilc, setools' reading of its rules) is labelgen's to make up for.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Union

import labelgen
from labelgen import base as bases
from labelgen import programs
from labelgen.cache import cache_folder
from labelgen.packing.pack import rpmbuild_arguments
from labelgen.packing.spec import SPEC

Argument = Union[str, Path]

LABELGEN = Path(sys.executable).parent / "labelgen"
SHIPPED = Path(__file__).parent.parent / "roles"

# One load and one pass that touches what a verifier has to look at, and nothing else.
BARE_PASS = """
import sys, setools
access = {"allow", "dontaudit", "auditallow"}
for rule in setools.SELinuxPolicy(sys.argv[1]).terules():
    rule.source, rule.target, rule.tclass
    if rule.ruletype.name in access:
        rule.perms
"""


@dataclass(frozen=True)
class Cost:
    """What a run, or several one after the other, took: seconds of wall and processor time, peak memory in MB."""

    wall: float
    processor: float
    memory: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.processor + other.processor, max(self.memory, other.memory))

    def __str__(self) -> str:
        return f"{self.wall:8.3f} s  {self.processor:8.3f} s  {self.memory:6.0f} MB"


NOTHING = Cost(0, 0, 0)


def run(*command: Argument, statuses: Sequence[int] = (0,), cwd: Path | None = None) -> Cost:
    """Run a command to its end. Raises SystemExit with its words when it fails."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=cwd)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in statuses:
            said.seek(0)
            words = said.read().decode(errors="replace").splitlines()
            sys.exit("\n".join([f"{' '.join(map(str, command))} failed:", *words[-20:]]))
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def best(costs: Sequence[Cost]) -> Cost:
    """The least of each."""
    return Cost(*(min(getattr(cost, name) for cost in costs) for name in ("wall", "processor", "memory")))


def in_turn(repeat: int, *measures: Callable[[], Cost]) -> list[Cost]:
    """The best of several rounds of each measure."""
    rounds = [[measure() for measure in measures] for _ in range(repeat)]
    return [best(costs) for costs in zip(*rounds)]


# A denial that the role declares the reason of: web has no connect.
ABOUT_PORT = (
    'type=AVC msg=audit(1700000000.123:45): avc:  denied  { name_connect } for  pid=7 comm="curl" dest=22 '
    "scontext=system_u:system_r:lxc_web_t:s0:c1,c2 tcontext=system_u:object_r:ssh_port_t:s0 tclass=tcp_socket "
    "permissive=0\n"
)
# What is not about the network is asked of a policy.
ABOUT_FILE = (
    'type=AVC msg=audit(1700000000.123:46): avc:  denied  { write } for  pid=7 comm="sh" name="index" ino=9 '
    "scontext=system_u:system_r:lxc_web_t:s0:c1,c2 tcontext=system_u:object_r:lxc_web_content_t:s0 tclass=file "
    "permissive=0\n"
)


# -- the bare commands


@dataclass(frozen=True)
class Bare:
    """The bare commands over the modules of a built tree."""

    base: bases.Base
    built: Path
    scratch: Path

    def modules(self) -> list[tuple[str, int]]:
        """Module -> its version, as built."""
        made = json.loads((self.built / "manifest.json").read_text())["modules"]
        return [(item["name"], item["version"]) for item in made]

    def compile(self, modules: Sequence[tuple[str, int]]) -> Cost:
        """checkmodule and semodule_package, one after the other."""
        return sum((self._compile(name, version) for name, version in modules), NOTHING)

    def _compile(self, name: str, version: int) -> Cost:
        source, to = self.built / name / name, self.scratch / name
        contexts: list[Argument] = ["-f", f"{source}.fc"] if Path(f"{source}.fc").stat().st_size else []
        return run("checkmodule", "-M", "-m", "-c", str(version), "-o", f"{to}.mod", f"{source}.te") + run(
            "semodule_package", "-o", f"{to}.pp", "-m", f"{to}.mod", *contexts
        )

    def convert(self) -> Cost:
        """pp: the packages to CIL."""
        return sum(
            (
                run(programs.find("pp"), self.scratch / f"{name}.pp", self.scratch / f"{name}.cil")
                for name, _ in self.modules()
            ),
            NOTHING,
        )

    @property
    def policy(self) -> Path:
        """What `link` made."""
        return self.scratch / "policy"

    def link(self) -> Cost:
        """secilc: the modules of the built tree onto the base."""
        files = [self.built / name / f"{name}.cil" for name, _ in self.modules()]
        ports = sorted(self.built.glob("*/*_ports.cil"))
        options = ("-N", "-m", "-M", "true" if self.base.mls else "false", "-c", str(bases.POLICY_VERSION))
        to: list[Argument] = ["-o", self.policy, "-f", self.scratch / "file_contexts"]
        return run("secilc", *options, *to, self.base.cil, *files, *ports)

    def read(self) -> Cost:
        """One setools load and pass."""
        return run(sys.executable, "-c", BARE_PASS, self.policy)


# -- generated roles


def generated_roles(folder: Path, number: int) -> Path:
    """A folder of `number` roles: the shipped kinds in turn, each with a name, paths and passive ports of its own."""
    folder.mkdir()
    kinds = {path.stem: path.read_text() for path in sorted(SHIPPED.glob("*.yaml"))}
    for index in range(number):
        kind = list(kinds)[index % len(kinds)]
        low = 10000 + 10 * index
        text = kinds[kind].replace(f"name: {kind}\n", f"name: {kind}{index}\n")
        text = text.replace(f"/srv/lxc/{kind}", f"/srv/lxc/{kind}{index}").replace("30100-30199", f"{low}-{low + 9}")
        (folder / f"{kind}{index}.yaml").write_text(text)
    return folder


# -- the report


def line(what: str, cost: Union[Cost, str], note: str = "") -> None:
    """Print a line of the table."""
    print(f"  {what:38} {cost!s:36}  {note}".rstrip(), flush=True)


def target(value: float, most: float, unit: str) -> str:
    """A figure beside what it should be at most."""
    return f"{value:.2f} {unit} (at most {most:g}: {'reached' if value <= most else 'MISSED'})"


def ratio(cost: Cost, bare: Cost, most: float) -> str:
    """How many times the bare commands a run takes."""
    wall, processor = cost.wall / bare.wall, cost.processor / bare.processor
    return target(wall, most, "x bare") + f"; processor {processor:.2f} x"


def shipped(bare: Bare, spec: str, repeat: int) -> Cost:
    """The four shipped roles beside the bare commands. Returns the cost of one setools load and pass."""
    modules = bare.modules()
    build = ("build", "--base", spec, "--roles", SHIPPED, "--output", bare.built)
    compiled, converted, linked, read, whole = in_turn(
        repeat,
        lambda: bare.compile(modules),
        bare.convert,
        bare.link,
        bare.read,
        lambda: run(LABELGEN, *build),
    )
    bare_sum = compiled + converted + linked + read
    line(f"checkmodule, semodule_package, {len(modules)} times", compiled)
    line(f"pp, {len(modules)} times", converted)
    line("secilc", linked)
    line("setools: one load and pass", read)
    line("the bare commands together", bare_sum)
    line("labelgen build", whole, ratio(whole, bare_sum, 1.3))
    return read


def questions(bare: Bare, read: Cost, repeat: int) -> None:
    """What is asked of a built tree or of an installed policy."""
    port, file = bare.scratch / "port", bare.scratch / "file"
    port.write_text(ABOUT_PORT)
    file.write_text(ABOUT_FILE)
    built = ("--build", bare.built)
    again, verified = in_turn(
        repeat,
        bare.read,
        lambda: run(LABELGEN, "verify", "--policy", bare.policy, "--roles", SHIPPED, statuses=(0, 1)),
    )
    line("labelgen verify, 4 roles installed", verified, ratio(verified, best([read, again]), 1.5) + ", load and pass")
    commands: dict[str, tuple[float, tuple[Argument, ...]]] = {
        "labelgen --help": (0.15, ("--help",)),
        "labelgen can": (0.5, ("can", "web", "bind", "tcp/80", *built, "--roles", SHIPPED)),
        "labelgen explain, a line about a port": (0.5, ("explain", *built, port)),
        "labelgen explain, one about a file": (0.5, ("explain", *built, file)),
        "labelgen diff of two builds": (0.5, ("diff", bare.built, bare.built)),
        "python -c pass": (0.15, ()),
    }
    costs = in_turn(
        repeat,
        *(
            lambda words=words: run(LABELGEN, *words) if words else run(sys.executable, "-c", "pass")
            for _, words in commands.values()
        ),
    )
    for (what, (most, _)), cost in zip(commands.items(), costs):
        line(what, cost, f"{target(cost.wall, most, 's')}; processor {cost.processor:.3f} s")


def packing(bare: Bare, repeat: int) -> None:
    """Packages of the roles, beside the one run of rpmbuild that their spec needs."""
    packages, top = bare.scratch / "packages", bare.scratch / "rpmbuild"
    pack = ("rpm", "--build", bare.built, "--output", packages)
    run(LABELGEN, *pack)
    # The very command that labelgen starts, on the sources that it gives it.
    places = {"_topdir": top, "_sourcedir": top / "SOURCES", "_specdir": top / "SOURCES"}
    sources = [word for name, value in places.items() for word in ("--define", f"{name} {value}")]
    run("rpm", "-i", "--nodeps", *sources, *packages.glob("*.src.rpm"))
    for name in ("BUILD", "BUILDROOT", "RPMS", "tmp", "db"):
        (top / name).mkdir(exist_ok=True)
    usual: tuple[Argument, ...] = ("-ba", "--nodeps", *sources, top / "SOURCES" / SPEC)
    packed, alone, plain = in_turn(
        repeat,
        lambda: run(LABELGEN, *pack),
        lambda: run("rpmbuild", *rpmbuild_arguments(top)),
        lambda: run("rpmbuild", *usual),
    )
    line("the rpmbuild run of labelgen rpm, alone", alone)
    line("rpmbuild -ba of the same, as it comes", plain, "checks for programs and libraries, packs harder")
    note = target(packed.processor / alone.processor, 1.2, "x the former, processor")
    line("labelgen rpm", packed, f"{note}; {packed.wall / alone.wall:.2f} x in wall time")
    note = target(packed.processor / plain.processor, 1.2, "x the latter, processor")
    line("", "", f"{note}; {packed.wall / plain.wall:.2f} x in wall time")


def built_anew(spec: str, roles: Path, scratch: Path) -> Cost:
    """A build in a place where none was. What others left stays: ext4 without a journal passes over each inode that was
    freed in the last minute when it makes a file, which may come to half a millisecond a file after a large build."""
    return run(LABELGEN, "build", "--base", spec, "--roles", roles, "--output", Path(tempfile.mkdtemp(dir=scratch)))


def further_role(bare: Bare, spec: str, few: Path, many: Path, further: int, repeat: int) -> tuple[Cost, Cost, Cost]:
    """What each of the `further` roles costs that `many` has beside `few`; checkmodule and semodule_package of one of
    them; and the build of `many`."""
    sample = [module for module in bare.modules() if module[0] != "lxc_base"]
    least, most, compiled = in_turn(
        repeat,
        lambda: built_anew(spec, few, bare.scratch),
        lambda: built_anew(spec, many, bare.scratch),
        lambda: bare.compile(sample),
    )
    each = Cost((most.wall - least.wall) / further, (most.processor - least.processor) / further, 0)
    return each, Cost(compiled.wall / len(sample), compiled.processor / len(sample), 0), most


# Of fewer roles all that they add is less than what the linker takes more or less from run to run.
ENOUGH = 1000


def growing(base: bases.Base, spec: str, numbers: Sequence[int], read: Cost, scratch: Path, repeat: int) -> None:
    """Builds of more and more roles."""
    few, fewest = scratch / f"roles{numbers[0]}", numbers[0]
    linked_first = NOTHING
    for number in numbers:
        roles = generated_roles(scratch / f"roles{number}", number)
        bare = Bare(base, scratch / f"built{number}", scratch)
        cost = run(LABELGEN, "build", "--base", spec, "--roles", roles, "--output", bare.built)
        linked = bare.link()
        note = ""
        if number == fewest:
            linked_first = linked
        else:
            each, each_bare, cost = further_role(bare, spec, few, roles, number - fewest, repeat)
            note = f"; a further role {each.wall * 1000:.1f} ms, beside it {each_bare.wall * 1000:.1f} ms"
            note += f": {ratio(each, each_bare, 2)}" if number >= ENOUGH else ""
            link_each = (linked.processor - linked_first.processor) / (number - fewest) * 1000
            note += f"; of it secilc alone {link_each:.1f} ms of processor"
        line(f"labelgen build, {number} role{'s' if number > 1 else ''}", cost, target(cost.memory, 500, "MB") + note)
        line(f"  secilc alone, {number} role{'s' if number > 1 else ''}", linked)
        if number == max(numbers) and number >= 1000:
            verified = run(LABELGEN, "verify", "--policy", bare.policy, "--roles", roles, statuses=(0, 1))
            line(f"labelgen verify, {number} roles installed", verified, ratio(verified, read, 10))


def bench(spec: str, numbers: Sequence[int], repeat: int) -> None:
    """All of it on one base."""
    print(f"\nBase {spec}")
    print(f"  {'':38} {'wall':>8}    {'processor':>9}   {'memory':>7}")
    with tempfile.TemporaryDirectory(prefix="labelgen-bench-") as folder:
        scratch = Path(folder)
        run(LABELGEN, "build", "--base", spec, "--roles", SHIPPED, "--output", scratch / "built")  # warms the cache
        base = bases.open_base(bases.locate(spec))
        bare = Bare(base, scratch / "built", scratch)
        read = shipped(bare, spec, repeat)
        questions(bare, read, repeat)
        if spec == "reference":  # packages cost the same for every base
            packing(bare, repeat)
        if numbers:
            growing(base, spec, numbers, read, scratch, repeat)


def debian_bases() -> Iterator[str]:
    """Debian's policy, as modules and as a binary, where the tests have made it."""
    for folder in sorted(cache_folder().glob("test-debian-*/modules"))[:1]:
        yield str(folder)
        yield str(bases.open_base(bases.locate(str(folder))).policy)


def main() -> None:
    """Parse the options and print the report."""
    parser = argparse.ArgumentParser(description="Times and memory of labelgen beside the bare commands.")
    parser.add_argument("--base", action="append", help="as for labelgen build; default: reference, and Debian's")
    parser.add_argument("--roles", action="append", type=int, help="how many generated roles; default 1 10 100 1000")
    parser.add_argument("--repeat", type=int, default=5, help="the best of so many runs counts")
    options = parser.parse_args()
    compiled = compileall.compile_dir(Path(labelgen.__file__).parent, quiet=1)
    state = "compiled to bytecode" if compiled else "NOT compiled to bytecode"
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; the best of {options.repeat} runs; {state}")
    for spec in options.base or ["reference", *debian_bases()]:
        bench(spec, options.roles or [1, 10, 100, 1000], options.repeat)


if __name__ == "__main__":
    main()
