"""`TurnSpans`: the spans of a turn by the conventions for generative AI: steps of models, and calls of tools.

Neither messages nor arguments nor results are in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dnworker.core.span_contexts import span_of
from dnworker.telemetry.attributes import Value, pairs
from dnworker.telemetry.records import Piece, Ran

TURNS_KEPT = 1_000
PIECES_KEPT = 1_000
"""Turns that go on at the same time, and pieces of one, of which spans are made."""

BYTES_KEPT = 8_000_000
"""Bytes of what is kept of all turns; the oldest turn goes first."""

LONGEST_TEXT = 256
"""Characters of a name or an id."""

_KINDS = frozenset(("generationstart", "generationend", "toolstart", "toolend"))

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "ollama_chat": "ollama",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The values of `gen_ai.provider.name` in the conventions, by what stands before the slash of a model."""

_PIECE_BYTES = 800
"""Bytes that a piece takes beside its texts."""


class _Kept(NamedTuple):
    """What a span needs of a piece: when it came, its type, and a few of its fields."""

    at: int
    kind: str
    data: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        values = (*self.data.values(), *self.data.get("tool_call", {}).values())
        return _PIECE_BYTES + sum(4 * len(value) for value in values if isinstance(value, str))


class TurnSpans:
    """Keeps what turns did until they have ended: bounded in turns, pieces and bytes.

    Attributes:
        bytes_kept: what is kept takes so many bytes, about.
        dropped: pieces that there was no room for, or that came after their turn.
    """

    def __init__(self, time_of: Callable[[int], int]) -> None:
        self._time_of = time_of
        self._pieces: dict[str, list[_Kept]] = {}
        self._finished: dict[str, None] = {}
        self.bytes_kept = 0
        self.dropped = 0

    def note(self, piece: Piece) -> None:
        """Keep a piece of a turn; one that is no such piece is left out."""
        kept = _read(piece, self._time_of(piece.at))
        if kept is None:
            return
        if piece.turn_id in self._finished or len(self._pieces.get(piece.turn_id, ())) >= PIECES_KEPT:
            self.dropped += 1
            return
        self._pieces.setdefault(piece.turn_id, []).append(kept)
        self.bytes_kept += kept.size
        while len(self._pieces) > TURNS_KEPT or self.bytes_kept > BYTES_KEPT:
            self.dropped += len(self._take(next(iter(self._pieces))))

    def _take(self, turn_id: str) -> list[_Kept]:
        """Return what is kept of a turn, and keep it no more."""
        pieces = self._pieces.pop(turn_id, [])
        self.bytes_kept -= sum(kept.size for kept in pieces)
        return pieces

    def finish(self, ran: Ran, span: Span) -> list[Span]:
        """Complete the span of a turn that has ended, and return those of its steps and calls."""
        event = ran.invocation.event
        turn_id = "" if event is None else event.turn_id or ""
        pieces = self._take(turn_id)
        self._finished[turn_id] = None
        if len(self._finished) > TURNS_KEPT:
            del self._finished[next(iter(self._finished))]
        agent = ran.invocation.worker.removeprefix("agent ")
        model, used = None, [0, 0]
        made = _Steps(span, turn_id)
        for at, kind, data in pieces:
            made.take(at, kind, data)
            if kind == "generationend":
                model = _text(data.get("model")) or model
                usage = data.get("usage")
                for n, name in enumerate(("input_tokens", "output_tokens")):
                    used[n] += _count(usage, name) or 0
        conversation = None if event is None else event.session_id
        values: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent,
            "gen_ai.conversation.id": conversation,
            "gen_ai.request.model": model,
            "gen_ai.provider.name": _provider(model),
            "gen_ai.usage.input_tokens": used[0],
            "gen_ai.usage.output_tokens": used[1],
            "dnworker.turn.id": turn_id,
        }
        span.attributes.extend(pairs(values))
        return made.spans


