"""`RAW_EVENTS`: what a turn consists of, as `stream_chat` yields it (contract 5.3); for docs and tests.

`sessions/transcript.py` makes these as dicts. A test runs turns and compares; the reference page of turns is
written from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dnworker.core.event_kinds import CancelledRaw, Payload


class Inputs(Payload):
    """What the agent is given."""

    goal: Annotated[str, Meta(description="the message")]


class Params(Payload):
    """How it runs."""

    session_id: str
    max_steps: int | None
    model: str | None
    tools: Annotated[list[str], Meta(description="names of the tools that it may call")]


class ToolUse(Payload):
    """A tool call, as raw events have it."""

    id: str
    name: str
    arguments: Annotated[str, Meta(description="JSON as text; credentials are `***`")]


class ToolName(Payload):
    """Which tool call it is about."""

    id: str
    name: str


class Usage(Payload):
    """Tokens of one step."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class UsageWithCost(Usage):
    """Tokens of one step, and what they cost."""

    cost_usd: float | None


class AgentStart(Payload):
    """The agent begins."""

    inputs: Inputs
    params: Params


class GenerationStart(Payload):
    """A step begins: one answer of a model, or what a script says until its tool calls have ended."""

    model: str | None
    step: Annotated[int, Meta(description="from 1")]


class GenerationContent(Payload):
    """A piece of text."""

    step: int
    content: Annotated[str, Meta(description="the piece, not the whole")]
    tool_calls: list[Any]
    extra: dict[str, Any]


class GenerationEnd(Payload):
    """A step has ended."""

    step: int
    content: Annotated[str, Meta(description="the whole text of the step")]
    tool_calls: list[ToolUse]
    usage: Usage
    stop_reason: Annotated[str, Meta(description="`stop`, `tool_calls`, or what the model says")]
    model: str | None


class GenerationStep(Payload):
    """The sum of a step."""

    step: int
    content: str
    tool_calls: list[ToolUse]
    usage: UsageWithCost
    stop_reason: str
    model: str | None
    failed: bool
    extra: Annotated[
        dict[str, Any],
        Meta(description="`output` is the answer as a value, of an agent whose answers have a form"),
    ]


class GenerationRetry(Payload):
    """A model refused, and is asked again after a wait."""

    step: int
    attempt: Annotated[int, Meta(description="from 1")]
    max_attempts: int
    wait_seconds: float
    error_type: str
    error_message: str


class GenerationError(Payload):
    """The agent raised."""

    model: str | None
    error: str
    error_type: str
    step: int


class ToolStart(Payload):
    """A tool is called."""

    tool_call: ToolUse
    policy_decision: None


class ToolEnd(Payload):
    """A tool has returned, or raised."""

    tool_call: ToolName
    result: Annotated[str, Meta(description="what it returned, or its error, as text")]
    output_file: None
    stop: bool
    error: str | None
    error_type: str | None
    cost_usd: None
    policy_decision: None


class ToolStep(Payload):
    """The sum of a tool call."""

    tool_call: ToolName
    step: int
    stop: bool
    error: str | None


class AgentEnd(Payload):
    """The agent has ended."""

    stop_reason: Annotated[str, Meta(description="`finished`, `max_steps_reached` or `error`")]
    error: str | None
    error_type: str | None


class Choice(Payload):
    """One choice of a question."""

    label: str
    description: str


class Question(Payload):
    """A question."""

    kind: Annotated[
        Literal["choice", "input"], Meta(description="a choice has `options`, an input takes text")
    ]
    prompt: str
    header: str
    options: list[Choice]
    multiple: Annotated[bool, Meta(description="whether several may be chosen")]
    custom: Annotated[bool, Meta(description="whether a text of one's own is taken, too")]


class Approval(Payload):
    """The tool call that is to be permitted."""

    tool_name: str
    arguments: dict[str, Any]
    tool_call_id: str
    reason: str


class Prompt(Payload):
    """A question to a person; answer it with `send_human_input_response` and its `request_id`."""

    request_id: str
    questions: list[Question]
    tool_approval: Approval | None
    source_tool_call_id: str | None
    source_tool_name: str | None


class Common(Payload):
    """The fields around `data`, of all types but those of questions, `error` and `cancelled`."""

    type: str
    timestamp: Annotated[str, Meta(description="ISO 8601, in UTC")]
    agent_id: Annotated[str, Meta(description="a UUID, new for each turn")]
    agent_name: str
    status: Annotated[Literal["running", "finished", "errored"], Meta(description="of the agent")]
    data: dict[str, Any]


class Asked(Payload):
    """A question around its `data`."""

    type: str
    data: dict[str, Any]


class NoAgent(Payload):
    """No agent can answer the turn."""

    type: Literal["error"]
    error: str


@dataclass(frozen=True)
class RawEvent:
    """One type of raw event: when it comes, the fields around `data`, and those of `data`."""

    when: str
    around: type[Payload] = Common
    data: type[Payload] | None = None


RAW_EVENTS: dict[str, RawEvent] = {
    "agentstart": RawEvent("The agent begins.", data=AgentStart),
    "generationstart": RawEvent("A step begins.", data=GenerationStart),
    "generationcontent": RawEvent("A piece of text of the step.", data=GenerationContent),
    "toolstart": RawEvent("The agent calls a tool.", data=ToolStart),
    "toolend": RawEvent("The tool has returned, or raised.", data=ToolEnd),
    "toolstep": RawEvent("The sum of the tool call; it follows `toolend`.", data=ToolStep),
    "generationend": RawEvent("The step has ended.", data=GenerationEnd),
    "generationstep": RawEvent("The sum of the step; it follows `generationend`.", data=GenerationStep),
    "agentend": RawEvent("The agent has ended. `run_turn` returns, and `stream_chat` ends.", data=AgentEnd),
    "userinputrequired": RawEvent("The agent asks a question.", around=Asked, data=Prompt),
    "permissionrequired": RawEvent("The agent asks whether it may call a tool.", around=Asked, data=Prompt),
    "generationretry": RawEvent("A model refused; it is asked again after a wait.", data=GenerationRetry),
    "generationerror": RawEvent("The agent raised. `agentend` follows.", data=GenerationError),
    "error": RawEvent("No agent can answer: the turn fails before it starts.", around=NoAgent),
    "cancelled": RawEvent("The turn was cancelled.", around=CancelledRaw),
}
"""Every type, in the order in which a turn has them."""


def problems_with(raw: dict[str, Any]) -> str | None:
    """Return what is not as declared in a raw event; None if all is."""
    declared = RAW_EVENTS.get(str(raw.get("type")))
    if declared is None:
        return f"no type {raw.get('type')!r} is declared"
    try:
        msgspec.convert(raw, declared.around)
        if declared.data is not None:
            msgspec.convert(raw["data"], declared.data)
    except msgspec.ValidationError as exc:
        return f"{raw['type']}: {exc}"
    return None
