"""A server as the library's users write them: over stdio, or over HTTP."""

import os
import sys

import anyio
from mcp.server import MCPServer

server = MCPServer("good")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def echo(text: str) -> str:
    """Return the text."""
    return text


@server.tool()
def variable(name: str) -> str:
    """Return a variable of the server's environment."""
    return os.environ.get(name, "(not set)")


@server.tool()
def where() -> str:
    """Return the directory of the server."""
    return os.getcwd()


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


@server.tool()
def repeat(text: str, times: int) -> str:
    """Return a text many times."""
    return text * times


@server.tool()
async def wait(seconds: float) -> str:
    """Wait."""
    try:
        await anyio.sleep(seconds)
    except BaseException:
        print("the wait was cancelled", file=sys.stderr, flush=True)
        raise
    return "waited"


if __name__ == "__main__":
    if len(sys.argv) > 1:  # "streamable-http" or "sse", and the port
        server.run(transport=sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run(transport="stdio")
