"""For tests of programs that use minference: a client that answers from a script, and a provider of your own on a real socket.

`docs/testing.md` shows them at work. As a pytest fixture, in `conftest.py`:

```python
pytest_plugins = ["minference.testing.fixtures"]
```

`ProviderServer` needs starlette and uvicorn, and imports them when it is started.
"""

from minference.clients.scripted import FunctionClient, ScriptedClient, echo
from minference.testing.answers import Answer, Called, default_answer
from minference.testing.faults import (
    EmptyChoices,
    ErrorInside,
    Fault,
    Hang,
    Html,
    Latency,
    Reset,
    SlowStream,
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
    "FunctionClient",
    "Hang",
    "Html",
    "Latency",
    "ProviderServer",
    "RecordedRequest",
    "Reset",
    "ScriptedClient",
    "SlowStream",
    "Status",
    "TruncatedBody",
    "TruncatedStream",
    "default_answer",
    "echo",
]
