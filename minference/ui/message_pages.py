"""The pages of one message: all of it, what was sent to the provider for it and what came back, and its attachments."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from minference.clients.catalog import create_client
from minference.clients.embedding import canonical
from minference.ecs.recording import NothingRecorded
from minference.errors import MinferenceError
from minference.storage.base import EntityStorage
from minference.threads.attachments import Attachment, ImageType
from minference.threads.messages import ChatMessage
from minference.threads.outputs import ProcessedOutput, RawOutput
from minference.threads.statistics import outputs_of
from minference.threads.thread import ChatThread
from minference.ui.inspector import id_in_path, opened
from minference.ui.templating import json_text

LONGEST = 60_000
"""Characters of a request or a reply that are shown; all of it has an address of its own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as far as it is known."""

    body: dict[str, Any]
    is_exact: bool
    """Whether its digest is that of what was sent."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One reply, and what was asked."""

    output: ProcessedOutput
    request: str
    is_exact: bool
    reply: str

    @property
    def raw(self) -> RawOutput:
        """The reply as it came."""
        return self.output.raw_output


async def message(request: Request) -> Response:
    """`/messages/{version}`: one version of a message, as it is stored, and the exchange that it came from."""
    inspector, storage = await opened(request)
    [shown] = await storage.peek(ChatMessage, [id_in_path(request, "version")])
    info = await storage.info(shown.ecs_id)
    lines = (await outputs_of(storage, [shown.lineage_id])).get(shown.lineage_id, [])
    outputs = await storage.peek(ProcessedOutput, [line.version for line in lines])
    return inspector.render(
        "message.html",
        section="threads",
        message=shown,
        info=info,
        versions=await storage.lineage(shown.lineage_id),
        exchanges=[await _exchange(storage, output) for output in outputs],
        longest=LONGEST,
        thread=outputs[0].chat_thread_id if outputs else None,
    )


async def request_body(request: Request) -> Response:
    """`/outputs/{version}/request`: all of the request, as JSON."""
    _, storage = await opened(request)
    [output] = await storage.peek(ProcessedOutput, [id_in_path(request, "version")])
    return _json((await rebuilt(storage, output.raw_output)).body)


async def reply_body(request: Request) -> Response:
    """`/outputs/{version}/reply`: all of the reply, as JSON."""
    _, storage = await opened(request)
    [output] = await storage.peek(ProcessedOutput, [id_in_path(request, "version")])
    return _json(output.raw_output.raw_result)


async def attachment(request: Request) -> Response:
    """`/attachments/{version}`: the bytes of an attachment. Only images are shown, everything else is for keeping."""
    _, storage = await opened(request)
    [found] = await storage.peek(Attachment, [id_in_path(request, "version")])
    content = (await storage.read_blobs([found.content]))[found.sha256]
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=3600"}
    if found.media_type in get_args(ImageType):
        return Response(content, media_type=found.media_type, headers=headers)
    headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name.encode(errors='replace'), safe='')}"
    return Response(content, media_type="application/octet-stream", headers=headers)


async def rebuilt(storage: EntityStorage, raw: RawOutput) -> Sent:
    """The request of a reply: rendered again from the version that it was rendered from, or its parameters, if that fails."""
    try:
        thread = await storage.get(ChatThread, raw.thread_version)
        client = create_client(raw.client)
        for config in thread.llm_config.with_fallbacks():
            if config.client != raw.client:
                continue
            with NothingRecorded():
                body = canonical(client.to_request(thread.model_copy(update={"llm_config": config})))
            if hashlib.sha256(body).hexdigest() == raw.request_sha256:
                return Sent(json.loads(body), is_exact=True)
    except MinferenceError:
        pass  # of a client that is not there, or a version that cannot be read any more, the parameters are still known
    return Sent(dict(raw.request_parameters), is_exact=False)


def _json(value: object) -> Response:
    """A document in plain characters: halves of others, as streams cut them, stand as escapes."""
    return Response(json.dumps(value, indent=2), media_type="application/json")


async def _exchange(storage: EntityStorage, output: ProcessedOutput) -> Exchange:
    sent = await rebuilt(storage, output.raw_output)
    return Exchange(output, json_text(sent.body), sent.is_exact, json_text(output.raw_output.raw_result))
