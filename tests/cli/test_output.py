"""How commands print."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from rich.text import Text

from minference.cli.output import print_json
from minference.cli.tables import Table, shared, table


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


def printed(made: Table, width: int) -> list[str]:
    """What a terminal so wide is sent, line by line."""
    console = Console(width=width, file=io.StringIO(), markup=False, emoji=False)
    console.print(made, soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_row_is_one_line_whatever_its_cells_hold() -> None:
    hostile = "a\nb\tc\r\x1b[2Jd\u202ee\u200ff\x9bg\u2028h"
    [heading, row] = printed(table(["name", "n"], [(hostile, "1")]), 200)
    assert row == "a\\nb\\tc\\r\\x1b[2Jd\\u202ee\\u200ff\\x9bg\\u2028h  1"
    assert heading == f"name{' ' * (len(row) - 5)}n"


def test_wide_characters_and_styled_cells_keep_their_columns() -> None:
    rows: list[tuple[str | Text, ...]] = [("日本", Text("ok", style="green"), "x" * 30), ("a", "", "y"), ("é", Text(""), "")]
    assert printed(table(["name", "", "text"], rows), 40) == [
        "name      text",
        f"日本  ok  {'x' * 30}",
        "a         y",
        "é",
    ]


def test_cells_are_cut_only_where_the_terminal_is_too_narrow() -> None:
    made = table(["version", "time", "text"], [("0123abcd", "2026-11-28 08:21:06", "history + user 'Why is the sky blue?'")])
    assert printed(made, 200)[1] == "0123abcd  2026-11-28 08:21:06  history + user 'Why is the sky blue?'"
    assert printed(made, 54)[1] == "0123abcd  2026-11-28 08:21:06  history + user 'Why is…"
    assert printed(made, 40)[1] == "0123abcd  2026-11-28 08…  history + use…"
    assert printed(made, 10)[1] == "0123abcd  2026-11…  history…"


def test_a_part_of_a_long_table_has_the_columns_of_the_whole() -> None:
    rows = [("a", "1"), ("long name", "2"), ("b", "3")]
    whole = table(["name", "n"], rows)
    lines = printed(Table(whole.headings, whole.rows[:1], whole.wanted()), 80)
    lines += printed(Table(whole.headings, whole.rows[1:], whole.wanted(), headed=False), 80)
    assert lines == printed(whole, 80)


def test_json_steers_no_terminal_and_stays_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "a\x1b[2J\x9b31m\x7f\u202e\u200f\u2028 日本 é \U0001f600"}
    print_json(data)
    printed = capsys.readouterr().out
    assert json.loads(printed) == data
    assert [char for char in printed if not char.isprintable() and char != "\n"] == []
    assert "日本 é \U0001f600" in printed
