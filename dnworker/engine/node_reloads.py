"""`NodeReloads`: reloads capabilities on all nodes of a cluster, one after the other; the engine has one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from dnworker.core.errors import DnworkerError, NotFound
from dnworker.core.lifecycle import WorkerState
from dnworker.core.text import shorten
from dnworker.engine.capability import Capability
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.messages import Messages, subject_token

log = logging.getLogger("dnworker.cluster")

WITHIN = 120.0
"""Seconds in which a node has reloaded: its workers stop and start in them."""

LONGEST_ERROR, PROBLEMS_TOLD = 1_000, 5


class NodeReload(msgspec.Struct, frozen=True, kw_only=True):
    """How the reload of one node went."""

    node: str
    is_reloaded: bool = False
    error: str | None = None
    """What went wrong: where it was not reloaded, or what does not start since."""
    note: str | None = None
    """Why nothing was done, where that is no failure."""


class _Request(msgspec.Struct, frozen=True):
    capability: str | None = None


class NodeReloads:
    """Asks nodes to reload, and does it where others ask.

    Args:
        node: returns the name of this node.
        broker: gives the present one.
        reload: reloads one capability here, or all.
        capabilities: returns those of this node.
        failed: returns the workers that do not start with the version that the cluster is to run.
    """

    def __init__(
        self,
        node: Callable[[], str],
        broker: Callable[[], Broker],
        reload: Callable[[str | None], Awaitable[object]],
        capabilities: Callable[[], Iterable[Capability]],
        failed: Callable[[], Iterable[str]],
    ) -> None:
        self._node, self._broker, self._reload = node, broker, reload
        self._capabilities, self._failed = capabilities, failed
        self._end: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Do what others ask from now on, where the broker is shared."""
        if (messages := self._messages()) is not None:
            self._end = messages.serve(_subject(self._node()), self._answer)

    def close(self) -> None:
        """Answer nobody any more; may be called again."""
        self._end()

    async def reload(self, others: Iterable[str], capability: str | None = None) -> list[NodeReload]:
        """Reload this node, then the others one by one; after one that fails, the rest is left alone.

        Args:
            others: the names of the other nodes.
            capability: the only one to reload; None for all.
        """
        done = [await self._here(capability)]
        for name in sorted(others):
            bad = next((one for one in done if one.error is not None), None)
            if bad is not None:
                done.append(NodeReload(node=name, note=f"not asked, as node {bad.node} has failed"))
            else:
                done.append(await self._there(name, capability))
        return done

    async def _here(self, capability: str | None) -> NodeReload:
        name = self._node()
        try:
            await self._reload(capability)
        except NotFound:
            return NodeReload(node=name, note="it does not have this capability")
        except (DnworkerError, OSError) as exc:
            return NodeReload(node=name, error=shorten(str(exc), LONGEST_ERROR))
        return NodeReload(node=name, is_reloaded=True, error=self._problem(capability))

    def _problem(self, capability: str | None) -> str | None:
        """Return what does not run after a reload; None where all does."""
        found, failed = [], {*self._failed()}
        for one in self._capabilities():
            if capability not in (None, one.name) or one.live:
                continue
            if one.failure is not None:
                found.append(one.failure)
            for worker in one.workers.values():
                if worker.state is WorkerState.ERROR:
                    found.append(f"worker {worker.qualified_name}: {worker.error}")
                elif worker.qualified_name in failed:
                    found.append(f"worker {worker.qualified_name} does not start with this version")
        return shorten("; ".join(found[:PROBLEMS_TOLD]), LONGEST_ERROR) if found else None

    async def _there(self, name: str, capability: str | None) -> NodeReload:
        messages = self._messages()
        if messages is None:
            return NodeReload(node=name, error="the broker is no longer shared")
        data = msgspec.json.encode(_Request(capability))
        try:
            answer = await messages.request(_subject(name), data, WITHIN)
            return msgspec.json.decode(answer, type=NodeReload)
        except (DnworkerError, OSError) as exc:
            return NodeReload(node=name, error=f"it was asked, and does not answer: {exc}")
        except ValueError as exc:  # of another version
            return NodeReload(node=name, error=f"its answer cannot be read: {exc}")

    async def _answer(self, data: bytes) -> bytes:
        try:
            request = msgspec.json.decode(data, type=_Request)
        except ValueError as exc:
            log.warning("a request to reload cannot be read: %s", exc)
            return msgspec.json.encode(
                NodeReload(node=self._node(), error=f"the request cannot be read: {exc}")
            )
        log.info("another node asks to reload %s", request.capability or "all capabilities")
        return msgspec.json.encode(await self._here(request.capability))

    def _messages(self) -> Messages | None:
        broker = self._broker()
        return broker.messages if broker.capabilities.is_shared else None


def _subject(node: str) -> str:
    return f"reload.{subject_token(node)}"
