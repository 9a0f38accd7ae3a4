"""Which form of reply each provider can give, and by which means: a table that follows from the providers' profiles. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn, assert_never

from minference.errors import ImpossibleConfig
from minference.profiles import Profile, built_in_profiles

if TYPE_CHECKING:
    from minference.threads.config import LLMConfig


class ResponseFormat(StrEnum):
    """The form in which a thread wants its replies."""

    text = "text"
    """Text as the model writes it; tools, if any, are offered."""
    json_beg = "json_beg"
    """Text that is asked and prefilled to be JSON."""
    json_object = "json_object"
    """Some JSON object, by the provider's JSON mode; of a schema it knows nothing."""
    structured_output = "structured_output"
    """A JSON object that fits the schema of `forced_output`."""
    tool = "tool"
    """A call of exactly the tool `forced_output`."""
    auto_tools = "auto_tools"
    """The model chooses among the tools."""
    workflow = "workflow"
    """One tool after the other, in order, each forced once."""


class Means(StrEnum):
    """How a form of reply is brought about."""

    native = "native"
    """The provider has it."""
    forced = "forced tool"
    """The answer is asked for as the arguments of a tool that must be called, and becomes the text of the reply again."""
    prefill = "prefill"
    """The answer is begun for the model, and joined to what it writes."""
    words = "words"
    """The model is asked in words."""


CALLING = (ResponseFormat.tool, ResponseFormat.auto_tools, ResponseFormat.workflow)
"""The formats in which a reply is a call of a tool of the thread."""
FORCING = (ResponseFormat.tool, ResponseFormat.workflow)
"""Those of them in which the model has no choice."""


def means_of(profile: Profile, wanted: ResponseFormat) -> Means | None:
    """How the provider gives replies in this form; `None` if it cannot."""
    match wanted:
        case ResponseFormat.text:
            return Means.native
        case ResponseFormat.json_beg:
            return Means.words if profile.prefill == "no" else Means.prefill
        case ResponseFormat.json_object:
            return Means.native if profile.json_object else _else_forced(profile)
        case ResponseFormat.structured_output:
            return Means.native if profile.json_schema else _else_forced(profile)
        case ResponseFormat.tool | ResponseFormat.auto_tools | ResponseFormat.workflow:
            return Means.native if profile.tools else None
        case unknown:
            assert_never(unknown)


def _else_forced(profile: Profile) -> Means:
    return Means.forced if profile.tools else Means.words


def capabilities(profile: Profile) -> dict[ResponseFormat, Means | None]:
    """The provider's row of the table."""
    return {wanted: means_of(profile, wanted) for wanted in ResponseFormat}


def refuse_impossible(profile: Profile, config: LLMConfig) -> None:
    """Return if the provider can do what the config asks for.

    Raises:
        ImpossibleConfig: It cannot; names what can be asked for instead.
    """
    means = means_of(profile, config.response_format)
    if means is None:
        _refuse(profile, config, "it takes no tools", [each for each in ResponseFormat if means_of(profile, each) is not None])
    if config.reasoner and not profile.reasons_before_forced_tool and _forces(profile, config.response_format):
        able = [each for each in ResponseFormat if not _forces(profile, each) and means_of(profile, each) is not None]
        _refuse(profile, config, "the model cannot reason before a tool that it must call", able, ", or reasoner=False")
    effort = config.reasoning_effort
    if effort is not None and profile.reasoning == "unsupported":
        raise ImpossibleConfig(profile.name, "reasoning_effort", effort, "its models let nobody choose: use None")
    if effort is not None and effort not in profile.efforts:
        raise ImpossibleConfig(profile.name, "reasoning_effort", effort, f"use {_one_of(profile.efforts)}, or None")


def refuse_impossible_built_in(config: LLMConfig) -> None:
    """Like `refuse_impossible`, for a config of a client that minference knows by itself; of others nothing is known here.

    Raises:
        ImpossibleConfig: It cannot be done.
    """
    if (profile := built_in_profiles().get(config.client)) is not None:
        refuse_impossible(profile, config)


def _forces(profile: Profile, wanted: ResponseFormat) -> bool:
    return wanted in FORCING or means_of(profile, wanted) is Means.forced


def _refuse(profile: Profile, config: LLMConfig, why: str, able: list[ResponseFormat], other: str = "") -> NoReturn:
    remedy = f"{why}: use {_one_of([each.value for each in able])}{other}"
    raise ImpossibleConfig(profile.name, "response_format", config.response_format.value, remedy)


def _one_of(values: tuple[str, ...] | list[str]) -> str:
    *first, last = map(repr, values)
    return f"{', '.join(first)} or {last}" if first else last
