"""For tests of programs that use minference: a client that answers from a script, and a provider of your own on a real socket.

As pytest fixtures:

```python
@pytest.fixture
def provider_server():
    with ProviderServer() as server:
        yield server

async def test_my_program(provider_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", provider_server.openai_url)
    ...
    assert len(provider_server.requests) == 1
```

`ProviderServer` needs starlette and uvicorn, and imports them when it is started.
"""

from minference.clients.scripted import ScriptedClient, echo
from minference.testing.answers import Answer, Called, default_answer
from minference.testing.faults import (
    EmptyChoices,
    ErrorInside,
    Fault,
    Hang,
    Html,
    Latency,
    Reset,
    Status,
    TruncatedBody,
    TruncatedStream,
)
from minference.testing.server import ProviderServer, RecordedRequest

__all__ = [
    "Answer",
    "Called",
    "EmptyChoices",
    "ErrorInside",
    "Fault",
    "Hang",
    "Html",
    "Latency",
    "ProviderServer",
    "RecordedRequest",
    "Reset",
    "ScriptedClient",
    "Status",
    "TruncatedBody",
    "TruncatedStream",
    "default_answer",
    "echo",
]
