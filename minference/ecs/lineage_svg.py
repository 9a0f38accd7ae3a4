"""A drawn lineage as a picture that needs nothing else: no script, no font, readable on light and on dark ground."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from minference.ecs.lineage_graph import Row, label

LINE, STEP, LEFT = 24, 18, 18
"""Pixels from row to row, from branch to branch, and before the first."""
_CHARACTER = 7.3
"""The width of one character; wide ones count twice."""
_LINES = '<g class="line" fill="none" stroke="#8a8f98" stroke-width="2">'
_VERSIONS = '<g class="version" fill="#ffffff" stroke="#3b6fd4" stroke-width="2">'
_TEXTS = '<g class="text" fill="#1c1f24" font-size="12" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace">'
_DARK = """<style>
  text { white-space: pre }
  @media (prefers-color-scheme: dark) {
    .version { fill: #16181c; stroke: #7fa8ff }
    .current { fill: #7fa8ff }
    .text { fill: #e6e8eb }
    .stretch { fill: #9aa0a9 }
  }
</style>"""


def rows_to_svg(rows: Sequence[Row], marks: Mapping[UUID, str], *, title: str, current: UUID | None = None) -> str:
    """The rows as an SVG document, the last of them on top; every text in it is escaped."""
    labels = [label(row, marks) for row in rows]
    text_at = LEFT + STEP * (1 + max((row.depth for row in rows), default=0))
    width, height = text_at + max(map(_width, labels), default=0) + LEFT, (len(rows) + 1) * LINE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{html.escape(title)}</title>",
            _DARK,
            *_group(_LINES, _edges(rows)),
            *_group(_VERSIONS, _dots(rows, current)),
            *_group(_TEXTS, _texts(rows, labels, text_at)),
            "</svg>\n",
        ]
    )


def _group(head: str, parts: Iterator[str]) -> list[str]:
    return [head, *parts, "</g>"]


def _x(row: Row) -> int:
    return LEFT + row.depth * STEP


def _y(rows: Sequence[Row], index: int) -> int:
    return (len(rows) - index) * LINE


def _edges(rows: Sequence[Row]) -> Iterator[str]:
    """From each row to the one that it was made from, which is further down; dashed where versions are left out."""
    for index, row in enumerate(rows):
        if row.above is None:
            continue
        x, y, to_x, to_y = _x(row), _y(rows, index), _x(rows[row.above]), _y(rows, row.above)
        bend = f"V{to_y - LINE // 2} Q{x} {to_y} {to_x} {to_y}" if x != to_x else f"V{to_y}"
        dashes = "" if row.version and rows[row.above].version else ' stroke-dasharray="2 4"'
        yield f'<path d="M{x} {y} {bend}"{dashes}/>'


def _dots(rows: Sequence[Row], current: UUID | None) -> Iterator[str]:
    for index, row in enumerate(rows):
        if row.version is not None:
            filled = ' class="current" fill="#3b6fd4"' if row.version.ecs_id == current else ""
            yield f'<circle cx="{_x(row)}" cy="{_y(rows, index)}" r="5"{filled}/>'


def _texts(rows: Sequence[Row], labels: Sequence[str], x: int) -> Iterator[str]:
    for index, text in enumerate(labels):
        quiet = "" if rows[index].version else ' class="stretch" fill="#6a7079"'
        yield f'<text x="{x}" y="{_y(rows, index) + 4}" xml:space="preserve"{quiet}>{html.escape(text)}</text>'


def _width(text: str) -> int:
    return round(_CHARACTER * sum(1 if ord(char) < 0x1100 else 2 for char in text))
