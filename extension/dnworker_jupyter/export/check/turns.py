"""Answers the turns that handlers start in a check, on both sides alike; used by observe.

The notebook's scripted agents answer on the notebook's side, and what they do is taken down. The export has
no such scripts, wherever it will run: there the same answers are given again. Where nothing of the notebook
can answer, a stand-in does, and so does one for the person whom an agent asks.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import ApiError
from dnworker.core.handler_error import describe
from dnworker.sessions.prompts import PromptCancelled, QuestionAnswer, Response
from dnworker.sessions.transcript import ToolCall
from dnworker.sessions.turn import TurnFailure
from dnworker_jupyter.export.check.record import Answer, Recorder

if TYPE_CHECKING:
    from dnworker.runtime import Runtime
    from dnworker.sessions.turn import Turn

Reply = Callable[[Any], Any]

PERSON_SECONDS = 1.0
"""Seconds after which a stand-in answers an agent's question: a handler may do it first."""


@dataclass(frozen=True)
class Script:
    """Who answers in the notebook.

    `replies` are scripted agents by name, and `default` is the script of all others. `remembered` gives what
    an agent without a script answered to a message before, if it ever did.
    """

    replies: Mapping[str, Reply] = field(default_factory=dict)
    default: Reply | None = None
    remembered: Callable[[str, str], str | None] = lambda agent, message: None


def answer_by_script(runtime: Runtime, recorder: Recorder, script: Script, answers: list[Answer]) -> None:
    """Let the notebook's scripts answer, and take down what they do."""

    def answering(reply: Reply | None) -> Reply:
        async def answer(turn: Turn) -> None:
            turn.invocation.muted = True
            note_turn(recorder, turn)
            taken = Answer(turn.agent, turn.message, recorder.event)
            answers.append(taken)
            noting = _NotingTurn(turn, taken)
            chosen = reply
            if chosen is None:
                remembered = script.remembered(turn.agent, turn.message)
                taken.stand_in = remembered is None
                chosen = _saying(stand_in(turn.message) if remembered is None else remembered)
            try:
                await _run(chosen, noting)
            except TurnFailure as exc:
                taken.steps.append(("fail", {"message": str(exc), "type": exc.type}))
                raise
            except Exception as exc:
                error = describe(exc)
                taken.steps.append(("fail", {"message": error.message or error.type, "type": error.type}))
                raise

        return answer

    for name, reply in script.replies.items():
        runtime.agents.register(name, answering(reply))
    runtime.agents.default(answering(script.default))


def answer_again(runtime: Runtime, recorder: Recorder, answers: Sequence[Answer]) -> list[Answer]:
    """Let turns be answered as on the other side; returns the list of those that a stand-in takes."""
    left = [*answers]
    missing: list[Answer] = []

    async def answer(turn: Turn) -> None:
        turn.invocation.muted = True
        note_turn(recorder, turn)
        found = _find(left, turn, recorder.event)
        if found is None:
            missing.append(Answer(turn.agent, turn.message, recorder.event, stand_in=True))
            turn.say(stand_in(turn.message))
            return
        left.remove(found)
        for step, given in found.steps:
            await _again(turn, step, given)

    runtime.agents.default(answer)
    return missing


def note_turn(recorder: Recorder, turn: Turn) -> None:
    """Note what a turn asks."""
    request = turn.request
    asked: dict[str, Any] = {"message": request.message}
    asked |= {"model": request.model} if request.model else {}
    asked |= {"reset": True} if request.reset else {}
    asked |= {"metadata": request.metadata} if request.metadata else {}
    recorder.asked[turn.id] = turn.agent, asked


def stand_in(message: str) -> str:
    """Return what a stand-in answers."""
    return f"(a stand-in answers {len(message)} characters)"


def _find(left: Sequence[Answer], turn: Turn, event: int) -> Answer | None:
    """Return the answer that fits best: to this message, in the same event; else the next of that event."""
    fits: list[Callable[[Answer], bool]] = [
        lambda a: (a.event, a.agent, a.message) == (event, turn.agent, turn.message),
        lambda a: (a.agent, a.message) == (turn.agent, turn.message),
        lambda a: a.message == turn.message,
        lambda a: (a.event, a.agent) == (event, turn.agent),
        lambda a: a.event == event,
    ]
    return next((answer for fit in fits for answer in left if fit(answer)), None)


