"""`Blob`: bytes as a value of any entity, stored once, however many versions hold them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, PydanticSerializationUnexpectedValue, core_schema

from minference.errors import BlobNotLoaded, WrongArgument

_HEX = re.compile(r"[0-9a-f]{64}")


class BlobsSeen(list["Blob"]):
    """Given to a serialiser as its context, gathers every blob that it writes."""


class Blob:
    """Bytes, known by their SHA-256. Immutable; two with the same hash are equal.

    A plain value: annotate a field with it, alone or inside lists, tuples, dicts and models. What is stored in the field is
    hash and size; the bytes are stored beside it, once. `Blob.of(data)` has its bytes in memory, one that was loaded has not:
    `await blob.read()` gives them, `await storage.load_blobs(entity)` puts them at hand for `data`.
    """

    __slots__ = ("__weakref__", "_content", "sha256", "size")

    sha256: str
    """64 hexadecimal digits."""
    size: int
    """In bytes."""
    _content: bytes | None

    def __init__(self, sha256: str, size: int) -> None:
        """Refer to bytes that are stored already.

        Raises:
            ValueError: This is no SHA-256, or no size.
        """
        if not isinstance(sha256, str) or _HEX.fullmatch(sha256) is None:
            raise ValueError(f"{sha256!r:.100} is no SHA-256: it has 64 hexadecimal digits in lower case")
        if size < 0:
            raise ValueError(f"bytes cannot have the size {size}")
        _set(self, "sha256", sha256)
        _set(self, "size", size)
        _set(self, "_content", None)

    @staticmethod
    def names(sha256: object, size: object) -> bool:
        """Whether these are hash and size of some bytes, by their form."""
        return isinstance(sha256, str) and _HEX.fullmatch(sha256) is not None and type(size) is int and size >= 0

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Blob:
        """These bytes. They stay in memory as long as the object.

        Raises:
            WrongArgument: They are none.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise WrongArgument("data", data, "bytes (of a text, pass text.encode())")
        content = bytes(data)
        blob = cls(hashlib.sha256(content).hexdigest(), len(content))
        blob.keep(content)
        return blob

    @property
    def is_loaded(self) -> bool:
        """Whether the bytes are in memory."""
        return self._content is not None

    @property
    def data(self) -> bytes:
        """The bytes, if they are in memory.

        Raises:
            BlobNotLoaded: They are not; says what to call.
        """
        if self._content is None:
            raise BlobNotLoaded(self.sha256, self.size)
        return self._content

    async def read(self) -> bytes:
        """The bytes, from memory or from the current storage; the object does not keep them.

        Raises:
            BlobNotFound: They are not stored there.
            NoStorage: No storage is open in this context.
        """
        if self._content is not None:
            return self._content
        from minference.ecs.registry import current_storage

        return (await current_storage().read_blobs([self]))[self.sha256]

    def keep(self, content: bytes) -> None:
        """Have the bytes at hand from now on; whoever calls this knows that they are the right ones."""
        _set(self, "_content", content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Blob({self.sha256[:12]}…, {self.size:,} bytes)"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a blob cannot change, and so has no {name!r} to set: put another one into the field, Blob.of(data)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a blob cannot change: {name!r} stays")

    def __copy__(self) -> Blob:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Blob:
        return self

    def __reduce__(self) -> tuple[Callable[..., Blob], tuple[str, int, bytes | None]]:
        return _restored, (self.sha256, self.size, self._content)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In Python a blob, or what is stored of one; in JSON what is stored: `{"sha256": ..., "size": ...}`."""
        stored = core_schema.no_info_after_validator_function(
            _from_stored,
            core_schema.typed_dict_schema(
                {
                    "sha256": core_schema.typed_dict_field(core_schema.str_schema(pattern=f"^{_HEX.pattern}$")),
                    "size": core_schema.typed_dict_field(core_schema.int_schema(ge=0)),
                },
                extra_behavior="forbid",
            ),
        )
        return core_schema.json_or_python_schema(
            json_schema=stored,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(Blob), stored]),
            serialization=core_schema.plain_serializer_function_ser_schema(_to_stored, info_arg=True),
        )


_set = object.__setattr__


def _restored(sha256: str, size: int, content: bytes | None) -> Blob:
    blob = Blob(sha256, size)
    if content is not None:
        blob.keep(content)
    return blob


def _from_stored(stored: dict[str, Any]) -> Blob:
    return Blob(stored["sha256"], stored["size"])


def _to_stored(blob: Any, info: SerializationInfo) -> dict[str, Any]:
    if not isinstance(blob, Blob):
        raise PydanticSerializationUnexpectedValue(f"expected a Blob, not {type(blob).__name__}")
    if isinstance(info.context, BlobsSeen):
        info.context.append(blob)
    return {"sha256": blob.sha256, "size": blob.size}
