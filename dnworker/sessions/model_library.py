"""Models by pydantic-ai: this file, `model_conversation.py` and `model_failures.py` alone import it.

Importing it takes a second or more: `ModelPool` does so on a thread, when the first model is asked. What is
used of it is its layer of models; policies, tools, steps and retries are ours. Why:
docs/decisions/0055-models-by-a-library.md.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx
import httpx2
import pydantic_ai.direct
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters, create_async_httpx2_client
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from dnworker.sessions.model_answer import Answer, Piece, WantedCall
from dnworker.sessions.model_conversation import Conversation
from dnworker.sessions.model_failures import ENDED, Asked, failure_of
from dnworker.sessions.transcript import Usage

if TYPE_CHECKING:
    from dnworker.sessions.model_endpoint import ModelEndpoint
    from dnworker.sessions.output_schema import OutputSchema
    from dnworker.sessions.tools import Tool

log = logging.getLogger("dnworker.agents")

CONNECT, READ = 10.0, 300.0
"""Seconds for a connection, and for the next byte of an answer."""

_STOP_REASONS = {"tool_call": "tool_calls"}
"""The library's reasons that the wire has by another name."""

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "parallel_tool_calls": "parallel_tool_calls",
    "stop": "stop_sequences",
    "stop_sequences": "stop_sequences",
    "reasoning_effort": "thinking",
}
"""Parameters of a turn, in OpenAI's words, and what the library calls them."""

_NO_FORM_WITH_TOOLS = {"google", "groq"}
"""Providers whose API takes either tools or a form of the answer."""

_SAME_WORDS = {"openai", "ollama", "groq"}
"""Providers that have OpenAI's words: they get parameters as they are given."""


_REFUSALS = (400, 413, 415, 422)
"""Statuses by which a provider refuses a request for what is in it."""


_responses: ContextVar[list[httpx2.Response] | None] = ContextVar("responses of a model", default=None)
"""The HTTP responses of the answer that this task reads."""


async def _note(response: httpx2.Response) -> None:
    if (noted := _responses.get()) is not None:
        noted.append(response)


@asynccontextmanager
async def _all_closed() -> AsyncGenerator[None, None]:
    """Close the responses that are noted within: Google's package leaves one open when it is cancelled."""
    responses: list[httpx2.Response] = []
    _responses.set(responses)
    try:
        yield
    finally:
        for response in responses:
            await response.aclose()


