"""Exceptions of tasks and threads that handlers start."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker_jupyter.kernel.unhandled import UnhandledErrors


@pytest.fixture
def noted():
    return []


@pytest.fixture
async def errors(noted):
    errors = UnhandledErrors(lambda *what: noted.append(what))
    errors.install()
    errors.install()  # again, which changes nothing
    yield errors
    errors.uninstall()


def in_handler(start: Any) -> Invocation:
    """Run something as a handler would."""
    invocation = Invocation("notebook:bridge", "on_a", "event")
    token = current_invocation.set(invocation)
    try:
        start()
    finally:
        current_invocation.reset(token)
    return invocation


async def test_an_exception_of_a_task_is_noted_with_its_handler(errors, noted):
    async def fail() -> None:
        raise ValueError("lost")

    invocation = in_handler(lambda: asyncio.create_task(fail()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    ((owner, exc, what),) = noted
    assert (owner, str(exc), what) == (invocation, "lost", "a task it started")


async def test_an_exception_of_a_thread_is_noted_on_the_loop(errors, noted):
    invocation = in_handler(lambda: None)

    def fail() -> None:
        current_invocation.set(invocation)
        raise ValueError("lost")

    thread = threading.Thread(target=fail)
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert [(owner, what) for owner, _, what in noted] == [(invocation, "a thread it started")]


async def test_uninstalled_everything_is_as_before():
    before = threading.excepthook
    errors = UnhandledErrors(print)
    errors.install()
    assert threading.excepthook != before
    errors.uninstall()
    errors.uninstall()
    assert threading.excepthook is before
    assert asyncio.get_running_loop().get_exception_handler() is None
