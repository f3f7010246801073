"""Notebooks whose truth is known, same or different: a check is green for the first, and red for the others.

Here: what handlers publish, raise and print, how often, and in which order.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from dnworker_jupyter.export.check import observe

from .book import Book, green, handler, no_process, red, several, told  # noqa: F401

ECHO = handler("await client.publish('demo.b', {'n': event.payload['n']})")


async def checked(*cells: str, payload=None, events=("demo.a",), **options):
    book = Book(*cells)
    for kind in events:
        book.record(kind, payload if payload is not None else {"n": 1})
    return await book.check(**options)


# -- the same ------------------------------------------------------------------------------------------

VALUES = {
    "a float": "0.1 + 0.2",
    "a float that is whole": "2.0",
    "an integer beyond 64 bits": "2**70",
    "no number": "float('nan')",
    "infinity": "float('-inf')",
    "text of all planes": "'\\u00e4\\u4e2d\\U0001f600 e\\u0301'",
    "half a character": "'\\ud800'",
    "a text of a megabyte": "'x' * 900_000",
    "a long list": "list(range(5_000))",
    "a deep one": "[[[[[[[[{'a': [None, True, '']}]]]]]]]]",
    "keys that are numbers": "{1: 'a', 2.5: 'b'}",
    "a tuple": "(1, 2)",
    "something that is no JSON": "object()",
    "a control character": "'\\x00\\x1b[31m\\n'",
    "a text like a mask": "'(varies)'",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_payloads_of_any_kind_are_the_same_on_both_sides(value):
    body = f"try:\n    await client.publish('demo.b', {{'v': {value}}})\nexcept Exception as exc:\n    await client.publish('demo.no', {{'why': type(exc).__name__}})"
    assert green(await checked(handler(body)))


@pytest.mark.parametrize(
    "value",
    [
        "time.time()",
        "str(uuid.uuid4())",
        "datetime.datetime.now().isoformat()",
        "random.random()",
        "f'took {time.perf_counter_ns()} ns'",
        "id(object())",
        "repr(object())",
        "{str(uuid.uuid4()): 1}",
        "secrets.token_urlsafe(6)",
        "os.urandom(3).hex()",
    ],
)
async def test_what_differs_in_each_run_is_no_difference_and_is_named(value):
    report = await checked(
        "import time, uuid, datetime, random, secrets, os",
        handler(f"await client.publish('demo.b', {{'v': {value}, 'n': 1}})"),
    )
    assert green(report)
    if not value.startswith("repr"):  # addresses are left out
        assert "(varies) differs between two runs of the notebook, too: w.on_a publishes demo.b: v" in told(
            report
        )


async def test_what_varies_seldom_is_found_by_more_runs(tmp_path):
    # Two runs of the notebook agree by chance, as throws of a die may, and the export has something else.
    body = (
        f"path = Path({str(tmp_path / 'throws')!r})\npath.write_text((path.read_text() if path.exists() else '') + 'x')\n"
        "await client.publish('demo.b', {'v': 'aab'[(len(path.read_text()) - 1) % 3]})"
    )
    report = await checked("from pathlib import Path", handler(body))
    assert green(report)
    assert "differs between two runs of the notebook, too: w.on_a publishes demo.b: v" in told(report)


async def test_the_order_of_two_handlers_is_nobodys_promise():
    one = "await asyncio.sleep(random.random() / 50)\nawait client.publish('demo.x', {'by': %r})"
    cells = [handler(one % "a", name="on_one"), handler(one % "b", name="on_two")]
    assert green(await checked("import asyncio, random", *cells))


async def test_tasks_of_a_handler_that_run_side_by_side_have_no_order():
    body = (
        "async def one(n):\n    await asyncio.sleep(random.random() / 50)\n    await client.publish('demo.x', {'n': n})\n"
        "await asyncio.gather(*(one(n) for n in range(6)))"
    )
    assert green(await checked("import asyncio, random", handler(body)))


async def test_a_chain_over_two_workers_is_the_same():
    cells = [
        handler("await client.publish('demo.b', {'n': event.payload['n'] + 1})"),
        handler("await client.publish('demo.c', {'n': event.payload['n'] * 2})", "demo.b", "on_b", "other"),
        handler("await client.notify(title=f\"got {event.payload['n']}\")", "demo.c", "on_c"),
    ]
    assert green(await checked(*cells))


async def test_a_loop_that_ends_is_compared_whole():
    body = "n = event.payload['n']\nif n < 300:\n    await client.publish('demo.a', {'n': n + 1})\nelse:\n    await client.publish('demo.end', {})"
    assert green(await checked(handler(body)))


async def test_a_loop_without_an_end_is_cut_and_said():
    report = await checked(ECHO.replace("'demo.b'", "'demo.a'"), events=("demo.a", "demo.a"))
    assert green(report)
    assert "#1 demo.a causes other events without an end; the first 1,000 were compared" in told(report)


async def test_a_handler_that_never_ends_is_compared_as_far_as_it_came(monkeypatch):
    is_endless, runs = observe._is_endless, []

    async def once_it_waits(runtime, recorder, event_id, limit):
        """The time is up when the handler waits, and not before, however slow the machine is."""
        while not any(event.kind == "demo.b" for event in runtime.history.events()):
            await asyncio.sleep(0)
        runs.append(event_id)
        return await is_endless(runtime, recorder, event_id, 0)

    monkeypatch.setattr(observe, "_is_endless", once_it_waits)
    body = "await client.publish('demo.b', {})\nawait asyncio.Event().wait()"
    report = await checked("import asyncio", handler(body), timeout=60)
    assert len(runs) >= 2  # on both sides
    assert green(report)
    assert "still running when the time was up, on both sides as far as compared: w.on_a" in told(report)


@pytest.mark.parametrize("value", ["event.seq", "event.event_id", "str(event.timestamp)"])
async def test_the_number_and_time_of_an_event_are_no_difference(value):
    assert green(await checked(handler(f"await client.publish('demo.b', {{'v': {value}, 'k': event.kind}})")))


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.3])
async def test_what_a_handler_leaves_running_is_no_difference_whenever_it_comes(seconds):
    body = (
        "async def later():\n    await asyncio.sleep(%g)\n    await client.publish('demo.late', {})\n"
        "TASKS.append(asyncio.create_task(later()))"
    )
    assert green(await checked("import asyncio\nTASKS = []", handler(body % seconds)))


async def test_a_slow_handler_is_waited_for():
    assert green(
        await checked(
            "import asyncio", handler("await asyncio.sleep(0.4)\nawait client.publish('demo.b', {})")
        )
    )


async def test_prints_that_are_the_same_are_no_difference():
    body = "print('one', event.payload['n'])\nprint()\nprint('two', end='')"
    assert green(await checked(handler(body)))


async def test_what_an_effect_on_a_file_leaves_is_the_same(tmp_path):
    body = (
        f"path = Path({str(tmp_path)!r}) / 'log.txt'\nwith path.open('a') as file:\n    file.write('x')\n"
        "await client.publish('demo.b', {'written': path.exists()})"
    )
    assert green(await checked("from pathlib import Path", handler(body)))


async def test_how_often_a_file_was_written_varies_and_is_said(tmp_path):
    body = (
        f"path = Path({str(tmp_path)!r}) / 'log.txt'\nwith path.open('a') as file:\n    file.write('x')\n"
        "await client.publish('demo.b', {'size': path.stat().st_size})"
    )
    report = await checked("from pathlib import Path", handler(body))
    assert green(report)
    assert "w.on_a publishes demo.b: size" in told(report)


async def test_sessions_that_handlers_create_are_the_same():
    body = (
        "made = await client.create_session(session_id=f\"s-{event.payload['n']}\")\n"
        "await client.publish('demo.b', {'s': made.session_id}, session_id=made.session_id)\n"
        "other = await client.create_session()\nawait client.publish('demo.c', {'s': other.session_id})"
    )
    assert green(await checked(handler(body)))


async def test_a_handler_that_nothing_made_run_is_named():
    cells = several(("demo.a", "pass"), ("demo.rare", "pass"))
    report = await checked(*cells)
    assert green(report)
    assert "not tried: w.on_rare (demo.rare); %fire such events first" in told(report)


ODD = {
    "its own way to sleep": "import dnworker\nawait dnworker.sleep(0.05)\nawait client.publish('demo.b', {})",
    "an end of the program": "try:\n    raise SystemExit(3)\nexcept SystemExit as exc:\n    await client.publish('demo.b', {'code': exc.code})",
    "a failure now and then": "import random\nif random.random() < 0.5:\n    raise ValueError('unlucky')\nawait client.publish('demo.b', {})",
    "as many events as a die says": "import random\nfor n in range(random.randint(1, 6)):\n    await client.publish('demo.b', {'n': n})",
    "another kind each time": "import uuid\nawait client.publish(f'demo.{uuid.uuid4().hex}', {})",
    "a thread": "import asyncio\nawait client.publish('demo.b', {'n': await asyncio.to_thread(sum, [1, 2])})",
    "a time limit": "import asyncio\ntry:\n    async with asyncio.timeout(0.02):\n        await asyncio.sleep(9)\nexcept TimeoutError:\n    await client.publish('demo.late', {})",
    "very many events": "for n in range(700):\n    await client.publish('demo.b', {'n': n})",
    "a list in any order": "import random\nitems = [{'n': n} for n in range(9)]\nrandom.shuffle(items)\nawait client.publish('demo.b', {'v': items})",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_what_handlers_do_in_odd_ways_is_no_difference(body):
    random.seed(5)  # both sides draw in this process: the runs of the notebook do not happen to be all alike
    assert green(await checked(handler(body)))


async def test_handlers_of_the_runtimes_own_events_are_the_same():
    cells = [
        handler("await client.create_session(session_id='s-1')"),
        handler(
            "await client.publish('demo.seen', {'s': event.session_id})", "session.created", "on_session"
        ),
        handler("print(event.payload['title'])", "notify", "on_notify", "other"),
        handler("await client.notify(title='hello')", "demo.seen", "on_seen"),
        handler(
            "print(event.payload['name'], event.payload['status'])",
            "component.state_changed",
            "on_state",
            "other",
        ),
    ]
    assert green(await checked(*cells))


async def test_a_task_that_listens_by_itself_is_the_same():
    cell = (
        "%%worker w\n@worker.task\nasync def listen(client):\n    async for event in client.subscribe('demo.a'):\n"
        "        await client.publish('demo.heard', {'n': event.payload['n']})"
    )
    assert green(await checked(cell, handler("pass")))


# -- different -----------------------------------------------------------------------------------------


async def differing(*cells: str, change: str, payload=None, events=("demo.a",)):
    """Check cells after something was done to the kernel that no cell says."""
    book = Book(*cells)
    book.execute(change)
    for kind in events:
        book.record(kind, payload if payload is not None else {"n": 1})
    return await book.check()


HELPED = handler("await do(event, client)")
NOTHING = "async def do(event, client):\n    pass"


def doing(body: str) -> str:
    return "async def do(event, client):\n" + "\n".join(f"    {line}" for line in body.splitlines())


PAIRS = {
    "a value": (
        "await client.publish('b', {'n': 1})",
        "await client.publish('b', {'n': 2})",
        '- w.on_a publishes b {"n": 2}',
    ),
    "true and 1": (
        "await client.publish('b', {'n': 1})",
        "await client.publish('b', {'n': True})",
        '{"n": true}',
    ),
    "another event more": (
        "await client.publish('b', {})",
        "await client.publish('b', {})\nawait client.publish('c', {})",
        "- w.on_a publishes c",
    ),
    "one event less": ("await client.publish('b', {})", "pass", "+ w.on_a publishes b"),
    "twice": (
        "await client.publish('b', {})",
        "await client.publish('b', {})\nawait client.publish('b', {})",
        "- w.on_a publishes b",
    ),
    "the other order": (
        "await client.publish('b', {})\nawait client.publish('c', {})",
        "await client.publish('c', {})\nawait client.publish('b', {})",
        "- w.on_a does, in this order: publishes c, then publishes b",
    ),
    "a failure here": ("pass", "raise ValueError('only here')", "- w.on_a raises ValueError: only here"),
    "a failure there": ("raise ValueError('only there')", "pass", "+ w.on_a raises ValueError: only there"),
    "another error": ("raise ValueError('a')", "raise TypeError('b')", "- w.on_a raises TypeError: b"),
    "another message": ("raise ValueError('a')", "raise ValueError('b')", "- w.on_a raises ValueError: b"),
    "a print": ("print('a')", "print('b')", "- w prints: b"),
    "one print more": ("print('a')", "print('a')\nprint('b')", "- w prints: b"),
    "a notification": ("await client.notify(title='a')", "await client.notify(title='b')", 'notifies {"'),
    "a session": (
        "await client.create_session(session_id='a')",
        "await client.create_session(session_id='b')",
        'creates a session {"session_id": "b"}',
    ),
    "whose session": (
        "await client.create_session(session_id='a')\nawait client.publish('b', {})",
        "await client.create_session(session_id='a')\nawait client.publish('b', {}, session_id='a')",
        '"(session)": "a"',
    ),
    "a message to an agent": (
        "await client.create_session(session_id='a')\nawait client.run_turn(session_id='a', message='one')",
        "await client.create_session(session_id='a')\nawait client.run_turn(session_id='a', message='two')",
        'asks default: {"message": "two"}',
    ),
    "a type behind what varies": (
        "import time\nawait client.publish('b', {'v': None})",
        "import time\nawait client.publish('b', {'v': time.time()})",
        '{"v": (varies)}',
    ),
    "a word beside what varies": (
        "import time\nawait client.publish('b', {'v': f'at {time.time()} there'})",
        "import time\nawait client.publish('b', {'v': f'at {time.time()} here'})",
        "at (varies) here",
    ),
    "one item of very many": (
        "await client.publish('b', {'v': list(range(3000)), 'n': 1})",
        "await client.publish('b', {'v': [*range(2999), 0], 'n': 1})",
        "3,000 items, sha256",
    ),
    "the end of a very long text": (
        "await client.publish('b', {'v': 'x' * 9000 + 'a'})",
        "await client.publish('b', {'v': 'x' * 9000 + 'b'})",
        "9,001 characters",
    ),
    "a loop without an end": (
        "pass",
        "await client.publish('demo.a', event.payload)",
        "- it causes other events without an end",
    ),
    "a field": (
        "await client.publish('b', {'n': 1})",
        "await client.publish('b', {'n': 1, 'm': 1})",
        '"m": 1',
    ),
    "not a number": (
        "await client.publish('b', {'n': 'NaN'})",
        "await client.publish('b', {'n': 0})",
        '{"n": 0}',
    ),
}


@pytest.mark.parametrize(("cell", "kernel", "text"), PAIRS.values(), ids=PAIRS)
async def test_a_difference_is_red_with_its_event_and_both_sides(cell, kernel, text):
    report = await differing(doing(cell), HELPED, change=doing(kernel))
    assert red(report, "#1 demo.a", text)


async def test_a_difference_further_down_a_chain_is_red():
    cells = [
        handler("await client.publish('demo.b', {})"),
        doing("await client.publish('demo.c', {'n': 1})"),
        handler("await do(event, client)", "demo.b", "on_b", "other"),
    ]
    assert red(
        await differing(*cells, change=doing("await client.publish('demo.c', {'n': 2})")),
        "other.on_b publishes demo.c",
    )


async def test_only_what_differs_of_a_long_payload_is_shown():
    long = "await client.publish('b', {f'k{n}': 'x' * 50 for n in range(40)} | {'n': %d})"
    report = await differing(doing(long % 1), HELPED, change=doing(long % 2))
    assert red(report, "- w.on_a publishes b n: 2", "+ w.on_a publishes b n: 1")


async def test_what_does_something_else_in_each_run_hides_no_error_of_the_export():
    cell = doing("raise KeyError('LIMIT')")
    change = (
        "import random\n"
        + doing("for n in range(next(COUNTS)):\n    await client.publish('b', {})")
        + "\nCOUNTS = iter(range(1, 99))"
    )
    assert red(await differing(cell, HELPED, change=change), "+ w.on_a raises KeyError: 'LIMIT'")


# -- both sides fail -----------------------------------------------------------------------------------


async def test_a_failure_on_both_sides_is_said_first_with_both_errors_and_is_not_green():
    report = await checked(handler("raise KeyError('key')"))
    assert not report.ok
    first = report.findings[0]
    assert (
        first.text
        == "1 handler fails in the notebook and in the export alike: what they do otherwise was not seen"
    )
    assert first.details[0] == "#1 demo.a: w.on_a raises KeyError: 'key', in the notebook"
    assert first.details[1].strip() == "and KeyError: 'key', in the export"
    assert "--events FILE" in first.details[-1]
