"""The campaign of faults: a cluster of real processes meets them in the order of a seed, and keeps its promises.

`python -m tests.attack cluster` runs 30 seeds; `python -m tests.attack.cluster_faults --seed 7` runs one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dnworker.core.errors import BrokerError
from dnworker.testing.nats_server import find_server
from tests.attack.attack import Scale, attack
from tests.attack.cluster_history import Subject, missing, violations
from tests.attack.cluster_world import Place, Publishers, World
from tests.attack.disk import no_mounts
from tests.attack.full_disk import small_disk

NEAR, CHILD = (Subject(frozenset({"one", "two", "talk"}), is_process=one) for one in (False, True))
SUBJECTS = {
    "near": NEAR,
    "child": CHILD,
    "relay": Subject(frozenset({"one"}), is_process=False),
    "ticks": Subject(frozenset(), is_process=False),
}

SEEDS = 30
FAULTS = 4
"""Faults of a seed."""

IN_SHORT = ((11, 2), (35, 2))
"""Seeds of the short form, each with its number of faults; those that ever failed stay here."""

HANDLED_WITHIN = 90.0
"""Seconds after the last fault in which all that was accepted must be handled."""

PAST_THE_LEASE = 11.0
"""Seconds after which a lease has surely run out."""

STEP_WITHIN = 60.0
"""Seconds in which a cluster whose faults are over must handle something new."""


NAMES = (
    "kill_a_node",
    "kill_the_holder",
    "kill_a_server",
    "pause_a_server",
    "pause_a_holder",
    "cut_a_node_off",
    "stop_a_node",
    "fill_the_disk",
    "all_at_once",
    "cut_off_before_a_tick",
)
"""The faults; each is a method of `Campaign`."""


def plan_of(seed: int, faults: int, *, has_disk: bool) -> list[str]:
    """Return which faults a seed has, in their order; a server is killed where there is no disk to fill."""
    chosen = random.Random(f"plan of {seed}").choices(NAMES, k=faults)
    return [name if has_disk or name != "fill_the_disk" else "kill_a_server" for name in chosen]


class Campaign:
    """One run of a seed.

    Args:
        seed: decides on the faults, how long they last, and where events are published; not on who holds what.
        world: what the faults are for.
        disk: where the disk of the only server is seen; None where it is not a small one.
    """

    def __init__(self, seed: int, world: World, disk: Path | None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        """Decides within the fault that happens."""
        self.world = world
        self.disk = disk
        self.done: list[str] = []

    async def run(self, faults: int) -> None:
        """Let so many faults happen, each once the cluster has got over the one before."""
        publishers = Publishers(self.world, random.Random(self.seed))
        with publishers.publishing():
            await self._until_handling()
            for n, name in enumerate(plan_of(self.seed, faults, has_disk=self.disk is not None)):
                self.chance = random.Random(f"{self.seed}, {n}")
                began = time.monotonic()
                self.done.append(name)
                await getattr(self, f"_{name}")()
                self.done[-1] += f" ({time.monotonic() - began:.0f} s)"
                await self._heal()
                await self._until_handling()
            await publishers.finish()
        await self._until_all_is_handled()
        await asyncio.gather(*(place.stop() for place in self.world.places))

    # -- rests -----------------------------------------------------------------------------------------

    async def _until_handling(self) -> None:
        """Return once each worker has begun with something from after now."""
        since = time.monotonic()

        def waiting() -> set[str]:
            begun = {line.worker for line in self.world.lines() if line.what == "begin" and line.at > since}
            return SUBJECTS.keys() - begun

        end = since + STEP_WITHIN
        while left := waiting():
            assert time.monotonic() < end, f"{', '.join(left)}: nothing was handled within {STEP_WITHIN:g} s"
            await asyncio.sleep(0.2)

    async def _until_all_is_handled(self) -> None:
        end = time.monotonic() + HANDLED_WITHIN
        while missing(self.world.lines(), SUBJECTS) and time.monotonic() < end:
            await asyncio.sleep(0.3)  # what is missing then is told by the checker

    async def _heal(self) -> None:
        """End what still is wrong."""
        for place in self.world.places:
            for proxy in place.proxies:
                proxy.heal()
            if place.is_paused:
                place.wake()
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in self.world.servers if not one.pid))
        await asyncio.gather(*(one.start() for one in self.world.places if one.node is None))

    # -- faults ----------------------------------------------------------------------------------------

    def _any(self) -> Place:
        return self.chance.choice(self.world.places)

    def _holder(self) -> Place:
        """Return the node that holds some worker."""
        return self.world.holder(self.chance.choice([*SUBJECTS])) or self._any()

    async def _wait(self, least: float, most: float) -> None:
        """Let a fault last; how long it does is what the fault is."""
        await asyncio.sleep(self.chance.uniform(least, most))

    async def _kill_a_node(self) -> None:
        await self._any().kill()
        await self._wait(0, 4)

    async def _kill_the_holder(self) -> None:
        await self._holder().kill()
        await self._wait(0, PAST_THE_LEASE + 2)

    async def _stop_a_node(self) -> None:
        await self._any().stop()
        await self._wait(0, 2)

    async def _kill_a_server(self) -> None:
        """Kill the only server, or the one that leads the stream of events."""
        server = await self.world.leader("dnw-demo-ev")
        await asyncio.to_thread(server.kill)
        await self._wait(0, 12)

    async def _pause_a_server(self) -> None:
        """Have the only server, or the one that leads the stream of events, stand still, and go on late."""
        server = await self.world.leader("dnw-demo-ev")
        server.pause()
        await self._wait(1, PAST_THE_LEASE + 3)
        server.go_on()

    async def _pause_a_holder(self) -> None:
        place = self._holder()
        place.pause()
        await self._wait(PAST_THE_LEASE, PAST_THE_LEASE + 3)
        place.wake()

    async def _cut_a_node_off(self) -> None:
        """Cut a node off from all servers, in one of three ways, for a moment or past its lease."""
        place, how = self._holder(), self.chance.choice(["stall", "stall", "refuse", "reset"])
        self.done[-1] += f": {how}"
        for proxy in place.proxies:
            getattr(proxy, how)()
        await self._wait(0.5, PAST_THE_LEASE + 5)
        if self.chance.random() < 0.5:
            for proxy in place.proxies:
                proxy.reset()  # what was under way never arrives; else it arrives late

    async def _cut_off_before_a_tick(self) -> None:
        """Cut the holder of the schedules off a moment before a tick by its clock: it can tell nobody of that."""
        place = self.world.holder("ticks") or self._any()
        left = 60 - (time.time() + place.clock_off_by) % 60
        await asyncio.sleep(max(0.0, left - self.chance.uniform(0.5, 4)))
        for proxy in place.proxies:
            proxy.stall()
        await self._wait(PAST_THE_LEASE, 2 * PAST_THE_LEASE + 4)

    async def _all_at_once(self) -> None:
        """Kill a node, pause another, cut the third off, and kill a server, within a second."""
        first, second, third = self.chance.sample(self.world.places, 3)
        for act in self.chance.sample(range(4), 4):
            await self._wait(0, 0.25)
            if act == 0:
                await first.kill()
            elif act == 1:
                second.pause()
            elif act == 2:
                for proxy in third.proxies:
                    proxy.stall()
            else:
                await asyncio.to_thread((await self.world.leader()).kill)
        await self._wait(1, PAST_THE_LEASE + 3)

    async def _fill_the_disk(self) -> None:
        """Fill the disk of the only server until an event is refused, make room, and start it again."""
        assert self.disk is not None
        fill, refused, server = self.disk / "fill", self.world.refused, self.world.servers[0]
        with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
        await self.world.until(lambda: self.world.refused > refused, "an event is refused", STEP_WITHIN)
        fill.unlink()
        await asyncio.to_thread(server.stop)  # a server that met a full disk wants that


# -- seeds ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _store(directory: Path, servers: int) -> Iterator[tuple[Path, Path | None]]:
    """Give a place for the servers' files; on a small disk where there is one server, and we may mount."""
    if servers > 1 or no_mounts() is not None or os.getuid() != 0:
        yield directory / "store", None
        return
    with small_disk(directory / "disk", 64 << 20) as (inside, _):
        yield inside, inside


