"""The mistakes that people make most with workers in a notebook: cells, and the whole text that they show.

In the texts `[D]` is the number of the cell that defines the worker, `[F]` that of a cell that runs after it;
`T` stands for a time, `N` for the number of an event.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """A `%%worker` cell, what it shows, and what `%fire demo.a` shows then, if it is fired."""

    name: str
    cell: str
    shows: str
    fired: str | None = None


DEBUG = "      %debug #N opens the frame that raised"
RUNS = "w is running, generation 1\n  + on_event demo.a: on_a"


CODES = {
    "BadSchedule": "DN308",
    "HandlerNotAsync": "DN304",
    "Invalid": "DN204",
    "TooLarge": "DN206",
    "UnknownAttribute": "DN307",
    "WrongUse": "DN306",
}


def coded(error: str) -> str:
    """Return the text of an error with its code, where it is one of ours."""
    code = "DN309" if "every(cron='" in error else CODES.get(error.partition(":")[0])
    return error if code is None else f"{error} ({code})"


def handler(body: str, decorator: str = "on_event('demo.a')", signature: str = "event, client") -> str:
    """Return a cell with one handler, whose decorator is in line 3 and whose body in line 5."""
    return f"%%worker w\nimport asyncio\n@worker.{decorator}\nasync def on_a({signature}):\n    {body}"


def refused(name: str, decorator: str, says: str, signature: str = "event, client") -> Mistake:
    """Return a mistake that fails its cell at the decorator."""
    return Mistake(name, handler("pass", decorator, signature), f"{coded(says)}\n    at cell [D], line 3")


def warned(name: str, body: str, *rows: str) -> Mistake:
    """Return a mistake after which the handler goes on."""
    fired = ["demo.a  #N", "  ! notebook:w.on_a  warning  T ms", *(f"      {row}" for row in rows)]
    return Mistake(name, handler(body), RUNS, "\n".join(fired))


def failed(
    name: str, body: str, error: str, way_out: str | None = None, *, says: str = "", hidden: str = ""
) -> Mistake:
    """Return a mistake by which the handler fails in line 5; `hidden` is what is said of frames of libraries."""
    fired = ["demo.a  #N", "  x notebook:w.on_a  error  T ms", *([f"      | {says}"] if says else [])]
    fired += ["      cell [D], line 5, in on_a", f"          {body}"]
    fired += [f"      ({hidden})"] if hidden else []
    fired += [f"      {coded(error)}"]
    fired += [f"      x cell [D], line 5: {way_out}"] if way_out else []
    return Mistake(name, handler(body), RUNS, "\n".join([*fired, DEBUG]))


def uncallable(name: str, signature: str, error: str, why: str) -> Mistake:
    """Return a handler that cannot be called with an event and a client."""
    text = f"cannot be called: it must take (event, client){why}"
    fired = ["demo.a  #N", "  x notebook:w.on_a  error  T ms", f"      TypeError: {error}"]
    fired += [f"      x cell [D], line 3: on_a {text}"]
    shows = f"{RUNS}\n  ! on_a (cell [D], line 3) {text}"
    return Mistake(name, handler("pass", signature=signature), shows, "\n".join([*fired, DEBUG]))


def deaf(name: str, kind: str, why: str) -> Mistake:
    """Return a handler of a kind that nothing is published by."""
    shows = f"w is running, generation 1\n  + on_event {kind}: on_a\n  ! on_a (cell [D], line 3) {why}"
    return Mistake(name, handler("pass", f"on_event('{kind}')"), shows)


def no_json(name: str, value: str, why: str) -> Mistake:
    """Return a payload that JSON has no form for."""
    body = value if "publish" in value else f"await client.publish('x', {value})"
    return failed(name, body, f"Invalid: {why}")


_UNKNOWN = "UnknownAttribute: a worker has no"
_NO_FORM = "which JSON has no form for"
_OBJECT = "a payload is an object, as in {'key': 'value'}; got"

FORGOTTEN = [
    warned("a forgotten await", "client.notify('hi')", "x cell [D], line 5: write await client.notify(...)"),
    warned("kept in a name", "c = client.notify('hi')", "x cell [D], line 5: write await client.notify(...)"),
    warned("no call of the client", "asyncio.sleep(1)", "x cell [D], line 5: write await asyncio.sleep(...)"),
    warned(
        "by another name",
        "n = client.notify; n('hi')",
        "x cell [D], line 5: write await n(...)",
    ),
    warned(
        "many times",
        "[client.notify('hi') for _ in range(3)]",
        "x cell [D], line 5: write await client.notify(...) (3 times)",
    ),
    warned("returned", "return client.notify('x')", "x cell [D], line 5: write await client.notify(...)"),
    failed(
        "an attribute of what is not awaited",
        "client.list_sessions().first",
        "AttributeError: 'coroutine' object has no attribute 'first'",
        "write (await client.list_sessions()).first",
    ),
    failed(
        "an item of what is not awaited",
        "client.list_sessions()[0]",
        "TypeError: 'coroutine' object is not subscriptable",
        "write (await client.list_sessions())",
    ),
]

DECORATORS = [
    refused("every, misspelt", "evry(seconds=1)", f"{_UNKNOWN} 'evry': did you mean every?"),
    refused("on_event, misspelt", "on_evnt('a')", f"{_UNKNOWN} 'on_evnt': did you mean on_event?"),
    refused("on_startup, misspelt", "on_start", f"{_UNKNOWN} 'on_start': did you mean on_startup?"),
    refused("task, misspelt", "tsk", f"{_UNKNOWN} 'tsk': did you mean task?"),
    refused("of another framework", "cron('*')", f"{_UNKNOWN} 'cron': write @worker.every(cron=\"...\")"),
    refused(
        "publish of a worker",
        "publish('a')",
        f"{_UNKNOWN} 'publish': its handlers publish: await client.publish(...)",
    ),
    refused(
        "bare on_event",
        "on_event",
        'WrongUse: @worker.on_event needs the kind: write @worker.on_event("turn.completed") above '
        "async def on_a(event, client)",
    ),
    refused(
        "bare every",
        "every",
        "WrongUse: @worker.every needs a rhythm: write @worker.every(seconds=30) above async def on_a(client)",
    ),
    refused(
        "on_event of nothing",
        "on_event()",
        'WrongUse: @worker.on_event takes the kind: write @worker.on_event("turn.completed") above '
        "async def NAME(event, client)",
    ),
    refused(
        "on_startup with parentheses",
        "on_startup()",
        "WrongUse: @worker.on_startup takes no parentheses: write @worker.on_startup above async def NAME(client)",
    ),
    refused(
        "task with parentheses",
        "task()",
        "WrongUse: @worker.task takes no parentheses: write @worker.task above async def NAME(client)",
    ),
    refused(
        "two kinds",
        "on_event('a', 'b')",
        "WrongUse: @worker.on_event takes one kind: one decorator a kind, above each other",
    ),
    refused(
        "a list of kinds",
        "on_event(['a', 'b'])",
        "WrongUse: @worker.on_event takes the kind, which is text, and got a list: one decorator a kind, "
        "above each other",
    ),
    refused("second", "every(second=5)", "WrongUse: @worker.every takes no second=: did you mean seconds=?"),
    refused(
        "seconds by place",
        "every(5)",
        "WrongUse: @worker.every takes its rhythm by name: write every(seconds=5)",
    ),
    refused(
        "cron out of range",
        "every(cron='99 * * * *')",
        "BadSchedule: every(cron='99 * * * *') is no valid cron text; an example is '*/5 * * * *'",
    ),
    refused(
        "seconds as text",
        "every(seconds='5')",
        "BadSchedule: every(seconds=...) takes a number, not str '5': write every(seconds=5)",
    ),
    refused(
        "every of nothing",
        "every()",
        "BadSchedule: every() takes exactly one of seconds, minutes or cron, and got none",
    ),
    deaf(
        "a pattern",
        "demo.*",
        "listens to 'demo.*' as it stands there, and to no pattern: write one decorator a kind",
    ),
    deaf(
        "a space",
        "turn completed",
        "listens to 'turn completed', and kinds have no spaces: write 'turn.completed'",
    ),
    deaf(
        "a kind of the runtime, misspelt",
        "turn.complete",
        "listens to 'turn.complete', which no runtime publishes; did you mean 'turn.completed'?",
    ),
    deaf("no kind", "", "listens to no kind: no event has an empty one")._replace(
        shows="w is running, generation 1\n  + on_event: on_a\n"
        "  ! on_a (cell [D], line 3) listens to no kind: no event has an empty one"
    ),
]


def no_handler(name: str, line: str, says: str, before: str = "import functools") -> Mistake:
    """Return something that is registered by line 3 and is no async function."""
    cell = f"%%worker w\n{before}\n{line}"
    return Mistake(name, cell, f"{coded(f'HandlerNotAsync: {says}')}\n    at cell [D], line 3")


_TAKES = "@worker.on_event('a') takes an async function, not"

FUNCTIONS = [
    no_handler(
        "def",
        "@worker.on_event('a')\ndef on_a(event, client): pass",
        "@worker.on_event('a'): 'on_a' (cell [D], line 3) must be 'async def on_a(...)'",
    ),
    no_handler(
        "a lambda",
        "worker.on_event('a')(lambda event, client: 1)",
        f"{_TAKES} a lambda (cell [D], line 3): write async def NAME(...)",
    ),
    no_handler(
        "a yield",
        "@worker.on_event('a')\nasync def on_a(event, client):\n    yield 1",
        "@worker.on_event('a'): 'on_a' (cell [D], line 3) has a yield, which nobody iterates over: "
        "publish what it yields: await client.publish(...)",
    ),
    no_handler(
        "a class",
        "@worker.on_event('a')\nclass A: pass",
        f"{_TAKES} the class 'A': decorate an async def function",
    ),
    no_handler(
        "a partial",
        "worker.on_event('a')(functools.partial(print, 1))",
        f"{_TAKES} a partial of 'print', which is not async",
    ),
    no_handler(
        "an object",
        "worker.on_event('a')(3)",
        f"{_TAKES} an int: decorate an async def function that calls it",
    ),
    no_handler(
        "a call in its place",
        "worker.task(main())",
        "@worker.task takes an async function, not a call of it: write main in the place of main(...)",
        before="async def main(): pass",
    ),
    uncallable(
        "the event alone",
        "event",
        "on_a() takes 1 positional argument but 2 were given",
        ", and takes (event)",
    ),
    uncallable("no parameters", "", "on_a() takes 0 positional arguments but 2 were given", ", and takes ()"),
    uncallable(
        "a keyword",
        "event, client, *, key",
        "on_a() missing 1 required keyword-only argument: 'key'",
        ", and gets no key=: give it a default",
    ),
    uncallable(
        "self",
        "self, event, client",
        "on_a() missing 1 required positional argument: 'client'",
        "; it is a method, and handlers are functions: take self out",
    ),
    Mistake(
        "a returned value",
        handler("return {'a': 1}"),
        RUNS,
        "demo.a  #N\n  + notebook:w.on_a  ok  T ms\n"
        "      | on_a returned a dict, and nobody gets it; publish it: await client.publish(...)",
    ),
    Mistake(
        "never called",
        "%%worker w\ndef register():\n    @worker.on_event('demo.a')\n    async def on_a(event, client): pass",
        "w is running, generation 1\n  it has no handlers yet",
        "no handler in this notebook listens to demo.a\n\ndemo.a  #N",
    ),
]

VALUES = [
    failed(
        "an attribute of the payload",
        "event.payload.turn_id",
        "AttributeError: 'dict' object has no attribute 'turn_id'",
        'write event.payload["turn_id"]',
    ),
    failed(
        "an item of the event",
        "event['turn_id']",
        "TypeError: 'EventEnvelope' object is not subscriptable",
        'write event.payload["turn_id"]',
    ),
    failed(
        "a field of the event, misspelt",
        "event.turnid",
        "AttributeError: 'EventEnvelope' object has no attribute 'turnid'",
        "did you mean event.turn_id?",
    ),
    failed(
        "a key as a field of the event",
        "event.text",
        "AttributeError: 'EventEnvelope' object has no attribute 'text'",
        'it is in the payload: write event.payload["text"]',
    ),
    failed(
        "a key, misspelt",
        "event.payload['trun_id']",
        "KeyError: 'trun_id'",
        'event.payload has no "trun_id"; it has turn_id, text; did you mean "turn_id"?',
    ),
    failed(
        "a change of the event",
        "event.payload = {}",
        "AttributeError: immutable type: 'EventEnvelope'",
        "an event cannot be changed; publish another: await client.publish(...)",
    ),
    failed(
        "a method of the client, misspelt",
        "await client.notfy('hi')",
        "UnknownAttribute: a client has no 'notfy'; did you mean notify?",
    ),
    failed(
        "a field of the event at the client",
        "client.session_id",
        "UnknownAttribute: a client has no 'session_id'; an event has it: event.session_id",
    ),
    failed(
        "a keyword, misspelt",
        "await client.publish('my.kind', {}, session='x')",
        "TypeError: RuntimeClient.publish() got an unexpected keyword argument 'session'",
        "did you mean session_id=?",
    ),
    failed(
        "what is taken by name",
        "await client.notify('title', 'body')",
        "TypeError: RuntimeClient.notify() takes 2 positional arguments but 3 were given",
        "client.notify takes these by name: body=..., severity=..., source=..., session_id=...",
    ),
    failed(
        "a name, misspelt",
        "await clinet.notify('hi')",
        "NameError: name 'clinet' is not defined",
        "did you mean client?",
    ),
    failed(
        "an attribute of the state",
        "worker.state.count += 1",
        "AttributeError: 'dict' object has no attribute 'count'",
        'worker.state is a dict: write worker.state["count"]; it has no key yet',
    ),
    failed(
        "await of a value",
        "await client.server_url",
        "TypeError: object str can't be used in 'await' expression",
        "client.server_url is a str: write it without await",
    ),
    failed(
        "await of a call that is not async",
        "await len('x')",
        "TypeError: object int can't be used in 'await' expression",
        "len(...) is not async: write it without await",
    ),
    failed(
        "await of a stream",
        "await client.subscribe('x')",
        "TypeError: object async_generator can't be used in 'await' expression",
        "write async for ... in client.subscribe(...):",
    ),
    failed(
        "async with of a stream",
        "async with client.subscribe('x') as events: pass",
        "TypeError: 'async_generator' object does not support the asynchronous context manager protocol",
        "write async for ... in client.subscribe(...):",
    ),
    failed(
        "for over a stream",
        "for x in client.stream_chat(session_id='s', message='m'): pass",
        "TypeError: 'async_generator' object is not iterable",
        "write async for ... in client.stream_chat(...):",
    ),
    failed(
        "with of a group",
        "with client.session_group('x'): pass",
        "TypeError: '_AsyncGeneratorContextManager' object does not support the context manager protocol",
        "write async with client.session_group(...):",
    ),
    failed(
        "asyncio.run",
        "asyncio.run(asyncio.sleep(1))",
        "RuntimeError: asyncio.run() cannot be called from a running event loop",
        "the loop runs already: write await asyncio.sleep(...) in the place of asyncio.run(...)",
        hidden="1 frame of asyncio is not shown; raised at asyncio/runners.py, line N, in run",
    ),
    failed(
        "run_until_complete",
        "asyncio.get_running_loop().run_until_complete(asyncio.sleep(1))",
        "RuntimeError: This event loop is already running",
        "the loop runs already: write await asyncio.sleep(...) in the place of "
        "asyncio.get_running_loop().run_until_complete(...)",
        hidden="2 frames of asyncio are not shown; raised at asyncio/base_events.py, line N, in _check_running",
    ),
]

PAYLOADS = [
    no_json("an object", "{'a': {'b': [object()]}}", f"payload.a.b[0] is an object, {_NO_FORM}"),
    no_json("a set", "{'a': {1, 2}}", f"payload.a is a set, {_NO_FORM}; use sorted(value)"),
    no_json(
        "a datetime",
        "import datetime as d; await client.publish('x', {'at': d.datetime.now()})",
        f"payload.at is a datetime, {_NO_FORM}; use value.isoformat()",
    ),
    no_json("bytes", "{'a': b'x'}", f"payload.a is a bytes, {_NO_FORM}; use value.decode()"),
    no_json("NaN", "{'a': [1, float('nan')]}", f"payload.a[1] is nan, {_NO_FORM}; use None"),
    no_json(
        "a circle",
        "a = {}; a['b'] = {'c': a}; await client.publish('x', a)",
        f"payload.b.c is payload again: a circle, {_NO_FORM}",
    ),
    no_json("a key that is no text", "{(1, 2): 3}", "payload has the key (1, 2); JSON keys are text"),
    no_json(
        "an exception", "{'e': ValueError('x')}", f"payload.e is a ValueError, {_NO_FORM}; use str(value)"
    ),
    no_json("the event", "{'e': event}", f"payload.e is an EventEnvelope, {_NO_FORM}; use value.payload"),
    no_json(
        "text as a payload",
        "'{\"a\": 1}'",
        f"{_OBJECT} a str; use json.loads(value) if that is JSON",
    ),
    no_json("a list as a payload", "[1]", f'{_OBJECT} a list; name it: {{"items": [...]}}'),
    no_json(
        "a number of numpy",
        "import numpy as np; await client.publish('x', {'n': np.int64(3)})",
        f"payload.n is an int64, {_NO_FORM}; use value.item()",
    ),
    no_json(
        "an array",
        "import numpy as np; await client.publish('x', {'n': np.arange(3)})",
        f"payload.n is a ndarray, {_NO_FORM}; use value.tolist()",
    ),
    no_json(
        "a timestamp of pandas",
        "import pandas as pd; await client.publish('x', {'t': pd.Timestamp('2026-01-01')})",
        f"payload.t is a Timestamp, {_NO_FORM}; use value.isoformat()",
    ),
    no_json(
        "a table",
        "import pandas as pd; await client.publish('x', {'f': pd.DataFrame({'a': [1]})})",
        f'payload.f is a DataFrame, {_NO_FORM}; use value.to_dict("records")',
    ),
    no_json(
        "a table as a payload",
        "import pandas as pd; await client.publish('x', pd.DataFrame({'a': [1]}))",
        f'{_OBJECT} a DataFrame; use {{"rows": value.to_dict("records")}}',
    ),
    no_json(
        "a column",
        "import pandas as pd; await client.publish('x', {'s': pd.Series([1])})",
        f"payload.s is a Series, {_NO_FORM}; use value.tolist()",
    ),
]

MISTAKES = [*FORGOTTEN, *DECORATORS, *FUNCTIONS, *VALUES, *PAYLOADS]
