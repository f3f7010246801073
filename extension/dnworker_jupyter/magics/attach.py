"""`%runtime attach` and `%runtime detach`: the events of another runtime for the workers of this notebook."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dnworker.attach.attaching import attach
from dnworker.core.errors import RuntimeUnavailable, UsageError, code_of
from dnworker.core.files import working_directory
from dnworker.core.text import shorten
from dnworker.panel.attached import attachment_of, mode_of
from dnworker_jupyter.display.attached import MOST_ROWS, ROWS_SHOWN, Attached, Choice
from dnworker_jupyter.display.attached_view import AttachedView, Telling
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.display.traces import has_colours
from dnworker_jupyter.magics.context import MagicContext

if TYPE_CHECKING:
    from dnworker.panel.attached import ShownAttachment

WAY = "%runtime attach"
NOTHING = f"this notebook is attached to nothing; {WAY} URL follows another runtime"


@dataclass(frozen=True)
class Attaching:
    """What a line says: where to, how, and which rows are shown."""

    url: str | None
    token_file: str | None = None
    ca: str | None = None
    shadow: bool = False
    live: bool = False
    only_different: bool = False
    last: int | None = None
    worker: str | None = None
    counterparts: Sequence[str] = ()
    """Each as `NAME=DEPLOYED`."""


async def run_attach(context: MagicContext, wanted: Attaching) -> object:
    """Attach the notebook to another runtime, and show both sides of each event; without a URL, show them.

    Raises:
        UsageError: options do not go together, or the notebook cannot be attached now, or not there.
    """
    choice = _choice(context, wanted)
    attachment = attachment_of(context.runtime)
    if wanted.shadow and wanted.live:
        raise UsageError(f"{WAY}: --shadow and --live exclude each other; leave one out", code="DN103")
    if wanted.url is not None:
        attachment = await attach_notebook(
            context,
            wanted.url,
            token_file=wanted.token_file,
            ca=wanted.ca,
            live=wanted.live,
            counterparts=_pairs(wanted.counterparts),
        )
    else:
        _check_shows_only(wanted)
    if attachment is None:
        return Note(NOTHING)
    return view_of(context, attachment, choice)


async def run_detach(context: MagicContext) -> object:
    """Follow no other runtime any more; returns what it came to.

    Handlers that run for it end first, within bounds; then the clients of workers are as they were.
    """
    attachment = attachment_of(context.runtime)
    if attachment is None:
        return Note(f"nothing changes: {NOTHING}")
    await attachment.detach()
    return Attached(attachment, Choice(), colours=has_colours(context.shell))


async def attach_notebook(
    context: MagicContext,
    url: str,
    *,
    token_file: str | None = None,
    ca: str | None = None,
    live: bool = False,
    counterparts: Mapping[str, str] | None = None,
) -> ShownAttachment:
    """Attach the notebook; nothing but counterparts changes where it is attached to the same in the same way.

    Args:
        context: of the notebook.
        url: of the other runtime.
        token_file, ca: as of `%runtime attach`.
        live: whether workers act there.
        counterparts: names of deployed workers by those of workers here, where they differ.

    Raises:
        UsageError: the notebook cannot be attached now, or not there.
    """
    _check_url(url)
    runtime = context.runtime
    found = {context.worker(name).qualified_name: there for name, there in (counterparts or {}).items()}
    if (before := attachment_of(runtime)) is not None:
        _check_same(before, url, live=live)
        before.compare_with(found)
        changes = f"{_sentence(found)} from now on" if found else "nothing changes"
        print(f"{changes}: the notebook is attached there already")  # noqa: T201  the cell's output
        return before
    _check_can_attach(context)
    try:
        attachment = await attach(
            runtime,
            url,
            token_file=_file(token_file),
            tls=_context_of(url, ca),
            live=live,
            counterparts=found,
        )
    except RuntimeUnavailable as exc:  # one line, as of any mistake
        raise UsageError(f"{WAY}: {exc}", code=code_of(exc) or "DN901") from None
    Telling(attachment, runtime.look_again, context.panels.widgets.notify)
    return attachment


def view_of(context: MagicContext, attachment: ShownAttachment, choice: Choice | None = None) -> AttachedView:
    """Return what shows an attachment in this notebook or terminal."""
    return AttachedView(
        attachment,
        choice or Choice(),
        is_terminal=context.loop.has_thread,
        colours=has_colours(context.shell),
    )


# -- what cannot be ------------------------------------------------------------------------------------


def _choice(context: MagicContext, wanted: Attaching) -> Choice:
    last = ROWS_SHOWN if wanted.last is None else wanted.last
    if not 1 <= last <= MOST_ROWS:
        raise UsageError(f"{WAY} --last {last}: 1 to {MOST_ROWS:,} rows are shown", code="DN101")
    worker = None if wanted.worker is None else context.worker(wanted.worker).qualified_name
    return Choice(last, wanted.only_different, worker)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    """Return the names of deployed workers by those of workers here.

    Raises:
        UsageError: one is not written so, or a worker is named twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, there = (part.strip() for part in one.partition("="))
        if not (name and equals and there):
            raise UsageError(
                f"{WAY} --as {shorten(one, 60)}: a worker of the notebook and a deployed one are wanted, as "
                "in --as bridge=shop:pricing",
                code="DN103",
            )
        if name in found:
            raise UsageError(f"{WAY} --as {name}=...: it is named twice; give it once", code="DN103")
        found[name] = there
    return found


