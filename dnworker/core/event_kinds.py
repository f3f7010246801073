"""`KINDS`: what the runtime publishes, when, and the shapes of payloads (contract 5.2); for docs and tests.

The runtime makes its payloads as dicts, for each is made once and encoded at once. Here they are declared: a
test publishes each kind for real and compares, and the reference page of events is written from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Scope = Literal["runtime", "session", "turn", "stream"]
"""Where a kind is published: for all, in a session, in a turn of one, or to one connection alone."""


class Payload(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The base of all payloads: no other field than those declared."""


class ToolCallDone(Payload):
    """A tool call with its result."""

    name: str
    arguments: Annotated[Any, Meta(description="an object; text where it is no JSON; credentials are `***`")]
    result: Annotated[str, Meta(description="what the tool returned, or its error, as text")]


class ToolCallBegun(Payload):
    """A tool call."""

    name: str
    arguments: Annotated[Any, Meta(description="as in `turn.completed`")]


class Tokens(Payload):
    """Tokens that the turn took."""

    input_tokens: int
    output_tokens: int


class TurnError(Payload):
    """Why a turn failed."""

    type: Annotated[str, Meta(description="the exception's name; `TurnInterrupted` where the runtime ended")]
    message: str


class OfSession(Payload):
    """The payload of `session.created` and `session.deleted`."""

    session_id: str


class SessionWarning(Payload):
    """The payload of `session.warning`."""

    code: Annotated[str, Meta(description="`messages_dropped`, or `platform_sync_degraded` of a platform")]
    message: Annotated[str, Meta(description="a sentence for people")]
    sync_status: Annotated[dict[str, Any] | None, Meta(description="of a platform: state and last error")]


class TurnAccepted(Payload):
    """The payload of `turn.accepted`."""

    agent: Annotated[str | None, Meta(description="as requested; null for the session's")]
    model: Annotated[str | None, Meta(description="as requested; null for the session's")]
    reset: Annotated[bool, Meta(description="whether the messages of the session go first")]
    message_length: Annotated[int, Meta(description="characters")]
    queue_depth: Annotated[int, Meta(description="its place in the session's queue, from 1")]


class TurnStarted(Payload):
    """The payload of `turn.started`."""

    agent: Annotated[str, Meta(description="who answers")]
    model: str | None


class TurnEvent(Payload):
    """The payload of `turn.event`."""

    event_type: Annotated[str, Meta(description="the type of `raw_event`")]
    raw_event: Annotated[dict[str, Any], Meta(description="one step of the agent: see [Turns](turns.md)")]


class PromptRequired(Payload):
    """The payload of `prompt.required`."""

    event_type: Annotated[
        Literal["userinputrequired", "permissionrequired"], Meta(description="a question, or a permission")
    ]
    raw_event: Annotated[
        dict[str, Any], Meta(description="`data.request_id` and `data.questions`: see [Turns](turns.md)")
    ]


class Heartbeat(Payload):
    """The payload of `transport.heartbeat`."""

    event_type: Literal["heartbeat"]
    raw_event: dict[str, Any]


class TurnCompleted(Payload):
    """The payload of `turn.completed`."""

    turn_id: str
    response_text: Annotated[str, Meta(description="the answer: the text of the last step that has any")]
    generation_stop_reason: Annotated[str | None, Meta(description="`stop`, or what the model says")]
    tool_calls: list[ToolCallDone]
    usage: Tokens
    duration_ms: Annotated[int, Meta(description="from its start, without its wait in the queue")]
    agent: str
    message_count: Annotated[int, Meta(description="turns that the session has completed")]


class TurnFailed(Payload):
    """The payload of `turn.failed`."""

    turn_id: str
    error: TurnError
    partial_response: Annotated[str | None, Meta(description="the text until then")]
    tool_calls_attempted: list[ToolCallBegun]
    duration_ms: int
    retryable: Annotated[
        bool | UnsetType, Meta(description="true where the runtime ended: start the turn again")
    ] = UNSET


