"""Records of which only a part is read: ordered fields by window, and what hangs together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from minference.ecs.entity import plan_of
from minference.storage.base import Record
from minference.storage.sequences import EMPTY, Place, part_of

if TYPE_CHECKING:
    from minference.storage.shallow import Shallow


async def read_windows(shallow: Shallow, records: Iterable[Record], windows: Mapping[str, slice]) -> None:
    """Give records the members of their ordered fields: those in a field's window, or all if it has none.

    Those of unknown kinds have their members already.
    """
    wanted: list[tuple[Record, str, list[int]]] = []
    for record in records:
        if record.opaque is not None:
            continue
        for field in plan_of(record.cls).collections:
            everything = range(place_of(record, field.name).length)
            wanted.append((record, field.name, sorted(everything[windows.get(field.name, slice(None))])))
    spans = [part_of(place_of(record, name).spans, places[0], places[-1] + 1) if places else () for record, name, places in wanted]
    cells = iter(await shallow.cells([span for each in spans for span in each]))
    for (record, name, places), pieces in zip(wanted, spans, strict=True):
        found = [key for _ in pieces for key in next(cells)]
        set_members(record, name, {place: found[place - places[0]] for place in places})


def set_members(record: Record, field: str, members: Mapping[int, int]) -> None:
    """Let a record hold these members, by index in order, of an ordered field."""
    record.members[field] = list(members.values())
    if len(members) < place_of(record, field).length:
        record.partial = {**(record.partial or {}), field: tuple(members)}


def place_of(record: Record, field: str) -> Place:
    """Where an ordered field of a record is; one that never held anything has no place of its own."""
    place: Place = record.version.places.get(field, EMPTY)
    return place


def children_of(record: Record) -> Iterator[int]:
    """The keys of what a record refers to and holds."""
    yield from (key for key in record.references.values() if key is not None)
    for members in record.members.values():
        yield from members


def reachable(records: Mapping[int, Record], start: int) -> dict[int, Record]:
    """A record and all that hangs on it, itself first."""
    found: dict[int, Record] = {}
    waiting = [start]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = records[key]
            waiting.extend(children_of(records[key]))
    return found
