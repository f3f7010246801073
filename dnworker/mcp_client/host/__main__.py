"""`python -m dnworker.mcp_client.host FD`: one MCP server for the runtime at the other end of FD."""

from __future__ import annotations

import asyncio
import sys

from dnworker.mcp_client.frames import MISSING, Failed
from dnworker.mcp_client.host.link import Link


def main() -> None:
    """Serve until the runtime or the server is gone."""
    try:
        from dnworker.mcp_client.host.session import serve  # the import takes seconds
    except ImportError as exc:
        asyncio.run(refuse(int(sys.argv[1]), f"{MISSING}: {exc}"))
        return
    asyncio.run(serve(int(sys.argv[1])))


async def refuse(descriptor: int, why: str) -> None:
    """Tell the runtime why nothing can be connected."""
    await (await Link.of(descriptor)).send(Failed(why))


if __name__ == "__main__":
    main()
