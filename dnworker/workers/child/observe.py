"""Makes workers of the reference's SDK report what handlers do, as ours do (`dnworker.workers.reports`).

`sitecustomize` loads it when the SDK's worker module is imported, where the runtime wants that. Nothing of
the script or of the SDK is changed on disk. What it wraps calls on at once: no task and no wait is added, no
frame of it is in what the SDK says of a handler, and what fails in it ends the reports alone. It uses the
standard library only: the environment is not ours.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import json
import os
import time
import weakref
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

CLIENT_MODULE = "dreadnode.app.client.runtime_client"
WORD, LOCALS, OBSERVE = "DNWORKER_REPORTS", "DNWORKER_LOCALS", "DNWORKER_OBSERVE"
OUTPUT = "DNWORKER_OUTPUT"
RUN_SCHEDULES = "DNWORKER_RUN_SCHEDULES"
MEMBER = "DNWORKER_MEMBER"

LONGEST_NAME = 200
HANDLERS_TOLD = 1_000
UNFINISHED_KEPT = 10_000
"""Characters of a name, handlers of a worker, and events of which only some handlers have begun."""

CAUSES = {"on_startup": "startup", "on_shutdown": "shutdown", "on_event": "event", "every": "schedule"}

Load = Callable[[str], Any]
"""Returns a module beside this one."""

Say = Callable[..., None]
"""Says on the worker's log why nothing is observed."""

here: contextvars.ContextVar[Run | None] = contextvars.ContextVar("observed", default=None)
"""The run of a handler that goes on here, or is about to begin."""

failed: contextvars.ContextVar[Run | None] = contextvars.ContextVar("observed_failed", default=None)
"""The run that failed here, until the SDK has logged that."""


class Unobservable(Exception):
    """The SDK of this process lacks what is wrapped; the text says what."""


def install(module: Any, load: Load, say: Say) -> None:
    """Have the Workers of the SDK that run one after the other report.

    Raises:
        Unobservable: this version of the SDK is made otherwise.
    """
    worker_class = module.Worker
    if not str(worker_class.__module__).startswith("dreadnode."):
        return  # ours in its place, which reports by itself
    if not hasattr(worker_class, "_run_until"):
        raise Unobservable("this version of its SDK has no Worker._run_until")
    run_until = worker_class._run_until
    begin = functools.partial(_begin, load, say)

    @functools.wraps(run_until)
    def observed(worker: Any, *args: Any, **fields: Any) -> Any:
        observer = begin(worker)
        running = run_until(worker, *args, **fields)
        if observer is not None:
            observer.follow(running)
        return running

    worker_class._run_until = observed


_observers: list[Observer] = []
"""That of the Worker of this process which reports, or was the last to do so."""


def _begin(load: Load, say: Say, worker: Any) -> Observer | None:
    """Have a Worker report; returns its observer, None if it does not report or does so already."""
    word, pipe = os.environ.pop(WORD, None), os.environ.pop(OUTPUT, None)
    with_locals = os.environ.pop(LOCALS, "0") == "1"
    os.environ.pop(OBSERVE, None)  # what the worker starts does not report
    channel = None
    try:
        if _observers:
            return _begin_another(_observers[0], load, worker)
        if word is None:
            return None
        channel = load("channel").Channel(word, pipe, here, failed)
        _observers.append(Observer(worker, channel, load, with_locals=with_locals))
        return _observers[0]
    except Exception as exc:
        if channel is not None:
            channel.give_up(exc)
        elif word is not None:
            say(exc, word, pipe)
    return None


def _begin_another(before: Observer, load: Load, worker: Any) -> Observer | None:
    """Have a Worker report in the place of one whose run is over; two at once cannot be told apart."""
    channel = before.channel
    if before.worker is worker or channel.is_over:
        return before if before.worker is worker else None
    try:
        if before.is_over:
            _observers[0] = Observer(worker, channel, load, with_locals=before.with_locals, is_first=False)
            return _observers[0]
        which = str(getattr(worker, "name", None))[:LONGEST_NAME]
        text = f"{which} runs without reporting: only one Worker of a process reports at a time"
        # Nothing tells the stream of one from that of the other, and so whose events are to be waited for.
        channel.notice(text, is_over={*worker._event_handlers} == before.kinds)
    except Exception as exc:
        channel.give_up(exc)
    return None


