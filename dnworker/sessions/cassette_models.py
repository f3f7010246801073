"""Models and scripts whose answers are recorded in a `Cassette`, or come from one; used by `Agents`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.handler_error import message_of, type_name
from dnworker.core.masking import mask
from dnworker.core.tool_files import files_of
from dnworker.sessions.cassette import Cassette
from dnworker.sessions.cassette_file import Request
from dnworker.sessions.model_answer import Answer, Piece, WantedCall
from dnworker.sessions.transcript import ToolCall, Usage
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.model_answer import AskedModel, Models, Talk
    from dnworker.sessions.model_endpoint import ModelEndpoint
    from dnworker.sessions.output_schema import OutputSchema
    from dnworker.sessions.tools import Tool
    from dnworker.sessions.turn import Turn


class PlainTalk:
    """What a model is sent, as JSON; `inner` has it in the form of who is really asked, if anybody is."""

    def __init__(self, inner: Talk | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.inner = inner

    def say(self, role: str, text: str) -> None:
        """Add a message of a role: `system`, `user` or `assistant`."""
        self.messages.append({"role": role, "text": text})
        if self.inner is not None:
            self.inner.say(role, text)

    def go_on(self, answer: Answer, results: Iterable[tuple[WantedCall, str]]) -> None:
        """Add an answer of the model, and the results of the tools that it wanted called."""
        results = list(results)
        self.messages.append({"role": "assistant", "text": answer.text, "calls": _calls(answer)})
        self.messages += [_result(call, text) for call, text in results]
        if self.inner is not None:
            self.inner.go_on(answer, results)


class RecordingModels:
    """Gives the models of a pool, whose answers are recorded.

    Args:
        models: who is really asked.
        cassette: takes what they answer.
        model: the model's name, with its provider's.
    """

    def __init__(self, models: Models, cassette: Cassette, model: str) -> None:
        self._models = models
        self._cassette = cassette
        self._model = model

    async def get(self, endpoint: ModelEndpoint, name: str) -> AskedModel:
        """Return a model; raises as the pool does."""
        self._cassette.hide(endpoint.api_key)
        return _RecordingModel(await self._models.get(endpoint, name), self._cassette, self._model)


class _RecordingModel:
    def __init__(self, model: AskedModel, cassette: Cassette, name: str) -> None:
        self._asked = model
        self._cassette = cassette
        self._name = name

    def conversation(self) -> PlainTalk:
        return PlainTalk(self._asked.conversation())

    async def stream(
        self,
        conversation: Any,
        answer: Answer,
        *,
        tools: Sequence[Tool] = (),
        parameters: Mapping[str, Any] | None = None,
        output: OutputSchema | None = None,
    ) -> AsyncGenerator[Piece, None]:
        reasoning = ""
        request = _request(self._name, conversation, tools, parameters, output)
        async with aclosing(
            self._asked.stream(conversation.inner, answer, tools=tools, parameters=parameters, output=output)
        ) as pieces:
            async for piece in pieces:
                reasoning += piece.reasoning
                yield piece
        recorded = {
            "text": answer.text,
            "reasoning": reasoning,
            "calls": _calls(answer),
            "usage": msgspec.to_builtins(answer.usage),
            "cost_usd": answer.cost_usd,
            "stop_reason": answer.stop_reason,
        }
        await self._cassette.record(request, {name: value for name, value in recorded.items() if value})


class ReplayingModels:
    """Gives a model whose answers come from a cassette; nobody is asked, and no library is needed.

    Args:
        cassette: what was recorded.
        agent: who answers, for messages.
        model: the model's name, with its provider's.
    """

    def __init__(self, cassette: Cassette, agent: str, model: str) -> None:
        self._cassette = cassette
        self._agent = agent
        self._model = model

    async def get(self, endpoint: ModelEndpoint, name: str) -> AskedModel:
        """Return the model."""
        return self

    def conversation(self) -> PlainTalk:
        """Return an empty conversation."""
        return PlainTalk()

    async def stream(
        self,
        conversation: Any,
        answer: Answer,
        *,
        tools: Sequence[Tool] = (),
        parameters: Mapping[str, Any] | None = None,
        output: OutputSchema | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """Yield the recorded answer.

        Raises:
            TurnFailure: it is not recorded, or is no answer of a model.
        """
        request = _request(self._model, conversation, tools, parameters, output)
        recorded = self._cassette.answer(self._agent, request)
        answer.has_begun = True
        if reasoning := recorded.get("reasoning"):
            yield Piece(reasoning=reasoning)
        answer.text = recorded.get("text", "")
        if answer.text:
            yield Piece(text=answer.text)
        try:
            answer.calls = msgspec.convert(recorded.get("calls", []), list[WantedCall])
            answer.usage = msgspec.convert(recorded.get("usage", {}), Usage)
        except msgspec.ValidationError as exc:
            raise TurnFailure(f"{self._cassette.path} is no cassette: {exc} (DN994)", "NotRecorded") from exc
        answer.cost_usd, answer.stop_reason = recorded.get("cost_usd"), recorded.get("stop_reason")


def _request(
    model: str,
    talk: PlainTalk,
    tools: Sequence[Tool],
    parameters: Mapping[str, Any] | None,
    output: OutputSchema | None,
) -> Request:
    request = {
        "model": model,
        "messages": list(talk.messages),
        "tools": sorted(tool.name for tool in tools),
        "parameters": parameters,
        "output": None if output is None else output.schema,
    }
    return {name: value for name, value in request.items() if value}


def _result(call: WantedCall, text: str) -> dict[str, Any]:
    """Return a tool's result; of its files what tells them apart."""
    hashes = [hashlib.sha256(file.data).hexdigest() for file in files_of(text)]
    said = {"role": "tool", "name": call.name, "result": str(text)}
    return said | {"files": hashes} if hashes else said


