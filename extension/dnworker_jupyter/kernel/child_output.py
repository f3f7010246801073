"""`ChildOutput`: gives every child process of a handler pipes of its own for its output; used by `output`.

A child inherits the file descriptors 1 and 2. In a kernel these lead into the newest cell, and a forked
child's `print` leads into a log that only the child has. So what a handler spawns or forks writes into pipes
of that handler's; one thread reads them, and a handler's own `print` waits until what came before it is read.
Not on Windows, whose pipes cannot be read without waiting.
"""

from __future__ import annotations

import _posixsubprocess
import codecs
import contextvars
import logging
import os
import selectors
import subprocess
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker_jupyter.kernel.patching import replace

log = logging.getLogger("dnworker.output")

DESCRIPTORS = {"stdout": 1, "stderr": 2}

TAKEN_AT_ONCE = 1_000_000
"""Bytes of one pipe after which a handler that waits for them goes on: a child may write without end."""

_CHUNK = 65_536
_HELPERS = (b"resource_tracker", b"forkserver")
"""Processes of `multiprocessing` that serve all handlers."""

Take = Callable[[Invocation, str, str, Hashable, bool], None]
"""Takes the invocation, `stdout` or `stderr`, the text, who writes, and whether that was all."""


class _Pipe:
    """The end that is read of one pipe."""

    def __init__(self, invocation: Invocation, name: str, descriptor: int, writer: Hashable) -> None:
        self.invocation = invocation
        self.name = name
        self.descriptor = descriptor
        self.writer = writer
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")


class ChildOutput:
    """The pipes of all invocations of one runtime.

    Args:
        take: gets what children write.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._pipes: dict[str, list[_Pipe]] = {}
        self._lock = threading.RLock()
        self._selector: selectors.BaseSelector | None = None
        self._next = 0

    def install(self) -> list[Callable[[], None]]:
        """Give pipes from now on; returns what ends that."""
        global _active, _is_registered
        if os.name == "nt":
            return []
        if not _is_registered:
            _is_registered = True  # it cannot be taken back
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
            )
        _active = self
        return [
            _deactivate,
            replace(subprocess.Popen, "__init__", self._spawning),
            replace(_posixsubprocess, "fork_exec", self._executing),
            replace(os, "system", _running_shell),
        ]

    def drain(self, invocation: Invocation) -> None:
        """Take what the children of an invocation have written so far."""
        if not self._pipes or invocation.id not in self._pipes:
            return
        with self._lock:
            for pipe in list(self._pipes.get(invocation.id, ())):
                self._read(pipe, TAKEN_AT_ONCE)

    def open(self, invocation: Invocation, name: str) -> int:
        """Return the end of a new pipe to write to; the caller closes it.

        Raises:
            OSError: there are too many open files.
            RuntimeError: there are too many threads.
        """
        reads, writes = os.pipe()
        try:
            self.adopt(invocation, name, reads)
        except BaseException:
            os.close(writes)
            raise
        return writes

    def adopt(self, invocation: Invocation, name: str, reads: int) -> None:
        """Read a pipe from now on, until its last writer has closed it; where that fails, close it."""
        with self._lock:
            try:
                os.set_blocking(reads, False)
                selector = self._selector
                if selector is None:
                    selector = self._begin()
                self._next += 1
                pipe = _Pipe(invocation, name, reads, ("child", self._next))
                selector.register(reads, selectors.EVENT_READ, pipe)
            except BaseException:
                os.close(reads)
                raise
            self._pipes.setdefault(invocation.id, []).append(pipe)

    def _begin(self) -> selectors.BaseSelector:
        """Start the thread that reads, which waits for the lock that is held here."""
        self._selector = selectors.DefaultSelector()
        thread = threading.Thread(target=self._watch, name="dnworker output of children", daemon=True)
        try:
            contextvars.Context().run(thread.start)  # it runs on nobody's behalf
        except BaseException:
            self._selector.close()
            self._selector = None
            raise
        return self._selector

    def _watch(self) -> None:
        """Read until there are no pipes any more."""
        while True:
            with self._lock:
                selector = self._selector
                if selector is None or not selector.get_map():
                    if selector is not None:
                        selector.close()
                    self._selector = None
                    return
            for key, _ in selector.select(0.2):  # pipes that are added meanwhile are seen at once by epoll
                with self._lock:
                    pipe: _Pipe = key.data
                    if pipe in self._pipes.get(pipe.invocation.id, ()):
                        self._read(pipe, _CHUNK)

    def _read(self, pipe: _Pipe, most: int) -> None:
        while most > 0:
            try:
                data = os.read(pipe.descriptor, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            most -= len(data)
            text = pipe.decoder.decode(data, final=not data)
            if not data:
                self._close(pipe)
            try:
                self._take(pipe.invocation, pipe.name, text, pipe.writer, not data)
            except Exception:  # a listener of the log failed: the child must not wait for us for ever
                log.exception("output of a child of %s was lost", pipe.invocation.label)
            if not data:
                return

    def _close(self, pipe: _Pipe) -> None:
        pipes = self._pipes[pipe.invocation.id]
        pipes.remove(pipe)
        if not pipes:
            del self._pipes[pipe.invocation.id]
        if self._selector is not None:
            self._selector.unregister(pipe.descriptor)
        os.close(pipe.descriptor)

    # -- processes that are spawned --------------------------------------------------------------------

    def _spawning(self, original: Any) -> Any:
        def init(
            popen: Any,
            args: Any,
            bufsize: int = -1,
            executable: Any = None,
            stdin: Any = None,
            stdout: Any = None,
            stderr: Any = None,
            *others: Any,
            **fields: Any,
        ) -> None:
            invocation = current_invocation.get()
            opened: list[int] = []
            try:
                if invocation is not None and not in_child():
                    if is_inherited(stdout):
                        stdout = self._open_into(opened, invocation, "stdout")
                    if is_inherited(stderr):
                        stderr = self._open_into(opened, invocation, "stderr")
                original(popen, args, bufsize, executable, stdin, stdout, stderr, *others, **fields)
            finally:
                for descriptor in opened:
                    os.close(descriptor)

        return init

    def _open_into(self, opened: list[int], invocation: Invocation, name: str) -> int:
        opened.append(self.open(invocation, name))
        return opened[-1]

    def _executing(self, original: Any) -> Any:
        """Return a `fork_exec` for `multiprocessing`, which does not use `Popen` to spawn."""

        def fork_exec(args: Any, *fields: Any) -> Any:
            invocation = current_invocation.get()
            handles = list(fields)
            # Of its parameters, the eighth and tenth after `args` are what becomes stdout and stderr, or -1.
            is_ours = len(handles) > 10 and handles[8] == -1 and handles[10] == -1
            if invocation is None or in_child() or not is_ours or _is_helper(args):
                return original(args, *fields)
            opened: list[int] = []
            try:
                handles[8] = self._open_into(opened, invocation, "stdout")
                handles[10] = self._open_into(opened, invocation, "stderr")
                return original(args, *handles)
            finally:
                for descriptor in opened:
                    os.close(descriptor)

        return fork_exec


def is_inherited(stream: Any) -> bool:
    """Return whether a child would write where the kernel does: to nothing else, or to a stream of ours."""
    return stream is None or getattr(stream, "_dnworker_routed", False) is True


def _is_helper(args: Any) -> bool:
    return any(word in os.fsencode(arg) for arg in args for word in _HELPERS)


def _running_shell(original: Any) -> Any:
    def system(command: Any) -> int:
        if current_invocation.get() is None or in_child():
            status: int = original(command)
            return status
        code = subprocess.call(command, shell=True)  # noqa: S602  that is what `os.system` does
        return -code if code < 0 else code << 8

    return system


# -- processes that are forked: they run on with all that the kernel has ---------------------------------

_active: ChildOutput | None = None
_is_registered = False
_is_child = False
_forking = threading.local()


def in_child() -> bool:
    """Return whether this process was forked by a handler: its descriptors 1 and 2 are that handler's."""
    return _is_child


