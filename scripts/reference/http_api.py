"""The page of the HTTP API, from the OpenAPI document that the server answers with."""

from __future__ import annotations

from typing import Any

from dnworker.server.openapi import document
from dnworker.server.rights import COMMANDS, SOCKETS, WORKER_RIGHTS, Right
from dnworker.server.routes import ENDPOINTS

from .http_examples import EXAMPLES, SETUP, Example, as_json
from .markdown import fence, items, page
from .schemas import fields, in_words, resolved

ABOUT = """
Every operation of the runtime's HTTP API: parameters, body, answer, who may, and an example. The runtime answers the same as an OpenAPI document at `/openapi.json`, and has [a page to try them](http-api-try.md).

Bodies and answers are JSON. Each request has the header `Authorization: Bearer TOKEN`; [Configuration](configuration.md#the-token) says where the token comes from. Requests of other web pages are refused.

A refusal is `{"detail": ...}`: a sentence, or a list with an entry for each wrong field. Any operation may answer 401 (no token, or a wrong one), 403 (a right is missing) and 422 (a field is wrong).

A program that sends the header `traceparent: 00-EVENT_ID-0123456789abcdef-01` with what it publishes adds that to the trace of the event.
"""

RIGHTS = """
## Who may

The operator's token may do everything. Every worker process has a token of its own, which is good while the process runs. By default it may do the same.

`dnworker serve --worker-scope worker`, or `Runtime(worker_scope="worker")`, leaves worker processes the rights marked *worker*. Everything else answers 403, and names the right that is missing. Workers in the runtime's process need no token.
"""

SOCKET_TEXT = """
## Sockets

Two WebSockets take the same token, as a header, or as `?ticket=` with a ticket of `POST /api/ws/ticket`.

- `/api/ws/events?kinds=KIND&kinds=KIND`: all events of these kinds, or of all. Each message is an [envelope](events.md#the-envelope).
- `/api/ws`: turns of sessions. You send commands, such as `{"command_id": "1", "op": "turn.start", "session_id": "s1", "payload": {"message": "hello"}}`, and get answers and events.

The first command on `/api/ws` is `hello`. A message that is answered has its `command_id`, and the kind `command.ack` or `command.error`.

A client that reads `/api/ws/events` and falls 256 events or 8 MB behind gets [`transport.subscriber_dropped`](events.md#transportsubscriber_dropped) and close code 1013. [Processes](processes.md#events) says how a worker's own stream goes on after a break, and how to acknowledge events.

Commands of `/api/ws`:
"""

NOTES = {
    "Events": "A kind must not begin with a prefix of the runtime's own: see [Event kinds](events.md).\n\n"
    "The socket [`/api/ws/events`](#sockets) has events from now on; [`/api/history/events`](#get-apihistoryevents) "
    "lists those that were, and its operations have their traces. With `dnworker serve --journal FILE` they "
    "outlive the runtime, and [`JournalReader`](python.md) reads that file.",
    "Tools, skills and MCP servers": "The runtime connects to the [MCP servers](../how-to/mcp-servers.md) of its capabilities. Reconnecting answers once that has succeeded or failed, with the detail of the server.",
    "Dead letters": "`ID` is the id of the event, its first digits, or its `seq`. In the examples, `$ID` is that of an event whose handler failed.",
    "Coding agents in a notebook": "Only the runtime of a notebook answers these; [An agent in the kernel]"
    "(../how-to/agent-in-the-kernel.md) says how agents get there. `by` is the agent's name, which marks what it did. "
    "A call waits at most `timeout` seconds for a cell that runs; a cell that blocks the kernel holds up all of them.",
    "What needs a platform": "The `dreadnode` SDK's client has methods for these. This runtime has no platform: lists are empty, and changes are refused.",
}

STATUSES = {
    "400": "the request makes no sense",
    "404": "there is no such thing",
    "408": "the body did not come in time",
    "409": "it is not possible as things stand",
    "410": "the session was deleted",
    "413": "it is too large",
    "500": "the command failed",
    "501": "this runtime does not do it",
    "502": "what it asks did not answer",
    "503": "not now; try again",
    "504": "it took too long",
    "507": "it cannot be kept, as on a full disk",
}


def http_api() -> str:
    """Return the page."""
    described = document(ENDPOINTS)
    rights = {f"{one.method} {one.path}": one.right for one in ENDPOINTS}
    listed = [one.operation for section in EXAMPLES.values() for one in section]
    if sorted(listed) != sorted(rights):
        raise ValueError(
            f"http_examples has not the operations that there are: {set(listed) ^ rights.keys()}"
        )
    shared = _shared(described)
    sections = []
    for title, examples in EXAMPLES.items():
        sections.append("\n\n".join(filter(None, [f"## {title}", NOTES.get(title, "")])))
        sections += [_operation(one, described, rights[one.operation], shared) for one in examples]
    objects = "## Objects\n\nWhat several operations answer."
    sections += [objects, *(_object(name, described) for name in shared)]
    commands = items(f"`{op}`: needs the right `{right}`." for op, right in sorted(COMMANDS.items()))
    return page(
        "the OpenAPI document of `dnworker.server`",
        "HTTP API",
        ABOUT,
        SETUP,
        RIGHTS,
        _rights(),
        *sections,
        SOCKET_TEXT,
        commands,
        NEXT,
    )


