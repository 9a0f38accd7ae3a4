"""Collections of which only some members were loaded: what cold snapshots hold that are not there as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from minference.errors import NotLoaded

if TYPE_CHECKING:
    from minference.ecs.entity import Entity


class PartialList(Sequence[Any]):
    """An ordered collection with its length and those members that were loaded; the others raise `NotLoaded`."""

    def __init__(self, length: int, loaded: Mapping[int, Entity], version: str) -> None:
        self._length, self._loaded, self._version = length, dict(loaded), version

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Entity: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entity]: ...

    def __getitem__(self, index: int | slice) -> Entity | list[Entity]:
        """A member or some members.

        Raises:
            IndexError: There is no such member.
            NotLoaded: There is, and it was not loaded.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._length))]
        place = range(self._length)[index]
        if place not in self._loaded:
            raise NotLoaded(self._version, place)
        return self._loaded[place]

    @property
    def loaded(self) -> dict[int, Entity]:
        """The members that are there, by place, in order."""
        return dict(sorted(self._loaded.items()))

    def __repr__(self) -> str:
        return _shown(self)


class PartialDict(Mapping[str, Any]):
    """A keyed collection with all its keys and those members that were loaded; the others raise `NotLoaded`."""

    def __init__(self, keys: Sequence[str], loaded: Mapping[str, Entity], version: str) -> None:
        self._keys, self._loaded, self._version = dict.fromkeys(keys), dict(loaded), version

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> Entity:
        """A member.

        Raises:
            KeyError: There is none with this key.
            NotLoaded: There is, and it was not loaded.
        """
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._loaded:
            raise NotLoaded(self._version, key)
        return self._loaded[key]

    @property
    def loaded(self) -> dict[str, Entity]:
        """The members that are there, by key, in order."""
        return {key: self._loaded[key] for key in self._keys if key in self._loaded}

    def __repr__(self) -> str:
        return _shown(self)


def _shown(partial: PartialList | PartialDict) -> str:
    return f"<{len(partial.loaded)} of {len(partial)} members, {list(partial.loaded.values())!r}>"
