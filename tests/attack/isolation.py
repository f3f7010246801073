"""Attacks of one worker's code on the loop, the process and the other workers that it shares them with."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

VICTIM = """
import os
from dnworker import Worker
worker = Worker("victim")
worker.state["ticks"] = 0

@worker.on_event("ping")
async def ping(event, client):
    await client.publish("pong", {"ticks": worker.state["ticks"], "at": event.payload["at"]})

@worker.every(seconds=0.05)
async def tick(client):
    worker.state["ticks"] += 1
"""

BOMBER = '''
import asyncio, atexit, concurrent.futures, gc, os, signal, sys, threading, weakref
from dnworker import Worker
worker = Worker("bomber")
kept = worker.state

class Bad(Exception):
    """Whose every part misbehaves."""
    def __init__(self, how): self.how = how
    def __str__(self):
        if self.how == "raises": raise ValueError("no text")
        if self.how == "exits": raise SystemExit(9)
        if self.how == "interrupts": raise KeyboardInterrupt
        if self.how == "cancels": raise asyncio.CancelledError
        if self.how == "number": return 5
        if self.how == "recurses": return str(self)
        return "x" * 3_000_000
    __repr__ = __str__
    @property
    def __class__(self): raise RuntimeError("no class")
    @property
    def __traceback__(self): raise RuntimeError("no traceback")
    @property
    def __notes__(self): raise SystemExit(8)
    @property
    def __cause__(self): return Bad(self.how)
    @property
    def __context__(self): return Bad(self.how)

class Evil(SystemExit):
    code = property(lambda self: 1 / 0)
    def __str__(self): raise self

def exits(*_): sys.exit(3)
def interrupts(*_): raise KeyboardInterrupt
async def task_exits(): sys.exit(3)
async def task_interrupts(): raise KeyboardInterrupt
async def late_exits(): await asyncio.sleep(0.01); sys.exit(3)
async def task_fails(): raise ValueError("lost")
async def task_evil(): raise Evil

async def generator():
    try: yield 1
    finally: sys.exit(3)

def sync_generator():
    try: yield 1
    finally: sys.exit(3)

class Deleted:
    def __del__(self): sys.exit(3)

class Failing:
    def __del__(self): raise ValueError("in a finalizer")

def recursion(): recursion()

def forget(coroutine): asyncio.create_task(coroutine)

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(task_fails())
        tasks.create_task(task_fails())

async def awaits_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future

async def cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)

async def handler_raises(exc): raise exc

def reader():
    ends = kept["pipe"] = os.pipe()
    os.write(ends[1], b"x")
    asyncio.get_running_loop().add_reader(ends[0], exits)

async def use_generator():
    async for _ in generator(): break

def use_sync_generator(): next(sync_generator())

def weak():
    thing = Failing.__class__("Thing", (), {})()
    kept["ref"] = weakref.ref(thing, exits)
    del thing

def by_signal():
    signal.signal(signal.SIGUSR1, exits)
    os.kill(os.getpid(), signal.SIGUSR1)

def loop_signal():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, exits)
    os.kill(os.getpid(), signal.SIGUSR2)

def done_callback():
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(exits)
    future.set_result(None)

def cancel_all():
    for task in asyncio.all_tasks(): task.cancel()

async def in_executor(what):
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor() as pool: await loop.run_in_executor(pool, what)

def thread(what): threading.Thread(target=what).start()
def factory(loop, coro, **fields): raise SystemExit(3)
def handler(loop, context): sys.exit(3)
def loop(): return asyncio.get_running_loop()

class Stream:
    def write(self, text): raise SystemExit(3)
    def flush(self): raise SystemExit(3)

def replaces_stderr():
    sys.stderr = Stream()
    raise ValueError("to a stream that is broken")

# What each does, in the handler. The first end the worker in state error, the others are errors of the handler.
ENDING = {
    "task exits": lambda: forget(task_exits()),
    "task is interrupted": lambda: forget(task_interrupts()),
    "task exits late": lambda: forget(late_exits()),
    "task raises an evil exit": lambda: forget(task_evil()),
    "loop.create_task": lambda: kept.update(t=loop().create_task(task_exits())),
    "ensure_future": lambda: kept.update(t=asyncio.ensure_future(task_exits())),
    "call_soon": lambda: loop().call_soon(exits),
    "call_soon interrupts": lambda: loop().call_soon(interrupts),
    "call_later": lambda: loop().call_later(0.01, exits),
    "call_at": lambda: loop().call_at(loop().time() + 0.01, exits),
    "call_soon_threadsafe": lambda: loop().call_soon_threadsafe(exits),
    "from a thread": lambda: loop().run_in_executor(None, loop().call_soon_threadsafe, exits) and None,
    "add_done_callback": done_callback,
    "add_reader": reader,
    "thread exits": lambda: thread(exits),
    "thread is interrupted": lambda: thread(interrupts),
    "async generator": use_generator,
    "generator": use_sync_generator,
    "__del__": lambda: Deleted() and None,
    "weakref": weak,
    "signal": lambda: loop().call_later(0.01, by_signal) and None,
    "signal of the loop": loop_signal,
    "exception handler": lambda: (loop().set_exception_handler(handler), forget(task_fails())) and None,
}
FAILING = {
    "ValueError": lambda: handler_raises(ValueError("x")),
    "SystemExit": lambda: handler_raises(SystemExit(3)),
    "evil exit": lambda: handler_raises(Evil()),
    "KeyboardInterrupt": lambda: handler_raises(KeyboardInterrupt()),
    "CancelledError": lambda: handler_raises(asyncio.CancelledError()),
    "GeneratorExit": lambda: handler_raises(GeneratorExit()),
    "StopIteration": lambda: handler_raises(StopIteration()),
    "StopAsyncIteration": lambda: handler_raises(StopAsyncIteration()),
    "MemoryError": lambda: handler_raises(MemoryError()),
    "RecursionError": recursion,
    "group": group,
    "group of exits": lambda: handler_raises(BaseExceptionGroup("g", [SystemExit(1), KeyboardInterrupt()])),
    "awaits cancelled": awaits_cancelled,
    "cancels itself": cancels_itself,
    "task fails": lambda: forget(task_fails()),
    "thread fails": lambda: thread(lambda: 1 / 0),
    "executor exits": lambda: in_executor(exits),
    "executor is interrupted": lambda: in_executor(interrupts),
    "finalizer fails": lambda: Failing() and None,
    "loop.stop": lambda: loop().stop(),
    "call_soon loop.stop": lambda: loop().call_soon(loop().stop) and None,
    "loop.close": lambda: loop().close(),
    "shutdown_asyncgens": lambda: loop().shutdown_asyncgens(),
    "shutdown_default_executor": lambda: loop().shutdown_default_executor(),
    "set_default_executor": lambda: loop().set_default_executor(concurrent.futures.ThreadPoolExecutor()),
    "task factory": lambda: loop().set_task_factory(factory),
    "SIGTERM handler": lambda: loop().add_signal_handler(signal.SIGTERM, exits),
    "cancels all tasks": cancel_all,
    "excepthook": lambda: (setattr(sys, "excepthook", exits), 1 / 0),
    **{f"str {how}": (lambda how=how: handler_raises(Bad(how))) for how in
       ("raises", "exits", "interrupts", "cancels", "number", "recurses", "endless")},
    "stderr": replaces_stderr,
}

@worker.on_event("bomb")
async def bomb(event, client):
    if (done := (ENDING | FAILING)[event.payload["what"]]()) is not None and hasattr(done, "__await__"):
        await done

@worker.on_event("list")
async def tell(event, client):
    await client.publish("listed", {"ending": [*ENDING], "failing": [*FAILING]})
'''

MANIFEST = "victim: {path: victim.py}\nbomber: {path: bomber.py}"


async def _health(served: Served, worker: str) -> dict[str, Any]:
    capabilities = (await served.get("/api/runtime"))["capabilities"]
    components = [c for capability in capabilities for c in capability["components"]]
    return next(c for c in components if c["kind"] == "worker" and c["name"] == worker)


async def _handled(
    served: Served, kind: str, answer: str, payload: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Publish an event, and return the payload of the answer to it; raises AssertionError where none comes."""
    from dnworker import RuntimeClient

    async with asyncio.timeout(20), RuntimeClient(served.url, auth_token=served.token) as client:
        heard = client.subscribe(answer)
        waiting = asyncio.ensure_future(anext(heard))
        try:
            while not waiting.done():  # the stream may not be open yet
                await served.publish(kind, payload)
                await asyncio.wait({waiting}, timeout=0.2)
            return dict((await waiting).payload)
        finally:
            waiting.cancel()
            await heard.aclose()


