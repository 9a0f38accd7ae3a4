"""Runs every benchmark on this machine and prints what was measured beside its budget."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.loading import cost_of_a_load, cost_of_listing
from tests.benchmarks.saving import TurnCost, cost_of_a_turn, cost_of_detection, throughput

LENGTHS = (10, 1_000, 10_000)


async def main() -> None:
    """Measure, one after the other."""
    with tempfile.TemporaryDirectory(prefix="minference-bench-") as name:
        directory = Path(name)
        print("One durable turn on SQLite (2 messages, usage, 2 outputs, thread), against the same rows with bare aiosqlite")
        _show_turns(await cost_of_a_turn(directory, LENGTHS))
        print("\nMany threads at once")
        many = await throughput(directory, 200)
        _line("200 threads together, durable", f"{many.together:,.0f} turns/s", ">= 2,000")
        _line("against one by one", f"{many.together / many.one_by_one:.1f}x", ">= 5x")
        print("\nFinding what changed in 1,000 messages")
        found = await cost_of_detection(1_000)
        _line("nothing changed", f"{found.nothing * 1e3:.3f} ms", "<= 0.3 ms")
        _line("one message in the middle changed", f"{found.one_edit * 1e3:.3f} ms", "")
        print("\nLoading")
        load = await cost_of_a_load(directory, 1_000)
        _line("cold load of 1,000 messages", f"{load.ours * 1e3:.1f} ms", "")
        _line("against bare SELECT and validation", f"{load.ours / (load.select + load.validation):.2f}x", "<= 3x")
        _line("listing 1,000 versions", f"{await cost_of_listing(directory, 1_000) * 1e3:.1f} ms", "<= 10 ms")


def _show_turns(turns: list[TurnCost]) -> None:
    print(f"  {'messages before':>15} {'ours':>10} {'aiosqlite':>10} {'sqlite3':>10} {'ratio':>7} {'bytes':>8}   rows")
    for turn in turns:
        ours, floor, one_thread = (f"{seconds * 1e3:>7.3f} ms" for seconds in (turn.ours, turn.floor, turn.one_thread))
        rows = sum(turn.written.per_turn().values())
        print(f"  {turn.length:>15,} {ours} {floor} {one_thread} {turn.ours / turn.floor:>6.2f}x {turn.bytes_per_turn:>8,.0f}   {rows:g}")
    first, middle, last = turns
    _line("ratio at 1,000 messages", f"{middle.ours / middle.floor:.2f}x", "<= 3x")
    _line("time at 10,000 messages against 10", f"{last.ours / first.ours:.2f}x", "<= 1.25x")
    _line("bytes at 10,000 messages against 10", f"{last.bytes_per_turn / first.bytes_per_turn:.2f}x", "<= 1.1x")
    print("  rows per turn: " + ", ".join(f"{table} {count:g}" for table, count in last.written.per_turn().items()))


def _line(what: str, measured: str, budget: str) -> None:
    print(f"  {what:<40} {measured:>16}   {budget and 'budget ' + budget}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