class Library:
    """The connections to all providers, for one runtime on one loop."""

    def __init__(self) -> None:
        self._http = create_async_httpx2_client(timeout=httpx2.Timeout(READ, connect=CONNECT))
        self._http.event_hooks["response"].append(_note)
        self._older_http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()
        if self._older_http is not None:
            await self._older_http.aclose()

    def model(self, endpoint: ModelEndpoint, name: str) -> LibraryModel:
        """Return a model; takes up to a second the first time, for imports.

        Raises:
            TurnFailure: the provider cannot be asked like this; says what to do.
        """
        asked = Asked(endpoint, name)
        try:
            return LibraryModel(asked, getattr(self, f"_{endpoint.provider.name}")(endpoint, name))
        except Exception as exc:
            raise failure_of(exc, asked).failure from exc

    def _openai(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.openai import OpenAIProvider
        from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

        # Without a reason to stop, a stream that was cut would count as whole.
        profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
        url, key = endpoint.base_url, endpoint.api_key
        if url == endpoint.provider.address:
            provider: Any = OpenAIProvider(url, key, http_client=self._http)
        else:
            provider = OpenAICompatibleProvider(
                "openai-compatible", base_url=url, api_key=key, http_client=self._http
            )
        return OpenAIChatModel(name, provider=provider, profile=profile)

    def _ollama(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.ollama import OllamaModel
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.ollama import OllamaProvider

        url = endpoint.base_url
        if not urlsplit(url).path.strip("/"):  # as Ollama's own variable has it
            url += "/v1"
        provider = OllamaProvider(url, endpoint.api_key, http_client=self._http)
        profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
        return OllamaModel(name, provider=provider, profile=profile)

    def _anthropic(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        provider = AnthropicProvider(
            api_key=endpoint.api_key or "none", base_url=endpoint.base_url, http_client=self._http
        )
        return AnthropicModel(name, provider=provider)

    def _google(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        provider = GoogleProvider(
            api_key=endpoint.api_key or "none", base_url=endpoint.base_url, http_client=self._http
        )
        return GoogleModel(name, provider=provider)

    def _mistral(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.mistral import MistralModel
        from pydantic_ai.providers.mistral import MistralProvider

        provider = MistralProvider(
            api_key=endpoint.api_key or "none", base_url=endpoint.base_url, http_client=self._http
        )
        return MistralModel(name, provider=provider)

    def _groq(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.groq import GroqModel
        from pydantic_ai.providers.groq import GroqProvider

        if self._older_http is None:  # its SDK takes no other
            self._older_http = httpx.AsyncClient(timeout=httpx.Timeout(READ, connect=CONNECT))
        provider = GroqProvider(
            api_key=endpoint.api_key or "none", base_url=endpoint.base_url, http_client=self._older_http
        )
        return GroqModel(name, provider=provider)

    def _bedrock(self, endpoint: ModelEndpoint, name: str) -> Model:
        from pydantic_ai.models.bedrock import BedrockConverseModel
        from pydantic_ai.providers.bedrock import BedrockProvider

        from dnworker.sessions.bedrock_client import make

        client = make(endpoint.base_url or None, endpoint.api_key, connect=CONNECT, read=READ)
        return BedrockConverseModel(name, provider=BedrockProvider(bedrock_client=client))


class LibraryModel:
    """One model at one endpoint."""

    def __init__(self, asked: Asked, model: Model) -> None:
        self._asked = asked
        self._model = model
        self._provider = asked.endpoint.provider.name
        # Retries are ours. As a setting, each request would copy the package's client, for 4 ms.
        client = getattr(model, "client", None)
        self._is_without_retries = isinstance(getattr(client, "max_retries", None), int)
        if self._is_without_retries:
            cast(Any, client).max_retries = 0

    def conversation(self) -> Conversation:
        """Return an empty conversation to have with it."""
        return Conversation()

    async def stream(
        self,
        conversation: Conversation,
        answer: Answer,
        *,
        tools: Sequence[Tool] = (),
        parameters: Mapping[str, Any] | None = None,
        output: OutputSchema | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of an answer as they come, adding everything up in `answer`.

        Args:
            conversation: what was said so far.
            answer: an empty one.
            tools: what the model may call.
            parameters: of the turn, in OpenAI's words.
            output: the form that its answer is to have.

        Raises:
            TurnFailure: the provider refuses, or breaks off; says what to do.
            Retry: the same, and it may succeed when it is repeated.
        """
        asked = self._asked
        try:
            wanted = self._settings(parameters or {}), self._wanted(tools, output)
            try:
                async with aclosing(self._pieces(conversation, answer, *wanted)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ModelHTTPError as exc:
                if answer.has_begun or exc.status_code not in _REFUSALS or not conversation.refuse_files():
                    raise
                log.warning("%s refuses images of tools, or this one: it is asked again without", asked.where)
                async with aclosing(self._pieces(conversation, answer, *wanted)) as pieces:
                    async for piece in pieces:
                        yield piece
        except Exception as exc:
            outcome = failure_of(exc, asked, has_begun=answer.has_begun, tools=[tool.name for tool in tools])
            raise (outcome if outcome.is_worth_repeating else outcome.failure) from exc

    async def _pieces(
        self,
        conversation: Conversation,
        answer: Answer,
        settings: ModelSettings,
        wanted: ModelRequestParameters,
    ) -> AsyncGenerator[Piece, None]:
        async with (
            _all_closed(),
            pydantic_ai.direct.model_request_stream(
                self._model,
                conversation.messages,
                model_settings=settings,
                model_request_parameters=wanted,
                instrument=False,
            ) as stream,
        ):
            answer.has_begun = True
            async for event in stream:
                if (piece := _piece(event)) is not None:
                    answer.text += piece.text
                    yield piece
        self._end(answer, stream.get())

    def _end(self, answer: Answer, response: ModelResponse) -> None:
        if response.finish_reason is None or response.state == "incomplete":
            raise ConnectionAbortedError(ENDED)
        answer.whole = response
        answer.calls = [
            WantedCall(call.tool_call_id, call.tool_name, _parsed(call.args_as_json_str()))
            for call in response.tool_calls
        ]
        used = response.usage
        answer.usage = Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens)
        answer.cost_usd = _cost(response)
        answer.stop_reason = _STOP_REASONS.get(response.finish_reason, response.finish_reason)

    def _wanted(self, tools: Sequence[Tool], output: OutputSchema | None) -> ModelRequestParameters:
        """Return what the model may call, and the form of its answer: as its API has it, else in words."""
        wanted = _offered(tools)
        if output is None:
            return wanted
        has_forms = bool(self._model.profile.get("supports_json_schema_output", False))
        is_native = has_forms and not (tools and self._provider in _NO_FORM_WITH_TOOLS)
        return replace(
            wanted,
            output_mode="native" if is_native else "prompted",
            output_object=OutputObjectDefinition(output.schema, name=_name_of(output)),
            allow_text_output=True,
        )

    def _settings(self, parameters: Mapping[str, Any]) -> ModelSettings:
        has_none = self._is_without_retries or self._provider == "bedrock"
        settings: dict[str, Any] = {} if has_none else {"max_retries": 0}
        if self._provider in _SAME_WORDS:
            extra = dict(parameters)
        else:
            extra = {name: value for name, value in parameters.items() if name not in _SETTINGS}
            settings |= {_SETTINGS[name]: value for name, value in parameters.items() if name in _SETTINGS}
            if isinstance(stop := settings.get("stop_sequences"), str):
                settings["stop_sequences"] = [stop]
            if extra and self._provider != "anthropic":
                raise ValueError(
                    f"{self._provider} has no parameter {', '.join(sorted(extra))}; "
                    f"it has: {', '.join(_SETTINGS)}"
                )
        if extra:
            settings["extra_body"] = extra
        return cast(ModelSettings, settings)


def _name_of(output: OutputSchema) -> str:
    """Return a name that every API takes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", output.name)[:64] or "output"


def _offered(tools: Sequence[Tool]) -> ModelRequestParameters:
    offered = [
        ToolDefinition(
            name=tool.name,
            description=tool.description or None,
            parameters_json_schema=tool.schema,
            strict=False,  # a strict one must require every argument
        )
        for tool in tools
    ]
    return ModelRequestParameters(function_tools=offered)


def _piece(event: object) -> Piece | None:
    match event:
        case (
            PartStartEvent(part=TextPart(content=text))
            | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
        ):
            return Piece(text=text) if text else None
        case PartStartEvent(part=ThinkingPart(content=text)):
            return Piece(reasoning=text) if text else None
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(text))):
            return Piece(reasoning=text) if text else None
    return None


def _parsed(arguments: str) -> dict[str, Any] | str:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def _cost(response: ModelResponse) -> float | None:
    """Return what an answer cost in dollars; None where its price is not known."""
    if response.usage.unmeasured_requests or not response.model_name:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            return float(response.cost().total_price)
    except (LookupError, ValueError):
        return None
