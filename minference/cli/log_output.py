"""What commands do with the lines that minference logs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from minference import logs


def listen(file: Path | None, level: str | None) -> Callable[[], None]:
    """Log into the file, or to standard error if only a level is given; what to call in the end.

    Warnings of the storage are told in any case: that a branch was made unawares is nothing to find out later.

    Raises:
        ConfigurationError: There is no such level, or the file cannot be written.
    """
    if file is not None or level is not None:
        logs.configure(level=level or "info", file=file)
        if file is None:
            return logs.silence
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    logging.getLogger("minference.storage").addHandler(warnings)

    def end() -> None:
        logging.getLogger("minference.storage").removeHandler(warnings)
        logs.silence()

    return end
