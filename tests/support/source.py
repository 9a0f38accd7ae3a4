"""What the architecture tests read: source files as data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "minference"
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Import:
    """One imported module, at one place."""

    module: str
    """Full dotted name of the module that is loaded: for `from a.b import c`, `a.b.c` if that is a module, else `a.b`."""
    line: int
    at_module_level: bool
    """Whether importing the file runs it; if not, it stands inside a function."""


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path below the repository, with forward slashes."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        """Its dotted name."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def text(self) -> str:
        return _read(self.path)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def tree(self) -> ast.Module:
        return _parse(self.path)

    @property
    def syntax_error(self) -> str | None:
        """What is wrong with it as Python 3.11, if anything is."""
        try:
            _parse(self.path)
        except SyntaxError as error:
            return f"{self.name}:{error.lineno} {error.msg}"
        return None

    def imports(self) -> tuple[Import, ...]:
        """Every import that can happen at run time: all but those under `if TYPE_CHECKING:`."""
        return _imports(self.path)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def package_sources() -> list[Source]:
    """Every file of the package."""
    return [Source(path) for path in sorted(PACKAGE.rglob("*.py"))]


def length_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, decorators and docstring left out."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(_read(path), str(path), feature_version=OLDEST_PYTHON)


@cache
def _imports(path: Path) -> tuple[Import, ...]:
    found = []
    for node, at_module_level in _running(_parse(path), at_module_level=True):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, at_module_level) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found += [Import(_loaded(base, alias.name), node.lineno, at_module_level) for alias in node.names]
    return tuple(found)


def _loaded(base: str, name: str) -> str:
    if base.partition(".")[0] != PACKAGE.name:
        return base
    candidate = ROOT.joinpath(*base.split("."), name)
    return f"{base}.{name}" if candidate.is_dir() or candidate.with_suffix(".py").exists() else base


def _running(node: ast.AST, *, at_module_level: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _names_type_checking(child.test):
            for other in child.orelse:
                yield other, at_module_level
                yield from _running(other, at_module_level=at_module_level)
            continue
        yield child, at_module_level
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _running(child, at_module_level=at_module_level and not inside)


def _names_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
