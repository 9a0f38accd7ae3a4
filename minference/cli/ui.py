"""`minference ui`: the inspector in a browser."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path

from rich.text import Text

from minference.cli.database import file_of, url_of
from minference.cli.output import stderr, stdout
from minference.errors import ConfigurationError, MissingExtra

NEEDED = ("starlette", "jinja2", "uvicorn")


def require_extra() -> None:
    """Return if the packages of the inspector are installed.

    Raises:
        MissingExtra: One is not.
    """
    for package in NEEDED:
        if find_spec(package) is None:
            raise MissingExtra("the inspector", package, 'pip install "minference[ui]"')


def inspect(database: str, host: str, port: int | None, *, exposed: bool, browse: bool) -> None:
    """Show a database in the browser until interrupted.

    Raises:
        MissingExtra: A package is not installed.
        ConfigurationError: The database has no tables, or the address cannot be used.
    """
    require_extra()
    from minference.ui.server import Place, serve

    url = url_of(database)
    if url.startswith("memory:"):
        raise ConfigurationError("what is in the memory of another program cannot be shown: save to a file, or to PostgreSQL")

    def ready(address: str) -> None:
        stdout().print(Text.assemble("the inspector is at ", (address, "bold")), soft_wrap=True)
        sys.stdout.flush()
        path = file_of(url)
        if path is not None and not Path(path).is_file():
            stderr().print(f"there is no file {path} yet; it is shown as soon as it is created", soft_wrap=True)
        stderr().print("Ctrl-C ends it", style="dim")
        if browse and _has_screen():
            webbrowser.open(address)

    try:
        asyncio.run(serve(url, Place(host, port, exposed), ready))
    except KeyboardInterrupt:
        return


def _has_screen() -> bool:
    """Whether a browser has somewhere to open: without a screen, some open in the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
