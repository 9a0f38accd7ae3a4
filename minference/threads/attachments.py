"""What a message carries beside its text: images and files, whose bytes are stored once, and links to images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity
from minference.ecs.erasing import empty_values
from minference.errors import UnusableAttachment, WrongArgument
from minference.threads.media import PATTERN, is_text, media_type_of

LARGEST = 50 * 2**20
"""Bytes of an attachment, unless the caller allows more: what the larger providers take in one request."""

ImageType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
"""The images that models look at."""
ERASED_URL = "https://erased.invalid/"
"""The address of a link that was erased; no name under `.invalid` ever leads anywhere."""
Detail = Literal["auto", "low", "high", "original"]
"""How closely a model is to look at an image, in OpenAI's words; other providers decide for themselves."""


class Attachment(Entity):
    """Bytes with a name: what `ImageAttachment` and `FileAttachment` have in common."""

    name: str = Field(min_length=1)
    """As the model is told, e.g. `report.pdf`."""
    media_type: str = Field(pattern=PATTERN)
    """What the bytes are, e.g. `application/pdf`."""
    content: Blob
    """The bytes: in memory if the attachment is new, else after `await storage.load_blobs(thread)`."""

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What kind of file it was stays; name and bytes go."""
        kept = {name: values[name] for name in ("media_type", "detail") if name in values}
        return empty_values(cls, kept) | kept

    @property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return self.content.sha256

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.content.size

    @property
    def data(self) -> bytes:
        """The bytes, if they are in memory.

        Raises:
            BlobNotLoaded: They are not; says what to call.
        """
        return self.content.data

    async def read(self) -> bytes:
        """The bytes, from memory or from the current storage.

        Raises:
            BlobNotFound: They are not stored there.
            NoStorage: No storage is open in this context.
        """
        return await self.content.read()

    @classmethod
    def _check(cls, name: str, media_type: str, data: bytes) -> None:
        """Refuse bytes that the class is not for."""
        if is_text(media_type):
            try:
                data.decode()
            except UnicodeDecodeError as error:
                raise UnusableAttachment(name, f"it is said to be {media_type}, and is no UTF-8 ({error}): convert it first") from error

    @classmethod
    def _of(cls, data: bytes, name: str, media_type: str | None, max_size: int, **fields: object) -> Self:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise WrongArgument("data", data, "bytes (of a text, pass text.encode(); of a path, call from_path)")
        if not isinstance(name, str):
            raise WrongArgument("name", name, "a str")
        data = bytes(data)
        if not data:
            raise UnusableAttachment(name, "it is empty")
        _require_size(name, len(data), max_size)
        media_type = media_type_of(data, name, media_type)
        cls._check(name, media_type, data)
        return cls.model_validate({"name": name, "media_type": media_type, "content": Blob.of(data), **fields})


class FileAttachment(Attachment):
    """A file to read: a PDF, or text. Others can be kept, and are refused by clients that cannot send them."""

    @field_validator("media_type")
    @classmethod
    def _is_no_image(cls, media_type: str) -> str:
        if media_type.startswith("image/"):
            raise ValueError("an image is attached as an ImageAttachment")
        return media_type

    @classmethod
    def _check(cls, name: str, media_type: str, data: bytes) -> None:
        if media_type.startswith("image/"):
            raise UnusableAttachment(name, f"it is an image ({media_type}): use ImageAttachment")
        super()._check(name, media_type, data)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, media_type: str | None = None, max_size: int = LARGEST) -> Self:
        """A file of these bytes.

        Args:
            media_type: By default what the bytes are, or else what the ending of the name says.
            max_size: The largest number of bytes to accept.

        Raises:
            UnusableAttachment: There are no or too many bytes, or it is unknown or doubtful what they are.
            WrongArgument: They are no bytes, or the name is no text.
        """
        return cls._of(data, name, media_type, max_size)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *, media_type: str | None = None, max_size: int = LARGEST) -> Self:
        """What a file holds now. See `from_bytes`.

        Raises:
            UnusableAttachment: As `from_bytes`.
            OSError: The file cannot be read.
        """
        return cls.from_bytes(_read(path, max_size), Path(path).name, media_type=media_type, max_size=max_size)


class ImageAttachment(Attachment):
    """An image to look at."""

    media_type: ImageType
    detail: Detail = "auto"
    """How closely the model is to look."""

    @classmethod
    def _check(cls, name: str, media_type: str, data: bytes) -> None:
        if media_type not in get_args(ImageType):
            raise UnusableAttachment(name, f"it is {media_type}, and an image is PNG, JPEG, GIF or WebP: convert it, or use FileAttachment")
        super()._check(name, media_type, data)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, media_type: str | None = None, max_size: int = LARGEST, detail: Detail = "auto") -> Self:
        """An image of these bytes.

        Args:
            media_type: By default what the bytes are.
            max_size: The largest number of bytes to accept.
            detail: How closely to look.

        Raises:
            UnusableAttachment: There are no or too many bytes, or they are no image that models look at.
            WrongArgument: They are no bytes, or the name is no text.
        """
        return cls._of(data, name, media_type, max_size, detail=detail)

    @classmethod
    def from_path(
        cls, path: str | os.PathLike[str], *, media_type: str | None = None, max_size: int = LARGEST, detail: Detail = "auto"
    ) -> Self:
        """The image that a file holds now. See `from_bytes`.

        Raises:
            UnusableAttachment: As `from_bytes`.
            OSError: The file cannot be read.
        """
        return cls.from_bytes(_read(path, max_size), Path(path).name, media_type=media_type, max_size=max_size, detail=detail)


class ImageLink(Entity):
    """An image that the provider fetches from where it is; nothing of it is stored here but its address."""

    name: str = "image"
    url: str = Field(pattern=r"^https?://[^\s/]+")
    """Where it is."""
    detail: Detail = "auto"

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """An address that leads nowhere."""
        kept = {"url": ERASED_URL, "detail": values["detail"]}
        return empty_values(cls, kept) | kept


Attached = FileAttachment | ImageAttachment | ImageLink
"""What a message can carry."""


def _read(path: str | os.PathLike[str], max_size: int) -> bytes:
    file = Path(path)
    _require_size(file.name, file.stat().st_size, max_size)
    return file.read_bytes()


def _require_size(name: str, size: int, max_size: int) -> None:
    if size > max_size:
        raise UnusableAttachment(name, f"it has {size:,} bytes, and at most {max_size:,} are accepted: make it smaller, or raise max_size")
