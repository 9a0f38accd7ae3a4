"""Tool names find the functions that the application registered, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from minference.ecs.callables import CallableRegistry
from minference.errors import ToolNameTaken, UnregisteredTool


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


def add(a: int, b: int) -> int:
    return a + b


def subtract(a: int, b: int) -> int:
    return a - b


def adder_of(n: int) -> Callable[[int], int]:
    def adder(a: int) -> int:
        return a + n

    return adder


class Counter:
    def count(self) -> int:
        return 1


class Adder:
    def __call__(self, a: int) -> int:
        return a + 1


def defined_again() -> Callable[..., int]:
    """The function that a notebook cell defines, made anew at each call."""
    space: dict[str, Callable[..., int]] = {"__name__": "notebook"}  # type: ignore[dict-item]  # a module's name, not a function
    exec("def weigh(item: str) -> int:\n    return len(item)", space)
    return space["weigh"]


def test_a_name_finds_the_function_that_was_registered() -> None:
    CallableRegistry.register("add", add)
    CallableRegistry.register("minus", subtract)
    assert (CallableRegistry.get("add"), CallableRegistry.get("minus"), CallableRegistry.names()) == (add, subtract, ["add", "minus"])


def test_a_name_without_function_says_how_to_register_one() -> None:
    CallableRegistry.register("minus", subtract)
    with pytest.raises(UnregisteredTool) as caught:
        CallableRegistry.get("add")
    assert str(caught.value) == (
        "no function is registered for tool 'add' in this process (registered: minus): import the module that calls "
        "CallableTool.from_callable, or call CallableRegistry.register('add', function)"
    )


def test_a_taken_name_keeps_its_function() -> None:
    CallableRegistry.register("add", add)
    with pytest.raises(
        ToolNameTaken,
        match=r"belongs to tests\.ecs\.test_callables\.add: a name .* so choose another name, or register with replace=True",
    ):
        CallableRegistry.register("add", subtract)
    assert CallableRegistry.get("add") is add


def test_replace_gives_a_taken_name_to_another_function() -> None:
    CallableRegistry.register("add", add)
    CallableRegistry.register("add", subtract, replace=True)
    assert CallableRegistry.get("add") is subtract


def test_a_function_that_is_defined_again_takes_the_place_of_its_former_self() -> None:
    first, second = defined_again(), defined_again()
    CallableRegistry.register("weigh", first)
    CallableRegistry.register("weigh", second)
    assert CallableRegistry.get("weigh") is second is not first


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(adder_of(1), adder_of(2), id="closures over different objects"),
        pytest.param(lambda: 1, lambda: 2, id="two lambdas"),
        pytest.param(Counter().count, Counter().count, id="methods of two objects"),
    ],
)
def test_functions_that_only_look_alike_do_not_replace_each_other(first: Callable[..., int], second: Callable[..., int]) -> None:
    CallableRegistry.register("tool", first)
    with pytest.raises(ToolNameTaken):
        CallableRegistry.register("tool", second)
    assert CallableRegistry.get("tool") is first


@pytest.mark.parametrize(
    ("first", "second", "holder"),
    [
        pytest.param(adder_of(1), adder_of(2), "adder_of.<locals>.adder", id="closures"),
        pytest.param(Counter().count, Counter().count, "Counter.count", id="methods"),
        pytest.param(partial(partial(add, 1), 2), partial(add, 2), "add", id="partials"),
        pytest.param(Adder(), Adder(), "Adder", id="objects"),
    ],
)
def test_functions_of_one_user_are_not_advised_to_answer_everybody(
    first: Callable[..., int], second: Callable[..., int], holder: str
) -> None:
    CallableRegistry.register("tool", first)
    with pytest.raises(ToolNameTaken) as taken:
        CallableRegistry.register("tool", second)
    assert str(taken.value).startswith(f"tool name 'tool' belongs to tests.ecs.test_callables.{holder}: a name stands for one function")
    assert "from a context variable (docs/tools.md, 'Tools of one user')" in str(taken.value)
    assert "or register with replace" not in str(taken.value)


def test_the_same_method_of_the_same_object_can_be_registered_again() -> None:
    counter = Counter()
    CallableRegistry.register("count", counter.count)
    CallableRegistry.register("count", counter.count)
    assert CallableRegistry.get("count") == counter.count


def test_a_name_that_was_removed_is_free_again_and_only_its_holder_removes_it() -> None:
    CallableRegistry.register("sum", add)
    CallableRegistry.remove("sum", subtract)
    CallableRegistry.remove("difference", subtract)
    assert CallableRegistry.get("sum") is add
    CallableRegistry.remove("sum", add)
    with pytest.raises(UnregisteredTool):
        CallableRegistry.get("sum")
    CallableRegistry.register("sum", subtract)
