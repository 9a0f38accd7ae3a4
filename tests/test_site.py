"""The documentation as a site: links stay within it, and nothing public is left out. Building it is for `make site`."""

from __future__ import annotations

import minference
from tests.support.site import REFERENCE, navigation, reference_page, site_page
from tests.support.source import ROOT


def test_links_of_the_repository_become_links_of_the_site() -> None:
    page = "[a](docs/tools.md#x) ![b](docs/pictures/inspector.png) [c](LICENSE) [d](http://e) [e](docs/no.md)\n```sh\n[a](docs/x.md)\n```\n"
    adapted = "[a](tools.md#x) ![b](pictures/inspector.png) c [d](http://e) [e](no.md)\n```sh\n[a](docs/x.md)\n```\n"
    assert site_page(page, ROOT / "README.md") == adapted
    assert site_page("[a](../README.md), [b](tools.md), [c](../gone.md)", ROOT / "docs/index.md") == (
        "[a](readme.md), [b](tools.md), [c](../gone.md)"
    )


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
