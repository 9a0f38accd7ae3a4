"""`minference db ...`: the database as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from minference.cli.database import existing, require_file
from minference.cli.output import counted, print_json, stderr, stdout
from minference.cli.own_modules import import_own
from minference.cli.tables import table
from minference.cli.working import working
from minference.ecs.diff_render import printable
from minference.ecs.lineage import StorageStatus
from minference.storage.checks import DatabaseSize, Finding
from minference.storage.open import open_storage

UNSOUND = 3
"""The exit code for a database in which something is wrong."""


def check(database: str, modules: Sequence[str], as_json: bool) -> int:
    """Print everything that is wrong in the database, and what could not be checked; returns the exit code.

    Raises:
        ConfigurationError: A module cannot be imported.
        StorageError: The database cannot be used.
    """
    for module in modules:
        import_own(module)
    findings = asyncio.run(_check(database))
    faults = [finding for finding in findings if finding.fault]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print_findings(faults, [finding for finding in findings if not finding.fault])
    if faults:
        stderr().print(f"{counted(len(faults), 'finding')}: {_advice(faults)}", soft_wrap=True)
    return UNSOUND if faults else 0


def _print_findings(faults: Sequence[Finding], notes: Sequence[Finding]) -> None:
    if faults:
        stdout().print(table(["rule", "what is wrong"], [(finding.rule, finding.text) for finding in faults]), soft_wrap=True)
    else:
        stdout().print("all is well")
    for note in notes:
        stdout().print(f"note: {printable(note.text)}", soft_wrap=True)
    if notes:
        stderr().print("such a module is named with --import MODULE")


def _advice(faults: Sequence[Finding]) -> str:
    if {finding.rule for finding in faults} == {"guards"}:
        return "`minference db upgrade` sets up the triggers"
    return "restore a backup, or export what can be loaded (`minference threads export THREAD`, or --everything instead of a thread)"


def stats(database: str, as_json: bool) -> None:
    """Print how much the database holds."""
    status, size = asyncio.run(_stats(database))
    if as_json:
        print_json(
            {
                "url": status.url,
                "bytes": size.bytes,
                "kinds": {name: {"versions": each.versions, "lineages": each.lineages} for name, each in status.kinds.items()},
                "tables": {name: {"rows": each.rows, "bytes": each.bytes} for name, each in size.tables.items()},
            }
        )
        return
    stdout().print(f"{status.url}: {size.bytes:,} bytes, {status.versions:,} versions of {status.lineages:,} objects\n")
    stdout().print(
        table(["kind", "objects", "versions"], [(name, f"{k.lineages:,}", f"{k.versions:,}") for name, k in status.kinds.items()])
    )
    stdout().print()
    rows = [(name, f"{each.rows:,}", "" if each.bytes is None else f"{each.bytes:,}") for name, each in size.tables.items() if each.rows]
    stdout().print(table(["table", "rows", "bytes"], rows), soft_wrap=True)


def upgrade(database: str) -> None:
    """Open the database so that its tables are those of this minference."""
    asyncio.run(_upgrade(database))


async def _upgrade(database: str) -> None:
    async with open_storage(require_file(database)) as storage:  # of a database without tables too: this is how one makes them
        stdout().print(f"{storage.url} is up to date", soft_wrap=True)


async def _check(database: str) -> list[Finding]:
    async with existing(database) as storage:
        with working("checking"):
            return await storage.check()


async def _stats(database: str) -> tuple[StorageStatus, DatabaseSize]:
    async with existing(database) as storage:
        with working("counting"):
            return await storage.status(), await storage.size()
