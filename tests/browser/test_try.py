"""The page on which the API is tried, in a browser: what is sent, what is shown, and what is refused."""

from __future__ import annotations

import json
import re

import pytest
from lab import running_serve
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1">'


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # uploads go there
    root = tmp_path / "shop"
    root.mkdir()
    (root / "capability.yaml").write_text(
        "schema: 1\nname: shop\nversion: 1.2.0\ndescription: d\nworkers:\n  till: {path: till.py}\n"
    )
    (root / "till.py").write_text("from dnworker import Worker\nworker = Worker(name='till')\n")
    with running_serve(root, home=tmp_path) as started:
        yield started


@pytest.fixture
def tried(page, served):
    """The page, with what its requests carried."""
    page.requests = []
    page.token = served.token_file.read_text().strip()
    page.on("request", lambda request: page.requests.append(request))
    page.goto(f"{served.url}/panel/try")
    page.get_by_text("POST /api/events", exact=True).wait_for()
    return page


def operation(page, name):
    """Open an operation, and return its form."""
    one = page.locator("details").filter(has=page.get_by_text(name, exact=True))
    one.locator("summary").click()
    return one


def test_an_operation_is_found_filled_in_and_sent_and_its_answer_is_text(tried):
    tried.get_by_label("Token").fill(tried.token)
    tried.get_by_label("Find").fill("publish an event to one session")
    expect(tried.locator("details:visible")).to_have_count(1)
    one = operation(tried, "POST /api/sessions/{session_id}/events")
    tried.get_by_label("Find").fill("")
    one.get_by_label("session_id *").fill("none/$& here")
    one.get_by_label("Body").fill(json.dumps({"kind": HOSTILE, "payload": {}}))
    one.get_by_role("button", name="Send").click()
    one.get_by_text("404 Not Found in").wait_for()
    sent = next(r for r in tried.requests if r.method == "POST")
    assert sent.url.endswith("/api/sessions/none%2F%24%26%20here/events")
    expect(one.locator("pre")).to_contain_text("none/$& here")

    one = operation(tried, "POST /api/events")
    expect(one.get_by_label("Body")).to_have_value(re.compile(r'^\{\s*"kind": ""\s*\}$'))
    one.get_by_label("Body").fill(json.dumps({"kind": "shop.sale", "payload": {"html": HOSTILE}}))
    one.get_by_role("button", name="Send").click()
    one.get_by_text("200 OK in").wait_for()
    said = json.loads(one.locator("pre").inner_text())
    assert said.keys() == {"event_id", "seq"}
    assert tried.evaluate("window.attacked") is None


def test_without_a_token_it_says_what_is_missing_and_no_request_leaves_the_runtime(tried, served):
    one = operation(tried, "GET /api/workers/{capability}/{worker}")
    one.get_by_label("capability *").fill("shop")
    one.get_by_label("worker *").fill("till")
    one.get_by_role("button", name="Send").click()
    one.get_by_text("401 Unauthorized in").wait_for()
    expect(one.get_by_role("status")).to_contain_text("give the token above")
    tried.get_by_label("Token").fill(tried.token)
    one.get_by_role("button", name="Send").click()
    one.get_by_text("200 OK in").wait_for()
    expect(one.locator("pre")).to_contain_text('"qualified_name": "shop:till"')
    assert {r.url.split("/")[2] for r in tried.requests} == {served.url.split("/")[2]}
    stored = tried.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert tried.token not in stored


@pytest.mark.parametrize("step", [".", ".."])
def test_a_value_that_leads_to_another_operation_is_refused(tried, step):
    one = operation(tried, "DELETE /api/sessions/{session_id}")
    one.get_by_label("session_id *").fill(step)
    before = len(tried.requests)
    one.get_by_role("button", name="Send").click()
    one.get_by_text(f"session_id cannot be {step} on this page").wait_for()
    assert len(tried.requests) == before


def test_a_file_is_uploaded_with_its_bytes(tried, tmp_path):
    tried.get_by_label("Token").fill(tried.token)
    one = operation(tried, "PUT /api/files/upload")
    one.get_by_label("batch *").fill("b1")
    one.get_by_label("path *").fill("notes.bin")
    before = len(tried.requests)
    one.get_by_role("button", name="Send").click()  # nothing is sent without a file
    data = bytes(range(256))
    one.get_by_label("Body").set_input_files({"name": "any.txt", "mimeType": "text/plain", "buffer": data})
    one.get_by_role("button", name="Send").click()
    one.get_by_text("200 OK in").wait_for()
    expect(one.locator("pre")).to_contain_text(f'"size": {len(data)}')
    assert (tmp_path / "uploads" / "b1" / "notes.bin").read_bytes() == data
    (sent,) = tried.requests[before:]
    assert sent.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"status": 503, "body": "{}"}, "the runtime does not describe its API: 503"),
        ({"json": {"paths": {"/api/x": {"get": {}}}}}, "this page cannot show the whole API"),
        (None, "the runtime does not answer: "),
    ],
)
def test_what_keeps_the_operations_from_the_page_is_named(page, served, answer, text):
    page.route("**/openapi.json", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.goto(f"{served.url}/panel/try")
    page.get_by_role("alert").get_by_text(text).wait_for()
