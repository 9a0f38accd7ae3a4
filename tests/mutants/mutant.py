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
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise MovedOn(self, count)
        return text.replace(self.old, self.new)

    def place(self, root: Path) -> str:
        """What holds the text to break: the dotted name of a function or class, or a module's own variable.

        Raises:
            MovedOn: The text to break is not there exactly once.
        """
        self.applied(root)
        text = (root / self.file).read_text(encoding="utf-8")
        first = text[: text.index(self.old)].count("\n") + 1
        last = first + self.old.rstrip("\n").count("\n")
        first += len(self.old) - len(self.old.lstrip("\n"))
        return ".".join(_names(ast.parse(text), first, last)) or "the module"


class MovedOn(Exception):
    """The code is not any more as it was when the mutant was made."""

    def __init__(self, mutant: Mutant, count: int) -> None:
        self.mutant, self.count = mutant, count
        super().__init__(
            f"{mutant.name}: the text to break occurs {count} times in {mutant.file}, not once: adapt the mutant\n{mutant.old}"
        )


def _names(node: ast.AST, first: int, last: int) -> list[str]:
    for child in ast.iter_child_nodes(node):
        start = min([getattr(child, "lineno", 0), *(each.lineno for each in getattr(child, "decorator_list", ()))])
        if not start <= first <= last <= (getattr(child, "end_lineno", None) or 0):
            continue
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return [child.name, *_names(child, first, last)]
            case ast.Assign(targets=[ast.Name() as target]) | ast.AnnAssign(target=ast.Name() as target):
                return [target.id]
            case _:
                if found := _names(child, first, last):
                    return found
    return []
