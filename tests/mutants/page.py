"""`docs/invariants.md`: the catalogue as a page to read."""

from __future__ import annotations

import html
from pathlib import Path
from textwrap import shorten

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
        parts.append(f"\n## {heading}\n\n| promise | kept in | line that was broken | noticed by |\n|---|---|---|---|\n")
        parts.extend(_row(_promise(each), _place(each, root), _line(each, root), _tests(each)) for each in mutants)
    parts.append("\n## Kept otherwise\n\n| number | how |\n|---|---|\n")
    parts.extend(_row(number, how) for number, how in ELSEWHERE.items())
    return "".join(parts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _promise(mutant: Mutant) -> str:
    return f"{mutant.promise} ({', '.join(mutant.marks)})" if mutant.marks else mutant.promise


def _place(mutant: Mutant, root: Path) -> str:
    return f"`{mutant.file.removeprefix('minference/')}`: `{mutant.place(root)}`"


def _line(mutant: Mutant, root: Path) -> str:
    """The code, and the name of the mutant; in HTML, since code may hold what would end a cell or code in Markdown."""
    return f"<code>{html.escape(shorten(mutant.line(root), 110, placeholder=' ...'))}</code><br>{mutant.name}"


def _tests(mutant: Mutant) -> str:
    names = dict.fromkeys(test.partition("[")[0] for test in mutant.tests)
    return "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names)
