"""What callers pass, refused before anything happens if it cannot be meant."""

from __future__ import annotations

from typing import get_args

from minference.errors import UnknownChoice
from minference.storage.base import OnConflict

_ON_CONFLICT: tuple[str, ...] = get_args(OnConflict)


def check_wishes(on_conflict: object) -> None:
    """Make sure that a save can be made as it is wished.

    Raises:
        UnknownChoice: `on_conflict` is none of its values.
    """
    if on_conflict not in _ON_CONFLICT:
        raise UnknownChoice("on_conflict", on_conflict, _ON_CONFLICT)
