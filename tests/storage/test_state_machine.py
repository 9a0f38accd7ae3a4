"""Random work on random graphs, against a model: a dictionary of what each version ever committed must be restored as.

Runs short by default, and shows what failed as it was found. `make thorough` takes more than 10,000 steps on each storage, tells
what they were, and shrinks a failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.storage.machine import NewUrl
from tests.storage.machine_work import WorkMachine
from tests.support.examples import THOROUGH, examples
from tests.support.postgres import Postgres
from tests.support.sqlite import with_tables


@contextmanager
def _the_same(url: str) -> Iterator[str]:
    yield url


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """A new place for each example: copies of a database that has its tables."""
    if request.param == "memory":
        return lambda: _the_same("memory:")
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        template: str = request.getfixturevalue("postgresql_template")
        return lambda: server.database(template)
    copies = count()

    @contextmanager
    def copy() -> Iterator[str]:
        file = tmp_path / f"{next(copies)}.db"
        yield with_tables(file)
        file.unlink()

    return copy


BUDGETS = {"memory": (examples(20, 300), 40), "sqlite": (examples(6, 360), 30), "postgresql": (examples(3, 360), 30)}
"""Examples, and the most steps in each."""


def test_what_is_saved_is_restored_exactly_whatever_happens(
    new_url: NewUrl, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = request.node.callspec.params["new_url"]
    number, steps = BUDGETS[kind]
    budget = settings(
        max_examples=number,
        phases=set(Phase) if THOROUGH else set(Phase) - {Phase.shrink, Phase.explain},
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    caplog.set_level(logging.CRITICAL, "minference.storage")
    tally: Counter[str] = Counter()
    with asyncio.Runner() as runner:
        run_state_machine_as_test(partial(WorkMachine, runner, new_url, tally), settings=budget)  # type: ignore[arg-type]  # any factory will do
    if THOROUGH:
        with capsys.disabled():
            print(f"\n{kind}: " + ", ".join(f"{number:,} {what}" for what, number in tally.most_common()))
