"""The parts that pages are made of: pure functions."""

from __future__ import annotations

import asyncio
import html
import importlib
import re
import sys
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import minference.ui
from minference.ecs.diff import EntityDiff
from minference.ecs.identity import utc_now
from minference.ecs.lineage import CommitInfo, LineageTree, VersionInfo
from minference.errors import MissingExtra
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage, MessageRole
from minference.ui.charts import bars, ceiling, days_between, lines
from minference.ui.line import line_through, ticks_on
from minference.ui.prose import prose, tidy_json
from minference.ui.sides import field_rows, message_rows
from minference.ui.templating import ago, compact, seconds
from minference.ui.window import window_of
from tests.ui.samples import HOSTILE, WEATHER, a_thread

LINEAGE = uuid4()


@pytest.mark.parametrize("package", ["starlette", "jinja2"])
def test_who_imports_the_inspector_without_its_packages_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"needs '{package}', which is not installed: pip install \"minference\[ui\]\"") as missing:
        importlib.reload(minference.ui)
    assert isinstance(missing.value, ImportError)


def versions_of(parents: list[int | None]) -> list[VersionInfo]:
    """Versions, each made from the one with that index."""
    made: list[VersionInfo] = []
    for number, parent in enumerate(parents):
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        above = made[parent].ecs_id if parent is not None else None
        made.append(VersionInfo(UUID(int=number + 1), LINEAGE, above, "ChatThread", moment, CommitInfo(number, moment)))
    return made


trees = (
    st.integers(1, 30)
    .flatmap(lambda size: st.tuples(*(st.integers(0, max(0, number - 1)) for number in range(1, size))))
    .map(lambda parents: versions_of([None, *parents]))
)


@given(trees, st.data())
def test_a_line_goes_from_the_first_version_through_the_shown_one_to_an_end(versions: list[VersionInfo], data: st.DataObject) -> None:
    tree = LineageTree(versions)
    shown = data.draw(st.sampled_from(versions))
    line = line_through(tree, shown.ecs_id)
    assert line.shown == shown
    assert line.versions[0] == versions[0]
    assert [after.parent_id for after in line.versions[1:]] == [before.ecs_id for before in line.versions[:-1]]
    assert {line.tip, *line.others} == set(tree.heads)
    for version in line.versions:
        again = line_through(tree, version.ecs_id, line.tip.ecs_id)
        assert (again.versions, again.shown) == (line.versions, version)
    assert line_through(tree, shown.ecs_id, uuid4()).versions == line.versions


def test_a_tip_that_does_not_come_from_the_version_is_not_heeded() -> None:
    first, left, right = versions = versions_of([None, 0, 0])
    tree = LineageTree(versions)
    assert line_through(tree, left.ecs_id, right.ecs_id).versions == (first, left)


def test_the_slider_points_out_tags_and_branches() -> None:
    versions = versions_of([None, 0, 1, 1, 3])
    tree = LineageTree(versions)
    ticks = ticks_on(line_through(tree, versions[4].ecs_id), tree, {"main": versions[4], "old": versions[4], "else": versions[2]})
    assert [(tick.share, tick.kind, tick.text) for tick in ticks] == [
        (33.33, "branching", "a branch leaves here"),
        (100.0, "tagged", "main, old"),
    ]


numbers = st.lists(st.integers(0, 9), unique=True, max_size=8)


@settings(max_examples=60)
@given(numbers, numbers, st.integers(0, 9))
def test_side_by_side_every_message_has_its_place_on_its_side(before: list[int], after: list[int], edited: int) -> None:
    rows = message_rows(asyncio.run(rearranged(before, after, edited)))
    for side, numbers in ((0, before), (1, after)):
        place = 0
        for row in rows:
            cell = (row.left, row.right)[side]
            if cell is not None and cell.title.startswith("#"):
                text = "".join(piece.text for piece in cell.pieces)
                is_edited = side == 1 and numbers[place] < edited and numbers[place] in before
                assert (cell.title, text) == (f"#{place} user", f"{'other' if is_edited else 'message'} {numbers[place]}")
                place += 1
            place += row.skipped
        assert place == len(numbers)
    assert sum(row.kind == "same" for row in rows) <= sum(row.kind != "same" for row in rows) + 1


async def rearranged(before: list[int], after: list[int], edited: int) -> EntityDiff:
    """What differs between a thread with messages of the first numbers, and then of the others, some of them edited."""
    messages = {number: ChatMessage(role=MessageRole.user, content=f"message {number}") for number in {*before, *after}}
    async with open_storage("memory:") as storage:
        thread = a_thread()
        thread.history = [messages[number] for number in before]
        await storage.register(thread)
        old = thread.ecs_id
        for number in set(before) & set(after):
            if number < edited:
                messages[number].content = f"other {number}"
        thread.history = [messages[number] for number in after]
        await storage.register(thread)
        return await storage.diff(old, thread.ecs_id)


