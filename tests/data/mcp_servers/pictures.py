"""A server whose tool answers with an image of one pixel, and a text on it."""

import base64

from mcp.server import MCPServer
from mcp.server.mcpserver import Image

server = MCPServer("pictures")

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool(structured_output=False)
def look() -> list[object]:
    """Look at the pixel."""
    return ["one pixel", Image(data=PIXEL, format="png")]


server.run()
