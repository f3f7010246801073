"""Attacks on `serve` as a process: its end, its output, `--watch`, and a loop that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

PRINTS = """
import logging, os, subprocess, sys
from dnworker import Worker
worker = Worker("talker")

@worker.on_event("talk")
async def talk(event, client):
    for n in range(event.payload.get("times", 1)):
        print("x" * 100)
        if n % 10 == 0:
            sys.stderr.write("y" * 100 + "\\n")
            sys.stdout.buffer.write(b"z" * 100 + b"\\n")
            logging.getLogger("theirs").warning("careful")
            sys.stdout.flush()

@worker.on_event("around")
async def around(event, client):
    os.write(1, b"by the descriptor\\n")
    subprocess.run(["echo", "by a child"], check=True)
    print(sys.stdout.fileno(), sys.stdout.isatty(), sys.stdout.encoding, file=sys.__stdout__)
"""

HEAD = "import asyncio, atexit, os, signal, subprocess, sys, threading, time\nfrom dnworker import Worker\nworker = Worker('w')\n"
HANDLER = "@worker.on_event('go')\nasync def go(event, client):\n"


@dataclass(frozen=True)
class Case:
    """A worker that a signal finds at something, and how the runtime must end.

    `codes` are the exit codes that are right, `within` is in seconds after the first signal, `says` must be on
    standard error.
    """

    name: str
    code: str
    codes: tuple[int, ...] = (1,)
    within: float = 10.0
    says: tuple[str, ...] = ("w.py, line",)
    signals: tuple[int, ...] = (signal.SIGTERM,)
    fires: bool = True
    ready: bool = True
    """Whether it gets as far as to be ready."""
    files: Mapping[str, str] = field(default_factory=dict)
    workers: str = "w: {path: w.py}"


def handler(body: str) -> str:
    """Return a worker whose handler of `go` has this body."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"{HEAD}{HANDLER}    print('at it', file=sys.stderr, flush=True)\n{lines}\n"


SWALLOWS = "while True:\n    try:\n        await asyncio.sleep(3600)\n    except BaseException:\n        pass"
CHILD = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(3600)\n"

