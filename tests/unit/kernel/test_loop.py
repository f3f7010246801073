"""The loop that the runtime runs on, in a kernel and in a terminal."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

from dnworker_jupyter.kernel.loop import KernelLoop

TERMINAL = SimpleNamespace()
KERNEL = SimpleNamespace(kernel=object())


async def test_in_a_kernel_it_is_the_running_loop():
    loop = KernelLoop(KERNEL)
    assert loop.start()
    assert loop.loop is asyncio.get_running_loop()
    assert loop.thread_id is None


def test_a_kernel_that_does_not_run_yet_has_none():
    loop = KernelLoop(KERNEL)
    assert not loop.start()
    assert loop.loop is None
    loop.post(print)  # nothing to post to


async def test_in_a_terminal_it_runs_on_a_thread_of_its_own_until_the_end():
    loop = KernelLoop(TERMINAL)
    assert loop.start()

    async def where() -> int:
        return threading.get_ident()

    assert await loop.enter(where) == loop.thread_id != threading.get_ident()
    ended = threading.Event()

    async def last() -> None:
        ended.set()

    await asyncio.to_thread(loop.finish, last())
    assert ended.is_set()
    assert loop.loop is not None
    assert loop.loop.is_closed()


def test_the_end_of_a_loop_that_never_began_is_harmless():
    async def last() -> None: ...

    KernelLoop(TERMINAL).finish(last())
