"""Providers as data, and clients by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minference.clients.catalog import client_names, create_client
from minference.errors import ConfigurationError, ImpossibleConfig, MissingKey, UnknownClient
from minference.profiles import Profile, load_profiles
from minference.testing import ProviderServer
from minference.threads.config import ResponseFormat
from tests.clients.threads import CITY, asked

ROOT = Path(__file__).parent.parent.parent
BUILT_IN = ("anthropic", "azure_openai", "litellm", "local", "openai", "openrouter", "scripted", "vllm")


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory without a providers.toml."""
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str, name: str = "providers.toml") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_shipped_file_is_what_is_built_in() -> None:
    assert (ROOT / "configs/providers.toml").read_text() == (ROOT / "minference/providers.toml").read_text()


def test_the_built_in_profiles_need_no_file() -> None:
    assert client_names() == BUILT_IN
    assert load_profiles()["vllm"] == Profile(
        name="vllm",
        dialect="openai",
        base_url="http://localhost:8000/v1",
        base_url_env="VLLM_BASE_URL",
        key_env="VLLM_API_KEY",
        key_required=False,
        decoding="guided",
        prefill="continue_final_message",
        pdfs=False,
    )


@pytest.mark.parametrize("name", ["providers.toml", "configs/providers.toml"])
def test_a_file_of_ones_own_is_laid_over_them(tmp_path: Path, name: str) -> None:
    write(tmp_path, '[vllm]\nbase_url = "http://gpu:8000/v1"\n[mine]\ndialect = "openai"\nbase_url = "http://mine/v1"\n', name)
    profiles = load_profiles()
    assert (profiles["vllm"].base_url, profiles["vllm"].prefill) == ("http://gpu:8000/v1", "continue_final_message")
    assert create_client("mine").name == "mine"
    assert client_names() == tuple(sorted([*BUILT_IN, "mine"]))


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINFERENCE_PROVIDERS", str(write(tmp_path, '[mine]\ndialect = "scripted"\n', "elsewhere.toml")))
    assert "mine" in client_names()
    monkeypatch.setenv("MINFERENCE_PROVIDERS", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigurationError, match=r"cannot read .*missing.toml: No such file"):
        client_names()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[openai\n", "providers.toml is no TOML file"),
        ('base_url = "x"\n', "'base_url' stands outside of a table"),
        ('[mine]\nbase_url = "x"\n', r"providers.toml: \[mine\] dialect: Field required"),
        ('[mine]\ndialect = "smoke"\n', r"providers.toml: \[mine\] dialect: Input should be 'openai', 'anthropic', 'local' or 'scripted'"),
        ('[openai]\nurl = "x"\n', r"providers.toml: \[openai\] url: there is no such field; the fields are base_url, "),
        ('[openai]\nprefil = "no"\n', r"providers.toml: \[openai\] prefil: there is no such field; did you mean 'prefill'\?"),
        ('[openai]\nefforts = ["low", "huge"]\n', r"providers.toml: \[openai\] efforts.1: Input should be 'none', 'minimal'"),
        ('[openai]\napi_key = "sk-1"\n', r"providers.toml: \[openai\] api_key: keys do not belong into files"),
        ('[openai]\nkey_required = "no"\n', r"providers.toml: \[openai\] key_required: Input should be a valid boolean"),
        ('[openai]\nname = "x"\n', r"providers.toml: \[openai\] name: the table's heading is the name"),
        ('[openai.headers]\nAuthorization = "sk-1"\n', r"\[openai\] headers: .*Authorization belongs to the API key"),
    ],
)
def test_a_wrong_file_is_refused_with_file_table_and_field_and_no_value(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_profiles()
    assert "sk-1" not in str(caught.value)


def test_an_unknown_client_is_named_with_what_was_meant() -> None:
    with pytest.raises(UnknownClient) as caught:
        create_client("opnai")
    assert str(caught.value) == (
        "no client is called 'opnai': did you mean 'openai'? The clients are "
        + ", ".join(BUILT_IN)
        + ", or add a profile to providers.toml"
    )


@pytest.mark.parametrize("name", ["nope", "gpt", "claude", "x"])
def test_what_resembles_no_client_is_not_taken_for_one(name: str) -> None:
    with pytest.raises(UnknownClient, match=f"no client is called '{name}': use one of "):
        create_client(name)


def test_azure_is_reached_under_its_versioned_path(monkeypatch: pytest.MonkeyPatch) -> None:
    azure = load_profiles()["azure_openai"]
    with pytest.raises(ConfigurationError, match="set the environment variable AZURE_OPENAI_ENDPOINT"):
        azure.url()
    for endpoint in ("https://mine.openai.azure.com", "https://mine.openai.azure.com/", "https://mine.openai.azure.com/openai/v1/"):
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
        assert azure.url() == "https://mine.openai.azure.com/openai/v1"


@pytest.mark.parametrize("url", ["api.openai.com/v1", "ftp://host/v1", "https://", "https:///"])
def test_a_base_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigurationError, match="the base URL of client 'openai' must be like https://host/path"):
        create_client("openai").check()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:99999/v1", "its host or its port"),
        ("http://127.0.0.1:abc/v1", "its host or its port"),
        ("http://[::1/v1", "its host or its port"),
        ("http://:8000/v1", "it names no host"),
        ("http://a..b/v1", "no host can be called so"),
        (f"http://{'a' * 300}.com/v1", "no host can be called so"),
        ("http://me:secret@127.0.0.1/v1", "it holds a user name"),
    ],
)
def test_a_base_url_that_nothing_can_be_sent_to_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, why: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigurationError, match=f"the base URL of client 'openai' cannot be used: {why}") as caught:
        create_client("openai").check()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1]:8000/v1", "https://bücher.example/v1", "http://my_host/v1"])
