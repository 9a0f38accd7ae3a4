"""Importing what whoever gives a command has written, as their programs would."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from minference.errors import ConfigurationError


def import_own(target: str, folder: Path | None = None) -> Any:
    """What `module` or `module:name` names, as code in the folder would import it, then and later; by default in this folder.

    Raises:
        ConfigurationError: There is no such module or name, or importing it raised.
    """
    if (path := str((folder or Path.cwd()).resolve())) not in sys.path:
        sys.path.insert(0, path)
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in filter(None, name.split(".")):
            found = getattr(found, part)
    except Exception as error:  # noqa: BLE001 - whatever the user's own module raises is an answer to whoever named it
        problem = error
    else:
        return found
    raise ConfigurationError(f"cannot import {target}: {type(problem).__name__}: {problem}") from problem
