"""The reference's own command line against both runtimes: what it prints, its exit code, and what is published.

What each option of `dreadnode --runtime-server URL` makes it send, by the source of 2.0.52:

| option | with `--print` | in the terminal |
|---|---|---|
| `--agent NAME` | `GET /api/runtime`: a name that no capability's `agents` has ends it with 1; else `agent` of `POST /api/sessions` and of the turn | the same list; an unknown name is told, and no agent is sent |
| `--model NAME` | `model` of the session and of the turn; `anthropic/claude-opus-4-6` without it | the same |
| `--capability NAME` | the same list: one that is not loaded ends it with 1 | nothing |
| `--max-steps N` | `policy={"name": "headless", "max_steps": N}` of the session; 100 without it | only with `--auto` or `--policy` |
| `--auto` | nothing: the policy is `headless` anyway | `policy={"name": "headless", "max_steps": N}` |
| `--policy NAME`, `--policy-arg K=V` | nothing | `policy={"name": NAME, K: V}` |
| `--resume ID` | nothing | `GET /api/sessions`, then `GET /api/sessions/ID` and `/messages`; the turn goes to that session |
| `--capability-flag`, `--capabilities-dir`, `--system-prompt` | nothing: they are of a runtime that it starts itself | nothing |
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dnworker import EventEnvelope, RuntimeClient
from dnworker.testing import ModelServer

from ..kernel.session import KernelSession
from ..ports import free_port
from .command_line import run_print, terminal
from .environment import LIMIT, reference_python
from .test_matrix import TOKEN, Servers, answer, stop_if_running

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

RUNTIMES = ("ours", "reference")
MODEL = ("--model", "openai/x-1")

HEADLESS = {
    "an agent": ("--prompt", "hello", "--agent", "second", *MODEL),
    "an agent that is not there": ("--prompt", "hello", "--agent", "nobody", *MODEL),
    "a capability that is not there": ("--prompt", "hello", "--capability", "nothing", *MODEL),
    "a model that refuses": ("--prompt", "please fail", "--agent", "echo", *MODEL),
    "a model without a key": ("--prompt", "hello", "--agent", "echo"),
    "options of a terminal": (
        "--prompt", "hello", "--agent", "echo", *MODEL, "--auto", "--max-steps", "3", "--policy", "guard",
        "--resume", "none", "--capability-flag", "interop.gate=true",
    ),
}  # fmt: skip

TERMINAL = {
    "a policy": ("--policy", "guard", "--policy-arg", "judge_model=openai/j"),
    "autonomous": ("--auto", "--max-steps", "3"),
}

WORDS = {
    ("a model that refuses", "out"): "each says in its own words what the endpoint answered",
    ("a model without a key", "out"): "each says in its own words which variable is missing",
    ("an agent that is not there", "err"): "the reference lists the agents that come with it, too",
    ("a capability that is not there", "err"): "the reference lists the capabilities that come with it, too",
}
"""Where other words are printed, and why; the rest of what is printed, and all exit codes, are the same."""

UNCOUNTED = {
    "generationcontent": "the pieces of a text come as the model's library cuts them",
    "generationretry": "who waits how often is each one's own",
}
"""Raw events whose number says nothing, and why."""

LEFT_OUT = ("a model without a key", "turn.event agentend")
"""The reference leaves out the end of an agent whose model cannot be asked; ours begins and ends as any other."""


class Observed:
    """A runtime and what it has published since."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = RuntimeClient(url, auth_token=TOKEN)
        self.events: list[EventEnvelope] = []
        self._changed = asyncio.Event()

    async def listen(self) -> None:
        """Collect events until it is cancelled."""
        async for event in self.client.subscribe():
            self.events.append(event)
            self._changed.set()

    async def until(self, found) -> EventEnvelope:
        """Wait until an event is there that is wanted."""
        async with asyncio.timeout(LIMIT):
            while True:
                if (event := next(filter(found, self.events), None)) is not None:
                    return event
                self._changed.clear()
                await self._changed.wait()

    async def until_heard(self) -> None:
        """Publish until the subscription is there."""
        heard = asyncio.ensure_future(self.until(lambda event: event.kind == "interop.heard"))
        while not heard.done():
            await self.client.publish("interop.heard")
            await asyncio.wait({heard}, timeout=0.2)

    def of(self, session_id: str) -> list[str]:
        """Return what is published of a session's turns."""
        kinds = []
        for event in self.events:
            raw = event.payload.get("event_type")
            if event.session_id == session_id and raw not in UNCOUNTED:
                kinds.append(f"{event.kind} {raw}" if raw else event.kind)
        return kinds


@asynccontextmanager
async def observed(url: str):
    """Listen to a runtime while the body runs."""
    seen = Observed(url)
    async with seen.client:
        listening = asyncio.create_task(seen.listen())
        try:
            await seen.until_heard()
            yield seen
        finally:
            listening.cancel()
            await asyncio.wait({listening})


