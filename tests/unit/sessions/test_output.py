"""Answers that have a form: of scripts, and of models at every provider; others fail, and name the field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, TurnFailedError
from dnworker.core.errors import Invalid
from dnworker.sessions.output_schema import Misfit, OutputSchema
from dnworker.sessions.providers import PROVIDERS
from dnworker.testing.model_server import Calls, ModelServer, Says


class AsTypedDict(TypedDict):
    kind: str
    amount: int


@dataclass
class AsDataclass:
    kind: str
    amount: int


class AsStruct(msgspec.Struct):
    kind: str
    amount: int


class AsModel(pydantic.BaseModel):
    kind: str
    amount: int


AS_SCHEMA = {
    "title": "AsSchema",
    "type": "object",
    "properties": {"kind": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["kind", "amount"],
}
FORMS = [AsTypedDict, AsDataclass, AsStruct, AsModel, AS_SCHEMA]
RIGHT = {"kind": "order", "amount": 3}
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: getattr(form, "__name__", "AsSchema"))


@each_form
def test_each_form_has_a_schema_of_an_object_and_names_the_wrong_field(form):
    output = OutputSchema.of(form)
    assert output.schema["type"] == "object"
    assert set(output.schema["properties"]) == {"kind", "amount"}
    assert output.check(json.dumps(RIGHT)) == RIGHT
    with pytest.raises(Misfit, match=r"\$\.amount"):
        output.check('{"kind": "order", "amount": "three"}')
    with pytest.raises(Misfit, match="amount"):
        output.check('{"kind": "order"}')
    for text in ("", "order", "[1]", "{", '{"kind": 1}', "[" * 100_000):
        with pytest.raises(Misfit) as caught:
            output.check(text)
        assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_fits_or_is_one_line(text):
    for form in FORMS:
        try:
            OutputSchema.of(form).check(text)
        except Misfit as exc:
            assert len(str(exc)) < 400


@pytest.mark.parametrize("form", [int, list[str], 3, {"type": "array"}, {"type": 7}, object, {}])
def test_what_describes_no_object_is_refused_in_one_line(form):
    with pytest.raises(Invalid) as caught:
        OutputSchema.of(form, "Thing")
    assert "\n" not in str(caught.value)
    assert caught.value.code == "DN973"


def test_a_schema_leads_to_no_other_machine():
    form = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/s.json"}}}
    with pytest.raises(Invalid, match="retrieving it failed") as caught:
        OutputSchema.of(form)
    assert caught.value.code == "DN973"


def test_a_file_has_a_schema(tmp_path):
    file = tmp_path / "order.json"
    file.write_text(json.dumps({k: v for k, v in AS_SCHEMA.items() if k != "title"}))
    assert OutputSchema.of(file).name == "order"
    file.write_text("{")
    with pytest.raises(Invalid, match="is no JSON Schema"):
        OutputSchema.of(file)
    with pytest.raises(Invalid, match="cannot be read"):
        OutputSchema.of(tmp_path / "none.json")


async def asked(runtime: Runtime, session: str = "s"):
    return await runtime.client().run_turn(session_id=session, agent="triage", message="what is it?")


@each_form
async def test_a_script_returns_a_value_of_the_form_and_clients_get_json(form):
    async with Runtime(port=None) as runtime:
        value = form(**RIGHT) if isinstance(form, type) else RIGHT
        runtime.agents.register("triage", lambda turn: value, output=form)
        done = await asked(runtime)
        assert json.loads(done["response_text"]) == RIGHT


async def test_a_script_whose_answer_does_not_fit_fails_the_turn_and_names_the_field():
    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", lambda turn: {"kind": "order", "amount": "3"}, output=AsDataclass)
        with pytest.raises(TurnFailedError) as caught:
            await asked(runtime)
        assert caught.value.error_type == "OutputMismatch"
        assert str(caught.value) == (
            "agent 'triage' answered what is no AsDataclass: Expected `int`, got `str` - at `$.amount` (DN974)"
        )
        runtime.agents.register("triage", lambda turn: "hello")
        assert (await asked(runtime))["response_text"] == "hello"


@pytest.mark.parametrize("provider", [one for one in PROVIDERS if one != "openai"] + ["openai"])
async def test_a_model_answers_by_the_form_and_is_told_what_is_wrong(provider, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-of-a-test")  # a key of Bedrock is sent over HTTPS only
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    plan = [Says('{"kind": "order", ', '"amount": "three"}'), Says(json.dumps(RIGHT))]
    async with ModelServer(plan) as server, Runtime(port=None) as runtime:
        name = "gpt-x" if provider == "openai" else f"{provider}/model-x"
        runtime.agents.register_model(
            "triage",
            name,
            base_url=server.url_of(provider),
            api_key=None if provider == "bedrock" else "k",
            output=AsTypedDict,
        )
        done = await asked(runtime)
        assert json.loads(done["response_text"]) == RIGHT
        assert "amount" in json.dumps(server.requests[0])  # the form, in whatever words the API has
        assert "$.amount" in json.dumps(
            server.requests[1]["messages" if provider != "google" else "contents"]
        )
        assert len(server.requests) == 2


async def test_a_model_that_does_not_learn_fails_the_turn_after_three_answers():
    async with ModelServer([Says("I think it is an order")]) as server, Runtime(port=None) as runtime:
        runtime.agents.register_model("triage", "gpt-x", base_url=server.base_url, output=AsStruct)
        with pytest.raises(TurnFailedError, match="answered what is no AsStruct: it is no JSON"):
            await asked(runtime)
        assert len(server.requests) == 3


async def extras_of(runtime: Runtime, agent: str = "triage"):
    """Return the `extra` of each step of a turn."""
    raw = runtime.client().stream_chat(session_id="steps", agent=agent, message="what is it?")
    return [one["data"]["extra"] async for one in raw if one["type"] == "generationstep"]


@each_form
async def test_the_step_of_a_script_has_its_answer_as_a_value_and_one_without_a_form_has_none(form):
    async with Runtime(port=None) as runtime:
        value = form(**RIGHT) if isinstance(form, type) else RIGHT
        runtime.agents.register("triage", lambda turn: value, output=form)
        runtime.agents.register("plain", lambda turn: json.dumps(RIGHT))
        assert await extras_of(runtime) == [{"output": RIGHT}]
        assert await extras_of(runtime, "plain") == [{}]


async def test_of_a_models_steps_the_one_with_the_right_answer_alone_has_the_value():
    plan = [Calls("look", {}), Says('{"kind": "order"}'), Says(json.dumps(RIGHT))]
    async with ModelServer(plan) as server, Runtime(port=None) as runtime:
        runtime.tools.register(look)
        runtime.agents.register_model("triage", "gpt-x", base_url=server.base_url, output=AsStruct)
        assert await extras_of(runtime) == [{}, {}, {"output": RIGHT}]


async def test_tools_are_called_before_the_answer():
    async with (
        ModelServer([Calls("look", {}), Says(json.dumps(RIGHT))]) as server,
        Runtime(port=None) as runtime,
    ):
        runtime.tools.register(look)
        runtime.agents.register_model("triage", "gpt-x", base_url=server.base_url, output=AsModel)
        done = await asked(runtime)
        assert json.loads(done["response_text"]) == RIGHT
        assert [call["name"] for call in done["tool_calls"]] == ["look"]


def look() -> str:
    """Look."""
    return "an order"


async def test_a_cassette_keeps_the_form_and_replays_by_it(tmp_path):
    file = tmp_path / "triage.json"
    async with ModelServer([Says(json.dumps(RIGHT))]) as server, Runtime(port=None) as runtime:
        runtime.agents.register_model("triage", "gpt-x", base_url=server.base_url, output=AsTypedDict)
        runtime.agents.record("triage", file)
        assert json.loads((await asked(runtime))["response_text"]) == RIGHT
    entries = json.loads(file.read_text())["entries"]
    assert [set(entry["request"]["output"]["properties"]) for entry in entries] == [{"kind", "amount"}]
    async with Runtime(port=None) as runtime:
        runtime.agents.register_model("triage", "gpt-x", output=AsTypedDict)
        runtime.agents.replay("triage", file)
        assert json.loads((await asked(runtime))["response_text"]) == RIGHT
        runtime.agents.register_model("triage", "gpt-x")
        runtime.agents.replay("triage", file)
        with pytest.raises(TurnFailedError, match="differs in output: nothing instead of"):
            await asked(runtime, "another")
