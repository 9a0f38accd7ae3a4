"""Reading answers strictly: what is not as promised becomes an `InvalidReply` that says what was found."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from minference.clients.failures import describe, is_passing, read_error
from minference.errors import InvalidReply

ModelT = TypeVar("ModelT", bound=BaseModel)


class Part(BaseModel):
    """A part of an answer: the fields that we read must be right, others may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


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
