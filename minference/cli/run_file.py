"""A run file: what to ask, of which model, with which tools and limits. Read and checked whole before anything is done."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator

from minference.ecs.plan import IDENTITY_FIELDS
from minference.errors import ImpossibleConfig, InvalidRunFile
from minference.inference.limits import RequestLimits
from minference.threads.config import LLMConfig, ResponseFormat

Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s/][^\n\r\t/]*$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _without_identity(table: object) -> object:
    if isinstance(table, dict) and (found := sorted(set(table) & set(IDENTITY_FIELDS))):
        raise ValueError(f"{found[0]} is set by minference: remove it")
    return table


def _importable(path: str) -> str:
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError(f"{path!r} is not an import path: write it as module:name, e.g. my_tools:weather")
    return path


ImportPath = Annotated[str, AfterValidator(_importable)]
"""`module:name`, found next to the run file or among what is installed."""


class ToolTable(_Table):
    """One function of the user's own code that the model may call."""

    function: ImportPath
    name: str | None = None
    description: str | None = None
    timeout: float | None = Field(default=60.0, gt=0)
    """Seconds for one call."""
    idempotent: bool = True
    """Whether running it twice does no harm."""


class OutputTable(_Table):
    """The form that each answer must have: one of the three."""

    model: ImportPath | None = None
    """A pydantic model."""
    schema_: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    """A JSON schema."""
    schema_file: Path | None = None
    """A file with a JSON schema."""
    name: str | None = None
    description: str = ""
    format: Literal["structured_output", "tool"] = "structured_output"
    """How the model is held to it; JSON of any form is asked for with `response_format` in `[model]`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> OutputTable:
        if sum(each is not None for each in (self.model, self.schema_, self.schema_file)) != 1:
            raise ValueError("give exactly one of model, schema and schema_file")
        return self


class Prompt(_Table):
    """One thing to ask."""

    id: Identifier | None = None
    """Names the thread within the run; by default the line number."""
    prompt: str = Field(min_length=1)
    system: str | None = None
    """Instead of the run's system prompt."""


def _as_prompt(each: object) -> object:
    return {"prompt": each} if isinstance(each, str) else each


class PromptsTable(_Table):
    """What to ask: inline, or one JSON object per line of a file."""

    texts: tuple[Annotated[Prompt, BeforeValidator(_as_prompt)], ...] = ()
    file: Path | None = None
    system: str | None = None
    """The system prompt of every thread that has none of its own."""

    @model_validator(mode="after")
    def _exactly_one(self) -> PromptsTable:
        if bool(self.texts) == (self.file is not None):
            raise ValueError("give either texts or file")
        return self


class BudgetTable(_Table):
    """What one start of the run may spend. Threads that are left over fail, and are tried again by the next."""

    max_cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """US dollars."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Of requests and replies."""


class CacheTable(_Table):
    """That a request which was made before in this database is answered with the reply that it got then."""

    max_age: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds since that; by default any time."""


class RunFile(_Table):
    """A whole run."""

    name: Identifier | None = None
    """Names the run; by default the file's name. The same name in the same database continues."""
    database: str | None = None
    """A URL or a path; paths in the file are relative to it."""
    max_turns: int = Field(default=8, ge=1)
    """The most replies per thread."""
    model: Annotated[LLMConfig, BeforeValidator(_without_identity)]
    prompts: PromptsTable
    tools: tuple[ToolTable, ...] = ()
    output: OutputTable | None = None
    limits: RequestLimits | None = None
    budget: BudgetTable | None = None
    cache: CacheTable | None = None


_TABLES: dict[str, type[BaseModel]] = {
    "model": LLMConfig,
    "prompts": PromptsTable,
    "prompts.texts": Prompt,
    "tools": ToolTable,
    "output": OutputTable,
    "limits": RequestLimits,
    "budget": BudgetTable,
    "cache": CacheTable,
    "model.fallbacks": LLMConfig,
}


