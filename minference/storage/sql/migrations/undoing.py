"""What a revision says that would lose data if it were undone."""

from __future__ import annotations

from typing import NoReturn


def refuse(reason: str) -> NoReturn:
    """Refuse to undo a revision.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(f"this revision cannot be undone, since {reason}: restore the database from a backup instead")
