"""The part `call`: an event or a call with all that the inspector shows of it."""

from __future__ import annotations

import pytest
from msgspec import structs

from dnworker import Worker
from dnworker.core.frames import Frame
from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation
from dnworker.panel import call_part
from dnworker.panel.actions import HandlerSource
from dnworker.panel.budget import size_of


@pytest.fixture(autouse=True)
def without_delay(monkeypatch):
    monkeypatch.setattr(call_part, "INTERVAL", 0.0)


def rows(count, wrong=None):
    return [{"ean": f"40063{n:04}", "price": "12,50" if n == wrong else "12.50"} for n in range(count)]


@pytest.fixture
async def importer(runtime):
    """A worker that fails at a price with a comma, after it printed and published."""
    worker = Worker("importer")

    @worker.on_event("csvdrop.rows")
    async def on_rows(event, client):
        password = "hunter2"  # noqa: F841  a local that must not be shown
        runtime.log_line("notebook:importer", f"{len(event.payload['rows'])} rows")
        await client.publish("orders.count", {"n": len(event.payload["rows"])})
        for row in event.payload["rows"]:
            float(row["price"])

    return await runtime.add(worker)


async def look(screen, event, invocation=None, wanted=lambda part: True):
    screen.say("look", part="call", wanted={"event": event, "invocation": invocation})
    return await screen.part("call", wanted)


def only_call(runtime, trace):
    (call,) = runtime.history.invocations_of(trace.event.event_id)
    return call


async def test_a_failed_call_shows_the_users_lines_around_the_one_that_raised(runtime, importer, screen):
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(3, 1)})
    await screen.open()
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    assert found["error"]["text"] == "ValueError: could not convert string to float: '12,50'"
    (only,) = found["error"]["chain"]
    frame = only["frames"][-1]
    assert frame["function"] == "on_rows"
    assert [text.strip() for _, text in frame["lines"]][2:4] == [
        'for row in event.payload["rows"]:',
        'float(row["price"])',
    ]
    assert frame["line"] == frame["lines"][3][0]
    assert frame["place"]["label"] == f"test_call_part.py:{frame['line']}"


async def test_values_of_variables_are_shown_where_they_were_kept_and_secrets_are_not(
    runtime, importer, screen, monkeypatch
):
    monkeypatch.setattr("dnworker.core.handler_error.detail", lambda: "verbose")
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(1, 0)})
    await screen.open()
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    shown = dict(found["error"]["chain"][0]["frames"][-1]["locals"])
    assert shown["row"] == "{'ean': '400630000', 'price': '12,50'}"
    assert shown["password"] == "***"


async def test_the_payload_is_compared_with_the_last_that_succeeded(runtime, importer, screen):
    await runtime.fire("csvdrop.rows", {"rows": rows(1)})
    good = await runtime.fire("csvdrop.rows", {"rows": rows(400)})
    await runtime.fire("csvdrop.rows", {"rows": rows(1, 0)})
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(400, 317)})
    await runtime.fire("csvdrop.rows", {"rows": rows(2)})
    await screen.open()
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    assert (found["good"]["seq"], found["good"]["where"]) == (good.event.seq, "rows[317].price")
    assert [row.get("mark", "") for row in found["good"]["rows"]] == ["", "", "left", "right", ""]
    assert found["good"]["rows"][0]["fold"] == {
        "text": "317 equal objects",
        "path": ["rows"],
        "start": 0,
        "count": 317,
    }


async def test_a_first_call_that_failed_is_compared_with_a_later_one_that_succeeded(
    runtime, importer, screen
):
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(1, 0)})
    await screen.open()
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    assert found["good"] is None
    later = await runtime.fire("csvdrop.rows", {"rows": rows(1)})
    part = await screen.part("call", lambda part: part["good"])
    assert part["good"]["seq"] == later.event.seq


async def test_what_it_published_and_logged_is_told_and_its_source_with_the_line_that_failed(
    runtime, importer, screen
):
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(3, 1)})
    await screen.open()
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    (event,) = found["output"]["events"]
    assert (event["kind"], event["text"]) == ("orders.count", '{"n":3}')
    assert [line["text"] for line in found["log"]["lines"]] == ["3 rows"]
    source = found["source"]
    assert source["text"].lstrip().startswith('@worker.on_event("csvdrop.rows")')
    marked = source["text"].split("\n")[source["marked"][0] - source["line"]]
    assert marked.strip() == 'float(row["price"])'
    assert found["call"]["handler"] == "on_rows"


async def test_an_event_alone_has_its_payload_with_exact_numbers(runtime, screen):
    trace = await runtime.fire("a.b", {"id": 12345678901234567890, "price": 1.1})
    await screen.open()
    found = await look(screen, trace.event.event_id)
    assert found["call"] is None
    assert found["payload"]["text"] == '{\n  "id": 12345678901234567890,\n  "price": 1.1\n}'


