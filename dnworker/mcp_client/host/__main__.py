"""`python -m dnworker.mcp_client.host FD`: one MCP server for the runtime at the other end of FD."""

from __future__ import annotations

import asyncio
import sys


def main() -> None:
    """Serve until the runtime or the server is gone."""
    from dnworker.mcp_client.host.session import serve  # the import takes seconds, and may fail

    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
