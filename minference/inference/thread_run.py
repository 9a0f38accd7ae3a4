"""`ThreadRun`: one thread on its way. Decides with `next_step`, acts, and saves each step before the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Literal, assert_never

from minference.clients.base import TextDelta
from minference.clients.parsing import Understanding
from minference.ecs.registry import CurrentStorage
from minference.errors import (
    BlobNotFound,
    ErasedLineage,
    MinferenceError,
    NothingToAnswer,
    ProviderError,
    ToolInterrupted,
    TurnsExhausted,
    legible,
)
from minference.inference.budgets import NOTHING
from minference.inference.calls import Answer, Line, ModelCall
from minference.inference.deadlines import Deadline, until
from minference.inference.events import Event, Finished, Saved, ToolCalled, ToolResult
from minference.inference.holders import Holder
from minference.inference.journal import Journal
from minference.inference.outcomes import Completed, Failed
from minference.inference.recording import message_of, output_of
from minference.inference.requests import Prepared
from minference.inference.structured import Invalid, NotStructured, Valid, Verdict, feedback, judge
from minference.inference.tool_runs import run_tool_calls
from minference.inference.tracebacks import forget_locals
from minference.inference.workflow import StepMissed, add_reply, add_result, ask_for_step, judge_reply
from minference.inference.workshop import Workshop
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.outputs import ProcessedOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from minference.threads.turns import Ask, CallModel, Done, RunTools, next_step

Until = Literal["turn", "done"] | Callable[[ChatThread], bool]
"""When a thread has gone far enough: after one reply and its tools; when nothing is left to do; or, before each further call
of the model, when a function of the thread says so."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all threads of one call share."""

    line: Line
    storage: CurrentStorage
    author: str
    """Who the commits say it was."""
    until: Until
    max_turns: int
    """Replies, re-asks for a valid structured output not counted."""
    structured_attempts: int
    """Replies that one structured output may take."""
    tool_concurrency: int
    """Of one reply."""
    workshop: Workshop
    """What tools run with."""
    streaming: bool = False
    deadline: Deadline | None = None
    """Of the whole call."""
    thread_seconds: float | None = None
    """What each thread may take."""
    holder: Holder = field(default_factory=Holder)
    """Who works on runs that have a name."""
    journal: Journal | None = None
    """Where is written down how far each thread is, if the run has a name."""

    @property
    def run(self) -> str | None:
        """The name of the run, if it has one."""
        return self.journal.name if self.journal is not None else None

    def first_deadline(self) -> Deadline | None:
        """That of the call or that of a thread which begins now, whichever comes first."""
        own = Deadline.after(self.thread_seconds, "thread") if self.thread_seconds is not None else None
        return min(filter(None, (self.deadline, own)), key=lambda each: each.moment, default=None)


