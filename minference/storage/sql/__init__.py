"""Typed tables of one's own, and what to query them with: everything that an application needs to declare them.

    from minference.storage.sql import EntityTable, ExactText, Id, Json, UtcDateTime, reference

The tables of threads and messages are in `minference.threads.tables`.
"""

from minference.storage.sql.schema import EntityCommit, EntityKind, EntityVersion, RunItem, SequenceSpan, Tag, reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime
from minference.storage.sql.views import LineageVersionView

__all__ = [
    "EntityCommit",
    "EntityKind",
    "EntityTable",
    "EntityVersion",
    "ExactText",
    "Id",
    "Json",
    "LineageVersionView",
    "RunItem",
    "SequenceSpan",
    "Tag",
    "UtcDateTime",
    "reference",
]
