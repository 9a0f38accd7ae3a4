"""Values from rows, validated in bulk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

from pydantic import ConfigDict, Json, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from minference.ecs.entity import Entity
from minference.ecs.values import load_json, parse, stored_config, stored_type
from minference.errors import UnknownStoredField, UnreadableVersion
from minference.storage.sql.types import MARKER, Kind, unescape_json, unescape_text

_PACKED = "*"
_JSON: Any = Json
_TYPED_DICT: Any = TypedDict
_FLAGS: Any = {"strict": False, "by_alias": False, "by_name": True}


@dataclass(slots=True)
class Loaded:
    """Versions of one class as they are stored; the lists run parallel."""

    ids: list[int]
    values: list[dict[str, Any]]
    """Every plain value, validated."""
    references: list[dict[str, int | None]]
    """Field to the key of the child."""
    sequences: list[dict[str, tuple[int | None, int]]]
    """Field to where the ordered field is: its sequence and its length."""
    keys: list[dict[str, tuple[str, ...]]]
    """Field to the keys of a keyed field."""


class Decoder:
    """Turns the cells of a class's value columns into validated values.

    `kinds` names the fields in the order of the cells; the fields in `packed` come together in a last JSON cell, if there is one.
    """

    def __init__(self, cls: type[Entity], kinds: Mapping[str, Kind], packed: Sequence[str], *, has_packed_cell: bool) -> None:
        last = (_PACKED,) if has_packed_cell else ()
        self._cls = cls
        self._names = (*kinds, *last)
        self._packed = tuple(packed)
        self._texts = [name for name, kind in kinds.items() if kind is Kind.text]
        self._times = [name for name, kind in kinds.items() if kind is Kind.time]
        self._documents = [*(name for name, kind in kinds.items() if kind is Kind.json), *last]
        marked = [self._names.index(name) for name in (*self._texts, *self._documents)]
        self._marked = itemgetter(*marked, *marked[:1]) if marked else None

    def values(self, cells: list[tuple[Any, ...]], *, times_are_text: bool) -> list[dict[str, Any]]:
        """The values of each row.

        Raises:
            UnknownStoredField: A row holds a field that the class has not.
            UnreadableVersion: A row does not fit the class.
        """
        names = self._names
        rows = [dict(zip(names, row, strict=True)) for row in cells]
        if times_are_text:
            for name in self._times:
                for row in rows:
                    if (text := row[name]) is not None:
                        row[name] = datetime.fromisoformat(text)
        escaped = self._take_escaped(rows) if self._is_any_marked(cells) else []
        try:
            found = self._adapter.validate_python(rows, **_FLAGS)
            for index, name, document in escaped:
                found[index][name] = self._load_escaped(name, document)
            if _PACKED in names:
                self._unpack(found)
        except ValidationError as error:
            raise self._explained(error) from error
        return found

    @cached_property
    def _adapter(self) -> TypeAdapter[list[dict[str, Any]]]:
        fields = {name: stored_type(self._cls, name) for name in self._names if name != _PACKED}
        for name in self._documents:
            fields[name] = _JSON[self._packed_type() if name == _PACKED else fields[name]] | None
        rows: Any = list[self._row_type(fields, stored_config(self._cls))]  # type: ignore[misc]  # made at run time
        return TypeAdapter(rows)

    def _packed_type(self) -> Any:
        fields = {name: stored_type(self._cls, name) for name in self._packed}
        return self._row_type(fields, {**stored_config(self._cls), "extra": "forbid"})

    def _row_type(self, fields: dict[str, Any], config: ConfigDict) -> Any:
        row_type = _TYPED_DICT(f"{self._cls.__name__}Row", fields, total=False)
        row_type.__pydantic_config__ = config
        return row_type

    def _is_any_marked(self, cells: list[tuple[Any, ...]]) -> bool:
        return self._marked is not None and MARKER in "".join(filter(None, chain.from_iterable(map(self._marked, cells))))

    def _take_escaped(self, rows: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
        """Unescape text in place, and take the escaped JSON documents out: they are loaded one by one."""
        taken: list[tuple[int, str, str]] = []
        for index, row in enumerate(rows):
            for name in self._texts:
                if row[name] is not None:
                    row[name] = unescape_text(row[name])
            for name in self._documents:
                if row[name] is not None and (document := unescape_json(row[name])) is not row[name]:
                    taken.append((index, name, document))
                    del row[name]
        return taken

    def _load_escaped(self, name: str, document: str) -> Any:
        if name != _PACKED:
            return load_json(self._cls, name, document)
        parts = parse(document)
        if unknown := parts.keys() - set(self._packed):
            raise UnknownStoredField(self._cls.__kind__, sorted(unknown))
        return {part: load_json(self._cls, part, _redump(value)) for part, value in parts.items()}

    def _unpack(self, found: list[dict[str, Any]]) -> None:
        for values in found:
            values.update(values.pop(_PACKED) or {})
            for name in self._packed:
                if name not in values:
                    values[name] = self._default(name, values)

    def _default(self, name: str, values: dict[str, Any]) -> Any:
        field = self._cls.model_fields[name]
        if field.is_required():
            raise UnreadableVersion(self._cls.__kind__, f"field {name!r} is required and was not stored: give it a default")
        return field.get_default(call_default_factory=True, validated_data=values)

    def _explained(self, error: ValidationError) -> UnknownStoredField | UnreadableVersion:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        unknown = sorted({str(problem["loc"][-1]) for problem in problems if problem["type"] == "extra_forbidden"})
        if unknown:
            return UnknownStoredField(self._cls.__kind__, unknown)
        place = [str(part) for part in problems[0]["loc"][1:] if part != _PACKED]
        return UnreadableVersion(self._cls.__kind__, ": ".join([*([".".join(place)] if place else []), problems[0]["msg"]]))


def _redump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
