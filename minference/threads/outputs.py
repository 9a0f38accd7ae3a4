"""What came back from a provider: the raw reply, and what was understood of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field, JsonValue

from minference.ecs.entity import Entity
from minference.ecs.identity import Moment
from minference.ecs.plan import OnErase
from minference.threads.messages import Usage

if TYPE_CHECKING:
    from minference.clients.base import Client


class GeneratedJsonObject(Entity):
    """An object that a model wrote, valid under the schema that asked for it."""

    name: str
    """Name of the tool whose schema it fits."""
    object: dict[str, JsonValue]
    """What the model wrote."""
    tool_call_id: str | None = None
    """The call that it came in, if it came as one."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Which tool and which call it was stay."""
        return super().erased_values(values) | {name: values[name] for name in ("name", "tool_call_id")}


class RawOutput(Entity):
    """One reply of a provider as it came, and what was asked, without what the thread version already holds."""

    client: str
    """The client that asked."""
    thread_version: Annotated[UUID, OnErase.follows]
    """`ecs_id` of the thread version that the request was rendered from."""
    request_parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """The request without messages, system and tools: those are rendered from the thread version (see `request`)."""
    request_sha256: Annotated[str, OnErase.uncaches]
    """Digest of the whole request as canonical JSON, in which the bytes of attachments stand by their hash."""
    raw_result: dict[str, JsonValue]
    """The body of the reply."""
    start_time: Moment
    """When the request was sent."""
    end_time: Moment
    """When the reply was complete."""
    attempts: tuple[str, ...] = ()
    """One line per failed attempt before this reply: what went wrong."""
    from_cache: bool = False
    """Whether it is a reply that was given before, to the same request: nothing was sent."""

    async def request(self, clients: Mapping[str, Client] | None = None) -> dict[str, Any]:
        """The whole request, rendered again from the thread version in the current storage: what was sent, byte for byte.

        Args:
            clients: Clients to render with before those of the catalog, by name: those that the orchestrator was given.

        Raises:
            RequestNotRebuilt: It comes out otherwise now: something was erased, or a profile or minference has changed.
            UnknownClient: The client is not known here.
        """
        from minference.clients.rebuilding import rebuild_request

        return await rebuild_request(self, clients or {})

    @property
    def time_taken(self) -> float:
        """Seconds from sending the request to the end of the reply."""
        return (self.end_time - self.start_time).total_seconds()

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Who was asked, from which thread version, and when stay. The digest goes: it would prove a guess of a short text."""
        kept = ("client", "thread_version", "start_time", "end_time", "from_cache")
        return super().erased_values(values) | {name: values[name] for name in kept}


class ProcessedOutput(Entity):
    """What one reply means."""

    content: str | None = None
    """The text of the reply."""
    json_object: Annotated[GeneratedJsonObject | None, OnErase.too] = None
    """The structured output, if one was asked for and the reply is valid."""
    error: str | None = None
    """Why there is no structured output although one was asked for."""
    usage: Annotated[Usage | None, OnErase.stays] = None
    """What it cost in tokens."""
    time_taken: float = Field(ge=0, allow_inf_nan=False)
    """Seconds."""
    llm_client: str
    """The client that asked."""
    raw_output: Annotated[RawOutput, OnErase.too]
    """The reply as it came."""
    chat_thread_id: Annotated[UUID, OnErase.follows]
    """Lineage of the thread."""
    message_uuid: Annotated[UUID, OnErase.follows]
    """Lineage of the assistant message."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What it belongs to, who answered and how long that took stay."""
        kept = ("time_taken", "llm_client", "chat_thread_id", "message_uuid")
        return super().erased_values(values) | {name: values[name] for name in kept}

    @property
    def object(self) -> dict[str, Any] | None:
        """The structured output as a plain object."""
        return self.json_object.object if self.json_object else None
