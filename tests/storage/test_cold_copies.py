"""A cold snapshot never changes; whatever is made of it, or takes something from it, can."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ConfigDict, Field, model_validator

from minference.ecs.entity import Entity
from minference.ecs.plan import IDENTITY_FIELDS
from minference.storage.base import EntityStorage


class Leaf(Entity, kind="cold_copies_leaf"):
    text: str = ""


class Twig(Entity, kind="cold_copies_twig"):
    name: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    anything: Any = None
    itself: Twig | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    named: dict[str, Leaf] = Field(default_factory=dict)


class Tidy(Twig, kind="cold_copies_tidy"):
    """Whose validator works on what it holds."""

    @model_validator(mode="after")
    def _complete(self) -> Tidy:
        self.data["list"].extend(())
        return self


class Free(Twig, kind="cold_copies_free"):
    """Which takes what is assigned as it is."""

    model_config = ConfigDict(validate_assignment=False)


async def _snapshot(storage: EntityStorage) -> Twig:
    twig = Twig(name="a", data={"list": [1, {"x": []}], "pair": {}}, anything=[{"y": [2]}], leaves=[Leaf()], named={"a": Leaf()})
    twig.itself = twig
    await storage.register(twig)
    return await storage.get_cold_snapshot(Twig, twig.ecs_id)


def _held(twig: Twig) -> tuple[Any, ...]:
    return copy.deepcopy((twig.data, twig.anything)), [*twig.leaves], {**twig.named}


def _values(twig: Twig) -> dict[str, Any]:
    return {name: value for name, value in vars(twig).items() if name not in IDENTITY_FIELDS}


def _change(twig: Twig) -> None:
    twig.data["list"][1]["x"].append("changed")
    twig.data["list"].append(3)
    twig.data["pair"]["new"] = {}
    twig.anything[0]["y"].append(4)
    twig.anything.append(5)
    twig.leaves.append(Leaf(text="new"))
    twig.named["new"] = Leaf(text="new")


MADE: dict[str, Callable[[Twig], Twig]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda cold: cold.model_copy(),
    "model_copy with another name": lambda cold: cold.model_copy(update={"name": "b"}),
    "deep model_copy": lambda cold: cold.model_copy(deep=True),
    "pickle": lambda cold: pickle.loads(pickle.dumps(cold)),
    "oldest pickle": lambda cold: pickle.loads(pickle.dumps(cold, 2)),
    "constructor": lambda cold: Twig(data=cold.data, anything=cold.anything, leaves=cold.leaves, named=cold.named),
    "constructor of a class with a validator": lambda cold: Tidy(
        data={**cold.data}, anything=cold.anything, leaves=cold.leaves, named=cold.named
    ),
    "model_validate": lambda cold: Twig.model_validate({**_values(cold), "itself": {"data": cold.data}}),
    "model_construct": lambda cold: Twig.model_construct(**_values(cold)),
    "update of another": lambda cold: Twig().model_copy(update=_values(cold)),
    "assignment": lambda cold: _assigned(Twig(), cold),
    "assignment that is not validated": lambda cold: _assigned(Free(), cold),
}


def _assigned(twig: Twig, cold: Twig) -> Twig:
    twig.data = {name: copy.copy(value) for name, value in cold.data.items()}  # which holds frozen parts, and is not frozen itself
    twig.anything, twig.leaves, twig.named = cold.anything, cold.leaves, cold.named
    return twig


@pytest.mark.parametrize("way", MADE)
async def test_what_is_made_of_a_cold_snapshot_can_change_and_be_saved(storage: EntityStorage, way: str) -> None:
    cold = await _snapshot(storage)
    before = _held(cold)
    made = MADE[way](cold)
    _change(made)
    assert _held(cold) == before
    for change in (lambda: cold.leaves.append(Leaf()), lambda: cold.data["list"].append(1)):
        with pytest.raises(TypeError, match="cold snapshot"):
            change()
    if "pickle" in way:  # the same version: pickled objects stay what they are
        assert (made.ecs_id, made.itself is made) == (cold.ecs_id, True)
        return
    made.itself = None
    await storage.register(made)
    loaded = await storage.get(type(made), made.ecs_id)
    assert loaded.data == {"list": [1, {"x": ["changed"]}, 3], "pair": {"new": {}}}
    assert loaded.anything == [{"y": [2, 4]}, 5]
    assert [leaf.text for leaf in loaded.leaves] == ["", "new"]
    assert list(loaded.named) == ["a", "new"]


def test_the_parts_of_what_is_assigned_stay_the_objects_that_they_are_if_nothing_is_frozen() -> None:
    part: dict[str, Any] = {"list": []}
    circle: list[Any] = [part]
    circle.append({"again": circle})
    twig = Twig(data={"a": part}, anything=circle)
    assert (twig.data["a"] is part, twig.anything is circle) == (True, True)
    twig.data = {"b": {"c": (part, Leaf())}}
    assert twig.data["b"]["c"][0] is part
