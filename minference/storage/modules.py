"""Modules that declare tables: imported when an SQL storage opens, not before, so that SQLAlchemy is not either."""

from __future__ import annotations

_MODULES: list[str] = []


def register_table_module(name: str) -> None:
    """Have the module `name` imported before the first SQL storage opens; it declares the tables of entity classes."""
    if name not in _MODULES:
        _MODULES.append(name)


def table_modules() -> tuple[str, ...]:
    """The registered modules, in order of registration."""
    return tuple(_MODULES)