class Cancelled(Payload):
    """The data of the raw event `cancelled`."""

    reason: str


class CancelledRaw(Payload):
    """The raw event that `stream_chat` yields for a cancelled turn."""

    type: Literal["cancelled"]
    data: Cancelled


class TurnCancelled(Payload):
    """The payload of `turn.cancelled`; of a turn that was still waiting it has the reason alone."""

    reason: Annotated[str, Meta(description="`user_interrupt`; `queue_dropped` of a turn that had not begun")]
    turn_id: str | UnsetType = UNSET
    partial_response: Annotated[str | UnsetType | None, Meta(description="the text until then")] = UNSET
    dropped_queued: Annotated[int | UnsetType, Meta(description="turns that were dropped behind it")] = UNSET
    duration_ms: int | UnsetType = UNSET
    raw_event: CancelledRaw | UnsetType = UNSET


class CapabilitiesReloaded(Payload):
    """The payload of `capabilities.reloaded`."""

    capability_count: Annotated[int, Meta(description="capabilities that are loaded without a problem")]
    capability: Annotated[str | UnsetType, Meta(description="the one that was reloaded, if it was one")] = (
        UNSET
    )


class ComponentStateChanged(Payload):
    """The payload of `component.state_changed`."""

    capability: str
    name: str
    kind: Literal["worker", "mcp_server"]
    status: Annotated[
        str,
        Meta(
            description="`ok`, `error`, `stopped` or `gated_off`; of an MCP server also `connecting`, "
            "`needs_auth` or `enabled_failed` (a flag of its `when` is on)"
        ),
    ]
    error: Annotated[str | None, Meta(description="why it failed, with the last lines of a process")]
    detail: Annotated[str | None, Meta(description="what it waits for, such as a flag")]
    tool_count: Annotated[int | UnsetType, Meta(description="the tools of an MCP server")] = UNSET


class Notify(Payload):
    """The payload of `notify`, as `client.notify` makes it; another publisher may send anything."""

    source: Annotated[str, Meta(description="who says it; by default `capability.NAME`")]
    title: str
    body: str | None
    severity: Literal["info", "warning", "error", "success"]


class Reconnected(Payload):
    """The payload of `transport.reconnected`."""

    kinds: Annotated[list[str], Meta(description="of the subscription, sorted; empty for all")]


class Resumed(Payload):
    """The payload of `transport.resumed`."""

    after_seq: Annotated[int | None, Meta(description="the last event that the client says it has")]
    resent: Annotated[int, Meta(description="events that come again, for they may have arrived")]
    lost: Annotated[int, Meta(description="events that were lost meanwhile")]


class EventsCut(Payload):
    """The payload of `transport.events_cut`."""

    lost: Annotated[int, Meta(description="events that are missing at this place of the stream")]


class SubscriberDropped(Payload):
    """The payload of `transport.subscriber_dropped`."""

    lost: Annotated[int, Meta(description="events that it does not get")]
    limit: Annotated[int, Meta(description="events that may wait for a subscriber")]
    detail: Annotated[str, Meta(description="a sentence for people")]


class ResyncRequired(Payload):
    """The payload of `transport.resync_required`."""

    after_seq: Annotated[int | None, Meta(description="from where the client wanted to go on")]
    latest_seq: int
    oldest_buffered_seq: Annotated[int | None, Meta(description="the oldest event that is still kept")]


class DraftState(Payload):
    """What is known of an answer that is under way."""

    text_visible: bool
    last_generation_input_tokens: int | None


class SessionSnapshot(Payload):
    """The payload of `session.snapshot`."""

    schema_version: int
    session_id: str
    latest_seq: Annotated[int, Meta(description="the session's newest event; those that follow are newer")]
    active_turn_id: str | None
    queued_turn_ids: list[str]
    turn_phase: Annotated[
        str, Meta(description="`idle`, `running`, `awaiting_input` or `awaiting_permission`")
    ]
    pending_prompt: dict[str, Any] | None
    pending_prompts: Annotated[list[dict[str, Any]], Meta(description="questions that wait for an answer")]
    sync_status: Annotated[dict[str, Any], Meta(description="of a platform; `disabled` without one")]
    draft_state: DraftState


