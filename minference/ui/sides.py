"""A difference side by side: each row has the old on the left and the new on the right, with what is equal left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic_core import to_jsonable_python

from minference.ecs.diff import (
    Changed,
    CollectionChanged,
    EntityDiff,
    FieldDiff,
    MemberChanged,
    NestedChanged,
    Replaced,
    TextChanged,
)
from minference.ecs.diff_render import summary
from minference.ecs.diff_values import Absent, Segment, word_segments
from minference.ecs.entity import Entity
from minference.ecs.members import Place
from minference.threads.attachments import Attachment
from minference.threads.messages import ChatMessage

LONGEST = 20_000
"""Characters of a text that are shown on each side."""

Kind = Literal["same", "changed", "added", "removed", "moved"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One side of a row."""

    title: str
    pieces: tuple[Segment, ...]
    """Its text: what is equal on both sides, and what only this side has."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Something on the left, on the right, or on both sides."""

    kind: Kind
    left: Cell | None
    right: Cell | None
    skipped: int = 0
    """How many messages are left out, as they are equal: then there are no cells."""
    start: int = 0
    """Index in the new version of the first that is left out."""


def message_rows(diff: EntityDiff) -> list[Row]:
    """The messages of two versions of a thread, in the order of the new one; what was removed stands where it was."""
    history = diff.fields.get("history")
    old, new = (len(thread.__dict__["history"]) for thread in (diff.old, diff.new))
    changed = history if isinstance(history, CollectionChanged) else CollectionChanged()
    return list(_interleaved(changed, old, new))


def _interleaved(changed: CollectionChanged, old: int, new: int) -> Iterator[Row]:
    """Walk both lists at once. What is neither told of on the left nor on the right is equal on both sides."""
    left = {int(each.place): Row("removed", _cell(each.entity, each.place, "removed"), None) for each in changed.removed}
    right = {int(each.place): Row("added", None, _cell(each.entity, each.place, "added")) for each in changed.added}
    edits = {int(each.place): each for each in changed.changed}
    for moved in changed.moved:
        was, now = int(moved.old_place), int(moved.new_place)
        both = _edited(edits[now], was, now) if now in edits else _unedited(moved.entity, was, now)
        left[was] = Row("moved", replace(both[0], note=f"moved to #{now}"), None)
        right[now] = Row("moved", None, replace(both[1], note=f"moved from #{was}"))
    at_old = at_new = skipped = 0
    while at_old < old or at_new < new:
        row = left.get(at_old) if at_old in left else right.get(at_new)
        edit = edits.pop(at_new, None) if row is None or row.right is not None else None
        if row is None and edit is not None:
            row = Row("changed", *_edited(edit, at_old, at_new))
        if row is None:
            skipped += 1
        else:
            if skipped:
                yield Row("same", None, None, skipped, at_new - skipped)
            skipped = 0
            yield row
        if edit is not None:
            yield from _other_fields(edit)
        at_old += row is None or row.left is not None
        at_new += row is None or row.right is not None
    if skipped:
        yield Row("same", None, None, skipped, at_new - skipped)


def _edited(member: MemberChanged, was: int, now: int) -> tuple[Cell, Cell]:
    old, new = member.diff.old, member.diff.new
    text = member.diff.fields.get("content")
    if not isinstance(text, TextChanged):
        return _cell(old, was, "same"), _cell(new, now, "same")
    return _of_side(old, was, text.segments, "added"), _of_side(new, now, text.segments, "removed")


def _unedited(entity: Entity, was: int, now: int) -> tuple[Cell, Cell]:
    return _cell(entity, was, "same"), _cell(entity, now, "same")


def _other_fields(member: MemberChanged) -> Iterator[Row]:
    """What an edit changed beside the text."""
    for name, item in member.diff.fields.items():
        if not (name == "content" and isinstance(item, TextChanged)):
            yield from _field(f"history[{member.place}].{name}", item, {id(member.diff)})


