"""How commands print."""

from __future__ import annotations

import pytest

from minference.cli.tables import shared


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([8, 8, 19, 120], 96, [8, 8, 19, 61]),
        ([8, 120, 40, 120], 148, [8, 50, 40, 50]),
        ([8, 30, 40], 148, [8, 30, 40]),
        ([20, 90, 90], 30, [10, 10, 10]),
        ([8, 8, 19, 120], 10, [8, 8, 8, 8]),
        ([], 80, []),
    ],
)
def test_long_columns_share_what_short_ones_leave(wanted: list[int], room: int, given: list[int]) -> None:
    assert shared(wanted, room) == given
