"""Which forms of reply a provider can give, and that a config which asks for another is refused."""

from __future__ import annotations

import pytest

from minference.errors import ImpossibleConfig
from minference.profiles import Profile, built_in_profiles
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.formats import Means, capabilities

BARE = Profile(name="bare", dialect="openai", base_url="http://bare/v1", tools=False, json_schema=False, json_object=False)


def test_every_form_is_possible_on_every_provider_that_we_know() -> None:
    for profile in built_in_profiles().values():
        assert None not in capabilities(profile).values()


def test_a_server_that_can_nothing_is_asked_in_words_and_for_no_calls() -> None:
    assert capabilities(BARE) == {
        ResponseFormat.text: Means.native,
        ResponseFormat.json_beg: Means.words,
        ResponseFormat.json_object: Means.words,
        ResponseFormat.structured_output: Means.words,
        ResponseFormat.tool: None,
        ResponseFormat.auto_tools: None,
        ResponseFormat.workflow: None,
    }


def test_an_assignment_that_makes_a_config_impossible_is_refused_and_leaves_it_as_it_was() -> None:
    config = LLMConfig(client="anthropic", model="m", reasoner=True)
    with pytest.raises(ImpossibleConfig) as caught:
        config.response_format = ResponseFormat.workflow
    assert (caught.value.client, caught.value.field, caught.value.value) == ("anthropic", "response_format", "workflow")
    assert config.response_format is ResponseFormat.text
    with pytest.raises(ImpossibleConfig):
        config.model_copy(update={"reasoner": False}).reasoning_effort = "minimal"


def test_of_clients_that_are_not_ours_a_config_knows_nothing() -> None:
    assert LLMConfig(client="mine", model="m", response_format=ResponseFormat.tool, reasoner=True).client == "mine"


async def test_a_config_that_became_impossible_since_it_was_stored_still_loads(storage: EntityStorage) -> None:
    config = LLMConfig(client="mine", model="m", response_format=ResponseFormat.tool, reasoner=True)
    possible = config.model_copy(update={"client": "anthropic"})  # which checks nothing
    await storage.register(possible)
    assert (await storage.get(LLMConfig, possible.ecs_id)).client == "anthropic"
