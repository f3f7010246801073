"""`Worker`: the class that worker scripts create; a `HandlerRegistry` that can also run as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.workers.registry import HandlerRegistry

if TYPE_CHECKING:
    import asyncio


class Worker(HandlerRegistry):
    """A long-running background component: handlers for events and schedules, tasks, and state.

    The decorators return the function unchanged, so you call and test a handler by itself.

    Args:
        name: lower-case letters, digits and dashes. May be left out when a manifest names the worker.

    Attributes:
        name: as given, or None until the manifest gives one.
        state: a dict of the worker's own. It lives in memory until the worker starts anew, unless it is kept.

    Raises:
        ValueError: the name breaks the rule.

    Examples:
        >>> worker = Worker("bridge")
        >>> @worker.on_event("demo.greeted")
        ... async def on_greeted(event, client):
        ...     worker.state["last"] = event.payload["name"]
        >>> managed = await runtime.add(worker)
        >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
        >>> worker.state
        {'last': 'Ada'}
    """

    def run(self) -> None:
        """Run this worker as a process of its own until SIGTERM or SIGINT, as the last line of its script.

        It finds the runtime by the environment variables `DREADNODE_RUNTIME_URL` and
        `DREADNODE_RUNTIME_TOKEN`, which a runtime sets for the processes that it starts.

        Raises:
            SystemExit: the worker failed; the code is 1.
        """
        from dnworker.workers.standalone import run

        run(self)

    async def arun(self) -> None:
        """Run this worker on the loop that runs already, until SIGTERM or SIGINT; see `run`.

        Raises:
            ValueError: the worker has no name.
            RuntimeError: the runtime cannot be reached, or the worker went to `error`.
        """
        from dnworker.workers.standalone import arun

        await arun(self)

    async def _run_until(self, stop_event: asyncio.Event) -> None:
        """Run the whole lifecycle until `stop_event` is set; no process-wide side effects.

        Raises:
            ValueError: the worker has no name.
            RuntimeError: the runtime cannot be reached, or the worker went to `error`.
        """
        from dnworker.workers.standalone import run_until

        await run_until(self, stop_event)