async def test_a_large_payload_is_not_sent_unasked_and_comes_in_pieces(runtime, screen):
    payload = {"rows": rows(9_000)}
    trace = await runtime.fire("a.b", payload)
    await screen.open()
    found = await look(screen, trace.event.event_id)
    assert found["payload"]["text"] is None
    text, start = "", 0
    while start is not None:
        answer = await screen.ask("payload", event=trace.event.event_id, start=start)
        text, start = text + answer["text"], answer["next"]
    assert len(text) == answer["size"] > 400_000
    assert text.endswith('"price": "12.50"\n    }\n  ]\n}')


async def test_what_is_not_kept_any_more_says_so(runtime, screen):
    await screen.open()
    found = await look(screen, "0" * 32, "1" * 16)
    assert found["gone"] is True


async def test_a_call_that_runs_is_sent_again_when_it_has_ended(runtime, go, screen):
    trace = await runtime.fire("demo.slow", {"fails": True}, wait=False)
    await screen.open()
    call = only_call(runtime, trace)
    found = await look(screen, trace.event.event_id, call.id)
    assert (found["call"]["outcome"], found["error"]) == ("running", None)
    go.set()
    part = await screen.part("call", lambda part: part["error"])
    assert part["error"]["text"] == "ValueError: at last"


async def test_two_events_are_compared(runtime, screen):
    left = await runtime.fire("a.b", {"n": 1, "same": [1, 2]})
    right = await runtime.fire("a.b", {"n": 2, "same": [1, 2]})
    await screen.open()
    answer = await screen.ask("compare", left=left.event.event_id, right=f"#{right.event.seq}")
    assert (answer["where"], answer["changes"]) == ("n", 1)
    assert (answer["left"]["seq"], answer["right"]["seq"]) == (left.event.seq, right.event.seq)
    assert answer["left"]["outcome"] == "none"
    offered = await screen.ask("alike", event=right.event.event_id)
    assert [(one["seq"], one["text"]) for one in offered["events"]] == [
        (left.event.seq, '{"n":1,"same":[1,2]}')
    ]
    assert "there is no event" in (await screen.ask("compare", left="#99", right="#98"))["text"]


async def test_the_part_of_a_call_with_much_of_everything_is_bounded(runtime, screen):
    worker = Worker("large")

    @worker.on_event("large")
    async def on_large(event, client):
        for n in range(200):
            await client.publish("piece", {"n": n, "text": "x" * 2000})
        try:
            raise KeyError("a" * 50_000)
        except KeyError as exc:
            raise ValueError("b" * 50_000) from exc

    await runtime.add(worker)
    await runtime.fire("large", {"rows": [{"text": "y" * 900}] * 900})
    await screen.open()
    trace = await runtime.fire("large", {"rows": [{"text": "z" * 900}] * 900})
    found = await look(screen, trace.event.event_id, only_call(runtime, trace).id)
    assert found["output"]["count"] == 200
    assert size_of(found) < 60_000


async def test_lists_of_events_mask_secrets_and_the_payload_that_is_opened_is_exact(runtime, screen):
    worker = Worker("login")

    @worker.on_event("login.asked")
    async def on_login(event, client):
        await client.publish("login.done", {"user": "ada", "auth": {"token": "t0p"}})

    await runtime.add(worker)
    trace = await runtime.fire("login.asked", {"password": "hunter2"})
    await screen.open()
    call = only_call(runtime, trace)
    (published,) = (await look(screen, trace.event.event_id, call.id))["output"]["events"]
    assert published["text"] == '{"user":"ada","auth":{"token":"***"}}'
    found = await look(
        screen, published["id"], wanted=lambda part: part["wanted"]["event"] == published["id"]
    )
    assert "t0p" in found["payload"]["text"]


async def test_it_is_not_said_that_nobody_ran_where_calls_were_forgotten(runtime, importer, screen):
    trace = await runtime.fire("csvdrop.rows", {"rows": rows(1)})
    runtime.history._drop_invocation()
    assert not runtime.history.invocations_of(trace.event.event_id)
    await screen.open()
    await runtime.worker("importer").stop()
    found = await look(screen, trace.event.event_id)
    assert not found["gone"]
    assert "unheard" not in found


def test_a_frame_whose_place_has_no_line_marks_none():
    error = describe(ValueError("x"))
    frames = [Frame(place, "f", "") for place in ("<frozen x>", "w.py, line 12", "w.py, line x", "w.py")]
    call = Invocation("a:w", "h", "event")
    call.error = structs.replace(error, frames=tuple(frames))
    code = HandlerSource("def f():\n  g()\n  h()", "w.py, line 11", 11)
    assert call_part._marked(call, code) == [12]
