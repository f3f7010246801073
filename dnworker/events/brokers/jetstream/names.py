"""`Names`: what the stream, the bucket and the subjects of a namespace are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import unquote

from dnworker.core.errors import BrokerError
from dnworker.events.brokers.messages import subject_token

NOTHING = "_"
"""The token of what is not there; `subject_token` makes none that begins so."""

LONGEST_TOKEN = 180
"""Characters of a token; of a longer text it is a digest: the server bounds the line with the subject."""

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")


def token(text: str | None) -> str:
    """Return a text as one token of a subject."""
    if text is None:
        return NOTHING
    made = subject_token(text)
    if len(made) <= LONGEST_TOKEN:
        return made
    return f"_x{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:48]}"


def is_digest(made: str) -> bool:
    """Return whether the text of a token cannot be read from it."""
    return made.startswith("_x")


def text_of(made: str) -> str:
    """Return the text of a token that is no digest."""
    return "" if made == "=" else unquote(made.replace("=", "%"), errors="surrogatepass")


class Names:
    """The names of one namespace; those of two namespaces have nothing in common.

    Raises:
        BrokerError: the namespace is no name.
    """

    def __init__(self, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise BrokerError(
                f"the namespace {namespace[:60]!r} is no name; "
                "take up to 48 lower-case letters, digits, - and _, such as prod-eu",
                code="DN803",
            )
        self.namespace = namespace
        self.events = f"dnw-{namespace}-ev"
        """The stream of events."""
        self.store = f"KV_dnw-{namespace}"
        """The stream behind the bucket of keys and values."""
        self.bucket = f"$KV.dnw-{namespace}"
        self.root = f"dnw.{namespace}"
        self.all_events = f"{self.root}.ev.>"
        self.reports = f"dnw-{namespace}-reports"
        """The stream of what nodes report of their invocations."""
        self.all_reports = f"{self.root}.reports"

    def event(self, event_id: str | None, only: str | None, session_id: str | None, kind: str) -> str:
        """Return the subject of an event; its id is part of it where it may be published again."""
        return f"{self.root}.ev.{token(event_id)}.{token(only)}.{token(session_id)}.{token(kind)}"

    def of_id(self, event_id: str) -> str:
        """Return the subjects that an event of an id may have."""
        return f"{self.root}.ev.{token(event_id)}.>"

    def of_session(self, session_id: str | None) -> str:
        """Return the subjects of a session's events, or of those of no session."""
        return f"{self.root}.ev.*.*.{token(session_id)}.*"

    def of_kinds(self, kinds: Iterable[str | None], worker: str) -> list[str]:
        """Return the subjects of some kinds, None for all, that a worker gets."""
        wanted = ["*"] if None in (every := [*kinds]) else sorted({token(kind) for kind in every})
        mine = token(worker)
        return [f"{self.root}.ev.*.{whom}.*.{kind}" for kind in wanted for whom in (NOTHING, mine)]

    def key(self, part: str, key: str) -> str:
        """Return the subject of a key in one part of the bucket."""
        return f"{self.bucket}.{part}.{token(key)}"
