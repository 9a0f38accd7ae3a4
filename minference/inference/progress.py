"""Progress: what an orchestrator tells while it works, and a progress bar that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minference.inference.outcomes import Completed, Failed
from minference.threads.messages import Usage
from minference.threads.thread import ChatThread

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

    from minference.inference.pace import Pace


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A call with this many threads begins."""

    threads: int | None
    """`None` if nobody knows yet."""


@dataclass(frozen=True, slots=True)
class ThreadStarted:
    """One of its threads begins."""

    thread: ChatThread


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """A reply was saved, and used these tokens; nothing of that now if `usage.from_cache`."""

    thread: ChatThread
    usage: Usage


@dataclass(frozen=True, slots=True)
class ThreadCompleted:
    """One of its threads has its answer."""

    outcome: Completed


@dataclass(frozen=True, slots=True)
class ThreadFailed:
    """One of its threads could not go on."""

    outcome: Failed


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The call is over, also by an error or a cancellation."""


ProgressEvent = RunStarted | ThreadStarted | TokensUsed | ThreadCompleted | ThreadFailed | RunEnded
Progress = Callable[[ProgressEvent], None]
"""Is called for every event, in the event loop: it must return at once. What it raises ends the run like a bug."""


class RichProgress:
    """A bar on standard error: threads done, rate, tokens, failures, time left. Silent if that is no terminal.

    `InferenceOrchestrator(progress=RichProgress())`. Counts go on over several calls at once.
    """

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console
        self._bar: RichBar | None = None
        self._pace: Pace | None = None
        self._task: TaskID | None = None
        self._runs = self._total = self._done = self._failed = self._tokens = 0
        self._cost = 0.0
        self._uncounted = 0
        """Runs of which nobody knows how many threads they have."""

    def __call__(self, event: ProgressEvent) -> None:
        """Count the event and show the counts."""
        match event:
            case RunStarted(threads):
                self._runs += 1
                self._total += threads or 0
                self._uncounted += threads is None
                self._open()
            case TokensUsed(usage=usage):
                self._tokens += 0 if usage.from_cache else usage.total_tokens
                self._cost += usage.cost_usd or 0.0
            case ThreadCompleted():
                self._done += 1
            case ThreadFailed():
                self._done += 1
                self._failed += 1
            case ThreadStarted():
                pass
            case RunEnded():
                self._runs -= 1
        self._show()
        if isinstance(event, RunEnded) and self._runs == 0:
            self._close()

    def _open(self) -> None:
        if self._bar is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        from minference.inference.pace import Pace, PaceColumn, TimeLeftColumn

        console = self._console or Console(stderr=True)
        if not console.is_terminal:
            return
        self._pace = pace = Pace()
        counts = BarColumn(), MofNCompleteColumn(), PaceColumn(pace), TextColumn("{task.fields[facts]}")
        columns = (*counts, TimeElapsedColumn(), TimeLeftColumn(pace))
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task("threads", total=self._all(), facts="")
        self._bar.start()

    def _show(self) -> None:
        if self._bar is None or self._task is None or self._pace is None:
            return
        self._pace.note(self._done)
        facts = [f"{self._tokens:,} tokens"]
        facts += [f"${self._cost:,.2f}"] if self._cost else []
        facts += [f"[red]{self._failed} failed[/red]"] if self._failed else []
        self._bar.update(self._task, total=self._all(), completed=self._done, facts=" · ".join(facts))

    def _all(self) -> int | None:
        return None if self._uncounted else self._total

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = self._pace = None
        self._total = self._done = self._failed = self._tokens = self._uncounted = 0
        self._cost = 0.0
