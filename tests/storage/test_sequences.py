"""The span algebra alone, against lists: long graph tests miss what this finds in a second."""

from __future__ import annotations

from collections import Counter
from itertools import count
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from minference.ecs.identity import utc_now
from minference.ecs.sequence_edit import edit_between
from minference.ecs.state import Version
from minference.storage.open import open_storage
from minference.storage.sequences import EMPTY, MAX_SPANS, OPEN, Place, Run, cut, place_edit
from tests.storage.lineage_samples import a_thread, say
from tests.storage.tables import rows_of
from tests.support.examples import examples

NOW = utc_now()


def version(number: int) -> Version:
    return Version(UUID(int=number), UUID(int=number), NOW)


class Table:
    """The two tables, with their keys, and what a reader makes of them."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], Version] = {}
        self.spans: dict[int, list[tuple[int, Run, int, int]]] = {}
        self.ids = count(1)
        self.new_cells = 0
        self.new_spans = 0

    def write(self, old: Place, before: list[Version], after: list[Version]) -> Place:
        ends: dict[Run, int] = {}
        placed = place_edit(old, edit_between(before, len(before), after), lambda: next(self.ids), ends)
        for run, position, child in placed.items:
            assert (run.id, position) not in self.cells, "a cell belongs to whoever writes it first"
            self.cells[run.id, position] = child
        for run, end in ends.items():
            run.end = end
        self.new_cells, self.new_spans = len(placed.items), len(placed.place.spans) if placed.new_sequence else 0
        if placed.new_sequence:
            assert placed.place.sequence is not None
            stored, position = [], 0
            for number, span in enumerate(placed.place.spans):
                is_last = number == len(placed.place.spans) - 1
                stored.append((position, span.run, span.start, OPEN if is_last else span.length))
                position += span.length
            self.spans[placed.place.sequence] = stored
        return placed.place

    def read(self, sequence: int | None, length: int) -> tuple[list[Version], Place]:
        if sequence is None:
            return [], EMPTY
        spans, ends_open = cut(self.spans[sequence], length)
        members = [self.cells[span.run.id, span.start + i] for span in spans for i in range(span.length)]
        return members, Place(sequence, length, spans, ends_open=ends_open)


ENDS = ["append", "append", "extend", "truncate", "cut", "clear", "same"]
PLACES = ["insert", "insert", "remove", "replace", "move", "duplicate", "scatter", "scatter", "turn", "double"]

edits = st.tuples(
    st.sampled_from(ENDS + PLACES),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.booleans(),
)


def edited(kind: str, members: list[Version], place: Place, one: int, two: int, fresh: count[int]) -> list[Version]:
    new = list(members)
    at = one % (len(new) + 1)
    match kind:
        case "cut":  # off whole spans
            del new[sum(span.length for span in place.spans[: one % (len(place.spans) + 1)]) :]
        case "append":
            new.append(version(next(fresh)))
        case "extend":
            new.extend(version(next(fresh)) for _ in range(two % 5))
        case "insert":
            new.insert(at, version(next(fresh)))
        case "remove":
            del new[at : at + 1 + two % 3]
        case "replace" if at < len(new):
            new[at] = version(next(fresh))
        case "truncate":
            del new[at:]
        case "clear":
            new.clear()
        case "move" if at < len(new):
            new.insert(two % len(new), new.pop(at))
        case "duplicate" if at < len(new):
            new.insert(two % len(new), new[at])
        case _:
            return edited_in_places(kind, new, at, one, two, fresh)
    return new


def edited_in_places(kind: str, members: list[Version], at: int, one: int, two: int, fresh: count[int]) -> list[Version]:
    """Changes that leave rows of members between them, long enough to be kept."""
    match kind:
        case "scatter":
            some = range(one % 7, len(members), 9 + two % 5)
            return [*(version(next(fresh)) if place in some else each for place, each in enumerate(members)), version(next(fresh))]
        case "turn":
            return [*members[at:], *members[:at]]
        case "double":
            return [*members, *(version(next(fresh)) for _ in range(30)), *members[:at]]
        case _:
            return members


@settings(max_examples=examples(150, 2000), deadline=None)
@given(st.lists(edits, min_size=10, max_size=40))
@example([("extend", 0, 2, False), ("insert", 0, 0, False), ("cut", 1, 0, False), ("append", 0, 0, False)])
@example([("extend", 0, 2, False), ("insert", 0, 0, False), ("cut", 1, 0, False), ("append", 0, 1, False)])
def test_every_version_ever_stored_is_restored_exactly_whatever_was_stored_after(script: list[tuple[str, int, int, bool]]) -> None:
    table, fresh = Table(), count(1_000_000)
    versions: list[tuple[Place, list[Version]]] = [(EMPTY, [])]
    for kind, one, two, branch in script:
        place, members = versions[one % len(versions)] if branch else versions[-1]
        if two % 2:
            place = table.read(place.sequence, place.length)[1]
        after = edited(kind, members, place, one, two, fresh)
        versions.append((table.write(place, members, after), after))
        for stored, expected in versions:
            assert table.read(stored.sequence, stored.length)[0] == expected


def test_appending_writes_one_cell_and_no_span_at_any_length() -> None:
    table, members, place = Table(), [version(0)], EMPTY
    place = table.write(place, [], members)
    for number in range(1, 2_000):
        after = [*members, version(number)]
        place = table.write(place, members, after)
        members = after
        assert (table.new_cells, table.new_spans) == (1, 0)


def test_a_sequence_never_has_more_spans_than_the_limit() -> None:
    table, members, place = Table(), [version(i) for i in range(400)], EMPTY
    place = table.write(place, [], members)
    for number in range(300):
        after = list(members)
        after[number * 7 % 400] = version(1_000 + number)
        place = table.write(place, members, after)
        members = after
        assert len(place.spans) <= MAX_SPANS + 1
    assert table.read(place.sequence, place.length)[0] == members


def test_a_branch_writes_its_own_cell_and_shares_the_rest() -> None:
    table, members = Table(), [version(i) for i in range(1_000)]
    trunk = table.write(EMPTY, [], members)
    table.write(trunk, members, [*members, version(5_000)])
    branch = table.write(trunk, members, [*members, version(6_000)])
    assert (table.new_cells, table.new_spans) == (1, 2)
    assert table.read(branch.sequence, branch.length)[0][-1].ecs_id == UUID(int=6_000)


def test_an_edit_in_several_places_writes_those_and_shares_the_rest() -> None:
    table, members = Table(), [version(i) for i in range(1_000)]
    place = table.write(EMPTY, [], members)
    after = [*members[:100], version(5_000), *members[101:600], version(5_001), version(5_002), *members[600:], version(5_003)]
    place = table.write(place, members, after)
    assert (table.new_cells, table.new_spans) == (4, 6)
    assert table.read(place.sequence, place.length)[0] == after
    moved = [*after[:20], *after[900:], *after[20:900]]
    place = table.write(place, after, moved)
    assert (table.new_cells, table.new_spans) == (0, 8)
    assert table.read(place.sequence, place.length)[0] == moved
    place = table.write(place, moved, [*moved, version(6_000)])
    assert table.read(place.sequence, place.length)[0] == [*moved, version(6_000)]


async def test_a_turn_writes_as_many_rows_on_a_long_thread_as_on_a_short_one(sql_url: str) -> None:
    appended = {"entity_commit": 1, "entity_version": 2, "chat_message": 1, "chat_thread": 1, "run_item": 1}
    async with open_storage(sql_url) as storage:
        for length in (10, 700):
            thread = a_thread(*map(str, range(length)))
            await storage.register(thread)
            rows = await rows_of(sql_url)
            say(thread, "appended")
            await storage.register(thread)
            after = await rows_of(sql_url)
            assert Counter(table for table, *_ in after.keys() - rows.keys()) == appended
            thread.history[length // 2].content = "edited"
            await storage.register(thread)
            edited = (await rows_of(sql_url)).keys() - after.keys()
            assert Counter(table for table, *_ in edited) == {**appended, "sequence_span": 3}
            rows = await rows_of(sql_url)
            thread.history[2].content = "edited too"
            say(thread, "appended once more")
            await storage.register(thread)
            both = Counter(table for table, *_ in (await rows_of(sql_url)).keys() - rows.keys())
            assert both["run_item"] <= 10
