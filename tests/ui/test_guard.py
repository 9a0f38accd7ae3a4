"""Who may look, and what pages may do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from minference.errors import ConfigurationError
from minference.ui.application import STATIC, application
from minference.ui.guard import is_expected
from minference.ui.server import Place
from tests.support.report import report
from tests.support.source import ROOT
from tests.ui.conftest import HOST, TOKEN, Stored

TEMPLATES = ROOT / "minference/ui/templates"


@pytest.fixture
def stranger(stored: Stored) -> TestClient:
    """A browser that was not let in."""
    return TestClient(application(stored.url, token=TOKEN), base_url=HOST, follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/usage", "/mark", "/?token=wrong", "/?token=", "/no/such/page"])
def test_who_has_no_token_sees_nothing(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "Lisbon" not in answer.text
    assert "locked" in answer.text


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(stranger: TestClient) -> None:
    answer = stranger.get(f"/search?token={TOKEN}&q=a+b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?q=a+b")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get("/").status_code == 200


def test_the_cookie_of_another_inspector_opens_nothing(stored: Stored, stranger: TestClient) -> None:
    stranger.get(f"/?token={TOKEN}")
    other = TestClient(application(stored.url, token=TOKEN), base_url=HOST, cookies=dict(stranger.cookies))
    assert other.get("/").status_code == 403


def test_the_token_leads_to_no_other_host(stranger: TestClient) -> None:
    answer = stranger.get(f"{HOST}//elsewhere.example/?token={TOKEN}")
    assert answer.headers["location"] == "/elsewhere.example/"


def test_a_name_that_is_made_to_lead_here_is_refused(pages: TestClient) -> None:
    answer = pages.get("/", headers={"Host": "attacker.example:7788"})
    assert answer.status_code == 421
    assert "Lisbon" not in answer.text


@pytest.mark.parametrize(
    ("host", "exposed", "expected"),
    [
        ("127.0.0.1:7788", False, True),
        ("localhost:1", False, True),
        ("LOCALHOST", False, True),
        ("[::1]:7788", False, True),
        ("192.168.1.7:7788", False, False),
        ("192.168.1.7:7788", True, True),
        ("[fe80::1]:7788", True, True),
        ("attacker.example", True, False),
        ("mine:7788", True, True),
        ("localhost.attacker.example:7788", False, False),
        ("127.0.0.1.attacker.example", False, False),
        ("", False, False),
    ],
)
def test_only_addresses_that_a_person_types_are_expected(host: str, exposed: bool, expected: bool) -> None:
    assert is_expected(host, exposed=exposed, names=("mine",)) is expected


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(pages: TestClient, method: str) -> None:
    assert pages.request(method, "/").status_code == 405


@pytest.mark.parametrize("path", ["/", "/usage", "/nowhere", "/static/inspector.js", "/static/nothing", "/mark", "/compare?b=x"])
def test_every_answer_forbids_what_pages_do_not_need(pages: TestClient, path: str) -> None:
    headers = pages.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_templates_hold_no_script_no_style_and_no_address_elsewhere() -> None:
    forbidden = re.compile(r"<script(?! src=\"/static/)|<style|\sstyle=|\son[a-z]+=|(?:src|href|action)=\"(?:https?:)?//|\|\s*safe\b")
    files = [*TEMPLATES.glob("*.html"), *STATIC.glob("*.svg")]
    found = (f"{path.name}: {match.group()}" for path in files for match in forbidden.finditer(path.read_text(encoding="utf-8")))
    report(found, "the content security policy forbids this, or it would leave the machine, or it would not be escaped")
    for name in ("inspector.css", "inspector.js"):
        assert not re.search(r"https?:|[\"'(`]//|@import", (STATIC / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_other_machines_are_let_in_only_on_purpose(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--expose"):
        Place(host, 0).listen()


def test_a_port_that_is_taken_is_told() -> None:
    with Place(port=0).listen() as first, pytest.raises(ConfigurationError, match="choose another --port"):
        Place(port=first.getsockname()[1]).listen()


def test_without_a_port_any_that_is_free_will_do() -> None:
    with Place().listen() as first, Place().listen() as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_what_was_let_in_stays_in(visit: Callable[[str], TestClient], stored: Stored) -> None:
    client = visit(stored.url)
    assert [client.get(path).status_code for path in ("/", "/usage", "/")] == [200, 200, 200]
