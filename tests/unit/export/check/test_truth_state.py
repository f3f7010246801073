"""Notebooks whose truth is known, same or different: state, names, startups, tasks, schedules, the environment."""

from __future__ import annotations

import pytest

from .book import Book, green, handler, no_process, red, told  # noqa: F401


async def checked(*cells: str, events=(("demo.a", {"n": 1}),), **options):
    book = Book(*cells)
    for kind, payload in events:
        book.record(kind, payload)
    return await book.check(**options)


# -- state and names -----------------------------------------------------------------------------------

COUNTING = """
%%worker w
worker.state["n"] = 10
worker.state["seen"] = []

@worker.on_event("demo.a")
async def on_a(event, client):
    worker.state["n"] += 1
    worker.state["seen"].append(event.payload["n"])
    await client.publish("demo.b", {"n": worker.state["n"], "seen": worker.state["seen"]})
"""


async def test_state_that_a_startup_makes_begins_anew_on_both_sides():
    cell = """
    %%worker w
    @worker.on_startup
    async def start(client):
        worker.state["seen"] = []

    @worker.on_event("demo.a")
    async def on_a(event, client):
        worker.state["seen"].append(event.payload["n"])
        await client.publish("demo.b", {"seen": worker.state["seen"]})
    """
    book = Book(cell)
    await book.fire("demo.a", {"n": 1})
    await book.fire("demo.a", {"n": 2})
    assert green(await book.check())


GLOBALS = """
SEEN = []
BY_KIND = {"all": SEEN}
COUNT = 0

def note(x):
    global COUNT
    COUNT += 1
    SEEN.append(x)
"""
USES = handler(
    "note(event.payload['n'])\nawait client.publish('demo.b', {'count': COUNT, 'seen': SEEN, 'all': BY_KIND['all']})"
)


async def test_names_that_earlier_events_changed_are_compared_from_what_cells_give_them():
    book = Book(GLOBALS, USES)
    await book.fire("demo.a", {"n": 1})
    await book.fire("demo.a", {"n": 2})
    assert book.names["COUNT"] == 2
    report = await book.check()
    assert green(report)
    assert "COUNT, SEEN hold here what earlier events left" in told(report)
    assert book.names["COUNT"] == 2, "a check changes no name of the notebook"
    assert book.names["SEEN"] == [1, 2]


async def test_names_that_a_cell_changed_are_a_difference_where_handlers_do_not_change_them():
    book = Book("CONFIG = {'limit': 1}", handler("await client.publish('demo.b', CONFIG)"))
    book.execute("CONFIG['limit'] = 5")  # no cell says so
    book.record("demo.a")
    assert red(await book.check(), '- w.on_a publishes demo.b {"limit": 5}', "by now: CONFIG")


async def test_what_earlier_events_left_hides_no_other_difference():
    book = Book(
        GLOBALS, "LIMIT = 1", USES, handler("await client.publish('demo.c', {'l': LIMIT})", "demo.x", "on_x")
    )
    await book.fire("demo.a", {"n": 1})
    book.names["LIMIT"] = 2
    book.record("demo.x")
    assert red(await book.check(), '- w.on_x publishes demo.c {"l": 2}')


OBJECTS = """
%%worker w --shared
class Store:
    limit = 3

    def __init__(self):
        self.items = []

    def add(self, item):
        self.items.append(item)
        TOTAL["n"] += 1
        return len(self.items)

TOTAL = {"n": 0}
store = Store()
"""


async def test_objects_and_classes_of_cells_are_copied_with_what_they_reach():
    book = Book(
        OBJECTS,
        handler(
            "n = store.add(event.payload['n'])\nawait client.publish('demo.b', {'n': n, 't': TOTAL['n']})"
        ),
    )
    book.record("demo.a", {"n": 1})
    report = await book.check()
    assert green(report)
    assert "varies" not in told(report), "a second run begins as the first did"
    assert book.names["store"].items == []
    assert book.names["TOTAL"] == {"n": 0}


async def test_a_generator_of_random_numbers_with_a_seed_begins_as_it_did():
    book = Book(
        "%%worker w --shared\nimport random\nRNG = random.Random(7)",
        handler("await client.publish('demo.b', {'v': RNG.random()})"),
    )
    await book.fire("demo.a")
    report = await book.check()
    assert green(report)
    assert "RNG hold here what earlier events left" in told(report)


async def test_functions_in_tables_find_the_copies():
    cells = [
        "HITS = []\ndef hit(n):\n    HITS.append(n)\n    return len(HITS)\nTABLE = {'hit': hit}",
        handler("await client.publish('demo.b', {'n': TABLE['hit'](1)})"),
    ]
    book = Book(*cells)
    book.record("demo.a")
    report = await book.check()
    assert green(report)
    assert "varies" not in told(report)
    assert book.names["HITS"] == []


async def test_two_workers_share_a_name_here_and_in_one_process():
    cells = [
        "SHARED = []",
        handler("SHARED.append(1)\nawait client.publish('demo.b', {})"),
        handler("await client.publish('demo.c', {'n': len(SHARED)})", "demo.b", "on_b", "other"),
    ]
    report = await checked(*cells)
    # In one process an export shares the module too; what it must not be is a silent difference.
    assert report.ok or "other.on_b publishes demo.c" in told(report)


# -- startup, shutdown, tasks, schedules ---------------------------------------------------------------

LIFE = """
%%worker w
@worker.on_startup
async def start(client):
    await client.publish("demo.up", {{"limit": LIMIT}})

@worker.on_shutdown
async def stop(client):
    await client.publish("demo.down", {{"limit": {down}}})
"""


