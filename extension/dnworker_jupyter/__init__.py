"""dnworker in a notebook: `%load_ext dnworker`, and the same without magics.

After the extension is loaded, `dn` in the notebook is this module:

    trace = await dn.fire("turn.completed", {"turn_id": "t1"})
    await dn.settle()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from dnworker.runtime import Runtime
    from dnworker.trace import Trace
    from dnworker_jupyter.notebook import Notebook
    from dnworker_jupyter.panel_widget import Panel

_showing: set[asyncio.Task[None]] = set()

__all__ = ["fire", "panel", "runtime", "settle"]


def runtime() -> Runtime:
    """Return the embedded runtime.

    Raises:
        Refused: the extension is not loaded.
    """
    return _active().runtime


async def fire(
    kind: str,
    payload: dict[str, Any] | None = None,
    *,
    session_id: str | None = None,
    timeout: float | None = 30,
    wait: bool = True,
) -> Trace:
    """Fire an event and return its trace, as `%fire` does; see `Runtime.fire`."""
    book = _active()
    await book.ready()
    return await book.runtime.fire(kind, payload, session_id=session_id, timeout=timeout, wait=wait)


async def settle(timeout: float | None = 5) -> None:
    """Wait until nothing is in flight, and raise what handlers raised: makes a headless run fail."""
    book = _active()
    await book.ready()
    await book.runtime.settle(timeout)


def panel() -> Panel:
    """Return the panel, to be displayed."""
    return _active().panel()


def _active() -> Notebook:
    from dnworker_jupyter.notebook import active

    return active()


def _worker_help() -> str:
    """What `%%worker --help` prints."""
    from dnworker_jupyter.options import worker_parser

    return worker_parser().format_help()


async def _open_cell(line: str) -> None:
    """What `%%worker ...` becomes: the first statement of its cell."""
    await _active().open_cell(line)


async def _close_cell() -> None:
    """The last statement of a `%%worker` cell: its handlers become the new generation."""
    await _active().close_cell()


def _show_soon(awaitable: Awaitable[object]) -> None:
    """What a magic becomes where nothing can be awaited: it runs on, and shows its result when it is done."""
    import asyncio

    task = asyncio.ensure_future(_show(awaitable))
    _showing.add(task)
    task.add_done_callback(_shown)


def _shown(task: asyncio.Task[None]) -> None:
    _showing.discard(task)
    if not task.cancelled() and (exc := task.exception()) is not None:
        print(f"{type(exc).__name__}: {exc}")  # noqa: T201  nobody awaits it: this is where it is seen


async def _show(awaitable: Any) -> None:
    """What a magic on a line of its own becomes: wait for it, and display what it returns."""
    from IPython.display import display

    result = await awaitable
    if result is not None:
        display(result)