def is_end(event: EventEnvelope) -> bool:
    return event.kind in ("turn.completed", "turn.failed", "turn.cancelled")


async def headless(seen: Observed, environ) -> dict:
    """Run every headless case; returns what was printed and published, by case."""
    found = {}
    for case, options in HEADLESS.items():
        before = {session.session_id for session in await seen.client.list_sessions()}
        printed = await run_print(seen.url, environ, *options)
        made = [one for one in await seen.client.list_sessions() if one.session_id not in before]
        events = []
        for session in made:
            await seen.until(lambda event, of=session.session_id: event.session_id == of and is_end(event))
            events.append((session.agent, session.model, session.policy_name, seen.of(session.session_id)))
        found[case] = (printed, events)
    return found


async def in_terminal(seen: Observed, environ, home) -> dict:
    """Run every case in a terminal; returns the policies and the events of the turns, by case."""
    found = {}
    for case, options in TERMINAL.items():
        seen.events.clear()
        prompt = ("--prompt", f"say {case}", "--agent", "second", *MODEL)
        async with terminal(seen.url, environ, home, *prompt, *options):
            end = await seen.until(is_end)
        session = await seen.client.get_session(end.session_id)
        policy = (session.policy_name, session.policy_is_autonomous, session.policy_display_label)
        # On a busy machine a subscriber of the reference misses the first event of a new session at times.
        events = [kind for kind in seen.of(end.session_id) if kind != "session.created"]
        found[case] = (session.agent, policy, events)
    found["resumed"] = await resume(seen, environ, home, end.session_id)
    return found


async def resume(seen: Observed, environ, home, session_id: str):
    """Let a terminal go on with a session that is there; returns its messages and the events of the turn."""
    seen.events.clear()
    async with terminal(seen.url, environ, home, "--prompt", "and again", "--resume", session_id[:8], *MODEL):
        end = await seen.until(is_end)
    said = await seen.client.fetch_session_messages(session_id)
    messages = [(one["role"], one["content"]) for one in said]
    return end.session_id == session_id, messages, seen.of(session_id)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What every case printed and published, by runtime."""
    reference_python()
    directory = tmp_path_factory.mktemp("command-line")

    async def run(name, servers):
        async with observed(await servers.start(name, free_port())) as seen:
            home = directory / f"user-{name}"
            home.mkdir()
            environ = {**servers.environ, "HOME": str(home)}
            environ.pop("ANTHROPIC_API_KEY", None)
            return await headless(seen, environ), await in_terminal(seen, environ, home)

    async def both():
        async with ModelServer(answer) as model, AsyncExitStack() as stack:
            servers = Servers(directory, model.base_url)
            for name in RUNTIMES:
                stack.push_async_callback(stop_if_running, servers, name)
            found = await asyncio.gather(*(run(name, servers) for name in RUNTIMES))
            return dict(zip(RUNTIMES, found, strict=True))

    return asyncio.run(both())


@pytest.mark.parametrize("case", HEADLESS)
def test_a_headless_run_prints_and_exits_as_against_the_reference(runs, case):
    (ours, _), (theirs, _) = (runs[name][0][case] for name in RUNTIMES)
    assert ours.code == theirs.code
    for stream in ("out", "err"):
        if (case, stream) in WORDS:
            assert getattr(ours, stream) != getattr(theirs, stream), "no longer different: take it off"
            assert bool(getattr(ours, stream)) == bool(getattr(theirs, stream))
        else:
            assert getattr(ours, stream) == getattr(theirs, stream)


@pytest.mark.parametrize("case", HEADLESS)
def test_a_headless_run_publishes_what_it_does_against_the_reference(runs, case):
    (_, ours), (_, theirs) = (runs[name][0][case] for name in RUNTIMES)
    shown = [(*facts, [one for one in events if (case, one) != LEFT_OUT]) for *facts, events in ours]
    assert shown == [(*facts, events) for *facts, events in theirs]


@pytest.mark.parametrize("case", [*TERMINAL, "resumed"])
def test_a_terminal_does_what_it_does_against_the_reference(runs, case):
    assert runs["ours"][1][case] == runs["reference"][1][case]


def test_an_agent_of_a_notebook_answers_the_references_command_line(tmp_path, monkeypatch):
    reference_python()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    kernel = KernelSession()
    try:
        kernel.run("%load_ext dnworker")
        kernel.run("%%agent triage\nasync def reply(turn):\n    return f'sorted {turn.message}'")
        where = kernel.run("print(dn.runtime().url, dn.runtime().tokens.main)").streams["stdout"].split()
        environ = {**os.environ, "DREADNODE_RUNTIME_TOKEN": where[1]}
        printed = asyncio.run(run_print(where[0], environ, "--prompt", "mail", "--agent", "triage"))
        assert (printed.code, printed.out) == (0, ["sorted mail"])
        printed = asyncio.run(run_print(where[0], environ, "--prompt", "mail", "--agent", "nobody"))
        assert (printed.code, printed.err[-1]) == (1, "error: available: default, triage")
    finally:
        kernel.close()
