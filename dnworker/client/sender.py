"""`Sender`: the interface by which `http` sends a request; `pool` and `over_transport` implement it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

if TYPE_CHECKING:
    import httpx

_IN_PATHS = "/%:@!$&'()*+,;=~?[]|"
"""Characters of a path that are sent as they are: its names are quoted where it is made."""


class Request(msgspec.Struct, frozen=True):
    """One request.

    `timeout` is in seconds, for the connection and for each wait until bytes come or go. With `most`,
    reading ends once the body of the answer has more bytes.
    """

    method: str
    url: str
    """The whole address, with its query."""
    headers: Mapping[str, str]
    content: bytes | None = None
    timeout: float | None = None
    most: int | None = None

    def for_httpx(self) -> httpx.Request:
        """Return it as errors of httpx name it."""
        import httpx  # it takes long, and only failures need it

        return httpx.Request(self.method, self.url, headers=self.headers, content=self.content)


class Answer(msgspec.Struct, frozen=True):
    """What came back; names of headers are in lower case, the content is as it was sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes

    @property
    def is_plain(self) -> bool:
        """Whether it is a success whose content nothing has encoded."""
        return 200 <= self.status < 300 and not any(name == b"content-encoding" for name, _ in self.headers)

    @property
    def text(self) -> str:
        """The content as text, whatever it is."""
        return self.content.decode("utf-8", "replace")

    def for_httpx(self, request: Request) -> httpx.Response:
        """Return it as errors of httpx have it, with its content decoded.

        Raises:
            httpx.DecodingError: that is not possible.
        """
        import httpx  # it takes long, and only failures need it

        return httpx.Response(
            self.status, headers=self.headers, content=self.content, request=request.for_httpx()
        )


class Sender(Protocol):
    """Sends requests, any number at a time."""

    async def send(self, request: Request) -> Answer:
        """Send a request and return the answer, read to its end.

        Raises:
            httpx.TransportError: it cannot be sent, or no whole answer comes.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections; may be called again, and the sender may be used again."""


def address_of(base: str, path: str, query: Mapping[str, Any] | None) -> str:
    """Return the address of an endpoint; a list in the query stands there several times."""
    address = f"{base}{quote(path, safe=_IN_PATHS)}"
    if not query:
        return address
    pairs = [
        (name, _value_text(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return f"{address}?{urlencode(pairs, quote_via=quote)}"


def _value_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
