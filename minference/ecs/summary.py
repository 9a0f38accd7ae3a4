"""A difference in one line, for labels: `name, history +1 ~2`."""

from __future__ import annotations

from minference.ecs.diff import CollectionChanged, EntityDiff, FieldDiff


def summarise(diff: EntityDiff) -> str:
    """The fields that differ; of a collection, how many members were added, removed, changed and moved."""
    return ", ".join(" ".join([name, *_counts(field)]) for name, field in diff.fields.items()) or "nothing"


def _counts(field: FieldDiff) -> list[str]:
    if not isinstance(field, CollectionChanged):
        return []
    counts = {"+": len(field.added), "-": len(field.removed), "~": len(field.changed), ">": len(field.moved)}
    return [f"{sign}{count}" for sign, count in counts.items() if count]
