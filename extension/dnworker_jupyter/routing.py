"""Sends what handlers print to their worker's log, and never into a cell (design 8).

The two stream objects stay where they are and get another class: a logging handler, a loguru sink or a rich
console made earlier holds the same objects, and is routed too. `write` is a property there, because IPython
sets and restores `write` on the instance around every cell; a property is asked first all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dnworker.invocation import Invocation
from dnworker.invocation import current as current_invocation

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

_Key = tuple[str, str]  # invocation id, stream name
_INNER = "_dnworker_inner_write"


class OutputRouter:
    """Routes stdout and stderr of one runtime's handlers; install it once, uninstall it at the end."""

    def __init__(self, runtime: Runtime, shell: Any) -> None:
        self._runtime = runtime
        self._shell = shell
        self._partial: dict[_Key, str] = {}
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin to route."""
        self._undo = [
            self._patch(stream, name) for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr"))
        ]
        self._undo.append(self._runtime.history.listen(self._flush_ended))
        publisher = self._shell.display_pub
        if hasattr(publisher, "register_hook"):  # a kernel's; a terminal prints what is displayed
            publisher.register_hook(self._take_display)
            self._undo.append(lambda: publisher.unregister_hook(self._take_display))

    def uninstall(self) -> None:
        """Leave the streams as they were."""
        for undo in self._undo:
            undo()
        self._undo = []

    def _patch(self, stream: Any, name: str) -> Callable[[], None]:
        original = type(stream)
        earlier = stream.__dict__.pop("write", None)
        try:
            stream.__class__ = _routed(original, self, name)
        except TypeError:  # a stream of the terminal, whose class cannot be changed
            stream.write = _Write(self, name, earlier or stream.write)
            return lambda: stream.__dict__.pop("write", None)
        if earlier is not None:
            stream.write = earlier

        def undo() -> None:
            inner = stream.__dict__.pop(_INNER, None)
            stream.__class__ = original
            if inner is not None:
                stream.write = inner

        return undo

    def take(self, invocation: Invocation, name: str, text: str) -> None:
        """Put what a handler wrote into its worker's log, line by line."""
        key = (invocation.id, name)
        *lines, rest = (self._partial.pop(key, "") + text).split("\n")
        for line in lines:
            self._runtime.log_line(invocation.worker, line.rstrip("\r"), source=name)
        if rest:
            self._partial[key] = rest

    def _take_display(self, message: Any) -> Any:
        """Keep what a handler displays as text of its log; a cell's own display passes through."""
        invocation = current_invocation.get()
        if invocation is None:
            return message
        text = message.get("content", {}).get("data", {}).get("text/plain", "")
        for line in str(text).splitlines():
            self._runtime.log_line(invocation.worker, line, source="display")
        return None

    def _flush_ended(self, invocation: Invocation) -> None:
        if invocation.outcome == "running":
            return
        for name in ("stdout", "stderr"):
            rest = self._partial.pop((invocation.id, name), "")
            if rest:
                line = self._runtime.logs.add(
                    invocation.worker, rest, source=name, invocation_id=invocation.id
                )
                invocation.note_log(line)


class _Write:
    """The `write` of a routed stream: a handler's text goes to its log, any other to `inner`."""

    def __init__(self, router: OutputRouter, name: str, inner: Callable[..., Any]) -> None:
        self.inner = inner
        self._router = router
        self._name = name

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        invocation = current_invocation.get()
        if invocation is None or not isinstance(text, str):
            return self.inner(text, *args, **kwargs)
        self._router.take(invocation, self._name, text)
        return len(text)


def _routed(base: type, router: OutputRouter, name: str) -> type:
    """Return a subclass of a stream's class that routes what is written."""

    def get(self: Any) -> _Write:
        inner = self.__dict__.get(_INNER) or base.write.__get__(self)  # type: ignore[attr-defined]
        return _Write(router, name, inner)

    def put(self: Any, write: Any) -> None:
        # Somebody who restores what he read from us restores what was beneath it.
        self.__dict__[_INNER] = write.inner if isinstance(write, _Write) else write

    return type(base.__name__, (base,), {"write": property(get, put), "__module__": base.__module__})
