"""Clients by name."""

from __future__ import annotations

from typing import assert_never

from minference.clients.base import Client
from minference.errors import UnknownClient
from minference.profiles import load_profiles


def client_names() -> tuple[str, ...]:
    """Every name that a config can use, in alphabetical order.

    Raises:
        ConfigurationError: The user's providers.toml is not valid.
    """
    return tuple(sorted(load_profiles()))


def create_client(name: str) -> Client:
    """A new client. Reads no key and imports no SDK; `check()` says whether it can make calls.

    Raises:
        UnknownClient: No profile has this name.
        ConfigurationError: The user's providers.toml is not valid.
    """
    profiles = load_profiles()
    profile = profiles.get(name)
    if profile is None:
        raise UnknownClient(name, sorted(profiles))
    match profile.dialect:
        case "openai":
            from minference.clients.openai import OpenAIClient

            return OpenAIClient(profile)
        case "anthropic":
            from minference.clients.anthropic import AnthropicClient

            return AnthropicClient(profile)
        case "local":
            from minference.clients.local import LocalClient

            return LocalClient()
        case "scripted":
            from minference.clients.scripted import ScriptedClient

            return ScriptedClient()
        case unknown:
            assert_never(unknown)