def _rights() -> str:
    needed: dict[Right, list[str]] = {}
    for one in ENDPOINTS:
        if one.right is not None:
            needed.setdefault(one.right, []).append(f"{one.method} {one.path}")
    for path, right in SOCKETS.items():
        needed.setdefault(right, []).append(path)
    whose = {right: "worker" if right in WORKER_RIGHTS else "operator alone" for right in needed}
    return items(
        f"`{right}` (*{whose[right]}*): {len(of)} operation{'s' * (len(of) > 1)}."
        for right, of in needed.items()
    )


def _types(operation: dict[str, Any]) -> list[str]:
    """Return the media types in which an operation answers."""
    return [f"`{one}`" for one in operation["responses"]["200"]["content"]]


def _schema(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what an operation answers; an empty one where that is no JSON."""
    schema: dict[str, Any] = (
        operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
    )
    return schema


def _shared(described: dict[str, Any]) -> list[str]:
    """Return the names of objects that several operations answer, in the order of the document."""
    named: list[str] = []
    for operation in (one for path in described["paths"].values() for one in path.values()):
        schema = _schema(operation)
        reference = schema.get("$ref") or (schema.get("items") or {}).get("$ref")
        if reference is not None:
            named.append(reference.rpartition("/")[2])
    components = described["components"]["schemas"]
    large = {name for name in named if len(components[name].get("properties", ())) > 4}
    return [name for name in dict.fromkeys(named) if named.count(name) > 1 and name in large]


def _object(name: str, described: dict[str, Any]) -> str:
    components = described["components"]["schemas"]
    return f"### {name}\n\n" + "\n".join(fields(components[name], components, is_answer=True))


def _operation(example: Example, described: dict[str, Any], right: Right | None, shared: list[str]) -> str:
    """Return what the page says of one operation."""
    method, _, path = example.operation.partition(" ")
    operation = described["paths"][path][method.lower()]
    components = described["components"]["schemas"]
    parts = [f"### {example.operation}", operation["summary"], _who(right)]
    for where, title in (("path", "In the path:"), ("query", "Query:")):
        given = [one for one in operation["parameters"] if one["in"] == where]
        if given:
            parts += [title, items(_parameter(one, components) for one in given)]
    body = operation.get("requestBody")
    if body is not None and "application/json" not in body["content"]:
        parts.append(f"Body: the bytes of the file, as {' or '.join(f'`{one}`' for one in body['content'])}.")
    elif body is not None:
        schema = body["content"]["application/json"]["schema"]
        about = resolved(schema, components).get("description", "")
        parts += [f"Body: {about}".strip(), "\n".join(fields(schema, components))]
    parts += _answer(operation, components, shared)
    if example.before:
        parts.append(f"<!-- hidden sh\n{example.before}\n-->")
    parts.append(fence("sh", _curl(example, method, path)))
    if example.refused:
        parts.append(f"In this example the answer is {example.refused}.")
        parts.append(_status_check(example, method, path))
    return "\n\n".join(parts)


def _who(right: Right | None) -> str:
    if right is None:
        return "Anybody may call it, without a token."
    whose = "" if right in WORKER_RIGHTS else ", which limited workers do not have"
    return f"Needs the right `{right}`{whose}."


def _parameter(one: dict[str, Any], components: dict[str, Any]) -> str:
    must = "" if one["required"] else ", may be left out"
    return f"`{one['name']}` ({in_words(one['schema'], components)}{must})."


def _answer(operation: dict[str, Any], components: dict[str, Any], shared: list[str]) -> list[str]:
    """Return the lines about the answer: its fields, and the statuses of refusals."""
    schema = _schema(operation)
    if not schema:
        return [f"Answers {' or '.join(_types(operation))}.", *_refusals(operation)]
    name = (schema.get("$ref") or (schema.get("items") or {}).get("$ref") or "").rpartition("/")[2]
    if name in shared:
        many = "a list of " if "items" in schema else ""
        return [f"Answers {many}[{name}](#{name.lower()}).", *_refusals(operation)]
    found = resolved(schema, components)
    below = resolved(found.get("items") or {}, components) if found.get("type") == "array" else found
    lines = fields(below, components, is_answer=True)
    parts = [
        f"Answers {in_words(schema, components)}:" if lines else f"Answers {in_words(schema, components)}."
    ]
    if lines:
        parts.append("\n".join(lines))
    return [*parts, *_refusals(operation)]


def _refusals(operation: dict[str, Any]) -> list[str]:
    own = [status for status in operation["responses"] if status not in ("200", "401", "403", "422")]
    told = "; ".join(f"{status}, {STATUSES[status]}" for status in own)
    return [f"Refusals: {told}."] if own else []


def _status_check(example: Example, method: str, path: str) -> str:
    """Return a block that readers do not see, which fails where the status is another one than the page says."""
    asked = _curl(example, method, path).replace("curl -sS", "curl -sS -o answer -w '%{http_code}'")
    status = example.refused.partition(":")[0]
    return f'<!-- hidden sh\ntest "$({asked})" = {status}\n-->'


def _curl(example: Example, method: str, path: str) -> str:
    words = ["curl -sS", *([] if example.refused else ["--fail-with-body"]), '-H "$AUTH"']
    if method not in ("GET", "POST") or (method == "POST" and not example.body):
        words.append(f"-X {method}")
    words.append(f'"$URL{example.url or path}"')
    if example.body:
        words.append(
            f"--data-binary {example.body}" if example.body.startswith("@") else as_json(example.body)
        )
    return " ".join(words)


NEXT = "Next: [Event kinds](events.md), [The client](client.md), [Other languages](../how-to/other-languages.md)."