def _of_side(entity: Entity, index: int, pieces: tuple[Segment, ...], without: str) -> Cell:
    return Cell(_title(entity, index), clipped(tuple(piece for piece in pieces if piece.change != without)))


def _cell(entity: Entity, index: Place, change: Literal["same", "removed", "added"]) -> Cell:
    return Cell(_title(entity, index), clipped((Segment(change, _text(entity)),)))


def _title(entity: Entity, index: Place) -> str:
    role = entity.role.value if isinstance(entity, ChatMessage) else type(entity).__name__
    return f"#{index} {role}"


def _text(entity: Entity) -> str:
    if entity.erased:
        return "(erased)"
    if not isinstance(entity, ChatMessage):
        return summary(entity)
    calls = [f"→ {call.name}({call.arguments_json})" for call in entity.tool_calls]
    attached = [f"[{each.name}]" if isinstance(each, Attachment) else f"[{each.name}: {each.url}]" for each in entity.attachments]
    return "\n".join(filter(None, [entity.content, entity.refusal or "", *attached, *calls]))


def clipped(pieces: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The pieces, as far as they are shown."""
    room, kept = LONGEST, list[Segment]()
    for piece in pieces:
        if room <= 0:
            return (*kept, Segment("same", " …"))
        kept.append(Segment(piece.change, piece.text[:room]))
        room -= len(piece.text)
    return tuple(kept)


def field_rows(diff: EntityDiff, above: str = "") -> list[Row]:
    """Everything that differs beside the messages, a row for each place."""
    return list(_fields(diff, above, {id(diff)}))


def _fields(diff: EntityDiff, above: str, seen: set[int]) -> Iterator[Row]:
    for name, item in diff.fields.items():
        path = f"{above}.{name}" if above else name
        if path != "history":
            yield from _field(path, item, seen)


def _field(path: str, item: FieldDiff, seen: set[int]) -> Iterator[Row]:
    match item:
        case EntityDiff() if id(item) not in seen:
            seen.add(id(item))
            yield from _fields(item, path, seen)
        case TextChanged(old, new) | Changed(str() as old, str() as new):
            yield _pair(path, old, new)
        case Changed(old, new):
            yield _pair(path, _shown(old), _shown(new))
        case Replaced(old_entity, new_entity):
            yield _pair(path, summary(old_entity), summary(new_entity))
        case NestedChanged(_, _, changes):
            for change in changes:
                inner = change.path if change.path.startswith("[") or not change.path else f".{change.path}"
                yield _pair(f"{path}{inner}", _shown(change.old), _shown(change.new))
        case CollectionChanged():
            yield from _members(path, item, seen)


def _members(path: str, item: CollectionChanged, seen: set[int]) -> Iterator[Row]:
    for gone in item.removed:
        yield Row("removed", Cell(f"{path}[{gone.place}]", (Segment("removed", summary(gone.entity)),)), None)
    for moved in item.moved:
        where = Cell(f"{path}[{moved.old_place}]", (Segment("same", summary(moved.entity)),))
        yield Row("moved", where, Cell(f"{path}[{moved.new_place}]", where.pieces))
    for member in item.changed:
        yield from _fields(member.diff, f"{path}[{member.place}]", seen)
    for added in item.added:
        yield Row("added", None, Cell(f"{path}[{added.place}]", (Segment("added", summary(added.entity)),)))


def _pair(path: str, old: str, new: str) -> Row:
    pieces = word_segments(old, new)
    left, right = (tuple(piece for piece in pieces if piece.change != without) for without in ("added", "removed"))
    return Row("changed", Cell(path, clipped(left)), Cell(path, clipped(right)))


def _shown(value: object) -> str:
    if isinstance(value, Absent):
        return "(absent)"
    return value if isinstance(value, str) else str(to_jsonable_python(value, fallback=str))
