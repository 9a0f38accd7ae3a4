"""What must hold between the rows of any database, each as a SELECT of what contradicts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minference.ecs.entity import kind_to_class


class Rule(NamedTuple):
    """One invariant."""

    name: str
    sql: str
    """Selects offenders."""
    text: str
    """What to say of each; `{0}`, `{1}` are its columns."""
    excused: Callable[..., bool] | None = None
    """Whether one is all right after all, by its columns."""


def _may_be_one_class(_version: object, kind: str, _parent: object, other: str) -> bool:
    """Whether both kinds are those of one class, which was renamed, or can be: nobody knows of one that this program does not define."""
    classes = kind_to_class(kind), kind_to_class(other)
    return None in classes or classes[0] is classes[1]


_BY_PARENT = "FROM entity_version v JOIN entity_version p ON p.id = v.parent_id"
_KEYS = " UNION ALL ".join(
    f"SELECT MAX({column}) AS top FROM {table}"
    for table, column in (
        ("entity_version", "id"),
        ("entity_commit", "id"),
        ("entity_kind", "id"),
        ("run_item", "run_id"),
        ("sequence_span", "sequence_id"),
    )
)

RULES = (
    Rule(
        "one description",
        "SELECT COUNT(*) FROM storage_info HAVING COUNT(*) <> 1",
        "table storage_info has {0} rows instead of one",
    ),
    Rule(
        "one description",
        "SELECT id FROM storage_info WHERE id <> 1",
        "the row of storage_info has id {0} instead of 1: no keys are given out, so that nothing can be saved",
    ),
    Rule(
        "fresh keys",
        f"""SELECT i.next_id, m.top FROM storage_info i CROSS JOIN (SELECT MAX(top) AS top FROM ({_KEYS}) AS tops) AS m
            WHERE m.top >= i.next_id""",
        "key {1} is in use, and {0} would be given out next: keys would be given out twice",
    ),
    Rule(
        "one version for each id",
        "SELECT ecs_id, COUNT(*) FROM entity_version GROUP BY ecs_id HAVING COUNT(*) > 1",
        "{1} versions are called {0}",
    ),
    Rule(
        "one tree for each lineage",
        """SELECT lineage_id, COUNT(*) - COUNT(parent_id) FROM entity_version
           GROUP BY lineage_id HAVING COUNT(*) - COUNT(parent_id) <> 1""",
        "lineage {0} has {1} first versions instead of one",
    ),
    Rule(
        "parents in the same lineage",
        f"SELECT v.ecs_id, p.ecs_id, p.lineage_id {_BY_PARENT} WHERE p.lineage_id <> v.lineage_id",
        "version {0} was made from {1}, which is of another lineage, {2}",
    ),
    Rule(
        "merges in the same lineage",
        """SELECT v.ecs_id, m.ecs_id, m.lineage_id FROM entity_merge g JOIN entity_version v ON v.id = g.version_id
           JOIN entity_version m ON m.id = g.merged_id WHERE m.lineage_id <> v.lineage_id""",
        "version {0} merged {1}, which is of another lineage, {2}",
    ),
    Rule(
        "parents of the same kind",
        f"""SELECT v.ecs_id, k.name, p.ecs_id, o.name {_BY_PARENT}
            JOIN entity_kind k ON k.id = v.kind_id JOIN entity_kind o ON o.id = p.kind_id WHERE k.name <> o.name""",
        "version {0} is a {1}, and {2}, from which it was made, a {3}",
        _may_be_one_class,
    ),
    Rule(
        "parents first",
        f"SELECT v.ecs_id, p.ecs_id {_BY_PARENT} WHERE p.created_at >= v.created_at",
        "version {0} is not younger than {1}, from which it was made",
    ),
    Rule(
        "fork numbers",
        f"""SELECT p.ecs_id, COUNT(*) {_BY_PARENT} GROUP BY p.id, p.ecs_id
            HAVING MIN(v.fork_no) <> 0 OR MAX(v.fork_no) + 1 <> COUNT(*) OR COUNT(DISTINCT v.fork_no) <> COUNT(*)""",
        "the {1} versions that were made from {0} are not numbered 0, 1, 2, ...",
    ),
    Rule(
        "commits made something",
        "SELECT id FROM entity_commit c WHERE NOT EXISTS (SELECT 1 FROM entity_version v WHERE v.commit_id = c.id)",
        "commit {0} made no version",
    ),
    Rule(
        "runs without gaps",
        "SELECT run_id, COUNT(*) FROM run_item GROUP BY run_id HAVING MIN(position) <> 0 OR MAX(position) + 1 <> COUNT(*)",
        "the {1} cells of run {0} are not numbered 0, 1, 2, ...",
    ),
    Rule(
        "tags in their lineage",
        "SELECT t.name, t.lineage_id, v.ecs_id FROM tag t JOIN entity_version v ON v.id = t.version_id WHERE v.lineage_id <> t.lineage_id",
        "tag {0} of lineage {1} names version {2}, which is of another lineage",
    ),
    Rule(
        "blobs in use",
        "SELECT sha256, size FROM blob b WHERE NOT EXISTS (SELECT 1 FROM entity_blob e WHERE e.sha256 = b.sha256)",
        "blob {0} ({1} bytes) belongs to no version",
    ),
    Rule(
        "blobs whole",
        "SELECT sha256, LENGTH(data), size FROM blob WHERE LENGTH(data) <> size",
        "blob {0} has {1} bytes instead of {2}",
    ),
    Rule(
        "erased versions have a tombstone",
        """SELECT v.ecs_id, v.lineage_id FROM entity_version v WHERE v.erased_at IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM erasure e WHERE e.lineage_id = v.lineage_id)""",
        "version {0} is erased, and lineage {1} has no tombstone that says why",
    ),
    Rule(
        "erased lineages are erased whole",
        """SELECT v.ecs_id, v.lineage_id FROM erasure e JOIN entity_version v ON v.lineage_id = e.lineage_id
           WHERE v.erased_at IS NULL""",
        "version {0} is not erased, and its lineage {1} is",
    ),
)
