"""The endpoints of dead letters, and `dnworker dead` over them."""

from __future__ import annotations

import argparse
import asyncio
import json

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.cli import dead
from dnworker.core.errors import Invalid, UsageError


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=0, token="s3cret", retry={"notebook:bridge": "1,backoff=0s"}) as runtime:
        worker = Worker("bridge")
        runtime.is_mended = False

        @worker.on_event("demo.kind")
        async def on_demo(event, client) -> None:
            if not runtime.is_mended:
                raise ConnectionError("no answer")

        await runtime.add(worker)
        yield runtime


@pytest.fixture
async def http(runtime):
    headers = {"Authorization": "Bearer s3cret"}
    async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as client:
        yield client


async def fail(runtime: Runtime, count: int = 1) -> list[str]:
    """Let events become dead letters, and return their ids, the newest first."""
    for n in range(count):
        await runtime.fire("demo.kind", {"n": n})
    while len(runtime.dead_letters) < count:
        changed = asyncio.Event()
        end = runtime.dead_letters.changed.add(lambda _, there=changed: there.set())
        await changed.wait()
        end()
    return [one.id for one in runtime.dead_letters.all()]


async def test_dead_letters_are_listed_the_newest_first(runtime, http):
    ids = await fail(runtime, 2)
    answer = (await http.get("/api/dead-letters")).json()
    assert [one["id"] for one in answer["dead_letters"]] == ids
    one = answer["dead_letters"][0]
    assert (one["worker"], one["kind"], one["handlers"], one["attempts"], one["why"]) == (
        "notebook:bridge",
        "demo.kind",
        ["on_demo"],
        2,
        "exhausted",
    )
    other = await http.get("/api/dead-letters", params={"worker": "notebook:other"})
    assert other.json() == {"dead_letters": []}


async def test_one_is_shown_whole_by_the_beginning_of_its_id(runtime, http):
    (event_id,) = await fail(runtime)
    answer = (await http.get(f"/api/dead-letters/{event_id[:8]}")).json()
    assert answer["event"]["payload"] == {"n": 0}
    (failed,) = answer["handlers"]
    assert failed["error"].startswith("ConnectionError: no answer")
    assert failed["traceback"][-1] == "ConnectionError: no answer"


async def test_one_that_is_gone_is_a_404_with_the_way_out(runtime, http):
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        answer = await http.request(method, f"/api/dead-letters/12345678{path}")
        assert (answer.status_code, "list shows those there are" in answer.text) == (404, True)


async def test_one_of_a_worker_that_is_stopped_is_a_409_and_stays(runtime, http):
    (event_id,) = await fail(runtime)
    await runtime.worker("bridge").stop()
    answer = await http.post(f"/api/dead-letters/{event_id}/retry")
    assert (answer.status_code, "start it" in answer.text) == (409, True)
    assert len(runtime.dead_letters) == 1


async def test_one_is_delivered_again_and_gone(runtime, http):
    (event_id,) = await fail(runtime)
    runtime.is_mended = True
    answer = await http.post(f"/api/dead-letters/{event_id}/retry")
    assert answer.json()["event_id"] != event_id
    assert (await http.get("/api/dead-letters")).json() == {"dead_letters": []}


async def test_all_of_one_worker_are_dropped(runtime, http):
    await fail(runtime, 3)
    answer = await http.delete("/api/dead-letters", params={"worker": "notebook:bridge", "all": "true"})
    assert answer.json() == {"dropped": 3}


@pytest.mark.parametrize("query", ["", "?worker=notebook:bridge", "?all=false"])
async def test_all_are_dropped_only_where_that_is_said(runtime, http, query):
    await fail(runtime)
    answer = await http.delete(f"/api/dead-letters{query}")
    assert (answer.status_code, "?all=true drops every one" in answer.text) == (422, True)
    assert len(runtime.dead_letters) == 1


async def test_a_bare_number_is_the_seq_as_the_list_shows_it(runtime, http):
    (event_id,) = await fail(runtime)
    (letter,) = runtime.dead_letters.all()
    for name in (str(letter.seq), f"%23{letter.seq}"):
        answer = await http.get(f"/api/dead-letters/{name}")
        assert answer.json()["event"]["event_id"] == event_id


# -- the command line ----------------------------------------------------------------------------------


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    dead.add_arguments(parser)
    return parser.parse_args(words)


async def command(runtime: Runtime, *words: str) -> int:
    """Run `dnworker dead` against a runtime, on a thread: it has a loop of its own."""
    return await asyncio.to_thread(dead.dead, options(*words, "--url", runtime.url))


@pytest.fixture
def with_token(monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "s3cret")


@pytest.mark.usefixtures("with_token")
async def test_the_command_lists_shows_retries_and_drops(runtime, capsys):
    ids = await fail(runtime, 3)
    assert await command(runtime, "list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in listed] == [one[:8] for one in ids]
    assert "exhausted after 2 attempts: ConnectionError: no answer" in listed[0]
    assert await command(runtime, "show", ids[0]) == 0
    shown = capsys.readouterr().out
    assert 'payload: {"n":2}' in shown
    assert "on_demo failed, exhausted after 2 attempts" in shown
    assert await command(runtime, "drop", ids[0]) == 0
    runtime.is_mended = True
    assert await command(runtime, "retry", ids[1]) == 0
    assert "delivered again as #" in capsys.readouterr().out
    assert await command(runtime, "retry", "--all", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["retried"]) == 1
    assert await command(runtime, "list") == 0
    assert capsys.readouterr().out == "there is no dead letter\n"


@pytest.mark.usefixtures("with_token")
async def test_the_command_drops_all_where_that_is_said(runtime, capsys):
    await fail(runtime, 2)
    assert await command(runtime, "drop", "--all") == 0
    assert capsys.readouterr().out == "2 dead letters are dropped\n"


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("verb", ["show", "retry", "drop"])
@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_an_id_that_would_lead_elsewhere_is_refused(runtime, verb, name):
    await fail(runtime)
    with pytest.raises(Invalid, match="names nothing"):
        await command(runtime, verb, name)
    assert len(runtime.dead_letters) == 1


@pytest.mark.usefixtures("with_token")
async def test_what_cannot_be_retried_is_said_and_the_command_has_failed(runtime, capsys):
    (event_id,) = await fail(runtime)
    await runtime.worker("bridge").stop()
    assert await command(runtime, "retry", "--all") == 1
    said = capsys.readouterr().out
    assert f"{event_id}: " in said
    assert "start it" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["list", "1234"], "takes no ID"),
        (["show"], "name one dead letter by its ID"),
        (["show"], "12 for #12, for # begins a comment in a shell"),
        (["drop"], "12 for #12, for # begins a comment in a shell"),
        (["drop"], "or take every one by --all"),
        (["retry", "1234", "--all"], "or take every one by --all"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(words, problem):
    with pytest.raises(UsageError, match=problem):
        dead.dead(options(*words))
