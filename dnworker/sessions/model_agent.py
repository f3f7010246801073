"""`ModelAgent`: answers turns by any OpenAI-compatible chat endpoint, over httpx; used by `Agents`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx
import msgspec

from dnworker.core.handler_error import message_of, type_name
from dnworker.sessions.transcript import Usage
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.sessions.session import Message
    from dnworker.sessions.tools import Tool
    from dnworker.sessions.turn import Turn

log = logging.getLogger("dnworker.model")

OPENAI = "https://api.openai.com/v1"

ATTEMPTS = 4
FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Attempts of one request, and the seconds of the first and of the longest wait between them."""

MAX_STEPS = 50
"""Generations of a turn whose policy names no bound."""

TIMEOUT = httpx.Timeout(10.0, read=300.0)

ERROR_BYTES = 4_096
"""Bytes of an error's body that are read."""

_ERROR_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "Timeout",
    429: "RateLimitError",
}


@dataclass(frozen=True, kw_only=True)
class ModelEndpoint:
    """A chat endpoint, and its model for turns that name none. The key is never shown."""

    base_url: str = OPENAI
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None

    @classmethod
    def from_environment(
        cls, *, model: str | None = None, base_url: str | None = None, api_key: str | None = None
    ) -> Self:
        """Fill what is not given from `OPENAI_BASE_URL`, `OPENAI_API_KEY` and `DNWORKER_MODEL`.

        Raises:
            BadKey: a ValueError: the key cannot be sent; the text does not quote it.
        """
        env = os.environ
        key = (api_key or env.get("OPENAI_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()):
            where = "api_key" if api_key else "OPENAI_API_KEY"
            raise BadKey(
                f"{where} has characters that no key has, such as a line break; look at how it was set"
            )
        return cls(
            base_url=(base_url or env.get("OPENAI_BASE_URL") or env.get("OPENAI_API_BASE") or OPENAI).rstrip(
                "/"
            ),
            api_key=key or None,
            model=model or env.get("DNWORKER_MODEL") or None,
        )

    @property
    def is_configured(self) -> bool:
        """Whether requests can be sent: OpenAI's own endpoint needs a key, another may need none."""
        return self.api_key is not None or self.base_url != OPENAI


class BadKey(ValueError):
    """A key that could not be sent in a header."""


class _Retry(Exception):
    """The request failed, and may succeed when it is repeated."""

    def __init__(self, failure: TurnFailure, wait: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait = wait


@dataclass
class _Generation:
    """One streamed answer, as far as it has come."""

    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    stop_reason: str | None = None


class ModelAgent:
    """One agent that is a model: requests an answer and calls the tools that the model wants, in turns.

    Args:
        endpoint: where requests are sent.
        model: its name; a provider before a slash, as in `openai/gpt-x`, is left out for OpenAI's own.
        prompt: the system prompt.
        tools: what the model may call.
        clock: for the waits between attempts.
    """

    def __init__(
        self, endpoint: ModelEndpoint, model: str, *, prompt: str, tools: Sequence[Tool], clock: Clock
    ) -> None:
        self._endpoint = endpoint
        self._model = model.removeprefix("openai/")
        self._prompt = prompt
        self._tools = list(tools)
        self._clock = clock

    async def answer(self, turn: Turn, max_steps: int | None = None) -> None:
        """Answer the turn, reporting every step to its transcript.

        Raises:
            TurnFailure: the endpoint refused, broke off, or could not be reached; names the way out.
        """
        steps = max_steps or MAX_STEPS
        names = [tool.name for tool in self._tools]
        turn.transcript.begin(turn.message, turn.session.session_id, steps, names)
        messages = self._opening(turn)
        async with self._client() as client:
            for _ in range(steps):
                done = await self._generate(client, turn, messages)
                if not done.calls:
                    turn.transcript.end_generation(done.stop_reason or "stop", done.usage)
                    turn.transcript.end()
                    return
                messages += await self._call_tools(turn, done)
                turn.transcript.end_generation(done.stop_reason or "tool_calls", done.usage)
        turn.transcript.end("max_steps_reached")
        turn.transcript.stop_reason = "max_steps_reached"

    async def complete(self, messages: list[dict[str, Any]]) -> str:
        """Return the answer to these messages, without tools and without a transcript.

        Raises:
            TurnFailure: as in `answer`.
        """
        async with self._client() as client:
            text = ""
            body = {"model": self._model, "messages": messages, "stream": True}
            try:
                async for piece in self._stream(client, body, _Generation()):
                    text += piece
            except _Retry as exc:
                raise exc.failure from exc
            return text

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=TIMEOUT)

    def _opening(self, turn: Turn) -> list[dict[str, Any]]:
        messages = [{"role": "system", "content": self._prompt}] if self._prompt else []
        messages += [_wire(message) for message in turn.history]
        return [*messages, {"role": "user", "content": turn.message}]

    async def _call_tools(self, turn: Turn, done: _Generation) -> list[dict[str, Any]]:
        calls = [done.calls[number] for number in sorted(done.calls)]
        shown = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in calls
        ]
        messages: list[dict[str, Any]] = [
            {"role": "assistant", "content": done.text or None, "tool_calls": shown}
        ]
        for call in calls:
            try:
                result = await turn.call_tool(call["name"], _parsed(call["arguments"]), call_id=call["id"])
            except Exception as exc:  # a tool's failure is news for the model, not the end of the turn
                result = f"{type_name(exc)}: {message_of(exc)}"
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return messages

    async def _generate(
        self, client: httpx.AsyncClient, turn: Turn, messages: list[dict[str, Any]]
    ) -> _Generation:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **turn.request.generate_params_extra,
        }
        if self._tools:
            body["tools"] = [_offer(tool) for tool in self._tools]
        turn.transcript.open_generation()
        step = turn.transcript.step
        for attempt in range(1, ATTEMPTS + 1):
            done = _Generation()
            try:
                async for piece in self._stream(client, body, done):
                    turn.say(piece)
                return done
            except _Retry as exc:
                if attempt == ATTEMPTS or done.text:
                    raise exc.failure from exc
                wait = min(
                    exc.wait if exc.wait is not None else FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT
                )
                turn.transcript.emit(
                    "generationretry",
                    {
                        "step": step,
                        "attempt": attempt,
                        "max_attempts": ATTEMPTS,
                        "wait_seconds": wait,
                        "error_type": exc.failure.type,
                        "error_message": str(exc.failure),
                    },
                )
                await self._clock.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _stream(
        self, client: httpx.AsyncClient, body: dict[str, Any], done: _Generation
    ) -> AsyncIterator[str]:
        """Yield the pieces of text as they come, adding everything up in `done`."""
        url = f"{self._endpoint.base_url}/chat/completions"
        key = self._endpoint.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            async with client.stream("POST", url, json=body, headers=headers) as response:
                if response.is_error:
                    raise await self._refusal(response)
                async for line in response.aiter_lines():
                    chunk = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                    if not chunk or chunk == "[DONE]":
                        continue
                    if piece := self._take(chunk, done):
                        yield piece
        except httpx.ConnectError as exc:
            raise _Retry(
                self._failure("APIConnectionError", f"no model endpoint answers at {url}: {exc}")
            ) from exc
        except httpx.TimeoutException as exc:
            raise _Retry(self._failure("Timeout", f"{url} did not answer in time")) from exc
        except httpx.LocalProtocolError as exc:  # its text may quote a header
            raise self._failure("APIConnectionError", f"the request to {url} could not be written") from exc
        except httpx.TransportError as exc:
            why = f"the answer of {url} was cut off: {exc or type(exc).__name__}"
            raise _Retry(self._failure("APIConnectionError", why)) from exc
        if done.stop_reason is None:
            raise _Retry(
                self._failure("APIConnectionError", f"the answer of {url} ended before it was complete")
            )

    def _take(self, chunk: str, done: _Generation) -> str:
        """Add one chunk of the stream to `done` and return its text."""
        try:
            data = json.loads(chunk)
        except ValueError as exc:
            raise self._failure("APIError", f"the endpoint sent what is no JSON: {chunk:.100}") from exc
        if not isinstance(data, dict):
            raise self._failure("APIError", f"the endpoint sent no object: {chunk:.100}")
        if fault := data.get("error"):
            message = fault.get("message") if isinstance(fault, dict) else fault
            raise self._failure("APIError", f"the endpoint broke off: {message}")
        if isinstance(used := data.get("usage"), dict):
            done.usage = Usage(
                input_tokens=used.get("prompt_tokens") or 0, output_tokens=used.get("completion_tokens") or 0
            )
        text = ""
        for choice in (data.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                begun = done.calls.setdefault(call.get("index", 0), {"id": "", "name": "", "arguments": ""})
                function = call.get("function") or {}
                begun["id"] += call.get("id") or ""
                begun["name"] += function.get("name") or ""
                begun["arguments"] += function.get("arguments") or ""
            done.stop_reason = choice.get("finish_reason") or done.stop_reason
        done.text += text
        return text

    async def _refusal(self, response: httpx.Response) -> Exception:
        status = response.status_code
        reason = _reason(await _some(response))
        where = self._endpoint.base_url
        kind = _ERROR_TYPES.get(status, "InternalServerError" if status >= 500 else "APIError")
        match status:
            case 401 | 403:
                remedy = "Check OPENAI_API_KEY, or pass api_key="
                text = f"{where} refused the API key ({status}): {reason}. {remedy}"
            case 404:
                text = f"{where} has no model {self._model!r} ({status}): {reason}. Check model and base_url"
            case _:
                text = f"{where} answered {status}: {reason}"
        failure = self._failure(kind, text)
        if status in (408, 409, 429) or status >= 500:
            return _Retry(failure, _retry_after(response))
        return failure

    def _failure(self, kind: str, text: str) -> TurnFailure:
        key = self._endpoint.api_key
        return TurnFailure(text.replace(key, "***") if key else text, kind)


def _wire(message: Message) -> dict[str, Any]:
    if message.role == "tool":  # endpoints refuse a result without its call: send it as text
        return {"role": "assistant", "content": f"[{message.tool_name} returned: {message.content}]"}
    return {"role": message.role, "content": message.content}


def _offer(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _parsed(arguments: str) -> dict[str, Any] | str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


async def _some(response: httpx.Response) -> bytes:
    """Return the beginning of a body; an error page may be long."""
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) >= ERROR_BYTES:
            break
    return body[:ERROR_BYTES]


def _reason(body: bytes) -> str:
    """Return the message in the body of an error, whatever its form."""
    try:
        error = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body.decode(errors="replace").strip()[:300] or "no reason given"
    fault = error.get("error", error) if isinstance(error, dict) else error
    return str(fault.get("message", fault) if isinstance(fault, dict) else fault)[:600]


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
