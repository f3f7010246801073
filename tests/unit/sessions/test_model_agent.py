"""Agents that are models: any OpenAI-compatible endpoint, streaming, with tools and retries."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest

from dnworker import Runtime, TurnFailedError, VirtualClock
from dnworker.testing import Breaks, Calls, ModelServer, Refuses, Says, Waits

from ..capabilities import make_capability

KEY = "sk-very-secret"


@pytest.fixture
def asked():
    """Start a runtime whose agents are answered by a plan; gives `(ask, runtime, server)`."""

    class Asked:
        def __init__(self, *plan, key=KEY, **options):
            self.server = ModelServer(plan)
            self.runtime = Runtime(port=None, **options)
            self.key = key

        async def __aenter__(self):
            await self.server.__aenter__()
            await self.runtime.start()
            self.runtime.agents.use_model("x-1", base_url=self.server.base_url, api_key=self.key)
            return self

        async def __aexit__(self, *exc_info):
            await self.runtime.stop()
            await self.server.__aexit__(*exc_info)

        async def ask(self, message="hello", **fields):
            return await self.runtime.client().run_turn(session_id="s", message=message, **fields)

    return Asked


async def test_the_answer_is_streamed_and_its_tokens_are_counted(asked):
    async with asked(Says("Hel", "lo")) as model:
        raw = [r async for r in model.runtime.client().stream_chat(session_id="s", message="hi")]
        assert [r["data"]["content"] for r in raw if r["type"] == "generationcontent"] == ["Hel", "lo"]
        done = await model.ask()
    assert done["response_text"] == "Hello"
    assert done["usage"] == {"input_tokens": 11, "output_tokens": 7}
    assert done["generation_stop_reason"] == "stop"
    assert model.server.keys == [KEY, KEY]
    assert model.runtime.sessions.get("s").info().total_tokens == 36


async def test_the_model_sees_the_conversation_so_far(asked):
    async with asked(Says("one"), Says("two")) as model:
        await model.ask("first")
        await model.ask("second")
    told = [(m["role"], m["content"]) for m in model.server.requests[-1]["messages"]]
    assert told == [("user", "first"), ("assistant", "one"), ("user", "second")]


async def test_tools_that_the_model_wants_are_called_and_their_results_go_back(asked):
    async with asked(Calls("add", {"a": 2, "b": 3}), Says("it is 5")) as model:

        @model.runtime.tools.register
        async def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        done = await model.ask("2+3?")
    assert done["response_text"] == "it is 5"
    assert done["tool_calls"] == [{"name": "add", "arguments": {"a": 2, "b": 3}, "result": "5"}]
    offered = model.server.requests[0]["tools"][0]["function"]
    assert (offered["name"], offered["description"]) == ("add", "Add two numbers.")
    assert offered["parameters"]["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer"}}
    assert model.server.requests[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": "5",
    }
    assert done["usage"] == {"input_tokens": 22, "output_tokens": 14}


async def test_a_tool_that_fails_is_news_for_the_model_not_the_end_of_the_turn(asked):
    async with asked(Calls("add", {"a": "x"}), Says("sorry")) as model:

        @model.runtime.tools.register
        def add(a: int) -> int:
            return a

        assert (await model.ask())["response_text"] == "sorry"
    assert "Expected `int`" in model.server.requests[1]["messages"][-1]["content"]


async def test_a_model_that_never_stops_calling_tools_is_stopped_by_the_policys_steps(asked):
    async with asked(Calls("again")) as model:
        model.runtime.tools.register(lambda: "ok", name="again")
        model.runtime.sessions.create("s", policy={"name": "headless", "max_steps": 3})
        done = await model.ask()
    assert (done["generation_stop_reason"], len(done["tool_calls"])) == ("max_steps_reached", 3)


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, "AuthenticationError", "refused the API key.*OPENAI_API_KEY"),
        (404, "NotFoundError", "has no model 'x-1'.*Check model and base_url"),
        (400, "BadRequestError", "answered 400: context too long"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_not_tried_again(asked, status, kind, says):
    async with asked(Refuses(status, "context too long")) as model:
        with pytest.raises(TurnFailedError, match=says) as failed:
            await model.ask()
        assert failed.value.error_type == kind
        assert len(model.server.requests) == 1


async def test_the_key_is_in_no_error_log_or_event(asked, caplog):
    caplog.set_level(logging.DEBUG)
    async with asked(Refuses(401, f"Incorrect API key provided: {KEY}")) as model:
        with pytest.raises(TurnFailedError) as failed:
            await model.ask()
        assert KEY not in str(failed.value)
        assert all(KEY not in str(e) for e in model.runtime.history.events())
        assert KEY not in repr(model.runtime.agents.endpoint)
    assert KEY not in caplog.text


@pytest.mark.clause("5.3 retry")
def test_a_key_that_cannot_be_sent_is_refused_without_being_quoted(monkeypatch):
    agents = Runtime(port=None).agents
    with pytest.raises(ValueError, match="api_key has characters") as refused:
        agents.use_model("x", api_key="sk-\nsecret")
    assert "secret" not in str(refused.value)
    agents.use_model("x", api_key="sk-trailing\n")
    assert agents.endpoint.api_key == "sk-trailing"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\nsecret")
    assert Runtime(port=None).agents.endpoint.api_key is None


async def test_compacting_without_an_answer_is_told_and_changes_nothing(asked):
    async with asked(Says("a"), Says("b"), Refuses(503)) as model:
        await model.ask()
        await model.ask()
        told = await model.runtime.client().compact_session("s")
        assert (told["status"], "answered 503" in told["reason"]) == ("failed", True)
        assert len(await model.runtime.client().fetch_session_messages("s")) == 4


async def test_a_busy_endpoint_is_asked_again_after_a_while_that_doubles(asked):
    clock = VirtualClock()
    async with asked(Refuses(429), Refuses(503), Says("at last"), clock=clock) as model:
        waits, slept = [], clock.sleep

        async def sleep(seconds):
            waits.append(seconds)

        clock.sleep = sleep
        assert (await model.ask())["response_text"] == "at last"
        clock.sleep = slept
    assert waits == [1.0, 2.0]
    retries = [
        e.payload["raw_event"]["data"]
        for e in model.runtime.history.events()
        if e.payload.get("event_type") == "generationretry"
    ]
    assert [(r["attempt"], r["error_type"]) for r in retries] == [
        (1, "RateLimitError"),
        (2, "InternalServerError"),
    ]


async def test_retry_after_is_kept_to(asked):
    async with asked(Refuses(429, headers={"Retry-After": "0"}), Says("ok")) as model:
        assert (await model.ask())["response_text"] == "ok"


async def test_a_stream_that_is_cut_after_text_fails_with_what_there_was(asked):
    async with asked(Breaks("half a ")) as model:
        with pytest.raises(TurnFailedError, match="ended before it was complete") as failed:
            await model.ask()
        assert failed.value.partial_response == "half a "
        assert len(model.server.requests) == 1


async def test_an_endpoint_that_is_not_there_is_named(unused_tcp_port):
    clock = VirtualClock()

    async def no_wait(seconds):
        return None

    clock.sleep = no_wait
    async with Runtime(port=None, clock=clock) as runtime:
        runtime.agents.use_model("x-1", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1")
        with pytest.raises(TurnFailedError, match=f"no model endpoint answers at .*{unused_tcp_port}"):
            await runtime.client().run_turn(session_id="s", message="x")


async def test_a_turn_of_a_model_can_be_cancelled_while_it_streams(asked):
    async with asked(Waits("thinking")) as model:
        client = model.runtime.client()
        raw = []
        async with asyncio.timeout(60):
            async for event in client.stream_chat(session_id="s", message="x"):
                raw.append(event["type"])
                if event["type"] == "generationcontent":
                    await client.cancel_session("s")
    assert raw[-1] == "cancelled"


async def test_prompt_model_and_tools_come_from_the_agents_file(asked, tmp_path):
    agent = "---\nname: triage\ndescription: Sorts\nmodel: openai/x-9\ntools: {'*': false, ad*: true}\n---\n\nYou sort reports.\n"
    root = make_capability(
        tmp_path,
        "w: {path: w.py}",
        {"w.py": "import dnworker\nw = dnworker.Worker()", "agents/triage.md": agent},
    )
    async with asked(Says("ok")) as model:
        model.runtime.tools.register(lambda: "", name="add")
        model.runtime.tools.register(lambda: "", name="remove")
        await model.runtime.load(root)
        session = await model.runtime.client().create_session(session_id="s", capability="demo")
        assert session.agent == "triage"
        await model.ask()
    (request,) = model.server.requests
    assert request["model"] == "x-9"
    assert request["messages"][0] == {"role": "system", "content": "You sort reports."}
    assert [t["function"]["name"] for t in request["tools"]] == ["add"]


async def test_a_turns_own_model_and_parameters_win(asked):
    async with asked(Says("ok")) as model:
        await model.ask(model="y-2", generate_params_extra={"temperature": 0})
    assert (model.server.requests[0]["model"], model.server.requests[0]["temperature"]) == ("y-2", 0)


async def test_a_judge_decides_under_the_guard_policy(asked):
    async with asked(Calls("rm", {"path": "/"}), Says("Deny."), Says("I may not")) as model:
        model.runtime.tools.register(lambda path: "gone", name="rm")
        model.runtime.sessions.create("s", policy={"name": "guard", "judge_model": "judge-1"})
        done = await model.ask("clean up")
    assert "not allowed by the judge" in done["tool_calls"][0]["result"]
    assert model.server.requests[1]["model"] == "judge-1"


@pytest.mark.clause("6.6 compact")
async def test_compacting_replaces_the_messages_by_the_models_summary(asked):
    async with asked(Says("a"), Says("b"), Says("they greeted")) as model:
        client = model.runtime.client()
        assert (await client.compact_session("s" if model.runtime.sessions.create("s") else ""))[
            "status"
        ] == ("skipped")
        await model.ask()
        await model.ask()
        told = await client.compact_session("s", guidance="keep names")
        assert told == {"status": "completed", "messages_before": 4, "messages_after": 1}
        assert (await client.fetch_session_messages("s"))[0]["content"] == "they greeted"
    assert model.server.requests[-1]["messages"][-1]["content"].endswith("keep names")


@pytest.mark.clause("6.6 compact")
async def test_compacting_what_a_script_said_without_a_model_fails_in_one_short_line(runtime):
    runtime.agents.register("parrot", lambda turn: turn.message)
    client = runtime.client()
    for message in ("a", "b"):
        await client.run_turn(session_id="s", agent="parrot", message=message)
    assert await client.compact_session("s") == {
        "status": "failed",
        "reason": "a script answers here; a summary needs a model: runtime.agents.use_model(...)",
        "messages_before": 4,
    }


def test_the_environment_configures_the_endpoint(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("DNWORKER_MODEL", "m-1")
    endpoint = Runtime(port=None).agents.endpoint
    assert (endpoint.base_url, endpoint.api_key, endpoint.model) == ("http://127.0.0.1:9/v1", KEY, "m-1")


async def test_a_model_of_one_agents_own_is_asked_for_all_that_concerns_it(runtime):
    async with ModelServer([Says("a summary")]) as server:
        runtime.agents.register_model("private", "local", base_url=server.base_url, prompt="Be brief.")
        asked = runtime.agents.plain_model("private", None)
        assert await asked.complete([{"role": "user", "content": "sum up"}]) == "a summary"
        assert server.requests[0]["model"] == "local"
        assert "private" in runtime.agents.names()
        runtime.agents.remove("private")
        assert "private" not in runtime.agents.names()


async def test_without_the_extra_a_turn_says_which_command_adds_it(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "dnworker.sessions.model_library", None)
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    for name in ("model_library", "model_conversation", "model_failures"):
        monkeypatch.delitem(sys.modules, f"dnworker.sessions.{name}", raising=False)
    async with asked(Says("never")) as model:
        with pytest.raises(TurnFailedError) as failed:
            await model.ask()
    assert str(failed.value) == (
        "a model agent needs pydantic-ai; install it with: pip install 'dnworker[agents]' (DN902)"
    )
    assert model.server.requests == []


async def test_a_provider_without_a_key_fails_the_turn_as_an_answer_that_a_client_can_tell(
    runtime, monkeypatch
):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    runtime.agents.use_model("anthropic/claude-sonnet-5-5")
    with pytest.raises(TurnFailedError, match=r"set ANTHROPIC_API_KEY, or pass api_key=.*\(DN960\)$"):
        await runtime.client().run_turn(session_id="s", message="x")
    events = runtime.history.events()
    raw = [e.payload["raw_event"]["type"] for e in events if e.kind == "turn.event"]
    assert ("turn.started" in [e.kind for e in events], raw) == (True, ["generationerror", "agentend"])


async def test_a_provider_that_is_not_known_is_named_with_the_nearest(runtime, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    runtime.agents.use_model("antropic/claude-sonnet-5-5", api_key=KEY)
    with pytest.raises(TurnFailedError, match=r"did you mean anthropic/\.\.\.\?.*\(DN961\)$"):
        await runtime.client().run_turn(session_id="s", message="x")


async def test_a_short_key_hides_no_letters_of_other_words(asked):
    async with asked(Refuses(401, "no such key: k"), key="k") as model:
        with pytest.raises(TurnFailedError, match=r"no such key: \*\*\*\. Check OPENAI_API_KEY"):
            await model.ask()


async def test_an_endpoint_of_ones_own_gets_names_with_slashes_whole(asked):
    async with asked(Says("ok")) as model:
        await model.ask(model="meta-llama/llama-3")
        await model.ask(model="openai/anthropic/claude")
    assert [r["model"] for r in model.server.requests] == ["meta-llama/llama-3", "anthropic/claude"]


def test_asking_no_model_imports_no_library():
    code = "import sys, dnworker; dnworker.Runtime(port=None); print('pydantic_ai' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
