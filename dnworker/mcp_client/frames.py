"""What the runtime and the host of an MCP server say to each other: length-prefixed JSON; both import this.

The runtime begins with `Connect`. The host answers `Ready` once it has its libraries, then `Connected` or
`Failed`; after that `Call` is answered by `Result`, and `Ended` says that the server is gone.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, TypeVar

import msgspec

from dnworker.core.tool_files import ToolFile

LONGEST_ANSWER = 1_048_576
"""Bytes of a tool's answer that a model gets; of a larger one it is told the size."""

LONGEST_ARGUMENTS = 1_048_576
"""Bytes of a call's arguments, as JSON."""

LONGEST_MESSAGE = 4 * 1_048_576
"""Bytes of one message of a server, such as the list of its tools."""

LONGEST_FRAME = 32 * 1_048_576
"""Bytes of one frame: a message whose every byte JSON escapes. More is no host of ours."""

MISSING = "MCP servers need the extra: pip install 'dnworker[mcp]' (DN971)"

_HEAD = struct.Struct(">I")

T = TypeVar("T")


class Connect(msgspec.Struct, tag="connect", kw_only=True, omit_defaults=True):
    """Which server to connect to; everything in it is resolved."""

    name: str
    init_timeout: float
    """Seconds for the handshake, and again for the list of tools."""
    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    scope: str | None = None
    client_name: str = "dreadnode"
    tokens: str = ""
    """The file of tokens from sign-ins."""
    is_interactive: bool = False
    """Whether somebody is there to sign in with a browser."""


class Call(msgspec.Struct, tag="call"):
    """Call a tool; `arguments` is a JSON object."""

    id: int
    tool: str
    arguments: dict[str, Any]


class Cancel(msgspec.Struct, tag="cancel"):
    """Nobody waits for a call any more."""

    id: int


class Close(msgspec.Struct, tag="close"):
    """End the server and the host."""


Request = Connect | Call | Cancel | Close


class ToolDescription(msgspec.Struct):
    """One tool of a server, as the server describes it."""

    name: str
    description: str = ""
    schema: dict[str, Any] = {}


class Ready(msgspec.Struct, tag="ready"):
    """The host has its libraries."""


class Connected(msgspec.Struct, tag="connected"):
    """The server answers; these are its tools."""

    tools: list[ToolDescription]


class Failed(msgspec.Struct, tag="failed"):
    """The server cannot be connected."""

    error: str
    needs_auth: bool = False


class SignIn(msgspec.Struct, tag="sign_in"):
    """Somebody is to open this URL in a browser."""

    url: str


class Tools(msgspec.Struct, tag="tools"):
    """The server has other tools now."""

    tools: list[ToolDescription]


class Result(msgspec.Struct, tag="result"):
    """What came of a call: the tool's text and images, its own error, or why there is none."""

    id: int
    text: str
    is_error: bool = False
    has_failed: bool = False
    """Whether the server, and not the tool, failed."""
    is_undone: bool = False
    """Whether it is certain that the tool did nothing."""
    files: list[ToolFile] = []


class Ended(msgspec.Struct, tag="ended"):
    """The server is gone."""

    error: str


Message = Ready | Connected | Failed | SignIn | Tools | Result | Ended


class BadFrame(Exception):
    """What came is no frame of ours."""


def encode(message: Request | Message) -> bytes:
    """Return a message as a frame."""
    body = msgspec.json.encode(message)
    return _HEAD.pack(len(body)) + body


async def read(stream: asyncio.StreamReader, of: Any) -> Any:
    """Return the next message of a type; None where the stream has ended.

    Raises:
        BadFrame: it is too long, or no message of the type.
    """
    try:
        (size,) = _HEAD.unpack(await stream.readexactly(_HEAD.size))
        if size > LONGEST_FRAME:
            raise BadFrame(f"a frame of {size:,} bytes; at most {LONGEST_FRAME:,}")
        body = await stream.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        return msgspec.json.decode(body, type=of)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadFrame(str(exc)) from exc
