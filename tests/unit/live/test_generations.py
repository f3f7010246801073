"""What of a generation needs a start, and which two cannot start side by side."""

from __future__ import annotations

from dnworker.workers.worker import Worker
from dnworker_jupyter.live.generations import Generation, clashes, namesakes
from dnworker_jupyter.live.records import Registration, handler_records
from dnworker_jupyter.syntax.cell import Cell

connection = None


def generation(code: str, number: int = 1, names: dict | None = None) -> Generation:
    """Make a generation of a cell's code, whose names are those of a notebook."""
    names = {"connection": None} if names is None else names
    worker = names["worker"] = Worker("w")
    exec(code, names)
    registration = Registration(Cell(number, code, f"c{number}"), tuple(handler_records(worker)))
    return Generation(number, {registration.cell.key: registration})


GLOBAL = """
async def connect():
    global connection
    connection = 1

@worker.on_startup
async def begin(client):
    await connect()
"""
CLOSES = """
def close():
    connection.close()

@worker.on_shutdown
async def end(client):
    close()
"""
STATE = """
@worker.on_startup
async def begin(client):
    worker.state["connection"] = 1

@worker.on_shutdown
async def end(client):
    worker.state["connection"].close()
"""


def test_generations_that_keep_their_connection_in_the_state_start_side_by_side():
    assert not clashes(generation(STATE), generation(STATE))


def test_a_name_that_startup_binds_and_the_old_shutdown_reads_is_a_clash_through_helpers_too():
    assert clashes(generation(GLOBAL + CLOSES), generation(GLOBAL))


def test_a_name_that_startup_binds_and_its_own_shutdown_reads_is_a_clash():
    assert clashes(generation(GLOBAL), generation(GLOBAL + CLOSES))


def test_a_name_that_nobody_closes_is_none():
    assert not clashes(generation(GLOBAL), generation(GLOBAL))


def test_functions_that_call_each_other_are_followed_once():
    both = "def a(): b()\ndef b(): a()\n@worker.on_startup\nasync def begin(client): a()"
    assert not clashes(generation(both), generation(both))


def test_namesakes_are_those_of_other_cells_by_the_same_decorator():
    here = "@worker.on_event('b')\nasync def h(e, c): ...\n@worker.on_event('b')\nasync def _(e, c): ..."
    there = "@worker.on_event('a')\nasync def h(e, c): ...\n@worker.on_event('a')\nasync def _(e, c): ..."
    there += "\n@worker.task\nasync def g(c): ..."
    first, second = generation(there), generation(here, 2)
    both = Generation(2, {**first.registrations, **second.registrations})
    added = tuple(second.plain_handlers())
    found = namesakes(added, both, next(iter(second.registrations.values())).cell)
    assert [(h.key.trigger, h.name, cell.number) for h, cell in found] == [("a", "h", 1)]