async def test_what_startup_and_shutdown_publish_is_the_same():
    assert green(await checked("LIMIT = 1", LIFE.format(down="LIMIT"), events=()))


async def test_a_startup_that_publishes_something_else_is_red_without_any_event():
    book = Book("LIMIT = 1", LIFE.format(down="0"))
    book.names["LIMIT"] = 2
    assert red(
        await book.check(), "no event was fired", "at the start", '- w.start publishes demo.up {"limit": 2}'
    )


async def test_a_shutdown_that_publishes_something_else_is_red():
    book = Book("LIMIT = 1", LIFE.format(down="LIMIT").replace('{"limit": LIMIT}', "{}", 1))
    book.names["LIMIT"] = 2
    assert red(await book.check(), "at the stop", '- w.stop publishes demo.down {"limit": 2}')


async def test_a_startup_that_fails_on_both_sides_says_both():
    cell = "%%worker w\n@worker.on_startup\nasync def start(client):\n    raise OSError('address already in use')"
    report = await checked(cell, events=())
    assert red(
        report, "it comes up on neither side", "may hold what both need; stop it first: %worker stop NAME"
    )


TASK = """
%%worker w
import asyncio

@worker.task
async def tick(client):
    n = 0
    while True:
        n += {step}
        await client.publish("demo.tick", {{"n": n}})
        await asyncio.sleep(0.02)

@worker.on_event("demo.tick")
async def on_tick(event, client):
    await client.publish("demo.ticked", {{"n": event.payload["n"]}})
"""


async def test_a_task_that_publishes_for_ever_is_the_same_however_far_it_came():
    assert green(await checked(TASK.format(step="1"), events=()))


async def test_a_task_that_publishes_something_else_is_red():
    book = Book("STEP = 1", TASK.format(step="STEP"))
    book.names["STEP"] = 2
    assert red(await book.check(), "tasks and schedules", '- w.tick publishes demo.tick {"n": 2}')


async def test_a_task_that_is_silent_in_the_export_is_red():
    book = Book(
        "LOUD = False",
        "%%worker w\n@worker.task\nasync def tick(client):\n    if LOUD:\n        await client.publish('demo.tick', {})",
    )
    book.names["LOUD"] = True
    assert red(await book.check(), "- w.tick publishes demo.tick")


async def test_a_task_without_its_service_is_told_and_green_and_one_that_lacks_a_name_is_not():
    cell = "%%worker w\n@worker.task\nasync def poll(client):\n    raise {}"
    report = await checked(cell.format("ConnectionError('nobody')"), events=())
    assert green(report)
    assert "w.poll raises ConnectionError: nobody, in the notebook, too" in told(report)
    report = await checked(cell.format("KeyError('KEY')"), events=())
    assert red(
        report, "in the notebook and in the export alike", "w.poll raises KeyError: 'KEY', in the notebook"
    )


@pytest.mark.parametrize("when", ["hours", "cron='0 0 1 1 *'", "minutes=5"])
async def test_a_schedule_is_tried_once_however_rare_it_is(when):
    when = "seconds=86400" if when == "hours" else when
    cell = f"%%worker w\n@worker.every({when})\nasync def report(client):\n    await client.publish('demo.report', {{'n': LIMIT}})"
    book = Book("LIMIT = 1", cell)
    assert green(await book.check())
    book.names["LIMIT"] = 2
    assert red(await book.check(), '- w.report publishes demo.report {"n": 2}')


async def test_a_schedule_that_fails_in_the_export_alone_is_red():
    book = Book(
        "LIMITS = {}", "%%worker w\n@worker.every(minutes=60)\nasync def report(client):\n    LIMITS['n']"
    )
    book.names["LIMITS"] = {"n": 1}
    assert red(await book.check(), "+ w.report raises KeyError: 'n'")


# -- the environment -----------------------------------------------------------------------------------


async def test_a_variable_that_only_the_notebook_has_is_named_with_the_way_to_give_it(monkeypatch):
    monkeypatch.setenv("MY_MODE", "loud")
    book = Book(
        "import os\nMODE = 'quiet'",
        handler("await client.publish('demo.b', {'m': os.environ.get('MY_MODE', MODE) + MODE})"),
    )
    book.names["MODE"] = "loud"  # this process has the variable on both sides: a difference of another cause
    book.record("demo.a")
    assert red(
        await book.check(),
        "MY_MODE is read, is set here, and is not in a clean environment; give it by --env",
    )


async def test_gated_workers_and_their_flags_are_the_same():
    head = "%%capability\nname: demo\nversion: 1.0.0\ndescription: d\nflags: {beta: {description: b}}"
    assert green(
        await checked(
            head,
            handler("await client.publish('demo.b', {})").replace("%%worker w", "%%worker w --when beta"),
        )
    )


async def test_two_workers_that_answer_one_another_are_the_same():
    cells = [
        handler(
            "if event.payload['n'] < 5:\n    await client.publish('demo.b', {'n': event.payload['n'] + 1})"
        ),
        handler("await client.publish('demo.a', {'n': event.payload['n'] + 1})", "demo.b", "on_b", "other"),
    ]
    assert green(await checked(*cells))


async def test_a_program_takes_no_part_in_the_comparison(tmp_path):
    cells = [
        handler("await client.publish('demo.b', {})"),
        "%%worker prog --command 'sh {file}' --file bin/prog.sh\nsleep 60",
    ]
    report = await checked(*cells)
    assert green(report)
    assert "prog is running" in told(report)
