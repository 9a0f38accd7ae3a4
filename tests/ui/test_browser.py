"""The inspector in a real browser: what only a browser can tell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from minference.storage.open import open_storage
from minference.storage.runs import Began, Ended
from tests.support.chromium import ARGUMENTS, MISSING, find_chromium
from tests.support.nursery import Program
from tests.ui.conftest import Stored
from tests.ui.samples import HOSTILE, a_thread, answer, ask

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Visit:
    """A page, and everything that it did."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    """Errors in the console, and exceptions of scripts."""
    addresses: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.base}{path}")


Enter = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One headless Chromium."""
    program = find_chromium()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING, pytrace=False)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield running
        await running.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[str], str]]:
    """Run `minference ui` on a database; the address that it prints."""
    running: list[Program] = []

    @cache
    def call(url: str) -> str:
        command = ("minference.cli.main", "ui", "--no-browser", "--port", "0", "--storage", url)
        running.append(Program(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        assert running[-1].stdout is not None
        return str(running[-1].stdout.readline().split()[-1])

    yield call
    for process in running:
        with process:
            process.send_signal(signal.SIGINT)


@pytest_asyncio.fixture(loop_scope="module")
async def enter(browser: Browser, serve: Callable[[str], str]) -> AsyncIterator[Enter]:
    """Open the inspector of a database in a browser without a past."""
    contexts = []

    async def call(url: str, **options: Any) -> Visit:
        address = serve(url)
        contexts.append(context := await browser.new_context(**options))
        visit = Visit(await context.new_page(), address.split("/?")[0])
        visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type in ("error", "warning") else None)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("request", lambda request: visit.addresses.append(request.url))
        await visit.page.goto(address)
        return visit

    yield call
    for context in contexts:
        await context.close()


def paths(stored: Stored) -> list[str]:
    """One of each kind of page."""
    lineage, version = stored.travel.lineage_id, stored.travel.ecs_id
    hostile = stored.hostile
    return [
        "/", "/usage", "/runs", f"/run?{urlencode({'name': HOSTILE})}",
        "/search?q=script", f"/threads/{lineage}/at/{version}", f"/threads/{lineage}/tree", f"/compare?b={version}",
        f"/threads/{hostile.lineage_id}", f"/threads/{hostile.lineage_id}/tree", f"/compare?b={hostile.ecs_id}",
        f"/messages/{hostile.history[1].ecs_id}",
    ]  # fmt: skip


@pytest.mark.parametrize("phone", [False, True], ids=["dark", "phone"])
async def test_no_page_complains_leaves_the_machine_runs_what_was_said_or_is_too_wide(enter: Enter, stored: Stored, phone: bool) -> None:
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    visit = await enter(stored.url, viewport=size, color_scheme="light" if phone else "dark")
    for path in paths(stored):
        await visit.go(path)
        await visit.page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
        assert "owned" not in (await visit.page.title()).replace('"owned"', ""), path
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
    assert await visit.page.locator("script").count() == 1
    assert visit.complaints == []
    assert len(visit.addresses) > 30
    assert [address for address in visit.addresses if not address.startswith(f"{visit.base}/")] == []


async def test_the_slider_shows_versions_with_the_keys(enter: Enter, stored: Stored) -> None:
    visit = await enter(stored.url)
    page = visit.page
    await visit.go(f"/threads/{stored.travel.lineage_id}/at/{stored.travel.ecs_id}")
    await expect(page.locator("#place")).to_have_text("9 / 9")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".changes")).to_contain_text("And if it rains?")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".is-edited ins")).to_have_text("Conceição")
    await expect(page.locator("#place")).to_have_text("7 / 9")
    assert re.search(r"/at/[0-9a-f-]{36}\?tip=", page.url)
    await page.locator("#slider").focus()
    await page.keyboard.press("Home")
    await expect(page.locator(".messages .message:not(.system)")).to_have_count(1)
    await page.locator("#next").click()
    await expect(page.locator(".messages .message:not(.system)")).to_have_count(2)
    await page.reload()
    await expect(page.locator("#place")).to_have_text("2 / 9")
    await page.locator("body").click(position={"x": 1, "y": 400})
    await page.keyboard.press("d")
    await expect(page.locator("#sides .added")).to_have_count(1)
    assert visit.complaints == []


