"""A thread of which something was erased goes on: it can be sent, and nothing is done twice or by guess."""

from __future__ import annotations

from minference.clients.anthropic import AnthropicClient
from minference.clients.openai import OpenAIClient
from minference.clients.scripted import ScriptedClient
from minference.clients.transcript import messages_to_send
from minference.errors import ErasedLineage
from minference.inference.calls import IN_THREAD_VERSION
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.structured import NotStructured, judge
from minference.profiles import load_profiles
from minference.storage.base import EntityStorage
from minference.threads.attachments import FileAttachment, ImageLink
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool
from minference.threads.turns import CallModel, Done, next_step
from tests.inference.helpers import add_tool, completed, failed, said, thread

SECRET = "Wintermute"
ANSWER = StructuredTool(name="answer", json_schema={"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]})


async def without(storage: EntityStorage, talk: ChatThread, *places: int) -> ChatThread:
    """The thread after these of its messages were erased."""
    await storage.register(talk)
    for place in places:
        await storage.erase(talk.history[place], reason="asked to")
    return await storage.get(ChatThread, talk.ecs_id)


async def test_an_erased_message_is_sent_as_erased_because_providers_refuse_empty_ones(memory: EntityStorage) -> None:
    call = ToolCall.from_arguments("c1", "add", {"a": 1, "b": SECRET})
    talk = thread(
        "And now?",
        llm_config=LLMConfig(client="anthropic", model="m", use_cache=False),
        history=[
            ChatMessage(role=MessageRole.user, content=SECRET),
            ChatMessage(role=MessageRole.assistant, content=SECRET, tool_calls=(call,)),
            ChatMessage(role=MessageRole.tool, content=SECRET, tool_call_id="c1", tool_name="add", tool_error=True),
            ChatMessage(role=MessageRole.assistant, content=SECRET),
        ],
    )
    shell = await without(memory, talk, 0, 1, 2, 3)
    sent = AnthropicClient(load_profiles()["anthropic"]).to_request(shell)["messages"]
    assert sent == [
        {"role": "user", "content": [{"type": "text", "text": "(erased)"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "(erased)", "is_error": True}]},
        {"role": "assistant", "content": [{"type": "text", "text": "(erased)"}]},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    roles = [message["role"] for message in OpenAIClient(load_profiles()["openai"]).to_request(shell)["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert [message.content for message in shell.history] == ["", "", "", ""]
    assert all(message.erased for message in shell.history)
    assert all(before is after for before, after in zip(talk.history, messages_to_send(talk), strict=False))


async def test_a_thread_with_an_erased_message_is_answered_and_saved(memory: EntityStorage) -> None:
    talk = thread(None, history=[ChatMessage(role=MessageRole.user, content=SECRET), ChatMessage(role=MessageRole.assistant, content="a")])
    shell = await without(memory, talk, 0)
    shell.new_message = "And now?"
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(["Fine."])}) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([shell])
    completed(outcome)
    again = await memory.get(ChatThread, shell.ecs_id)
    assert said(again) == [("user", ""), ("assistant", "a"), ("user", "And now?"), ("assistant", "Fine.")]


async def test_calls_whose_arguments_were_erased_are_not_run(memory: EntityStorage) -> None:
    call = ToolCall.from_arguments("c1", "add", {"a": 1, "b": 2})
    asked = [ChatMessage(role=MessageRole.user, content="1 + 2?"), ChatMessage(role=MessageRole.assistant, tool_calls=(call,))]
    shell = await without(memory, thread(None, tools=[add_tool()], history=asked), 1)
    assert isinstance(next_step(shell), Done)
    shell.new_message = "Well?"
    assert isinstance(next_step(shell), CallModel)


async def test_an_erased_structured_reply_is_not_asked_for_again(memory: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.structured_output)
    asked = [ChatMessage(role=MessageRole.user, content="?"), ChatMessage(role=MessageRole.assistant, content='{"x": "y"}')]
    shell = await without(memory, thread(None, llm_config=config, forced_output=ANSWER, history=asked), 1)
    assert judge(shell, shell.history[1]) == NotStructured()
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([])}) as orchestrator:
        [outcome] = await orchestrator.run([shell])
    assert completed(outcome).json_object is None
    assert len(shell.history) == 2


async def test_the_raw_output_of_a_turn_holds_nothing_of_the_messages_before_it(storage: EntityStorage) -> None:
    talk = thread(f"I am {SECRET}.", tools=[add_tool()])
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(["Hello.", "Fine."])}) as orchestrator:
        await orchestrator.run_parallel_ai_completion([talk])
        talk.new_message = "How are you?"
        await orchestrator.run_parallel_ai_completion([talk])
    outputs = [await storage.get(ProcessedOutput, head.ecs_id) for head in await storage.list_by_type(ProcessedOutput)]
    assert len(outputs) == 2
    for output in outputs:
        assert SECRET not in repr(output.model_dump())
        assert output.raw_output.request_parameters.keys() & IN_THREAD_VERSION == set()
    await storage.erase(talk.history[0], reason="asked to")
    assert not any([(await storage.get(RawOutput, output.raw_output.ecs_id)).erased for output in outputs])


