"""What the pages show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest
from starlette.testclient import TestClient

from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.threads.thread import ChatThread
from tests.ui.conftest import Stored, work_on
from tests.ui.samples import HOSTILE, PIXEL, a_thread, answer, ask


def text_of(page: str) -> str:
    """What a reader sees of a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<title>.*?</title>", "", page))).split())


def links(page: str, pattern: str) -> list[str]:
    """The addresses in a page that look so, in order, each once."""
    return list(dict.fromkeys(unescape(each) for each in re.findall(r'href="([^"]+)"', page) if re.search(pattern, each)))


def every_page(pages: TestClient, thread: ChatThread) -> Iterator[tuple[str, str]]:
    """The address and content of each kind of page about a thread."""
    first = pages.get(f"/threads/{thread.lineage_id}")
    further = [each for kind in ("/at/", "/tree", "/compare", "/messages/") for each in links(first.text, kind)[:3]]
    for path in (
        "/",
        "/runs",
        *links(pages.get("/runs").text, "^/run[?]"),
        "/usage",
        "/search?q=b",
        "/search?q=document",
        f"/threads/{thread.lineage_id}",
        *further,
    ):
        answered = pages.get(path)
        assert answered.status_code == 200, path
        yield path, answered.text


def test_the_list_has_the_newest_thread_first_with_its_last_message(pages: TestClient) -> None:
    rows = re.findall(r'<a class="row".*?</a>', pages.get("/").text, re.DOTALL)
    assert len(rows) == 50
    assert text_of(rows[0]).startswith("A long talk gpt-5.4-mini assistant message number 179 180 messages 1 versions")


def test_the_list_is_read_a_page_at_a_time(pages: TestClient) -> None:
    first, second = pages.get("/").text, pages.get("/?page=2").text
    assert "63 threads, page 1 of 2" in text_of(first)
    assert len(set(links(first, "^/threads/")) | set(links(second, "^/threads/"))) == 63
    assert "Nothing matches" in text_of(pages.get("/?page=9").text)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("name=lisBON", 1),
        ("model=gpt-5.4-mini&name=talk", 1),
        ("author=ada", 1),
        ("since=2999-01-01", 0),
        ("name=100%25", 0),
        ("since=x", 63),
    ],
)
def test_the_list_is_filtered(pages: TestClient, query: str, count: int) -> None:
    page = pages.get(f"/?{query}").text
    assert f"{count} thread" in text_of(page) if count else "Nothing matches" in page


def test_a_thread_shows_its_messages_with_what_belongs_to_them(pages: TestClient, stored: Stored) -> None:
    page = pages.get(f"/threads/{stored.travel.lineage_id}/at/{stored.travel.ecs_id}").text
    seen = text_of(page)
    assert "You plan short trips." in seen
    assert "Reasoning The user asks about swimming" in seen
    assert 'calls weather {"city": "Lisbon"}' in seen
    assert "A single ticket costs €2.40" in seen
    assert "900 ms 212 → 31 tokens raw request and reply" in seen
    assert "<strong>fresh</strong>" in page
    assert '<span class="language">python</span><code>trip = Trip(' in page
    assert page.count('<details class="fold') == 4


def test_a_version_says_what_it_changed(pages: TestClient, stored: Stored) -> None:
    lineage = stored.travel.lineage_id
    edited = pages.get(f"/threads/{lineage}/at/{stored.travel.ecs_id}/step/6").text
    assert "“the beach with the shorter walk”" in text_of(edited)
    assert "changed 1 message edited #3" in text_of(edited)
    assert "<del>Rainha</del><ins>Conceição</ins>" in edited
    assert re.findall(r'class="message \w+ is-(\w+)" id="m(\d+)"', edited) == [("edited", "3")]


