"""Mermaid diagrams as pictures that need no script: whoever reads the site asks nobody else for anything."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FENCE = "```mermaid"
SETTINGS = '%%{init: {"er": {"nodeSpacing": 30, "rankSpacing": 60}, "flowchart": {"rankSpacing": 40}}}%%'
"""Closer together than Mermaid would have it, so that a column of text is wide enough."""

SCALE = 0.7
"""Of Mermaid's own size, which is made for a whole screen."""


def draw(block: str, folder: Path) -> str:
    """A block of Mermaid as a picture in this folder of the site; what stands in its place in the page."""
    import mermaidx  # only whoever builds the site has it

    source = block.removeprefix(FENCE).rstrip().removesuffix("```").strip()
    name = f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.svg"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(sized(mermaidx.render(f"{SETTINGS}\n{source}").svg()), encoding="utf-8")
    return picture(f"{folder.name}/{name}", source)


def sized(svg: str) -> str:
    """The picture with a size of its own: Mermaid makes it as wide as what it stands in, however little it shows."""
    head, end, rest = svg.partition(">")
    _, _, width, height = re.findall(r"[\d.]+", head.partition('viewBox="')[2].partition('"')[0])
    own = f'width="{SCALE * float(width):.0f}" height="{SCALE * float(height):.0f}"'
    return head.replace('width="100%"', own) + end + rest


def picture(place: str, source: str) -> str:
    """The picture, which leads to itself in full size; its words are there for those who do not see it."""
    kind = "Tables and what they refer to" if source.startswith("erDiagram") else "A diagram"
    return f"[![{kind}]({place}){{ .diagram }}]({place})"
