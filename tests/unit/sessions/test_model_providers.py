"""Every provider of models, against an endpoint on loopback that speaks as it does."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dnworker import Runtime, TurnFailedError, VirtualClock
from dnworker.sessions.providers import PROVIDERS
from dnworker.testing import Breaks, Calls, ModelServer, Refuses, Says, Waits

KEY = "sk-very-secret-key-of-mine"
MODELS = {
    "openai": "openai/x-1",
    "anthropic": "anthropic/claude-sonnet-5-5",
    "google": "google/gemini-2.5-flash",
    "mistral": "mistral/mistral-small-latest",
    "bedrock": "bedrock/us.amazon.nova-pro-v1:0",
    "groq": "groq/qwen/qwen3-32b",
    "ollama": "ollama/qwen3",
}


@pytest.fixture(autouse=True)
def region(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-of-a-test")  # a key of Bedrock is sent over HTTPS only
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Asked:
    """A runtime whose agents are answered by a plan, in the way of one provider."""

    def __init__(self, provider, *plan, chunk_bytes=None, **options):
        self.server = ModelServer(plan, chunk_bytes=chunk_bytes)
        self.runtime = Runtime(port=None, **options)
        self.provider = provider

    async def __aenter__(self):
        await self.server.__aenter__()
        await self.runtime.start()
        self.runtime.agents.use_model(
            MODELS[self.provider],
            base_url=self.server.url_of(self.provider),
            api_key=None if self.provider == "bedrock" else KEY,
        )
        return self

    async def __aexit__(self, *exc_info):
        await self.runtime.stop()
        await self.server.__aexit__(*exc_info)

    async def ask(self, message="hello", **fields):
        return await self.runtime.client().run_turn(session_id="s", message=message, **fields)

    async def raw(self, message="hello"):
        stream = self.runtime.client().stream_chat(session_id="s", message=message)
        return [event async for event in stream]


@pytest.fixture(params=list(PROVIDERS))
def provider(request):
    return request.param


def no_waits(clock):
    """Let the waits between attempts pass at once; returns the list of them."""
    waits, slept = [], clock.sleep

    async def sleep(seconds):
        if seconds <= 30:
            waits.append(seconds)
        else:
            await slept(seconds)

    clock.sleep = sleep
    return waits


async def test_text_is_streamed_in_pieces_with_tokens_and_a_stop_reason(provider):
    async with Asked(provider, Says("Hel", "lo ", "Ada")) as model:
        raw = await model.raw()
        done = await model.ask()
    assert [r["data"]["content"] for r in raw if r["type"] == "generationcontent"] == ["Hel", "lo ", "Ada"]
    assert (done["response_text"], done["generation_stop_reason"]) == ("Hello Ada", "stop")
    assert done["usage"] == {"input_tokens": 11, "output_tokens": 7}
    assert provider == "bedrock" or model.server.keys == [KEY, KEY]


async def test_a_tool_is_called_and_its_result_goes_back(provider):
    async with Asked(provider, Calls("add", {"a": 2, "b": 3}), Says("it is 5")) as model:

        @model.runtime.tools.register
        async def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        done = await model.ask("2 + 3?")
        raw = [e.payload["raw_event"] for e in model.runtime.history.events() if e.kind == "turn.event"]
    assert done["response_text"] == "it is 5"
    assert done["tool_calls"] == [{"name": "add", "arguments": {"a": 2, "b": 3}, "result": "5"}]
    assert done["usage"] == {"input_tokens": 22, "output_tokens": 14}
    first, second = model.server.requests
    assert "Add two numbers." in str(first)
    assert "call_1" in str(second)
    assert str(second).count("2 + 3?") == 1
    assert [r["data"]["stop_reason"] for r in raw if r["type"] == "generationend"] == [
        "tool_calls" if provider != "google" else "stop",
        "stop",
    ]


async def test_reasoning_is_streamed_beside_the_answer_and_is_no_part_of_it(provider):
    async with Asked(provider, Says("42", reasoning="six times seven")) as model:
        raw = await model.raw()
        done = await model.ask()
    extras = [r["data"]["extra"] for r in raw if r["type"] == "generationcontent" and r["data"]["extra"]]
    assert "".join(e["reasoning_content"] for e in extras) == "six times seven"
    assert done["response_text"] == "42"


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_why_an_answer_stopped_is_told_in_one_set_of_words(provider, reason):
    async with Asked(provider, Says("half", stop_reason=reason)) as model:
        done = await model.ask()
    expected = "error" if (provider, reason) == ("mistral", "content_filter") else reason
    assert (done["response_text"], done["generation_stop_reason"]) == ("half", expected)


async def test_a_busy_provider_is_asked_again_when_it_says(provider):
    clock = VirtualClock()
    plan = Refuses(429, "slow down", {"Retry-After": "7"}), Refuses(500, "oops"), Says("at last")
    async with Asked(provider, *plan, clock=clock) as model:
        waits = no_waits(clock)
        assert (await model.ask())["response_text"] == "at last"
        events = model.runtime.history.events()
    assert waits == [7.0, 2.0]
    raw = [e.payload["raw_event"] for e in events if e.payload.get("event_type") == "generationretry"]
    assert [r["data"]["error_type"] for r in raw] == ["RateLimitError", "InternalServerError"]
    assert len(model.server.requests) == 3


async def test_a_provider_that_keeps_failing_fails_the_turn_after_four_attempts(provider):
    clock = VirtualClock()
    async with Asked(provider, Refuses(503, "overloaded"), clock=clock) as model:
        no_waits(clock)
        with pytest.raises(TurnFailedError, match="answered 503: overloaded") as failed:
            await model.ask()
    assert failed.value.error_type == "InternalServerError"
    assert len(model.server.requests) == 4


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, "AuthenticationError", r"refused the API key \(401\): no good.*Check {key}.*\(DN962\)"),
        (404, "NotFoundError", r"has no model '.*' \(404\): no good.*Check model and base_url.*\(DN962\)"),
        (400, "BadRequestError", r"answered 400: no good.*\(DN963\)"),
    ],
)
async def test_a_refusal_is_one_line_with_the_remedy_and_is_not_repeated(provider, status, kind, says):
    async with Asked(provider, Refuses(status, "no good")) as model:
        with pytest.raises(TurnFailedError, match=says.format(key=PROVIDERS[provider].keys[0])) as failed:
            await model.ask()
    assert failed.value.error_type == kind
    assert "\n" not in str(failed.value)
    assert len(model.server.requests) == 1


async def test_a_tool_that_a_provider_refuses_is_named_with_the_remedy(provider):
    async with Asked(provider, Refuses(400, "tools.0: the schema is not supported")) as model:
        model.runtime.tools.register(lambda: "", name="odd")
        with pytest.raises(TurnFailedError, match="Check the arguments of the tools odd, or leave") as failed:
            await model.ask()
    assert str(failed.value).endswith("(DN963)")


async def test_a_stream_that_ends_early_fails_with_what_there_was(provider):
    async with Asked(provider, Breaks("half a ")) as model:
        with pytest.raises(TurnFailedError, match="cut off: it ended before it was complete") as failed:
            await model.ask()
    assert failed.value.partial_response == "half a "
    assert len(model.server.requests) == 1


async def test_a_connection_that_is_cut_fails_with_what_there_was(provider, caplog):
    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with Asked(provider, Breaks("half a ", abruptly=True)) as model:
        with pytest.raises(TurnFailedError, match="was cut off") as failed:
            await model.ask()
    assert (failed.value.partial_response, failed.value.error_type) == ("half a ", "APIConnectionError")


async def test_what_is_no_answer_fails_in_one_line(provider):
    garbage = b"data: {oops\n\n" if provider != "bedrock" else b"\x00" * 64
    async with Asked(provider, Breaks("half a ", garbage)) as model:
        with pytest.raises(TurnFailedError, match=r"\(DN964\)$") as failed:
            await model.ask()
    assert failed.value.partial_response == "half a "
    assert "\n" not in str(failed.value)


async def test_a_turn_that_is_cancelled_closes_its_connection(provider):
    waits = Waits("thinking")
    async with Asked(provider, waits) as model:
        client, raw = model.runtime.client(), []
        async with asyncio.timeout(30):
            async for event in client.stream_chat(session_id="s", message="x"):
                raw.append(event["type"])
                if event["type"] == "generationcontent":
                    await client.cancel_session("s")
            await waits.gone.wait()
    assert raw[-1] == "cancelled"


async def test_characters_that_are_cut_by_chunks_arrive_whole(provider):
    text = "naïve 🙂 漢字 " * 5
    async with Asked(provider, Says(text, text), chunk_bytes=3) as model:
        assert (await model.ask())["response_text"] == text + text


async def test_the_key_is_in_no_error_log_or_event(provider, caplog):
    caplog.set_level(logging.DEBUG)
    async with Asked(provider, Refuses(401, f"Incorrect API key provided: {KEY}")) as model:
        with pytest.raises(TurnFailedError) as failed:
            await model.ask()
        assert KEY not in str(failed.value)
        assert all(KEY not in str(e) for e in model.runtime.history.events())
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("uvicorn")]
    assert [line for line in ours if KEY in line and "Incorrect API key" not in line] == []


async def test_a_conversation_goes_on_with_what_was_said(provider):
    async with Asked(provider, Says("one"), Says("two")) as model:
        await model.ask("first")
        await model.ask("second")
    told = str(model.server.requests[-1])
    assert told.index("first") < told.index("one") < told.index("second")


async def test_a_hundred_turns_run_at_once(provider):
    async with Asked(provider, Says("a", "b", "c")) as model:
        client = model.runtime.client()
        async with asyncio.timeout(50):
            turns = [client.run_turn(session_id=f"s{n}", message="x") for n in range(100)]
            assert {done["response_text"] for done in await asyncio.gather(*turns)} == {"abc"}
