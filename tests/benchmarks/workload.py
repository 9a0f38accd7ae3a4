"""The work that is measured: threads of a given length, and turns as a provider makes them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from minference.ecs.identity import utc_now
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt, Usage
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread

QUESTION = "What do the rings of a tree say about the years in which it grew? Please give one example."
ANSWER = "Wide rings were made in years with much rain and mild weather, narrow ones in dry or cold years. " * 3


def thread_of(length: int) -> ChatThread:
    """A thread with `length` messages, alternately of the user and of the model."""
    thread = ChatThread(
        system_prompt=SystemPrompt(name="brief", content="Answer in one sentence."),
        llm_config=LLMConfig(client="openai", model="a-model"),
    )
    for number in range(length):
        role = MessageRole.assistant if number % 2 else MessageRole.user
        thread.history.append(ChatMessage(role=role, content=f"{number}: {ANSWER if number % 2 else QUESTION}"))
    return thread


def take_turn(thread: ChatThread) -> tuple[RawOutput, ProcessedOutput]:
    """Append a question and its answer, and return the outputs that belong to the answer: two messages, usage, two outputs."""
    question = thread.add_user_message(QUESTION)
    usage = Usage(model="a-model", prompt_tokens=812, completion_tokens=64, total_tokens=876)
    reply = ChatMessage(
        role=MessageRole.assistant,
        content=ANSWER,
        finish_reason=FinishReason.stop,
        usage=usage,
        parent_message_uuid=question.lineage_id,
    )
    thread.history.append(reply)
    now = utc_now()
    raw = RawOutput(
        client="openai",
        thread_version=thread.ecs_id,
        request_parameters={"model": "a-model", "max_completion_tokens": 1024},
        request_sha256=uuid4().hex * 2,
        raw_result={
            "id": f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion",
            "model": "a-model",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}],
            "usage": {"prompt_tokens": 812, "completion_tokens": 64, "total_tokens": 876},
        },
        start_time=now - timedelta(seconds=1),
        end_time=now,
    )
    processed = ProcessedOutput(
        content=ANSWER,
        usage=usage,
        time_taken=1.0,
        llm_client="openai",
        raw_output=raw,
        chat_thread_id=thread.lineage_id,
        message_uuid=reply.lineage_id,
    )
    return raw, processed
