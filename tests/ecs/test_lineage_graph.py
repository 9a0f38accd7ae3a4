"""A lineage in few lines: what matters stands alone, the rest is told as stretches, and pictures say the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from minference.ecs.lineage import CommitInfo, LineageTree, VersionInfo, margin
from minference.ecs.lineage_graph import label, rows_of, rows_to_mermaid
from minference.ecs.lineage_svg import rows_to_svg

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def version(number: int, parent: int | None, note: str | None = None) -> VersionInfo:
    when = BEGIN + timedelta(minutes=number)
    above = UUID(int=parent) if parent is not None else None
    return VersionInfo(UUID(int=number), UUID(int=0), above, "t", when, CommitInfo(number, when, "ann", note))


def tree(*parents: int | None) -> LineageTree:
    """Versions 1, 2, ... made from these."""
    return LineageTree(version(number, parent) for number, parent in enumerate(parents, 1))


def drawn(lineage: LineageTree, **options: object) -> list[str]:
    """The rows, newest on top, with the numbers of their versions."""
    rows = rows_of(lineage, **options)  # type: ignore[arg-type]  # passed on
    return [
        f"{margin(row.depth, starts=row.starts)}{'-'.join(str(each.ecs_id.int) for each in (row.versions[0], *row.versions[1:][-1:]))}"
        for row in reversed(rows)
    ]


def test_a_line_is_its_newest_versions_a_stretch_and_its_first() -> None:
    assert drawn(tree(None, *range(1, 10_000)), newest=2) == ["10000", "9999", "2-9998", "1"]
    assert drawn(tree(None, 1, 2, 3), newest=None) == ["4", "3", "2", "1"]
    assert drawn(tree(None, 1, 2, 3), newest=0) == ["4", "2-3", "1"]
    assert drawn(tree(None), newest=0) == ["1"]
    assert drawn(tree()) == []


def test_a_single_version_between_others_is_shown_itself() -> None:
    assert drawn(tree(None, 1, 2), newest=0) == ["3", "2", "1"]


def test_named_versions_and_the_current_one_stand_alone() -> None:
    line = tree(None, *range(1, 20))
    assert drawn(line, newest=0, keep=[UUID(int=7)]) == ["20", "8-19", "7", "2-6", "1"]
    assert drawn(line, newest=0, current=UUID(int=10)) == ["20", "11-19", "10", "2-9", "1"]


def test_branches_stand_further_in_above_the_version_they_leave() -> None:
    branched = tree(None, 1, 2, 3, 4, 5, 2, 7, 8, 9)
    assert drawn(branched, newest=0) == ["6", "3-5", "│ 10", "│ 8-9", "├─7", "2", "1"]


def test_the_line_to_the_current_version_is_the_straight_one() -> None:
    branched = tree(None, 1, 2, 3, 4, 1, 6)
    assert drawn(branched, newest=0, current=UUID(int=7)) == ["7", "6", "│ 5", "│ 3-4", "├─2", "1"]
    assert drawn(branched, newest=0, current=UUID(int=5)) == ["5", "2-4", "│ 7", "├─6", "1"]


def test_many_branches_from_one_version_lie_above_each_other() -> None:
    assert drawn(tree(None, 1, 1, 1), newest=0, current=UUID(int=4)) == ["4", "├─3", "├─2", "1"]


def test_a_label_tells_who_when_and_why_or_how_many() -> None:
    lineage = LineageTree([version(1, None), *(version(number, number - 1, "x" * 500) for number in range(2, 6))])
    first, stretch, last = rows_of(lineage, newest=1)
    assert label(first, {UUID(int=1): "[main]"}) == "00000001  2026-01-01 00:01:00  ann  [main]"
    assert label(stretch, {}) == "… 3 versions, 2026-01-01 00:02:00 to 00:04:00 …"
    assert (len(label(last, {})), label(last, {})[-1]) == (120, "…")
    days = LineageTree([version(0, None), version(1, 0), version(2_000, 1), version(3_000, 2_000)])
    assert label(rows_of(days, newest=0)[1], {}) == "… 2 versions, 2026-01-01 00:01:00 to 2026-01-02 09:20:00 …"


def test_mermaid_shows_the_rows_and_escapes_everything() -> None:
    lineage = LineageTree([version(1, None, 'say "hi" [x]'), version(2, 1), version(3, 2), version(4, 3)])
    rows = rows_of(lineage, newest=0)
    graph = rows_to_mermaid(rows, {UUID(int=4): "[main]"}, {UUID(int=4): "history +1"})
    assert graph.splitlines() == [
        "flowchart TD",
        '    v0["00000001  2026-01-01 00:01:00  ann  say #34;hi#34; #91;x#93;"]',
        '    v1(["#8230; 2 versions, 2026-01-01 00:02:00 to 00:03:00 #8230;"])',
        '    v2["00000004  2026-01-01 00:04:00  ann  #91;main#93;"]',
        "    v0 --> v1",
        '    v1 -->|"history #43;1"| v2',
    ]


def test_the_picture_is_well_formed_and_escapes_everything() -> None:
    note = "<script>alert('x')</script> & \x1b\x00\ud83d ]]>"
    lineage = LineageTree([version(1, None, note), version(2, 1), version(3, 2), version(4, 3), version(5, 4), version(6, 1)])
    rows = rows_of(lineage, newest=0, current=UUID(int=6))
    picture = rows_to_svg(rows, {UUID(int=6): '"tag" <b>'}, title="<thread>", current=UUID(int=6))
    root = ET.fromstring(picture)
    assert root.findtext(f"{SVG}title") == "<thread>"
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts[0] == "00000001  2026-01-01 00:01:00  ann  <script>alert('x')</script> & ]]>"
    assert texts[-1] == '00000006  2026-01-01 00:06:00  ann  "tag" <b>'
    assert (len(list(root.iter(f"{SVG}circle"))), len(list(root.iter(f"{SVG}path")))) == (4, 4)
    assert len([each for each in root.iter(f"{SVG}path") if each.get("stroke-dasharray")]) == 2
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {"svg", "title", "style", "g", "path", "circle", "text"}
    assert "prefers-color-scheme: dark" in picture


TREES = st.lists(st.integers(0, 10_000), max_size=60).map(
    lambda choices: tree(None, *[choice % number + 1 for number, choice in enumerate(choices, 1)])
)


@given(lineage=TREES, newest=st.integers(0, 5), kept=st.sets(st.integers(1, 20), max_size=3), current=st.integers(0, 60))
def test_every_version_is_in_one_row_and_what_matters_is_alone(lineage: LineageTree, newest: int, kept: set[int], current: int) -> None:
    ids = [each.ecs_id for each in lineage.versions]
    named = ids[current % len(ids)]
    rows = rows_of(lineage, current=named, keep=[UUID(int=each) for each in kept], newest=newest)
    assert sorted(each.ecs_id.int for row in rows for each in row.versions) == sorted(each.int for each in ids)
    matters = {named, ids[0], *ids[len(ids) - newest :], *(head.ecs_id for head in lineage.heads), *(UUID(int=each) for each in kept)}
    matters |= {each for each in ids if len(lineage.children(each)) > 1}
    for index, row in enumerate(rows):
        first = row.versions[0]
        if row.above is None:
            assert first.parent_id is None
        else:
            assert row.above < index
            assert rows[row.above].versions[-1].ecs_id == first.parent_id
        if row.version is None:
            assert not matters.intersection(each.ecs_id for each in row.versions)
            assert not row.starts
            assert [each.parent_id for each in row.versions[1:]] == [each.ecs_id for each in row.versions[:-1]]
            assert row.above is not None
            assert rows[row.above].version is not None, "two stretches in a row would be one"
    assert next(row.depth for row in rows if row.version is not None and row.version.ecs_id == named) == 0
    ET.fromstring(rows_to_svg(rows, {}, title="t"))
