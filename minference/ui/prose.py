"""What a model or a person wrote, as HTML that can only be read: everything is escaped, then code and bold words get their tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from markupsafe import Markup, escape

from minference.ecs.diff_render import printable

_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w+#.-]{0,30})[^\n`]*\n(.*?)(?:^ {0,3}```[ \t]*$\n?|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`|\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*")


def prose(text: str) -> Markup:
    """A text with its blocks of code set apart. Nothing else of Markdown is read, so that little is lost of what was written."""
    return Markup("").join(_blocks(printable(text)))


def _blocks(text: str) -> Iterator[Markup]:
    at = 0
    for match in _FENCE.finditer(text):
        yield from _plain(text[at : match.start()])
        language = Markup('<span class="language">{}</span>').format(match[1]) if match[1] else Markup("")
        yield Markup('<pre class="code">{}<code>{}</code></pre>').format(language, match[2].rstrip("\n"))
        at = match.end()
    yield from _plain(text[at:])


def _plain(text: str) -> Iterator[Markup]:
    if text.strip():
        yield Markup('<div class="text" dir="auto">{}</div>').format(Markup("").join(_inline(text.strip("\n"))))


def _inline(text: str) -> Iterator[Markup]:
    at = 0
    for match in _INLINE.finditer(text):
        yield escape(text[at : match.start()])
        yield Markup("<code>{}</code>").format(match[1]) if match[1] else Markup("<strong>{}</strong>").format(match[2])
        at = match.end()
    yield escape(text[at:])


def tidy_json(text: str) -> str | None:
    """JSON text with indentation; `None` if the text is no JSON object or list."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
