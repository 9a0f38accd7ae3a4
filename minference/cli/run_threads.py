"""From a run file to threads: new ones, and those that an earlier run of the same name left in the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from minference.cli.find import lineage_of_run
from minference.cli.own_modules import import_own
from minference.cli.run_file import OutputTable, Prompt, RunFile, one_value, read_prompts
from minference.clients.catalog import create_client
from minference.ecs.entity import Entity
from minference.ecs.plan import IDENTITY_FIELDS
from minference.errors import ConfigurationError, InvalidRunFile, ToolError
from minference.inference.budgets import Budget
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import MessageRole, SystemPrompt
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from minference.threads.turns import Done, next_step


@dataclass(frozen=True, slots=True)
class RunThread:
    """One prompt of a run and its thread."""

    id: str
    thread: ChatThread


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, checked and ready: nothing of it is sent or stored yet."""

    path: Path
    name: str
    run: RunFile
    config: LLMConfig
    prompts: list[tuple[str, Prompt]]
    tools: tuple[CallableTool, ...]
    output: StructuredTool | None

    async def threads(self, storage: EntityStorage) -> list[RunThread]:
        """A thread for each prompt, the ones that the database has as they were left.

        Raises:
            InvalidRunFile: The run has asked something else under the id of a prompt.
        """
        systems = {text: SystemPrompt(content=text) for _, prompt in self.prompts if (text := self._system(prompt)) is not None}
        return [await self._thread(storage, name, prompt, systems) for name, prompt in self.prompts]

    def budget(self) -> Budget | None:
        """What this start of the run may spend."""
        return Budget(**self.run.budget.model_dump()) if self.run.budget else None

    def _system(self, prompt: Prompt) -> str | None:
        return prompt.system if prompt.system is not None else self.run.prompts.system

    async def _thread(self, storage: EntityStorage, name: str, prompt: Prompt, systems: dict[str, SystemPrompt]) -> RunThread:
        lineage = lineage_of_run(f"{self.name}/{name}")
        heads = await storage.heads(lineage)
        if heads:
            thread = await storage.get(ChatThread, heads[-1].ecs_id)
            self._check_same_question(thread, name, prompt)
            if not isinstance(next_step(thread), Done):
                self._bring_up_to_date(thread)
            return RunThread(name, thread)
        system = self._system(prompt)
        thread = ChatThread(
            lineage_id=lineage,
            name=f"{self.name}/{name}",
            system_prompt=systems[system] if system is not None else None,
            llm_config=self.config,
            new_message=prompt.prompt,
            tools=list(self.tools),
            forced_output=self.output,
        )
        return RunThread(name, thread)

    def _bring_up_to_date(self, thread: ChatThread) -> None:
        """What the file says now holds for what is still to do."""
        if values_of(thread.llm_config) != values_of(self.config):
            thread.llm_config = self.config
        if list(map(values_of, thread.tools)) != list(map(values_of, self.tools)):
            thread.tools = list(self.tools)
        if (thread.forced_output and values_of(thread.forced_output)) != (self.output and values_of(self.output)):
            thread.forced_output = self.output

    def _check_same_question(self, thread: ChatThread, name: str, prompt: Prompt) -> None:
        asked = next((message.content for message in thread.history if message.role is MessageRole.user), thread.new_message)
        if asked != prompt.prompt:
            raise InvalidRunFile(
                str(self.path),
                f"run {self.name!r} has asked {one_value(asked)} under the id {name!r}, not {one_value(prompt.prompt)}: "
                "give the run another name, or the prompts ids of their own",
            )


def values_of(entity: Entity) -> dict[str, Any]:
    """What an entity says, without which version it is."""
    identity = dict.fromkeys(IDENTITY_FIELDS, True)
    nested = {"fallbacks": {"__all__": set(IDENTITY_FIELDS)}} if isinstance(entity, LLMConfig) else {}
    return entity.model_dump(exclude={**identity, **nested})


def prepare(path: Path, run: RunFile) -> Plan:
    """Check everything that can be checked without sending or storing anything.

    Raises:
        InvalidRunFile: A prompt, an import or a schema is not usable; says which.
        ConfigurationError: The client is unknown, or its key or an extra is missing.
    """
    prompts = read_prompts(run, path)
    tools = tuple(_tool(path, number, table.function, table.model_dump(exclude={"function"})) for number, table in enumerate(run.tools, 1))
    if len({tool.name for tool in tools}) < len(tools):
        raise InvalidRunFile(str(path), "[tools] two tools have one name: give one of them another")
    output = _output(path, run.output) if run.output else None
    config = run.model
    if run.output is not None:
        config = LLMConfig(**{**{name: getattr(config, name) for name in config.model_fields_set}, "response_format": run.output.format})
    elif tools and config.response_format is ResponseFormat.text:
        config = LLMConfig(**{**{name: getattr(config, name) for name in config.model_fields_set}, "response_format": "auto_tools"})
    plan = Plan(path, run.name or path.stem, run, config, prompts, tools, output)
    _check_client(plan)
    return plan


def _check_client(plan: Plan) -> None:
    """Raise what the first request would."""
    client = create_client(plan.config.client)
    client.check()
    system = SystemPrompt(content=plan.run.prompts.system) if plan.run.prompts.system is not None else None
    probe = ChatThread(llm_config=plan.config, system_prompt=system, tools=list(plan.tools), forced_output=plan.output)
    probe.add_user_message("Hello")
    client.to_request(probe)


def _tool(path: Path, number: int, function: str, options: dict[str, Any]) -> CallableTool:
    found = _imported(path, function, f"[tools] {number}. function")
    if not callable(found):
        raise InvalidRunFile(str(path), f"[tools] {number}. function: {function} is {one_value(found)}, which cannot be called")
    try:
        return CallableTool.from_callable(found, **options)
    except ToolError as error:
        raise InvalidRunFile(str(path), f"[tools] {number}. function: {error}") from error


def _output(path: Path, output: OutputTable) -> StructuredTool:
    try:
        if output.model is not None:
            found = _imported(path, output.model, "[output] model")
            if not (isinstance(found, type) and issubclass(found, BaseModel)):
                raise InvalidRunFile(str(path), f"[output] model: {output.model} is {one_value(found)}, not a pydantic model")
            return StructuredTool.from_pydantic(found, name=output.name, description=output.description or None)
        schema = output.schema_ if output.schema_ is not None else _schema(path, output.schema_file)
        title = schema.get("title")
        return StructuredTool.from_json_schema(
            output.name or (title if isinstance(title, str) and title.isidentifier() else "answer"), schema, description=output.description
        )
    except ToolError as error:
        raise InvalidRunFile(str(path), f"[output]: {error}") from error


def _schema(path: Path, file: Path | None) -> dict[str, Any]:
    where = path.parent / (file or "")
    try:
        schema = json.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRunFile(str(path), f"[output] schema_file: cannot read {where}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRunFile(str(where), f"it is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InvalidRunFile(str(where), f"a JSON schema is an object, not {one_value(schema)}")
    return schema


def _imported(path: Path, target: str, label: str) -> Any:
    """What `module:name` names, as code next to the file `path` would import it.

    Raises:
        InvalidRunFile: There is no such module or name, or importing it raised.
    """
    try:
        return import_own(target, path.parent)
    except ConfigurationError as error:
        raise InvalidRunFile(str(path), f"{label}: {error}") from error.__cause__
