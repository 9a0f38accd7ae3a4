"""`Mutant`: which line to break, what promise that breaks, and who should notice."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A way to break one invariant."""

    name: str
    """What is wrong with the mutant, in words joined by dashes."""
    promise: str
    """The invariant: one sentence, in Markdown."""
    marks: tuple[str, ...] = ()
    """Its numbers in the design: invariants I1 to I13, pitfalls P1 to P16."""
    file: str
    """Which file to break, below the root of the repository."""
    old: str
    """Text that occurs exactly once in it."""
    new: str
    tests: tuple[str, ...]
    """Node ids of pytest: tests that pass as long as the promise is kept, one of which at least must fail on the mutant."""

    def applied(self, root: Path) -> str:
        """The text of the broken file.

        Raises:
            MovedOn: The text to break is not there exactly once.
        """
        text = self._text(root)
        if (count := text.count(self.old)) != 1:
            raise MovedOn(self, count)
        return text.replace(self.old, self.new)

    def line(self, root: Path) -> str:
        """The first line that is broken, as it stands in the file.

        Raises:
            MovedOn: The text to break is not there exactly once.
        """
        return self._text(root).splitlines()[self._line_number(root) - 1].strip()

    def place(self, root: Path) -> str:
        """What holds that line: the dotted name of a function or class, or a variable of a class or module.

        Raises:
            MovedOn: The text to break is not there exactly once.
        """
        return ".".join(_names(ast.parse(self._text(root)), self._line_number(root))) or "the module"

    def _text(self, root: Path) -> str:
        return (root / self.file).read_text(encoding="utf-8")

    def _line_number(self, root: Path) -> int:
        self.applied(root)
        text = self._text(root)
        same = next((number for number, (one, other) in enumerate(zip(self.old, self.new, strict=False)) if one != other), len(self.new))
        first = text.index(self.old) + same
        while text[first].isspace():
            first += 1
        return text.count("\n", 0, first) + 1


class MovedOn(Exception):
    """The code is not any more as it was when the mutant was made."""

    def __init__(self, mutant: Mutant, count: int) -> None:
        self.mutant, self.count = mutant, count
        super().__init__(
            f"{mutant.name}: the text to break occurs {count} times in {mutant.file}, not once: adapt the mutant\n{mutant.old}"
        )


def _names(node: ast.AST, line: int) -> list[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt) or not child.lineno <= line <= (child.end_lineno or child.lineno):
            continue
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [child.name, *_names(child, line)]
            case ast.Assign(targets=[ast.Name() as target]) | ast.AnnAssign(target=ast.Name() as target):
                return [] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else [target.id]
            case _:
                return _names(child, line)
    return []