CASES = [
    Case("a thread of to_thread", handler("await asyncio.to_thread(time.sleep, 3600)")),
    Case("a thread of a pool", handler("asyncio.get_running_loop().run_in_executor(None, nap)") + "\ndef nap():\n    time.sleep(3600)\n"),
    Case("a thread of its own", handler("threading.Thread(target=nap).start()") + "\ndef nap():\n    time.sleep(3600)\n"),
    Case("a daemon thread", handler("threading.Thread(target=time.sleep, args=[3600], daemon=True).start()"), codes=(0,), says=()),
    Case("a thread that ends in time", handler("await asyncio.to_thread(time.sleep, 3)"), codes=(0,), says=()),
    Case("a swallowed cancellation", handler(SWALLOWS)),
    Case("a task that swallows", handler("asyncio.create_task(other())") + "\nasync def other():\n" + "\n".join("    " + line for line in SWALLOWS.splitlines()) + "\n"),
    Case("a blocking call", handler("time.sleep(60)")),
    Case("a loop without end", handler("while True: pass")),
    Case("C code that holds the lock", handler("import itertools\nall(itertools.repeat(True))"), codes=(1, -6), says=('w.py", line',)),
    Case("a lock that is never free", handler("l = threading.Lock()\nl.acquire()\nl.acquire()")),
    Case("two signals", handler(SWALLOWS), within=3, says=(), signals=(signal.SIGTERM, signal.SIGTERM)),
    Case("two signals while blocked", handler("time.sleep(60)"), within=3, says=(), signals=(signal.SIGINT, signal.SIGINT)),
    Case("two signals in C code", handler("import itertools\nall(itertools.repeat(True))"), codes=(1, -6), within=3, says=(), signals=(signal.SIGTERM, signal.SIGTERM)),
    Case("Ctrl-C", handler("await asyncio.sleep(3600)"), codes=(0,), within=5, says=(), signals=(signal.SIGINT,)),
    Case("a shutdown handler that hangs", HEAD + "@worker.on_shutdown\nasync def bye(client):\n    await asyncio.sleep(3600)\n", fires=False),
    Case("a shutdown handler that blocks", HEAD + "@worker.on_shutdown\nasync def bye(client):\n    time.sleep(3600)\n", fires=False),
    Case("an atexit handler that hangs", HEAD + "atexit.register(lambda: time.sleep(3600))\n", fires=False),
    Case("a generator that does not close", handler("global kept\nkept = gen()\nawait anext(kept)") + "\nasync def gen():\n    while True:\n        try:\n            yield\n        finally:\n            await asyncio.sleep(3600)\n"),
    Case("a startup that hangs", HEAD + "@worker.on_startup\nasync def s(client):\n    await asyncio.sleep(3600)\n", codes=(0,), says=(), ready=False),
    Case("a startup that swallows", HEAD + "@worker.on_startup\nasync def s(client):\n" + "\n".join("    " + line for line in SWALLOWS.splitlines()) + "\n", ready=False),
    Case("an import that blocks", HEAD + "time.sleep(3600)\n", ready=False),
    Case("a signal that a worker takes", handler("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nawait asyncio.sleep(1.5)\nprint('took', file=sys.stderr)\nawait asyncio.sleep(3600)"), codes=(0,), says=("SIGTERM",)),
    Case("a child made by fork", handler("r, w = os.pipe()\npid = os.fork()\nif pid == 0:\n    os.write(w, b'x')\n    time.sleep(60)\nos.read(r, 1)\nos.kill(pid, signal.SIGTERM)\nos.waitpid(pid, 0)\nprint('waited', file=sys.stderr)"), codes=(0,), says=("waited",)),
    Case("a process that ignores SIGTERM", HEAD, codes=(0, 1), says=("SIGTERM",), fires=False, files={"child.py": CHILD}, workers=f"w: {{path: w.py}}\nchild: {{command: {sys.executable}, args: [child.py]}}"),
]  # fmt: skip
SHORT = {"a thread of to_thread", "two signals while blocked"}
AT_ONCE = 4


async def _end(case: Case, directory: Path) -> tuple[str, float]:
    """Run one case, and return its name and how long the end took."""
    directory.mkdir(parents=True)
    root = make_capability(directory / "cap", case.workers, {"w.py": case.code, **case.files})
    if not case.ready:
        return case.name, await _end_while_starting(case, directory, root)
    async with serving(directory, root) as served:
        if case.files:
            await _until_child_is_up(served)
        if case.fires:
            await served.publish("go")
            await served.line("at it")
            if case.says and case.says[0] in ("waited", "SIGTERM"):
                await served.line(case.says[0])
        began = time.monotonic()
        for number, sent in enumerate(case.signals):
            if number:
                await _until_noticed(served, case)
            with contextlib.suppress(ProcessLookupError):
                served.process.send_signal(sent)
        try:
            async with asyncio.timeout(case.within):
                code = await served.process.wait()
        except TimeoutError:
            raise AssertionError(f"{case.name}: still there {case.within:g} s after the signal") from None
        took = time.monotonic() - began
        await asyncio.sleep(0)
        _check(case, code, served.err, directory)
        return case.name, took


async def _until_noticed(served: Served, case: Case) -> None:
    if "C code" in case.name:
        await asyncio.sleep(0.5)  # nobody can say anything there
    else:
        await served.line("stopping")


