"""Attacks by the disk, and by the processes of workers: what they print, leave behind and outlive."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dnworker import JournalReader
from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

PRINTER = """
import os, sys
chunk = {chunk}
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, chunk)
os.write(1, b"\\nthe end\\n")
import signal
signal.pause()
"""


@asynccontextmanager
async def measured(served: Served) -> AsyncIterator[list[float]]:
    """Ask the API all the time while the block runs; gives the seconds that each answer took.

    Without those for which this process, which does nothing else, had to wait for a processor meanwhile: on a
    machine that is busy with other things they say nothing of the runtime.
    """
    took: list[float] = []
    late = 0.0

    async def wake() -> None:
        nonlocal late
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            late = max(late, time.monotonic() - due)

    async def ask() -> None:
        nonlocal late
        while True:
            began, late = time.monotonic(), 0.0
            await served.get("/api/health")
            took.append(max(0.0, time.monotonic() - began - late))
            await asyncio.sleep(0.02)

    tasks = {asyncio.create_task(wake()), asyncio.create_task(ask())}
    try:
        yield took
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _print(scale: Scale, chunk: str, size: int) -> str:
    root = make_capability(
        scale.directory / "cap",
        f"talker: {{command: python3, args: ['${{CAPABILITY_ROOT}}/talker.py', '{size}']}}",
        {"talker.py": PRINTER.format(chunk=chunk)},
    )
    async with serving(scale.directory, root) as served:
        began = time.monotonic()
        async with measured(served) as took:
            while "the end" not in (await served.detail("demo:talker"))["process"]["recent_output"]:
                await asyncio.sleep(0.1)
        seconds, slowest = time.monotonic() - began, max(took)
        peak = served.peak_mib()
        assert served.peak_mib() < 250, f"{served.peak_mib():.0f} MiB resident"
        assert slowest < 1, f"an answer took {slowest:.2f} s"
    return f"{size / 1e6:.0f} MB in {seconds:.1f} s, {peak:.0f} MiB, slowest answer {slowest * 1000:.0f} ms"


@attack(limit=300)
async def lines_without_end(scale: Scale) -> str:
    """A child that prints 1 GB of lines does not fill the memory, and the API answers meanwhile."""
    return await _print(scale, "(b'x' * 99 + b'\\n') * 600", scale.of(1_000_000_000, 5_000_000))


@attack(limit=300)
async def one_line_without_end(scale: Scale) -> str:
    """A child that prints 1 GB without a newline does not fill the memory, and the API answers meanwhile."""
    return await _print(scale, "b'x' * 65536", scale.of(1_000_000_000, 100_000_000))


@attack(limit=300)
async def short_lines_without_end(scale: Scale) -> str:
    """A child that prints lines of one character at full speed leaves the API its time."""
    return await _print(scale, "b'x\\n' * 32768", scale.of(10_000_000, 100_000))


# -- disks ---------------------------------------------------------------------------------------------


def no_mounts() -> str | None:
    """Return why a process cannot have a disk of its own here."""
    try:
        done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    except OSError as exc:
        return f"no mount namespaces: {exc}"
    return None if done.returncode == 0 else f"no mount namespaces: {done.stderr.decode().strip()}"


def with_home_on(options: str) -> str:
    """Return what gives `serve` a small disk of its own as its home, mounted with these options at the end."""
    mount = 'mount -t tmpfs -o size=4m none "$HOME"'
    return f'exec unshare -m bash -c \'{mount} && {options}; exec "$@"\' bash "$@"'


async def until(what: str, holds: Callable[[], bool], within: float = 20) -> None:
    """Return as soon as something holds; raises AssertionError that says what did not, after so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.02)


TALKER = """
import asyncio, os
from dnworker import Worker
worker = Worker("talker")

@worker.on_event("talk")
async def talk(event, client):
    print(event.payload["text"] * event.payload.get("times", 1), flush=True)

worker.run()
"""


def talker(scale: Scale) -> Path:
    """Make a capability whose worker process prints what events say."""
    entry = f"talker: {{command: {sys.executable}, args: ['${{CAPABILITY_ROOT}}/talker.py']}}"
    return make_capability(scale.directory / "cap", entry, {"talker.py": TALKER})