class ForwarderFailed(Payload):
    """The payload of `transport.forwarder_failed`."""

    detail: Annotated[str, Meta(description="why no more events of the session come; subscribe again")]


@dataclass(frozen=True)
class Kind:
    """One kind that the runtime publishes."""

    scope: Scope
    payload: type[Payload]
    when: str
    """When it is published, and by whom, as a sentence."""
    is_terminal: bool = False
    """Whether it is the last event of its turn."""
    is_ours: bool = False
    """Whether the reference does not have it."""


KINDS: dict[str, Kind] = {
    "turn.accepted": Kind("turn", TurnAccepted, "The session takes a turn into its queue."),
    "turn.started": Kind("turn", TurnStarted, "The agent begins to answer."),
    "turn.event": Kind("turn", TurnEvent, "The agent does something: a piece of text, a tool call, a step."),
    "prompt.required": Kind(
        "turn", PromptRequired, "The agent asks a person a question, or for permission to call a tool."
    ),
    "turn.completed": Kind("turn", TurnCompleted, "The agent has answered.", is_terminal=True),
    "turn.failed": Kind(
        "turn",
        TurnFailed,
        "The agent raised, no agent can answer, or the runtime ended meanwhile.",
        is_terminal=True,
    ),
    "turn.cancelled": Kind(
        "turn", TurnCancelled, "Somebody cancelled the turn, or dropped it while it waited.", is_terminal=True
    ),
    "transport.heartbeat": Kind(
        "turn", Heartbeat, "Reserved for a turn that is silent for long. The runtime does not publish it."
    ),
    "session.created": Kind("session", OfSession, "A client creates a session."),
    "session.deleted": Kind("session", OfSession, "A client deletes a session."),
    "session.warning": Kind(
        "session",
        SessionWarning,
        "The oldest messages of a session are dropped, for all take more than the limit.",
    ),
    "capabilities.reloaded": Kind(
        "runtime", CapabilitiesReloaded, "Capabilities were read from disk again, and their workers started."
    ),
    "component.state_changed": Kind(
        "runtime",
        ComponentStateChanged,
        "A worker or MCP server has started, failed, stopped, or waits for a flag.",
    ),
    "notify": Kind(
        "runtime", Notify, "A handler calls `client.notify`. With a session, it is published there."
    ),
    "transport.reconnected": Kind(
        "stream",
        Reconnected,
        "A client's `subscribe` has connected again. What was published meanwhile does not come.",
    ),
    "transport.resumed": Kind(
        "stream",
        Resumed,
        "The stream of a worker process goes on after its socket broke. `lost` says what was missed.",
        is_ours=True,
    ),
    "transport.events_cut": Kind(
        "stream",
        EventsCut,
        "Events for a worker process were lost, at this place of its stream.",
        is_ours=True,
    ),
    "transport.subscriber_dropped": Kind(
        "stream",
        SubscriberDropped,
        "A subscriber reads too slowly. The runtime closes its socket next.",
        is_ours=True,
    ),
    "transport.resync_required": Kind(
        "stream",
        ResyncRequired,
        "The socket of sessions cannot go on where the client was. A snapshot follows.",
    ),
    "session.snapshot": Kind(
        "stream",
        SessionSnapshot,
        "The first frame of a subscription to a session, on the socket of sessions.",
    ),
    "transport.forwarder_failed": Kind(
        "stream",
        ForwarderFailed,
        "The socket of sessions sends no more of a session that it fell behind in.",
    ),
}
"""Every kind of the runtime, in the order in which people meet them."""


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind's payload."""
    return msgspec.json.schema(KINDS[kind].payload)