async def test_a_search_leads_to_the_message(enter: Enter, stored: Stored) -> None:
    visit = await enter(stored.url)
    page = visit.page
    await page.keyboard.press("/")
    await page.keyboard.type("gulbenkian")
    await page.keyboard.press("Enter")
    await page.locator(".hit a").first.click()
    await expect(page.locator(".message:target")).to_contain_text("Gulbenkian museum")
    assert visit.complaints == []


async def test_two_versions_are_chosen_in_the_tree_and_compared(enter: Enter, stored: Stored) -> None:
    visit = await enter(stored.url)
    page = visit.page
    await visit.go(f"/threads/{stored.travel.lineage_id}/tree")
    lines = page.locator(".tree .line")
    await lines.filter(has=page.locator(".tag", has_text="main")).locator("input[name=a]").check()
    await lines.filter(has=page.locator(".tag", has_text="sintra")).locator("input[name=b]").check()
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator(".cell.left.removed")).to_have_count(2)
    await expect(page.locator(".cell.right.added")).to_have_count(2)
    await expect(page.locator(".cell.right.changed ins")).to_have_text("Rainha")
    assert visit.complaints == []


async def test_pages_follow_what_is_saved(enter: Enter, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'live.db'}"
    visit = await enter(url)
    page = visit.page
    await expect(page.locator("h1")).to_have_text("Waiting for the database")
    async with open_storage(url) as storage:
        thread = a_thread("a run")
        ask(thread, "first question")
        await answer(storage, thread, "first answer")
        await page.locator(".threads .row").filter(has_text="first answer").click()
        ask(thread, "second question")
        await answer(storage, thread, "second answer")
        await expect(page.locator(".messages")).to_contain_text("second answer")
        await expect(page.locator("#place")).to_have_text("4 / 4")
        await page.keyboard.press("ArrowLeft")
        await expect(page).to_have_url(re.compile("/at/"))
        await expect(page.locator("#place")).to_have_text("3 / 4")
        ask(thread, "third question")
        await storage.register(thread)
        await expect(page.locator("#live")).to_contain_text("something new")
        await expect(page.locator(".messages")).not_to_contain_text("third question")
        await page.locator("#live a").click()
        await expect(page.locator(".messages")).to_contain_text("third question")
    assert [each for each in visit.complaints if "503" not in each] == []


async def test_a_run_is_followed_while_another_process_works_on_it(enter: Enter, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'run.db'}"
    async with open_storage(url) as storage:
        threads = [a_thread(f"thread {number}") for number in range(3)]
        await storage.register(*threads)
        visit = await enter(url)
        page = visit.page
        await page.get_by_role("link", name="Runs").click()
        await expect(page.locator(".empty")).to_contain_text("No runs yet")
        runs, lineages = storage.runs(), [thread.lineage_id for thread in threads]
        await runs.take("night", "a.host:1:x", 600, settings={})
        await runs.add("night", lineages)
        await page.locator(".runs .row").filter(has_text="0 of 3").click()
        await expect(page.locator("h1 + .badge")).to_have_text("running")
        await runs.note("night", [Began(lineages[0]), Began(lineages[1])])
        await expect(page.locator(".progress").first).to_have_attribute("aria-label", "2 running, 1 pending")
        await runs.note("night", [Ended(lineages[0], None, 1, 90, 0.25), Ended(lineages[1], "Unable: no model", 0, 0, 0.0)])
        await expect(page.locator(".progress").first).to_have_attribute("aria-label", "1 done, 1 failed, 1 pending")
        await expect(page.locator(".causes")).to_contain_text("Unable: no model")
        await expect(page.locator(".tokens")).to_contain_text("$0.25")
        await runs.release("night", "a.host:1:x")
        await expect(page.locator("h1 + .badge")).to_have_text("interrupted")
        await page.locator(".threads .row").filter(has_text="thread 1").click()
        await expect(page.locator("h1")).to_contain_text("thread 1")
    assert visit.complaints == []
