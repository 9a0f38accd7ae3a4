"""Which fields can be searched: the same on every storage, so that what a test finds in memory is found in a database too."""

from __future__ import annotations

from importlib import import_module

from minference.ecs.entity import Entity
from minference.storage.modules import table_modules


def check_searchable(cls: type[Entity], field: str) -> None:
    """Return if a database could search this field.

    Raises:
        ConfigurationError: The class has no table with a column for its text.
    """
    for module in table_modules():
        import_module(module)
    from minference.storage.sql.searching import text_column

    text_column(cls, field)
