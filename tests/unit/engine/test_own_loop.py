"""The loop of `serve`, and what workers' code may do to it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import sys
import threading

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.owners import Owner, current_owner
from dnworker.engine.own_loop import SharedLoop, contained
from dnworker.workers.tasks import CancelRefused


class Told:
    """A worker that is told, and the context of one of its handlers."""

    def __init__(self, worker="cap:w"):
        self.what: list[tuple[str, str]] = []
        self.exceptions: list[BaseException] = []
        self.come = asyncio.Event()
        self.context = contextvars.Context()
        self.context.run(current_owner.set, Owner(worker, self.escaped))
        self.context.run(current_invocation.set, Invocation(worker, "h", "event"))
        self.loop = asyncio.get_running_loop()

    def escaped(self, exc, source, invocation):
        self.exceptions.append(exc)
        self.what.append((type(exc).__name__, source))
        self.loop.call_soon_threadsafe(self.come.set)

    def run(self, function, *args):
        # As the code of a worker's module does it.
        code = compile("answer = function(*args)", "worker.py", "exec")
        names = {"__name__": "theirs", "function": function, "args": args}
        self.context.copy().run(exec, code, names)
        return names["answer"]

    def cancel(self, task):
        code = compile("answer = task.cancel()", "worker.py", "exec")
        names = {"__name__": "theirs", "task": task}
        self.context.copy().run(exec, code, names)
        return names["answer"]


def refused(*what):
    raise AssertionError(what)


def in_own_loop(main):
    async def contain():
        with contained(refused):
            return await main()

    with asyncio.Runner(loop_factory=SharedLoop) as runner:
        return runner.run(contain())


async def fails():
    raise ValueError("lost")


@pytest.mark.parametrize(
    "deed",
    [
        lambda loop: loop.stop(),
        lambda loop: loop.set_task_factory(None),
        lambda loop: loop.add_signal_handler(signal.SIGTERM, print),
        lambda loop: loop.remove_signal_handler(signal.SIGINT),
    ],
)
def test_what_would_take_the_loop_from_other_workers_is_refused(deed):
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        # The call itself comes from the worker's code: this file is no part of ours.
        with pytest.raises(RuntimeError, match="belongs to all workers"):
            told.context.run(deed, loop)

    in_own_loop(main)


def test_the_program_itself_may_do_all_that():
    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        assert loop.remove_signal_handler(signal.SIGTERM)
        loop.set_task_factory(loop.get_task_factory())
        loop.set_exception_handler(loop.get_exception_handler())

    in_own_loop(main)


def test_a_task_of_the_runtime_cannot_be_cancelled_by_a_worker():
    async def main():
        told = Told()
        task = asyncio.create_task(asyncio.sleep(0.01, "done"))
        assert not told.cancel(task)
        assert await task == "done"
        assert told.what == [("CancelRefused", "its cancel()")]
        assert isinstance(told.exceptions[0], CancelRefused)

    in_own_loop(main)


def test_a_worker_may_cancel_its_own_tasks_and_not_those_of_another():
    async def main():
        one, other = Told("cap:one"), Told("cap:other")
        loop = asyncio.get_running_loop()
        task = one.context.copy().run(loop.create_task, asyncio.sleep(60))
        await asyncio.sleep(0)
        assert not other.cancel(task)
        assert one.cancel(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.what == [("CancelRefused", "its cancel()")]
        assert not one.what

    in_own_loop(main)


def test_a_timeout_within_a_task_of_a_worker_works():
    async def main():
        told = Told()

        async def waits():
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await told.context.copy().run(asyncio.get_running_loop().create_task, waits())
        assert not told.what

    in_own_loop(main)


def test_an_error_that_nobody_awaits_is_its_workers():
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        told.context.copy().run(loop.create_task, fails())
        told.context.run(loop.call_soon, divmod, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert {name for name, _ in told.what} == {"ZeroDivisionError", "ValueError"}

    in_own_loop(main)


def test_a_worker_has_an_exception_handler_of_its_own():
    async def main():
        told, other, loop, heard = Told(), Told("cap:other"), asyncio.get_running_loop(), []
        before = loop.get_exception_handler()
        told.context.run(loop.set_exception_handler, lambda loop, context: heard.append(context["exception"]))
        assert loop.get_exception_handler() == before
        for one in (told, other):
            one.context.run(loop.call_soon, divmod, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (len(told.what), len(other.what), len(heard)) == (1, 1, 1)

    in_own_loop(main)


def test_an_exception_handler_of_a_worker_that_exits_ends_nobody_else():
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        told.context.run(loop.set_exception_handler, lambda loop, context: sys.exit(3))
        told.context.run(loop.call_soon, divmod, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told.what[1:] == [("SystemExit", "its exception handler")]

    in_own_loop(main)


@pytest.mark.parametrize("target", [sys.exit, lambda: 1 / 0])
def test_what_a_thread_raises_is_its_workers(target):
    async def main():
        told = Told()
        thread = threading.Thread(target=target)
        told.context.run(thread.start)
        await told.come.wait()
        thread.join()
        assert told.what[0][1] == "a thread it started"

    in_own_loop(main)


def test_what_a_finalizer_raises_is_its_workers():
    async def main():
        told = Told()

        class Thing:
            def __del__(self):
                raise ValueError("late")

        told.context.run(lambda: Thing() and None)
        assert told.what == [("ValueError", "a finalizer of it")]

    in_own_loop(main)


def test_streams_and_hooks_that_workers_replace_are_restored():
    before = (
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        threading.excepthook,
        sys.unraisablehook,
        threading.Thread.start,
    )

    async def main():
        sys.stdout = sys.stderr = None
        sys.excepthook = None

    in_own_loop(main)
    after = (
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        threading.excepthook,
        sys.unraisablehook,
        threading.Thread.start,
    )
    assert after == before
