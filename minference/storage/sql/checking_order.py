"""Check of the order of commits: each was made after all that its versions build on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.holdings import reference_columns
from minference.storage.sql.mapping import quoted


class _Source(NamedTuple):
    """Rows by which versions build on others."""

    rows: str
    """With the columns `owner`, `child` and `place`."""
    text: str
    """What to say of one; `{0}`, `{1}` and `{2}` are the ids of both versions and `place`."""


_APART = """
    FROM ({rows}) AS r JOIN entity_version o ON o.id = r.owner JOIN entity_version c ON c.id = r.child
    JOIN entity_commit a ON a.id = o.commit_id JOIN entity_commit b ON b.id = c.commit_id WHERE a.id <> b.id"""


def _sources() -> Iterator[_Source]:
    yield _Source(
        "SELECT owner_id AS owner, child_id AS child, 'cell ' || position || ' of run ' || run_id AS place FROM run_item",
        "{2}, which version {0} wrote, names version {1}",
    )
    yield _Source(
        "SELECT owner_id AS owner, child_id AS child, field AS place FROM entity_link", "version {0} refers to version {1} in '{2}'"
    )
    for table, column in reference_columns():
        child = quoted(column.name)
        rows = f"SELECT id AS owner, {child} AS child, '{column.name}' AS place FROM {quoted(table.name)} WHERE {child} IS NOT NULL"
        yield _Source(rows, f"version {{0}} refers to version {{1}} in {table.name}.{{2}}")
    yield _Source(
        "SELECT id AS owner, parent_id AS child, '' AS place FROM entity_version WHERE parent_id IS NOT NULL",
        "version {0} was made from version {1}",
    )
    yield _Source("SELECT version_id AS owner, merged_id AS child, '' AS place FROM entity_merge", "version {0} merged version {1}")
    yield _Source(
        """SELECT v.id AS owner, s.id AS child, '' AS place FROM entity_version v
           JOIN entity_version s ON s.parent_id = v.parent_id AND s.fork_no = v.fork_no - 1""",
        "version {0} is numbered as the next branch after version {1}",
    )


async def circles(fetch: Fetch) -> list[str]:
    """Where versions build on what was saved after them, and that on them in turn.

    Clocks may be wrong, so a row that leads to a later commit is only a hint; but in any circle there is one. If there is
    none at all, which is what one expects, no more is read.
    """
    hints = [(source, row) for source in _sources() for row in await _later(fetch, source)]
    if not hints:
        return []
    circular = _circular([link for source in _sources() for link in await _links(fetch, source)])
    return [
        f"{source.text.format(*ids)}, whose commit {later} builds on that of the first, {commit}: they build on each other in a circle"
        for source, (commit, later, *ids) in hints
        if commit in circular and later in circular
    ]


async def _later(fetch: Fetch, source: _Source) -> Rows:
    """The two commits, both versions and the place of rows that lead to no earlier commit."""
    select = "SELECT a.id, b.id, o.ecs_id, c.ecs_id, r.place" + _APART.format(rows=source.rows)
    return await fetch(f"{select} AND b.created_at >= a.created_at")


async def _links(fetch: Fetch, source: _Source) -> Rows:
    """Each commit with those that it builds on."""
    return await fetch("SELECT DISTINCT a.id, b.id" + _APART.format(rows=source.rows))


def _circular(links: Rows) -> set[int]:
    """Of pairs of a commit and one that it builds on, the commits that are in circles, and those between two circles."""
    after: dict[int, set[int]] = {}
    before: dict[int, set[int]] = {}
    for one, other in links:
        after.setdefault(one, set()).add(other)
        before.setdefault(other, set()).add(one)
    return _without_ends(after, before) & _without_ends(before, after)


def _without_ends(after: dict[int, set[int]], before: dict[int, set[int]]) -> set[int]:
    """What is left when those with nothing after them are taken away again and again."""
    left = {commit: len(following) for commit, following in after.items()}
    waiting = [commit for commit in before if commit not in left]
    while waiting:
        for commit in before.get(waiting.pop(), ()):
            left[commit] -= 1
            if not left[commit]:
                waiting.append(commit)
    return {commit for commit, count in left.items() if count}
