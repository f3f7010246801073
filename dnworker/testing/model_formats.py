"""`FORMATS`: how each provider of models writes an answer down; `ModelServer` speaks all of them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from dnworker.testing.model_answers import Calls, Refuses

INPUT, OUTPUT = 11, 7
"""Tokens of every answer."""


class Format(Protocol):
    """How one API writes an answer, piece by piece."""

    media: str

    def begin(self, model: str) -> Iterator[bytes]:
        """Yield what comes before everything."""

    def text(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of text."""

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""

    def call(self, model: str, call: Calls) -> Iterator[bytes]:
        """Yield a tool call."""

    def end(self, model: str, stop_reason: str) -> Iterator[bytes]:
        """Yield why it ends, and the tokens."""

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""


def _sse(data: Any, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


class OpenAIFormat:
    """Chat completions, as OpenAI, Ollama and others have them."""

    media = "text/event-stream"
    reasons: ClassVar[dict[str, str]] = {}
    thinks = "reasoning_content"

    def begin(self, model: str) -> Iterator[bytes]:
        """Yield nothing."""
        yield from ()

    def text(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of text."""
        yield self._chunk(model, {"role": "assistant", "content": piece})

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""
        yield self._chunk(model, {"role": "assistant", "content": None, self.thinks: piece})

    def call(self, model: str, call: Calls) -> Iterator[bytes]:
        """Yield a tool call."""
        yield self._chunk(model, {"role": "assistant", "content": "", "tool_calls": [self.wanted(call)]})

    def end(self, model: str, stop_reason: str) -> Iterator[bytes]:
        """Yield why it ends, and the tokens."""
        yield self._chunk(model, {"content": ""}, self.reasons.get(stop_reason, stop_reason))
        yield from self.tokens(model)
        yield b"data: [DONE]\n\n"

    def tokens(self, model: str) -> Iterator[bytes]:
        """Yield the chunk that has the tokens."""
        yield _sse(frame(model, choices=[], usage=usage()))

    def wanted(self, call: Calls) -> dict[str, Any]:
        """Return a tool call."""
        function = {"name": call.tool, "arguments": json.dumps(call.arguments)}
        return {"index": 0, "id": "call_1", "type": "function", "function": function}

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""
        return {"error": {"message": answer.message, "type": "invalid_request_error", "code": None}}, {}

    def _chunk(self, model: str, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _sse(frame(model, choices=[{"index": 0, "delta": delta, "finish_reason": reason}]))


def frame(model: str, **fields: Any) -> dict[str, Any]:
    """Return a chunk of a chat completion."""
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, **fields}


def usage() -> dict[str, int]:
    """Return the tokens, in OpenAI's words."""
    return {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}


class GroqFormat(OpenAIFormat):
    """OpenAI's, with the tokens and the reasoning in fields of its own."""

    thinks = "reasoning"

    def tokens(self, model: str) -> Iterator[bytes]:
        """Yield the chunk that has the tokens."""
        yield _sse(frame(model, choices=[], x_groq={"id": "req_1", "usage": usage()}))


class OllamaFormat(OpenAIFormat):
    """OpenAI's, with the reasoning in a field of its own."""

    thinks = "reasoning"


class MistralFormat(OpenAIFormat):
    """OpenAI's, with the tokens in the last chunk and the reasoning as a part of the content."""

    reasons: ClassVar[dict[str, str]] = {"content_filter": "error"}

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
        yield self._chunk(model, {"role": "assistant", "content": [thinking]})

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""
        return {"object": "error", "message": answer.message, "type": "invalid_request", "code": "1000"}, {}


class AnthropicFormat:
    """The Messages API."""

    media = "text/event-stream"
    reasons: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }

    def __init__(self) -> None:
        self._block = -1
        self._kind = ""

    def begin(self, model: str) -> Iterator[bytes]:
        """Yield the message without its content."""
        tokens = {"input_tokens": INPUT, "output_tokens": 0}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": model}
        message = {**head, "stop_reason": None, "stop_sequence": None, "usage": tokens}
        yield _sse({"type": "message_start", "message": message}, "message_start")

    def text(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of text."""
        yield from self._open("text", {"type": "text", "text": ""})
        yield self._delta({"type": "text_delta", "text": piece})

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""
        yield from self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        yield self._delta({"type": "thinking_delta", "thinking": piece})
        yield self._delta({"type": "signature_delta", "signature": "c2lnbmVk"})

    def call(self, model: str, call: Calls) -> Iterator[bytes]:
        """Yield a tool call, its arguments in two parts."""
        block = {"type": "tool_use", "id": "call_1", "name": call.tool, "input": {}}
        yield from self._open(f"tool {call.tool}", block)
        text = json.dumps(call.arguments)
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield self._delta({"type": "input_json_delta", "partial_json": part})

    def end(self, model: str, stop_reason: str) -> Iterator[bytes]:
        """Yield why it ends, and the tokens."""
        yield from self._close()
        delta = {"stop_reason": self.reasons.get(stop_reason, stop_reason), "stop_sequence": None}
        data = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": OUTPUT}}
        yield _sse(data, "message_delta")
        yield _sse({"type": "message_stop"}, "message_stop")

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(answer.status, "api_error" if answer.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": answer.message}}, {}

    def _open(self, kind: str, block: dict[str, Any]) -> Iterator[bytes]:
        if kind == self._kind:
            return
        yield from self._close()
        self._kind = kind
        self._block += 1
        data = {"type": "content_block_start", "index": self._block, "content_block": block}
        yield _sse(data, "content_block_start")

    def _close(self) -> Iterator[bytes]:
        if self._kind:
            yield _sse({"type": "content_block_stop", "index": self._block}, "content_block_stop")
        self._kind = ""

    def _delta(self, delta: dict[str, Any]) -> bytes:
        data = {"type": "content_block_delta", "index": self._block, "delta": delta}
        return _sse(data, "content_block_delta")


class GoogleFormat:
    """The Gemini API."""

    media = "text/event-stream"
    reasons: ClassVar[dict[str, str]] = {
        "stop": "STOP",
        "tool_calls": "STOP",
        "length": "MAX_TOKENS",
        "content_filter": "SAFETY",
    }

    def begin(self, model: str) -> Iterator[bytes]:
        """Yield nothing."""
        yield from ()

    def text(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of text."""
        yield self._chunk(model, {"text": piece})

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""
        yield self._chunk(model, {"text": piece, "thought": True})

    def call(self, model: str, call: Calls) -> Iterator[bytes]:
        """Yield a tool call."""
        yield self._chunk(
            model, {"functionCall": {"id": "call_1", "name": call.tool, "args": call.arguments}}
        )

    def end(self, model: str, stop_reason: str) -> Iterator[bytes]:
        """Yield why it ends, and the tokens."""
        yield self._chunk(model, {"text": ""}, self.reasons.get(stop_reason, stop_reason))

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""
        names = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        status = names.get(answer.status, "INVALID_ARGUMENT")
        return {"error": {"code": answer.status, "message": answer.message, "status": status}}, {}

    def _chunk(self, model: str, part: dict[str, Any], reason: str | None = None) -> bytes:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if reason:
            candidate["finishReason"] = reason
        tokens = {
            "promptTokenCount": INPUT,
            "candidatesTokenCount": OUTPUT,
            "totalTokenCount": INPUT + OUTPUT,
        }
        return _sse(
            {
                "candidates": [candidate],
                "usageMetadata": tokens,
                "modelVersion": model,
                "responseId": "resp_1",
            }
        )


class BedrockFormat:
    """The Converse API, in the binary event stream of AWS."""

    media = "application/vnd.amazon.eventstream"
    reasons: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "content_filtered",
    }
    faults: ClassVar[dict[int, str]] = {
        401: "UnrecognizedClientException",
        403: "AccessDeniedException",
        404: "ResourceNotFoundException",
        429: "ThrottlingException",
        500: "InternalServerException",
        503: "ServiceUnavailableException",
    }

    def __init__(self) -> None:
        self._block = 0
        self._kind = ""

    def begin(self, model: str) -> Iterator[bytes]:
        """Yield the message without its content."""
        yield event_stream_frame("messageStart", {"role": "assistant"})

    def text(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of text."""
        yield from self._delta("text", {"text": piece})

    def reasoning(self, model: str, piece: str) -> Iterator[bytes]:
        """Yield a piece of what the model thinks."""
        yield from self._delta("reasoning", {"reasoningContent": {"text": piece}})

    def call(self, model: str, call: Calls) -> Iterator[bytes]:
        """Yield a tool call."""
        start = {"toolUse": {"toolUseId": "call_1", "name": call.tool}}
        yield from self._close()
        yield event_stream_frame("contentBlockStart", {"contentBlockIndex": self._block, "start": start})
        yield from self._delta("tool", {"toolUse": {"input": json.dumps(call.arguments)}})

    def end(self, model: str, stop_reason: str) -> Iterator[bytes]:
        """Yield why it ends, and the tokens."""
        yield from self._close()
        yield event_stream_frame("messageStop", {"stopReason": self.reasons.get(stop_reason, stop_reason)})
        tokens = {"inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT}
        yield event_stream_frame("metadata", {"usage": tokens, "metrics": {"latencyMs": 1}})

    def refusal(self, answer: Refuses) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the body and the headers of an error."""
        kind = self.faults.get(answer.status, "ValidationException")
        return {"message": answer.message}, {"x-amzn-errortype": kind}

    def _delta(self, kind: str, delta: dict[str, Any]) -> Iterator[bytes]:
        if self._kind not in ("", kind):
            yield from self._close()
        self._kind = kind
        data = {"contentBlockIndex": self._block, "delta": delta}
        yield event_stream_frame("contentBlockDelta", data)

    def _close(self) -> Iterator[bytes]:
        if self._kind:
            yield event_stream_frame("contentBlockStop", {"contentBlockIndex": self._block})
            self._block += 1
        self._kind = ""


def event_stream_frame(event: str, data: dict[str, Any]) -> bytes:
    """Return one message of an event stream of AWS: lengths, headers, payload, and checksums of both."""
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in (
            (b":message-type", b"event"),
            (b":event-type", event.encode()),
            (b":content-type", b"application/json"),
        )
    )
    payload = json.dumps(data, ensure_ascii=False).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


FORMATS: dict[str, type[Format]] = {
    "openai": OpenAIFormat,
    "anthropic": AnthropicFormat,
    "google": GoogleFormat,
    "mistral": MistralFormat,
    "bedrock": BedrockFormat,
    "groq": GroqFormat,
    "ollama": OllamaFormat,
}
"""By the provider's name."""
