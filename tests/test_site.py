"""The documentation as a site: links stay within it, and nothing public is left out. Building it is for `make site`."""

from __future__ import annotations

import minference
from tests.support.diagrams import picture, sized
from tests.support.site import REFERENCE, navigation, reference_page, site_page
from tests.support.source import ROOT


def test_links_of_the_repository_become_links_of_the_site() -> None:
    page = "[a](docs/tools.md#x) ![b](docs/pictures/inspector.png) [c](LICENSE) [d](http://e) [e](docs/no.md)\n```sh\n[a](docs/x.md)\n```\n"
    adapted = "[a](tools.md#x) ![b](pictures/inspector.png) c [d](http://e) [e](no.md)\n```sh\n[a](docs/x.md)\n```\n"
    assert site_page(page, ROOT / "README.md", str.upper) == adapted
    assert site_page("[a](../README.md), [b](tools.md), [c](../gone.md)", ROOT / "docs/index.md", str.upper) == (
        "[a](readme.md), [b](tools.md), [c](../gone.md)"
    )


def test_diagrams_are_drawn_and_programs_are_not() -> None:
    page = "a\n```mermaid\nerDiagram\n    tag {\n    }\n```\nb\n```python\nx = '```mermaid'\n```\n"
    drawn = site_page(page, ROOT / "docs/tables.md", lambda block: picture("diagrams/0.svg", block.split("\n")[1]))
    assert drawn == (
        "a\n[![Tables and what they refer to](diagrams/0.svg){ .diagram }](diagrams/0.svg)\nb\n```python\nx = '```mermaid'\n```\n"
    )


def test_a_picture_is_as_large_as_what_it_shows() -> None:
    svg = '<svg width="100%" style="max-width: 200px;" viewBox="0 0 200.5 100"><rect width="100%"/></svg>'
    assert sized(svg) == '<svg width="140" height="70" style="max-width: 200px;" viewBox="0 0 200.5 100"><rect width="100%"/></svg>'


def test_every_page_has_a_place() -> None:
    listed = [page for section in navigation() for pages in section.values() for page in pages]
    names = [page if isinstance(page, str) else next(iter(page.values())) for page in listed]
    assert len(names) == len(set(names))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(names)


def test_the_reference_holds_every_name_of_the_front_door() -> None:
    pages = "\n".join(reference_page(part) for part in REFERENCE)
    missing = [name for name in minference.__all__ if f".{name}\n" not in pages and name != "MinferenceError"]  # in the module of errors
    assert missing == []
    assert "::: minference.errors\n" in pages
