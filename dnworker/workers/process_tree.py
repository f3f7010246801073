"""`ProcessTree`: the processes of one run of a worker, as `subprocess_runner` signals and ends them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterable

from dnworker.core.threads import untraced
from dnworker.workers import family
from dnworker.workers.cgroups import Cgroups
from dnworker.workers.family import Family
from dnworker.workers.guard import Guard

log = logging.getLogger("dnworker.process")

SEARCH_SECONDS = 2.0
"""Seconds that a search for processes may take; a process that hangs in the kernel may hang it."""

Process = tuple[int, int]


class ProcessTree:
    """The child of one run, and whatever it starts; known to the guard as long as any of that may be there.

    Args:
        label: names the worker.
        guard: ends the processes if this process dies.
        cgroups: make a cgroup for them, where that is possible.
    """

    def __init__(self, label: str, guard: Guard | None, cgroups: Cgroups | None) -> None:
        self.run = secrets.token_hex(8)
        """Names the run in the environment of all its processes: `DNWORKER_RUN`."""
        self._label = label
        self._guard = guard
        self._cgroups = cgroups
        self._family = Family(run=self.run, cgroup=cgroups.make(label) if cgroups is not None else None)
        if guard is not None:
            guard.expect(self.run, self._family.cgroup)

    def begin(self, pid: int) -> None:
        """Take the child that was just spawned, which leads a session and group of its own."""
        cgroup = self._family.cgroup
        if self._cgroups is not None:
            cgroup = self._cgroups.enter(cgroup, pid)
        self._family = Family(pid, family.start_time(pid), self.run, cgroup)
        if self._guard is not None:
            self._guard.watch(pid, run=self.run, cgroup=cgroup)

    def bound(self, until: float) -> None:
        """Have the guard kill all of it at `until`, by `family.boot_time`, unless that is put off."""
        if self._guard is not None:
            self._guard.bound(self.run, until)

    def signal(self, number: int) -> bool:
        """Signal the child's group; returns whether there is one."""
        return family.signal_group(self._family, number)

    @property
    def group_is_empty(self) -> bool:
        """Whether the child and all in its group have ended."""
        return not self.signal(0)

    async def end(self, grace: float) -> None:
        """End what the child has left, in its group and outside: SIGTERM, the grace, SIGKILL."""
        loop = asyncio.get_running_loop()
        others = await self._others()
        if self.signal(signal.SIGTERM) or others:
            _send(others, signal.SIGTERM)
            deadline = loop.time() + grace
            while loop.time() < deadline:  # there is no signal for the end of what is not ours to wait for
                others = {process for process in others if family.is_alive(process)}
                if self.group_is_empty and not others:
                    break
                await asyncio.sleep(0.02)
            self.signal(signal.SIGKILL)
            family.kill_cgroup(self._family.cgroup)
            others = await self._others()
            if others:
                log.info("%s: %d processes that it left are killed", self._label, len(others))
            _send(others, signal.SIGKILL)

    async def forget(self) -> None:
        """Let go: nothing of it is left, or it was never spawned."""
        if self._cgroups is not None:
            for _ in range(20):  # the killed need a moment to leave
                self._cgroups.remove(self._family.cgroup)
                if self._family.cgroup is None or not os.path.isdir(self._family.cgroup):  # noqa: PTH112
                    break
                await asyncio.sleep(0.01)
        if self._guard is not None:
            self._guard.forget(self.run)

    async def _others(self) -> set[Process]:
        """Return the living processes of the run that are outside the group."""
        found = [*family.in_cgroup(self._family.cgroup), *await search.find(self.run)]
        return {p for p in found if family.is_alive(p) and family.group_of(p) != self._family.group}


def _send(processes: Iterable[Process], number: int) -> None:
    for process in processes:
        family.send(process, number)


class Search:
    """Searches all processes for those of runs, on a thread: one search serves all that wait for one."""

    def __init__(self) -> None:
        self._wanted: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Future[list[Process]]]] = []
        self._lock = threading.Lock()
        self._is_running = False

    async def find(self, run: str) -> list[Process]:
        """Return the processes that were started in a run; none where the kernel does not tell, or hangs."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Process]] = loop.create_future()
        with self._lock:
            if not self._is_running:
                try:
                    untraced(
                        threading.Thread(target=self._search, name="dnworker processes", daemon=True)
                    ).start()
                except RuntimeError as exc:  # no thread can be had
                    log.warning("the processes of this machine cannot be read: %s", exc)
                    return []
                self._is_running = True
            self._wanted.append((run, loop, found))
        try:
            async with asyncio.timeout(SEARCH_SECONDS):
                return await found
        except TimeoutError:
            log.warning("the processes of this machine cannot be read within %g s", SEARCH_SECONDS)
            return []

    def _search(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, []
                if not wanted:
                    self._is_running = False
                    return
            processes: dict[str, list[Process]] = {}
            try:
                processes = family.marked({run for run, _, _ in wanted})
            except Exception:  # who waits must not wait for a thread that has ended
                log.exception("the processes of this machine cannot be read")
            for run, loop, found in wanted:
                _hand_over(loop, found, processes.get(run, []))


def _hand_over(
    loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[Process]], processes: list[Process]
) -> None:
    try:
        loop.call_soon_threadsafe(lambda: None if found.done() else found.set_result(processes))
    except RuntimeError:
        log.debug("the loop that asked for processes has ended")


search = Search()
"""The search of this process; all its runtimes share it."""
