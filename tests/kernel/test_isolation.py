"""What a handler's code raises where no handler catches it: the kernel lives, and the worker is told."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.kernel

BOMBER = """%%worker bomber
import asyncio, sys, threading

def exits(*_): sys.exit(3)
def interrupts(*_): raise KeyboardInterrupt
async def task_exits(): sys.exit(3)
async def task_interrupts():
    await asyncio.sleep(0)
    raise KeyboardInterrupt

async def generator():
    try: yield 1
    finally: sys.exit(3)

async def use_generator():
    async for _ in generator(): break

class Deleted:
    def __del__(self): sys.exit(3)

class Bad(Exception):
    def __str__(self): raise SystemExit
    @property
    def __class__(self): raise RuntimeError

def done_callback():
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(exits)
    future.set_result(None)

async def awaits_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future

async def fails(exc): raise exc

loop = asyncio.get_running_loop
BOMBS = {
    "task exits": lambda: asyncio.create_task(task_exits()) and None,
    "loop.create_task": lambda: loop().create_task(task_interrupts()) and None,
    "call_soon": lambda: loop().call_soon(exits),
    "call_later": lambda: loop().call_later(0.01, interrupts),
    "done callback": done_callback,
    "thread": lambda: threading.Thread(target=exits).start(),
    "async generator": use_generator,
    "finalizer": lambda: Deleted() and None,
    "cancelled": awaits_cancelled,
    "exit of the handler": lambda: fails(SystemExit(3)),
    "str": lambda: fails(Bad()),
    "generator exit": lambda: fails(GeneratorExit()),
}

@worker.on_event("bomb")
async def bomb(event, client):
    if hasattr(done := BOMBS[event.payload["what"]](), "__await__"):
        await done
"""
VICTIM = "%%worker victim\n@worker.on_event('ping')\nasync def ping(event, client): print('heard', event.payload['n'])"

BOMB = """
import asyncio
managed = dn.runtime().worker('bomber')
await managed.restart(force=True)
dn.runtime().publish('bomb', {{'what': {what!r}}})
while not (managed.last_handler_error or managed.error):
    await asyncio.sleep(0.01)
await asyncio.sleep(0)
print(str(managed.state), '|', managed.error, '|', managed.last_handler_error)
"""
ENDING = (
    "task exits",
    "loop.create_task",
    "call_soon",
    "call_later",
    "done callback",
    "thread",
    "async generator",
    "finalizer",
)
FAILING = ("cancelled", "exit of the handler", "str", "generator exit")


def test_no_handler_ends_the_kernel_or_another_worker(kernel):
    kernel.run(VICTIM, "c1")
    assert kernel.run(BOMBER, "c2").status == "ok"
    for number, what in enumerate((*ENDING, *FAILING)):
        answer = kernel.run(BOMB.format(what=what))
        assert answer.status == "ok", (what, answer.text)
        state, error, last = answer.streams["stdout"].strip().split(" | ")
        assert state == ("error" if what in ENDING else "running"), (what, answer.text)
        assert re.search(r"cell \[\d+\], line \d+", error if what in ENDING else last), (what, answer.text)
        assert f"heard {number}" in kernel.run(f'%fire ping {{"n": {number}}}').text, what


def test_a_kernel_of_every_version_survives_an_exit_in_a_task(any_kernel):
    assert any_kernel.run(BOMBER, "c1").status == "ok"
    answer = any_kernel.run(BOMB.format(what="task exits"))
    assert "error | a task or callback it started ended itself: SystemExit: 3 (cell [" in answer.text
    assert any_kernel.run("6 * 7").result["text/plain"] == "42"


def test_unloaded_the_loop_turns_by_itself_again(kernel):
    kernel.run(VICTIM, "c1")
    kernel.run("%unload_ext dnworker")
    answer = kernel.run(
        "import asyncio, sys, traceback\nawait asyncio.sleep(0.5)\n"
        "frames = []\nasyncio.get_running_loop().call_soon(lambda: frames.extend(traceback.extract_stack()))\n"
        "await asyncio.sleep(0)\nprint(any('lasting_loop' in f.filename for f in frames), len(frames) > 2)"
    )
    assert answer.text.strip() == "False True"
