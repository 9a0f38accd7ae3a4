"""What a class says of the shapes that it had before: fields renamed and removed, former kinds, and upgrade hooks.

A class has a *schema version*, 1 unless it says otherwise. Each stored version of an entity says in which it was written.
A hook turns the plain values of one schema version into those of the next; hooks are chained. A class that declares no
version of its own shares that of its base class, and its hooks, base first; one that does has a numbering of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from minference.errors import InvalidEvolution

Hook = Callable[[dict[str, Any]], dict[str, Any]]
"""From the stored plain values of one schema version, as JSON data, to those of the next."""
H = TypeVar("H", bound=Hook)


@dataclass(frozen=True, slots=True)
class Evolution:
    """What one class says of its earlier shapes, and what its base classes say."""

    version: int = 1
    numbered: bool = True
    """Whether the class declares that version itself."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Old name to new name, of plain values, references and collections."""
    removed: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    """Further kinds under which versions of the class are stored."""
    hooks: dict[int, Hook] = field(default_factory=dict)
    """Of this class alone, by the schema version that they start from."""

    def target(self, name: str, fields: Collection[str]) -> str | None:
        """The field that a stored one is today; `None` if it was removed.

        Raises:
            KeyError: Nothing is said of it.
        """
        while name not in fields:
            if name in self.removed:
                return None
            name = self.renamed[name]
        return name


def declare(
    entity: str,
    fields: Collection[str],
    bases: Iterable[Evolution],
    *,
    version: int | None,
    renamed: Mapping[str, str],
    removed: Collection[str],
    aliases: Collection[str],
) -> Evolution:
    """The evolution of a class with these fields; `bases` are those of its base classes, nearest first.

    Raises:
        InvalidEvolution: The declarations contradict each other or the fields.
    """
    for argument, names in (("removed", removed), ("aliases", aliases)):
        if isinstance(names, str):
            raise InvalidEvolution(entity, f"{argument}={names!r} would be taken letter by letter: write {argument}=({names!r},)")
    if version is not None and (not isinstance(version, int) or version < 1):
        raise InvalidEvolution(entity, f"version={version!r}: schema versions are counted from 1")
    nearest = list(bases)
    evolution = Evolution(
        version=version if version is not None else nearest[0].version,
        numbered=version is not None,
        renamed={old: new for base in reversed(nearest) for old, new in base.renamed.items()} | dict(renamed),
        removed=frozenset(removed).union(*(base.removed for base in nearest)),
        aliases=tuple(aliases),
    )
    for name in (*renamed, *removed):
        _refuse_nonsense(entity, evolution, name, fields)
    if both := renamed.keys() & set(removed):
        raise InvalidEvolution(entity, f"{min(both)!r} is both renamed and removed: say one of them")
    return evolution


def _refuse_nonsense(entity: str, evolution: Evolution, name: str, fields: Collection[str]) -> None:
    if name in fields:
        raise InvalidEvolution(
            entity, f"{name!r} is renamed or removed, and still a field: use an upgrade hook where it changed its meaning"
        )
    seen = [name]
    while (current := seen[-1]) not in fields and current not in evolution.removed:
        following = evolution.renamed.get(current)
        if following is None:
            raise InvalidEvolution(entity, f"{' -> '.join(map(repr, seen))} leads to no field: the last name must be one")
        if following in seen:
            raise InvalidEvolution(entity, f"{' -> '.join(map(repr, [*seen, following]))} leads in a circle")
        seen.append(following)


def hook_into(entity: str, evolution: Evolution, from_version: int) -> Callable[[H], H]:
    """A decorator that makes a function the hook of a class from one schema version to the next.

    Raises:
        InvalidEvolution: There is no next version, or it has a hook.
    """
    if not 1 <= from_version < evolution.version:
        raise InvalidEvolution(
            entity, f"a hook from schema version {from_version} leads nowhere: the class is in {evolution.version}, raise its version=..."
        )
    if from_version in evolution.hooks:
        raise InvalidEvolution(entity, f"schema version {from_version} has an upgrade hook: do both in one function")

    def register(hook: H) -> H:
        evolution.hooks[from_version] = hook
        return hook

    return register


def hooks_from(line: Iterable[Evolution], from_version: int) -> Iterator[tuple[int, Hook]]:
    """The hooks that lead from a schema version to that of a class, in order, each with the version that it starts from.

    `line` are the class's evolution and those of its base classes, nearest first.
    """
    shared: list[Evolution] = []
    for evolution in line:
        shared.append(evolution)
        if evolution.numbered:
            break
    for version in range(from_version, shared[0].version):
        for evolution in reversed(shared):
            if version in evolution.hooks:
                yield version, evolution.hooks[version]
