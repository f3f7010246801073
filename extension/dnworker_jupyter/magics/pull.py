"""`%events pull`: copies recorded events of a running runtime into the notebook, or into a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnworker.client.address import resolve_url
from dnworker.client.http import HttpConnection
from dnworker.client.pulling import Pull, PullQuery, masked_events
from dnworker.client.tls import client_context
from dnworker.client.tokens import is_meant_for, token_in
from dnworker.core.errors import Conflict, Invalid, RuntimeUnavailable, UsageError, code_of
from dnworker.core.payload_masks import PayloadMasks
from dnworker.engine.copies import Kept, keep_copies
from dnworker.events.cloud_events import SOURCE
from dnworker.events.event_files import new_file
from dnworker.events.journal_copies import Copy
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext

_CODE = "DN224"


@dataclass(frozen=True)
class PullOptions:
    """What an `%events pull` line says."""

    url: str
    query: PullQuery
    mask: str
    save: Path | None = None
    cloudevents: bool = False
    token_file: Path | None = None
    ca: str | None = None


async def run_pull(context: MagicContext, options: PullOptions) -> Note:
    """Run an `%events pull` line.

    Raises:
        UsageError: the line is wrong, the runtime does not give its events, a mask hides nothing, or they
            cannot be kept; nothing was written then.
    """
    options.query.check(_CODE)
    if options.cloudevents and options.save is None:
        raise UsageError("--cloudevents goes with --save FILE", code="DN103")
    connection = connection_of(options)
    masks = PayloadMasks(options.mask, [connection.token] if connection.token else [])
    pull = Pull(connection, options.query)
    try:
        if options.save is not None:
            return await _into_file(pull, masks, options.save, cloud=options.cloudevents)
        copies = [Copy(one.event, one.is_caused) async for one in masked_events(pull, masks)]
        kept = await keep_copies(context.runtime, copies, runtime_id=pull.runtime_id, place=pull.url)
        return Note(_what_was_kept(pull, kept, masks))
    except (RuntimeUnavailable, Conflict) as exc:
        raise UsageError(f"%events pull: {exc}", code=code_of(exc) or _CODE) from None
    finally:
        await connection.close()


def connection_of(options: PullOptions) -> HttpConnection:
    """Return a connection to the runtime.

    Raises:
        UsageError: the address is none, or a file cannot be used.
    """
    try:
        url = resolve_url(options.url)
    except Invalid as exc:
        raise UsageError(str(exc).replace("server_url", "%events pull URL"), code="DN906") from None
    if options.ca is not None and not url.startswith("https:"):
        raise UsageError(f"--ca is for an https URL, and this is {url}; leave it out", code="DN938")
    tls = client_context(options.ca) if url.startswith("https:") else None
    token = None if options.token_file is None else token_in(options.token_file)
    return HttpConnection(url, auth_token=token, tls=tls, environment_token=is_meant_for(url))


async def _into_file(pull: Pull, masks: PayloadMasks, path: Path, *, cloud: bool) -> Note:
    with new_file(path, cloud=cloud, source=SOURCE) as writer:
        async for one in masked_events(pull, masks):
            writer.write(one.event)
    text = f"{path} has {_events(writer.count)} of {pull.url}; fire them again with: %replay {path}"
    return Note("; ".join([text, *_notes(pull, masks)]))


def _what_was_kept(pull: Pull, kept: Kept, masks: PayloadMasks) -> str:
    if not pull.count:
        found = f"{pull.url} has no such event"
    elif not kept.events:
        found = f"nothing new: this notebook has the {_events(pull.count)} of {pull.url} already"
    else:
        first, last = kept.events[0].seq, kept.events[-1].seq
        span = f"#{first}" if first == last else f"#{first} to #{last}"
        verb = "is" if first == last else "are"
        found = f"{_events(len(kept.events))} of {pull.url} {verb} here as {span}; no handler got them"
        found += f"; fire one again with: %replay #{last}"
    notes = [f"{kept.known:,} were here already"] if kept.known and kept.events else []
    if kept.lost:
        notes.append(f"memory could not keep {kept.lost:,} payloads, and there is no journal; pull fewer")
    return "; ".join([found, *notes, *_notes(pull, masks)])


def _notes(pull: Pull, masks: PayloadMasks) -> list[str]:
    """Return what else there is to know of a pull."""
    found = [f"{masks.masked:,} values are masked"] if masks.masked else []
    if pull.dropped:
        found.append(f"{pull.dropped:,} were left out: that runtime has not kept their payloads")
    if pull.is_cut:
        found.append("those are the newest; --last N brings more")
    if pull.is_reference:
        found.append(
            "it is no runtime of dnworker: it has only the newest 500 events of each session, and none of "
            "those without a session"
        )
    elif pull.has_gap:
        found.append("that runtime has not kept all of them")
    return found


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"
