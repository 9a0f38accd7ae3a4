"""A diff for reading: as plain text, for rich, as HTML and as JSON data.

All four are made from the same flat walk, so depth and cycles of the entities do not matter here.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic_core import to_jsonable_python

from minference.ecs.blobs import Blob
from minference.ecs.diff import (
    Changed,
    CollectionChanged,
    EntityDiff,
    FieldDiff,
    Moved,
    NestedChanged,
    Placed,
    Replaced,
    TextChanged,
)
from minference.ecs.diff_values import Absent, PathChange, Segment
from minference.ecs.entity import Entity, plan_of
from minference.ecs.lineage import short_id
from minference.ecs.members import Place

if TYPE_CHECKING:
    from rich.text import Text

_LONGEST_VALUE = 200
"""Characters of a value that are shown."""
_CONTEXT = 40
"""Characters of unchanged text that are shown on each side of a change."""

_DEEPEST_INDENT = 16
"""Levels up to which a line shows its depth by where it begins. Deeper ones say it: long chains would be nothing but blanks."""

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that reorder what stands around them on the screen."""

_Item = Changed | TextChanged | NestedChanged | Replaced | CollectionChanged | EntityDiff | Moved
_Sign = Literal["~", "+", "-", ">"]


@dataclass(frozen=True, slots=True)
class Step:
    """One place where a diff has something to say."""

    depth: int
    path: str
    """From the root, e.g. `history[2].content`."""
    label: str
    """The last part of the path."""
    sign: _Sign
    item: _Item | Placed
    again: bool = False
    """Whether the same pair of entities was told further up already; what is below it is left out."""


def walk(diff: EntityDiff) -> Iterator[Step]:
    """Everything that differs, depth first, in field order."""
    seen = {id(diff)}
    waiting = list(reversed(list(_fields(diff, 0, ""))))
    while waiting:
        step = waiting.pop()
        if not isinstance(step.item, EntityDiff):
            yield step
            below = _members(step.item, step) if isinstance(step.item, CollectionChanged) else ()
        elif id(step.item) in seen:
            yield Step(step.depth, step.path, step.label, step.sign, step.item, again=True)
            continue
        else:
            seen.add(id(step.item))
            yield step
            below = _fields(step.item, step.depth + 1, step.path)
        waiting.extend(reversed(list(below)))


def _fields(diff: EntityDiff, depth: int, path: str) -> Iterator[Step]:
    for name, item in diff.fields.items():
        yield Step(depth, f"{path}.{name}" if path else name, name, "~", item)


def _members(collection: CollectionChanged, above: Step) -> Iterator[Step]:
    def step(place: Place, sign: _Sign, item: EntityDiff | Placed | Moved) -> Step:
        label = f"[{place!r}]"
        return Step(above.depth + 1, above.path + label, label, sign, item)

    yield from (step(each.place, "-", each) for each in collection.removed)
    yield from (step(each.old_place, ">", each) for each in collection.moved)
    yield from (step(each.place, "~", each.diff) for each in collection.changed)
    yield from (step(each.place, "+", each) for each in collection.added)


def diff_to_text(diff: EntityDiff) -> str:
    """Indented lines: `~` changed, `+` added, `-` removed, `>` moved; inside a text, [-removed-] and {+added+} words.

    Below a depth of 16 the lines move no further to the right, and say their depth. Further lines of a text stand behind a `|`,
    deeper than the field that it is in, so that none reads as a line of the diff.
    """
    marks = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
    return "\n".join(
        "".join(f"{marks[part.change][0]}{part.text}{marks[part.change][1]}" for part in line) for line in _lines(diff, brackets=True)
    )


def diff_to_rich(diff: EntityDiff) -> Text:
    """The same lines in colours."""
    from rich.text import Text

    styles = {"same": "", "removed": "red strike", "added": "green"}
    return Text("\n").join(Text.assemble(*((part.text, styles[part.change]) for part in line)) for line in _lines(diff, brackets=False))


