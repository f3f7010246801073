"""Agents that are recorded: a file answers in their place, with no model, no key and no network."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, TurnFailedError
from dnworker.core.errors import Invalid
from dnworker.sessions import cassette_file
from dnworker.sessions.cassette import Cassette
from dnworker.sessions.turn import TurnFailure
from dnworker.testing import Calls, ModelServer, Says

KEY = "sk-very-secret-key"


@asynccontextmanager
async def runtime_with_tools():
    async with Runtime(port=None) as runtime:

        @runtime.tools.register
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        yield runtime


async def ask(runtime, message="2+3?", **fields):
    return await runtime.client().run_turn(session_id="s", agent="triage", message=message, **fields)


async def recorded(path, *plan, messages=("2+3?",)):
    """Record a model that answers by a plan; returns the ends of its turns."""
    async with ModelServer(plan) as server, runtime_with_tools() as runtime:
        runtime.agents.register_model("triage", "x-1", base_url=server.base_url, api_key=KEY, prompt="Add.")
        runtime.agents.record("triage", path)
        return [await ask(runtime, message) for message in messages]


@asynccontextmanager
async def replayed(path, prompt="Add."):
    async with runtime_with_tools() as runtime:
        runtime.agents.register_model("triage", "x-1", prompt=prompt)
        runtime.agents.replay("triage", path)
        yield runtime


def without_times(end):
    return {name: value for name, value in end.items() if name not in ("turn_id", "duration_ms")}


async def test_a_model_is_replayed_without_a_key_and_its_tools_are_called(tmp_path):
    path = tmp_path / "triage.json"
    (first,) = await recorded(path, Calls("add", {"a": 2, "b": 3}), Says("it is ", "5"))
    async with replayed(path) as runtime:
        again = await ask(runtime)
    assert again["response_text"] == "it is 5"
    assert again["tool_calls"] == [{"name": "add", "arguments": {"a": 2, "b": 3}, "result": "5"}]
    assert again["usage"] == first["usage"]


async def test_the_key_is_in_no_cassette(tmp_path):
    path = tmp_path / "triage.json"
    await recorded(path, Says(f"your key is {KEY}"))
    assert KEY not in path.read_text()
    assert "your key is ***" in path.read_text()


async def test_what_was_not_recorded_fails_the_turn_and_names_the_difference(tmp_path):
    path = tmp_path / "triage.json"
    await recorded(path, Says("5"))
    async with replayed(path) as runtime:
        with pytest.raises(TurnFailedError) as raised:
            await ask(runtime, "2+4?")
    said = str(raised.value)
    assert "messages[1].text: '2+4?' instead of '2+3?'" in said
    assert f"record it: %%agent triage --record {path} (DN993)" in said


async def test_another_prompt_is_another_request(tmp_path):
    path = tmp_path / "triage.json"
    await recorded(path, Says("5"))
    async with replayed(path, prompt="Subtract.") as runtime:
        with pytest.raises(TurnFailedError, match="messages\\[0\\].text: 'Subtract.' instead of 'Add.'"):
            await ask(runtime)


async def test_what_is_asked_again_replaces_what_was_recorded_and_the_rest_stays(tmp_path):
    path = tmp_path / "triage.json"
    await recorded(path, Says("five"))
    await recorded(path, Says("six"), messages=["2+4?"])
    await recorded(path, Says("5"))
    texts = [entry["answer"]["text"] for entry in json.loads(path.read_text())["entries"]]
    assert texts == ["six", "5"]


async def test_a_script_is_recorded_with_its_tools_and_failures(tmp_path):
    path = tmp_path / "triage.json"

    async def reply(turn):
        yield "I add. "
        total = await turn.call_tool("add", {"a": 2, "b": 3, "api_key": KEY}, result=5)
        yield f"It is {total}."
        if turn.message == "fail":
            turn.fail("too hard", "MathError")

    async with runtime_with_tools() as runtime:
        runtime.agents.register("triage", reply)
        runtime.agents.record("triage", path)
        first = await ask(runtime)
        with pytest.raises(TurnFailedError):
            await ask(runtime, "fail")
    assert KEY not in path.read_text()
    async with Runtime(port=None) as runtime:
        runtime.agents.replay("triage", path)
        again = await ask(runtime)
        with pytest.raises(TurnFailedError, match="too hard"):
            await ask(runtime, "fail")
    assert again["response_text"] == first["response_text"] == "It is 5."
    assert [call["name"] for call in again["tool_calls"]] == ["add"]


async def test_a_turn_that_is_cancelled_is_not_recorded(tmp_path):
    path = tmp_path / "triage.json"

    async def reply(turn):
        yield "one moment"
        await turn.sleep(3600)

    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", reply)
        runtime.agents.record("triage", path)
        client = runtime.client()
        async for part in client.stream_chat(session_id="s", agent="triage", message="slow"):
            if part["type"] == "generationcontent":
                await client.cancel_session("s")
    assert json.loads(path.read_text())["entries"] == []


async def test_registering_an_agent_anew_ends_its_recording(tmp_path):
    path = tmp_path / "triage.json"
    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", lambda turn: "one")
        runtime.agents.record("triage", path)
        runtime.agents.register("triage", lambda turn: "two")
        assert (await ask(runtime))["response_text"] == "two"
    assert json.loads(path.read_text())["entries"] == []


async def test_a_turn_goes_on_where_its_recording_cannot_be_written(tmp_path, caplog):
    directory = tmp_path / "gone"
    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", lambda turn: turn.message)
        runtime.agents.record("triage", directory / "triage.json")
        (directory / "triage.json").unlink()
        directory.rmdir()
        directory.write_text("a file in its place")
        with caplog.at_level(logging.ERROR, "dnworker.agents"):
            assert [(await ask(runtime, m))["response_text"] for m in "ab"] == ["a", "b"]
        assert len([r for r in caplog.records if "cannot be written" in r.getMessage()]) == 1
        directory.unlink()
        await ask(runtime, "c")
    asked = [e["request"]["message"] for e in json.loads((directory / "triage.json").read_text())["entries"]]
    assert asked == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: No such file or directory; record one: %%agent NAME --record FILE"),
        ("", "is no cassette: "),
        ("[]", "is no cassette: "),
        ('{"cassette": 1, "entries": [{"request": []}]}', "is no cassette: "),
        ('{"cassette": 2, "entries": []}', "was written by a later version of dnworker"),
    ],
)
async def test_a_file_that_is_no_cassette_is_refused_and_stays_as_it_is(text, problem, tmp_path):
    path = tmp_path / "triage.json"
    if text is not None:
        path.write_text(text)
    async with Runtime(port=None) as runtime:
        with pytest.raises(Invalid) as raised:
            runtime.agents.replay("triage", path)
        if text is not None:
            with pytest.raises(Invalid):
                runtime.agents.record("triage", path)
            assert path.read_text() == text
    assert problem in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(pairs=st.lists(st.tuples(REQUESTS, REQUESTS), max_size=6), other=REQUESTS)
async def test_every_request_gets_its_answers_in_their_order_and_others_get_a_reason(
    pairs, other, tmp_path_factory
):
    path = tmp_path_factory.mktemp("cassette") / "file.json"
    recording = Cassette.to_record(path)
    for request, answer in pairs:
        await recording.record(request, answer)
    cassette = Cassette.to_replay(path)
    for _ in range(2):  # and from the first again
        for request, answer in pairs:
            assert cassette.answer("x", request) == answer
    if not any(_same(other, request) for request, _ in pairs):
        with pytest.raises(TurnFailure):
            cassette.answer("x", other)


def _same(one, two):
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


async def test_two_who_record_into_one_file_lose_nothing_of_each_other(tmp_path):
    file = tmp_path / "triage.json"
    one, two = Cassette.to_record(file), Cassette.to_record(file)
    for number in range(5):
        await one.record({"message": f"a{number}"}, {"text": "A"})
        await two.record({"message": f"b{number}"}, {"text": "B"})
    asked = sorted(entry.request["message"] for entry in Cassette.to_replay(file).entries)
    assert asked == [f"{who}{number}" for who in "ab" for number in range(5)]


async def test_processes_that_record_into_one_file_at_once_lose_nothing(tmp_path):
    file = tmp_path / "triage.json"
    code = (
        "import asyncio, sys\nfrom dnworker.sessions.cassette import Cassette\n"
        "made = Cassette.to_record(sys.argv[1])\n"
        "async def record():\n    for n in range(20):\n"
        "        await made.record({'message': f'{sys.argv[2]}{n}'}, {'text': 'x'})\nasyncio.run(record())"
    )
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(file), who) for who in "abc"
    ]
    assert [await process.wait() for process in running] == [0, 0, 0]
    assert len(Cassette.to_replay(file).entries) == 60


async def test_what_is_asked_again_replaces_what_is_recorded_also_beside_another(tmp_path):
    file = tmp_path / "triage.json"
    first = Cassette.to_record(file)
    await first.record({"message": "m"}, {"text": "old"})
    again, other = Cassette.to_record(file), Cassette.to_record(file)
    await again.record({"message": "m"}, {"text": "new"})
    await other.record({"message": "n"}, {"text": "N"})
    await again.record({"message": "o"}, {"text": "O"})
    found = {entry.request["message"]: entry.answer["text"] for entry in Cassette.to_replay(file).entries}
    assert found["n"] == "N"
    assert found["o"] == "O"


# -- large files -------------------------------------------------------------------------------------------


async def written_by(monkeypatch, work) -> int:
    """Return the bytes that something writes into cassettes."""
    counts = []
    pwrite, whole = os.pwrite, cassette_file.write_atomically

    def counting(descriptor, data, at):
        counts.append(len(data))
        return pwrite(descriptor, data, at)

    def counting_whole(file, text, **how):
        counts.append(len(text.encode()))
        whole(file, text, **how)

    monkeypatch.setattr(cassette_file.os, "pwrite", counting)
    monkeypatch.setattr(cassette_file, "write_atomically", counting_whole)
    await work()
    monkeypatch.undo()
    return sum(counts)


async def record_many(file, count, text="x" * 500):
    recording = Cassette.to_record(file)
    for number in range(count):
        await recording.record({"message": str(number)}, {"text": text})


async def test_what_is_written_is_what_is_added(tmp_path, monkeypatch):
    file = tmp_path / "triage.json"
    written = await written_by(monkeypatch, lambda: record_many(file, 200))
    assert written < 1.1 * file.stat().st_size + 2_000
    assert len(Cassette.to_replay(file).entries) == 200


async def test_recording_a_large_file_again_writes_it_a_few_times_and_not_once_an_entry(
    tmp_path, monkeypatch
):
    file = tmp_path / "triage.json"
    monkeypatch.setattr(cassette_file, "TIDY", 2_000)
    await record_many(file, 200)
    monkeypatch.undo()
    size = file.stat().st_size
    monkeypatch.setattr(cassette_file, "TIDY", 2_000)
    assert await written_by(monkeypatch, lambda: record_many_small(file, 200)) < 6 * size
    found = Cassette.to_replay(file)
    assert [found.answer("x", {"message": str(n)}) for n in range(200)] == [{"text": "new"}] * 200


async def record_many_small(file, count):
    cassette_file.TIDY = 2_000
    await record_many(file, count, "new")


@given(
    sessions=st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=8), max_size=4
    ),
    tidy=st.sampled_from([0, 400, 10_000]),
)
async def test_a_recording_replaces_what_earlier_ones_have_of_the_same_whatever_the_size(
    sessions, tidy, tmp_path_factory
):
    file = tmp_path_factory.mktemp("cassette") / "file.json"
    wanted: dict[str, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cassette_file, "TIDY", tidy)
        for session in sessions:
            recording = Cassette.to_record(file)
            for asked, number in session:
                await recording.record({"message": asked}, {"number": number})
            wanted |= {asked: [n for other, n in session if other == asked] for asked, _ in session}
    if sessions:
        found: dict[str, list[int]] = {}
        for entry in Cassette.to_replay(file).entries:
            found.setdefault(entry.request["message"], []).append(entry.answer["number"])
        assert found == wanted


async def test_a_full_cassette_is_said_once_and_every_turn_goes_on(tmp_path, caplog, monkeypatch):
    file = tmp_path / "triage.json"
    monkeypatch.setattr(cassette_file, "LARGEST", 2_000)
    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", lambda turn: turn.message)
        runtime.agents.record("triage", file)
        messages = [f"{number} " + "m" * 200 for number in range(10)]
        assert [(await ask(runtime, m))["response_text"] for m in messages] == messages
    assert file.stat().st_size <= 2_000
    assert 1 < len(Cassette.to_replay(file).entries) < 10
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert said.startswith(f"cassette {file} is full: at most")
    assert "record into another file: %%agent NAME --record FILE (DN994)" in said


@pytest.mark.parametrize("cut", range(2, 90, 4))
async def test_a_file_whose_last_entry_is_cut_off_keeps_the_others(tmp_path, caplog, cut):
    file = tmp_path / "triage.json"
    await record_many(file, 3, "yes")
    before = file.read_bytes()
    file.write_bytes(before[:-cut])
    whole = [str(number) for number in range(before[:-cut].count(b"\n  }"))]
    assert [entry.request["message"] for entry in Cassette.to_replay(file).entries] == whole
    assert "ends amid an entry" in caplog.text
    recording = Cassette.to_record(file)
    await recording.record({"message": "3"}, {"text": "yes"})
    assert [one["request"]["message"] for one in json.loads(file.read_text())["entries"]] == [*whole, "3"]


async def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch, caplog):
    file = tmp_path / "triage.json"
    recording = Cassette.to_record(file)
    for number in range(2):
        await recording.record({"message": str(number)}, {"text": "yes"})
    before = file.read_bytes()
    pwrite = os.pwrite

    def half(descriptor, data, at):
        if len(data) < 50:
            return pwrite(descriptor, data, at)
        pwrite(descriptor, data[:20], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cassette_file.os, "pwrite", half)
    await recording.record({"message": "2"}, {"text": "yes"})
    assert file.read_bytes() == before
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    await recording.record({"message": "3"}, {"text": "yes"})
    assert [e.request["message"] for e in Cassette.to_replay(file).entries] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("value", [float("nan"), object(), {1: 2, "a": 3}, {"\ud800": 1}])
async def test_what_is_no_json_is_not_recorded_and_what_comes_after_is(tmp_path, caplog, value):
    file = tmp_path / "triage.json"
    recording = Cassette.to_record(file)
    await recording.record({"message": value}, {"text": "one"})
    await recording.record({"message": "2"}, {"text": "two"})
    assert "an answer is not recorded, it is no JSON" in caplog.text
    assert [entry.answer for entry in Cassette.to_replay(file).entries] == [{"text": "two"}]


async def test_a_turn_that_is_cancelled_while_its_answer_is_written_has_it_in_the_file_once(tmp_path):
    file = tmp_path / "triage.json"
    recording = Cassette.to_record(file)
    task = asyncio.create_task(recording.record({"message": "1"}, {"text": "one"}))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await recording.record({"message": "2"}, {"text": "two"})
    assert [entry.request["message"] for entry in Cassette.to_replay(file).entries] == ["1", "2"]


async def test_half_a_character_is_recorded_and_found_again(tmp_path):
    file = tmp_path / "triage.json"
    await Cassette.to_record(file).record({"message": "\ud83d"}, {"text": "\ude00"})
    assert Cassette.to_replay(file).answer("x", {"message": "\ud83d"}) == {"text": "?"}


async def test_a_file_that_may_not_be_written_to_is_replaced_as_others_are(tmp_path):
    file = tmp_path / "triage.json"
    await record_many(file, 1)
    file.chmod(0o444)
    await record_many(file, 2)
    assert len(Cassette.to_replay(file).entries) == 2
