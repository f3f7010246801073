"""What a `ModelServer` answers: `Says`, `Calls`, `Refuses`, `Breaks`, `Waits`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Says:
    """An answer of text, streamed in pieces.

    Args:
        *pieces: the pieces, in order.
        reasoning: what the model thinks before.
        stop_reason: why it ends: `stop`, `length` or `content_filter`.

    Attributes:
        pieces: as given, as a tuple.
        reasoning: as given.
        stop_reason: as given.

    Examples:
        >>> Says("Hello, ", "Ada").pieces
        ('Hello, ', 'Ada')
    """

    pieces: tuple[str, ...]
    reasoning: str = ""
    stop_reason: str = "stop"

    def __init__(self, *pieces: str, reasoning: str = "", stop_reason: str = "stop") -> None:
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "reasoning", reasoning)
        object.__setattr__(self, "stop_reason", stop_reason)


@dataclass(frozen=True)
class Calls:
    """An answer that wants a tool called.

    Attributes:
        tool: its name.
        arguments: by name, as a dict.

    Examples:
        >>> Calls("add", {"a": 2, "b": 3}).tool
        'add'
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuses:
    """An answer with an error status.

    Attributes:
        status: the HTTP status, such as 429.
        message: the error's text.
        headers: of the answer, such as `{"Retry-After": "1"}`.

    Examples:
        >>> Refuses(401, "no such key").status
        401
    """

    status: int
    message: str = "refused"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Breaks:
    """An answer whose stream ends in the middle.

    Attributes:
        text: what comes before.
        garbage: bytes that are sent in place of the rest, such as `b"data: {oops"`.
        abruptly: whether the connection is cut in place of an orderly end.

    Examples:
        >>> Breaks("Let me").text
        'Let me'
    """

    text: str = ""
    garbage: bytes = b""
    abruptly: bool = False


@dataclass(frozen=True)
class Waits:
    """An answer that does not come until the caller goes or the test lets it.

    Attributes:
        text: what comes before.
        until: an `asyncio.Event`; set it to let the answer end.
        gone: an `asyncio.Event` that is set when the caller has gone.

    Examples:
        >>> answer = Waits("Let me see")
        >>> answer.until.set()
    """

    text: str = ""
    until: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


Answer = Says | Calls | Refuses | Breaks | Waits
Plan = Iterable[Answer] | Callable[[dict[str, Any]], Answer]