async def run_seed(seed: int, faults: int, directory: Path) -> str:
    """Run a seed; returns what happened. Raises AssertionError with what did not hold."""
    began, chance = time.monotonic(), random.Random(seed)
    servers = chance.choice([1, 1, 3])
    clocks = [0.0, 0.0, 0.0]
    clocks[chance.randrange(3)] = chance.choice([-300.0, 300.0, -20.0, 20.0])
    told = f"seed {seed}, {servers} servers, clocks {', '.join(f'{off:+g}' for off in clocks)}"
    directory.mkdir(parents=True)
    with _store(directory, servers) as (store, disk):
        world = World(directory, servers, store, clocks)
        campaign, found = Campaign(seed, world, disk), []
        try:
            async with world:
                await campaign.run(faults)
        except Exception as exc:  # such as of a node that does not start
            found.append(str(exc) or type(exc).__name__)
    lines = world.lines()
    found += violations(lines, SUBJECTS) + world.said()
    told += f": {', '.join(campaign.done)}"
    assert not found, f"{told}: {'; '.join(found)}"
    accepted = sum(line.what == "accepted" for line in lines)
    fences = len({(line.worker, line.fence) for line in lines if line.worker})
    return f"{told}; {accepted} accepted, {fences} holders ({time.monotonic() - began:.0f} s)"


def no_server() -> str | None:
    """Return why no cluster can run here."""
    try:
        find_server()
    except BrokerError as exc:
        return str(exc)
    return None


@attack(limit=7_200, needs=no_server)
async def campaign(scale: Scale) -> str:
    """A cluster loses no accepted event and has one holder a worker, whatever is killed, paused, cut off or full."""
    plan = list(IN_SHORT) if scale.short else [(seed, FAULTS) for seed in range(SEEDS)]
    failed = []
    for seed, faults in plan:
        try:
            told = await run_seed(seed, faults, scale.directory / str(seed))
        except AssertionError as exc:
            failed.append(str(exc))
            told = f"FAILED {exc}"
        if not scale.short:
            print(f"  {told}", flush=True)
    assert not failed, "; ".join(failed)
    return f"{len(plan)} seeds, {sum(faults for _, faults in plan)} faults"


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.cluster_faults", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="run this seed (default: 0 to --seeds)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many seeds (default: %(default)s)")
    parser.add_argument("--faults", type=int, default=FAULTS, help="a seed (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what nodes and servers say in here")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="dnworker-cluster-") as temporary:
        for seed in options.seed or range(options.seeds):
            try:
                told = asyncio.run(
                    run_seed(seed, options.faults, (options.keep or Path(temporary)) / str(seed))
                )
                print(f"held   {told}", flush=True)
            except AssertionError as exc:
                failed += 1
                print(f"FAILED {exc}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
