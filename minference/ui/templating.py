"""Pages from templates: everything that is put in is escaped, and made visible where it would steer the reader's screen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from minference import __version__
from minference.cli.output import one_line, when
from minference.ecs.diff_render import printable
from minference.ecs.identity import utc_now
from minference.ecs.lineage import short_id
from minference.ui.costs import cost
from minference.ui.prose import prose, tidy_json

_STEPS = ((60.0, "s"), (60.0, " min"), (24.0, " h"), (30.0, " d"))


def ago(moment: datetime) -> str:
    """How long ago something was, in one unit."""
    passed = max(0.0, (utc_now() - moment).total_seconds())
    if passed < 10:
        return "just now"
    for size, unit in _STEPS:
        if passed < size:
            return f"{int(passed)}{unit} ago"
        passed /= size
    day = moment.astimezone(UTC)
    return f"{day.day} {day:%b %Y}"


def seconds(value: float) -> str:
    """A duration for reading."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


def compact(number: float) -> str:
    """A count in a few characters."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 10:
            return f"{number / size:.0f}{unit}"
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}" if number == int(number) else f"{number:.2g}"


def json_text(value: Any) -> str:
    """JSON data for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _finalize(value: Any) -> Any:
    """What a template may print: text without what would steer a screen, and never half a character."""
    if isinstance(value, Markup):
        return value
    return printable(value) if isinstance(value, str) else value


def environment() -> Environment:
    """The templates of the inspector."""
    made = Environment(
        loader=PackageLoader("minference.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": ago,
        "when": when,
        "short": short_id,
        "one_line": one_line,
        "prose": prose,
        "tidy_json": tidy_json,
        "json_text": json_text,
        "seconds": seconds,
        "compact": compact,
        "cost": cost,
        "count": lambda number: f"{number:,}",
    }
    made.globals |= {"program_version": __version__}
    return made


class Pages:
    """Renders templates with what every page shows."""

    def __init__(self, url: str) -> None:
        self._environment = environment()
        self._url = url

    def render(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """One page."""
        shown = {"database": self._url, "section": "", "query": "", "mark": None, "mark_url": None, **values}
        return HTMLResponse(self._environment.get_template(template).render(shown), status)


def parse_id(text: str) -> UUID | None:
    """An id as it stands in an address; `None` if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
