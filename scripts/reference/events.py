"""The page of event kinds, from their declaration and from what a real runtime publishes."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.event_kinds import KINDS, Kind, Scope
from dnworker.core.samples import SAMPLES

from .markdown import fence, items, page
from .recorded import recording
from .schemas import fields

ABOUT = """
Every kind that the runtime publishes: when, where, and what its payload has. A handler gets it with `@worker.on_event("turn.completed")`.

Your own kinds have any name that does not begin with `turn.`, `prompt.`, `session.`, `transport.`, `capabilities.` or `component.`, and any JSON object of up to 1,000,000 bytes as payload.

## The envelope

Each event has these fields, in a handler as attributes and over HTTP as JSON.
"""

ENVELOPE = {
    "kind": "what happened, such as `turn.completed`.",
    "payload": "an object; what it has depends on the kind.",
    "session_id": "the session that it belongs to; null for none.",
    "turn_id": "the turn that it belongs to; null for none.",
    "event_id": "a name that stays the same wherever and how often the event arrives.",
    "seq": "a number that rises by event, of all sessions together. It is 0 for what concerns one stream alone.",
    "timestamp": "when it was published, in UTC: a `datetime` in handlers, ISO 8601 in JSON.",
    "terminal": "whether it is the last event of its turn.",
    "replay": "whether it came before, or is from before the subscription.",
    "schema_version": "the version of the envelope.",
    "connection_id": "of the socket of sessions; null anywhere else.",
}

EXAMPLE = """
```python
%%worker watch
@worker.on_event("turn.completed")
async def on_turn(event, client):
    print(event.kind, "took", event.payload["usage"]["input_tokens"], "tokens")
```

A kind that you fire without a payload gets the example of this page.

```python
%fire turn.completed
```

```text
turn.completed  #2  session session-1  Done.
  + notebook:watch.on_turn  ok  0.6 ms
      | turn.completed took 22 tokens
```
"""

SCOPES: dict[Scope, str] = {
    "turn": "Published in a turn: `session_id` and `turn_id` say which.",
    "session": "Published in a session: `session_id` says which.",
    "runtime": "Published for all: `session_id` is null.",
    "stream": "Sent to one connection alone; `seq` is 0, and no replay has it.",
}

OF_STREAMS: dict[str, dict[str, Any]] = {
    "transport.heartbeat": SAMPLES["transport.heartbeat"],
    "transport.reconnected": {"kinds": ["demo.greeting", "turn.completed"]},
    "transport.resumed": {"after_seq": 412, "resent": 2, "lost": 0},
    "transport.events_cut": {"lost": 3},
    "transport.subscriber_dropped": {
        "lost": 120,
        "limit": 256,
        "detail": "the subscriber is 256 events behind",
    },
    "transport.resync_required": {"after_seq": 3, "latest_seq": 900, "oldest_buffered_seq": 401},
    "session.snapshot": {
        "schema_version": 2,
        "session_id": "demo",
        "latest_seq": 412,
        "active_turn_id": None,
        "queued_turn_ids": [],
        "turn_phase": "idle",
        "pending_prompt": None,
        "pending_prompts": [],
        "sync_status": {"state": "disabled", "last_error": None, "last_attempt_at": None},
        "draft_state": {"text_visible": False, "last_generation_input_tokens": None},
    },
    "transport.forwarder_failed": {"detail": "the subscriber is 256 events behind"},
}
"""Examples of what is sent to one connection alone."""


def events() -> str:
    """Return the page."""
    if ENVELOPE.keys() != set(EventEnvelope.__struct_fields__):
        raise ValueError(f"events: the envelope has other fields: {EventEnvelope.__struct_fields__}")
    envelope = items(f"`{name}`: {about}" for name, about in ENVELOPE.items())
    sections = [_section(name, kind) for name, kind in KINDS.items()]
    return page("`dnworker.core.event_kinds`", "Event kinds", ABOUT, envelope, EXAMPLE, *sections, NEXT)


def example_of(kind: str) -> dict[str, Any]:
    """Return an example of a payload: what a real runtime published, where one can be made to."""
    found = recording().payload(kind) if KINDS[kind].scope != "stream" else None
    return OF_STREAMS[kind] if found is None else found


def _section(name: str, kind: Kind) -> str:
    """Return what the page says of one kind."""
    (_,), components = msgspec.json.schema_components([kind.payload])
    facts = [kind.when, SCOPES[kind.scope]]
    if kind.is_terminal:
        facts.append("It is the last event of its turn: `terminal` is true.")
    if kind.is_ours:
        facts.append("The `dreadnode` SDK's runtime does not have it.")
    return "\n\n".join(
        [
            f"## {name}",
            " ".join(facts),
            "\n".join(fields(components[kind.payload.__name__], components)),
            fence("json", json.dumps(example_of(name), indent=2)),
        ]
    )


NEXT = "Next: [Turns](turns.md) has the raw events in `turn.event`. [HTTP API](http-api.md#sockets) has the sockets on which events come."
