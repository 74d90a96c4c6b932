"""The script that takes single checks out of the verifier: by one case it tells a mutant from the original."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a process of its own, for a mutant is put in the place of what runs, and all that is known is forgotten.
SCRIPT = """
import pathlib, sys
import mutate
bench = mutate.Bench(pathlib.Path(sys.argv[1]))
(case,) = (case for case in bench.cases if case.name == "accept_missing")
case.load()
(able,) = (m for m in mutate.chosen(["claims.able"], False) if "_unmet" in m.text)
print(*mutate.forked(lambda: mutate.notice(able, [case])))
for name in mutate.FORGOTTEN:
    whole = mutate.Mutant(name, "-", 1, "", (mutate.TOP / "labelgen" / f"{name}.py").read_text, True)
    assert mutate.forked(lambda: mutate.notice(whole, [case])) == ["", ""], name
    assert mutate.forked(lambda: mutate.statements_run(case)), name
"""


def test_a_case_notices_that_its_check_is_gone_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "accept_missing told otherwise\n"), said.stderr
