"""The loop of `serve`, and what workers' code may do to it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.owners import Owner, current_owner
from dnworker.engine.own_loop import SharedLoop, contained
from dnworker.engine.own_uvloop import SharedUvloop
from dnworker.workers.lasting_loop import lasting
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


@pytest.fixture(params=[SharedLoop, SharedUvloop])
def in_own_loop(request):
    def run(main):
        async def contain():
            with contained(refused):
                return await main()

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(contain())

    return run


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
def test_what_would_take_the_loop_from_other_workers_is_refused(deed, in_own_loop):
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        # The call itself comes from the worker's code: this file is no part of ours.
        with pytest.raises(RuntimeError, match="belongs to all workers"):
            told.context.run(deed, loop)

    in_own_loop(main)


def test_the_program_itself_may_do_all_that(in_own_loop):
    async def main():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        assert loop.remove_signal_handler(signal.SIGTERM)
        loop.set_task_factory(loop.get_task_factory())
        loop.set_exception_handler(loop.get_exception_handler())

    in_own_loop(main)


def test_a_task_of_the_runtime_cannot_be_cancelled_by_a_worker(in_own_loop):
    async def main():
        told = Told()
        task = asyncio.create_task(asyncio.sleep(0.01, "done"))
        assert not told.cancel(task)
        assert await task == "done"
        assert told.what == [("CancelRefused", "its cancel()")]
        assert isinstance(told.exceptions[0], CancelRefused)

    in_own_loop(main)


def test_a_worker_may_cancel_its_own_tasks_and_not_those_of_another(in_own_loop):
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


def test_a_timeout_within_a_task_of_a_worker_works(in_own_loop):
    async def main():
        told = Told()

        async def waits():
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await told.context.copy().run(asyncio.get_running_loop().create_task, waits())
        assert not told.what

    in_own_loop(main)


def test_an_error_that_nobody_awaits_is_its_workers(in_own_loop):
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        told.context.copy().run(loop.create_task, fails())
        told.context.run(loop.call_soon, divmod, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert {name for name, _ in told.what} == {"ZeroDivisionError", "ValueError"}

    in_own_loop(main)


def test_a_worker_has_an_exception_handler_of_its_own(in_own_loop):
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


def test_an_exception_handler_of_a_worker_that_exits_ends_nobody_else(in_own_loop):
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        told.context.run(loop.set_exception_handler, lambda loop, context: sys.exit(3))
        told.context.run(loop.call_soon, divmod, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told.what[1:] == [("SystemExit", "its exception handler")]

    in_own_loop(main)


@pytest.mark.parametrize("target", [sys.exit, lambda: 1 / 0])
def test_what_a_thread_raises_is_its_workers(target, in_own_loop):
    async def main():
        told = Told()
        thread = threading.Thread(target=target)
        told.context.run(thread.start)
        await told.come.wait()
        thread.join()
        assert told.what[0][1] == "a thread it started"

    in_own_loop(main)


def test_what_a_finalizer_raises_is_its_workers(in_own_loop):
    async def main():
        told = Told()

        class Thing:
            def __del__(self):
                raise ValueError("late")

        told.context.run(lambda: Thing() and None)
        assert told.what == [("ValueError", "a finalizer of it")]

    in_own_loop(main)


def test_streams_and_hooks_that_workers_replace_are_restored(in_own_loop):
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


def exits(*_):
    sys.exit(3)


async def exits_later():
    await asyncio.sleep(0)
    sys.exit(4)


@pytest.fixture
def lasts(in_own_loop):
    """Runs a coroutine as an engine does: what workers raise does not end the loop."""

    def run(main):
        async def last():
            with lasting(asyncio.get_running_loop(), refused):
                await asyncio.sleep(0)
                return await main()

        return in_own_loop(last)

    return run


@pytest.mark.parametrize(
    "deed",
    [
        lambda loop: loop.create_task(exits_later()),
        lambda loop: loop.call_later(0, exits),
        lambda loop: loop.call_at(0, sys.exit),
        lambda loop: loop.call_soon_threadsafe(sys.exit),
    ],
)
def test_what_ends_a_program_ends_its_worker_and_not_the_loop(deed, lasts):
    async def main():
        told = Told()
        told.context.copy().run(deed, asyncio.get_running_loop())
        await told.come.wait()
        assert [name for name, _ in told.what] == ["SystemExit"]
        gc.collect()
        return "the end"

    assert lasts(main) == "the end"


def test_of_several_tasks_that_exit_in_one_turn_each_is_told(lasts):
    async def main():
        told, other = Told(), Told("cap:other")
        for one in (told, other):
            one.context.copy().run(asyncio.get_running_loop().create_task, exits_later())
        for one in (told, other):
            await one.come.wait()
            assert one.what == [("SystemExit", "a task or callback it started")]

    lasts(main)


def test_a_reader_that_ends_a_program_is_called_once(lasts):
    ends = os.pipe()
    os.write(ends[1], b"x")

    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        told.context.run(loop.add_reader, ends[0], exits)
        await told.come.wait()
        await asyncio.sleep(0.01)
        assert len(told.what) == 1
        assert not loop.remove_reader(ends[0])

    lasts(main)
    for end in ends:
        os.close(end)


def test_the_loop_ends_in_the_turn_in_which_code_of_a_worker_exits():
    async def main():
        told, loop = Told(), asyncio.get_running_loop()
        with lasting(loop, refused):
            await asyncio.sleep(0)
            told.context.run(loop.call_soon_threadsafe, exits)
            asyncio.get_running_loop().call_soon(loop.stop)
            await asyncio.sleep(60)

    for make in (SharedLoop, SharedUvloop):
        loop = make()
        task = loop.create_task(main())
        loop.run_forever()
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


def test_an_exit_of_the_programs_own_code_ends_the_loop(lasts):
    async def main():
        asyncio.get_running_loop().call_soon(exits)
        await asyncio.sleep(60)

    with pytest.raises(SystemExit):
        lasts(main)