async def test_a_thread_that_was_run_is_erased_with_all_that_the_run_left(storage: EntityStorage) -> None:
    talk = thread(f"I am {SECRET}.")
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient([f"Hello {SECRET}."])}) as orchestrator:
        await orchestrator.run_parallel_ai_completion([talk])
    await storage.erase(talk, reason="asked to")
    for cls in (ChatThread, ChatMessage, ProcessedOutput, RawOutput):
        for head in await storage.list_by_type(cls):
            assert SECRET not in repr((await storage.get(cls, head.ecs_id)).model_dump())


async def test_erased_attachments_are_left_out_of_requests(memory: EntityStorage) -> None:
    talk = thread(llm_config=LLMConfig(client="anthropic", model="m", use_cache=False))
    talk.history.clear()
    talk.new_message = None
    kept = FileAttachment.from_bytes(b"kept", "kept.txt")
    file = FileAttachment.from_bytes(b"%PDF-" + SECRET.encode(), "a.pdf")
    talk.add_user_message("Look.", attachments=[file, ImageLink(url="https://example.com/a.png"), kept])
    talk.add_user_message("", attachments=[file])
    await memory.register(talk)
    for attached in talk.history[0].attachments[:2]:
        await memory.erase(attached, reason="asked to")
    left = await memory.get(ChatThread, talk.ecs_id)
    await memory.load_blobs(left)
    first, second = messages_to_send(left)
    assert ([each.name for each in first.attachments if isinstance(each, FileAttachment)], len(first.attachments)) == (["kept.txt"], 1)
    assert (first.content, second.content, second.attachments) == ("Look.", "(erased)", ())
    for client in (AnthropicClient(load_profiles()["anthropic"]), OpenAIClient(load_profiles()["openai"]), ScriptedClient()):
        request = str(client.to_request(left))
        assert "kept.txt" in request
        assert "a.pdf" not in request
        assert "erased.invalid" not in request
    await memory.erase(talk.history[0], reason="asked to")
    shells = messages_to_send(await memory.get(ChatThread, talk.ecs_id))
    assert [(each.content, each.attachments) for each in shells] == [("(erased)", ())] * len(shells)


async def test_no_model_is_asked_for_a_thread_that_was_erased(storage: EntityStorage) -> None:
    client = ScriptedClient()
    talk = thread(SECRET)
    await storage.register(talk)
    await storage.erase(talk, reason="asked to")
    shell = await storage.get(ChatThread, talk.ecs_id)
    async with InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([shell])
    assert isinstance(failed(outcome).error, ErasedLineage)
    assert client.requests == []
