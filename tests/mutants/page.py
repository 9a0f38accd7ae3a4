"""`docs/invariants.md`: the catalogue as a page to read."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.catalogue import CATALOGUE, ELSEWHERE
from tests.mutants.mutant import Mutant

FILE = "docs/invariants.md"

_HEAD = """\
# What always holds

Each promise below is kept by the code that is named beside it. That code was broken on purpose, one line at a time, and the
test in the last column is the one that noticed. `make mutants` does it again (`tests/mutants`), and this page is made from the
same list: `python -m tests.mutants --page`. I1 to I13 and P1 to P16 are the invariants and the pitfalls of the storage's design.

Beside these, `tests/storage/test_state_machine.py` does random work on random graphs (edits, saves, failures, cancellations,
branches, merges, a second process) and compares every version with a model that knows nothing of the code.
"""


def page(root: Path) -> str:
    """The whole page, as the code at `root` is."""
    parts = [_HEAD]
    for heading, mutants in CATALOGUE.items():
        parts.append(f"\n## {heading}\n\n| promise | kept in | broken as | noticed by |\n|---|---|---|---|\n")
        parts.extend(f"| {_promise(each)} | {_place(each, root)} | `{each.name}` | {_tests(each)} |\n" for each in mutants)
    parts.append("\n## Kept otherwise\n\n| number | how |\n|---|---|\n")
    parts.extend(f"| {number} | {how} |\n" for number, how in ELSEWHERE.items())
    return "".join(parts)


def _promise(mutant: Mutant) -> str:
    marks = f" ({', '.join(mutant.marks)})" if mutant.marks else ""
    return f"{mutant.promise}{marks}".replace("|", "\\|")


def _place(mutant: Mutant, root: Path) -> str:
    return f"`{mutant.file}`, `{mutant.place(root)}`"


def _tests(mutant: Mutant) -> str:
    names = dict.fromkeys(test.partition("[")[0] for test in mutant.tests)
    return "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names)