def test_steps_follow_the_line_that_one_is_on(pages: TestClient, stored: Stored) -> None:
    lineage = stored.travel.lineage_id
    tip = pages.get(f"/threads/{lineage}/at/{stored.travel.ecs_id}").text
    [count] = re.findall(r'data-count="(\d+)"', tip)
    walked = [pages.get(f"/threads/{lineage}/at/{stored.travel.ecs_id}/step/{place}") for place in range(int(count))]
    assert str(walked[-1].url).split("?")[0].endswith(str(stored.travel.ecs_id))
    assert all(f"tip={stored.travel.ecs_id}" in str(each.url) for each in walked)
    assert [re.findall(r'data-place="(\d+)"', each.text) for each in walked] == [[str(place)] for place in range(int(count))]
    beyond = pages.get(f"/threads/{lineage}/at/{stored.travel.ecs_id}/step/999")
    assert str(beyond.url) == str(walked[-1].url)


def test_a_long_thread_is_shown_in_parts(pages: TestClient, stored: Stored) -> None:
    here = f"/threads/{stored.long.lineage_id}"
    end = pages.get(here).text
    assert re.findall(r'<article class="message \w+" id="m(\d+)"', end) == [str(index) for index in range(130, 180)]
    assert "↑ 130 earlier" in text_of(end)
    middle = pages.get(links(end, "from=80")[0]).text
    assert "message number 80" in middle
    assert "↓ 50 later" in text_of(middle)
    assert re.findall(r'id="m(\d+)"', pages.get(f"{here}?from=99999").text) == ["179"]
    assert len(re.findall(r'id="m(\d+)"', pages.get(f"{here}?from=-3").text)) == 50


def test_the_tree_shows_branches_and_tags(pages: TestClient, stored: Stored) -> None:
    page = pages.get(f"/threads/{stored.travel.lineage_id}/tree").text
    assert "11 versions, 2 branches" in text_of(page)
    assert set(re.findall(r'<span class="tag">(.*?)</span>', page)) == {"first plan", "main", "sintra"}
    assert page.count("<circle") == 11
    assert page.count("<path") == 10
    assert page.count('class="badge end"') == 2


def test_two_versions_stand_side_by_side(pages: TestClient, stored: Stored) -> None:
    lineage = stored.travel.lineage_id
    tree = pages.get(f"/threads/{lineage}/tree").text
    versions = re.findall(r'name="b" value="([^"]+)"', tree)
    edit = next(each for each in versions if "1 message edited" in pages.get(f"/threads/{lineage}/at/{each}").text)
    page = pages.get(f"/compare?b={edit}").text
    assert "3 equal messages" in text_of(page)
    assert "2 equal messages" in text_of(page)
    assert re.findall(r'class="cell (\w+) (\w+)"', page) == [("left", "changed"), ("right", "changed")]
    assert "<del>Rainha</del>" in page
    assert "These versions are equal." in pages.get(f"/compare?a={edit}&b={edit}").text


def test_the_first_version_has_nothing_to_be_compared_with(pages: TestClient, stored: Stored) -> None:
    page = pages.get(f"/compare?b={stored.long.ecs_id}")
    assert page.status_code == 404
    assert "nothing before it" in page.text


def test_a_search_finds_messages_threads_and_ids(pages: TestClient, stored: Stored) -> None:
    found = pages.get("/search?q=palace early").text
    assert "Sintra" not in text_of(found).split("Messages")[0]
    assert "Start early, since the palace fills up by ten" in text_of(found)
    [hit] = links(found, "/message/")
    landed = pages.get(hit)
    assert f"/threads/{stored.travel.lineage_id}/at/" in str(landed.url)
    assert re.search(r"#m7$", str(landed.url))
    assert "Weekend in Lisbon" in text_of(pages.get("/search?q=lisbon week").text + pages.get("/search?q=weekend in").text)
    by_id = pages.get(f"/search?q={stored.travel.ecs_id.hex[-8:]}").text
    assert f"/threads/{stored.travel.lineage_id}/at/{stored.travel.ecs_id}" in by_id
    assert "Nothing found" in pages.get("/search?q=xyzzy").text


def test_usage_is_told_by_model(pages: TestClient) -> None:
    page = pages.get("/usage?days=90").text
    seen = text_of(page)
    assert page.count('<svg class="chart"') == 5
    assert re.search(r"claude-opus-5-5 anthropic 5 unknown 1,429 0 332 1\.4 s 2\.7 s 0 0", seen)
    assert re.search(r"claude-haiku-5-5 anthropic \d+ \$0\.0\d{3} [1-9]", seen)
    assert re.search(r"all 66 \$0\.\d{4} \+ unknown", seen)
    assert re.search(r"The price of \d+ replies is unknown \(.*qwen3-32b.*\): the sums of money are without them\.", seen)
    assert "attempts and invalid objects" in seen
    assert pages.get("/usage?days=x").status_code == 200


