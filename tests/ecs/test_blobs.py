"""A blob is a value: known by its hash, without its bytes wherever it is stored or dumped."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, ValidationError

from minference.ecs.blob_fields import blob_fields, blobs_below, blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.diff import diff_entities
from minference.ecs.entity import Entity, plan_of
from minference.ecs.values import dump_json, load_json
from minference.errors import BlobNotLoaded, NoStorage, UnstorableValue

HELLO = hashlib.sha256(b"hello").hexdigest()


class Page(BaseModel):
    """Plain, and holds bytes."""

    title: str = ""
    scan: Blob | None = None
    inner: list[Page] = Field(default_factory=list)


@dataclass(frozen=True)
class Stamp:
    """No model, and holds bytes."""

    mark: Blob


class Album(Entity, kind="blobs_album"):
    """Blobs in every place that a plain value has for them."""

    name: str = ""
    cover: Blob | None = None
    pair: tuple[Blob, ...] = ()
    either: Blob | str = ""
    many: list[Blob] = Field(default_factory=list)
    named: dict[str, Blob | None] = Field(default_factory=dict)
    pages: list[Page] = Field(default_factory=list)
    stamp: Stamp | None = None
    anything: JsonValue = None
    more: Any = None
    next: Album | None = None


def full_album() -> Album:
    """An album with another blob in each place."""
    one, two, three, four, five, six, seven, eight = (Blob.of(word) for word in b"1 2 3 4 5 6 7 8".split())
    return Album(
        cover=one,
        pair=(two, one),
        either=three,
        many=[four],
        named={"a": five, "b": None},
        pages=[Page(scan=six, inner=[Page(scan=seven)])],
        stamp=Stamp(eight),
    )


@given(st.binary(max_size=200))
def test_a_blob_knows_hash_and_size_and_has_its_bytes(data: bytes) -> None:
    blob = Blob.of(bytearray(data))
    assert (blob.sha256, blob.size, blob.data, blob.is_loaded) == (hashlib.sha256(data).hexdigest(), len(data), data, True)


def test_blobs_are_equal_by_hash_alone() -> None:
    loaded, known = Blob.of(b"hello"), Blob(HELLO, 5)
    assert loaded == known
    assert {loaded: 1}[known] == 1
    assert loaded != Blob.of(b"Hello")
    assert loaded != HELLO


def test_bytes_that_are_not_in_memory_are_refused_with_what_to_call() -> None:
    with pytest.raises(BlobNotLoaded, match=r"`await blob\.read\(\)` gives them, and `await storage\.load_blobs\(entity\)`"):
        _ = Blob(HELLO, 5).data


async def test_reading_bytes_needs_memory_or_a_storage() -> None:
    assert await Blob.of(b"hello").read() == b"hello"
    with pytest.raises(NoStorage):
        await Blob(HELLO, 5).read()


def test_a_blob_cannot_change() -> None:
    blob = Blob.of(b"hello")
    with pytest.raises(AttributeError, match=r"put another one into the field, Blob\.of"):
        blob.size = 3
    with pytest.raises(AttributeError, match="'sha256' stays"):
        del blob.sha256


@pytest.mark.parametrize(("sha256", "size"), [("abc", 1), (HELLO.upper(), 5), (HELLO + "\n", 5), (HELLO, -1)])
def test_what_is_no_hash_or_size_is_refused(sha256: str, size: int) -> None:
    with pytest.raises(ValueError, match=r"hexadecimal|size"):
        Blob(sha256, size)


def test_copies_of_an_entity_share_the_blob_and_pickles_keep_its_bytes() -> None:
    album = full_album()
    assert copy.deepcopy(album).cover is album.cover
    assert copy.copy(album.cover) is album.cover
    assert pickle.loads(pickle.dumps(album.cover)).data == b"1"
    assert not pickle.loads(pickle.dumps(Blob(HELLO, 5))).is_loaded


def test_dumps_hold_hash_and_size_and_validate_again() -> None:
    album = Album(cover=Blob.of(b"hello"))
    assert album.model_dump()["cover"] == json.loads(album.model_dump_json())["cover"] == {"sha256": HELLO, "size": 5}
    again = Album.model_validate_json(album.model_dump_json())
    assert again.cover == album.cover
    assert again.cover is not None
    assert not again.cover.is_loaded


NO_BLOBS: list[object] = [
    b"hello",
    HELLO,
    {"sha256": HELLO},
    {"sha256": "x", "size": 1},
    {"sha256": HELLO, "size": -1},
    {"sha256": HELLO, "size": 5, "data": "x"},
]


@pytest.mark.parametrize("value", NO_BLOBS, ids=repr)
def test_what_is_no_blob_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Album.model_validate({"cover": value})


def test_the_schema_of_a_blob_is_what_is_dumped() -> None:
    schema = Page.model_json_schema(mode="serialization")["$defs"]["Page"]["properties"]["scan"]
    assert {"type": "null"} in schema["anyOf"]
    validation = Page.model_json_schema()["$defs"]["Page"]["properties"]["scan"]["anyOf"][0]
    assert (validation["type"], sorted(validation["properties"])) == ("object", ["sha256", "size"])


def test_fields_that_can_hold_blobs_are_known_however_deep_they_hold_them() -> None:
    assert set(blob_fields(Album)) == {"cover", "pair", "either", "many", "named", "pages", "stamp"}
    assert set(plan_of(Album).values) >= {"cover", "pair", "either"}


def test_every_blob_of_an_entity_and_below_is_found() -> None:
    album = full_album()
    assert sorted(blob.data for blob in blobs_in(Album, album.__dict__)) == [b"1", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"]
    above = Album(either="no blob", next=album)
    assert blobs_in(Album, above.__dict__) == []
    assert len(blobs_below(above)) == 9


@pytest.mark.parametrize("name", ["cover", "pair", "either", "many", "named", "pages", "stamp"])
def test_the_stored_form_loads_equal_and_never_holds_the_bytes(name: str) -> None:
    value = full_album().__dict__[name]
    stored = dump_json(Album, name, value)
    assert b'"sha256":"' in stored
    loaded = load_json(Album, name, stored)
    assert loaded == value
    assert not any(blob.is_loaded for blob in blobs_in(Album, {**Album().__dict__, name: loaded}))


@pytest.mark.parametrize("name", ["anything", "more"])
def test_a_blob_in_a_field_that_is_not_annotated_for_it_is_refused(name: str) -> None:
    with pytest.raises(UnstorableValue, match=name):
        dump_json(Album, name, [Blob.of(b"hello")])


def test_a_diff_names_the_blobs_and_shows_no_bytes() -> None:
    old, new = Album(cover=Blob.of(b"hello")), Album(cover=Blob.of(b"bye"))
    diff = diff_entities(old, new)
    assert str(diff).splitlines()[1] == f"  ~ cover: Blob({HELLO[:12]}…, 5 bytes) -> {new.cover!r}"
    assert diff.to_json()["changes"] == [
        {"path": "cover", "change": "changed", "old": {"sha256": HELLO, "size": 5}, "new": {"sha256": Blob.of(b"bye").sha256, "size": 3}}
    ]
    assert not diff_entities(old, Album(cover=Blob(HELLO, 5)))
