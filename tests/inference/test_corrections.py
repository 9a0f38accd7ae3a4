"""What replies teach of how many tokens a request has: an overhead from small ones, a factor from large ones, and no nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.inference.corrections import LEAST_FACTOR, LEAST_OVERHEAD, LEAST_PART, MOST_FACTOR, Correction, Told, correction
from minference.inference.tokens import TokenEstimates, estimate_tokens

plains = st.floats(10, 100_000)
replies = st.builds(Told, plains, st.integers(1, 10**9))


def told(*replies: tuple[float, int]) -> Correction:
    """The correction by replies to requests that were estimated and counted so."""
    return correction([Told(plain, real) for plain, real in replies])


def test_nothing_told_corrects_nothing() -> None:
    assert correction([]) == Correction(overhead=0.0, factor=1.0)
    assert Correction().of(12.25) == 13


@given(plains, st.floats(LEAST_FACTOR, 3), st.integers(0, 5_000), st.integers(3, 9))
def test_three_replies_of_one_kind_make_its_estimate_exact(plain: float, factor: float, overhead: int, count: int) -> None:
    real = round(factor * plain + 0.5) + overhead
    assert told(*[(plain, real)] * count).of(plain) == real


@given(plains, st.floats(LEAST_FACTOR, 3), replies, st.integers(0, 4))
def test_a_reply_that_is_unlike_four_others_changes_nothing_for_their_kind(plain: float, factor: float, odd: Told, at: int) -> None:
    real = round(factor * plain + 0.5)
    seen = [Told(plain, real)] * 4
    seen.insert(at, odd)
    assert correction(seen).of(plain) == real


@given(st.lists(replies, min_size=1, max_size=9), plains)
def test_a_correction_is_possible_whatever_was_told(seen: list[Told], plain: float) -> None:
    found = correction(seen)
    assert LEAST_FACTOR <= found.factor <= MOST_FACTOR
    assert LEAST_OVERHEAD <= found.overhead <= max(each.real for each in seen)
    assert found.of(plain) >= max(LEAST_PART * plain, LEAST_FACTOR * plain + LEAST_OVERHEAD)


def test_what_is_added_to_a_small_request_is_not_multiplied_by_the_length_of_a_document() -> None:
    for replies in range(1, 10):
        assert 14_000 <= told(*[(100, 446)] * replies).of(14_000) <= 14_000 + 346 + 40 * replies


def test_a_large_request_tells_of_the_factor_and_little_of_the_overhead() -> None:
    found = told(*[(14_000, 21_000)] * 3)
    assert found.factor == pytest.approx(1.5, abs=0.06)
    assert 0 < found.overhead < 700


def test_small_and_large_requests_together_tell_both() -> None:
    found = told(*[(plain, round(1.5 * plain + 346)) for plain in (50, 14_000, 80, 9_000, 60)])
    assert found.factor == pytest.approx(1.5, abs=0.03)
    assert found.overhead == pytest.approx(346, abs=10)


def test_a_first_reply_with_a_count_that_no_text_explains_is_not_believed_yet() -> None:
    assert told((40, 30_000)).of(40) == 41
    assert told((40, 30_000)).of(14_000) < 14_100
    assert told((40, 30_000), (40, 45)).of(40) < 50


def test_each_model_has_a_correction_of_its_own_made_from_its_last_replies() -> None:
    body, estimates = "ä".encode() * 200, TokenEstimates()
    assert estimate_tokens(body) == estimates.estimate("c", "m", body) == 100
    for tokens in [150] * 5 + [120] * 9:
        estimates.learn("c", "m", body, tokens)
    assert estimates.estimate("c", "m", body) == 120
    assert estimates.estimate("c", "other", body) == estimates.estimate("other", "m", body) == 100


@pytest.mark.parametrize("tokens", [0, -5])
def test_who_counted_nothing_has_told_nothing(tokens: int) -> None:
    body, estimates = b"x" * 400, TokenEstimates()
    for _ in range(5):
        estimates.learn("c", "m", body, tokens)
    assert estimates.estimate("c", "m", body) == 100


def test_a_number_without_end_is_taken_for_a_large_one() -> None:
    body, estimates = b"x" * 400, TokenEstimates()
    for _ in range(3):
        estimates.learn("c", "m", body, 10**400)
    assert estimates.estimate("c", "m", body) == 10**9