async def _until(served: Served, worker: str, is_so: Any) -> dict[str, Any]:
    """Return the health entry of a worker once it is as wanted."""
    found: dict[str, Any] = {}
    for _ in range(200):
        found = await _health(served, worker)
        if is_so(found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"the health entry of {worker} stays {found}")


PLACE = re.compile(r"bomber\.py, line \d+")


async def _bomb(served: Served, what: str, *, ends: bool) -> None:
    """Let the bomber do one thing, and see what became of it and of the others."""
    await served.post("/api/workers/demo/bomber/restart?force=true")
    await served.publish("bomb", {"what": what})
    try:
        if ends:
            entry = await _until(served, "bomber", lambda c: c["status"] == "error")
            assert PLACE.search(entry["error"]), f"its error has no place: {entry['error']}"
        else:
            entry = await _until(served, "bomber", lambda c: c["detail"])
            assert entry["status"] == "ok", f"it is {entry['status']}: {entry['error']}"
            assert "last handler error" in entry["detail"], entry
            # The loop itself calls what call_soon() is given: no line of the worker's runs.
            is_placed = PLACE.search(entry["detail"]) or what == "call_soon loop.stop"
            assert is_placed, f"its last error has no place: {entry['detail'][-300:]}"
        assert (await _health(served, "victim"))["status"] == "ok", "the victim is in error"
    except AssertionError as exc:
        raise AssertionError(f"{what}: {exc}") from None
    except Exception as exc:
        said = "\n".join(served.err[-15:])
        raise AssertionError(f"{what}: the runtime does not answer: {exc!r}; it says:\n{said}") from None


