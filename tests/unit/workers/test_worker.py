"""The Worker class: names, decorators, registries, and what its import costs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Worker


async def handler(*args):
    return args


@pytest.mark.parametrize("name", ["a", "9", "a-", "bridge-2", "0-0"])
@pytest.mark.clause("1.1 name")
def test_a_legal_name_is_kept(name):
    assert Worker(name=name).name == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a\n", "a b", "é", 7])
@pytest.mark.clause("1.1 name")
@pytest.mark.clause("13.12")
def test_an_illegal_name_is_refused_with_the_rule(name):
    with pytest.raises(ValueError, match="lower-case letters, digits and dashes"):
        Worker(name=name)


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True))
@pytest.mark.clause("1.1 name")
def test_every_name_of_the_rule_is_legal(name):
    assert Worker(name=name).name == name


def test_a_name_may_be_left_to_the_manifest():
    assert Worker().name is None


@pytest.mark.clause("1.3 unchanged")
def test_decorators_return_the_function_unchanged():
    worker = Worker("w")
    assert worker.on_startup(handler) is handler
    assert worker.on_shutdown(handler) is handler
    assert worker.on_event("k")(handler) is handler
    assert worker.every(seconds=1)(handler) is handler
    assert worker.task(handler) is handler


@pytest.mark.clause("1.2 registries")
def test_the_registries_have_the_shapes_of_the_contract():
    worker = Worker("w")
    worker.on_startup(handler)
    worker.on_shutdown(handler)
    worker.on_event("k")(handler)
    worker.on_event("k")(handler)
    worker.every(minutes=2)(handler)
    worker.task(handler)
    assert worker._startup_handlers == [handler]
    assert worker._shutdown_handlers == [handler]
    assert worker._event_handlers == {"k": [handler, handler]}
    ((spec, registered),) = worker._every_handlers
    assert (spec.interval_seconds, spec.cron_expr, registered) == (120, None, handler)
    assert worker._task_handlers == [handler]
    assert worker.handler_count == 6


def test_a_sync_handler_is_refused_with_its_name_and_line():
    def plain(event, client): ...

    line = plain.__code__.co_firstlineno
    with pytest.raises(
        TypeError, match=rf"on_event\('k'\): 'plain' .*line {line}\) must be 'async def plain"
    ):
        Worker("w").on_event("k")(plain)


@pytest.mark.parametrize("decorate", ["on_startup", "on_shutdown", "task"])
@pytest.mark.clause("1.3 async")
def test_every_decorator_refuses_sync_functions(decorate):
    with pytest.raises(TypeError, match="async def"):
        getattr(Worker("w"), decorate)(lambda client: None)


@pytest.mark.clause("1.3 async")
def test_an_object_with_an_async_call_is_refused():
    class Callable:
        async def __call__(self, client): ...

    with pytest.raises(TypeError, match="takes an async function"):
        Worker("w").task(Callable())


def test_on_event_without_a_kind_is_refused():
    with pytest.raises(TypeError, match="on_event needs the kind"):
        Worker("w").on_event(handler)


@pytest.mark.parametrize("arguments", [{}, {"seconds": 1, "cron": "* * * * *"}, {"seconds": 1, "minutes": 1}])
@pytest.mark.clause("1.3 every")
def test_every_takes_exactly_one_schedule(arguments):
    with pytest.raises(ValueError, match="exactly one of seconds, minutes or cron"):
        Worker("w").every(**arguments)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
@pytest.mark.clause("1.3 every")
@pytest.mark.clause("14.5")
def test_an_interval_is_a_positive_number(value):
    with pytest.raises(ValueError, match=r"every\(seconds="):
        Worker("w").every(seconds=value)


@pytest.mark.parametrize("text", ["* * * *", "* * * * * *", "@hourly", "61 * * * *", "x * * * *", ""])
@pytest.mark.clause("2.3 cron")
@pytest.mark.clause("11.13")
def test_cron_text_has_five_valid_fields(text):
    with pytest.raises(ValueError, match="cron"):
        Worker("w").every(cron=text)


HEAVY = [
    "asyncio",
    "httpx",
    "websockets",
    "starlette",
    "uvicorn",
    "IPython",
    "numpy",
    "msgspec",
    "yaml",
    "croniter",
]


def test_importing_worker_imports_neither_server_nor_client_nor_numpy():
    code = f"import sys, json; from dnworker import Worker; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


def test_a_decorator_that_is_used_wrongly_is_named_as_people_know_it():
    with pytest.raises(TypeError, match=r"^@worker\.on_startup takes no parentheses"):
        Worker("a").on_startup()


def test_whatever_registers_handlers_is_shown_as_the_worker_it_is_for():
    class Handle(Worker):
        pass

    assert repr(Handle("bridge")) == "<Worker 'bridge': 0 handlers>"
