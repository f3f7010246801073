"""The source of all views of a runtime: listens while one is in sight, lets each send what changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import DnworkerError, UsageError
from dnworker.panel import messages, serialize
from dnworker.panel.operations import execute
from dnworker.panel.view import Send, View

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.core.logs import LogLine
    from dnworker.engine.engine import Engine
    from dnworker.panel.actions import Actions
    from dnworker.workers.managed import ManagedWorker

log = logging.getLogger("dnworker.panel")

INTERVAL = 0.1
"""Seconds between two updates of a view: ten a second at most, whatever happens."""

EVENTS_REMEMBERED = 1_000
"""Events whose change is remembered; a view that missed more gets the newest anew."""

TROUBLE_PAUSE = 5.0
VIEWS_KEPT = 50
FIRED_KEPT = 30


class Channel:
    """What carries the messages of some views: a widget, or the socket of a page."""

    def __init__(self, feed: Feed, send: Send) -> None:
        self._feed = feed
        self._send = send
        self._names: set[str] = set()

    def receive(self, content: object) -> None:
        """Take a message of a view."""
        said = self._feed.receive(content, self._send)
        if isinstance(said, messages.Hello):
            self._names.add(said.view)
        elif isinstance(said, messages.Bye):
            self._names.discard(said.view)

    @property
    def has_views(self) -> bool:
        """Whether there is anybody to tell, in sight or not."""
        return bool(self._names)

    def close(self) -> None:
        """Forget the views; may be called again."""
        for name in self._names:
            self._feed.forget(name, self._send)
        self._names.clear()


class Feed:
    """The views of one runtime. Call it on the runtime's loop.

    Args:
        runtime: what is shown.
        actions: what can be done beside.
    """

    def __init__(self, runtime: Engine, actions: Actions) -> None:
        self.runtime = runtime
        self.actions = actions
        self.revision = 0
        self.fired: deque[dict[str, Any]] = deque(maxlen=FIRED_KEPT)
        """What was fired from the panel, newest first."""
        self._views: dict[str, View] = {}
        self._changed_events: OrderedDict[str, int] = OrderedDict()
        self._loop, self._thread = runtime.loop, runtime.thread_id
        self._is_posted = False
        self._changed = asyncio.Event()
        self._listening: list[Callable[[], None]] = []
        self._pump: asyncio.Task[None] | None = None
        self._commands: set[asyncio.Task[None]] = set()

    @property
    def is_listening(self) -> bool:
        """Whether the runtime is listened to, because a view is in sight."""
        return bool(self._listening)

    @property
    def views(self) -> list[View]:
        """The views that are known."""
        return list(self._views.values())

    def close(self) -> None:
        """Rest while the runtime is stopped; leaves no listener and no task. `resume` goes on."""
        self._rest()
        for task in self._commands:
            task.cancel()

    def resume(self) -> None:
        """Go on for the views that were there when the runtime stopped."""
        if any(view.wants_updates for view in self._views.values()):
            self._listen()
            self.poke()

    # -- views -----------------------------------------------------------------------------------------

    def connect(self, send: Send) -> Channel:
        """Return a way for the messages of any number of views; `send` reaches them."""
        return Channel(self, send)

    def receive(self, content: object, send: Send) -> messages.Message | None:
        """Take a message of a view that `send` reaches; returns it, if it is one."""
        try:
            said = messages.read(content)
        except UsageError as exc:
            log.warning("%s", exc)
            number = content.get("id") if isinstance(content, dict) else None
            name = content.get("view") if isinstance(content, dict) else None
            if isinstance(name, str) and isinstance(number, int):
                send({"view": name, "type": "failed", "id": number, "text": str(exc)})
            return None
        view = self._views.get(said.view)
        if isinstance(said, messages.Hello):
            self._welcome(said, view, send)
        elif isinstance(said, messages.Bye):
            self.forget(said.view, send)
        elif view is None:
            send({"view": said.view, "type": "who"})  # it was forgotten: it says hello, and this again
        else:
            view.alive()
            self._take(said, view)
        self.poke()
        return said

    def forget(self, name: str, send: Send) -> None:
        """Forget a view that is gone; one that came back another way since is kept."""
        view = self._views.get(name)
        if view is not None and view.send == send:
            self._drop(name)

    def _drop(self, name: str) -> None:
        del self._views[name]
        self._rest_unless_watched()

    def _welcome(self, hello: messages.Hello, view: View | None, send: Send) -> None:
        if view is None:
            while len(self._views) >= VIEWS_KEPT:
                self._silence(next(iter(self._views.values())))
            view = self._views[hello.view] = View(hello.view, self, send)
        view.send = send
        view.greet()
        view.look_at(hello.parts)
        view.events, view.trace, view.session = hello.events, hello.trace, hello.session
        try:
            view.filter_log(hello.log)
        except UsageError as exc:
            log.debug("a filter that was kept does not hold any more: %s", exc)
        self._see(view, hello.visible)

    def _take(self, said: messages.Message, view: View) -> None:
        match said:
            case messages.Seen():
                pass  # that it answered is all there is to know
            case messages.Parts(parts=parts):
                view.look_at(parts)
            case messages.Sight(visible=visible):
                view.refill()
                self._see(view, visible)
            case messages.Trace(event=event):
                view.show_trace(event)
            case messages.Session(session=session):
                view.show_session(session)
            case messages.Asked():
                self._begin(said, view)

    def _see(self, view: View, visible: bool) -> None:
        view.visible = visible
        if view.wants_updates:
            self._listen()
        else:
            self._rest_unless_watched()

    def _rest_unless_watched(self) -> None:
        if not any(view.wants_updates for view in self._views.values()):
            self._rest()

    def _silence(self, view: View) -> None:
        """Forget a view that does not answer; should it be there after all, it says hello again."""
        log.debug("view %s has not answered; it is forgotten", view.name)
        view.send({"view": view.name, "type": "who"})
        self._drop(view.name)

    def _begin(self, asked: messages.Asked, view: View) -> None:
        task = self._loop.create_task(
            self._answer(asked, view), name=f"dnworker panel {type(asked).__name__}"
        )
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _answer(self, asked: messages.Asked, view: View) -> None:
        view.answer("ack", asked.id)
        try:
            fields = await execute(asked, view, self)
        except (DnworkerError, OSError, ValueError) as exc:
            view.answer("failed", asked.id, text=str(exc))
        except Exception as exc:  # ours: it must not vanish, and the view must not wait for ever
            log.exception("the panel could not do %r", asked)
            view.answer(
                "failed", asked.id, text=f"{type(exc).__name__}: {exc}; see the log of dnworker.panel"
            )
        else:
            view.answer("done", asked.id, **(fields or {}))
        self.poke()

    # -- what happens ----------------------------------------------------------------------------------

    def poke(self) -> None:
        """Something may have changed; call it from any thread."""
        if threading.get_ident() == self._thread:
            self._changed.set()
        elif not self._is_posted:  # set from another thread, it would wake nobody
            self._is_posted = True
            with contextlib.suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._arrive)

    def _arrive(self) -> None:
        self._is_posted = False
        self._changed.set()

    def _note_line(self, line: LogLine) -> None:
        if line.event_id is not None and line.source == "runtime" and threading.get_ident() == self._thread:
            self._note(line.event_id)  # what came to light after its handler had ended
        self.poke()

    def _listen(self) -> None:
        if self._listening:
            return
        runtime = self.runtime
        self._listening = [
            runtime.listen(self.poke),
            runtime.logs.listen(self._note_line),
            runtime.history.listen(self._note_invocation),
            runtime.bus.tap(self._note_event),
        ]
        for view in self._views.values():
            view.refill()  # what happened meanwhile was not noted
        self._pump = self._loop.create_task(self._send_changes(), name="dnworker panel")

    def _rest(self) -> None:
        for unlisten in self._listening:
            unlisten()
        self._listening = []
        self._changed_events.clear()
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None

    def _note_event(self, event: EventEnvelope) -> None:
        self._note(event.event_id)

    def _note_invocation(self, invocation: Invocation) -> None:
        if invocation.event is not None:
            self._note(invocation.event.event_id)
        else:
            self._changed.set()

    def _note(self, event_id: str) -> None:
        self.revision += 1
        changed = self._changed_events
        changed[event_id] = self.revision
        changed.move_to_end(event_id)
        if len(changed) > EVENTS_REMEMBERED:
            changed.popitem(last=False)
        self._changed.set()

    def changed_since(self, revision: int) -> Iterator[EventEnvelope]:
        """Go through the events that are new or changed, the latest change first."""
        for event_id, at in reversed(self._changed_events.items()):
            if at <= revision:
                break
            if (event := self.runtime.history.event(event_id)) is not None:
                yield event

    async def _send_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for view in self.views:
                if view.is_gone:
                    self._silence(view)
                elif view.wants_updates:
                    await self._update(view)
            self._rest_unless_watched()
            await asyncio.sleep(INTERVAL)
            if any(view.is_behind for view in self._views.values()):
                self._changed.set()

    async def _update(self, view: View) -> None:
        if self._loop.time() < view.rests_until:
            return
        try:
            await view.update()
        except Exception:  # one view's trouble must not silence the others
            log.exception("an update of the panel failed; it is tried again in %g s", TROUBLE_PAUSE)
            view.refill()
            view.rests_until = self._loop.time() + TROUBLE_PAUSE
            self._loop.call_later(TROUBLE_PAUSE, self.poke)

    # -- what views share ------------------------------------------------------------------------------

    def runtime_to_json(self) -> dict[str, Any]:
        """Return what is told of the runtime."""
        runtime = self.runtime
        return {"id": runtime.runtime_id, "url": runtime.url, "events": runtime.bus.latest_seq}

    def gate(self, worker: ManagedWorker) -> dict[str, bool]:
        """Return the flags that gate a worker."""
        return serialize.gate_of(worker, self.runtime.capability(worker.capability))

    def attention(self) -> dict[str, Any]:
        """Return what waits for a person, wherever they look."""
        queue = self.runtime.turns.queue
        return {"prompts": sum(len(queue(session).prompts) for session in self.runtime.sessions.list())}
