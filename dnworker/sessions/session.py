"""`Session`: the facts of one session, kept by the store, filled by its turns, shown by server and panel."""

from __future__ import annotations

from pathlib import Path
from sys import getsizeof
from typing import Any
from urllib.parse import quote

import msgspec

from dnworker.core.files import home_directory
from dnworker.core.models import SessionWire
from dnworker.sessions.policies import INTERACTIVE, Policy

PREVIEW_LENGTH = 200
"""Characters of the first message that a list of sessions shows."""


class Message(msgspec.Struct, kw_only=True):
    """One message of a session (contract 6.6)."""

    role: str
    content: str
    metadata: dict[str, Any] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_args: dict[str, Any] | str | None = None
    created_at: str | None = None

    def bytes_used(self) -> int:
        """Return the bytes of memory that it takes."""
        size = _MESSAGE_BYTES + getsizeof(self.content)
        for given in (self.metadata, self.tool_args):
            if isinstance(given, str):
                size += getsizeof(given)
            elif given is not None:
                size += _PER_JSON_BYTE * len(msgspec.json.encode(given))
        return size


_SESSION_BYTES, _MESSAGE_BYTES = 3_000, 600
"""Bytes of a session without messages and labels, and of a message without what it says."""

_PER_JSON_BYTE = 30
"""Bytes that an object takes at most for one byte of its JSON."""


class Session(msgspec.Struct, eq=False, kw_only=True, weakref=True):
    """The facts of one session: its messages, who answers, and what its turns have used.

    What runs in it, and what waits, is in its `TurnQueue`. `cost` is in US dollars, None where it is not
    known.
    """

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
    labels: dict[str, list[str]] = msgspec.field(default_factory=dict)
    policy: Policy = INTERACTIVE
    messages: list[Message] = msgspec.field(default_factory=list)
    completed_turns: int = 0
    tokens: int = 0
    tool_calls: int = 0
    cost: float | None = 0.0
    last_input_tokens: int | None = None
    allowed_tools: set[str] = msgspec.field(default_factory=set)
    """The tools that a person has allowed for the whole session."""
    messages_dropped: int = 0
    """Its oldest messages that are not kept any more."""
    since_seq: int = 0
    """The newest event when it was made: an earlier one belongs to a session of its id that was deleted."""
    is_deleted: bool = False
    turns: list[str] = msgspec.field(default_factory=list)
    """The turns that were accepted and have not ended."""
    running: str | None = None
    """The turn whose agent has begun and not ended."""
    prompts: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """The prompts that are open, as JSON, where other nodes are to know them."""
    outcome: dict[str, Any] | None = None
    """What `turn.completed` says of the turn whose messages were added last, until it has ended."""
    kept_bytes: int = 0
    """Bytes that the store counts it with."""
    is_here: bool = True
    """Whether this runtime runs its turns and writes it; of another node's there are facts alone."""
    counted: int = 0
    """The messages that it has, of a session whose messages are not here."""
    newest: list[Message] | None = None
    """The last of them, once somebody here has read them."""
    first_text: str | None = None
    """The beginning of its first message, of a session whose messages are not here."""
    _counted: tuple[list[Message] | None, int, int] = (None, 0, 0)
    """A list of messages, how many of them were counted, and their bytes: most changes only add some."""

    def bytes_used(self) -> int:
        """Return the bytes of memory that it takes with its messages."""
        labels = sum(len(values) * 100 + sum(map(len, values)) for values in self.labels.values())
        counted, count, size = self._counted
        if counted is not self.messages or count > len(self.messages):
            count = size = 0
        size += sum(message.bytes_used() for message in self.messages[count:])
        self._counted = self.messages, len(self.messages), size
        return _SESSION_BYTES + 4 * labels + size

    @property
    def count(self) -> int:
        """How many messages it has."""
        return len(self.messages) if self.is_here else self.counted

    @property
    def preview(self) -> str | None:
        """The beginning of the first message of the user."""
        first = next((m.content for m in self.messages if m.role == "user"), self.first_text)
        return None if first is None else first[:PREVIEW_LENGTH]

    @property
    def directory(self) -> Path:
        """Its directory, as the reference names it (contract 6.6); nothing of the runtime's is in it.

        An id that is no name of a file is written with `%`, as in a URL.
        """
        name = quote(self.session_id, safe="@:+=, ", errors="surrogatepass")
        return (
            home_directory()
            / ".dreadnode"
            / "sessions"
            / (name if name.strip(".") else name.replace(".", "%2E"))
        )

    def info(self) -> SessionWire:
        """Return the session as the API shows it."""
        return SessionWire(
            session_id=self.session_id,
            group_id=self.group_id,
            project=self.project,
            created_at=self.created_at,
            updated_at=self.updated_at,
            message_count=self.completed_turns,
            session_dir=str(self.directory),
            capability=self.capability,
            agent=self.agent,
            model=self.model,
            title=self.title,
            preview=self.preview,
            policy_name=self.policy.name,
            policy_is_autonomous=self.policy.autonomous,
            policy_display_label=self.policy.label,
            origin=self.origin,
            labels=self.labels,
            total_tokens=self.tokens,
            total_tool_call_count=self.tool_calls,
            total_cost_usd=self.cost,
            last_generation_input_tokens=self.last_input_tokens,
        )
