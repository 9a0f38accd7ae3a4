"""One conversation of 1,000 turns, kept by us and by LangGraph's checkpointers on both databases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from tests.benchmarks.floor import Database, PostgresqlDatabase, SqliteFile
from tests.benchmarks.peers import MISSING, Keeper, Kept, keep, langgraph_conversation, our_conversation, peers_are_installed
from tests.benchmarks.report import heading, line
from tests.support.postgres import running_postgres

LENGTHS = (10, 100, 1_000)

Opening = Callable[[str], AbstractAsyncContextManager[Keeper]]

OURS: dict[str, Opening] = {"minference": our_conversation}
PEERS: dict[str, Opening] = {
    "LangGraph, messages as documented": partial(langgraph_conversation, delta=False),
    "LangGraph, DeltaChannel (beta)": partial(langgraph_conversation, delta=True),
}


async def compare_with_peers(directory: Path) -> None:
    """Keep a conversation of 1,000 turns of 800 characters with each, and print a table for each database."""
    keepers = OURS | PEERS if peers_are_installed() else OURS
    heading("One conversation of 1,000 turns of 800 characters, every version kept, on SQLite")
    _show([await _keep(name, SqliteFile(directory / f"{number}.db"), opening) for number, (name, opening) in enumerate(keepers.items())])
    with running_postgres() as server:
        heading("The same on PostgreSQL")
        kept = []
        for number, (name, opening) in enumerate(keepers.items()):
            server.execute(f"CREATE DATABASE keeper_{number}")
            kept.append(await _keep(name, PostgresqlDatabase(server, f"keeper_{number}"), opening))
        _show(kept)
    if keepers is OURS:
        print(MISSING)


async def _keep(name: str, database: Database, opening: Opening) -> Kept:
    empty = 0 if isinstance(database, SqliteFile) else database.size()
    async with opening(database.url) as keeper:
        return await keep(name, keeper, LENGTHS, lambda: database.size() - empty)


def _show(kept: list[Kept]) -> None:
    turns = "".join(f"{f'turn {length + 1:,}':>12}" for length in LENGTHS)
    print(f"  {'':<34}{turns}{'database':>12}{'list all':>12}{'turn 500':>12}{'branch':>12}")
    for each in kept:
        times = (*each.turns.values(), each.listing, each.restoring, each.branching)
        cells = [f"{seconds * 1e3:,.1f} ms" for seconds in times]
        cells.insert(len(LENGTHS), f"{each.bytes / 1e6:,.1f} MB")
        print(f"  {each.name:<34}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    ours = kept[0]
    line("ours: whole database", f"{ours.bytes / 1e6:.1f} MB", "<= 3 MB")
    line("ours: restoring turn 500, the first time", f"{ours.first_restoring * 1e3:.1f} ms")
    line("ours: restoring turn 500", f"{ours.restoring * 1e3:.1f} ms", "<= 10 ms")
    line("ours: branching there", f"{ours.branching * 1e3:.1f} ms", "<= 2 ms")
