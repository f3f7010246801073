"""One example for each operation of the HTTP API; the tests run them with curl, in this order."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """One request; `refused` is why this runtime, or that of the example, refuses it, after the status."""

    operation: str
    url: str = ""
    """The path and the query with values put in; empty for the path of the operation."""
    body: str = ""
    """JSON, or `@FILE` for a file's content."""
    refused: str = ""
    before: str = ""
    """Commands that the tests run before it; readers do not see them."""


SETUP = """
## Before you call

Start a runtime with a token in a file, and put its address and the header into two variables.

```yaml title="demo/capability.yaml"
schema: 1
name: demo
version: 0.1.0
description: Greets people
workers:
  greeter: {path: workers/greeter.py}
mcp:
  servers:
    files: {command: mcp-files}
    web: {url: "http://127.0.0.1:9/mcp"}
```

```python title="demo/workers/greeter.py"
from dnworker import Worker

worker = Worker(name="greeter")


@worker.on_event("demo.greeting")
async def on_greeting(event, client):
    print("hello", event.payload["name"])  # raises where there is no name
```

```md title="demo/skills/greet/SKILL.md"
---
name: greet
description: How to greet
---
Say hello, and the name.
```

<!-- run: no, the tests take a free port -->
```sh
dnworker serve demo --durable --retry demo:greeter=1,backoff=10ms --token-file token
```

<!-- run: no, the tests take a free port -->
```sh
export URL=http://127.0.0.1:8787 AUTH="Authorization: Bearer $(cat token)"
```

<!-- run: background until "demo:greeter is running" -->
<!-- hidden sh
dnworker serve demo --durable --retry demo:greeter=1,backoff=10ms --token-file token --port 0
-->

<!-- hidden sh
export URL=$(dnworker panel --no-browser | sed 's|/panel.*||') AUTH="Authorization: Bearer $(cat token)"
-->
"""

GREETING = '{"kind": "demo.greeting"}'
SESSION = '{"session_id": "s1"}'


def as_json(body: str) -> str:
    """Return the words that post a body; `--json` of curl is too new for systems that are still in use."""
    return f"-H 'Content-Type: application/json' --data '{body}'"


_PLATFORM = "404: it needs the platform of the `dreadnode` SDK"
_SHARED = "409: it needs a broker that nodes share"

_DEAD = f"""ID=$(curl -sS -H "$AUTH" "$URL/api/events" {as_json(GREETING)} | sed 's/.*event_id":"//; s/".*//')
export ID
until curl -sS --fail-with-body -H "$AUTH" "$URL/api/dead-letters/$ID" >/dev/null; do sleep 0.1; done"""

_NO_NOTEBOOK = "404: it is no notebook's runtime"

