"""What the pages in docs/ show is so: programs run, queries find what is printed, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import formats_page, tables_page
from tests.support.nursery import run_program
from tests.support.pages import SERVER, Block, WrongPage, blocks, compare, run
from tests.support.report import report
from tests.support.source import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))


def of_each(pages: list[Path]) -> pytest.MarkDecorator:
    """Run a test for each page."""
    return pytest.mark.parametrize("page", pages, ids=[page.name for page in pages])


def run_apart(page: Path, directory: Path, *url: str) -> None:
    """Run a page in a process of its own: it may define entities and tables."""
    done = run_program("tests.support.pages", str(page), *url, cwd=directory, timeout=120)
    assert done.returncode == 0, f"{page.name}: {done.stderr}"


@of_each([page for page in PAGES if SERVER not in page.read_text(encoding="utf-8")])
def test_what_a_page_shows_is_so(page: Path, tmp_path: Path) -> None:
    run_apart(page, tmp_path)


@of_each([page for page in PAGES if list(blocks(page.read_text(encoding="utf-8"), "sql")) or SERVER in page.read_text(encoding="utf-8")])
def test_queries_find_the_same_and_pages_on_workers_are_so_on_postgresql(page: Path, tmp_path: Path, postgresql_url: str) -> None:
    run_apart(page, tmp_path, postgresql_url)


@of_each(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    report((target for target in targets if not (page.parent / target).exists()), f"docs/{page.name} names a file that is not there")


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    others = (page.name for page in PAGES if page.name != "index.md")
    report((name for name in others if f"]({name})" not in index), "docs/index.md does not link this page")


def test_the_page_of_tables_is_what_the_code_says() -> None:
    page = tables_page.PAGE.read_text(encoding="utf-8")
    assert tables_page.filled(page) == page, "say `make docs`"


def test_the_page_of_formats_is_what_the_code_says() -> None:
    page = formats_page.PAGE.read_text(encoding="utf-8")
    assert formats_page.filled(page) == page, "say `make docs`"


def test_every_column_has_a_meaning() -> None:
    report(tables_page.without_meaning(), "say under it, or under the field that it holds, what it means; then `make docs`")


async def test_the_lines_of_a_page_that_are_wrong_are_told() -> None:
    page = "text\n\n```python\nprint('a')\nprint('b 1')\n```\n\n```output\na\nb …\n```\n"
    assert await run("page.md", page) == page
    with pytest.raises(WrongPage, match="line 9 shows 'x', and it is 'a'"):
        await run("page.md", page.replace("a\nb …", "x\nb …"))
    with pytest.raises(WrongPage, match="line 10 shows None, and it is 'b 1'"):
        await run("page.md", page.replace("\nb …", ""))
    assert await run("page.md", page.replace("b …", "…\nc"), write=True) == page.replace("b …", "b 1")
    with pytest.raises(ZeroDivisionError) as caught:
        await run("page.md", page.replace("print('a')", "1 / 0"))
    assert caught.traceback[-1].lineno == 3  # counted from 0


def test_blanks_beside_bars_do_not_count() -> None:
    compare(Block("output", "a  | b\n…  | NULL\n", 1), "a | b\n1 | NULL")