def diff_to_html(diff: EntityDiff) -> str:
    """The same lines as one `<pre>`, with `<ins>` and `<del>`; no style or script, all content escaped."""
    tags = {"same": ("", ""), "removed": ("<del>", "</del>"), "added": ("<ins>", "</ins>")}
    lines = (
        "".join(f"{tags[part.change][0]}{html.escape(part.text)}{tags[part.change][1]}" for part in line)
        for line in _lines(diff, brackets=False)
    )
    return '<pre class="minference-diff">' + "\n".join(lines) + "</pre>"


def diff_to_notebook(diff: EntityDiff) -> str:
    """The same in colours, for where no style sheet can be added."""
    styles = {"ins": "background:rgba(24,160,88,.18);text-decoration:none", "del": "background:rgba(220,50,60,.18)"}
    shown = diff_to_html(diff)
    for tag, style in styles.items():  # content is escaped, so these are all tags
        shown = shown.replace(f"<{tag}>", f'<{tag} style="{style}">')
    return shown


def diff_to_json(diff: EntityDiff) -> dict[str, Any]:
    """`{"kind", "old", "new", "changes": [...]}`: a flat list, one item for each place that differs."""
    return {
        "kind": type(diff.new).__kind__,
        "old": str(diff.old.ecs_id),
        "new": str(diff.new.ecs_id),
        "changes": [data for step in walk(diff) if (data := _step_to_json(step)) is not None],
    }


def _step_to_json(step: Step) -> dict[str, Any] | None:
    match step.item:
        case Changed(old, new) | TextChanged(old, new):
            return {"path": step.path, "change": "changed", "old": _json(old), "new": _json(new)}
        case NestedChanged(old, new, changes):
            inside = [
                {"path": each.path}
                | {side: value for side, value in (("old", each.old), ("new", each.new)) if not isinstance(value, Absent)}
                for each in changes
            ]
            return {"path": step.path, "change": "changed", "old": _json(old), "new": _json(new), "inside": inside}
        case Replaced(old_entity, new_entity):
            return {"path": step.path, "change": "replaced", "old": _entity_json(old_entity), "new": _entity_json(new_entity)}
        case Placed(_, entity):
            return {"path": step.path, "change": "added" if step.sign == "+" else "removed", "entity": _entity_json(entity)}
        case Moved(old_place, new_place, entity):
            return {"path": step.path, "change": "moved", "from": old_place, "to": new_place, "entity": _entity_json(entity)}
        case CollectionChanged() | EntityDiff():
            return None


def _json(value: Any) -> Any:
    return to_jsonable_python(value, inf_nan_mode="constants", bytes_mode="base64", fallback=_fallback)


def _fallback(value: object) -> Any:
    return {"sha256": value.sha256, "size": value.size} if isinstance(value, Blob) else str(value)


def _entity_json(entity: Entity | None) -> dict[str, Any] | None:
    if entity is None:
        return None
    plan = plan_of(type(entity))
    values = {name: _json(entity.__dict__[name]) for name in (*plan.values, *plan.mutable)}
    erased = {"erased": True} if entity.erased else {}
    return {"kind": type(entity).__kind__, "ecs_id": str(entity.ecs_id), "lineage_id": str(entity.lineage_id), **erased, "values": values}


def _lines(diff: EntityDiff, *, brackets: bool) -> Iterator[list[Segment]]:
    yield [_plain(f"{type(diff.new).__name__} {_versions(diff)}" + ("" if diff else ": no differences"))]
    for step in walk(diff):
        if isinstance(step.item, NestedChanged):
            yield from (_inside(step, change, brackets=brackets) for change in step.item.changes)
        else:
            yield [_plain(_beginning(step, step.sign)), *_body(step, step.item, brackets=brackets)]


def _inside(step: Step, change: PathChange, *, brackets: bool) -> list[Segment]:
    inner = printable(change.path if change.path.startswith(("[", "{")) else f".{change.path}")
    if not inner.endswith("{}"):
        return [_plain(f"{_beginning(step, '~')}{inner}: "), *_from_to(_value(change.old), _value(change.new), brackets=brackets)]
    sign: _Sign = "+" if isinstance(change.old, Absent) else "-"
    text = _value(change.new if sign == "+" else change.old)
    shown = _plain(text) if brackets else Segment("added" if sign == "+" else "removed", text)
    return [_plain(f"{_beginning(step, sign)}{inner.removesuffix('{}')}: "), shown]


