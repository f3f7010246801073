"""`%runtime join` and `%runtime leave`: this notebook as a node beside others, over servers they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dnworker.core.errors import UsageError, code_of
from dnworker.core.files import working_directory
from dnworker.engine.placement import Place
from dnworker.engine.replicas_text import replicas_of
from dnworker.events.brokers.jetstream.settings import Files, read_settings
from dnworker.events.brokers.memory import MemoryBroker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.attached import check_not_attached
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.durable import tried, use_broker

WAY = "%runtime join"


class Joining(msgspec.Struct, frozen=True):
    """How a notebook joins others."""

    url: str | None
    namespace: str | None
    node: str | None = None
    labels: Sequence[str] = ()
    creds: str | None = None
    broker_ca: str | None = None
    broker_cert: str | None = None
    broker_key: str | None = None
    replicas: Sequence[str] = ()
    ordered_by: Sequence[str] = ()


async def join_cluster(context: MagicContext, joining: Joining) -> Note:
    """Have events kept by servers that other nodes use, too; workers start again, or another node has them.

    Raises:
        UsageError: what is given cannot be used.
        BrokerError: the servers cannot be used; the runtime goes on as it was.
    """
    check_not_attached(context, WAY, "whose events other nodes would handle, too")
    if joining.url is None:
        raise UsageError(
            f"{WAY}: name the servers, such as {WAY} nats://localhost --namespace prod", code="DN802"
        )
    try:
        replicas, ordered_by = replicas_of(joining.replicas, joining.ordered_by)
        place = Place(joining.node, joining.labels, None, replicas, ordered_by)
    except ValueError as exc:
        raise UsageError(f"{WAY}: {exc}", code=code_of(exc) or "DN811") from exc
    files = Files(
        creds=_file(joining.creds),
        ca=_file(joining.broker_ca),
        cert=_file(joining.broker_cert),
        key=_file(joining.broker_key),
    )
    settings = read_settings(joining.url, joining.namespace, os.environ, files, node=place.node, option=WAY)
    from dnworker.events.brokers.jetstream.broker import JetStreamBroker

    await use_broker(context, await tried(context, JetStreamBroker(settings)), place)
    return Note(
        f"this notebook is node {place.node} of {settings.namespace} at {settings.address}; its workers run "
        "where no other node runs them; %runtime leave takes it out"
    )


async def leave_cluster(context: MagicContext) -> Note:
    """Hand the workers over, and keep events in memory again."""
    if not context.runtime.bus.broker.capabilities.is_shared:
        return Note(f"nothing changes: this notebook has joined no others; {WAY} does")
    await use_broker(context, MemoryBroker())
    return Note(
        "this notebook is by itself again; events are kept in memory, and what waited is left to the others"
    )


def _file(text: str | None) -> Path | None:
    return None if text is None else working_directory() / Path(text).expanduser()
