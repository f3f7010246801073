"""Images of tools: how each provider gets them, and what becomes of those that it refuses."""

from __future__ import annotations

import base64
import json
from contextlib import aclosing, asynccontextmanager

import pytest
from pydantic_ai.messages import PartStartEvent, TextPart

from dnworker import Runtime, TurnFailedError
from dnworker.core.tool_files import ToolFile, ToolText
from dnworker.sessions import model_conversation
from dnworker.sessions.model_answer import Answer
from dnworker.sessions.model_endpoint import ModelEndpoint
from dnworker.sessions.model_library import Library
from dnworker.sessions.providers import PROVIDERS
from dnworker.testing import Calls, ModelServer, Refuses, Says

from .test_model_providers import MODELS

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ENCODED = base64.b64encode(PNG).decode()
LINE = "[image image/png: 70 bytes]"


def look() -> ToolText:
    """Look at the screen."""
    return ToolText(LINE, [ToolFile("image/png", PNG)])


@pytest.fixture(autouse=True)
def region(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def written(request) -> str:
    """Return a request as text; Google's base64 is that for URLs."""
    return json.dumps(request).replace("-", "+").replace("_", "/")


async def asked(*plan, provider="openai", cassette=None):
    """Return the requests of a turn whose model may look, and its end."""
    async with ModelServer(plan) as server, Runtime(port=None) as runtime:
        runtime.tools.register(look)
        key = None if provider == "bedrock" else "sk-very-secret"
        url = server.url_of(provider)
        runtime.agents.register_model("eye", MODELS[provider], base_url=url, api_key=key)
        if cassette is not None:
            runtime.agents.record("eye", cassette)
        end = await runtime.client().run_turn(session_id="s", agent="eye", message="what is there?")
        return server.requests, end


@pytest.mark.parametrize("provider", list(PROVIDERS))
async def test_each_provider_gets_the_image_or_a_note_and_the_turn_goes_on(provider):
    requests, end = await asked(Calls("look", {}), Says("a pixel"), provider=provider)
    assert end["response_text"] == "a pixel"
    assert end["tool_calls"][0]["result"] == LINE
    assert LINE in json.dumps(requests[1])
    assert ENCODED in written(requests[1]) or "was not sent: this model cannot read" in str(requests[1])


async def test_openai_gets_it_in_a_message_and_anthropic_in_the_result():
    requests, _ = await asked(Calls("look", {}), Says("a pixel"))
    messages = requests[1]["messages"]
    assert [message["role"] for message in messages[-2:]] == ["tool", "user"]
    image = next(part for part in messages[-1]["content"] if part["type"] == "image_url")
    assert image["image_url"]["url"] == f"data:image/png;base64,{ENCODED}"
    requests, _ = await asked(Calls("look", {}), Says("a pixel"), provider="anthropic")
    result = next(part for part in requests[1]["messages"][-1]["content"] if part["type"] == "tool_result")
    (image,) = [part for part in result["content"] if part["type"] == "image"]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": ENCODED}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
async def test_a_model_that_refuses_images_is_asked_again_without_and_told_so(provider, caplog):
    plan = [
        Calls("look", {}), Refuses(400, "images are not supported"), Calls("look", {}), Says("I cannot see"),
    ]  # fmt: skip
    requests, end = await asked(*plan, provider=provider)
    assert end["response_text"] == "I cannot see"
    assert [ENCODED in written(request) for request in requests] == [False, True, False, False]
    assert json.dumps(requests[3]).count("[not sent: this model refuses it]") == 2
    assert "refuses images of tools, or this one: it is asked again without" in caplog.text


async def test_what_is_refused_without_images_too_fails_the_turn_with_the_providers_words():
    with pytest.raises(TurnFailedError, match="no such parameter"):
        await asked(Calls("look", {}), Refuses(400, "no such parameter"))


async def test_the_oldest_images_of_a_long_turn_are_no_longer_sent(monkeypatch):
    monkeypatch.setattr(model_conversation, "LARGEST_FILES", 2 * len(PNG))
    requests, _ = await asked(*[Calls("look", {})] * 5, Says("a pixel"))
    said = json.dumps(requests[-1])
    assert (said.count(ENCODED), said.count(f"{LINE} [no longer sent]")) == (2, 3)


async def test_a_cassette_tells_images_apart_and_has_none(tmp_path):
    file = tmp_path / "eye.json"
    await asked(Calls("look", {}), Says("a pixel"), cassette=file)
    assert ENCODED not in file.read_text()
    async with Runtime(port=None) as runtime:
        runtime.tools.register(look)
        runtime.agents.register_model("eye", MODELS["openai"])
        runtime.agents.replay("eye", file)
        ask = runtime.client().run_turn
        assert (await ask(session_id="s", agent="eye", message="what is there?"))[
            "response_text"
        ] == "a pixel"
        other = ToolText(LINE, [ToolFile("image/png", PNG[:-1] + b"!")])
        runtime.tools.register(lambda: other, name="look")
        with pytest.raises(TurnFailedError, match=r"files\[0\]"):
            await ask(session_id="t", agent="eye", message="what is there?")


async def test_an_answer_that_nobody_reads_on_is_closed_at_once(monkeypatch):
    ended = []

    @asynccontextmanager
    async def request(*_, **__):
        async def events():
            yield PartStartEvent(index=0, part=TextPart("a"))

        try:
            yield events()
        finally:
            ended.append(True)

    monkeypatch.setattr("pydantic_ai.direct.model_request_stream", request)
    library = Library()
    endpoint = ModelEndpoint.from_environment(model="openai/gpt-5", api_key="sk-none")
    model = library.model(endpoint, "gpt-5")
    async with aclosing(model.stream(model.conversation(), Answer())) as pieces:
        assert (await anext(pieces)).text == "a"
    assert ended
    await library.close()
