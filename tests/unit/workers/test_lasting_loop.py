"""What workers raise into the loop, and what others do."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import weakref

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.owners import Owner, current_owner
from dnworker.workers.lasting_loop import lasting


class Told:
    """A worker that is told, and the context of a handler of its."""

    def __init__(self):
        self.exceptions = []
        self.invocation = Invocation("cap:w", "h", "event")
        self.context = contextvars.Context()
        self.context.run(current_owner.set, Owner("cap:w", self.escaped))
        self.context.run(current_invocation.set, self.invocation)

    def escaped(self, exc, source, invocation):
        assert invocation is self.invocation
        self.exceptions.append(repr(exc))


def nothing(*what):
    raise AssertionError(what)


def exits(*_):
    sys.exit(3)


async def exits_later(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    sys.exit(turns)


async def turn(times=6):
    for _ in range(times):
        await asyncio.sleep(0)


def test_what_tasks_and_callbacks_of_a_worker_raise_is_told_and_the_loop_goes_on(caplog):
    told = Told()

    async def main():
        loop = asyncio.get_running_loop()
        with lasting(loop, nothing):
            await turn()
            told.context.run(loop.call_soon, exits)
            told.context.run(loop.call_later, 0, exits)
            told.context.run(loop.call_soon_threadsafe, exits)
            task = told.context.copy().run(loop.create_task, exits_later(2))
            future = loop.create_future()
            told.context.run(future.add_done_callback, exits)
            future.set_result(None)
            await turn()
            assert task.done()
            del task
            gc.collect()
        return "the end"

    assert asyncio.run(main()) == "the end"
    assert sorted(told.exceptions) == ["SystemExit(2)"] + ["SystemExit(3)"] * 4
    assert "never retrieved" not in caplog.text


def test_a_reader_that_exits_is_called_once():
    told, ends = Told(), os.pipe()
    os.write(ends[1], b"x")

    async def main():
        loop = asyncio.get_running_loop()
        with lasting(loop, nothing):
            told.context.run(loop.add_reader, ends[0], exits)
            await turn(50)
            assert not loop.remove_reader(ends[0])

    asyncio.run(main())
    assert told.exceptions == ["SystemExit(3)"]
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("ending", [SystemExit(7), KeyboardInterrupt()])
def test_what_is_no_workers_ends_the_program_as_before(ending):
    async def main():
        with lasting(asyncio.get_running_loop(), nothing):
            await turn()
            raise ending

    with pytest.raises(type(ending)):
        asyncio.run(main())


def test_an_exit_in_the_programs_own_task_ends_it():
    async def main():
        with lasting(asyncio.get_running_loop(), nothing):
            await turn()
            task = asyncio.create_task(exits_later(1))
            await asyncio.sleep(60)
            return task

    with pytest.raises(SystemExit):
        asyncio.run(main())


def test_what_an_invocation_of_no_worker_has_started_is_noted():
    noted, context = [], contextvars.Context()
    invocation = Invocation("agent", "turn", "turn")
    context.run(current_invocation.set, invocation)

    async def main():
        with lasting(asyncio.get_running_loop(), lambda *what: noted.append(what[0])):
            await turn()
            context.run(asyncio.get_running_loop().call_soon, exits)
            await turn()

    asyncio.run(main())
    assert noted == [invocation]


def test_it_works_again_after_the_loop_was_stopped_and_run_again():
    told, loop = Told(), asyncio.new_event_loop()
    context = lasting(loop, nothing)

    async def explode():
        await turn()
        told.context.run(loop.call_soon, exits)
        await turn()

    async def begin():
        context.__enter__()

    async def end():
        context.__exit__(None, None, None)

    for step in (begin, explode, explode, end):
        loop.run_until_complete(step())
    assert told.exceptions == ["SystemExit(3)"] * 2
    with pytest.raises(SystemExit):
        loop.run_until_complete(explode())
    loop.close()


def test_the_rest_of_the_round_in_which_it_ends_is_not_lost():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        with lasting(loop, nothing):
            for number in range(100):  # queued before the callback that turns the loop begins
                loop.call_soon(seen.append, number)
        loop.call_soon(loop.stop)
        await turn(3)

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_forever()
    loop.run_until_complete(task)
    loop.close()
    assert seen == list(range(100))


def test_overlapping_blocks_end_with_the_last():
    told = Told()

    async def main():
        loop = asyncio.get_running_loop()
        with lasting(loop, nothing):
            with lasting(loop, nothing):
                await turn()
            await turn()
            told.context.run(loop.call_soon, exits)
            await turn()

    asyncio.run(main())
    assert told.exceptions == ["SystemExit(3)"]


def test_a_loop_that_has_ended_is_not_kept_alive():
    async def main():
        loop = asyncio.get_running_loop()
        with lasting(loop, nothing):
            await turn()
        return weakref.ref(loop)

    ended = asyncio.run(main())
    gc.collect()
    assert ended() is None


def test_a_loop_that_is_not_asyncios_is_left_as_it_is():
    class Other:
        """Nothing that asyncio knows of."""

    with lasting(Other(), nothing):  # type: ignore[arg-type]  # that is the question
        pass


def test_a_worker_that_cannot_be_told_does_not_end_the_loop(caplog):
    context = contextvars.Context()

    def escaped(*what):
        raise RuntimeError("no")

    context.run(current_owner.set, Owner("cap:w", escaped, is_importing=True))

    async def main():
        with lasting(asyncio.get_running_loop(), nothing):
            await turn()
            context.run(asyncio.get_running_loop().call_soon, exits)
            await turn()

    asyncio.run(main())
    assert "it could not be told" in caplog.text


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no timer that signals")
def test_what_a_signal_handler_raises_leaves_the_loop_as_without_us():
    class TooLate(BaseException):
        pass

    def too_late(*_):
        raise TooLate

    async def main():
        with lasting(asyncio.get_running_loop(), nothing):
            await turn()
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            await asyncio.Event().wait()

    before = signal.signal(signal.SIGALRM, too_late)
    try:
        with pytest.raises(TooLate):
            asyncio.run(main())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
