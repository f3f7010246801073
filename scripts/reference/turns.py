"""The page of what turns yield, from its declaration and from turns of a real runtime."""

from __future__ import annotations

import json

import msgspec

from dnworker.core.raw_events import RAW_EVENTS, Common, RawEvent

from .markdown import fence, page
from .recorded import recording
from .schemas import fields

ABOUT = """
`client.stream_chat` starts a turn and yields what its agent does, as dicts: the *raw events*. `client.run_turn` starts one and returns the payload of its [`turn.completed`](events.md#turncompleted).

Each raw event is also published, as the `raw_event` of an event [`turn.event`](events.md#turnevent), or of [`prompt.required`](events.md#promptrequired) where the agent asks something.
"""

EXAMPLE = """
## A turn as a stream

```python
async def add(turn):
    yield "Looking into it. "
    total = await turn.call_tool("add", {"a": 2, "b": 3}, result=5)
    yield f"It is {total}."


runtime = dn.runtime()
runtime.agents.register("triage", add)
client = runtime.client()

async for raw in client.stream_chat(session_id="demo", message="What is 2 + 3?", agent="triage"):
    text = raw["data"].get("content") if raw["type"] == "generationcontent" else ""
    print(raw["type"], text)
```

```text
agentstart
generationstart
generationcontent Looking into it.
toolstart
toolend
toolstep
generationend
generationstep
generationstart
generationcontent It is 5.
generationend
generationstep
agentend
```

The stream ends without raising, however the turn ends. `run_turn` raises instead:

```python
done = await client.run_turn(session_id="demo", message="What is 2 + 3?", agent="triage")
done["response_text"], [call["name"] for call in done["tool_calls"]]
```

```text
('It is 5.', ['add'])
```

A turn belongs to the runtime: it goes on when you stop reading. `cancel_session` ends it.
"""

ORDERS = {
    "triage": "With a tool and a question:",
    "asked": "A model that is asked again:",
    "broken": "An agent that raises:",
    "nobody": "No agent of that name:",
    "slow": "Cancelled:",
}

ANSWER = """
## Answer a question

A question waits until somebody answers it, or the turn is cancelled. `request_id` is in its `data`.

```python
async def choose(turn):
    colour = await turn.ask("Which colour?", ["red", "blue"])
    yield f"You chose {colour}."


runtime.agents.register("chooser", choose)

async for raw in client.stream_chat(session_id="demo", message="Choose", agent="chooser"):
    if raw["type"] == "userinputrequired":
        await client.send_human_input_response(
            "demo",
            {
                "request_id": raw["data"]["request_id"],
                "action": "submit",
                "answers": [{"selected_labels": ["red"]}],
            },
        )
    elif raw["type"] == "generationcontent":
        print(raw["data"]["content"])
```

```text
You chose red.
```

Answers are `{"selected_labels": [...]}` or `{"text": "..."}`; `"action": "cancel"` closes the question. A permission is answered by `send_permission_response(session_id, request_id, "allow")`, `"allow_session"` or `"deny"`.
"""


def turns() -> str:
    """Return the page."""
    found = recording()
    orders = ["## In which order they come"]
    for agent, about in ORDERS.items():
        types = " ".join(raw["type"] for raw in found.turns[agent])
        orders += [
            about,
            fence(
                "", types.replace(" generationstart", "\ngenerationstart").replace(" agentend", "\nagentend")
            ),
        ]
    around = "\n".join(_fields(Common))
    common = f"## The fields around data\n\nAll types but questions, `error` and `cancelled` have these.\n\n{around}"
    sections = [_section(name, one) for name, one in RAW_EVENTS.items()]
    return page(
        "`dnworker.core.raw_events`", "Turns", ABOUT, EXAMPLE, *orders, ANSWER, common, *sections, NEXT
    )


def _section(name: str, one: RawEvent) -> str:
    example = recording().raw(name)
    if example is None:
        raise ValueError(f"turns: no turn of `recorded` has a raw event {name!r}")
    parts = [f"## {name}", one.when]
    if one.data is not None:
        parts += ["Its `data`:", "\n".join(_fields(one.data))]
    else:
        parts.append("\n".join(_fields(one.around)))
    return "\n\n".join([*parts, fence("json", json.dumps(example, indent=2))])


def _fields(kind: type) -> list[str]:
    (_,), components = msgspec.json.schema_components([kind])
    return fields(components[kind.__name__], components)


NEXT = "Next: [The client](client.md) has the methods, [Call an agent](../how-to/call-an-agent.md) a worker that uses them."
