"""What a version changed, in words for a line of a page."""

from __future__ import annotations

from collections.abc import Iterator

from minference.cli.output import one_line
from minference.cli.show import who
from minference.ecs.diff import CollectionChanged, EntityDiff, FieldDiff

NAMED = 2
"""Added messages that are told one by one."""


def in_words(diff: EntityDiff) -> str:
    """Messages first by what happened to them, everything else by its name."""
    told = [each for name, field in diff.fields.items() for each in _field(name, field)]
    return ", ".join(told) or "nothing"


def _field(name: str, field: FieldDiff) -> Iterator[str]:
    if not isinstance(field, CollectionChanged):
        yield f"{name.replace('_', ' ')} changed"
        return
    what = "message" if name == "history" else name.removesuffix("s").replace("_", " ")
    for added in field.added[:NAMED]:
        yield f"+ {one_line(who(added.entity), 70)}"
    if len(field.added) > NAMED:
        yield f"+ {len(field.added) - NAMED:,} more"
    for count, word in ((len(field.changed), "edited"), (len(field.removed), "removed"), (len(field.moved), "moved")):
        if count:
            yield f"{count:,} {what}{'' if count == 1 else 's'} {word}"
