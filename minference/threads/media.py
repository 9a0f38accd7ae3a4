"""What bytes are: told from how they begin, or else from the ending of their name."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath

from minference.errors import UnusableAttachment

PDF = "application/pdf"
PATTERN = r"^[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*$"
"""A media type without parameters."""

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", PDF),
)
_BEGIN_SO = frozenset(media_type for _, media_type in _BEGINNINGS) | {"image/webp"}
_TEXT = frozenset({"application/json", "application/xml", "application/yaml", "application/toml", "application/javascript"})
_ENDINGS = {".md": "text/markdown", ".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml"}
_TABLE = mimetypes.MimeTypes(filenames=())
"""Without the files of this machine: the same name means the same everywhere."""


def media_type_of(data: bytes, name: str, said: str | None) -> str:
    """What bytes with this name are: what is `said`, if they do not contradict it.

    Raises:
        UnusableAttachment: They are not what is said, or what the name says, or nobody knows.
    """
    found = _by_beginning(data)
    if said is not None:
        said = said.strip().lower()
    wanted = said or found or _by_name(name)
    if wanted in _BEGIN_SO and wanted != found:
        raise UnusableAttachment(name, f"it is no {wanted}, but {found or 'something else'}: give it the right name or media_type")
    if found is not None and wanted != found:
        raise UnusableAttachment(name, f"it is {found}, and not {wanted}: leave out media_type")
    if wanted is None:
        if not _reads_as_text(data):
            raise UnusableAttachment(name, "what it is cannot be told from its bytes or its name: pass media_type")
        return "text/plain"
    return wanted


def is_text(media_type: str) -> bool:
    """Whether a model can be given such a file as words."""
    return media_type.startswith("text/") or media_type in _TEXT or media_type.endswith(("+json", "+xml"))


def _by_beginning(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for beginning, media_type in _BEGINNINGS if data.startswith(beginning)), None)


def _by_name(name: str) -> str | None:
    guessed, packed = _TABLE.guess_type(name)
    return None if packed else _ENDINGS.get(PurePath(name).suffix.lower(), guessed)


def _reads_as_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