def test_unusual_hosts_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert load_profiles()["openai"].url() == url


def test_keys_come_from_the_environment_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = create_client("openai")
    with pytest.raises(MissingKey, match="client 'openai' needs an API key: set the environment variable OPENAI_API_KEY"):
        client.check()
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    client.check()
    assert load_profiles()["openai"].key() == "sk-1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nsk-2")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY holds characters that no API key has") as caught:
        client.check()
    assert "sk-1" not in str(caught.value)


def test_a_server_without_keys_needs_none() -> None:
    create_client("vllm").check()


def test_making_a_client_imports_no_sdk() -> None:
    code = (
        "import sys; from minference.clients.catalog import create_client; create_client('openai'); create_client('anthropic'); "
        "create_client('scripted'); import minference.testing; "
        "print(sorted({'openai', 'anthropic', 'starlette', 'uvicorn', 'aiohttp', 'httpx2'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_every_field_of_a_profile_is_told_in_the_shipped_file() -> None:
    told = (ROOT / "configs/providers.toml").read_text().partition("\n[")[0]
    assert [name for name in Profile.model_fields if name != "name" and name not in told] == []


async def test_a_provider_of_ones_own_is_a_table_and_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProviderServer(strict=True) as server:
        write(
            tmp_path,
            f'''
            [mine]
            dialect = "openai"
            base_url = "{server.openai_url}"
            key_env = "MY_KEY"
            json_schema = false
            [mine.headers]
            X-Team = "blue"
            [theirs]
            dialect = "anthropic"
            base_url = "{server.url}"
            key_required = false
            ''',
        )
        monkeypatch.setenv("MY_KEY", "secret")
        for name in ("mine", "theirs"):
            client, thread = create_client(name), asked(name, ResponseFormat.structured_output)
            thread.forced_output = CITY
            client.check()
            request = client.to_request(thread)
            reply = client.from_response((await client.send(request, timeout=30)).payload, request)
            await client.aclose()
            assert reply.content == '{"name":"Hello?"}'
    first, second = server.requests
    assert (first.headers["authorization"], first.headers["x-team"]) == ("Bearer secret", "blue")
    assert (first.body["tools"][0]["function"]["name"], second.dialect) == ("json_answer", "anthropic")


def test_what_a_provider_of_ones_own_cannot_do_is_refused_when_it_is_asked(tmp_path: Path) -> None:
    write(tmp_path, '[mine]\ndialect = "openai"\nbase_url = "http://mine/v1"\ntools = false\nefforts = ["low"]\n')
    client = create_client("mine")
    with pytest.raises(ImpossibleConfig, match="client 'mine' cannot do response_format 'workflow': it takes no tools: use 'text', "):
        client.to_request(asked("mine", ResponseFormat.workflow))
    with pytest.raises(ImpossibleConfig, match="cannot do reasoning_effort 'high': use 'low', or None"):
        client.to_request(asked("mine", reasoning_effort="high"))
