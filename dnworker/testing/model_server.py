"""`ModelServer`: a model on loopback with scripted answers, in the form of every provider, for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dnworker.server.quiet_uvicorn import QuietUvicorn
from dnworker.testing.model_answers import Answer, Breaks, Calls, Plan, Refuses, Says, Waits
from dnworker.testing.model_formats import FORMATS, Format, OpenAIFormat, frame, usage

__all__ = ["Answer", "Breaks", "Calls", "ModelServer", "Plan", "Refuses", "Says", "Waits"]

_PATHS = {
    "openai": "/v1",
    "anthropic": "/anthropic",
    "google": "/google",
    "mistral": "/mistral",
    "bedrock": "/bedrock",
    "groq": "/groq",
    "ollama": "/ollama/v1",
}


class ModelServer:
    """A model on loopback with scripted answers; use it as `async with`.

    It is compatible with OpenAI's API at `base_url`, and with other providers' at `url_of(provider)`.

    Args:
        plan: answers in turn (`Says`, `Calls`, `Refuses`, `Breaks`, `Waits`), the last one for ever; or a
            function of the request's body that returns one.
        chunk_bytes: sends answers in chunks of so many bytes, which may cut characters; by default each piece
            is sent whole.

    Attributes:
        requests: the bodies of the requests, in order, as dicts.
        keys: their keys, in order, wherever the provider has them.

    Examples:
        >>> async with ModelServer([Says("Hello, ", "Ada")]) as server:
        ...     runtime.agents.register_model("helper", "gpt-test", base_url=server.base_url)
        ...     end = await client.run_turn(session_id="s", agent="helper", message="I am Ada")
        >>> end["response_text"], server.requests[0]["messages"][-1]["content"]
        ('Hello, Ada', 'I am Ada')
    """

    def __init__(self, plan: Plan, *, chunk_bytes: int | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._chunk_bytes = chunk_bytes
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
        return self.url_of("openai")

    def url_of(self, provider: str) -> str:
        """Return the value for `base_url` with a model of another provider.

        Args:
            provider: its name, such as `anthropic`, as before the slash of a model's name.

        Returns:
            The address, such as `http://127.0.0.1:40123/anthropic`.

        Raises:
            RuntimeError: the server was not entered.
            KeyError: there is no such provider.

        Examples:
            >>> async with ModelServer([Says("Hello")]) as server:
            ...     url = server.url_of("anthropic")
            ...     runtime.agents.register_model("h", "anthropic/claude-x", base_url=url, api_key="k")
            ...     end = await client.run_turn(session_id="s", agent="h", message="I am Ada")
            >>> end["response_text"]
            'Hello'
        """
        if self._socket is None:
            raise RuntimeError("the model server is not running; enter it with async with")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}{_PATHS[provider]}"

    async def __aenter__(self) -> Self:
        routes = [
            _route("/v1/chat/completions", self._complete, "openai"),
            _route("/anthropic/v1/messages", self._complete, "anthropic"),
            _route("/google/v1beta/models/{model:path}", self._complete, "google"),
            _route("/mistral/v1/chat/completions", self._complete, "mistral"),
            _route("/bedrock/model/{model:path}/converse-stream", self._complete, "bedrock"),
            _route("/groq/openai/v1/chat/completions", self._complete, "groq"),
            _route("/ollama/v1/chat/completions", self._complete, "ollama"),
        ]
        self._socket = socket.create_server(("127.0.0.1", 0))
        # Connections have it from here: asyncio sets it only where the socket says that it is TCP's.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
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

    async def _complete(self, request: Request, provider: str) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(_key(request))
        answer = self._choose(body)
        form = FORMATS[provider]()
        model = body.get("model") or unquote(request.path_params["model"]).partition(":stream")[0]
        if isinstance(answer, Waits):
            self._waiting.append(answer)
        if isinstance(answer, Refuses):
            fault, headers = form.refusal(answer)
            return JSONResponse(fault, answer.status, {**headers, **answer.headers})
        if body.get("stream") or "stream" in request.url.path:
            return StreamingResponse(_stream(answer, form, model, self._chunk_bytes), media_type=form.media)
        if isinstance(answer, Waits):
            await answer.until.wait()
        return JSONResponse(_whole(answer, model))


def _route(path: str, answer: Callable[[Request, str], Any], provider: str) -> Route:
    async def endpoint(request: Request) -> Response:
        response: Response = await answer(request, provider)
        return response

    return Route(path, endpoint, methods=["POST"])


def _key(request: Request) -> str:
    headers = request.headers
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or bearer


def _in_turn(answers: list[Answer]) -> Callable[[dict[str, Any]], Answer]:
    left = answers[::-1]
    return lambda _: left.pop() if len(left) > 1 else left[0]


async def _stream(answer: Answer, form: Format, model: str, chunk_bytes: int | None) -> AsyncIterator[bytes]:
    for part in _before(answer, form, model):
        for start in range(0, len(part), chunk_bytes or len(part)):
            yield part[start : start + (chunk_bytes or len(part))]
            await asyncio.sleep(0)
    match answer:
        case Breaks(abruptly=True):
            raise ConnectionAbortedError("the plan says so")
        case Waits(until=until, gone=gone):
            try:
                await until.wait()
            except asyncio.CancelledError:
                gone.set()
                raise
            for part in form.end(model, "stop"):
                yield part


def _before(answer: Answer, form: Format, model: str) -> Iterator[bytes]:
    """Yield what an answer sends before it breaks, waits or is over."""
    yield from form.begin(model)
    match answer:
        case Breaks(text=text, garbage=garbage):
            yield from form.text(model, text)
            if garbage:
                yield garbage
        case Waits(text=text):
            yield from form.text(model, text)
        case Calls():
            yield from form.call(model, answer)
            yield from form.end(model, "tool_calls")
        case Says(pieces=pieces, reasoning=reasoning, stop_reason=stop_reason):
            if reasoning:
                yield from form.reasoning(model, reasoning)
            for piece in pieces:
                yield from form.text(model, piece)
            yield from form.end(model, stop_reason)


def _whole(answer: Answer, model: str) -> dict[str, Any]:
    """Return an answer that is not streamed, as OpenAI has it."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = "stop"
    match answer:
        case Says(pieces=pieces):
            message["content"] = "".join(pieces)
            reason = answer.stop_reason
        case Calls():
            message["tool_calls"] = [OpenAIFormat().wanted(answer)]
            reason = "tool_calls"
        case Breaks(text=text) | Waits(text=text):
            message["content"] = text
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return frame(model, choices=[choice], usage=usage()) | {"object": "chat.completion"}
