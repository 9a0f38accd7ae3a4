"""While threads run, the garbage collector looks less often at what stays alive; afterwards it does as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from tests.inference.helpers import thread

USUAL = (700, 11, 12)


@pytest.fixture(autouse=True)
def as_usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


async def seen_by_a_call(storage: EntityStorage, *, then: tuple[int, int, int] | None = None) -> list[tuple[int, int, int]]:
    seen = []

    async def answer(_: object) -> str:
        seen.append(gc.get_threshold())
        if then is not None:
            gc.set_threshold(*then)
        return "Yes."

    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(answer)}) as orchestrator:
        await orchestrator.run([thread("Is it?")])
    return seen


async def test_it_waits_longer_while_threads_run_and_no_longer_after(memory: EntityStorage) -> None:
    assert await seen_by_a_call(memory) == [(50_000, 11, 12)]
    assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("own", [(90_000, 5, 5), (0, 10, 10)], ids=["less often still", "never"])
async def test_what_the_program_chose_stays(memory: EntityStorage, own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    assert await seen_by_a_call(memory) == [own]
    assert gc.get_threshold() == own


async def test_what_the_program_chooses_meanwhile_stays(memory: EntityStorage) -> None:
    await seen_by_a_call(memory, then=(1_000, 3, 3))
    assert gc.get_threshold() == (1_000, 3, 3)


async def test_the_last_of_several_runs_puts_it_back(memory: EntityStorage) -> None:
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(lambda _: "Yes.")}) as orchestrator:
        first = orchestrator.as_completed([thread("One?"), thread("Two?")])
        await anext(first)
        await orchestrator.run([thread("Three?")])
        assert gc.get_threshold() == (50_000, 11, 12)
        await first.aclose()
    assert gc.get_threshold() == USUAL
