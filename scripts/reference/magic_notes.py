"""What the parsers of magics do not say: the meaning of the words that some take, and one example each."""

from __future__ import annotations

from typing import NamedTuple


class Note(NamedTuple):
    """One magic's words with their meanings, and cells to run."""

    words: dict[str, str]
    example: str
    """Cells of Python, as Markdown: the tests run them in order."""


NOTES: dict[str, Note] = {
    "%%worker": Note(
        {},
        """
```python
%%worker bridge
@worker.on_event("demo.greeting")
async def on_greeting(event, client):
    print("hello", event.payload["name"])
```

```text
bridge is running, generation 1
  + on_event demo.greeting: on_greeting
```
""",
    ),
    "%%agent": Note(
        {},
        """
```python
%%agent triage
async def reply(turn):
    yield f"You said: {turn.message}"
```

```text
agent triage answers by reply
```
""",
    ),
    "%fire": Note(
        {},
        """
```python
trace = %fire demo.greeting name=Ada
trace.ok
```

```text
True
```

Values are JSON, Python literals or `{name}`, a variable of the notebook. A kind without a payload gets the one that it was last fired with, or one of the fields that handlers read. With `--times`, the trace shown is the last that is not ok; where all are ok, the last.
""",
    ),
    "%%fire": Note(
        {},
        """
```python
%%fire demo.greeting
name: Grace
```

```text
demo.greeting  #3
  + notebook:bridge.on_greeting  ok  0.9 ms
      | hello Grace
```

The body is the payload, as JSON, YAML or a Python dict.
""",
    ),
    "%events": Note(
        {
            "save": "Write the events that came from outside to a file of JSON Lines, for `%replay FILE`.",
            "test": "Add a cell below that tests what became of an event.",
            "pull": "Copy recorded events of a running runtime into this notebook, masked; no handler gets them.",
        },
        """
```python
%events --kind demo.greeting --last 2
```

```text
event  id        at        kind           session  payload
#2     ...  demo.greeting           {'name': 'Ada'}
#3     ...  demo.greeting           {'name': 'Grace'}
```
""",
    ),
    "%replay": Note(
        {},
        """
```python
%replay last --edit name=Edsger
```

```text
demo.greeting  #4  (again, as #3)
  + notebook:bridge.on_greeting  ok  0.9 ms
      | hello Edsger
```

`last` counts events that came from outside. `#12` is an event of this run, an id is one of any run.

`--score` evaluates a worker, or the agent that it asks, on saved events: the function gets each trace, and returns a
number, a bool, or a dict of them. The result has `mean`, `worst()`, `failed` and `dicts()`; given as `--against`, the
next evaluation shows what has changed.

```python
def polite(trace):
    return any("hello" in line.text for run in trace.runs() for line in run.logs)
```

```python
%replay last 2 --score polite
```

```text
2 of 2 events have a score
score: mean 1, lowest 1, highest 1
event  kind           payload             score         what is wrong
#3     demo.greeting  {'name': 'Grace'}   ██████████ 1
#4     demo.greeting  {'name': 'Edsger'}  ██████████ 1
```
""",
    ),
    "%worker": Note(
        {
            "start": "Start a worker that was stopped or failed.",
            "stop": "Stop it; its cells stay.",
            "restart": "Stop and start it, with empty state.",
            "rollback": "Bring back the handlers of the previous generation, or of generation N of the last 20.",
            "remove": "Forget the worker, or with `NAME.HANDLER` one handler until its cell runs again.",
            "logs": "Show its newest lines; `runtime` is the log of the runtime.",
            "topology": "Run the same cells as a process (`uv`, `python`), or here again (`in-process`).",
            "state": "Show `worker.state` as a tree.",
            "resume": "Deliver the events that are held of an event storm.",
        },
        """
```python
%worker
```

```text
worker           state    topology    generation  calls  errors  restarts  last error
notebook:bridge  running  in-process  1           5      0       0
```

```python
%worker logs bridge --grep Ada
```

```text
...  hello Ada
```
""",
    ),
    "%clock": Note(
        {
            "virtual": "Stop the clock.",
            "real": "Let it run again.",
            "advance": "Move it by a time such as `1h30m`, and run everything that is due, in order.",
            "next": "Move it to the next run that is due, or to the N-th.",
        },
        """
```python
%clock virtual
```

```text
the clock is virtual: ...
```

```python
%clock real
```
""",
    ),
    "%dead": Note(
        {
            "list": "List the dead letters; so does `%dead` alone.",
            "show": "Show one: its event, its handlers and what each raised last.",
            "retry": "Deliver its event to that worker again.",
            "drop": "Forget it.",
        },
        """
```python
%dead
```

```text
no dead letters
```
""",
    ),
    "%capability": Note(
        {
            "export": "Write the workers of this notebook as a capability, to a directory.",
            "check": "Run what an export would write, and compare it with the notebook.",
            "diff": "Show what an export would change, and the version step that it suggests.",
            "load": "Run a capability of a directory here.",
            "reload": "Read a loaded one again.",
            "unload": "Stop it and forget it.",
            "flag": "Show all flags, or set one: `flag NAME on`.",
        },
        """
```python
%capability export greeter --target dnworker
```

```text
...
capability greeter is in greeter
greeter/
  README.md
  capability.yaml
...
```
""",
    ),
    "%%capability": Note(
        {},
        """
```python
%%capability
name: greeter
version: 0.1.0
description: Greets people
```

```text
capability greeter 0.1.0
  it was notebook: restarted under the new name, with empty state: bridge
```

The body is the head of the [manifest](manifest.md). The notebook's workers are `greeter:NAME` from then on.
""",
    ),
    "%explain": Note(
        {},
        """
```python
%explain DN104
```
""",
    ),
    "%map": Note(
        {},
        """
```python
%map --mermaid
```

```text
flowchart LR
...
```
""",
    ),
    "%panel": Note(
        {},
        """
```python
%panel
```

[The panel](panel.md) has what it shows.
""",
    ),
    "%runtime": Note(
        {
            "status": "Show the runtime; so does `%runtime` alone.",
            "doctor": "Show versions, settings, memory, and each problem with its remedy.",
            "url": "Show where its API is.",
            "stop": "Stop it; the next magic starts it again, with its workers.",
            "nest": "Make `asyncio.run()` work in cells, by the package nest-asyncio2.",
            "storm": "Show or set what is done about events that cause themselves.",
            "observe": "Whether worker processes of the SDK report what their handlers do, from their next start on.",
            "durable": "Keep events in a file until workers have handled them, or in memory again.",
            "join": "Make this notebook a node beside others, over NATS servers that they share.",
            "leave": "Hand its workers over to other nodes, and keep events in memory again.",
            "attach": "Give this notebook's workers the events of another runtime, in shadow of it or live; "
            "without a URL, show what both did, side by side: [Judge a change](../how-to/judge-a-change.md).",
            "detach": "Follow it no more; workers publish here again. The output stays.",
            "mcp": "Let coding agents reach this notebook: look, fire, test, and with `--allow-write` write workers.",
        },
        """
```python
%runtime doctor
```

```text
looked at     found     what to do
dnworker  ok  ...
kernel    ok  ...
...
```
""",
    ),
}
"""By magic, in the order of the page."""
