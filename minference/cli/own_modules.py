"""Importing modules of whoever gives a command, as their programs in this folder would."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from minference.errors import ConfigurationError


def import_own(module: str) -> ModuleType:
    """A module in this folder, or an installed one.

    Raises:
        ConfigurationError: There is none of this name, or importing it raised.
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever the user's own module raises is an answer about this option
        problem = error
    finally:
        sys.path.pop(0)
    raise ConfigurationError(f"cannot import {module}: {type(problem).__name__}: {problem}") from problem
