"""`ModelAgent`: answers turns by a model; used by `Agents`.

Steps, tools, retries and what the transcript says are decided here; `model_library.py` asks a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from dnworker.core.handler_error import message_of, type_name
from dnworker.sessions.model_answer import Answer, Retry
from dnworker.sessions.output_schema import Misfit
from dnworker.sessions.turn import misfit

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.sessions.model_answer import AskedModel, Models, Talk
    from dnworker.sessions.model_endpoint import ModelEndpoint
    from dnworker.sessions.output_schema import OutputSchema
    from dnworker.sessions.session import Message
    from dnworker.sessions.tools import Tool
    from dnworker.sessions.turn import Turn

ATTEMPTS = 4
FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Attempts of one request, and the seconds of the first and of the longest wait between them."""

CORRECTIONS = 2
"""How often a model is told that its answer does not have the form that is wanted."""

MAX_STEPS = 50
"""Generations of a turn whose policy names no bound."""


class ModelAgent:
    """One agent that is a model: requests an answer and calls the tools that the model wants, in turns.

    Args:
        models: gives the model.
        endpoint: where it is asked.
        model: its name there.
        prompt: the system prompt.
        tools: what the model may call.
        clock: for the waits between attempts.
        output: the form that its answers have; one of another form is asked for again, `CORRECTIONS` times.
    """

    def __init__(
        self,
        models: Models,
        endpoint: ModelEndpoint,
        model: str,
        *,
        prompt: str,
        tools: Sequence[Tool],
        clock: Clock,
        output: OutputSchema | None = None,
    ) -> None:
        self._models = models
        self._endpoint = endpoint
        self._model = model
        self._prompt = prompt
        self._tools = list(tools)
        self._clock = clock
        self._output = output

    async def answer(self, turn: Turn, max_steps: int | None = None) -> None:
        """Answer the turn, reporting every step to its transcript.

        Raises:
            TurnFailure: the provider refused, broke off, or could not be reached, names the way out; or the
                answer does not have its form, names the field.
        """
        steps = max_steps or MAX_STEPS
        names = [tool.name for tool in self._tools]
        turn.transcript.begin(turn.message, turn.session.session_id, steps, names)
        model = await self._models.get(self._endpoint, self._model)
        conversation = _opening(model.conversation(), self._prompt, turn.history)
        conversation.say("user", turn.message)
        corrections = 0
        for step in range(1, steps + 1):
            done = await self._generate(model, turn, conversation)
            if not done.calls:
                wrong = self._misfit(turn, done)
                turn.transcript.end_generation(done.stop_reason or "stop", done.usage, done.cost_usd)
                if wrong is None or self._output is None:
                    turn.transcript.end()
                    return
                corrections += 1
                if corrections > CORRECTIONS or step == steps:
                    raise misfit(turn.agent, self._output, wrong)
                _correct(conversation, done, wrong)
                continue
            await self._call_tools(turn, conversation, done)
            turn.transcript.end_generation(done.stop_reason or "tool_calls", done.usage, done.cost_usd)
        if self._output is not None:
            raise misfit(turn.agent, self._output, f"it had no answer within {steps} steps")
        turn.transcript.end("max_steps_reached")
        turn.transcript.stop_reason = "max_steps_reached"

    async def complete(self, messages: Sequence[dict[str, str]]) -> str:
        """Return the answer to these messages, of a `role` and `content` each, without tools and transcript.

        Raises:
            TurnFailure: as in `answer`.
        """
        model = await self._models.get(self._endpoint, self._model)
        conversation = model.conversation()
        for message in messages:
            conversation.say(message["role"], message["content"])
        done = Answer()
        try:
            async for _ in model.stream(conversation, done):
                pass
        except Retry as exc:
            raise exc.failure from exc
        return done.text

    def _misfit(self, turn: Turn, done: Answer) -> Misfit | None:
        """Return why an answer does not have its form, and keep one that has; None where there is no form."""
        if self._output is None:
            return None
        try:
            turn.transcript.output = self._output.check(done.text)
        except Misfit as exc:
            return exc
        return None

    async def _call_tools(self, turn: Turn, conversation: Talk, done: Answer) -> None:
        results = []
        for call in done.calls:
            try:
                result = await turn.run_tool(call.name, call.arguments, call_id=call.id)
            except Exception as exc:  # a tool's failure is news for the model, not the end of the turn
                result = f"{type_name(exc)}: {message_of(exc)}"
            results.append((call, result))
        conversation.go_on(done, results)

    async def _generate(self, model: AskedModel, turn: Turn, conversation: Talk) -> Answer:
        turn.transcript.open_generation()
        for attempt in range(1, ATTEMPTS + 1):
            done = Answer()
            has_said = False
            try:
                async with aclosing(
                    model.stream(
                        conversation,
                        done,
                        tools=self._tools,
                        parameters=turn.request.generate_params_extra,
                        output=self._output,
                    )
                ) as pieces:
                    async for piece in pieces:
                        has_said = True
                        if piece.reasoning:
                            turn.transcript.reason(piece.reasoning)
                        if piece.text:
                            turn.say(piece.text)
                return done
            except Retry as exc:
                if attempt == ATTEMPTS or has_said:
                    raise exc.failure from exc
                await self._wait(turn, attempt, exc)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _wait(self, turn: Turn, attempt: int, retry: Retry) -> None:
        """Report that a request is repeated, and wait as long as the provider asks, within bounds."""
        asked = retry.wait if retry.wait is not None else FIRST_WAIT * 2 ** (attempt - 1)
        wait = min(asked, LONGEST_WAIT)
        data: dict[str, Any] = {
            "step": turn.transcript.step,
            "attempt": attempt,
            "max_attempts": ATTEMPTS,
            "wait_seconds": wait,
            "error_type": retry.failure.type,
            "error_message": str(retry.failure),
        }
        turn.transcript.emit("generationretry", data)
        await self._clock.sleep(wait)


def _correct(conversation: Talk, done: Answer, wrong: Misfit) -> None:
    """Tell the model what is wrong with its answer."""
    if done.text:  # providers refuse an answer without text
        conversation.go_on(done, [])
    conversation.say(
        "user",
        f"Your answer does not have the wanted form: {wrong}. Answer again, with the JSON object alone.",
    )


def _opening(conversation: Talk, prompt: str, history: Sequence[Message]) -> Talk:
    """Return a conversation that begins with what was said before a turn."""
    if prompt:
        conversation.say("system", prompt)
    for message in history:
        if message.role == "tool":  # providers refuse a result without its call: send it as text
            conversation.say("assistant", f"[{message.tool_name} returned: {message.content}]")
        else:
            conversation.say(message.role, message.content)
    return conversation