def _beginning(step: Step, sign: _Sign) -> str:
    told = f"  (depth {step.depth})" if step.depth > _DEEPEST_INDENT else ""
    return f"{_indent(step)}{told}  {sign} {step.label}"


def _indent(step: Step) -> str:
    return "    " * min(step.depth, _DEEPEST_INDENT)


def _body(step: Step, item: FieldDiff | Placed | Moved, *, brackets: bool) -> list[Segment]:
    match item:
        case TextChanged() if item.old and item.new:
            margin = f"{_indent(step)}    | "
            return [_plain(": "), *(part for each in _excerpt(item.segments) for part in _lined(each, margin, brackets=brackets))]
        case Changed(old, new) | TextChanged(old, new):
            return [_plain(": "), *_from_to(_value(old), _value(new), brackets=brackets)]
        case Replaced(old_entity, new_entity):
            return [_plain(": "), *_from_to(summary(old_entity), summary(new_entity), brackets=brackets)]
        case Placed(_, entity):
            text = f" {summary(entity)}"
            return [_plain(text) if brackets else Segment("added" if step.sign == "+" else "removed", text)]
        case Moved(_, new_place, entity):
            return [_plain(f" -> [{new_place!r}] {summary(entity)}")]
        case EntityDiff():
            return [_plain(f" {type(item.new).__name__} {_versions(item)}{' (as above)' if step.again else ''}")]
        case _:
            return []


def _from_to(old: str, new: str, *, brackets: bool) -> list[Segment]:
    if brackets:
        return [_plain(f"{old} -> {new}")]
    return [Segment("removed", old), _plain(" -> "), Segment("added", new)]


def _excerpt(segments: tuple[Segment, ...]) -> Iterator[Segment]:
    """The changes with a little of the text around them."""
    for number, segment in enumerate(segments):
        text = printable(segment.text)
        before = _CONTEXT if number > 0 else 0
        after = _CONTEXT if number < len(segments) - 1 else 0
        if segment.change == "same" and len(text) > before + after + 3:
            text = f"{text[:before]}…{text[len(text) - after :] if after else ''}"
        yield Segment(segment.change, text)


def _lined(segment: Segment, margin: str, *, brackets: bool) -> Iterator[Segment]:
    """The segment with each further line behind a margin that no line of the diff itself begins with, and that is no part of it."""
    if brackets:
        yield Segment(segment.change, segment.text.replace("\n", f"\n{margin}"))
        return
    for number, line in enumerate(re.split(r"(?<=\n)", segment.text)):
        if number:
            yield _plain(margin)
        yield Segment(segment.change, line)


def _versions(diff: EntityDiff) -> str:
    if diff.old.ecs_id == diff.new.ecs_id and diff.old.erased is diff.new.erased:
        return _version(diff.new)
    return f"{_version(diff.old)} -> {_version(diff.new)}"


def _version(entity: Entity) -> str:
    return short_id(entity.ecs_id) + (" (erased)" if entity.erased else "")


def summary(entity: Entity | None) -> str:
    """One line that lets a reader recognise an entity: class, short id and the values that are set."""
    if entity is None:
        return "none"
    told: list[str] = []
    for name in plan_of(type(entity)).values:
        value = entity.__dict__[name]
        if value and not isinstance(value, (datetime, UUID)) and value != type(entity).model_fields[name].default:
            told.append(f"{name}={_value(value)}")
    return _clip(f"{type(entity).__name__} {_version(entity)} {' '.join(told)}".rstrip())


def _value(value: Any) -> str:
    match value:
        case str():
            return _clip(repr(str(value)))
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return _clip(repr(value))


def _plain(text: str) -> Segment:
    return Segment("same", text)


def _clip(text: str) -> str:
    text = printable(text).replace("\n", "\\n")
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def printable(text: str) -> str:
    """The text without what would steer a terminal: such characters, newline and tab excepted, stand as `\\xNN`."""
    if text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode() if _steers(char) else char for char in text)


def _steers(char: str) -> bool:
    return char not in "\n\t" and (unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI)
