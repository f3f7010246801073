"""`OverTransport`: sends requests by a transport of httpx that somebody gives, as tests do."""

from __future__ import annotations

import httpx

from dnworker.client.sender import Answer, Request


class OverTransport:
    """A `Sender` over a transport: redirects, cookies and logins of a client are wanted nowhere here."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def send(self, request: Request) -> Answer:
        """Send a request and return the answer, as `Sender.send`."""
        made = request.for_httpx()
        if request.timeout is not None:
            made.extensions["timeout"] = httpx.Timeout(request.timeout).as_dict()
        try:
            response = await self._transport.handle_async_request(made)
            try:
                content = await _body(response, request.most)
            finally:
                await response.aclose()
        except httpx.RequestError as exc:
            exc.request = made
            raise
        headers = [(name.lower(), value) for name, value in response.headers.raw]
        return Answer(response.status_code, headers, content)

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


async def _body(response: httpx.Response, most: int | None) -> bytes:
    body = bytearray()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for piece in response.stream:  # as it was sent, also where the response was made with its content
        body += piece
        if most is not None and len(body) > most:
            break
    return bytes(body)
