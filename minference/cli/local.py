"""`minference local ...`: the embedded model."""

from __future__ import annotations

from minference.cli.interrupts import if_interrupted
from minference.cli.output import stderr


def setup() -> int:
    """Install what the embedded model needs.

    Raises:
        MissingExtra: It could not be installed; says what to run by hand.
    """
    from minference.clients.local_setup import install

    with if_interrupted("what was installed before stays, and the same command again goes on"):
        install()
    stderr().print("the embedded model is ready: try `minference chat --client local`")
    return 0
