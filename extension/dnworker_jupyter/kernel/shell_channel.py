"""`answer_through_stream`: lets ipykernel 7.0 to 7.3 read every request, however close it comes to an answer.

These kernels read requests by a stream, but write answers past it, on the stream's own socket. Such a write
takes the notice of a request that has come meanwhile, of which the stream then never hears: the request is
not read, nor is any that follows, and the kernel stands still for ever. From 7.4 on they write as they read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnworker_jupyter.kernel.patching import replace

_SOCKET = "_shell_socket"


def answer_through_stream(shell: Any) -> Callable[[], None]:
    """Let the answers of a kernel go through the stream that reads its requests; returns what undoes it."""
    kernel = getattr(shell, "kernel", None)
    stream = getattr(kernel, "shell_stream", None)
    manager = getattr(getattr(kernel, "shell_channel_thread", None), "_manager", None)
    if stream is None or getattr(manager, _SOCKET, None) is not getattr(stream, "socket", manager):
        return lambda: None  # no thread of its own for the socket, or a kernel that needs no help
    return replace(manager, _SOCKET, lambda socket: stream)  # it is sent on by the stream's thread alone
