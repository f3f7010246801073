"""What is kept of sessions and turns over a kill of the runtime.

`keeper.py` writes it, `restoring.py` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dnworker.core.ids import new_id
from dnworker.sessions.policies import INTERACTIVE, Policy
from dnworker.sessions.session import Message, Session
from dnworker.sessions.turn import Turn, TurnRequest

SESSIONS, MESSAGES, TURNS, DELETED = "sessions/", "sessions.messages/", "sessions.turns/", "sessions.deleted/"
"""How the keys begin: of sessions by id, messages by list and number, turns by id, deleted sessions by id."""

DELETED_FOR = 7 * 24 * 3600.0
"""Seconds for which a deleted session is known over restarts, as long as its events are kept."""

CHUNK_CHARACTERS = 200_000
"""Characters of messages that are written as one value; a longer message is one by itself."""


class KeptSession(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The facts of a session, and which of its messages are whole: those before `messages_end`."""

    session_id: str
    created_at: str
    updated_at: str
    capability: str | None = None
    agent: str | None = None
    model: str | None = None
    project: str | None = None
    group_id: str | None = None
    title: str | None = None
    origin: str = "user"
    labels: dict[str, list[str]] = {}
    policy: Policy = INTERACTIVE
    completed_turns: int = 0
    tokens: int = 0
    tool_calls: int = 0
    cost: float | None = 0.0
    last_input_tokens: int | None = None
    allowed_tools: set[str] = set()
    messages_dropped: int = 0
    since_seq: int = 0
    turns: list[str] = []
    running: str | None = None
    outcome: dict[str, Any] | None = None
    prompts: list[dict[str, Any]] = []
    preview: str | None = None
    messages_list: str = ""
    """The id of the list of messages: one that is written anew gets another."""
    messages_end: int = 0
    """The number after its last message; the first has the number `messages_dropped`."""
    messages_starts: list[int] = []
    """The numbers with which its pages begin: where runtimes share the broker, lists of keys may lag."""
    messages_writers: list[str] = []
    """Who wrote these, by ids of take-overs; none where all are of the runtime that began the list."""
    messages_left: list[str] = []
    """The keys of pages that could not be read: they are not its messages any more, and go with it."""

    def session(self, messages: list[Message]) -> Session:
        """Return the session, with these messages."""
        return Session(messages=messages, **{name: getattr(self, name) for name in _FACTS})

    def facts(self) -> Session:
        """Return the session of another node, without its messages."""
        session = self.session([])
        session.is_here, session.first_text = False, self.preview
        session.counted = max(0, self.messages_end - self.messages_dropped)
        return session

    def listed(self) -> MessageList:
        """Return what gives the keys of its pages."""
        writers = zip(self.messages_starts, self.messages_writers, strict=False)
        return MessageList(self.messages_list, writers=dict(writers))


_OF_MESSAGES = (
    "preview",
    "messages_list",
    "messages_end",
    "messages_starts",
    "messages_writers",
    "messages_left",
)
_FACTS = tuple(f for f in KeptSession.__struct_fields__ if f not in _OF_MESSAGES)


