"""Profiles: where a provider is, which variable holds its key, and how its dialect differs, as data."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from minference.errors import ConfigurationError, MissingKey

FILE_VARIABLE = "MINFERENCE_PROVIDERS"
USUAL_FILES = ("configs/providers.toml", "providers.toml")
NO_KEY = "no-key-needed"
"""Sent to servers that ask for no key, because the SDKs insist on one."""

KEY_NAMES = {"authorization", "api-key", "x-api-key", "apikey"}


class Profile(BaseModel):
    """One provider, as `providers.toml` describes it. Never holds a key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    """The name that configs use: the table's."""
    dialect: Literal["openai", "anthropic", "local", "scripted"]
    base_url: str | None = None
    """Where requests go."""
    base_url_env: str | None = None
    """Environment variable that overrides `base_url`."""
    base_url_suffix: str = ""
    """Added to the URL unless it ends so already."""
    key_env: str | None = None
    """Environment variable that holds the API key."""
    key_required: bool = True
    """Whether calls are impossible without a key."""
    token_limit: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"  # noqa: S105 - a field's name
    """The field for the longest reply."""
    tools: bool = True
    """Whether the model can be offered tools, and made to call one."""
    json_schema: bool = True
    """Whether replies can be held to a JSON schema."""
    decoding: Literal["strict", "guided"] = "strict"
    """Whether schemas must keep to the rules of OpenAI, or a grammar is made from whatever they say."""
    json_object: bool = True
    """Whether there is a JSON mode."""
    prefill: Literal["no", "assistant", "continue_final_message"] = "no"
    """Whether an answer can be begun for the model, and by which means."""
    reasoning: Literal["reasoning_effort", "reasoning", "unsupported"] = "reasoning_effort"
    """The field for the reasoning effort."""
    efforts: tuple[Literal["none", "minimal", "low", "medium", "high", "max"], ...] = Field(
        default=("none", "minimal", "low", "medium", "high", "max"), strict=False
    )
    """The reasoning efforts that it knows."""
    reasons_before_forced_tool: bool = True
    """Whether a model that reasons can be made to call a tool."""
    reasoning_blocks: Literal["no", "reasoning_details", "thinking_blocks"] = "no"
    """The field in which the provider's reasoning blocks are sent back to it."""
    written_calls: bool = True
    """Whether its models may write tool calls as text, which are then taken for calls."""
    stream_usage: bool = True
    """Whether usage must be asked for when streaming."""
    images: bool = True
    """Whether messages can carry images."""
    pdfs: bool = True
    """Whether messages can carry PDFs."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Sent with every request."""

    @field_validator("headers")
    @classmethod
    def _no_keys_in_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        if found := sorted(name for name in headers if name.lower() in KEY_NAMES):
            raise ValueError(f"{found[0]} belongs to the API key: name its environment variable in key_env")
        return headers

    def key(self) -> str | None:
        """The API key from the environment; `None` if there is none and none is needed.

        Raises:
            MissingKey: The variable is empty or not set.
            ConfigurationError: The variable holds what cannot be a key.
        """
        value = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        if not value:
            if self.key_env and self.key_required:
                raise MissingKey(self.name, self.key_env)
            return None
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ConfigurationError(f"{self.key_env} holds characters that no API key has: set it again, without spaces or line breaks")
        return value

    def account(self) -> str:
        """Names key and server without telling them: calls of one account share its limits."""
        value = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        url = os.environ.get(self.base_url_env, "").strip() if self.base_url_env else ""
        return _account(url or self.base_url or "", value)

    def url(self) -> str:
        """Where requests go, from the environment or the profile.

        Raises:
            ConfigurationError: There is no URL, or it is none.
        """
        value = (os.environ.get(self.base_url_env, "").strip() if self.base_url_env else "") or self.base_url or ""
        if not value:
            where = f"the environment variable {self.base_url_env}" if self.base_url_env else "base_url in its profile"
            raise ConfigurationError(f"client {self.name!r} needs a base URL: set {where}")
        scheme, _, rest = value.partition("://")
        if scheme not in ("http", "https") or not rest.strip("/"):
            raise ConfigurationError(f"the base URL of client {self.name!r} must be like https://host/path, not {_hidden(value)!r}")
        if (why := _unusable(value)) is not None:
            raise ConfigurationError(f"the base URL of client {self.name!r} cannot be used: {why} ({_hidden(value)!r})")
        value = value.rstrip("/")
        return value if value.endswith(self.base_url_suffix) else value + self.base_url_suffix


@lru_cache(maxsize=64)
def _account(url: str, key: str) -> str:
    return hashlib.sha256(f"{url}\n{key}".encode()).hexdigest()[:12]


def load_profiles(path: Path | None = None) -> dict[str, Profile]:
    """Every profile by name: the built-in ones with the user's own file laid over them.

    Raises:
        ConfigurationError: The file cannot be read, or a field is wrong; says which.
    """
    path = path or _own_file()
    if path is None:
        return dict(built_in_profiles())
    own = _read(path)
    changed = {name: _profile(name, {**_built_in_tables().get(name, {}), **table}, path) for name, table in own.items()}
    return {**built_in_profiles(), **changed}


@cache
def built_in_profiles() -> Mapping[str, Profile]:
    """The profiles that minference comes with."""
    return MappingProxyType({name: _profile(name, table, Path("providers.toml")) for name, table in _built_in_tables().items()})


@cache
def _built_in_tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("minference").joinpath("providers.toml").read_text(encoding="utf-8"))


def _own_file() -> Path | None:
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named)
    return next((path for path in map(Path, USUAL_FILES) if path.is_file()), None)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}; {FILE_VARIABLE} and the usual places must name a file") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no TOML file: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: {name!r} stands outside of a table: write it under [name-of-the-provider]")
    return tables


def _profile(name: str, table: dict[str, Any], path: Path) -> Profile:
    if "name" in table:
        raise ConfigurationError(f"{path}: [{name}] name: the table's heading is the name; remove the field")
    try:
        return Profile.model_validate({"name": name, **table})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise ConfigurationError(f"{path}: [{name}] {field}: {_explain(problem['type'], field, problem['msg'])}") from None


def _explain(kind: str, field: str, message: str) -> str:
    if kind != "extra_forbidden":
        return message
    if "key" in field:
        return "keys do not belong into files: name the environment variable in key_env"
    fields = sorted(set(Profile.model_fields) - {"name"})
    if close := get_close_matches(field, fields, 1):
        return f"there is no such field; did you mean {close[0]!r}?"
    return f"there is no such field; the fields are {', '.join(fields)}"


@lru_cache(maxsize=64)
def _unusable(url: str) -> str | None:
    """Why no request can be sent to a URL; `None` if one can."""
    try:
        parts = urlsplit(url)
        with_port = parts.port  # looks whether it is one
    except ValueError:
        return "its host or its port, a number up to 65535, is wrong"
    if with_port == 0 or not parts.hostname:
        return "it names no host, or port 0"
    if "@" in parts.netloc:
        return "it holds a user name, and nobody can be sent both that and an API key"
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        return "no host can be called so"
    return None


def _hidden(url: str) -> str:
    """The URL without what may be a password in it."""
    return url if "@" not in url else "...@" + url.rpartition("@")[2]
