"""Reading answers strictly: what is not as promised becomes an `InvalidReply` that says what was found."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from minference.clients.failures import describe, is_passing, read_error
from minference.errors import InvalidReply, MinferenceError
from minference.threads.messages import FinishReason

logger = logging.getLogger(__name__)

ModelT = TypeVar("ModelT", bound=BaseModel)


class Part(BaseModel):
    """A part of an answer: the fields that we read must be right, others may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _something(text: str) -> str:
    if not text:
        raise ValueError("string should have at least 1 character")
    return text


Name = Annotated[str, AfterValidator(_something)]
"""A text that is not empty; pydantic's own `min_length` refuses halves of surrogate pairs."""


def read(client: str, payload: dict[str, Any], shape: type[ModelT]) -> ModelT:
    """The answer in its promised shape.

    Raises:
        InvalidReply: It is an error after all, or has another shape.
    """
    if payload.get("error"):
        told = read_error(payload)
        code = told.names[0] if told.names else None
        raise InvalidReply(
            client,
            f"answered with success and an error inside{f' ({code})' if code else ''}: {told.message}",
            status=200,
            code=code,
            retryable=is_passing(told.status, told.names),
        )
    try:
        return shape.model_validate(payload)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise InvalidReply(
            client, f"answered with {describe(problem['input'])} at {where!r}: {problem['msg'].lower()}", status=200
        ) from None


def other_reason(client: str, told: str, *, whole: bool) -> FinishReason:
    """`other`, for a reason to end that no known word stands for: who has paid for a whole reply keeps it. It is logged.

    Raises:
        InvalidReply: There is no whole reply.
    """
    if not whole:
        raise InvalidReply(client, f"ended its reply for the reason {describe(told)}, and there is no whole one", status=200)
    logger.warning("%s ended its reply for the reason %s, which is unknown: it is kept", client, describe(told))
    return FinishReason.other


@dataclass(frozen=True, slots=True)
class Understanding:
    """Whatever goes wrong inside, with making sense of an answer, is an `InvalidReply` of who gave it, and ends no other thread.

    Raises:
        InvalidReply: Something else than an error of ours was raised, which is its cause.
    """

    client: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MinferenceError):
            told = describe(f"{type(error).__name__}: {error}")
            raise InvalidReply(self.client, f"answered with what cannot be understood ({told})", status=200) from error


def parse_json(content: bytes | str) -> Any:
    """What JSON says, also if it holds what strict JSON has not and servers send: NaN and infinities, a byte order mark.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return from_json(content)
    except (ValueError, TypeError):
        try:
            return json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def as_json(value: Any) -> str:
    """JSON data as text; halves of surrogate pairs, which no text can be encoded with, as escapes."""
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":"))