class KeptTurn(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A turn that was accepted and has not ended."""

    turn_id: str
    session_id: str
    number: int
    """Rises with every turn of all sessions: their order."""
    after_seq: int
    """The newest event when it was accepted: its own come later."""
    agent: str
    model: str | None
    depth: int
    message: str
    request_agent: str | None = None
    request_model: str | None = None
    reset: bool = False
    generate_params_extra: dict[str, Any] = {}
    metadata: dict[str, Any] = {}

    @property
    def request(self) -> TurnRequest:
        """The fields of `turn.start`."""
        return TurnRequest(
            message=self.message,
            agent=self.request_agent,
            model=self.request_model,
            reset=self.reset,
            generate_params_extra=self.generate_params_extra,
            metadata=self.metadata,
        )


def turn_to_keep(session_id: str, turn: Turn, number: int, after_seq: int) -> KeptTurn:
    """Return what is kept of a turn."""
    request = turn.request
    return KeptTurn(
        turn_id=turn.id,
        session_id=session_id,
        number=number,
        after_seq=after_seq,
        agent=turn.agent,
        model=turn.model,
        depth=turn.depth,
        message=request.message,
        request_agent=request.agent,
        request_model=request.model,
        reset=request.reset,
        generate_params_extra=request.generate_params_extra,
        metadata=request.metadata,
    )


class Page(msgspec.Struct, frozen=True):
    """Messages that follow each other, as they are written; the first of them has the number `start`."""

    start: int
    messages: list[Message]

    @property
    def end(self) -> int:
        """The number after the last."""
        return self.start + len(self.messages)


class MessageList:
    """Which messages of a session are written: a list only grows at its end, and shrinks at its beginning.

    A list that changed otherwise is written anew under another id, and only then the old one goes: what the
    record names is whole at any moment.
    """

    def __init__(
        self,
        list_id: str = "",
        starts: Sequence[int] = (),
        end: int = 0,
        last: Message | None = None,
        left: Sequence[str] = (),
        *,
        writers: Mapping[int, str] | None = None,
        writer: str = "",
    ) -> None:
        self.id = list_id or new_id()
        self.starts = [*starts]
        """The numbers with which its pages begin."""
        self.end = end
        """The number after its last message."""
        self.left = [*left]
        """The keys of pages that could not be read, and are left as they are."""
        self.writers = {start: writer for start, writer in (writers or {}).items() if writer}
        """Who wrote its pages, by their starts, where that is not who began the list."""
        self._writer = writer
        self._last = last

    def key(self, start: int) -> str:
        """Return the key of the page that begins with the message of this number.

        It has the id of its writer: a runtime that has lost the session and does not know yet writes over no
        page of the one that took it over.
        """
        writer = self.writers.get(start)
        return f"{MESSAGES}{self.id}/{start:012d}{f'.{writer}' if writer else ''}"

    def next(self, session: Session) -> tuple[MessageList, list[Page]]:
        """Return the list as it is to be now, and the pages that are missing for it."""
        first, messages = session.messages_dropped, session.messages
        end, last = first + len(messages), messages[-1] if messages else None
        if not self._goes_on(first, messages):
            pages = _pages(messages, first)
            starts = [page.start for page in pages]
            return MessageList(starts=starts, end=end, last=last, left=self.left), pages
        start = max(self.end, first)
        pages = _pages(messages[start - first :], start)
        starts = [*self.starts, *(page.start for page in pages)]
        while len(starts) > 1 and starts[1] <= first:
            del starts[0]
        writers = self.writers | {page.start: self._writer for page in pages}
        kept = {start: writers.get(start, "") for start in starts}
        made = MessageList(self.id, starts, end, last, self.left, writers=kept, writer=self._writer)
        return made, pages

    def _goes_on(self, first: int, messages: list[Message]) -> bool:
        """Return whether messages came and went at the ends alone since it was written."""
        if self.end <= first:
            return True  # all that was written had to go
        return self.end <= first + len(messages) and messages[self.end - first - 1] is self._last


def start_of(key: str) -> int:
    """Return the number of the message with which the page of a key begins."""
    return int(key.rpartition("/")[2].partition(".")[0])


def joined(pages: Sequence[tuple[str, list[Message]]]) -> list[Message]:
    """Return the messages of pages by their keys; one that has more than fits before the next is cut.

    A runtime that has lost the session may have written its last page again, with messages that do not count.
    """
    found: list[Message] = []
    starts = [start_of(key) for key, _ in pages]
    for number, (_, page) in enumerate(pages):
        found += page[: starts[number + 1] - starts[number]] if number + 1 < len(starts) else page
    return found


def _pages(messages: list[Message], start: int) -> list[Page]:
    pages: list[Page] = []
    size = CHUNK_CHARACTERS
    for number, message in enumerate(messages, start):
        size += len(message.content)
        if size > CHUNK_CHARACTERS:
            pages.append(Page(number, []))
            size = len(message.content)
        pages[-1].messages.append(message)
    return pages


def record_of(session: Session, messages: MessageList) -> KeptSession:
    """Return what is kept of a session beside its messages."""
    facts = {name: getattr(session, name) for name in _FACTS}
    return KeptSession(
        **facts,
        preview=session.preview,
        messages_list=messages.id,
        messages_end=messages.end,
        messages_starts=messages.starts,
        messages_writers=[messages.writers.get(s, "") for s in messages.starts] if messages.writers else [],
        messages_left=messages.left,
    )