@attack(limit=300)
async def no_handler_ends_the_runtime(scale: Scale) -> str:
    """Whatever a handler does to the loop it shares, the runtime answers and others handle events."""
    root = make_capability(scale.directory / "cap", MANIFEST, {"victim.py": VICTIM, "bomber.py": BOMBER})
    async with serving(scale.directory, root) as served:
        listed = await _handled(served, "list", "listed")
        step = 6 if scale.short else 1
        ending, failing = listed["ending"][::step], listed["failing"][::step]
        for what in failing:
            await _bomb(served, what, ends=False)
        ticks = (await _handled(served, "ping", "pong", {"at": 1}))["ticks"]
        for what in ending:
            await _bomb(served, what, ends=True)
        after = (await _handled(served, "ping", "pong", {"at": 2}))["ticks"]
        assert after > ticks, f"the victim's schedule stands still at {after} ticks"
        logs = (await served.get("/api/logs", limit=200))["entries"]
        assert any("bomber" in line["source"] and line["level"] == "ERROR" for line in logs), (
            "no error is logged"
        )
        code = await served.stop()
        assert code == 0, f"exit code {code}"
    return f"{len(ending)} ways to end the loop and {len(failing)} to fail, the others never missed an event"


AT_IMPORT = {
    "CancelledError": "import asyncio; raise asyncio.CancelledError",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "raise StopIteration",
    "StopAsyncIteration": "raise StopAsyncIteration",
    "SystemExit": "import sys; sys.exit(3)",
    "odd SystemExit": "raise SystemExit(type('X', (), {'__repr__': lambda s: 1 / 0})())",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "MemoryError": "raise MemoryError",
    "RecursionError": "def f(): f()\nf()",
    "str": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "group": "raise ExceptionGroup('g', [ValueError('in a group'), KeyError('too')])",
    "task": "import asyncio, sys\nasync def f(): sys.exit(3)\nt = asyncio.get_running_loop().create_task(f())",
    "callback": "import asyncio, sys\nasyncio.get_running_loop().call_later(0.05, sys.exit)",
    "thread": "import sys, threading\ndef f(): sys.exit(3)\nthreading.Timer(0.05, f).start()",
    "cancel": "import asyncio\nfor t in asyncio.all_tasks(): t.cancel()\nraise ValueError('after that')",
}
STARTED = "\nfrom dnworker import Worker\nworker = Worker({name!r})\n"
IN_STARTUP = """
import asyncio, sys
from dnworker import Worker
worker = Worker({name!r})
class E(Exception):
    def __str__(self): raise KeyboardInterrupt
@worker.on_startup
async def start(client):
    {body}
"""
STARTUPS = {
    "str": "raise E",
    "cancelled": "raise asyncio.CancelledError",
    "exit": "sys.exit(3)",
    "own-cancel": "asyncio.current_task().cancel(); await asyncio.sleep(1)",
    "generator-exit": "raise GeneratorExit",
}