@pytest.mark.parametrize("path", ["/threads/not-an-id", f"/threads/{'0' * 32}", f"/messages/{'0' * 32}", "/compare?b=1", "/nowhere"])
def test_what_is_not_there_is_said_plainly(pages: TestClient, path: str) -> None:
    page = pages.get(path)
    assert page.status_code == 404
    assert 'href="/"' in page.text
    assert "There is no such" in page.text


def test_a_message_is_no_thread(pages: TestClient, stored: Stored) -> None:
    message = stored.travel.history[0]
    assert pages.get(f"/threads/{message.lineage_id}").status_code == 404
    assert pages.get(f"/messages/{stored.travel.ecs_id}").status_code == 404


def test_nothing_that_was_said_is_taken_for_html(pages: TestClient, stored: Stored) -> None:
    shown = 0
    for path, page in every_page(pages, stored.hostile):
        assert "<script>document" not in page, path
        assert "<img src=x" not in page, path
        assert "<b>" not in page, path
        assert "\u202e" not in page, path
        shown += page.count("&lt;script&gt;")
    assert shown > 30


def test_attachments_are_images_or_for_keeping(pages: TestClient, stored: Stored) -> None:
    image, notes = stored.travel.history[4].attachments
    shown = pages.get(f"/attachments/{image.ecs_id}")
    assert (shown.headers["content-type"], shown.content) == ("image/png", PIXEL)
    assert "sandbox" in shown.headers["content-security-policy"]
    kept = pages.get(f"/attachments/{notes.ecs_id}")
    assert (kept.headers["content-type"], kept.content) == ("application/octet-stream", b"Cascais, 2024")
    [harmful] = stored.hostile.history[0].attachments
    page = pages.get(f"/attachments/{harmful.ecs_id}")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"] == "attachment; filename*=UTF-8''%22%3E%3Cscript%3Ex%3C%2Fscript%3E.html"


def test_a_message_shows_what_came_back_for_it(pages: TestClient, stored: Stored) -> None:
    page = pages.get(f"/messages/{stored.hostile.history[1].ecs_id}").text
    assert "parameters only" in page
    [reply] = links(page, "/reply")
    assert pages.get(reply).json()["usage"] == {"input_tokens": 120}
    assert pages.get(links(page, "/request")[0]).json() == {"model": HOSTILE, "max_tokens": 1024}


def test_an_erased_thread_says_when_and_why(sqlite_url: str, visit: Callable[[str], TestClient]) -> None:
    async def work(storage: EntityStorage) -> ChatThread:
        thread = a_thread("secret name")
        ask(thread, "secret words")
        await answer(storage, thread, "secret answer")
        await storage.erase(thread, reason="asked for by mail", author="ada")
        return thread

    thread = work_on(sqlite_url, work)
    client = visit(sqlite_url)
    page = client.get(f"/threads/{thread.lineage_id}").text
    assert "This thread was erased" in page
    assert "by ada: asked for by mail" in text_of(page)
    for path, shown in every_page(client, thread):
        assert "secret" not in shown, path


def test_the_request_of_a_run_is_shown_exactly_as_it_was_sent(
    sqlite_url: str, visit: Callable[[str], TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProviderServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "a-test-key")
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)

        async def work(storage: EntityStorage) -> ChatThread:
            thread = a_thread(client="openai", model="m", system="Be brief.")
            thread.new_message = "Why is the sky blue?"
            async with InferenceOrchestrator(storage=storage) as orchestrator:
                await orchestrator.run([thread])
            return thread

        thread = work_on(sqlite_url, work)
        monkeypatch.delenv("OPENAI_API_KEY")
        client = visit(sqlite_url)
        page = client.get(f"/messages/{thread.history[-1].ecs_id}").text
        assert "exactly as sent" in page
        assert client.get(links(page, "/request")[0]).json() == server.requests[0].body
        assert "a-test-key" not in page
        assert client.get("/usage").text.count("<rect") >= 3
