"""Measures on this machine, and prints what was measured beside its budget: all, or what is named on the command line."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.benchmarks.comparing import compare_with_peers
from tests.benchmarks.completing import measure_completions
from tests.benchmarks.filling import measure_memory
from tests.benchmarks.limiting import measure_limits
from tests.benchmarks.storing import measure_storage

Measure = Callable[[Path], Awaitable[None]]

MEASURES: dict[str, Measure] = {
    "storage": measure_storage,
    "completions": measure_completions,
    "limits": measure_limits,
    "memory": measure_memory,
    "peers": compare_with_peers,
}


def main(names: list[str]) -> int:
    """Take the named measures, one after the other; all, if none is named."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        print(f"no such measure: {', '.join(unknown)}; there are {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    logging.getLogger("minference").setLevel(logging.ERROR)
    for name in names or MEASURES:
        with tempfile.TemporaryDirectory(prefix="minference-bench-") as directory:
            asyncio.run(_take(MEASURES[name], Path(directory)))
    return 0


async def _take(measure: Measure, directory: Path) -> None:
    await measure(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
