"""`ModelServer`: an OpenAI-compatible chat endpoint on loopback with scripted answers, for tests."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dnworker.server.quiet_uvicorn import QuietUvicorn


@dataclass(frozen=True)
class Says:
    """An answer of text, streamed in pieces.

    Args:
        *pieces: the pieces, in order.

    Attributes:
        pieces: as given, as a tuple.

    Examples:
        >>> Says("Hello, ", "Ada").pieces
        ('Hello, ', 'Ada')
    """

    pieces: tuple[str, ...]

    def __init__(self, *pieces: str) -> None:
        object.__setattr__(self, "pieces", pieces)


@dataclass(frozen=True)
class Calls:
    """An answer that wants a tool called.

    Attributes:
        tool: its name.
        arguments: by name, as a dict.

    Examples:
        >>> Calls("add", {"a": 2, "b": 3}).tool
        'add'
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuses:
    """An answer with an error status.

    Attributes:
        status: the HTTP status, such as 429.
        message: the error's text.
        headers: of the answer, such as `{"Retry-After": "1"}`.

    Examples:
        >>> Refuses(401, "no such key").status
        401
    """

    status: int
    message: str = "refused"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Breaks:
    """An answer whose stream ends in the middle.

    Attributes:
        text: what comes before.

    Examples:
        >>> Breaks("Let me").text
        'Let me'
    """

    text: str = ""


@dataclass(frozen=True)
class Waits:
    """An answer that does not come until the caller goes or the test lets it.

    Attributes:
        text: what comes before.
        until: an `asyncio.Event`; set it to let the answer end.

    Examples:
        >>> answer = Waits("Let me see")
        >>> answer.until.set()
    """

    text: str = ""
    until: asyncio.Event = field(default_factory=asyncio.Event)


Answer = Says | Calls | Refuses | Breaks | Waits
Plan = Iterable[Answer] | Callable[[dict[str, Any]], Answer]


class ModelServer:
    """An OpenAI-compatible model on loopback with scripted answers; use it as `async with`.

    Args:
        plan: answers in turn (`Says`, `Calls`, `Refuses`, `Breaks`, `Waits`), the last one for ever; or a
            function of the request's body that returns one.

    Attributes:
        requests: the bodies of the requests, in order, as dicts.
        keys: their bearer tokens, in order.

    Examples:
        >>> async with ModelServer([Says("Hello, ", "Ada")]) as server:
        ...     runtime.agents.register_model("helper", "gpt-test", base_url=server.base_url)
        ...     end = await client.run_turn(session_id="s", agent="helper", message="I am Ada")
        >>> end["response_text"], server.requests[0]["messages"][-1]["content"]
        ('Hello, Ada', 'I am Ada')
    """

    def __init__(self, plan: Plan) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._waiting: list[Waits] = []
        self._choose = plan if callable(plan) else _in_turn([*plan])
        self._socket: socket.socket | None = None
        self._serving: tuple[uvicorn.Server, asyncio.Task[None]] | None = None

    @property
    def base_url(self) -> str:
        """The value for `base_url` or `OPENAI_BASE_URL`, such as `http://127.0.0.1:40123/v1`.

        Raises:
            RuntimeError: the server was not entered.
        """
        if self._socket is None:
            raise RuntimeError("the model server is not running; enter it with async with")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        server = QuietUvicorn(config)
        self._serving = server, asyncio.create_task(server.serve([self._socket]))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for answer in self._waiting:
            answer.until.set()
        if self._serving is not None:
            server, serving = self._serving
            server.should_exit = True
            await serving

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        answer = self._choose(body)
        if isinstance(answer, Waits):
            self._waiting.append(answer)
        if isinstance(answer, Refuses):
            error = {"message": answer.message, "type": "invalid_request_error", "code": None}
            return JSONResponse({"error": error}, answer.status, answer.headers)
        if body.get("stream"):
            return StreamingResponse(_stream(answer, body["model"]), media_type="text/event-stream")
        if isinstance(answer, Waits):
            await answer.until.wait()
        return JSONResponse(_whole(answer, body["model"]))


def _in_turn(answers: list[Answer]) -> Callable[[dict[str, Any]], Answer]:
    left = answers[::-1]
    return lambda _: left.pop() if len(left) > 1 else left[0]


_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _frame(model: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, **fields}


def _call(answer: Calls) -> dict[str, Any]:
    function = {"name": answer.tool, "arguments": json.dumps(answer.arguments)}
    return {"index": 0, "id": "call_1", "type": "function", "function": function}


async def _stream(answer: Answer, model: str) -> AsyncIterator[str]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps(_frame(model, choices=[choice]))}\n\n"

    match answer:
        case Breaks(text):
            yield chunk({"role": "assistant", "content": text})
            return
        case Waits(text, until):
            yield chunk({"role": "assistant", "content": text})
            await until.wait()
            yield chunk({}, "stop")
        case Calls():
            yield chunk({"role": "assistant", "tool_calls": [_call(answer)]})
            yield chunk({}, "tool_calls")
        case Says(pieces):
            for piece in pieces:
                yield chunk({"role": "assistant", "content": piece})
            yield chunk({}, "stop")
    yield f"data: {json.dumps(_frame(model, choices=[], usage=_USAGE))}\n\n"
    yield "data: [DONE]\n\n"


def _whole(answer: Answer, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = "stop"
    match answer:
        case Says(pieces):
            message["content"] = "".join(pieces)
        case Calls():
            message["tool_calls"] = [_call(answer)]
            reason = "tool_calls"
        case Breaks(text) | Waits(text):
            message["content"] = text
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return _frame(model, choices=[choice], usage=_USAGE) | {"object": "chat.completion"}