def _calls(answer: Answer) -> list[dict[str, Any]]:
    return [{"id": call.id, "name": call.name, "arguments": mask(call.arguments)} for call in answer.calls]


# -- scripts -----------------------------------------------------------------------------------------------


async def record_script(cassette: Cassette, turn: Turn, run: Callable[[], Awaitable[None]]) -> None:
    """Run a scripted turn, and record what it says and which tools it calls, also where it fails."""
    request = {"message": turn.message}
    try:
        await run()
    except Exception as exc:
        type_ = exc.type if isinstance(exc, TurnFailure) else type_name(exc)
        failure = {"type": type_, "message": message_of(exc)}
        await cassette.record(request, {"steps": list(_steps(turn)), "failure": failure})
        raise
    await cassette.record(request, {"steps": list(_steps(turn))})


def _steps(turn: Turn) -> Iterable[dict[str, Any]]:
    for generation in turn.transcript.generations:
        if generation.text:
            yield {"text": generation.text}
        for call in generation.calls:
            ended = (
                {"result": call.result}
                if call.error is None
                else {"error": call.error, "error_type": call.error_type}
            )
            yield {"tool": call.name, "arguments": mask(call.arguments), **ended}


async def play_script(cassette: Cassette, turn: Turn) -> None:
    """Answer a turn as the script did that was recorded.

    Raises:
        TurnFailure: it is not recorded, or it failed then.
        PermissionError: the call of a tool is not allowed now.
    """
    answer = cassette.answer(turn.agent, {"message": turn.message})
    for step in answer.get("steps", []):
        if "text" in step:
            turn.say(step["text"])
        elif "error" in step:
            call = ToolCall(step["tool"], step["arguments"])
            turn.transcript.tool_begins(call)
            call.error, call.error_type = step["error"], step["error_type"]
            turn.transcript.tool_ends(call)
        else:
            await turn.call_tool(step["tool"], step["arguments"], result=step["result"])
    if (failure := answer.get("failure")) is not None:
        raise TurnFailure(failure["message"], failure["type"])