def _read(piece: Piece, at: int) -> _Kept | None:
    """Return what spans need of a piece; None where they need nothing of it."""
    try:
        raw = json.loads(piece.payload)["raw_event"]
        kind, data = raw["type"], raw["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if kind not in _KINDS or not isinstance(data, dict):
        return None
    usage, call, step = data.get("usage"), data.get("tool_call"), data.get("step")
    found: dict[str, Any] = {
        "step": _count(data, "step") if isinstance(step, int) else _text(step),
        "model": _text(data.get("model")),
        "usage": {name: _count(usage, name) for name in ("input_tokens", "output_tokens")},
        "error": True if data.get("error") is not None else None,
        "error_type": _text(data.get("error_type")),
    }
    if isinstance(call, dict):
        found["tool_call"] = {name: _text(call.get(name)) for name in ("id", "name")}
    return _Kept(at, kind, found)


class _Steps:
    """Makes spans of the begins and ends of steps and calls, below the span of their turn."""

    def __init__(self, turn: Span, turn_id: str) -> None:
        self._turn, self._turn_id = turn, turn_id
        self._begun: dict[tuple[str, str], int] = {}
        self.spans: list[Span] = []

    def take(self, at: int, kind: str, data: dict[str, Any]) -> None:
        """Take the next piece."""
        if kind in ("generationstart", "generationend"):
            key = ("step", str(data.get("step")))
        elif kind in ("toolstart", "toolend"):
            call = data.get("tool_call")
            key = ("call", str(call.get("id"))) if isinstance(call, dict) else ("", "")
        else:
            return
        if kind.endswith("start"):
            self._begun[key] = at
        elif (started := self._begun.pop(key, None)) is not None and (key[0] == "call" or data.get("model")):
            self.spans.append(
                self._call(started, at, data) if key[0] == "call" else self._step(started, at, data)
            )

    def _step(self, started: int, ended: int, data: dict[str, Any]) -> Span:
        model, usage = _text(data.get("model")), data.get("usage")
        values: dict[str, Value] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.provider.name": _provider(model),
            "gen_ai.usage.input_tokens": _count(usage, "input_tokens"),
            "gen_ai.usage.output_tokens": _count(usage, "output_tokens"),
            "dnworker.turn.step": _count(data, "step"),
        }
        return self._span(
            f"chat {model}", f"step {data.get('step')}", Span.SPAN_KIND_CLIENT, started, ended, values
        )

    def _call(self, started: int, ended: int, data: dict[str, Any]) -> Span:
        call = data["tool_call"]
        values: dict[str, Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": _text(call.get("name")),
            "gen_ai.tool.call.id": _text(call.get("id")),
            "gen_ai.tool.type": "function",
            "error.type": _text(data.get("error_type")),
        }
        name = f"execute_tool {_text(call.get('name')) or '?'}"
        span = self._span(name, f"call {call.get('id')}", Span.SPAN_KIND_INTERNAL, started, ended, values)
        if data.get("error") is not None:
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR))
        return span

    def _span(
        self,
        name: str,
        of: str,
        kind: Span.SpanKind.ValueType,
        started: int,
        ended: int,
        values: dict[str, Value],
    ) -> Span:
        first, last = self._turn.start_time_unix_nano, self._turn.end_time_unix_nano
        started, ended = (min(max(one, first), last) for one in (started, ended))
        return Span(
            trace_id=self._turn.trace_id,
            span_id=bytes.fromhex(span_of(f"{self._turn_id} {of}")),
            parent_span_id=self._turn.span_id,
            name=name[:200],
            kind=kind,
            start_time_unix_nano=started,
            end_time_unix_nano=ended,
            flags=self._turn.flags,
            attributes=pairs(values),
        )


def _text(value: object) -> str | None:
    return value[:LONGEST_TEXT] if isinstance(value, str) else None


def _count(data: object, name: str) -> int | None:
    value = data.get(name) if isinstance(data, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 50
    return value if is_count else None


def _provider(model: str | None) -> str | None:
    """Return who offers a model: the word before `/` in its name, as the conventions word it.

    None where the name says nothing of that: what follows a `:` is the size of a model, as in `llama3:8b`.
    """
    before, found, _ = (model or "").partition("/")
    return _PROVIDERS.get(before.lower(), before.lower()) or None if found else None
