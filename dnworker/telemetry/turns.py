"""`TurnSpans`: the spans of a turn by the conventions for generative AI: steps of models, and calls of tools.

Neither messages nor arguments nor results are in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dnworker.core.span_contexts import span_of
from dnworker.telemetry.attributes import Value, pairs
from dnworker.telemetry.records import Piece, Ran

TURNS_KEPT = 1_000
PIECES_KEPT = 1_000
"""Turns that go on at the same time, and pieces of one, of which spans are made."""


class TurnSpans:
    """Keeps what turns did until they have ended."""

    def __init__(self, time_of: Callable[[int], int]) -> None:
        self._time_of = time_of
        self._pieces: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}

    def note(self, piece: Piece) -> None:
        """Keep a piece of a turn; one that is no such piece is left out."""
        try:
            raw = json.loads(piece.payload)["raw_event"]
            kind, data = str(raw["type"]), raw["data"]
        except (ValueError, KeyError, TypeError):
            return
        if not isinstance(data, dict):
            return
        pieces = self._pieces.setdefault(piece.turn_id, [])
        if len(pieces) < PIECES_KEPT:
            pieces.append((self._time_of(piece.at), kind, data))
        if len(self._pieces) > TURNS_KEPT:
            del self._pieces[next(iter(self._pieces))]

    def finish(self, ran: Ran, span: Span) -> list[Span]:
        """Complete the span of a turn that has ended, and return those of its steps and calls."""
        event = ran.invocation.event
        turn_id = "" if event is None else event.turn_id or ""
        pieces = self._pieces.pop(turn_id, [])
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
    return value if isinstance(value, str) else None


def _count(data: object, name: str) -> int | None:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _provider(model: str | None) -> str | None:
    """Return who offers a model: the word before `/` or `:` in its name."""
    if not model:
        return None
    for separator in ("/", ":"):
        before, found, _ = model.partition(separator)
        if found:
            return before
    return None
