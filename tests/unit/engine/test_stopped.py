"""A stack that debugpy holds is told from every other."""

from __future__ import annotations

import asyncio
import sys
import threading
import types

from dnworker.engine.stopped import is_stopped_by_debugger
from dnworker.engine.watchdog import Watchdog

WAITING = """
def _do_wait_suspend(wait):
    return wait()
"""


def waits_in(module: str):
    """Return debugpy's function, in a module of this name."""
    made = types.ModuleType(module)
    exec(WAITING, vars(made))
    return made._do_wait_suspend


def test_a_frame_within_debugpys_wait_is_stopped():
    assert waits_in("pydevd")(lambda: is_stopped_by_debugger(sys._getframe()))


def test_a_frame_elsewhere_is_not_stopped():
    assert not is_stopped_by_debugger(sys._getframe())
    assert not waits_in("somebody")(lambda: is_stopped_by_debugger(sys._getframe()))
    assert not is_stopped_by_debugger(None)


async def test_a_loop_that_a_debugger_holds_is_no_block():
    looked, blocks = threading.Event(), []

    class Looking(Watchdog):
        def _pass_over(self, pinged, frame):
            super()._pass_over(pinged, frame)
            if looked_at.append(pinged) or len(looked_at) > 20:
                looked.set()

    looked_at: list[float] = []
    dog = Looking(
        asyncio.get_running_loop(),
        on_blocked=blocks.append,
        on_released=blocks.append,
        threshold=0.1,
        interval=0.01,
    )
    dog.start()
    assert waits_in("pydevd")(lambda: looked.wait(10))  # twice the threshold
    turned = asyncio.Event()
    dog._loop.call_soon(turned.set)
    await turned.wait()
    dog.stop()
    assert (blocks, list(dog.blocks), dog.block) == ([], [], None)


async def test_the_time_in_a_debugger_is_not_part_of_a_block_that_began_before():
    dog = Watchdog(asyncio.get_running_loop(), on_blocked=print, on_released=print, threshold=0.1)
    from dnworker.engine.watchdog import Block

    dog._block = Block("cell [1], line 2", "", None, began=100.0, seconds=1.5)
    dog._pinged = pinged = 100.0
    dog._pass_over(pinged, None)
    assert dog._pinged - dog._block.began == 1.5