def write_in_child(name: str, text: str) -> None:
    """Write text of a forked child to where its parent reads it."""
    data = text.encode("utf-8", "replace")
    while data:
        data = data[os.write(DESCRIPTORS[name], data) :]


def _deactivate() -> None:
    global _active
    _active = None


def _before_fork() -> None:
    _forking.pipes = None
    invocation = current_invocation.get()
    if _active is None or invocation is None or _is_child:
        return
    with suppress(OSError):  # too many open files: then the child's output goes where it went before
        out = os.pipe()
        try:
            _forking.pipes = (_active, invocation, out, os.pipe(), _identity(1))
        except OSError:
            os.close(out[0])
            os.close(out[1])
            raise


def _after_in_parent() -> None:
    pipes, _forking.pipes = getattr(_forking, "pipes", None), None
    if pipes is not None:
        active, invocation, out, err, _ = pipes
        for name, (reads, writes) in (("stdout", out), ("stderr", err)):
            os.close(writes)
            try:
                active.adopt(invocation, name, reads)
            except (OSError, RuntimeError):  # too many open files or threads
                log.exception("what a child of %s writes to %s is lost", invocation.label, name)


def _after_in_child() -> None:
    global _is_child
    pipes, _forking.pipes = getattr(_forking, "pipes", None), None
    if pipes is None:
        return
    _, _, out, err, before = pipes
    if _identity(1) == before:  # else it has a terminal of its own, by `forkpty`
        os.dup2(out[1], 1)
        os.dup2(err[1], 2)
        _is_child = True
    for descriptor in (*out, *err):
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_rdev