EXAMPLES: dict[str, list[Example]] = {
    "The runtime": [
        Example("GET /api/health"),
        Example("GET /api/ready"),
        Example("GET /api/runtime"),
        Example("POST /api/reload", "/api/reload?capability=demo"),
        Example("GET /api/logs", "/api/logs?limit=5&level=info"),
        Example("GET /metrics"),
    ],
    "Events": [
        Example("POST /api/events", body='{"kind": "demo.greeting", "payload": {"name": "Ada"}}'),
        Example(
            "POST /api/sessions/{session_id}/events",
            "/api/sessions/s1/events",
            body='{"kind": "demo.greeting", "payload": {"name": "Ada"}, "dedupe": "greet-ada"}',
            before=f'curl -sS -H "$AUTH" "$URL/api/sessions" {as_json(SESSION)}',
        ),
        Example("POST /api/ws/ticket"),
        Example("POST /api/once", body='{"key": "mail-1", "claim": "attempt-1"}'),
        Example("POST /api/once/{claim}/end", "/api/once/attempt-1/end", body='{"done": true}'),
        Example("GET /api/cursors"),
        Example(
            "POST /api/cursors/{worker}/reset",
            "/api/cursors/demo:greeter/reset",
            body='{"start": -1}',
            refused="409: the worker runs",
        ),
        Example(
            "DELETE /api/cursors/{worker}", "/api/cursors/demo:greeter", refused="409: the worker is there"
        ),
    ],
    "Workers": [
        Example("GET /api/workers/{capability}/{worker}", "/api/workers/demo/greeter"),
        Example(
            "POST /api/workers/{capability}/{worker}/restart", "/api/workers/demo/greeter/restart?force=true"
        ),
        Example("GET /api/state", refused="409: a worker process asks for its own state"),
        Example(
            "PUT /api/state",
            body='{"state": {"count": 1}}',
            refused="409: a worker process gives its own state",
        ),
    ],
    "What happened": [
        Example("GET /api/history/events", "/api/history/events?kind=demo.greeting&since=2h&limit=5"),
        Example("GET /api/history/envelopes", "/api/history/envelopes?kind=demo.*&last=5"),
        Example("GET /api/history/effects", "/api/history/effects?kind=demo.greeting&limit=5"),
        Example("GET /api/history/events/{id}/trace", "/api/history/events/last/trace"),
        Example("GET /api/history/lines", "/api/history/lines?worker=demo:greeter&limit=5"),
        Example("GET /api/history/workers"),
    ],
    "Dead letters": [
        Example("GET /api/dead-letters"),
        Example("GET /api/dead-letters/{id}", "/api/dead-letters/$ID", before=_DEAD),
        Example("DELETE /api/dead-letters/{id}", "/api/dead-letters/$ID"),
        Example("POST /api/dead-letters/{id}/retry", "/api/dead-letters/$ID/retry", before=_DEAD),
        Example("DELETE /api/dead-letters", "/api/dead-letters?all=true"),
    ],
    "Sessions": [
        Example("POST /api/sessions", body='{"session_id": "s2", "agent": "triage"}'),
        Example("GET /api/sessions"),
        Example("GET /api/sessions/status"),
        Example("GET /api/sessions/{session_id}", "/api/sessions/s2"),
        Example(
            "POST /api/sessions/{session_id}/restore",
            "/api/sessions/s2/restore",
            body='{"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}',
        ),
        Example("GET /api/sessions/{session_id}/messages", "/api/sessions/s2/messages"),
        Example("GET /api/sessions/{session_id}/rewind/candidates", "/api/sessions/s2/rewind/candidates"),
        Example("POST /api/sessions/{session_id}/rewind", "/api/sessions/s2/rewind", body='{"from_seq": 0}'),
        Example(
            "POST /api/sessions/{session_id}/title", "/api/sessions/s2/title", body='{"title": "A greeting"}'
        ),
        Example(
            "POST /api/sessions/{session_id}/policy", "/api/sessions/s2/policy", body='{"policy": "headless"}'
        ),
        Example(
            "POST /api/sessions/{session_id}/compact",
            "/api/sessions/s2/compact",
            body='{"guidance": "keep names"}',
        ),
        Example("POST /api/sessions/{session_id}/cancel", "/api/sessions/s2/cancel"),
        Example("DELETE /api/sessions/{session_id}", "/api/sessions/s2"),
    ],
    "Files and the shell": [
        Example("GET /api/files", "/api/files?path=demo&depth=2"),
        Example("GET /api/files/read", "/api/files/read?path=demo/capability.yaml"),
        Example(
            "PUT /api/files/upload", "/api/files/upload?batch=b1&path=notes.txt", body="@demo/capability.yaml"
        ),
        Example("POST /api/shell", "/api/shell?command=ls%20demo&timeout=5"),
    ],
    "Tools, skills and MCP servers": [
        Example("GET /api/tools"),
        Example("GET /api/skills"),
        Example("GET /api/skills/{name}", "/api/skills/greet"),
        Example("GET /api/mcp/{capability}/{server}", "/api/mcp/demo/files"),
        Example("POST /api/mcp/{capability}/{server}/reconnect", "/api/mcp/demo/files/reconnect"),
        Example("POST /api/mcp/{capability}/{server}/reauthenticate", "/api/mcp/demo/web/reauthenticate"),
    ],
    "Nodes": [
        Example("GET /api/nodes"),
        Example("POST /api/nodes/reload", "/api/nodes/reload?capability=demo"),
        Example("POST /api/nodes/target", "/api/nodes/target?capability=demo", refused=_SHARED),
    ],
    "Coding agents in a notebook": [
        Example("GET /api/notebook", refused=_NO_NOTEBOOK),
        Example("GET /api/notebook/workers/{name}", "/api/notebook/workers/greeter", refused=_NO_NOTEBOOK),
        Example(
            "POST /api/notebook/cells",
            body='{"source": "%%worker greeter", "by": "claude", "dry_run": true}',
            refused=_NO_NOTEBOOK,
        ),
        Example("GET /api/notebook/changes", refused=_NO_NOTEBOOK),
        Example(
            "POST /api/notebook/changes/{id}/undo",
            "/api/notebook/changes/1/undo",
            '{"by": "claude"}',
            _NO_NOTEBOOK,
        ),
        Example(
            "POST /api/notebook/fire",
            body='{"kind": "demo.greeted", "payload": {"name": "Ada"}, "by": "claude"}',
            refused=_NO_NOTEBOOK,
        ),
        Example(
            "POST /api/notebook/replay",
            body='{"event": "#1", "payload": {"name": "Bob"}, "by": "claude"}',
            refused=_NO_NOTEBOOK,
        ),
        Example("POST /api/notebook/clock", body='{"advance": "next", "by": "claude"}', refused=_NO_NOTEBOOK),
        Example("POST /api/notebook/test", body='{"event": "#1"}', refused=_NO_NOTEBOOK),
        Example(
            "POST /api/notebook/run_test", body='{"source": "def test_it(): pass"}', refused=_NO_NOTEBOOK
        ),
        Example("GET /api/notebook/export", refused=_NO_NOTEBOOK),
    ],
    "What needs a platform": [
        Example("GET /api/sessions/browse"),
        Example("GET /api/sessions/facets"),
        Example("POST /api/sessions/{session_id}/archive", "/api/sessions/s1/archive", refused=_PLATFORM),
        Example("POST /api/sessions/{session_id}/unarchive", "/api/sessions/s1/unarchive", refused=_PLATFORM),
        Example("POST /api/sessions/{session_id}/freeze", "/api/sessions/s1/freeze", refused=_PLATFORM),
        Example("POST /api/session-groups", body='{"title": "Tickets"}', refused=_PLATFORM),
        Example(
            "PATCH /api/session-groups/{group_id}",
            "/api/session-groups/g1",
            body='{"title": "x"}',
            refused=_PLATFORM,
        ),
    ],
}
"""By resource, in the order of the page."""
