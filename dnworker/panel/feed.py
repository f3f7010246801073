"""`Feed`: updates all views at most ten times a second, and receives, executes and answers their messages.

A feed listens to the runtime only while some view is visible: one that is hidden costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dnworker.core.errors import DnworkerError, UsageError, with_code
from dnworker.panel import (
    messages,
    operations_dead,  # noqa: F401  it says what is done for its requests
    operations_fire,  # noqa: F401  it says what is done for its requests
    operations_inspect,  # noqa: F401  it says what is done for its requests
    operations_log,  # noqa: F401  it says what is done for its requests
    operations_map,  # noqa: F401  it says what is done for its requests
    operations_runs,  # noqa: F401  it says what is done for its requests
)
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import execute
from dnworker.panel.parts import Wanted
from dnworker.panel.view import Send, View

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.core.logs import LogLine
    from dnworker.engine.engine import Engine
    from dnworker.panel.actions import Actions

log = logging.getLogger("dnworker.panel")

INTERVAL = 0.1
"""Seconds between two updates of a view: ten a second at most, whatever happens."""

RETRY_PAUSE = 5.0
"""Seconds after which a view whose update failed is updated again."""

VIEWS_KEPT = 50


class Channel:
    """What carries the messages of some views: a widget, or the socket of a page."""

    def __init__(self, feed: Feed, send: Send) -> None:
        self._feed = feed
        self._send = send
        self._names: set[str] = set()

    def receive(self, content: object) -> None:
        """Take a message of a view."""
        message = self._feed.receive(content, self._send)
        if isinstance(message, messages.Hello):
            self._names.add(message.view)
        elif isinstance(message, messages.Bye):
            self._names.discard(message.view)

    @property
    def has_views(self) -> bool:
        """Whether there is any view, visible or not."""
        return bool(self._names)

    def close(self) -> None:
        """Forget the views; may be called again."""
        for name in self._names:
            self._feed.forget(name, self._send)
        self._names.clear()


class Feed:
    """The views of one runtime. Call it on the runtime's loop, also before the runtime has started there.

    Args:
        engine: what is shown.
        actions: what can be done beside.
    """

    def __init__(self, engine: Engine, actions: Actions) -> None:
        self.model = PanelModel(engine, actions)
        # views and their requests
        self._views: dict[str, View] = {}
        self._requests: set[asyncio.Task[None]] = set()
        # how other threads wake the loop
        self._is_posted = False
        self._changed = asyncio.Event()
        # while some view is visible
        self._listening: list[Callable[[], None]] = []
        self._pump: asyncio.Task[None] | None = None
        self._end_nodes: Callable[[], None] | None = None
        self._next_look: asyncio.TimerHandle | None = None

    @property
    def is_listening(self) -> bool:
        """Whether the runtime is listened to, because a view is visible."""
        return bool(self._listening)

    @property
    def views(self) -> list[View]:
        """The views that are known."""
        return list(self._views.values())

    def close(self) -> None:
        """Rest while the runtime is stopped; leaves no listener and no task. `resume` goes on."""
        self._unlisten()
        for task in self._requests:
            task.cancel()

    def resume(self) -> None:
        """Go on for the views that were there when the runtime stopped."""
        if self._is_watched:
            self._listen()
            self._follow_nodes()
            self.notify()

    # -- views -----------------------------------------------------------------------------------------

    def connect(self, send: Send) -> Channel:
        """Return a channel for the messages of any number of views; `send` carries messages to them."""
        return Channel(self, send)

    def receive(self, content: object, send: Send) -> messages.Message | None:
        """Take a message of a view that `send` reaches; returns it, or None if it is malformed."""
        try:
            message = messages.read(content)
        except UsageError as exc:
            log.warning("%s", exc)
            _refuse(content, str(exc), send)
            return None
        view = self._views.get(message.view)
        if isinstance(message, messages.Hello):
            self._welcome(message, view, send)
        elif isinstance(message, messages.Bye):
            self.forget(message.view, send)
        elif view is None:
            send({"view": message.view, "type": "who"})  # forgotten: it says hello, and sends this again
        else:
            view.note_alive()
            self._handle(message, view)
        self._follow_nodes()
        self.notify()
        return message

    def forget(self, name: str, send: Send) -> None:
        """Forget a view that is gone; one that came back on another channel since is kept."""
        view = self._views.get(name)
        if view is not None and view.send == send:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._views.pop(name).stop_reading()
        self._unlisten_unless_watched()
        self._follow_nodes()

    def _drop_silent(self, view: View) -> None:
        """Forget a view that does not answer; if it is there after all, it says hello again."""
        log.debug("view %s has not answered; it is forgotten", view.name)
        view.send({"view": view.name, "type": "who"})
        self._drop(view.name)

    def _welcome(self, hello: messages.Hello, view: View | None, send: Send) -> None:
        if view is None:
            while len(self._views) >= VIEWS_KEPT:
                self._drop_silent(next(iter(self._views.values())))
            view = self._views[hello.view] = View(hello.view, self.model, send)
        view.send = send
        view.restart()
        view.show_parts(hello.parts)
        view.looks.clear()
        for part, wanted in hello.looks.items():
            self._look(view, part, wanted)
        try:
            view.filter_log(hello.log)
        except UsageError as exc:
            log.debug("a filter that was kept does not hold any more: %s", exc)
        self._set_visible(view, hello.visible)

    def _handle(self, message: messages.Message, view: View) -> None:
        match message:
            case messages.Ack():
                pass  # that it answered is all there is to know
            case messages.Parts(parts=parts):
                view.show_parts(parts)
            case messages.Visibility(visible=visible):
                view.refill()
                self._set_visible(view, visible)
            case messages.Look(part=part, wanted=wanted):
                self._look(view, part, wanted)
            case messages.Request():
                self._start(message, view)

    def _look(self, view: View, part: str, wanted: Wanted | None) -> None:
        try:
            view.look(part, wanted)
        except UsageError as exc:  # a front end of another version
            log.warning("%s", exc)

    def _set_visible(self, view: View, visible: bool) -> None:
        view.visible = visible
        if view.wants_updates:
            self._listen()
        else:
            self._unlisten_unless_watched()

    # -- requests --------------------------------------------------------------------------------------

    def _start(self, request: messages.Request, view: View) -> None:
        name = f"dnworker panel {type(request).__name__}"
        task = asyncio.get_running_loop().create_task(self._answer(request, view), name=name)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _answer(self, request: messages.Request, view: View) -> None:
        view.answer("ack", request.id)
        try:
            fields = await execute(request, view, self.model)
        except (DnworkerError, OSError, ValueError) as exc:
            view.answer("failed", request.id, text=with_code(exc))
        except Exception as exc:  # ours: it must not vanish, and the view must not wait for ever
            log.exception("the panel could not do %r", request)
            text = f"{type(exc).__name__}: {exc}; see the log of dnworker.panel"
            view.answer("failed", request.id, text=text)
        else:
            view.answer("done", request.id, **(fields or {}))
        self.notify()

    # -- what happens ----------------------------------------------------------------------------------

    def notify(self) -> None:
        """Have the views look for changes; may be called from any thread."""
        engine = self.model.engine
        if threading.get_ident() == engine.thread_id:
            self._changed.set()
        elif engine.thread_id and not self._is_posted:  # set from another thread, it would wake nobody
            self._is_posted = True
            try:
                engine.loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop was closed; the next start has another
                self._is_posted = False

    def _wake(self) -> None:
        self._is_posted = False
        self._changed.set()

    @property
    def _is_watched(self) -> bool:
        return any(view.wants_updates for view in self._views.values())

    def _listen(self) -> None:
        if self._listening:
            return
        engine = self.model.engine
        self._listening = [
            engine.listen(self._note_workers),
            engine.logs.listen(self._note_line),
            engine.history.listen(self._note_invocation),
            engine.history.listen_elsewhere(self._note_invocation),
            engine.bus.tap(self._note_event),
            engine.bus.copied.add(self._note_event),
            engine.dead_letters.changed.add(self._note_dead),
        ]
        for view in self._views.values():
            view.refill()  # what happened meanwhile was not noted
        self._pump = asyncio.get_running_loop().create_task(self._send_changes(), name="dnworker panel")

    def _unlisten(self) -> None:
        for unlisten in self._listening:
            unlisten()
        self._listening = []
        for view in self._views.values():
            view.stop_reading()
        self.model.forget_changes()
        self._follow_nodes()
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _unlisten_unless_watched(self) -> None:
        if not self._is_watched:
            self._unlisten()

    def _follow_nodes(self) -> None:
        """Hear at once of what other nodes do, while some view shows them."""
        is_wanted = self.is_listening and any("nodes" in one.looks for one in self.views if one.wants_updates)
        if is_wanted and self._end_nodes is None:
            self._end_nodes = self.model.engine.nodes.listen(self.notify)
        elif not is_wanted and self._end_nodes is not None:
            self._end_nodes()
            self._end_nodes = None

    def _note_line(self, line: LogLine) -> None:
        is_here = threading.get_ident() == self.model.engine.thread_id
        if line.event_id is not None and line.source == "runtime" and is_here:
            self.model.note_change(line.event_id)  # what came to light after its handler had ended
        self.notify()

    def _note_event(self, event: EventEnvelope) -> None:
        self.model.note_change(event.event_id)
        self._changed.set()

    def _note_dead(self, event_id: str) -> None:
        self.model.note_change(event_id)
        self._changed.set()

    def _note_workers(self) -> None:
        self.model.note_workers()
        self.notify()

    def _note_invocation(self, invocation: Invocation) -> None:
        self.model.note_busy(invocation.worker)
        if invocation.event is not None:
            self.model.note_change(invocation.event.event_id)
        self._changed.set()

    # -- updates ---------------------------------------------------------------------------------------

    async def _send_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for view in self.views:
                if view.is_gone:
                    self._drop_silent(view)
                elif view.wants_updates:
                    await self._update(view)
            self._unlisten_unless_watched()
            self._look_again()
            await asyncio.sleep(INTERVAL)
            if any(view.is_behind for view in self._views.values()):
                self._changed.set()

    def _look_again(self) -> None:
        """Have the views look again soon where one shows something of whose changes nobody hears."""
        looks = [view.next_look for view in self.views if view.wants_updates]
        soonest = min((one for one in looks if one is not None), default=None)
        if soonest is None:
            return
        loop = asyncio.get_running_loop()
        planned, now = self._next_look, loop.time()
        if planned is not None and now < planned.when() <= now + soonest:
            return
        if planned is not None:
            planned.cancel()
        self._next_look = loop.call_at(now + soonest, self.notify)

    async def _update(self, view: View) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < view.paused_until:
            return
        try:
            await view.update()
        except Exception:  # one view's trouble must not silence the others
            log.exception("an update of the panel failed; it is tried again in %g s", RETRY_PAUSE)
            view.refill()
            view.paused_until = loop.time() + RETRY_PAUSE
            loop.call_later(RETRY_PAUSE, self.notify)


def _refuse(content: object, text: str, send: Send) -> None:
    """Refuse a malformed message, if it names its view and has a number."""
    if not isinstance(content, dict):
        return
    view, number = content.get("view"), content.get("id")
    if isinstance(view, str) and isinstance(number, int):
        send({"view": view, "type": "failed", "id": number, "text": text})
