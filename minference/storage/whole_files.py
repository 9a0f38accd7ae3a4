"""Files that are written whole: what was there stays until everything new is on the disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE

from minference.errors import UnwritableFile

_SQLITE = b"SQLite format 3\0"
_BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")

Write = Callable[[bytes], object]


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path, which `whole_file` can write to as far as one can tell before.

    Raises:
        UnwritableFile: There is no such directory, it is one itself, or it belongs to an SQLite database.
    """
    target = Path(path)
    with _refusing(target):
        real = Path(os.path.realpath(target))
        if target.is_dir():
            raise UnwritableFile(str(target), "it is a directory: name a file")
        if not target.exists() and not real.parent.is_dir():
            raise UnwritableFile(str(target), f"there is no directory {str(target.parent)!r}: make it first")
        if _is_database(real):
            raise UnwritableFile(str(target), "it is a database, and would be lost: name another file")
        for suffix in _BESIDE_A_DATABASE:
            if real.name.endswith(suffix) and _is_database(real.with_name(real.name.removesuffix(suffix))):
                raise UnwritableFile(str(target), "it belongs to a database, which would be damaged: name another file")
    return target


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Write]:
    """A function that writes; after the block the file holds everything, or is as it was if the block raised.

    A link stays, and what it points to is replaced. Pipes and devices are written to directly.

    Raises:
        UnwritableFile: It cannot be written.
        BrokenPipeError: Who read the pipe has left.
    """
    target = check_target(path)
    if target.exists() and not target.is_file():
        with _writing(target, target, "wb") as write:
            yield write
        return
    real = Path(os.path.realpath(target))
    unfinished = real.with_name(f".minference-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with _writing(target, unfinished, "xb") as write:
            yield write
        with _refusing(target):
            if real.exists():
                unfinished.chmod(S_IMODE(real.stat().st_mode))
            unfinished.replace(real)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(target: Path, place: Path, mode: str) -> Iterator[Write]:
    """A function that writes to `place` for `target`; after the block, all of it is on the disk."""
    with _refusing(target):
        file = place.open(mode)

    def write(data: bytes) -> None:
        with _refusing(target):
            file.write(data)

    try:
        yield write
        with _refusing(target):
            file.flush()
            if mode == "xb":
                os.fsync(file.fileno())
    finally:
        with suppress(OSError):  # what could not be written is tried again, and was told already
            file.close()


@contextmanager
def _refusing(target: Path) -> Iterator[None]:
    """A block in which what the system refuses is said of `target`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise UnwritableFile(str(target), getattr(error, "strerror", None) or str(error)) from error


def _is_database(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False