class Observer:
    """Wraps the handlers of one Worker, and what the SDK does around them.

    Args:
        worker: whose registries have the names and shapes of contract 1.2.
        channel: takes the reports.
        load: returns the module that describes errors, when there is one.
        with_locals: whether errors have the values of variables.
        is_first: whether the process is not observed yet.
    """

    def __init__(
        self, worker: Any, channel: Any, load: Load, *, with_locals: bool, is_first: bool = True
    ) -> None:
        self.worker = worker
        self.channel = self._channel = channel
        self.with_locals = with_locals
        self._load = load
        self._running: Callable[[], Any] = lambda: None
        self._newest = time.time_ns()
        self._begun: dict[str, int] = {}
        self._wrapped_of: dict[str, int] = {}
        """How many handlers of a kind report that they begin; others may be registered later."""
        self._keys: dict[tuple[str, str, str], None] = {}
        wrapped = self._wrapped()
        if is_first:
            self._wrap_client()
        channel.report({"is": "hello", "handlers": list(map(list, self._keys)), "observed": True})
        if is_first:
            channel.follow_output()
        for registry, handlers in wrapped:
            registry[:] = handlers
        if wanted := os.environ.pop(RUN_SCHEDULES, None):  # keys as JSON, or 1 for all
            keys = [key for key in self._keys if key[0] == "every"]
            names = None if wanted == "1" else [[tuple(key)] for key in json.loads(wanted)]
            every = enumerate(worker._every_handlers)  # of very many, the last have no key
            handlers = [one for n, (_, one) in every if names is None or keys[n : n + 1] in names]
            worker._startup_handlers.append(load("schedules").starter(handlers))
        if "#" in os.environ.get(MEMBER, ""):  # these run on the first member of the worker
            worker._every_handlers[:], worker._task_handlers[:] = [], []

    @property
    def kinds(self) -> set[str]:
        """The kinds that its handlers are for, as it has reported them."""
        return {trigger for decorator, trigger, _ in self._keys if decorator == "on_event"}

    @property
    def is_over(self) -> bool:
        """Whether the Worker runs no more."""
        running = self._running()
        return running is None or getattr(running, "cr_frame", running) is None

    def follow(self, running: Any) -> None:
        """Note what runs the Worker: no frame of ours is to be around it, to learn when it ends."""
        try:
            self._running = weakref.ref(running)
        except TypeError:  # no coroutine, and so nothing tells that it has ended
            self._running = lambda: running

    def _wrapped(self) -> list[tuple[list[Any], list[Any]]]:
        """Return each registry with what it is to have; nothing is changed yet."""
        worker, reporting = self.worker, self._reporting
        found: list[tuple[list[Any], list[Any]]] = []

        def take(registry: list[Any], decorator: str, trigger: str = "") -> None:
            made = [reporting(decorator, trigger, handler) for handler in registry]
            found.append((registry, made))
            if decorator == "on_event":
                pairs = zip(registry, made, strict=True)
                self._wrapped_of[trigger] = sum(new is not old for old, new in pairs)

        take(worker._startup_handlers, "on_startup")
        for kind, registry in worker._event_handlers.items():
            take(registry, "on_event", kind)
        every = worker._every_handlers
        found.append((every, [(one, reporting("every", _label(one), handler)) for one, handler in every]))
        take(worker._task_handlers, "task")
        take(worker._shutdown_handlers, "on_shutdown")
        return found

    def _key(self, decorator: str, trigger: str, handler: Any) -> tuple[str, str, str]:
        name = getattr(handler, "__name__", None)
        name = name if type(name) is str else type(handler).__name__
        name, trigger = name[:LONGEST_NAME], str(trigger)[:LONGEST_NAME]
        key, count = (decorator, trigger, name), 2
        while key in self._keys:  # as our runner counts them
            key, count = (decorator, trigger, f"{name}#{count}"), count + 1
        self._keys[key] = None
        return key

    def _reporting(self, decorator: str, trigger: str, handler: Any) -> Any:
        """Return a function that calls a handler, and reports that."""
        if len(self._keys) >= HANDLERS_TOLD:
            return handler
        key, cause = self._key(decorator, trigger, handler), CAUSES.get(decorator, "task")
        head = f'"key":{json.dumps(key)},"cause":"{cause}"'
        begin, is_event = self.begin, decorator == "on_event"

        @functools.wraps(handler)
        def called(*args: Any) -> Any:
            run = here.get()
            if run is None or run.number:  # then nothing of the SDK's tells how it ends
                return self._apart(handler, args, head)
            if is_event:
                begin(run, head, args[0], trigger)
            else:
                begin(run, head)
            return handler(*args)

        return called

    async def _apart(self, handler: Any, args: tuple[Any, ...], head: str) -> Any:
        """Run a handler that the SDK puts no group around, such as a task."""
        run = Run(None, self)
        token = here.set(run)
        self.begin(run, head, *args[:-1])
        try:
            result = await handler(*args)
        except BaseException as exc:
            _leave(token)
            self.end(run, exc)
            if exc.__traceback__ is not None:  # without this frame, which is none of the user's
                exc.__traceback__ = exc.__traceback__.tb_next
            raise
        _leave(token)
        self.end(run, None)
        return result

    def begin(self, run: Run, head: str, event: Any = None, kind: str = "") -> None:
        """Report that a handler begins; never raises."""
        try:
            self._newest += 1
            run.number, run.head = self._newest, head
            if event is not None:
                run.event_id = event.event_id
                run.is_delivered = self._is_delivered(run.event_id, kind)
            run.began = time.perf_counter()
            self._channel.begin(run)
        except Exception as exc:
            self._channel.give_up(exc)

    def end(self, run: Run, exc: BaseException | None) -> None:
        """Report how a handler ended; never raises."""
        if not run.number:
            return
        try:
            took = time.perf_counter() - run.began
            if exc is None:
                self._channel.end(run, took)
                return
            report: dict[str, Any] = {"is": "end", "id": run.id, "duration": took, "outcome": "cancelled"}
            if not isinstance(exc, CancelledError):
                failed.set(run)
                error = self._load("describing").describe(exc, with_locals=self.with_locals)
                report |= {"outcome": "error", "error": error}
            self._channel.fail(run, report)
        except Exception as broken:
            self._channel.give_up(broken)

    def _is_delivered(self, event_id: str, kind: str) -> bool:
        """Return whether the last handler of an event has begun by now."""
        handlers = self._wrapped_of.get(kind, 0)
        if handlers <= 1:
            return True
        begun = self._begun.pop(event_id, 0) + 1
        if begun >= handlers:
            return True
        self._begun[event_id] = begun
        if len(self._begun) > UNFINISHED_KEPT:
            del self._begun[next(iter(self._begun))]
        return False

    def _wrap_client(self) -> None:
        """Have the SDK's client say when a group around a handler ends, and which handler asks."""
        module = importlib.import_module(CLIENT_MODULE)
        client_class = module.RuntimeClient
        session_group = getattr(client_class, "session_group", None)
        if session_group is not None:

            @functools.wraps(session_group)
            def group(client: Any, *args: Any, **fields: Any) -> Any:
                made = session_group(client, *args, **fields)
                return Run(made, self) if fields.get("kind") == "worker_run" else made

            client_class.session_group = group
        close = client_class.close

        @functools.wraps(close)
        def closing(client: Any, *args: Any, **fields: Any) -> Any:
            self._channel.write_last()
            return close(client, *args, **fields)

        client_class.close = closing
        if (auth := getattr(module, "_RuntimeTokenAuth", None)) is not None:
            auth.auth_flow = self._naming(auth.auth_flow)

    def _naming(self, auth_flow: Any) -> Any:
        """Have requests say which event they answer (W3C Trace Context), as our own client has them."""
        ours = os.environ.get("DREADNODE_RUNTIME_URL", "").rpartition("//")[2].partition("/")[0].encode()

        @functools.wraps(auth_flow)
        def naming(auth: Any, request: Any) -> Any:
            try:
                run = here.get()
                if run is not None and run.number and request.url.netloc == ours:
                    request.headers["traceparent"] = f"00-{run.event_id or run.id * 2}-{run.id}-01"
            except Exception as exc:
                self._channel.give_up(exc)
            return auth_flow(auth, request)

        return naming


