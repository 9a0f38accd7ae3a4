"""Where tests keep their files: in memory, if there is room, since thousands of tests wait for each `fsync` otherwise."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_ROOM = 4 * 2**30
"""Bytes that must be free."""


def fast_directory() -> str:
    """A directory for files that need not outlive a crash of the machine."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM:
        return str(memory)
    return tempfile.gettempdir()
