"""What one call of the orchestrator can be told, beside its threads."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sized
from dataclasses import replace
from typing import Any, TypedDict

from pydantic import JsonValue

from minference.ecs.entity import Entity
from minference.errors import UnknownChoice, UnknownOption, WrongArgument
from minference.inference.arguments import a_count
from minference.inference.budgets import Budget
from minference.inference.deadlines import Deadline
from minference.inference.thread_run import Setup, Until
from minference.threads.thread import ChatThread

_SEVERAL = "ChatThreads in a list or the like, also if it is one: [thread]"


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
        UnusableValue: A number is not positive.
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
        UnusableValue: A number is not positive.
        UnknownChoice: `until` is none of its words, and no function.
    """
    refuse_unknown(options, RunOptions, *others)
    check_budget(options.get("budget"))
    if (goal := options.get("until", "done")) not in ("done", "turn") and not callable(goal):
        raise UnknownChoice("until", goal, ("done", "turn"))
    a_count("max_turns", options.get("max_turns", 10), "at least one reply is needed to get anywhere")
    if not isinstance(cache := options.get("cache", True), bool):
        raise WrongArgument("cache", cache, "True or False (of a ResponseCache, the orchestrator is told)")
    if not isinstance(about := options.get("about", {}), Mapping):
        raise WrongArgument("about", about, "a dict")
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


def check_budget(budget: object) -> None:
    """Return if this can say what may be spent.

    Raises:
        WrongArgument: It is neither a budget nor `None`.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise WrongArgument("budget", budget, "a Budget such as Budget(max_cost=5.0), or None")


def how_many(threads: Iterable[ChatThread] | AsyncIterable[ChatThread]) -> int | None:
    """How many threads these are, if that is known before they are taken; each is looked at when it is.

    Raises:
        WrongArgument: They cannot be taken one by one, as a thread that is not in a list.
    """
    if isinstance(threads, Entity | str | bytes) or not isinstance(threads, Iterable | AsyncIterable):
        raise WrongArgument("threads", threads, _SEVERAL)
    return len(threads) if isinstance(threads, Sized) else None


def listed(threads: Iterable[ChatThread]) -> list[ChatThread]:
    """The threads: a lazy sequence would make others when it is asked again.

    Raises:
        WrongArgument: They are not several, or one is none.
    """
    how_many(threads)
    if not isinstance(threads, Iterable):
        raise WrongArgument("threads", threads, f"{_SEVERAL}; as_completed takes async iterables")
    found = list(threads)
    for thread in found:
        check_thread(thread)
    return found


def check_thread(thread: object) -> None:
    """Return if this can be run.

    Raises:
        WrongArgument: It is no thread.
    """
    if not isinstance(thread, ChatThread):
        raise WrongArgument("each of the threads", thread, "a ChatThread")