def _sentence(counterparts: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{name} with {there}" for name, there in counterparts.items())
    return f"{pairs} {'is' if len(counterparts) == 1 else 'are'} compared"


def _check_same(before: ShownAttachment, url: str, *, live: bool) -> None:
    """Refuse another runtime, or another way, beside the one that there is.

    Raises:
        UsageError: it is another.
    """
    if before.url.rstrip("/") != url.rstrip("/") or before.is_live != live:
        raise UsageError(
            f"{WAY}: the notebook is attached to {before.url} already ({mode_of(before)}); "
            "first: %runtime detach",
            code="DN946",
        )


def _check_shows_only(wanted: Attaching) -> None:
    """Refuse options of a connection where there is no URL.

    Raises:
        UsageError: there is one.
    """
    for option in ("token_file", "ca", "shadow", "live", "counterparts"):
        if getattr(wanted, option):
            name = "as" if option == "counterparts" else option.replace("_", "-")
            raise UsageError(
                f"{WAY}: --{name} needs the URL of a runtime, as in: {WAY} http://127.0.0.1:8787",
                code="DN103",
            )


def _check_url(url: str) -> None:
    """Refuse a token in an address: the notebook would store it. The message does not repeat it.

    Raises:
        UsageError: there is one, or the address is none.
    """
    try:
        parts = urlsplit(url)
        host, has_user = parts.hostname, "@" in parts.netloc
        where = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        raise UsageError(
            f"{WAY}: this is no address; it is like http://127.0.0.1:8787", code="DN101"
        ) from None
    if has_user or parts.query or parts.fragment:
        raise UsageError(
            f"{WAY}: the URL must have no token, user or query, for the notebook stores it; put the "
            f"token into a file: {WAY} {where} --token-file FILE",
            code="DN945",
        )


def _check_can_attach(context: MagicContext) -> None:
    """Refuse what events of another runtime do not go with.

    Raises:
        UsageError: there is something of the kind; says how to end it.
    """
    runtime = context.runtime
    broker = runtime.bus.broker
    if runtime.clock.can_advance:
        raise UsageError(
            f"{WAY}: the clock is virtual, and events of another runtime come in real time; "
            "first: %clock real",
            code="DN946",
        )
    if broker.capabilities.is_shared:
        raise UsageError(
            f"{WAY}: this notebook shares its events with other nodes, which would handle these, too; "
            "first: %runtime leave",
            code="DN946",
        )
    if broker.journal is not None:
        raise UsageError(
            f"{WAY}: events are kept in {broker.journal.path} until workers have handled them, so these "
            "would be handled again after a restart; first: %runtime durable off",
            code="DN946",
        )


def _context_of(url: str, ca: str | None) -> ssl.SSLContext | None:
    """Return how certificates are checked; None for the usual way.

    Raises:
        UsageError: the file has no certificate, or the address has no use for one.
    """
    if ca is None:
        return None
    if not url.startswith("https:"):
        raise UsageError(f"{WAY}: --ca is for an https:// address, not {url}", code="DN103")
    from dnworker.client.tls import client_context

    return client_context(ca=_file(ca))


def _file(text: str | None) -> Path | None:
    return None if text is None else working_directory() / Path(text).expanduser()