async def test_what_else_differs_stands_below_its_name() -> None:
    async with open_storage("memory:") as storage:
        thread = a_thread("before", model="m")
        await storage.register(thread)
        thread.name, thread.llm_config.max_tokens, thread.tools = "after it", 9, [WEATHER]
        await storage.register(thread)
        assert thread.parent_id is not None
        rows = field_rows(await storage.diff(thread.parent_id, thread.ecs_id))
    told = [(row.kind, cell.title, "".join(each.text for each in cell.pieces)[:24]) for row in rows if (cell := row.right)]
    assert told == [
        ("changed", "name", "after it"),
        ("changed", "llm_config.max_tokens", "9"),
        ("added", "tools[0]", f"CallableTool {WEATHER.ecs_id.hex[-8:]} na"),
    ]


@given(st.text(st.sampled_from("ab `*\n<&\"'>\u202e\ud800"), max_size=80))
def test_prose_keeps_every_word_and_opens_no_tag_of_its_own(text: str) -> None:
    shown = prose(text)
    assert set(re.findall(r"<(/?\w+)", shown)) <= {"div", "/div", "pre", "/pre", "code", "/code", "strong", "/strong", "span", "/span"}
    assert shown.count("<pre") == shown.count("</pre>")
    shown.encode()
    seen = html.unescape(re.sub(r"<[^>]*>", "", shown))
    assert [seen.count(letter) for letter in "ab<&'\""] == [text.count(letter) for letter in "ab<&'\""]


def test_prose_sets_code_apart() -> None:
    shown = prose(f"Look:\n```python\nx = '<b>'\n```\nand `y` is **bold**, 2 * 3 ** 4 ** 5 is not\n```\nopen {HOSTILE[:8]}")
    assert shown == Markup(
        '<div class="text" dir="auto">Look:</div>'
        '<pre class="code"><span class="language">python</span><code>x = &#39;&lt;b&gt;&#39;</code></pre>'
        '<div class="text" dir="auto">and <code>y</code> is <strong>bold</strong>, 2 * 3 ** 4 ** 5 is not</div>'
        '<pre class="code"><code>open &lt;script&gt;</code></pre>'
    )


@pytest.mark.parametrize(("text", "tidy"), [('{"a":1}', '{\n  "a": 1\n}'), ("[1", None), ("1", None), ("[" * 100_000, None), ("", None)])
def test_json_is_indented_if_it_is_json(text: str, tidy: str | None) -> None:
    assert tidy_json(text) == tidy


@given(st.integers(0, 500), st.one_of(st.none(), st.text(max_size=12), st.integers(-10, 10**12).map(str)))
def test_a_window_is_always_inside_the_thread(length: int, wanted: str | None) -> None:
    window = window_of(length, wanted)
    assert 0 <= window.start <= window.stop <= length
    assert window.start < window.stop or not length
    assert window.later is None or window.later == window.stop < length
    assert window.earlier is None or window.earlier < window.start


@pytest.mark.parametrize(("value", "most"), [(0, 1), (0.03, 0.04), (1, 1), (1.01, 2), (3, 4), (4.5, 5), (51, 100), (100, 100), (7e8, 1e9)])
def test_an_axis_ends_at_a_round_number(value: float, most: float) -> None:
    assert ceiling(value) == pytest.approx(most)


def test_charts_are_pictures_in_which_nothing_is_taken_for_a_tag() -> None:
    days = days_between(date(2026, 2, 27), date(2026, 3, 2))
    series = {HOSTILE + "\ud800": {days[0]: 2.0, days[3]: 4.0}, "b": {days[0]: 1.0}}
    for draw, tag, count in ((bars, "rect", 3), (lines, "circle", 3)):
        picture = ElementTree.fromstring(draw(series, days, compact, title="t"))
        found = list(picture.iter(tag))
        assert len(found) == count
        assert "<script>" in "".join(title.text or "" for title in picture.iter("title"))
    tops = [float(rect.attrib["y"]) for rect in ElementTree.fromstring(bars(series, days, compact, title="t")).iter("rect")]
    assert tops[1] < tops[0]
    assert list(ElementTree.fromstring(bars({}, days[:1], compact, title="t")).iter("rect")) == []


def test_numbers_and_times_are_short() -> None:
    assert [compact(each) for each in (0, 0.5, 999, 1000, 12_345, 2_500_000, 3e10)] == ["0", "0.5", "999", "1.0k", "12k", "2.5M", "30G"]
    assert [seconds(each) for each in (0.0123, 1.44, 99.9, 150)] == ["12 ms", "1.4 s", "99.9 s", "2.5 min"]
    now = utc_now()
    steps = (timedelta(seconds=3), timedelta(seconds=42), timedelta(minutes=5), timedelta(hours=7), timedelta(days=9))
    assert [ago(now - step) for step in steps] == ["just now", "42s ago", "5 min ago", "7 h ago", "9 d ago"]
    assert ago(datetime(2020, 3, 9, tzinfo=UTC)) == "9 Mar 2020"