class ThreadRun:
    """Takes one thread as far as its setup says.

    Before the first request, the config is checked and the request rendered: until then no message is consumed. Then
    each step is durable before the next begins, so that a run that was ended at any point goes on from there.
    """

    def __init__(self, thread: ChatThread, setup: Setup) -> None:
        self._thread = thread
        self._setup = setup
        self._turns = 0
        self._output: ProcessedOutput | None = None
        self._structured = 0
        self._failures: list[str] = []
        self._spent = NOTHING

    async def events(self) -> AsyncGenerator[Event, None]:
        """Every step, `Finished` last. What minference raises on purpose becomes a `Failed`; bugs and cancellation pass."""
        event: Event | None = None
        try:
            if self._thread.erased:
                raise ErasedLineage(self._thread.lineage_id)
            async with aclosing(until(self._setup.first_deadline(), self._steps())) as steps:
                async for event in steps:
                    yield event
        except MinferenceError as error:
            event = None  # this function goes on, so its own variables are not forgotten
            forget_locals(error)
            yield Finished(Failed(self._thread, error, tuple(self._failures), self._spent))
        except BaseException:
            if self._setup.journal is not None and not isinstance(event, Finished):
                await self._setup.journal.let_go(self._thread.lineage_id, self._thread.ecs_id, self._spent)
            raise

    async def _steps(self) -> AsyncGenerator[Event, None]:
        interrupted = True
        while True:
            match next_step(self._thread):
                case RunTools(reply, calls):
                    steps = self._run_tools(reply, calls, may_have_started=interrupted)
                case CallModel() if self._is_far_enough():
                    reply = _last_reply(self._thread)
                    yield Finished(self._completed(reply, judge(self._thread, reply)))
                    return
                case CallModel() if self._turns == self._setup.max_turns:
                    raise TurnsExhausted(self._setup.max_turns)
                case CallModel():
                    self._turns += 1
                    steps = self._turn()
                case Ask():
                    raise NothingToAnswer(self._thread.ecs_id)
                case Done(reply):
                    if self._setup.until == "turn" and interrupted:
                        raise NothingToAnswer(self._thread.ecs_id)
                    if interrupted and self._asks_again(reply):
                        interrupted = False
                        continue
                    if interrupted or self._setup.streaming:  # else this run has just saved it, and nobody was let in since
                        await self._setup.storage.submit(self._thread, author=self._setup.author)
                    yield Finished(self._completed(reply, judge_reply(self._thread, reply)))
                    return
                case unknown:
                    assert_never(unknown)
            interrupted = False
            async with aclosing(steps):
                async for event in steps:
                    yield event

    def _is_far_enough(self) -> bool:
        """Whether the call that comes next is not wanted. A user who waits for an answer gets one."""
        if not callable(self._setup.until):
            return self._setup.until == "turn" and self._turns == 1
        thread = self._thread
        if (last := thread.last_message) is None or last.role is MessageRole.user or last.is_partial or thread.new_message is not None:
            return False
        return any(each.role is MessageRole.assistant for each in thread.history) and self._setup.until(thread)

    def _asks_again(self, reply: ChatMessage) -> bool:
        """Whether an earlier run gave up on a structured output or a step that is worth another try: then the model is told why."""
        verdict = judge_reply(self._thread, reply)
        if not isinstance(verdict, Invalid) or not verdict.worth_asking_again:
            return False
        self._tell_why(verdict, reply)
        return True

    def _tell_why(self, verdict: Invalid, reply: ChatMessage) -> None:
        message = ask_for_step(verdict, reply) if isinstance(verdict, StepMissed) else feedback(verdict, reply)
        if message is not None:
            self._thread.history.append(message)

    def _completed(self, reply: ChatMessage, verdict: Verdict) -> Completed:
        if isinstance(verdict, Invalid):
            raise verdict.error
        json_object = self._output.json_object if self._output else verdict.object if isinstance(verdict, Valid) else None
        return Completed(self._thread, reply, self._output, json_object, tuple(self._failures), self._structured, self._spent)

    async def _turn(self) -> AsyncGenerator[Event, None]:
        """One reply; of a structured output or a step of a workflow, as many as are allowed until one is valid."""
        for left in reversed(range(self._setup.structured_attempts)):
            prepared = self._setup.line.renderer.prepare(self._thread)
            await self._setup.line.check(prepared, self._thread)
            await self._require_bytes(prepared)
            if (asked := await self._save_question()) is not None:
                yield asked
            answer: Answer | None = None
            with closing(ModelCall(self._setup.line, prepared, self._thread, self._failures)) as call:
                if self._setup.streaming:
                    async with aclosing(self._receive(call)) as items:
                        async for item in items:
                            if isinstance(item, Answer):
                                answer = item
                            else:
                                yield item
                    assert answer is not None, "a stream ends with its answer or raises"
                else:
                    answer = await self._answer(call)
                message, verdict = await self._save_reply(call, answer, may_ask_again=left > 0)
            yield Saved(self._thread.ecs_id, message)
            if not isinstance(verdict, Invalid):
                return
            if not verdict.worth_asking_again or left == 0:
                raise verdict.error

    async def _require_bytes(self, prepared: Prepared) -> None:
        """Make sure that what the request needs can be had when it is sent."""
        if prepared.blobs and (missing := await self._setup.storage.missing_blobs(prepared.blobs)):
            raise BlobNotFound(missing[0].sha256, missing[0].size)

    async def _save_question(self) -> Saved | None:
        """Move the new message into the history, and save what the request is made from."""
        asked = self._thread.add_user_message() if self._thread.new_message is not None else None
        await self._setup.storage.submit(self._thread, author=self._setup.author, note="user message" if asked else None)
        return Saved(self._thread.ecs_id, asked) if asked else None

    async def _save_reply(self, call: ModelCall, answer: Answer, *, may_ask_again: bool) -> tuple[ChatMessage, Verdict]:
        """One commit with the reply and all that belongs to it. Up to its submission there is no await: no moment to lose it."""
        thread = self._thread
        with Understanding(answer.raw.client):
            message = message_of(answer, thread)
        _drop_partial(thread)
        verdict = judge_reply(thread, message)
        self._output = output_of(answer, message, verdict, thread)
        self._structured += not isinstance(verdict, NotStructured)
        self._spent = self._spent.plus(answer.tokens, answer.cost)
        add_reply(thread, message, verdict)
        if isinstance(verdict, Invalid) and verdict.worth_asking_again and may_ask_again:
            self._tell_why(verdict, message)
        note = legible(f"reply of {answer.raw.client}/{answer.reply.model}")
        await self._setup.storage.submit(thread, self._output, author=self._setup.author, note=note)
        if not isinstance(verdict, Invalid):
            await call.keep(answer, message.lineage_id)
        if answer.interrupted:
            raise asyncio.CancelledError
        return message, verdict

    async def _answer(self, call: ModelCall) -> Answer:
        """The reply, at once."""
        try:
            return await call.answer()
        finally:
            self._spent = self._spent.plus(call.in_vain.tokens, call.in_vain.cost, replies=0)

    async def _receive(self, call: ModelCall) -> AsyncGenerator[TextDelta | Answer, None]:
        """The reply as it comes. If it breaks off, its text becomes a message that says so."""
        try:
            async with aclosing(call.stream()) as items:
                async for item in items:
                    yield item
        except (ProviderError, asyncio.CancelledError, GeneratorExit):
            if call.received:
                await self._save_partial(call.received)
            raise
        finally:
            self._spent = self._spent.plus(call.in_vain.tokens, call.in_vain.cost, replies=0)

    async def _save_partial(self, text: str) -> None:
        _drop_partial(self._thread)
        last = self._thread.last_message
        parent = last.lineage_id if last else None
        broken = FinishReason.broken_off
        self._thread.history.append(ChatMessage(role=MessageRole.assistant, content=text, finish_reason=broken, parent_message_uuid=parent))
        await self._setup.storage.submit(self._thread, author=self._setup.author, note="part of a reply that broke off")

    async def _run_tools(self, reply: ChatMessage, calls: tuple[ToolCall, ...], *, may_have_started: bool) -> AsyncGenerator[Event, None]:
        """Run the calls and save each result as it comes.

        Calls that waited when this run began may have started in an earlier one that was ended: there is no record of a
        start, only of results. Those of tools that must not run twice are answered with `ToolInterrupted`.
        """
        to_run: list[ToolCall] = []
        for call in calls:
            tool = self._thread.tool_named(call.name)
            if may_have_started and isinstance(tool, CallableTool) and not tool.idempotent:
                yield await self._save_result(reply, call, _interrupted(tool, call, reply))
            else:
                to_run.append(call)
                yield ToolCalled(call)
        results = run_tool_calls(
            self._thread,
            to_run,
            parent_message_uuid=reply.lineage_id,
            limit=self._setup.tool_concurrency,
            workshop=self._setup.workshop,
        )
        async with aclosing(results):
            async for call, message in results:
                yield ToolResult(call, message)
                yield await self._save_result(reply, call, message)

    async def _save_result(self, reply: ChatMessage, call: ToolCall, message: ChatMessage) -> Saved:
        add_result(self._thread, reply, message)
        await self._setup.storage.submit(self._thread, author=self._setup.author, note=legible(f"result of {call.name}"))
        return Saved(self._thread.ecs_id, message)


def _interrupted(tool: CallableTool, call: ToolCall, reply: ChatMessage) -> ChatMessage:
    return ChatMessage(
        role=MessageRole.tool,
        content=str(ToolInterrupted(tool.name)),
        tool_call_id=call.id,
        tool_name=call.name,
        tool_uuid=tool.lineage_id,
        tool_error=True,
        parent_message_uuid=reply.lineage_id,
    )


def _drop_partial(thread: ChatThread) -> None:
    """Make room at the end for what takes the place of a reply that broke off; that one stays in the versions before."""
    if thread.history and thread.history[-1].is_partial:
        thread.history.pop()


def _last_reply(thread: ChatThread) -> ChatMessage:
    return next(message for message in reversed(thread.history) if message.role is MessageRole.assistant)
