"""Merging two orders that came from one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minference.ecs.merge_lists import Clash, MergedList, Strategy, merge_lists

LISTS = st.lists(st.integers(0, 9), unique=True)
STRATEGIES = st.sampled_from([None, "ours", "theirs", "append"])


def merged(base: str, ours: str, theirs: str, strategy: Strategy | None = None) -> str:
    found = merge_lists(base, ours, theirs, strategy)
    assert found.clashes == []
    return "".join(found.items)


def clashes(base: str, ours: str, theirs: str) -> list[tuple[int | None, str, str, str]]:
    found = merge_lists(base, ours, theirs).clashes
    return [(clash.place, "".join(clash.base), "".join(clash.ours), "".join(clash.theirs)) for clash in found]


def test_changes_in_different_places_are_both_made() -> None:
    assert merged("abcdef", "xabcdef", "abcdefy") == "xabcdefy"
    assert merged("abcdef", "abcef", "abycdef") == "abycef"
    assert merged("abcdef", "bacdef", "abcdefy") == "bacdefy"
    assert merged("abcdef", "abdef", "abcde") == "abde"


def test_the_same_change_on_both_sides_is_made_once() -> None:
    assert merged("abc", "abcx", "abcx") == "abcx"
    assert merged("abc", "xac", "xacy") == "xacy"


def test_additions_to_one_place_clash_and_are_named_there() -> None:
    assert clashes("ab", "abx", "aby") == [(2, "", "x", "y")]
    assert clashes("abcd", "axd", "ayd") == [(1, "bc", "x", "y")]
    assert clashes("abcd", "ab", "abcdx") == [(2, "cd", "", "cdx")]


def test_additions_after_one_item_clash_although_one_side_has_moved_what_follows() -> None:
    assert clashes("abc", "acxb", "abcy") == [(None, "abc", "acxb", "abcy")]
    assert clashes("abc", "axcb", "aybc") == [(None, "abc", "axcb", "aybc")]
    assert merged("abc", "acxb", "abcy", "append") == "acxby"
    assert merged("abc", "acb", "abcy") == "acby"


def test_two_different_orders_clash_as_a_whole() -> None:
    assert clashes("abc", "bac", "acb") == [(None, "abc", "bac", "acb")]
    assert clashes("abc", "bac", "ac") == [(None, "abc", "bac", "ac")]


def test_append_puts_their_additions_after_ours() -> None:
    assert merged("ab", "abxy", "abz", "append") == "abxyz"
    assert "".join(merge_lists("ab", "abxy", "abz", "append", theirs_first=True).items) == "abzxy"
    assert merged("abcd", "ab", "abcdz", "append") == "abz"
    assert merged("abc", "bacx", "acby", "append") == "bacxy"


def test_a_side_settles_what_clashes_and_nothing_else() -> None:
    assert merged("abc", "xabcy", "abzcw", "ours") == "xabzcy"
    assert merged("abc", "xabcy", "abzcw", "theirs") == "xabzcw"


@given(base=LISTS, other=LISTS, strategy=STRATEGIES)
def test_an_unchanged_side_gives_the_other(base: list[int], other: list[int], strategy: Strategy | None) -> None:
    assert merge_lists(base, base, other, strategy) == MergedList(other)
    assert merge_lists(base, other, base, strategy) == MergedList(other)
    assert merge_lists(base, other, other, strategy) == MergedList(other)


@given(base=LISTS, ours=LISTS, theirs=LISTS)
def test_clashes_are_the_same_from_both_sides(base: list[int], ours: list[int], theirs: list[int]) -> None:
    mirrored = [Clash(clash.place, clash.base, clash.theirs, clash.ours) for clash in merge_lists(base, theirs, ours).clashes]
    one = merge_lists(base, ours, theirs)
    assert sorted(one.clashes, key=repr) == sorted(mirrored, key=repr)
    if not one.clashes:
        assert one.items == merge_lists(base, theirs, ours).items


@given(base=LISTS, ours=LISTS, theirs=LISTS, strategy=STRATEGIES)
def test_nothing_is_there_twice_and_nothing_new_is_lost(
    base: list[int], ours: list[int], theirs: list[int], strategy: Strategy | None
) -> None:
    found = merge_lists(base, ours, theirs, strategy)
    assert len(set(found.items)) == len(found.items)
    assert set(found.items) >= set(base) & set(ours) & set(theirs)
    named = {item for clash in found.clashes for item in (*clash.ours, *clash.theirs)}
    if strategy in (None, "append"):
        assert set(found.items) | named >= (set(ours) | set(theirs)) - set(base)
    if not found.clashes and strategy in (None, "append"):
        assert set(found.items) & set(base) == set(base) & set(ours) & set(theirs)
    assert not found.clashes or strategy is None
