"""docs/role-files.md: its examples build, what it calls refused is refused, and its tables and lists are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bases import BuiltRoles
from commandline import Place, shared_cache

from labelgen.network import netlink_families
from labelgen.role import LONGEST_NAME, LONGEST_SUMMARY, Network, Role
from labelgen.yamlfile import MOST_BYTES

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs" / "role-files.md").read_text(encoding="utf-8")
README = (TOP / "README.md").read_text(encoding="utf-8")
EXAMPLES = [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    .*\n)+", PAGE, re.M)]
ROWS = re.findall(r"^\| `([a-z]+: .*?)` \| ", PAGE, re.M)


def whole(part: str) -> str:
    """A role file that has this part, of whatever key."""
    key = part.partition(":")[0]
    part = f"network: {{{part}}}" if key in Network.model_fields else part
    rest = {"name": "web", "summary": "An example.", "network": "none"}
    return "\n".join([*(f"{k}: {v}" for k, v in rest.items() if f"\n{k}:" not in f"\n{part}"), part, ""])


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path, shared_cache(tmp_path_factory))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_builds(place: Place, example: str) -> None:
    place.role(whole(example))
    place.build().held()


def test_the_example_of_the_readme_builds(place: Place) -> None:
    (example,) = re.findall(r"make it this:\n((?:    .*\n)+?)    \$ ", README)
    place.role(re.sub(r"^    ", "", example, flags=re.M))
    place.build().held()


def test_two_roles_share_a_number_as_the_page_says(place: Place) -> None:
    (module,) = re.findall(r"^```\n(.*?)^```\n", PAGE, re.M | re.S)
    app = "name: app\nsummary: Serves.\nnetwork:\n  bind: {tcp: [PORT]}\n"
    front = "name: front\nsummary: Calls.\nnetwork:\n  connect: {tcp: [PORT]}\n"

    def declare(port: str) -> None:
        for name, text in (("app", app), ("front", front)):
            place.role(text.replace("PORT", port), f"{name}.yaml")

    declare("12345")
    place.build().refused("roles/front.yaml:4:19: tcp/12345 has no port type of its own in the base")
    base = place.folder / "base"
    base.mkdir()
    for file in (TOP / "labelgen" / "reference").glob("*.cil"):
        (base / file.name).write_bytes(file.read_bytes())
    (base / "shop_ports.cil").write_text(module)
    declare("shop_port_t")
    place.build(base=base).held()


@pytest.mark.parametrize("written", ROWS)
def test_what_is_called_refused_is_refused_where_it_stands(place: Place, written: str) -> None:
    text = whole(written)
    place.role(text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if written in line)
    place.build().refused(f"roles/web.yaml:{line}:")


def test_every_key_is_in_the_table_and_has_a_section_with_an_example() -> None:
    keys = [*Role.model_fields, *Network.model_fields]
    assert sorted(re.findall(r"^\| \[`(\w+)`\]\(#\1\) \|", PAGE, re.M)) == sorted(keys)
    for key in keys:
        section = re.split(rf"^#+ {key}\n", PAGE, flags=re.M)[1].split("\n#")[0]
        assert re.search(rf"^    .*\b{key}:", section, re.M), key


def test_what_is_allowed_is_told_as_it_is(reference_roles: BuiltRoles) -> None:
    assert f"Up to {LONGEST_NAME} " in PAGE
    assert f"Up to {LONGEST_SUMMARY} " in PAGE
    assert f"{MOST_BYTES // 1024} KiB" in PAGE
    text = " ".join(PAGE.split())
    *most, last = netlink_families(reference_roles.prepared.facts.classes)
    assert f"these are {', '.join(most)} and {last}." in text


@pytest.mark.parametrize(("parent", "status"), [("container_init_t", 0), ("svirt_t", 1)])
def test_of_other_kinds_of_containers_the_claims_say_whether_they_can_be_a_parent(
    place: Place, parent: str, status: int
) -> None:
    assert f"`{parent}`" in PAGE
    place.role(whole(f"parent: {parent}"))
    assert place.build().status == status
