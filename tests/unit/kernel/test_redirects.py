"""Redirections of handlers by managers that they share with each other and with cells."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from ipykernel.iostream import OutStream

from dnworker.core.invocation import Invocation, current_invocation
from dnworker_jupyter.kernel import redirects


@pytest.fixture(autouse=True)
def installed():
    undo = redirects.install(lambda: None)
    yield
    for one in reversed(undo):
        one()


async def use(manager: Any, invocation: Invocation | None, until: asyncio.Event) -> tuple[Any, Any]:
    """Return where a handler, or a cell, writes within the manager and after it."""
    current_invocation.set(invocation)
    with manager:
        await until.wait()
        within = (redirects.targets.get() or {}).get("stdout")
    return within, redirects.targets.get()


def handler() -> Invocation:
    return Invocation("w", "h", "event")


ONE = handler()


@pytest.mark.parametrize("users", [(handler(), handler()), (ONE, ONE), (ONE, None), (None, ONE)])
async def test_many_use_one_manager_and_each_ends_its_own(users):
    buffer, before = StringIO(), sys.stdout
    manager = contextlib.redirect_stdout(buffer)
    ends = [asyncio.Event() for _ in users]
    tasks = [asyncio.create_task(use(manager, user, end)) for user, end in zip(users, ends, strict=True)]
    await asyncio.sleep(0)
    for user, end, task in zip(users, ends, tasks, strict=True):
        end.set()
        assert await task == (buffer if user is not None else None, None)
    assert sys.stdout is before
    assert not manager._old_targets  # type: ignore[attr-defined]


class Stream(OutStream):
    """A kernel's, without a kernel."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = threading.Event()

    def close(self) -> None:
        """There is nothing to close."""

    def read_descriptor(self) -> None:
        self.ended.wait()


def test_the_streams_of_a_kernel_are_found_within_a_capture(monkeypatch):
    out, err = Stream("stdout"), Stream("stderr")
    reader = threading.Thread(target=err.read_descriptor)
    reader.start()
    with contextlib.redirect_stdout(StringIO()), contextlib.redirect_stderr(StringIO()):
        found = redirects.own_streams(SimpleNamespace(_stdout=out))
    err.ended.set()
    reader.join()
    assert found == [("stdout", out), ("stderr", err)]


def test_the_streams_of_a_terminal_are_found_within_a_capture():
    present = redirects.own_streams(None)
    assert present == redirects.streams()
    with contextlib.redirect_stdout(StringIO()):
        assert redirects.own_streams(None) == [("stdout", sys.__stdout__), present[1]]
