"""`Transcript`: publishes what an agent does in a turn as raw events (contract 5.3), and sums it up.

A `Turn` has one; scripts and models report to it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.ids import new_id
from dnworker.core.masking import mask
from dnworker.core.text import valid_text

if TYPE_CHECKING:
    from dnworker.core.clock import Clock

RawEvent = dict[str, Any]
Emit = Callable[[RawEvent], None]


class Usage(msgspec.Struct, kw_only=True):
    """Tokens that generations took."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class ToolCall(msgspec.Struct):
    """One call of a tool; `result` is None until it has ended."""

    name: str
    arguments: dict[str, Any] | str
    id: str = msgspec.field(default_factory=lambda: f"call_{new_id()[:24]}")
    result: str | None = None
    error: str | None = None
    error_type: str | None = None

    @property
    def result_text(self) -> str:
        """The result or the error, as the agent gets it."""
        return self.result if self.result is not None else f"{self.error_type}: {self.error}"

    def masked(self) -> dict[str, Any]:
        """Return its name and arguments, with credentials hidden."""
        return {"name": self.name, "arguments": mask(self.arguments)}


class Generation(msgspec.Struct):
    """One answer of the model: text, then the tools that it wants called."""

    text: str = ""
    calls: list[ToolCall] = msgspec.field(default_factory=list)
    stop_reason: str | None = None


class Transcript:
    """The record of one turn, generation by generation.

    Text and tool calls belong to a generation, which opens with the first of them. `emit` is called with
    every raw event; the attributes hold the sums for the turn's last event. `clock` dates the events.
    """

    def __init__(self, emit: Emit, *, agent: str, model: str | None, clock: Clock) -> None:
        self.tool_calls: list[ToolCall] = []
        self.usage = Usage()
        self.cost: float | None = 0.0
        """US dollars; None as soon as a generation took tokens whose price is not known."""
        self.last_input_tokens: int | None = None
        self.stop_reason: str | None = None
        self.generations: list[Generation] = []
        self._emit = emit
        self._agent = agent
        self._agent_id = str(uuid.uuid4())
        self._model = model
        self._clock = clock
        self._open = False
        self.output: Any = None
        """The answer as JSON, where the agent's has a form."""

    @property
    def text(self) -> str:
        """The text of the last generation that has any: the turn's answer so far."""
        return next((g.text for g in reversed(self.generations) if g.text), "")

    @property
    def step(self) -> int:
        """The number of the generation under way, from 1."""
        return len(self.generations)

    def begin(self, goal: str, session_id: str, max_steps: int | None, tools: list[str]) -> None:
        """Report that the agent starts."""
        params = {"session_id": session_id, "max_steps": max_steps, "model": self._model, "tools": tools}
        self.emit("agentstart", {"inputs": {"goal": goal}, "params": params})

    def say(self, text: str) -> None:
        """Report one piece of the answer; after a tool call it belongs to the next generation."""
        if self._open and self.generations[-1].calls:
            self.end_generation("tool_calls")
        text = valid_text(text)
        self.open_generation().text += text
        data = {"step": self.step, "content": text, "tool_calls": [], "extra": {}}
        self.emit("generationcontent", data)

    def reason(self, text: str) -> None:
        """Report one piece of what a model thinks before it answers; it is no part of the answer."""
        self.open_generation()
        extra = {"reasoning_content": valid_text(text)}
        self.emit("generationcontent", {"step": self.step, "content": "", "tool_calls": [], "extra": extra})

    def tool_begins(self, call: ToolCall) -> None:
        """Report that a tool is called."""
        self.open_generation().calls.append(call)
        self.tool_calls.append(call)
        shown = {"id": call.id, "name": call.name, "arguments": json.dumps(mask(call.arguments))}
        self.emit("toolstart", {"tool_call": shown, "policy_decision": None})

    def tool_ends(self, call: ToolCall) -> None:
        """Report what the tool returned, or how it failed."""
        shown = {"id": call.id, "name": call.name}
        ended = {
            "result": call.result_text,
            "output_file": None,
            "stop": False,
            "error": call.error,
            "error_type": call.error_type,
            "cost_usd": None,
            "policy_decision": None,
        }
        self.emit("toolend", {"tool_call": shown, **ended})
        self.emit("toolstep", {"tool_call": shown, "step": self.step, "stop": False, "error": call.error})

    def end_generation(
        self, stop_reason: str, usage: Usage | None = None, cost_usd: float | None = None
    ) -> None:
        """Report that the open generation has ended; does nothing when none is open."""
        if not self._open:
            return
        self._open = False
        done = self.generations[-1]
        done.stop_reason = stop_reason
        used = usage or Usage()
        self.usage += used
        self._add_cost(used, cost_usd)
        self.last_input_tokens = used.input_tokens or self.last_input_tokens
        self.stop_reason = stop_reason
        tokens = {
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        }
        calls = [{"id": c.id, "name": c.name, "arguments": json.dumps(mask(c.arguments))} for c in done.calls]
        data = {
            "step": self.step,
            "content": done.text,
            "tool_calls": calls,
            "usage": tokens,
            "stop_reason": stop_reason,
            "model": self._model,
        }
        self.emit("generationend", data)
        self.emit(
            "generationstep",
            data
            | {
                "usage": tokens | {"cost_usd": cost_usd},
                "failed": False,
                "extra": {} if self.output is None else {"output": self.output},
            },
        )

    def _add_cost(self, used: Usage, cost_usd: float | None) -> None:
        """Add what a generation cost; a part of a sum would be taken for all of it."""
        if cost_usd is None and used.output_tokens:
            self.cost = None
        elif self.cost is not None:
            self.cost += cost_usd or 0.0

    def end(self, stop_reason: str = "finished") -> None:
        """Report that the agent has ended."""
        self.end_generation("stop")
        self.emit(
            "agentend", {"stop_reason": stop_reason, "error": None, "error_type": None}, status="finished"
        )

    def fail(self, error_type: str, error: str) -> None:
        """Report that the agent failed; may be called before it began."""
        fault = {"error": error, "error_type": error_type}
        self._open = False
        self.emit("generationerror", {"model": self._model, **fault, "step": self.step}, status="errored")
        self.emit("agentend", {"stop_reason": "error", **fault}, status="errored")

    def emit(self, type_: str, data: dict[str, Any], *, status: str = "running") -> None:
        """Emit one raw event, with the fields that all raw events have."""
        self._emit(
            {
                "type": type_,
                "timestamp": self._clock.now().isoformat(),
                "agent_id": self._agent_id,
                "agent_name": self._agent,
                "status": status,
                "data": data,
            }
        )

    def open_generation(self) -> Generation:
        """Return the open generation; when none is open, report that a new one begins."""
        if not self._open:
            self._open = True
            self.generations.append(Generation())
            self.emit("generationstart", {"model": self._model, "step": self.step})
        return self.generations[-1]
