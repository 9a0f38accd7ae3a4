"""Finishing what is under way: the result is never lost, and the task has always ended."""

from __future__ import annotations

import asyncio

import pytest

from minference.inference.drain import Finished, finish
from tests.support.virtual_time import run_virtually, virtual_now

ended: list[str] = []


async def work(seconds: float, error: Exception | None = None, cleaning: float = 0.0) -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        try:
            if cleaning:
                await asyncio.sleep(cleaning)
        finally:
            ended.append("ended")
    if error is not None:
        raise error
    return "result"


async def cancelled_at(
    moments: list[float], seconds: float, grace: float, error: Exception | None = None, cleaning: float = 0.0
) -> tuple[object, float]:
    """How `finish` ends if its caller is cancelled at these moments, and when."""
    ended.clear()
    task = asyncio.create_task(finish(work(seconds, error, cleaning), grace))
    for moment in moments:
        await asyncio.sleep(moment - virtual_now())
        task.cancel()
    await asyncio.wait([task])
    assert ended == ["ended"]
    return ("cancelled" if task.cancelled() else task.result()), virtual_now()


@pytest.mark.parametrize(
    ("moments", "ends"),
    [
        ([], (Finished("result", interrupted=False), 10.0)),
        ([4.0], (Finished("result", interrupted=True), 10.0)),
        ([1.0], ("cancelled", 7.0)),
        ([4.0, 5.0], ("cancelled", 5.0)),
    ],
    ids=["undisturbed", "within the grace", "after the grace", "cancelled again"],
)
def test_work_under_way_has_its_grace(moments: list[float], ends: tuple[object, float]) -> None:
    assert run_virtually(cancelled_at(moments, 10.0, 6.0)) == ends


@pytest.mark.parametrize(
    ("moments", "ends"),
    [([4.0, 5.0], 7.0), ([4.0, 5.0, 6.0], 6.0), ([4.0, 5.0, 6.0, 6.0, 6.5], 6.0)],
    ids=["while it waits", "while it cleans up", "ever again"],
)
def test_cancelled_work_has_ended_however_often_its_caller_is_cancelled(moments: list[float], ends: float) -> None:
    assert run_virtually(cancelled_at(moments, 10.0, 6.0, cleaning=2.0)) == ("cancelled", max(ends, moments[-1]))


def test_a_failure_during_the_grace_is_the_cancellation() -> None:
    assert run_virtually(cancelled_at([4.0], 10.0, 30.0, ValueError())) == ("cancelled", 10.0)


def test_a_failure_without_a_cancellation_is_raised() -> None:
    with pytest.raises(ValueError, match="broken"):
        run_virtually(finish(work(1.0, ValueError("broken")), 30.0))
