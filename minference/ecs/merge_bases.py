"""`merge_bases`: from where two versions differ, in a history with merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID


def merge_bases(one: UUID, other: UUID, before: Mapping[UUID, Sequence[UUID]]) -> list[UUID]:
    """The versions that both came from and that no other such version came from, in the order in which they are met from `other`.

    One, usually. Several, if branches were merged into each other; none, if they have nothing in common. What git calls the best
    common ancestors (git-merge-base(1)); each version is an ancestor of itself. Linear in the history.

    Args:
        before: What each version was made from, or merged.
    """
    known = set(_ancestors(one, before))
    common = [version for version in _ancestors(other, before) if version in known]
    older = {each for version in common for each in before.get(version, ())}
    return [version for version in common if version not in older]


def _ancestors(version: UUID, before: Mapping[UUID, Sequence[UUID]]) -> list[UUID]:
    found = {version: None}
    queue = [version]
    while queue:
        for each in before.get(queue.pop(), ()):
            if each not in found:
                found[each] = None
                queue.append(each)
    return list(found)