def read_run_file(path: Path) -> RunFile:
    """The checked contents of a run file.

    Raises:
        InvalidRunFile: It cannot be read or is not valid; says which field of which table.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidRunFile(str(path), f"cannot read it: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRunFile(str(path), f"it is no TOML file: {error}") from error
    try:
        run = RunFile.model_validate(tables)
    except ValidationError as error:
        raise InvalidRunFile(str(path), _explain(error)) from None
    except ImpossibleConfig as error:
        raise InvalidRunFile(str(path), f"[model] {error.field}: {error}") from None
    if run.output is not None and run.model.response_format is not ResponseFormat.text:
        raise InvalidRunFile(str(path), "[model] response_format: [output] says how the model is held to a form (format); remove this one")
    return run


def read_prompts(run: RunFile, path: Path) -> list[tuple[str, Prompt]]:
    """Every prompt with the id of its thread within the run.

    Raises:
        InvalidRunFile: A line is not valid, or two have one id; says which.
    """
    if run.prompts.file is None:
        return _with_ids(path, list(enumerate(run.prompts.texts, start=1)), lines=False)
    file = path.parent / run.prompts.file
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRunFile(str(path), f"[prompts] file: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidRunFile(str(file), "it is not UTF-8 text", line) from error
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not numbered:
        raise InvalidRunFile(str(file), "it holds no prompts: write one JSON object with a field 'prompt' per line")
    return _with_ids(file, [(number, _prompt(file, number, line)) for number, line in numbered], lines=True)


def _prompt(file: Path, number: int, line: str) -> Prompt:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRunFile(str(file), f"the line is no JSON: {error}", number) from None
    if not isinstance(data, dict):
        raise InvalidRunFile(str(file), f'a line is an object like {{"prompt": "..."}}, not {one_value(data)}', number)
    if isinstance(data.get("id"), int) and not isinstance(data["id"], bool):
        data["id"] = str(data["id"])
    try:
        return Prompt.model_validate(data)
    except ValidationError as error:
        raise InvalidRunFile(str(file), _explain(error, Prompt), number) from None


def _with_ids(file: Path, prompts: Sequence[tuple[int, Prompt]], *, lines: bool) -> list[tuple[str, Prompt]]:
    seen: dict[str, int] = {}
    named: list[tuple[str, Prompt]] = []
    for number, prompt in prompts:
        name = prompt.id or str(number)
        if name in seen:
            where = f"{'line' if lines else 'prompt'} {seen[name]}"
            raise InvalidRunFile(str(file), f"the id {name!r} belongs to {where} already: give another", number if lines else None)
        seen[name] = number
        named.append((name, prompt))
    return named


def _explain(error: ValidationError, table: type[BaseModel] = RunFile) -> str:
    """The first problem: table, field, why, and the fields that there are."""
    problems = error.errors(include_url=False, include_context=False)
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    where = [str(part) for part in problem["loc"] if not isinstance(part, int)]
    number = next((f" {part + 1}" for part in problem["loc"] if isinstance(part, int)), "")
    inside = ".".join(where[:-1])
    label = f"[{inside}{number}] {where[-1]}" if inside else ".".join(where) + number
    if problem["type"] == "extra_forbidden":
        holder = _TABLES.get(inside, table) if inside else table
        return f"{label}: there is no such field{_nearest(where[-1], holder)}; the fields are {', '.join(fields_of(holder))}"
    if problem["type"] == "missing":
        return f"{label}: this is missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] in ("value_error", "model_type") else f", not {one_value(problem['input'])}"
    return f"{label}: {message}{given}" if label else message


def fields_of(table: type[BaseModel]) -> list[str]:
    """The names that a table of the file may use."""
    return sorted(field.alias or name for name, field in table.model_fields.items() if name not in IDENTITY_FIELDS)


def _nearest(name: str, table: type[BaseModel]) -> str:
    found = get_close_matches(name, fields_of(table), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def one_value(value: Any) -> str:
    """A value in an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
