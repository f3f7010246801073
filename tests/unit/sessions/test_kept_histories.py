"""Random histories of sessions with kills: what was answered as done is there afterwards, and nothing else."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from .surviving import Machine

IDS = st.sampled_from("ab")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), IDS, st.sampled_from(["", "x", "y"])),
        st.tuples(st.just("title"), IDS, st.sampled_from(["one", "two"])),
        st.tuples(st.just("turn"), IDS, st.integers(0, 9)),
        st.tuples(st.just("hang"), IDS, st.integers(0, 9)),
        st.tuples(st.just("rewind"), IDS, st.integers(0, 3)),
        st.tuples(st.just("delete"), IDS),
        st.tuples(st.just("unanswered"), IDS, st.integers(0, 5)),
        st.tuples(st.just("kill")),
        st.tuples(st.just("stop")),
    ),
    max_size=14,
)


class History:
    """Does steps as a client, and keeps what it was answered."""

    def __init__(self):
        self.machine = Machine()
        self.sessions = {}
        """Of each live session: title, label, messages."""
        self.queues = {}
        """Of each session, the messages of turns that have not ended."""
        self.in_doubt = set()
        """Sessions of which something was not answered."""

    async def reply(self, turn):
        if turn.message.startswith("hang"):
            await asyncio.Event().wait()
        return f"re {turn.message}"

    async def begin(self):
        self.runtime = await self.machine.restart(lambda runtime: runtime.agents.default(self.reply))
        await self.idle()

    async def idle(self):
        """Wait until no turn but one that hangs runs, and all is kept."""
        for session in self.runtime.sessions.list():
            queue = self.runtime.turns.queue(session)
            while queue.active is not None and not self._hangs(session, queue.active):
                await asyncio.sleep(0)
            await self.runtime.sessions.kept(session)

    def _hangs(self, session, turn):
        return turn.message.startswith("hang") and session.running == turn.id

    async def step(self, name, *args):
        await getattr(self, name)(*args)
        await self.idle()

    async def create(self, id_, label):
        await self.runtime.client().create_session(session_id=id_, labels={"l": [label]})
        self.sessions.setdefault(id_, [None, label, []])
        self.queues.setdefault(id_, [])

    async def title(self, id_, title):
        if id_ in self.sessions:
            await self.runtime.client().set_session_title(id_, title)
            self.sessions[id_][0] = title

    async def turn(self, id_, number):
        await self._start(id_, f"m{number}")

    async def hang(self, id_, number):
        await self._start(id_, f"hang{number}")

    async def _start(self, id_, message):
        events = await self.runtime.client()._connection.start_turn(id_, {"message": message})
        events.close()
        self.sessions.setdefault(id_, [None, "", []])
        self.queues.setdefault(id_, []).append(message)
        self._settle(id_)

    def _settle(self, id_):
        """Take the turns that end by themselves off the queue."""
        queue = self.queues[id_]
        while queue and not queue[0].startswith("hang"):
            self.sessions[id_][2] += [queue[0], f"re {queue[0]}"]
            del queue[0]

    async def rewind(self, id_, seq):
        if id_ in self.sessions:
            answer = await self.runtime.client().rewind_session(id_, from_seq=seq)
            if answer["status"] == "ok":
                del self.sessions[id_][2][seq:]

    async def delete(self, id_):
        if id_ in self.sessions:
            await self.runtime.client().delete_session(id_)
            del self.sessions[id_], self.queues[id_]
            self.in_doubt.discard(id_)

    async def unanswered(self, id_, turns):
        """Begin something, and kill the runtime some turns of the loop later."""
        work = asyncio.create_task(self._start_unanswered(id_))
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.kill(work)

    async def _start_unanswered(self, id_):
        self.in_doubt.add(id_)
        events = await self.runtime.client()._connection.start_turn(id_, {"message": "doubt"})
        events.close()

    async def kill(self, work=None):
        self.machine.kill()
        if work is not None:
            work.cancel()
        self._end_running()
        await self.begin()

    async def stop(self):
        await self.runtime.stop()
        self._end_running()
        await self.begin()

    def _end_running(self):
        for id_, queue in self.queues.items():
            del queue[:1]  # the one that ran: it hung
            self._settle(id_)

    def check(self):
        there = {session.session_id: session for session in self.runtime.sessions.list()}
        assert there.keys() - self.in_doubt == self.sessions.keys() - self.in_doubt
        assert self.sessions.keys() <= there.keys()
        for id_ in self.sessions.keys() - self.in_doubt:
            session, (title, label, messages) = there[id_], self.sessions[id_]
            assert (session.title, [m.content for m in session.messages]) == (title, messages)
            assert session.labels.get("l", [""]) == [label]
            assert [turn.message for turn in self.runtime.turns.queue(session).turns] == self.queues[id_]
            assert not self.runtime.bus.is_deleted(id_)

    def check_events(self):
        """Every turn that was accepted has at most one last event, and none of those that wait has one."""
        ends = [e.turn_id for e in self.machine.disk.events if e.terminal]
        assert len(ends) == len(set(ends))
        accepted = [e.turn_id for e in self.machine.disk.events if e.kind == "turn.accepted"]
        assert len(accepted) == len(set(accepted))
        waiting = {
            turn.id
            for session in self.runtime.sessions.list()
            for turn in self.runtime.turns.queue(session).turns
        }
        assert set(accepted) - set(ends) == waiting


async def run(steps):
    history = History()
    await history.begin()
    try:
        for step in steps:
            await history.step(*step)
        await history.kill()
        history.check()
        history.check_events()
    finally:
        await history.machine.stop()


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_what_was_answered_as_done_is_there_after_a_kill_and_nothing_else(steps):
    asyncio.run(run(steps))