def _saying(text: str) -> Reply:
    async def reply(turn: Any) -> str:
        return text

    return reply


async def _run(reply: Reply, turn: Any) -> None:
    """Run a script, whichever form it has; `Turn.run_script` began the transcript already."""
    made = reply(turn)
    if inspect.isasyncgen(made):
        async with aclosing(made):
            async for piece in made:
                turn.say(piece)
    elif inspect.isgenerator(made):
        for piece in made:
            turn.say(piece)
    else:
        text = await made if inspect.isawaitable(made) else made
        if text is not None:
            turn.say(text)


class _NotingTurn:
    """A turn as the script sees it, which takes down what the script does."""

    def __init__(self, turn: Turn, answer: Answer) -> None:
        self._turn = turn
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turn, name)

    def say(self, text: Any) -> None:
        """Say it."""
        self._turn.say(text)
        self._note("say", text=text)

    async def call_tool(self, name: str, arguments: Any = None, **how: Any) -> str:
        """Call it, and note its result or error."""
        try:
            result = await self._turn.call_tool(name, arguments, **how)
        except Exception as exc:
            self._note("call", name=name, arguments=arguments, error=str(exc), type=type(exc).__name__)
            raise
        self._note("call", name=name, arguments=arguments, result=result)
        return result

    async def ask(self, prompt: str, options: Sequence[str] = (), **how: Any) -> str:
        """Ask, and note the question before it is answered."""
        self._note("ask", prompt=prompt, options=[*options], **how)
        return await self._turn.ask(prompt, options, **how)

    async def sleep(self, seconds: float) -> None:
        """Wait, as long on the other side."""
        self._note("sleep", seconds=seconds)
        await self._turn.sleep(seconds)

    def _note(self, step: str, **given: Any) -> None:
        self._answer.steps.append((step, given))


async def _again(turn: Turn, step: str, given: dict[str, Any]) -> None:
    match step:
        case "say":
            turn.say(given["text"])
        case "sleep":
            await turn.sleep(given["seconds"])
        case "ask":
            await turn.ask(**given)
        case "fail":
            raise TurnFailure(given["message"], given["type"])
        case "call" if "error" not in given:
            await turn.call_tool(given["name"], given["arguments"], result=given["result"])
        case "call":
            call = ToolCall(given["name"], given["arguments"] or {})
            turn.transcript.tool_begins(call)
            call.error, call.error_type = given["error"], given["type"]
            turn.transcript.tool_ends(call)


class Person:
    """Answers the questions of agents that nobody else answers: the first option, yes, a fixed text."""

    def __init__(self, runtime: Runtime) -> None:
        self.answered = 0
        self._runtime = runtime
        self._waiting: set[asyncio.Task[None]] = set()
        runtime.bus.tap(self._note)

    def _note(self, envelope: EventEnvelope) -> None:
        if envelope.kind == "prompt.required" and envelope.session_id is not None:
            task = asyncio.create_task(self._answer(envelope.session_id, envelope.payload), name="stand-in")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _answer(self, session_id: str, payload: dict[str, Any]) -> None:
        await asyncio.sleep(PERSON_SECONDS)
        request = payload["raw_event"]["data"]
        queue = self._runtime.turns.queue(self._runtime.sessions.get(session_id))
        if request["request_id"] not in queue.prompts:
            return
        self.answered += 1
        if request.get("tool_approval"):
            response = Response(request_id=request["request_id"], decision="allow")
        else:
            answers = [_answer_to(question) for question in request["questions"]]
            response = Response(request_id=request["request_id"], action="submit", answers=answers)
        try:
            self._runtime.turns.respond(session_id, response)
        except (ApiError, PromptCancelled):
            self.answered -= 1  # somebody was quicker

    def close(self) -> None:
        """Answer nothing more."""
        for task in self._waiting:
            task.cancel()


def _answer_to(question: dict[str, Any]) -> QuestionAnswer:
    options = question.get("options") or []
    if options:
        return QuestionAnswer(selected_labels=[options[0]["label"]])
    return QuestionAnswer(text="(a stand-in answers)")
