"""The page of the limits, from `Limits` and what its fields say."""

from __future__ import annotations

import ast
import inspect
import textwrap

import msgspec

from dnworker.core.limits import Limits, amount

from .markdown import page

ABOUT = """
Each limit of a runtime, its default, and what happens when it is used up.

`dnworker serve --limit NAME=VALUE` and `Runtime(limits=Limits(...))` set one. Sizes are in bytes: `64MB`, `500k`, `1.5GB`. `GET /api/runtime` and `%runtime doctor` say what is used.
"""

USED_UP = {
    "history": "The oldest payloads go, then runs and events. Traces say so, and a journal has them still.",
    "replay": "The session that was silent longest loses its oldest events; who resumes it gets `transport.resync_required`.",
    "sessions": "The oldest messages of the session that changed longest ago go, and it gets a `session.warning`. Half of it may be turns that wait; another turn is refused with 409.",
    "journal": "New entries are missing in the journal. The log says so once, and with their number when it has caught up.",
    "log": "The oldest lines go. At most 50,000 are kept.",
    "held": "The oldest events of the kind that takes most go, and are reported as lost.",
    "held_seconds": "What was held is reported as lost.",
    "queue": "Publishers wait. An event that cannot wait is lost when the queue is over by a quarter, and is reported.",
    "storm": "`--storm` says what happens: the storm is reported, or its further events are held.",
    "storm_held": "Further events of the storm reach no worker; each is counted, and its trace says so. At most 10,000 events are held.",
    "log_file": "The file becomes `.prev`, and a new one begins.",
    "publish_seconds": "Publishers go on, and what finds no room is lost and reported.",
    "subscriber": "It gets `transport.subscriber_dropped`, and is closed.",
    "connections": "The oldest connection that has shown no token is closed. If all have shown one, a new one gets 503.",
    "unauthenticated": "The oldest of these connections is closed.",
    "header_bytes": "The answer is 431.",
    "header_count": "The answer is 431.",
    "header_seconds": "The answer is 408.",
    "body_seconds": "The answer is 408, or the answer that is not read is given up.",
}

FIXED = """
## What is not to be set

- A payload has at most 1,000,000 bytes of JSON, a kind 512 characters, and so has an id, a title or a name of a session.
- A printed line has at most 65,536 characters.
- An error keeps 10,000 characters of its message and 100 frames, 20 notes, 10 causes and 20 members of a group.
- A key of `client.once` or `publish(dedupe=)` has at most 512 characters; 100,000 of a worker are remembered, for a day.
- A kept state has at most 1,000,000 bytes of JSON.
- A request target has at most 32,768 bytes; a message on a socket has at most 16 MiB and 1,000 frames. An idle connection is closed after 15 s.
- The numbers of connections shrink to what the process may have of file descriptors (`ulimit -n`); a quarter is left to files and workers.
- What is read of a capability is bounded, too: see [Manifest](manifest.md#bounds).

Next: [Configuration](configuration.md), [HTTP API](http-api.md).
"""

EXAMPLE = """
```python
from dnworker import Runtime
from dnworker.core.limits import Limits

async with Runtime(port=None, limits=Limits(history=8_000_000)) as runtime:
    print(runtime.info().limits["history"].limit)
```

```text
8000000
```
"""


def limits() -> str:
    """Return the page."""
    if USED_UP.keys() != set(Limits.__struct_fields__):
        raise ValueError(f"limits: there are other limits: {USED_UP.keys() ^ set(Limits.__struct_fields__)}")
    about = docstrings_of(Limits)
    parts = []
    for field in msgspec.structs.fields(Limits):
        default = amount(field.default, field.name)
        parts += [f"## {field.name}", f"{about[field.name]} Default: {default}.", USED_UP[field.name]]
    return page("`dnworker.core.limits`", "Limits", ABOUT, EXAMPLE, *parts, FIXED)


def docstrings_of(kind: type) -> dict[str, str]:
    """Return the text below each field of a class, as its source has it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
        ):
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = inspect.cleandoc(str(text.value.value)).replace("\n", " ")
    return found
