"""`kill -9` at every point of a turn: `resume` ends with what an undisturbed run has."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from minference.errors import ToolInterrupted
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from tests.inference.helpers import completed, said
from tests.inference.kill_child import KINDS, POINTS, PRICES, Provider, World, tool_of
from tests.support.nursery import run_program

ASKED_AGAIN = {"during call 1": 1, "between reply 1 and its commit": 1, "between reply 2 and its commit": 2}
"""Points at which a request has left and its answer is saved nowhere: the call that must be made again."""
ACTED_AGAIN = {"between the tool and its result", "between the result and its commit"}
"""Points at which the tool has acted and its result is saved nowhere."""
MAY_HAVE_ACTED = {"before the tool", *ACTED_AGAIN}

UNDISTURBED = [("user", "Do it."), ("assistant", ""), ("tool", "done."), ("assistant", "The tool says done.")]
INTERRUPTED = [("user", "Do it."), ("assistant", ""), ("tool", str(ToolInterrupted("act"))), ("assistant", "Somebody should look.")]


async def test_killed_at_any_point_a_run_goes_on_and_repeats_nothing_that_is_saved(sql_url: str, tmp_path: Path) -> None:
    children = await asyncio.to_thread(run_program, "tests.inference.kill_child", sql_url, str(tmp_path), cwd=tmp_path, timeout=120)
    assert children.stdout.split() == [str(int(signal.SIGKILL))] * len(KINDS) * len(POINTS)
    async with open_storage(sql_url) as storage:
        for kind in KINDS:
            for point in POINTS:
                name = f"{kind}, {point}"
                world = World(tmp_path, name, None)
                tool_of(world, kind)
                async with InferenceOrchestrator(storage, clients={"scripted": Provider(world)}, prices=PRICES) as orchestrator:
                    [outcome] = [outcome async for outcome in orchestrator.resume(name)]
                    assert [_ async for _ in orchestrator.resume(name)] == []
                told = kind == "once" and point in MAY_HAVE_ACTED
                assert said(completed(outcome).thread) == (INTERRUPTED if told else UNDISTURBED), name
                asked = (world.noted("asked 1"), world.noted("asked 2"))
                assert asked == (1 + (ASKED_AGAIN.get(point) == 1), 1 + (ASKED_AGAIN.get(point) == 2)), name
                acted = 0 if told and point == "before the tool" else 1 + (kind == "repeatable" and point in ACTED_AGAIN)
                assert world.noted("acted") == acted, name
                run = await storage.runs().get(name)
                assert run.counts == {EntryState.done: 1}
                used = [message.usage for message in completed(outcome).thread.history if message.usage is not None]
                assert (run.replies, run.tokens) == (2, sum(usage.total_tokens for usage in used)), name
                assert run.cost_usd == pytest.approx(sum(usage.cost_usd or 0.0 for usage in used)), name
                assert len(await storage.heads(outcome.thread_id)) == 1, name
        assert await storage.check() == []