@attack(limit=120)
async def no_import_or_startup_ends_the_runtime(scale: Scale) -> str:
    """Whatever a module raises when it is imported, or a startup handler, its worker alone is in error."""
    files, lines = {"victim.py": VICTIM}, ["victim: {path: victim.py}"]
    for number, body in enumerate(AT_IMPORT.values()):
        files[f"w{number}.py"] = body + STARTED.format(name=f"w{number}")
        lines.append(f"w{number}: {{path: w{number}.py}}")
    for number, body in enumerate(STARTUPS.values()):
        files[f"s{number}.py"] = IN_STARTUP.format(name=f"s{number}", body=body)
        lines.append(f"s{number}: {{path: s{number}.py}}")
    root = make_capability(scale.directory / "cap", "\n".join(lines), files)
    async with serving(scale.directory, root) as served:
        wanted = [(f"w{n}", f"import: {what}") for n, what in enumerate(AT_IMPORT)]
        wanted += [(f"s{n}", f"startup: {what}") for n, what in enumerate(STARTUPS)]
        for name, what in wanted:
            try:
                entry = await _until(served, name, lambda c: c["status"] == "error")
            except AssertionError as exc:
                raise AssertionError(f"{what}: {exc}") from None
            if (
                what != "import: callback"
            ):  # sys.exit itself is called by the loop: no line of the worker's is run
                assert f"{name}.py, line" in entry["error"], f"{what}: no place in {entry['error']!r}"
        await _handled(served, "ping", "pong", {"at": 1})
        assert (code := await served.stop()) == 0, f"exit code {code}"
    return f"{len(wanted)} workers are in error with their places, the other one handles events"


TASKS = """
import asyncio, os
from dnworker import Worker
worker = Worker("tasks")
log = open(os.environ["ATTACK_LOG"], "a", buffering=1)

@worker.task
async def awaits_cancelled(client):
    print("task", file=log)
    other = asyncio.ensure_future(asyncio.sleep(100))
    other.cancel()
    await other

@worker.every(seconds=0.1)
async def tick(client):
    print("tick", file=log)
    raise asyncio.CancelledError

@worker.on_shutdown
async def last(client): print("last", file=log)

@worker.on_shutdown
async def cancelled(client): raise asyncio.CancelledError

@worker.on_shutdown
async def cancels_itself(client):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)

@worker.on_shutdown
async def exits(client): raise SystemExit(3)

@worker.on_shutdown
async def first(client): print("first", file=log)
"""


@attack()
async def a_cancellation_that_is_not_ours_ends_nothing(scale: Scale) -> str:
    """A task that awaits something cancelled runs again, its schedule goes on, and all shutdown handlers run."""
    log = scale.directory / "log"
    root = make_capability(scale.directory / "cap", "tasks: {path: tasks.py}", {"tasks.py": TASKS})
    async with serving(scale.directory, root, environ={"ATTACK_LOG": str(log)}) as served:
        async with asyncio.timeout(30):
            while (seen := log.read_text().split()).count("task") < 2 or seen.count("tick") < 3:
                await asyncio.sleep(0.05)
        entry = await _health(served, "tasks")
        assert entry["status"] == "ok", entry
        assert "was cancelled" in (entry["detail"] or ""), (
            f"nothing explains the cancellation: {entry['detail']!r}"
        )
        assert (code := await served.stop()) == 0, f"exit code {code}"
    ended = log.read_text().split()
    assert [line for line in ended if line in ("first", "last")] == ["first", "last"], ended[-5:]
    return f"{ended.count('task')} runs of the task, {ended.count('tick')} of the schedule, 5 shutdown handlers in order"