class Run:
    """One run of a handler, and the group that the SDK puts around it, whose end tells how it ended.

    Args:
        group: what the SDK enters and leaves; None where it puts nothing around the handler.
        observer: is notified of the end.
    """

    __slots__ = (
        *("began", "event_id", "head", "is_delivered", "is_told", "number", "took"),
        *("_group", "_observer", "_token"),
    )

    def __init__(self, group: Any, observer: Observer) -> None:
        self.number = 0
        """Rises by one a run of this process; 0 until its handler begins."""
        self.head = ""
        self.event_id: str | None = None
        self.is_delivered = False
        """Whether it is the last of its event to begin."""
        self.began = 0.0
        self.took: float | None = None
        self.is_told = False
        """Whether the report that it began is written."""
        self._group = group
        self._observer = observer
        self._token: Any = None

    @property
    def id(self) -> str:
        """Its id, of 16 hexadecimal digits that rise."""
        return f"{self.number:016x}"

    def __aenter__(self) -> Any:
        self._token = here.set(self)
        return DONE if type(self._group) is nullcontext else self._group.__aenter__()

    def __aexit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> Any:
        _leave(self._token)
        self._observer.end(self, exc)
        return DONE if type(self._group) is nullcontext else self._group.__aexit__(kind, exc, traceback)


def _leave(token: Any) -> None:
    try:
        here.reset(token)
    except ValueError:  # it was entered in another context, as where a collected coroutine is closed
        here.set(None)


class Done:
    """Is awaited, and over at once; `once.py` leaves the groups out."""

    def __await__(self) -> Any:
        return iter(())


DONE = Done()


def _label(schedule: Any) -> str:
    """Return what stands behind `every`, as our own schedules say it."""
    if schedule.interval_seconds is not None:
        return f"{schedule.interval_seconds:g}s"
    return f"cron {schedule.cron_expr}"