async def _until_child_is_up(served: Served) -> None:
    for _ in range(600):
        if (await served.detail("demo:child"))["process"]["recent_output"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the child does not come up")


async def _end_while_starting(case: Case, directory: Path, root: Path) -> float:
    home = directory / "home"
    home.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dnworker", "serve", "--json", "--port", "0", str(root)),
        env={**os.environ, "HOME": str(home)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    err = []
    try:
        async with asyncio.timeout(60):
            async for line in process.stderr:
                err.append(line.decode())
                if "waiting for" in err[-1] or "stands still" in err[-1]:
                    break
        began = time.monotonic()
        process.send_signal(case.signals[0])
        async with asyncio.timeout(case.within):
            _, rest = await process.communicate()
        took = time.monotonic() - began
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    _check(case, process.returncode or 0, [*err, *rest.decode().splitlines()], directory)
    return took


def _check(case: Case, code: int, err: list[str], directory: Path) -> None:
    said = "\n".join(err[-40:])
    assert code in case.codes, f"{case.name}: exit code {code}, not {case.codes}; it says:\n{said}"
    for text in case.says:
        assert text in said, f"{case.name}: {text!r} is not on standard error; it says:\n{said}"
    assert "Traceback" not in said, f"{case.name}: {said}"
    left = _processes_of(directory)
    assert not left, f"{case.name}: processes are left: {left}"


def _processes_of(directory: Path) -> list[str]:
    """Return the command lines of processes that belong to a capability of this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            where = str((entry / "cwd").readlink())
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if where.startswith(str(directory / "cap")) and state != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@attack(limit=240)
async def a_signal_ends_it_whatever_workers_do(scale: Scale) -> str:
    """SIGTERM, SIGINT and SIGHUP end a runtime within 10 s, at once the second time, and name what is left."""
    cases = [case for case in CASES if not scale.short or case.name in SHORT]
    gate = asyncio.Semaphore(AT_ONCE)

    async def run(number: int, case: Case) -> tuple[str, float]:
        async with gate:
            return await _end(case, scale.directory / str(number))

    done = await asyncio.gather(*(run(n, case) for n, case in enumerate(cases)), return_exceptions=True)
    failed = [str(one) or repr(one) for one in done if isinstance(one, BaseException)]
    assert not failed, "\n".join(failed)
    slowest = max((one for one in done if not isinstance(one, BaseException)), key=lambda one: one[1])
    return f"{len(cases)} kinds of workers, the slowest end after {slowest[1]:.1f} s ({slowest[0]})"


@attack()
async def a_signal_ends_it(scale: Scale) -> str:
    """SIGTERM ends a runtime in which nothing is wrong, with exit code 0."""
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    async with serving(scale.directory, root) as served:
        await served.publish("talk")
        code = await served.stop()
        assert code == 0, f"exit code {code}"
    return "exit code 0"


@attack(limit=180)
async def unread_output_stops_nothing(scale: Scale) -> str:
    """A reader that reads nothing costs text, which is counted; the API answers and a signal ends the runtime."""
    times = scale.of(100_000, 20_000)
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    command = [sys.executable, "-m", "dnworker", "serve", "--port", "0", "--token-file", "token", str(root)]
    (scale.directory / "home").mkdir()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "HOME": str(scale.directory / "home")},
        cwd=scale.directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=(pipe := os.pipe())[1],  # nobody reads them: a transport would
        stderr=(errors := os.pipe())[1],
        start_new_session=True,
    )
    os.close(pipe[1])
    os.close(errors[1])
    try:
        url = await _first_address(pipe[0])
        token = (scale.directory / "token").read_text().strip()
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        ) as client:
            body = {"kind": "talk", "payload": {"times": times}}
            (await client.post("/api/events", json=body)).raise_for_status()
            slowest = 0.0
            for _ in range(50):
                began = time.monotonic()
                (await client.get("/api/runtime")).raise_for_status()
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            code = await process.wait()
        assert code == 0, f"exit code {code}"
        rest = os.read(pipe[0], 1_000_000)
        assert rest.count(b"x" * 100) > 100, "what the reader had room for is not there"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(pipe[0])
        os.close(errors[0])
    return f"{times:,} prints; the slowest answer took {slowest:.2f} s; exit code 0"


async def _first_address(pipe: int) -> str:
    text = b""
    async with asyncio.timeout(60):
        while b"/panel;" not in text:
            text += await asyncio.to_thread(os.read, pipe, 4096)
    return text.decode().partition("serving at ")[2].partition(";")[0]


@attack(limit=180)
async def a_reader_that_comes_back_is_told_what_it_missed(scale: Scale) -> str:
    """A reader that pauses finds whole lines, and a line that says how many were dropped."""
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    times = scale.of(100_000, 30_000)
    async with serving(scale.directory, root, reads_error=False) as served:
        await served.publish("talk", {"times": times})
        await served.ended("demo:talker", 1)
        served.read_error()
        said = await served.line("were dropped", within=30)
        await served.publish("talk", {"times": 1})
        code = await served.stop()
    assert code == 0, f"exit code {code}"
    known = {"x" * 100, "y" * 100, "z" * 100, "WARNING theirs: careful"}
    strange = [
        line for line in served.err if line not in known and "dnworker" not in line and "stopping" not in line
    ]
    assert not strange, f"lines in pieces: {strange[:3]}"
    return f"of {times:,} prints {said.partition(': ')[2]}"


@attack()
async def standard_output_is_json_alone(scale: Scale) -> str:
    """With --json nothing but JSON is on standard output, whoever prints; `head -1` does not end the runtime."""
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    async with serving(scale.directory, root) as served:
        await served.publish("talk", {"times": 100})
        await served.publish("around")
        await served.line("by the descriptor")
        await served.line("by a child")
        await served.line("1 False")
        code = await served.stop()
    assert code == 0, f"exit code {code}"
    for line in served.out:
        json.loads(line)
    return f"{1 + len(served.out)} lines of JSON, {len(served.err)} on standard error"


@attack()
async def closed_and_full_outputs_stop_nothing(scale: Scale) -> str:
    """Closed standard streams, a closed pipe and a full disk as output: the runtime runs and ends in order."""
    root = make_capability(scale.directory / "cap", "talker: {path: talker.py}", {"talker.py": PRINTS})
    redirections = [">&- 2>&-", "> /dev/full 2> /dev/full", "2>&1 | head -1", "2>/dev/null | true"]
    for number, redirection in enumerate(redirections[: scale.of(4, 1)]):
        directory = scale.directory / str(number)
        (directory / "home").mkdir(parents=True)
        serve = f'"{sys.executable}" -m dnworker serve --port 0 --token-file token "{root}"'
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"{serve} {redirection}; echo ${{PIPESTATUS[0]}} > code"),
            env={**os.environ, "HOME": str(directory / "home")},
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await _talk_and_stop(directory)
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            raise AssertionError(f"with {redirection} it does not start, or does not end") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        code = (directory / "code").read_text().strip()
        assert code == "0", f"with {redirection}: exit code {code}"
    return f"{scale.of(4, 1)} kinds of outputs that take nothing"


async def _talk_and_stop(directory: Path) -> None:
    """Use the runtime of a home, by the entry in its list, and end it."""
    entries = directory / "home" / ".dreadnode" / "dnworker"
    async with asyncio.timeout(60):
        while not (found := list(entries.glob("runtime-*.json"))):
            await asyncio.sleep(0.05)
        while not (text := found[0].read_text()).endswith("\n"):
            await asyncio.sleep(0.05)
    entry = json.loads(text)
    headers = {"Authorization": f"Bearer {(directory / 'token').read_text().strip()}"}
    async with httpx.AsyncClient(
        base_url=entry["url"], headers=headers, timeout=30, trust_env=False
    ) as client:
        while (await client.get("/api/workers/demo/talker")).status_code != 200:
            await asyncio.sleep(0.05)
        for _ in range(5):
            body = {"kind": "talk", "payload": {"times": 200}}
            (await client.post("/api/events", json=body)).raise_for_status()
        (await client.get("/api/runtime")).raise_for_status()
    os.kill(entry["pid"], signal.SIGTERM)


COUNTS = """
import os
from pathlib import Path
from dnworker import Worker
worker = Worker("w")
with open(Path(os.environ["HOME"]) / "starts", "a") as file:
    file.write("{version}\\n")
"""


def _starts(served: Served) -> list[str]:
    file = served.home / "starts"
    return file.read_text().split() if file.exists() else []


async def _until_started(served: Served, version: str, *, within: float = 20) -> None:
    try:
        async with asyncio.timeout(within):
            while _starts(served)[-1:] != [version]:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{version} is not loaded; there were {_starts(served)}") from None


def _release(directory: Path, version: str) -> Path:
    return make_capability(directory, "w: {path: w.py}", {"w.py": COUNTS.replace("{version}", version)})


@attack()
async def watch_follows_every_deployment(scale: Scale) -> str:
    """--watch sees exchanged directories, links that lead elsewhere, and a directory that was deleted."""
    releases = [_release(scale.directory / "releases" / name, name) for name in ("a", "b")]
    current = scale.directory / "current"
    current.symlink_to(releases[0])
    async with serving(scale.directory, current, "--watch") as served:
        await _until_started(served, "a")
        for release in releases[::-1]:
            (scale.directory / "next").symlink_to(release)
            (scale.directory / "next").replace(current)
            await _until_started(served, release.name)
        if scale.short:
            assert await served.stop() == 0
            return f"{len(_starts(served))} loads: {' '.join(_starts(served))}"
        current.unlink()
        _release(current, "c")
        await _until_started(served, "c")
        fresh = _release(scale.directory / "fresh", "d")
        current.rename(scale.directory / "old")
        fresh.rename(current)
        await _until_started(served, "d")
        shutil.rmtree(current)
        await asyncio.sleep(5)
        _release(current, "e")
        await _until_started(served, "e")
        starts = _starts(served)
        assert await served.stop() == 0
    assert len(starts) == len(set(starts)) + 1, f"something was loaded twice: {starts}"
    return f"{len(starts)} loads: {' '.join(starts)}"


WRITES = (
    COUNTS
    + """
here = Path(__file__).parent
(here / "notes.md").write_text(os.urandom(8).hex())
(here / "state.json").write_text(os.urandom(8).hex())
"""
)
REWRITES = (
    COUNTS
    + """
Path(__file__).write_text(Path(__file__).read_text() + "# again\\n")
"""
)


@attack()
async def what_workers_write_restarts_nothing(scale: Scale) -> str:
    """A worker that writes beside itself starts once; one that rewrites its module starts ever more rarely."""
    seconds = scale.of(10, 3)
    figures = []
    kinds = (("its own module", REWRITES, 5), ("notes", WRITES, 2))
    for name, code, most in kinds[: scale.of(2, 1)]:
        directory = scale.directory / name.replace(" ", "-")
        directory.mkdir()
        root = make_capability(directory / "cap", "w: {path: w.py}", {"w.py": code})
        async with serving(directory, root, "--watch") as served:
            await asyncio.sleep(1)  # it has been looked at by then; nothing says so
            (root / "w.py").write_text(code + "# edited\n")
            await asyncio.sleep(seconds)
            starts = len(_starts(served))
            assert 2 <= starts <= most, f"{starts} starts in {seconds} s of a worker that writes {name}"
            if most > 2:
                await served.line("changes again right after each reload")
        figures.append(f"{name}: {starts}")
    return f"starts within {seconds} s of a worker that writes {', '.join(figures)}"


@attack()
async def a_loop_that_stands_still_is_reported(scale: Scale) -> str:
    """A handler that blocks the loop is named with its line while it does, and how long it took after."""
    root = make_capability(scale.directory / "cap", "w: {path: w.py}", {"w.py": handler("time.sleep(2.5)")})
    async with serving(scale.directory, root) as served:
        await served.publish("go")
        said = await served.line("stands still", within=10)
        assert "demo:w.go" in said, said
        assert "w.py, line" in said, said
        assert "time.sleep(2.5)" in said, said
        over = await served.line("runs again", within=10)
        await served.answers_within(5)
        assert sum("stands still" in line for line in served.err) == 1, "it is said more than once"
        assert await served.stop() == 0
    return over.partition(": ")[2]
