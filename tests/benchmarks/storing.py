"""What storage costs, on both databases: turns, many threads at once, finding changes, loading, listing."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.floor import Database, PostgresqlDatabase, SqliteFile, seconds_to_be_durable
from tests.benchmarks.loading import cost_of_a_load, cost_of_listing
from tests.benchmarks.report import heading, line
from tests.benchmarks.saving import TurnCost, cost_of_a_turn, cost_of_detection, throughput
from tests.support.postgres import Postgres, running_postgres

LENGTHS = (10, 100, 1_000, 10_000)
WORK = "One durable turn (2 messages, usage, 2 outputs, thread)"


async def measure_storage(directory: Path) -> None:
    """Measure everything that DESIGN section 9 says of storage."""
    heading(f"{WORK} on SQLite, against the same rows with bare aiosqlite")
    _show_turns(await cost_of_a_turn(lambda length: SqliteFile(directory / f"turns_{length}.db"), LENGTHS), "<= 3x")
    await _show_throughput("SQLite", SqliteFile(directory / "many.db"))
    line("one page made durable by this disk", f"{seconds_to_be_durable(directory) * 1e3:.2f} ms")
    with running_postgres() as server:
        heading(f"{WORK} on PostgreSQL, against the same rows with bare asyncpg")
        _show_turns(await cost_of_a_turn(lambda length: _database(server, f"turns_{length}"), LENGTHS), "")
        await _show_throughput("PostgreSQL", _database(server, "many"))
    heading("Finding what changed in 1,000 messages")
    found = await cost_of_detection(1_000)
    line("nothing changed", f"{found.nothing * 1e3:.3f} ms", "<= 0.3 ms")
    line("one message in the middle changed", f"{found.one_edit * 1e3:.3f} ms")
    heading("Loading from SQLite")
    load = await cost_of_a_load(directory, 1_000)
    line("cold load of 1,000 messages", f"{load.ours * 1e3:.1f} ms")
    line("against bare SELECT and validation", f"{load.ours / (load.select + load.validation):.2f}x", "<= 3x")
    line("listing 1,000 versions", f"{await cost_of_listing(directory, 1_000) * 1e3:.1f} ms", "<= 10 ms")


def _database(server: Postgres, name: str) -> Database:
    server.execute(f"CREATE DATABASE {name}")
    return PostgresqlDatabase(server, name)


async def _show_throughput(name: str, database: Database) -> None:
    many = await throughput(database, 200)
    budgets = (">= 0.12x", ">= 5x") if name == "SQLite" else ("", "")
    line(f"200 threads together on {name}, durable", f"{many.together:,.0f} turns/s")
    # 2,000 a second where the bare driver writes 17,000.
    line("against the bare driver in one transaction", f"{many.together / many.bare_together:.2f}x", budgets[0])
    line("against one by one", f"{many.together / many.one_by_one:.1f}x", budgets[1])


def _show_turns(turns: list[TurnCost], budget: str) -> None:
    print(f"  {'messages before':>15} {'ours':>10} {'bare driver':>12} {'ratio':>7} {'bytes':>8}   rows")
    for turn in turns:
        rows = sum(turn.written.per_turn().values())
        times = f"{turn.ours * 1e3:>7.3f} ms {turn.floor * 1e3:>9.3f} ms"
        print(f"  {turn.length:>15,} {times} {turn.ours / turn.floor:>6.2f}x {turn.bytes_per_turn:>8,.0f}   {rows:g}")
    first, middle, last = turns[0], turns[-2], turns[-1]
    line("ratio at 1,000 messages", f"{middle.ours / middle.floor:.2f}x", budget)
    line("time at 10,000 messages against 10", f"{last.ours / first.ours:.2f}x", "<= 1.25x")
    line("bytes at 10,000 messages against 10", f"{last.bytes_per_turn / first.bytes_per_turn:.2f}x", "<= 1.1x")
    print("  rows per turn: " + ", ".join(f"{table} {count:g}" for table, count in last.written.per_turn().items()))
