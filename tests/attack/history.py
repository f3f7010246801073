"""The history checker: random operations beside each other on a real runtime, which is looked at whenever it rests.

`python -m tests.attack.history --seeds 100` runs a hundred seeds; `--seed 7` runs one, and `--smaller` looks for a
smaller plan that fails, too. The attack `lifecycle.histories` runs some of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import dnworker.core.restarts
from dnworker import RestartPolicy, Runtime, WorkerState
from dnworker.events.backlog import Backlog
from dnworker.events.bus import Subscriber
from dnworker.workers.subprocess_worker import SubprocessWorker
from tests.attack.history_plan import Round, make_plan, shown, smaller
from tests.attack.history_world import LIMIT, World, identity, listens, processes_of

DEEP_EVERY = 20
"""Rounds between two looks for leaks, for which everything is brought back to the beginning."""

OPERATIONS = 300


class Failed(AssertionError):
    """An invariant did not hold after a round."""

    def __init__(self, number: int, why: str) -> None:
        self.number = number
        super().__init__(why)


async def run(plan: list[Round], root: Path, *, restarts: bool) -> str:
    """Execute a plan; returns figures.

    Raises:
        Failed: with the number of the round and what did not hold.
    """
    policy = RestartPolicy(max_restarts=1_000) if restarts else None
    async with Runtime(port=0, restart=policy) as runtime:
        world = World(root, runtime)
        await world.set_up()
        await world.bring_back()
        before = left_behind(runtime)
        for number, one in enumerate(plan):
            try:
                async with asyncio.TaskGroup() as operations:
                    for operation in one:
                        operations.create_task(world.execute(operation), name="operation")
                await look(world)
                check_states(world, one)
                if number % DEEP_EVERY == DEEP_EVERY - 1 or number == len(plan) - 1:
                    await look_deeper(world, before)
            except* Exception as group:
                raise Failed(number, "; ".join(str(exc) or repr(exc) for exc in leaves(group))) from group
        world.close()
        answers = sum(sum(event.answers.values()) for event in world.events.values())
        runtime_id = runtime.runtime_id
    orphans = [f"{pid} of {name}" for pid, _, name in processes_of(runtime_id)]
    if orphans:
        raise Failed(len(plan) - 1, f"processes outlive the runtime: {orphans}")
    return f"{sum(map(len, plan))} operations, {len(world.events)} events, {answers} answers"


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions of a group, without groups in it."""
    return [
        leaf
        for exc in group.exceptions
        for leaf in (leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    ]


# -- looks ---------------------------------------------------------------------------------------------


async def look(world: World) -> None:
    """Let the runtime come to rest, and check that there is one of each worker, and that each event came once."""
    await world.come_to_rest()
    event = world.publish()
    try:
        async with asyncio.timeout(LIMIT):
            while not set(event.listening) <= set(event.answers):
                await asyncio.sleep(0.003)
    except TimeoutError:
        raise AssertionError(
            f"event {event.n} is not handled by {set(event.listening) - set(event.answers)}"
        ) from None
    await world.come_to_rest()
    now = {w.name: identity(w) for w in world.runtime.workers() if listens(w)}
    for one in world.events.values():
        for worker, count in one.answers.items():
            assert count == 1, f"event {one.n} is handled {count} times by {worker}"
        for worker, was in one.listening.items():
            ran_on = now.get(worker) == was
            assert not ran_on or one.answers[worker], (
                f"event {one.n} is not handled by {worker}, which ran throughout"
            )
        one.listening.clear()  # from here on other runs of the workers count
    strangers = set(event.answers) - set(now)
    assert not strangers, f"event {event.n} is handled by {strangers}, which do not run"
    check_processes(world.runtime)
    check_owners(world.runtime)


AFTERWARDS = {
    "stop": {WorkerState.STOPPED, WorkerState.ERROR, WorkerState.GATED_OFF},
    "start": {WorkerState.RUNNING, WorkerState.GATED_OFF},
    "restart": {WorkerState.RUNNING, WorkerState.GATED_OFF},
    "force": {WorkerState.RUNNING, WorkerState.GATED_OFF},
    "force-api": {WorkerState.RUNNING, WorkerState.GATED_OFF},
    "remove": set[WorkerState](),
}
"""The states in which an operation that was alone may leave its worker, if it is still there."""


def check_states(world: World, one: Round) -> None:
    """Check that gates are as the flag is, and that an operation that was alone did what it is for."""
    states = {worker.name: worker.state for worker in world.runtime.workers()}
    is_on = world.runtime.capabilities.get("demo").flags["relay"].effective
    if "gated" in states:
        is_gated = states["gated"] is WorkerState.GATED_OFF
        assert is_gated != is_on, (
            f"the flag is {'on' if is_on else 'off'}, and the worker is {states['gated']}"
        )
    if len(one) > 1 or one[0].cancelled_after is not None:
        return
    name, kind = one[0].worker, one[0].kind
    if kind in AFTERWARDS and name in states:
        assert states[name] in AFTERWARDS[kind], f"after {one[0]} it is {states[name]}"
    if kind in ("reload", "reload-one"):
        of_demo = {n: s for n, s in states.items() if n in world.runtime.capabilities.get("demo").workers}
        stopped = {n: s for n, s in of_demo.items() if s not in AFTERWARDS["start"]}
        assert not stopped, f"after {one[0]} {stopped}"


def check_processes(runtime: Runtime) -> None:
    """Check that the processes are those of the workers that run, one each, with what they started."""
    pids = {w.name: w.detail()["process"]["pid"] for w in runtime.workers() if is_running_process(w)}
    found = [*processes_of(runtime.runtime_id)]
    leaders = Counter(name for pid, group, name in found if pid == group)
    assert leaders == Counter([*pids]), f"processes {dict(leaders)} run for {pids}"
    orphans = [(pid, name) for pid, group, name in found if pids.get(name) != group]
    assert not orphans, f"processes {orphans} belong to no worker that runs"


def is_running_process(worker: object) -> bool:
    return isinstance(worker, SubprocessWorker) and worker.state is WorkerState.RUNNING


def check_owners(runtime: Runtime) -> None:
    """Check that every subscription, tap, token and task belongs to a worker that runs, and that none has two."""
    workers = {w.qualified_name: w for w in runtime.workers()}
    running = {name for name, w in workers.items() if w.state is WorkerState.RUNNING}
    processes = {name for name in running if isinstance(workers[name], SubprocessWorker)}
    owners = Counter(s.owner for s in subscriptions(runtime) if s.owner is not None)
    assert owners == Counter(running), f"subscriptions of {dict(owners)}, and {running} run"
    held = Counter(s.owner for s in subscribers(runtime) if isinstance(s, Backlog))
    assert held <= Counter(processes), f"events are held for {dict(held)}, and processes of {processes} run"
    queues = len(runtime.bus.queues._queues)
    assert queues == len(processes), f"there are {queues} queues, and processes of {processes} run"
    taps = [owner for _, owner in runtime.bus._taps if owner is not None]
    assert not taps, f"events are kept for {taps}, which listen"
    tokens = Counter(runtime.tokens._of_workers.values())
    assert tokens == Counter(processes), f"tokens of {dict(tokens)}, and processes of {processes} run"
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    stale = [t for t in tasks if ":" in t.partition(" ")[0] and t.partition(" ")[0] not in running | {"Task"}]
    assert not stale, f"tasks {stale} belong to no worker that runs"


def subscribers(runtime: Runtime) -> set[Subscriber]:
    """Return all that the bus delivers to."""
    known = runtime.bus._subscribers
    return {*known._all_kinds, *(one for of_kind in known._by_kind.values() for one in of_kind)}


def subscriptions(runtime: Runtime) -> set[Subscriber]:
    """Return them without what holds events for further streams of a process, which ends after a while."""
    return {one for one in subscribers(runtime) if not isinstance(one, Backlog)}


async def look_deeper(world: World, before: Counter[str]) -> None:
    """Bring everything back to the beginning, and check that nothing more is there than was then."""
    await world.bring_back()
    states = {w.name: (str(w.state), w.error) for w in world.runtime.workers()}
    wanted = dict.fromkeys(("here", "gated", "child", "other"), ("running", None))
    assert states == wanted, f"after a reload the workers are {states}"
    await look(world)
    versions = {name: world.answered[name] for name in wanted}
    newest = {name: world.versions[name] for name in wanted}
    assert versions == newest, f"versions {versions} run, and {newest} are there"
    more: Counter[str] = Counter()
    for _ in range(500):  # connections of processes that have ended close a moment later
        more = left_behind(world.runtime) - before
        if not more:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left behind: {dict(more)}")


def left_behind(runtime: Runtime) -> Counter[str]:
    """Count what must not grow: tasks, subscriptions, listeners, tokens, and files by what they are."""
    found = Counter(f"task {kind_of(task)}" for task in asyncio.all_tasks())
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[f"file {kind_of_file(str(entry.readlink()))}"] += 1
        except OSError:
            continue
    found["subscriptions"] = len(subscriptions(runtime))
    found["taps"] = len(runtime.bus._taps)
    found["tokens"] = len(runtime.tokens._of_workers)
    found["listeners"] = len(runtime._listeners) + len(runtime.capabilities.own.renamed)
    # A process may hold one connection for requests, or none yet; and the server has a task for each.
    for kind in [kind for kind in found if kind.startswith(("file socket", "task uvicorn", "task request"))]:
        found[kind] = max(0, found[kind] - 8)
    return found


def kind_of(task: asyncio.Task[object]) -> str:
    """Return a task's name without numbers; one that has no name is named by its code."""
    name = task.get_name()
    if not name.startswith("Task-"):
        return name
    code = getattr(task.get_coro(), "__qualname__", "?")
    return f"request {code}" if "run_asgi" in code else code


def kind_of_file(link: str) -> str:
    """Return what kind of file a descriptor is."""
    return link.partition(":")[0] if ":" in link else link


# -- the command ---------------------------------------------------------------------------------------


def attempt(plan: list[Round], seed: int) -> tuple[str, Failed | None]:
    """Execute a plan in a directory and a home of its own; returns figures, and what did not hold."""
    dnworker.core.restarts.FIRST_DELAY = 0.05
    dnworker.core.restarts.LONGEST_DELAY = 0.05
    with tempfile.TemporaryDirectory(prefix="dnworker-history-") as directory:
        os.environ["HOME"] = directory
        try:
            return asyncio.run(run(plan, Path(directory), restarts=seed % 2 == 1)), None
        except Failed as failure:
            return "", failure


def check(seed: int, operations: int, *, make_smaller: bool) -> bool:
    """Run one seed and print what came of it; returns whether all held."""
    began = time.monotonic()
    plan = make_plan(seed, operations)
    figures, failure = attempt(plan, seed)
    took = f"{time.monotonic() - began:.1f} s"
    if failure is None:
        print(f"seed {seed} held: {figures} ({took})", flush=True)
        return True
    plan = plan[: failure.number + 1]
    print(f"seed {seed} FAILED in round {failure.number}: {failure} ({took})\n{shown(plan)}", flush=True)
    if make_smaller:
        for candidate in smaller(plan, failure.number):
            if (again := attempt(candidate, seed)[1]) is not None:
                print(f"fails, too: {again}\n{shown(candidate)}", flush=True)
                break
    return False


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.history", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="run this seed (default: 0 to --seeds)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default: %(default)s)")
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="a seed (default: %(default)s)")
    parser.add_argument("--smaller", action="store_true", help="look for a smaller plan that fails, too")
    options = parser.parse_args()
    seeds = options.seed or range(options.seeds)
    held = [check(seed, options.operations, make_smaller=options.smaller) for seed in seeds]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