async def say(served: Served, text: str, times: int = 1) -> None:
    """Have the talker print, and return when the runtime has the line."""
    await served.publish("talk", {"text": text, "times": times})
    for _ in range(1_000):
        detail = await served.detail("demo:talker")
        if any(line.startswith(text) for line in detail["process"]["recent_output"]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{text!r} was not printed within 20 s: {detail}")


@attack(needs=no_mounts)
async def a_home_that_can_only_be_read(scale: Scale) -> str:
    """A runtime that is given a token starts in a read-only home; logs of workers go to standard error."""
    limits = with_home_on('mount -o remount,ro "$HOME"')
    async with serving(scale.directory, talker(scale), limits=limits) as served:
        await say(served, "hello-read-only")
        await served.line("demo:talker: hello-read-only")
        said = [line for line in served.err if "ead-only file system" in line]
        assert len(said) == 1, f"the reason is said {len(said)} times: {said}"
        assert await served.stop() == 0
    return "one line says why, and the worker's lines are on standard error"


@attack(needs=no_mounts)
async def a_log_on_a_full_disk(scale: Scale) -> str:
    """A worker's log that met a full disk goes on when there is room, and says how much is missing."""
    async with serving(scale.directory, talker(scale), limits=with_home_on("true")) as served:
        await say(served, "before")
        inside = Path(f"/proc/{served.pid}/root{served.home}")
        fill = inside / "fill"
        with fill.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
        log = inside / ".dreadnode/logs/worker-demo-talker.log"
        await say(served, "lost", 20_000)
        assert (await served.detail("demo:talker"))["state"] == "running"
        full = log.stat().st_size
        fill.unlink()
        await say(served, "after")
        text = log.read_text()
        note = next((line for line in text.splitlines() if "bytes are missing here" in line), None)
        assert note is not None, f"the log does not say what is missing:\n{text[-300:]}"
        missing = int(note.split()[1])
        whole = len("before\n") + 20_000 * len("lost") + 1 + len("after\n")
        written = len(text) - len(note) - 1 - (text[text.index(note) - 2] != "\n")
        assert text.endswith("after\n"), text[-100:]
        assert abs(written + missing - whole) <= 1, f"{written} written and {missing} missing of {whole}"
        assert log.stat().st_mode & 0o777 == 0o600, oct(log.stat().st_mode)
    return f"full at {full} bytes; {missing} bytes are said to be missing"


@attack()
async def two_runtimes_of_one_home(scale: Scale) -> str:
    """Two runtimes of one home do not share a worker's log; each says where its own is, for its owner only."""
    root = talker(scale)
    async with serving(scale.directory, root) as one, serving(scale.directory, root) as two:
        logs = []
        for served, text in ((one, "of-the-first"), (two, "of-the-second")):
            await say(served, text)
            logs.append(Path((await served.detail("demo:talker"))["process"]["log_path"]))
        await one.post("/api/workers/demo/talker/restart?force=true")
        await say(one, "again")
        again = Path((await one.detail("demo:talker"))["process"]["log_path"])
        assert again == logs[0], f"after a restart the log is {again}"
        texts = [log.read_text() for log in logs]
        assert "again" in texts[0], texts[0]
        assert "of-the-second" in texts[1], texts[1]
        assert "of-the-first" in logs[0].with_name(logs[0].name + ".prev").read_text()
        modes = {oct(log.stat().st_mode & 0o777) for log in logs}
        assert modes == {"0o600"}, modes
    return f"{logs[0].name} and {logs[1].name}"


@attack()
async def a_damaged_journal(scale: Scale) -> str:
    """A damaged journal is set aside in one line, and a new one begins; a kill loses half a second at most."""
    journal = scale.directory / "journal.db"
    journal.write_bytes(os.urandom(10_000))
    async with serving(scale.directory, talker(scale), "--journal", journal) as served:
        line = await served.line("is damaged")
        assert len([one for one in served.err if str(journal) in one]) == 1, served.err
        count = scale.of(2_000, 100)
        for number in range(count):
            await served.publish("demo.n", {"n": number})
        await asyncio.sleep(0.5)
        for number in range(count, count + 50):
            await served.publish("demo.n", {"n": number})
        served.process.kill()
        await served.process.wait()
    with JournalReader(journal) as reader:
        kept = [event.payload["n"] for event in reader.events(1_000_000, kind="demo.n")]
    assert kept == list(range(len(kept))), "the journal has holes"
    assert len(kept) >= count, f"{len(kept)} of {count} events that were old enough are there"
    (aside,) = scale.directory.glob("journal.damaged-*.db")
    assert aside.name in line
    return f"kept as {aside.name}; {len(kept)} events of {count + 50} survive a kill"


# -- processes -----------------------------------------------------------------------------------------

DAEMONS = """
import os, signal, subprocess, sys
say = lambda text: os.write(1, f"{text}\\n".encode())  # whole, whoever else writes
ignore = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
sleep = "import signal; signal.pause()"
deaf = ignore if sys.argv[2] == "deaf" else sleep
for code, options in ((sleep, {}), (sleep, {"start_new_session": True}), (deaf, {"start_new_session": True})):
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, **options)
    say(f"child {child.pid}")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        say(f"child {os.getpid()}")
        signal.pause()
    os._exit(0)
say("ready")
if sys.argv[1] == "stays":
    signal.pause()
"""


def daemons(scale: Scale, how: str = "stays") -> Path:
    """Make a capability whose process leaves a child, two daemons and one that forked twice.

    In full, one of them ignores SIGTERM, which takes 5 s each time.
    """
    args = f"['${{CAPABILITY_ROOT}}/leaver.py', {how}, {'mild' if scale.short else 'deaf'}]"
    entry = f"leaver: {{command: {sys.executable}, args: {args}}}"
    return make_capability(scale.directory / "cap", entry, {"leaver.py": DAEMONS})


async def children_of(served: Served) -> list[int]:
    """Return the processes that the worker has left, once it has all of them."""
    began = time.monotonic()
    while True:
        output = (await served.detail("demo:leaver"))["process"]["recent_output"]
        found = {int(line.split()[1]) for line in output if line.startswith("child")}
        if len(found) == 4:
            return sorted(found)
        assert time.monotonic() - began < 60, f"the worker did not start its children within 60 s: {output}"
        await asyncio.sleep(0.05)


def alive(pids: list[int]) -> list[int]:
    """Return those that have not ended; a zombie has."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def guard_of(served: Served) -> int | None:
    """Return the process that guards the workers of a runtime."""
    for pid in Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"workers/family.py") for word in words) and alive([int(pid)]):
            return int(pid)
    return None


def no_proc() -> str | None:
    """Return why processes cannot be looked at here."""
    return None if Path("/proc/self/task").exists() else "there is no /proc"


@attack(needs=no_proc)
async def daemons_of_a_worker_that_is_stopped(scale: Scale) -> str:
    """A restart ends what a worker has started, also daemons, and those that ignore SIGTERM."""
    async with serving(scale.directory, daemons(scale)) as served:
        before = await children_of(served)
        began = time.monotonic()
        await served.post("/api/workers/demo/leaver/restart?force=true")
        assert not alive(before), f"{len(alive(before))} of 4 processes outlive the restart"
        took = time.monotonic() - began
        after = await children_of(served)
        code, named = await served.stop(), any("the process of demo:leaver" in line for line in served.err)
        # One that ignores SIGTERM is named after 5 s, and killed: that is no end in order.
        assert (code, named) == ((0, False) if scale.short else (1, True)), f"exit code {code}: {served.err}"
        assert not alive(after), f"{len(alive(after))} of 4 processes outlive serve"
    return f"4 processes ended with a restart in {took:.1f} s, 4 with serve"


@attack(needs=no_proc)
async def daemons_of_a_worker_that_exits(scale: Scale) -> str:
    """A worker that exits by itself leaves nothing behind."""
    async with serving(scale.directory, daemons(scale, "leaves")) as served:
        left = await children_of(served)
        await until("daemons end", lambda: not alive(left))
        for _ in range(1_000):
            if (state := (await served.detail("demo:leaver"))["state"]) == "stopped":
                break
            await asyncio.sleep(0.02)
        assert state == "stopped", state
    return "4 processes ended with it"


@attack(needs=no_proc)
async def a_guard_that_is_killed(scale: Scale) -> str:
    """A guard that is killed is started again by itself; then a killed runtime leaves nothing behind."""
    async with serving(scale.directory, daemons(scale)) as served:
        left = [*await children_of(served), (await served.detail("demo:leaver"))["process"]["pid"]]
        kills = scale.of(4, 2)
        for _ in range(kills):
            guard = guard_of(served)
            assert guard is not None, "there is no guard"
            os.kill(guard, signal.SIGKILL)
            await until("another guard", lambda old=guard: guard_of(served) not in (None, old))  # type: ignore[misc]
        last = guard_of(served)
        assert last is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(last, number)
        assert len(alive(left)) == 5, "processes ended with the guard"
        began = time.monotonic()
        served.process.kill()
        await until("all processes end", lambda: not alive(left), within=10)
        took = time.monotonic() - began
    return f"killed {kills} times; 5 processes ended {took:.1f} s after the runtime was killed"
