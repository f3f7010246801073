"""`dnworker events export` and `import`: what is written, what is published, and what is refused in one line."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest

from dnworker import Worker
from dnworker.cli.main import main
from dnworker.events.event_files import read_events
from dnworker.runtime import Runtime


@pytest.fixture
async def served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with Runtime(port=0, token="s3cret-of-the-shop") as runtime:
        worker = Worker("bridge")

        @worker.on_event("order.placed")
        async def on_order(event, client):
            await client.publish("order.billed", {"id": event.payload["id"]})

        await runtime.add(worker)
        for number in (1, 2):
            await runtime.fire("order.placed", {"id": number, "email": "ada@example.org", "api_key": "sk-1"})
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", runtime.url)
        monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "s3cret-of-the-shop")
        yield runtime


async def run(*words: str) -> int:
    return await asyncio.to_thread(main, ["events", *words])


async def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert await run(*words) != 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    assert "s3cret" not in shown.err
    return shown.err


async def test_an_export_is_json_lines_with_secrets_masked(served, tmp_path, capsys):
    assert await run("export", "all.jsonl") == 0
    assert "all.jsonl has 4 events; 2 values are masked" in capsys.readouterr().out
    found = read_events(tmp_path / "all.jsonl")
    assert [event.kind for event in found] == ["order.placed", "order.billed"] * 2
    assert found[0].payload["email"] == "ada@example.org"
    assert "sk-1" not in (tmp_path / "all.jsonl").read_text()


async def test_an_export_chooses_by_kind_number_and_outside_and_masks(served, tmp_path, capsys):
    assert await run("export", "a", "--kind", "order.*", "--outside", "--mask", "email", "--cloudevents") == 0
    found = json.loads((tmp_path / "a").read_text())
    assert [one["type"] for one in found] == ["order.placed"] * 2
    assert found[0]["data"]["email"] == found[1]["data"]["email"] != "ada@example.org"
    assert await run("export", "b", "--kind", "order.placed", "--last", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["events"] == 1
    assert [event.payload["id"] for event in read_events(tmp_path / "b")] == [2]


async def test_an_export_to_a_pipe_has_events_on_standard_output_and_the_rest_beside_it(
    served, monkeypatch, capfd
):
    assert await run("export", "-", "--kind", "order.placed") == 0
    shown = capfd.readouterr()
    assert [json.loads(line)["kind"] for line in shown.out.splitlines()] == ["order.placed"] * 2
    assert shown.err == "(2 values are masked)\n"


async def test_a_mask_of_no_field_writes_nothing(served, tmp_path, capsys):
    (tmp_path / "a").write_text("before")
    assert "was email meant?" in await refused(capsys, "export", "a", "--mask", "emial")
    assert (tmp_path / "a").read_text() == "before"
    assert "was email meant?" in await refused(capsys, "export", "-", "--mask", "emial")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


async def test_an_import_publishes_in_order_and_once(served, tmp_path, capsys):
    assert await run("export", "a", "--outside") == 0
    async with Runtime(port=0, token="s3cret-of-another") as other:
        (tmp_path / "token").write_text("s3cret-of-another")
        there = ["--url", other.url, "--token-file", str(tmp_path / "token")]
        assert await run("import", "a", *there) == 0
        assert await run("import", "a", *there, "--json") == 0
        published = [event for event in other.history.events(100) if event.kind == "order.placed"]
        assert [event.payload["id"] for event in published] == [1, 2]
    out = capsys.readouterr().out
    assert "2 events are published" in out
    assert json.loads(out.splitlines()[-1]) == {"ok": True, "published": 0, "duplicates": 2, "skipped": 0}


async def test_an_import_reads_cloud_events_and_a_pipe(served, tmp_path, monkeypatch, capsys):
    cloud = {"specversion": "1.0", "id": "x", "source": "urn:x", "type": "demo.asked", "data": {"n": 1}}
    lines = json.dumps(cloud) + '\n{"kind": "demo.asked", "payload": {"n": 2}}\n'
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        assert await run("import", "-") == 0
    asked = [event.payload for event in served.history.events(100) if event.kind == "demo.asked"]
    assert asked == [{"n": 1}, {"n": 2}]
    assert "2 were published before" in capsys.readouterr().out


async def test_reserved_kinds_are_counted_and_left_out_when_asked(served, tmp_path, capsys):
    kinds = ["turn.completed", "demo.asked", "session.created", "turn.completed"]
    (tmp_path / "a").write_text("".join(f'{{"kind": "{kind}"}}\n' for kind in kinds))
    error = await refused(capsys, "import", "a")
    assert "3 of 4 events have kinds that only a runtime publishes (turn.completed, session.created)" in error
    assert not [event for event in served.history.events(100) if event.kind == "demo.asked"]
    assert await run("import", "a", "--skip-reserved") == 0
    assert "1 event is published; 3 of reserved kinds were left out" in capsys.readouterr().out


async def test_what_cannot_be_published_is_refused_before_the_first_event(served, tmp_path, capsys):
    large = json.dumps({"kind": "demo.asked", "payload": {"text": "x" * 1_100_000}})
    (tmp_path / "a").write_text(f'{{"kind": "demo.asked"}}\n{large}\n')
    assert "a, event 2: payload is 1,1" in await refused(capsys, "import", "a")
    assert not [event for event in served.history.events(100) if event.kind == "demo.asked"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export"], "takes one FILE, or - for a pipe"),
        (["import", "a", "b"], "takes one FILE"),
        (["--mask", "x"], "--mask is for `dnworker events export FILE`"),
        (["import", "a", "--mask", "x"], "--mask is for"),
        (["export", "a", "--skip-reserved"], "--skip-reserved is for `dnworker events import FILE`"),
        (["export", "a", "--failed"], "--failed does not go with export"),
        (["export", "a", "--last", "0"], "pull at least one"),
        (["export", "a", "--since", "soon"], "--since 'soon' is no time"),
        (["export", "none/a"], "none/a cannot be written: No such file or directory; nothing was changed"),
        (["export", "/dev/null"], "/dev/null cannot be written: it is no file"),
        (["import", "none"], "none cannot be read"),
        (["export", "a", "--url", "http://127.0.0.1:9"], "no runtime answers"),
    ],
)
async def test_a_mistake_is_one_line(served, capsys, words, message):
    assert message in await refused(capsys, *words)


async def test_a_wrong_token_is_one_line(served, tmp_path, capsys):
    (tmp_path / "wrong").write_text("wr0ng")
    error = await refused(capsys, "export", "a", "--token-file", "wrong", "--url", served.url)
    assert "refuses the token" in error
    assert "wr0ng" not in error


async def test_kinds_named_like_verbs_are_shown_by_an_option(served, capsys):
    await served.fire("export", {})
    assert await run("--kind", "export", "--json") == 0
    assert [one["kind"] for one in json.loads(capsys.readouterr().out)["events"]] == ["export"]
    assert await run("order.placed", "--kind", "export", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 3
