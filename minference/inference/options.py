"""What one call of the orchestrator can be told, beside its threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from pydantic import JsonValue

from minference.errors import UnknownChoice, UnknownOption, WrongArgument
from minference.inference.budgets import Budget
from minference.inference.deadlines import Deadline
from minference.inference.thread_run import Setup, Until
from minference.threads.thread import ChatThread


class RunOptions(TypedDict, total=False):
    """Keyword arguments of `run`, `as_completed`, `run_workflow` and `stream`; each may be left out."""

    until: Until
    """When a thread has gone far enough. By default when it is done."""
    max_turns: int
    """Replies per thread, re-asks for a valid structured output not counted. By default 10."""
    deadline: float | None
    """Seconds for the whole call. Threads that are not done by then are `Failed(DeadlineExceeded)`; a reply that is on its way
    still has the orchestrator's `drain_seconds`, and is saved. From an iterable without a length no more is taken then."""
    thread_deadline: float | None
    """The same for each thread, from its beginning: for all of its calls, retries, pauses and tools."""

    budget: Budget | None
    """What may be spent; one object can be given to several calls. Threads that cannot go on are `Failed(BudgetExceeded)`."""

    cache: bool
    """Whether the response cache of the orchestrator is used, if it has one. `False` asks anew, and keeps nothing."""

    about: Mapping[str, JsonValue]
    """What else a named run is to remember, for people and programs that look at it."""


def setup_with(setup: Setup, options: RunOptions, *others: str) -> Setup:
    """The setup as the options want it. The method takes these other keyword arguments as well.

    Raises:
        UnknownOption: One is misspelled.
        WrongArgument: One is of a type that it does not take.
        ValueError: A number is not positive.
        UnknownChoice: `until` is none of its words, and no function.
    """
    check_options(options, *others)
    seconds, each = options.get("deadline"), options.get("thread_deadline")
    return replace(
        setup,
        line=replace(setup.line, budget=options.get("budget"), cache=setup.line.cache if options.get("cache", True) else None),
        until=options.get("until", "done"),
        max_turns=options.get("max_turns", 10),
        deadline=Deadline.after(seconds, "run") if seconds is not None else None,
        thread_seconds=each,
    )


def check_options(options: RunOptions, *others: str) -> None:
    """Return if threads can be run so. The method takes these other keyword arguments as well.

    Raises:
        UnknownOption: One is misspelled.
        WrongArgument: One is of a type that it does not take.
        ValueError: A number is not positive.
        UnknownChoice: `until` is none of its words, and no function.
    """
    refuse_unknown(options, RunOptions, *others)
    if (budget := options.get("budget")) is not None and not isinstance(budget, Budget):
        raise WrongArgument("budget", budget, "a Budget or None")
    if (goal := options.get("until", "done")) not in ("done", "turn") and not callable(goal):
        raise UnknownChoice("until", goal, ("done", "turn"))
    if not isinstance(max_turns := options.get("max_turns", 10), int):
        raise WrongArgument("max_turns", max_turns, "an int")
    if max_turns < 1:
        raise ValueError(f"max_turns is {max_turns}: at least one reply is needed to get anywhere")
    if (each := options.get("thread_deadline")) is not None:
        Deadline.after(each, "thread")  # refuses what no thread could keep


def refuse_unknown(options: Mapping[str, object], of: type[Any], *others: str) -> None:
    """Return if each of the options is one of a class of options, or of the other keyword arguments.

    Raises:
        UnknownOption: One is misspelled.
    """
    known = [*others, *of.__annotations__]
    for name in options:
        if name not in known:
            raise UnknownOption(name, known)


def settings_of(options: RunOptions) -> dict[str, JsonValue]:
    """What a named run remembers of its options: what is data, and means the same to whoever continues it."""
    until = options.get("until", "done")
    return {**options.get("about", {}), "max_turns": options.get("max_turns", 10), **({"until": until} if isinstance(until, str) else {})}


def with_settings(settings: Mapping[str, JsonValue], options: RunOptions) -> RunOptions:
    """The options, and where they say nothing, what the run remembers."""
    remembered = RunOptions()
    if isinstance(turns := settings.get("max_turns"), int):
        remembered["max_turns"] = turns
    if settings.get("until") == "turn":
        remembered["until"] = "turn"
    return {**remembered, **options}


def check_thread(thread: object) -> None:
    """Return if this can be run.

    Raises:
        WrongArgument: It is no thread.
    """
    if not isinstance(thread, ChatThread):
        raise WrongArgument("each of the threads", thread, "a ChatThread")
