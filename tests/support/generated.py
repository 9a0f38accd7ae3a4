"""Parts of a page that follow from the code, between `<!-- begin name -->` and `<!-- end name -->`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """The page with each of the parts in its place."""
    for name, text in parts.items():
        before, begin, rest = page.partition(f"<!-- begin {name} -->\n")
        _, end, after = rest.partition(f"<!-- end {name} -->")
        assert end, f"the page has no place for {name!r}"
        page = f"{before}{begin}{text}\n{end}{after}"
    return page


def write_anew(path: Path, filled: Callable[[str], str]) -> None:
    """Fill a page in its file."""
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
