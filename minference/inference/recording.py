"""Replies as entities, and the one commit that holds all of a reply."""

from __future__ import annotations

from minference.clients.base import Reply
from minference.inference.calls import Answer
from minference.inference.structured import Invalid, Valid, Verdict
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.outputs import ProcessedOutput
from minference.threads.thread import ChatThread


def message_of(answer: Answer, thread: ChatThread) -> ChatMessage:
    """The assistant message that a reply becomes at the end of the thread, where it takes the place of one that broke off."""
    answered, reply = next((each for each in reversed(thread.history) if not each.is_partial), None), answer.reply
    return ChatMessage(
        role=MessageRole.assistant,
        content=reply.content,
        parent_message_uuid=answered.lineage_id if answered else None,
        tool_calls=reply.tool_calls,
        reasoning=reply.reasoning,
        reasoning_json=reply.reasoning_json,
        refusal=reply.refusal,
        finish_reason=reply.finish_reason,
        usage=usage_of(reply, answer.cost, from_cache=answer.raw.from_cache),
    )


def usage_of(reply: Reply, cost: float | None, *, from_cache: bool = False) -> Usage | None:
    """The tokens that the provider counted, if it did, and what they cost."""
    if (used := reply.usage) is None:
        return None
    return Usage(
        model=reply.model,
        prompt_tokens=used.prompt,
        completion_tokens=used.completion,
        total_tokens=used.prompt + used.completion,
        cache_creation_input_tokens=used.cache_written,
        cache_read_input_tokens=used.cached,
        accepted_prediction_tokens=used.accepted_prediction,
        rejected_prediction_tokens=used.rejected_prediction,
        audio_tokens=used.audio,
        reasoning_tokens=used.reasoning,
        cached_tokens=used.cached,
        cost_usd=cost,
        from_cache=from_cache,
    )


def output_of(answer: Answer, message: ChatMessage, verdict: Verdict, thread: ChatThread) -> ProcessedOutput:
    """What the reply means, with the raw reply behind it."""
    return ProcessedOutput(
        content=answer.reply.content or None,
        json_object=verdict.object if isinstance(verdict, Valid) else None,
        error=verdict.reason if isinstance(verdict, Invalid) else None,
        usage=message.usage,
        time_taken=max(answer.raw.time_taken, 0.0),
        llm_client=answer.raw.client,
        raw_output=answer.raw,
        chat_thread_id=thread.lineage_id,
        message_uuid=message.lineage_id,
    )