PROGRAM = """
import asyncio, sys
from dnworker import Runtime, Worker

bomber, victim, heard = Worker("bomber"), Worker("victim"), []

async def exits(): sys.exit(3)

@bomber.on_event("bomb")
async def bomb(event, client):
    loop = asyncio.get_running_loop()
    {"task": lambda: asyncio.create_task(exits()) and None, "call_soon": lambda: loop.call_soon(sys.exit, 3),
     "interrupt": lambda: loop.call_later(0.01, interrupt), "cancel": cancel_all}[event.payload["what"]]()

def interrupt(): raise KeyboardInterrupt
def cancel_all():
    for task in asyncio.all_tasks():
        if task is not main_task: task.cancel()

@victim.on_event("ping")
async def ping(event, client): heard.append(event.payload["n"])

async def main():
    global main_task
    main_task = asyncio.current_task()
    async with Runtime(port=None) as runtime:
        await runtime.add(victim)
        managed = await runtime.add(bomber)
        for n, what in enumerate(["task", "call_soon", "interrupt", "cancel"]):
            await managed.restart(force=True)
            runtime.publish("bomb", {"what": what})
            while not (managed.error or managed.last_handler_error):
                await asyncio.sleep(0.01)
            print(what, managed.state, managed.error or managed.last_handler_error, flush=True)
            runtime.publish("ping", {"n": n})
            while len(heard) <= n:
                await asyncio.sleep(0.01)
    print("ended", heard, flush=True)

asyncio.run(main())
"""


@attack()
async def no_worker_ends_the_users_program(scale: Scale) -> str:
    """A program with a `Runtime` of its own goes on as well, on a loop that it made itself."""
    file = scale.directory / "program.py"
    file.write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        sys.executable, file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            out = (await process.communicate())[0].decode()
    except TimeoutError:
        process.kill()
        raise AssertionError("the program hangs") from None
    lines = out.splitlines()
    assert process.returncode == 0, f"exit code {process.returncode}:\n{out[-2000:]}"
    assert lines[-1] == "ended [0, 1, 2, 3]", out[-2000:]
    for what, state in [
        ("task", "error"),
        ("call_soon", "error"),
        ("interrupt", "error"),
        ("cancel", "running"),
    ]:
        assert any(line.startswith(f"{what} {state} ") for line in lines), f"{what}:\n{out[-2000:]}"
    return "exit code 0 after three exits and a cancellation of all tasks"


PROCESS = """
import asyncio, sys
from dnworker import Worker
worker = Worker("process")

async def exits():
    await asyncio.sleep(0.2)
    sys.exit(3)

@worker.on_startup
async def start(client): worker.state["task"] = asyncio.create_task(exits())

@worker.on_shutdown
async def end(client): print("shut down")

if __name__ == "__main__":
    worker.run()
"""


@attack()
async def a_process_says_why_it_ends(scale: Scale) -> str:
    """`sys.exit()` in a task of a worker process runs its shutdown handlers, and its error has the place."""
    manifest = f"process: {{command: {sys.executable}, args: [process.py]}}\nvictim: {{path: victim.py}}"
    files = {"process.py": PROCESS, "victim.py": VICTIM}
    root = make_capability(scale.directory / "cap", manifest, files)
    async with serving(scale.directory, root) as served:
        entry = await _until(served, "process", lambda c: c["status"] == "error")
        assert "process.py, line 8" in entry["error"], entry["error"]
        assert "shut down" in entry["error"], f"its shutdown handler did not run: {entry['error']}"
        await _handled(served, "ping", "pong", {"at": 1})
    return "its error names file and line"
