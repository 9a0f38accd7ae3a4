"""The entry point `minference`: the commands, and what becomes of errors."""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from minference.cli.commands import command_line
from minference.cli.interrupts import Interrupted
from minference.errors import MinferenceError, StorageError

GROUPS = (["threads"], ["runs"], ["db"], ["local"])

_CANNOT_HOLD = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
"""What a file or device says that takes no more of what is printed."""

SOME_FAILED, USAGE, STORAGE, INTERRUPTED = 1, 2, 3, Interrupted.code


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; an error is one line on stderr."""
    # A command makes its objects, prints them and ends: searching among all of them for what is of no use any more takes half its time.
    gc.set_threshold(100_000, 20, 100)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character gets its escape, not a crash after the work was done.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        return _run(arguments)
    except SystemExit as end:
        # Typer and Rich end the program when whoever reads us has left, e.g. `| head`. That is no failure.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return _into_nothing()
    except BrokenPipeError:
        return _into_nothing()
    except UnicodeEncodeError:
        if not any(_is_no_text(each) for each in arguments):
            raise
        return _fail("an argument is no text in UTF-8: write it in UTF-8", USAGE)
    except OSError as error:
        if error.errno not in _CANNOT_HOLD or error.filename is not None:
            raise
        _into_nothing()
        return _fail(f"cannot write to stdout: {error.strerror}", USAGE)


def _run(arguments: Sequence[str]) -> int:
    """Run one command; what its output does to it is raised."""
    if not arguments or list(arguments) in GROUPS:
        arguments = [*arguments, "--help"]
    try:
        code = command_line().main(list(arguments), prog_name="minference", standalone_mode=False)
        sys.stdout.flush()
    except MinferenceError as error:
        return _fail(str(error), code_of(error))
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')} (see `{_command(error)} --help`)", USAGE) if str(error) else USAGE
    except Interrupted as interrupted:
        return _fail(str(interrupted), interrupted.code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _command(error: typer.TyperException) -> str:
    """The command that an error is about, as one types it."""
    context = getattr(error, "ctx", None)  # errors of usage have one; typer does not export their class, nor that of their context
    return str(context.command_path) if context is not None else "minference"


def _into_nothing() -> int:
    """Let the interpreter flush into nothing when it ends, and return 0."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _is_no_text(argument: str) -> bool:
    """Whether bytes that are no UTF-8 were given: Python hands them on as halves of characters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def code_of(error: MinferenceError) -> int:
    """The exit code for an error that ended a command."""
    from minference.errors import InvalidTagName, ProviderError

    if isinstance(error, StorageError) and not isinstance(error, InvalidTagName):
        return STORAGE
    return SOME_FAILED if isinstance(error, ProviderError) else USAGE


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
