"""Parallel runs on every storage: outcomes in order, and exactly the versions that the steps make."""

from __future__ import annotations

import pytest

from minference.clients.scripted import ScriptedClient
from minference.ecs.entity import Entity
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.messages import FinishReason, MessageRole, SystemPrompt, ToolCall
from minference.threads.thread import ChatThread
from tests.inference.helpers import add_tool, completed, grown, roles, said, thread, versions

user, assistant, tool = MessageRole.user, MessageRole.assistant, MessageRole.tool


def adds(asked: ChatThread) -> str | ToolCall:
    """Calls `add` for a question, and tells its result."""
    last = asked.history[-1]
    if last.role is tool:
        return f"The sum is {last.content}."
    a, b = (int(word) for word in last.content.split("+"))
    return ToolCall.from_arguments(f"call-{a}-{b}", "add", {"a": a, "b": b})


async def test_threads_with_a_tool_run_in_parallel_to_their_end(storage: EntityStorage) -> None:
    threads = [thread(f"{number} + 1", tools=[add_tool()]) for number in range(20)]
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(adds)}) as orchestrator:
        outcomes = await orchestrator.run(threads)

    assert [completed(outcome).content for outcome in outcomes] == [f"The sum is {number + 1}." for number in range(20)]
    assert [outcome.thread for outcome in outcomes] == threads
    for number, each in enumerate(threads):
        stored = await storage.get(ChatThread, each.ecs_id)
        assert said(stored) == [
            ("user", f"{number} + 1"), ("assistant", ""), ("tool", str(number + 1)), ("assistant", f"The sum is {number + 1}."),
        ]  # fmt: skip
        assert [message.tool_call_id for message in stored.history] == [None, None, f"call-{number}-1", None]
    assert await versions(storage) == {
        "ChatThread": 20 * 4, "ChatMessage": 20 * 4, "LLMConfig": 20, "CallableTool": 20,
        "Usage": 20 * 2, "RawOutput": 20 * 2, "ProcessedOutput": 20 * 2,
    }  # fmt: skip


async def test_one_turn_runs_the_tools_that_were_called_and_stops(storage: EntityStorage) -> None:
    asked = thread("1 + 2", tools=[add_tool()])
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(adds)}) as orchestrator:
        [first] = await orchestrator.run_parallel_ai_completion([asked])
        after_one = roles(asked)
        [second] = await orchestrator.run_parallel_ai_completion([asked])

    assert (after_one, roles(asked)) == ([user, assistant, tool], [user, assistant, tool, assistant])
    assert completed(first).reply.tool_calls == (ToolCall.from_arguments("call-1-2", "add", {"a": 1, "b": 2}),)
    assert completed(second).content == "The sum is 3."


async def test_each_turn_makes_exactly_two_thread_versions_however_long_the_history(storage: EntityStorage) -> None:
    chat = thread(None, system_prompt=SystemPrompt(content="Be brief."))
    per_turn: list[dict[str, int]] = []
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient()}) as orchestrator:
        await storage.register(chat)
        before = await versions(storage)
        for number in range(5):
            chat.new_message = f"Number {number}"
            await storage.register(chat)
            [outcome] = await orchestrator.run_parallel_ai_completion([chat])
            assert completed(outcome).content == f"You said: Number {number}"
            after = await versions(storage)
            per_turn.append(grown(before, after))
            before = after

    # The user set new_message and saved it: a version. Moving it into the history is one, the reply is one.
    assert per_turn == [{"ChatThread": 3, "ChatMessage": 2, "Usage": 1, "RawOutput": 1, "ProcessedOutput": 1}] * 5


async def test_fifty_turns_make_a_hundred_thread_versions() -> None:
    from minference.storage.open import open_storage

    async with (
        open_storage("memory:") as storage,
        InferenceOrchestrator(storage, clients={"scripted": ScriptedClient()}) as orchestrator,
    ):
        chat = thread(None)
        for number in range(50):
            chat.new_message = str(number)
            await orchestrator.run_parallel_ai_completion([chat])
        assert await versions(storage) == {
            "ChatThread": 100, "ChatMessage": 100, "LLMConfig": 1, "Usage": 50, "RawOutput": 50, "ProcessedOutput": 50,
        }  # fmt: skip


async def test_the_commits_say_who_and_what(storage: EntityStorage) -> None:
    asked = thread("1 + 2", tools=[add_tool()])
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(adds)}, author="tester") as orchestrator:
        await orchestrator.run([asked])
    log = [version.commit for version in await storage.lineage(asked.lineage_id)]
    assert [(commit.author, commit.note) for commit in log] == [
        ("tester", "user message"),
        ("tester", "reply of scripted/model"),
        ("tester", "result of add"),
        ("tester", "reply of scripted/model"),
    ]


async def test_what_came_back_is_stored_with_what_was_asked(storage: EntityStorage) -> None:
    client = ScriptedClient()
    asked = thread("Hi.")
    async with InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([asked])
    output = completed(outcome).output
    assert output is not None
    stored = await storage.get(type(output), output.ecs_id)
    assert (stored.content, stored.chat_thread_id, stored.message_uuid) == ("You said: Hi.", asked.lineage_id, asked.history[-1].lineage_id)
    raw = stored.raw_output
    assert (raw.client, raw.request_parameters, raw.attempts) == ("scripted", {"model": "model", "max_tokens": 1024}, ())
    assert raw.raw_result["content"] == "You said: Hi."

    rendered_from = await storage.get(ChatThread, raw.thread_version)
    assert asked.parent_id == raw.thread_version
    assert client.to_request(rendered_from) == client.requests[0]


@pytest.mark.parametrize("method", ["run", "run_parallel_ai_completion"])
async def test_a_reply_keeps_everything_that_the_model_said(storage: EntityStorage, method: str) -> None:
    from minference.clients.base import Reply, TokenUsage

    call = ToolCall.from_arguments("1", "add", {"a": 1, "b": 1})
    reply = Reply(
        content="Let me see.", model="model-2", finish_reason=FinishReason.tool_calls, tool_calls=(call,),
        usage=TokenUsage(prompt=10, completion=5, cached=4, cache_written=1, reasoning=2), reasoning="Hm.", reasoning_json="[]",
    )  # fmt: skip
    asked = thread("1 + 1", tools=[add_tool()])
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient([reply, "2"])}) as orchestrator:
        await (orchestrator.run if method == "run" else orchestrator.run_parallel_ai_completion)([asked])
    message = (await storage.get(ChatThread, asked.ecs_id)).history[1]
    identity = set(Entity.model_fields) | {"timestamp"}
    assert message.model_dump(mode="json", exclude=identity | {"usage"}) == {
        "role": "assistant", "content": "Let me see.", "attachments": [],
        "author_uuid": None, "parent_message_uuid": str(asked.history[0].lineage_id),
        "tool_calls": [{"id": "1", "name": "add", "arguments_json": '{"a": 1, "b": 1}'}], "tool_call_id": None, "tool_name": None,
        "tool_uuid": None, "tool_error": False, "reasoning": "Hm.", "reasoning_json": "[]", "refusal": None, "finish_reason": "tool_calls",
    }  # fmt: skip
    assert message.usage is not None
    assert message.usage.model_dump(exclude=set(Entity.model_fields), exclude_none=True) == {
        "model": "model-2", "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 4, "cached_tokens": 4, "reasoning_tokens": 2, "from_cache": False,
    }  # fmt: skip
