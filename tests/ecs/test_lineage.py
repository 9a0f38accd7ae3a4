"""A lineage is a tree: heads, ancestors, where two versions part, and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.ecs.lineage import CommitInfo, LineageTree, VersionInfo, short_id

LINEAGE = UUID(int=99)
START = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)


def tree(*parents: int | None, author: str | None = None, note: str | None = None) -> LineageTree:
    """Version i was made from version `parents[i]`."""
    return LineageTree(
        VersionInfo(
            UUID(int=number + 1),
            LINEAGE,
            None if parent is None else UUID(int=parent + 1),
            "thing",
            START + timedelta(seconds=number),
            CommitInfo(number, START, author, note),
        )
        for number, parent in enumerate(parents)
    )


def numbers(versions: Sequence[VersionInfo]) -> list[int]:
    return [version.ecs_id.int - 1 for version in versions]


def test_heads_are_the_versions_that_nothing_was_made_from() -> None:
    forked = tree(None, 0, 1, 1, 2)
    assert numbers(forked.heads) == [3, 4]
    assert numbers(forked.roots) == [0]
    assert numbers(forked.ancestors(UUID(int=5))) == [2, 1, 0]
    assert numbers(forked.children(UUID(int=2))) == [2, 3]


def test_the_common_ancestor_is_the_newest_version_that_both_came_from() -> None:
    forked = tree(None, 0, 1, 1, 2)
    ids = [version.ecs_id for version in forked.versions]
    assert forked.common_ancestor(ids[3], ids[4]) == forked[ids[1]]
    assert forked.common_ancestor(ids[2], ids[4]) == forked[ids[2]]
    assert forked.common_ancestor(ids[2], ids[2]) == forked[ids[2]]
    assert tree(None, None).common_ancestor(ids[0], ids[1]) is None


def test_the_main_line_follows_the_side_with_more_versions_and_else_the_older() -> None:
    assert numbers(tree(None, 0, 0, 2, 3).main_line) == [0, 2, 3, 4]
    assert numbers(tree(None, 0, 0).main_line) == [0, 1]
    assert tree().main_line == []


def test_the_tip_is_where_the_main_line_goes_on_from_a_version() -> None:
    forked = tree(None, 0, 0, 1, 3, 2)
    assert numbers([forked.tip(version.ecs_id) for version in forked.versions]) == [4, 4, 5, 4, 4, 5]


def test_a_version_of_which_the_parent_is_not_at_hand_is_a_root() -> None:
    assert numbers(tree(7, 0).roots) == [0]


def test_a_strange_version_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match="is not among the 1 versions of this lineage"):
        tree(None).ancestors(UUID(int=55))


def test_the_picture_has_side_branches_indented_below_the_version_they_leave() -> None:
    drawn = tree(None, 0, 1, 1, 2, author="ada", note="try\n it").render(marks=[UUID(int=5)])
    assert drawn.splitlines() == [
        "○ 00000001  2026-11-21 05:00:00  ada  try it",
        "○ 00000002  2026-11-21 05:00:01  ada  try it",
        "├─○ 00000004  2026-11-21 05:00:03  ada  try it  (head)",
        "○ 00000003  2026-11-21 05:00:02  ada  try it",
        "● 00000005  2026-11-21 05:00:04  ada  try it  (head)",
    ]


def test_mermaid_escapes_what_would_be_syntax() -> None:
    assert tree(None, 0, author='"]; click', note="<b>").mermaid().splitlines() == [
        "flowchart TD",
        '    v0["00000001  2026-11-21 05:00:00  #34;#93;#59; click  #60;b#62;"]',
        '    v1["00000002  2026-11-21 05:00:01  #34;#93;#59; click  #60;b#62;"]',
        "    v0 --> v1",
    ]


@pytest.mark.parametrize("shape", ["line", "comb", "star"])
def test_ten_thousand_versions_of_any_shape_are_drawn(shape: str) -> None:
    size = 10_000
    parents: dict[str, list[int | None]] = {
        "line": [None, *range(size - 1)],
        "comb": [None, *(number - 1 if number % 2 else max(number - 2, 0) for number in range(1, size))],
        "star": [None, *([0] * (size - 1))],
    }
    drawn = tree(*parents[shape])
    lines = drawn.render().splitlines()
    assert len(lines) == size
    assert max(line.find("○") for line in lines) <= 4
    assert len(drawn.mermaid().splitlines()) == 2 * size
    assert len(drawn.ancestors(drawn.versions[-1].ecs_id)) >= 1


@given(st.lists(st.integers(0, 30), max_size=30))
def test_every_version_is_drawn_once_and_the_common_ancestor_is_the_deepest(choices: list[int]) -> None:
    parents: list[int | None] = [None, *(min(choice, number) for number, choice in enumerate(choices))]
    made = tree(*parents)
    assert sorted(line.lstrip("│├─ ○").split()[0] for line in made.render().splitlines()) == sorted(
        short_id(v.ecs_id) for v in made.versions
    )
    lines = {v.ecs_id: [v, *made.ancestors(v.ecs_id)] for v in made.versions}
    for one in made.versions:
        for other in made.versions:
            assert made.common_ancestor(one.ecs_id, other.ecs_id) == next(v for v in lines[one.ecs_id] if v in lines[other.ecs_id])
