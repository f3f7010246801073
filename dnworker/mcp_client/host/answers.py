"""`answer_text`: what a tool returns as the text that a model gets; for `session`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dnworker.mcp_client.frames import LONGEST_ANSWER
from dnworker.mcp_client.host.stdio import too_long


def answer_text(answer: dict[str, Any], tool: str) -> tuple[str, bool]:
    """Return the text of a tool's answer, and whether it is an error.

    Args:
        answer: as the protocol has it: `content`, `structuredContent`, `isError`.
        tool: its name, for an error without a text.
    """
    is_error = bool(answer.get("isError"))
    text = "\n".join(_parts(answer.get("content") or []))
    if not text and answer.get("structuredContent") is not None:
        text = json.dumps(answer["structuredContent"], ensure_ascii=False)
    if not text and is_error:
        text = f"MCP tool '{tool}' reported an error."
    size = len(text.encode(errors="surrogatepass"))
    return (too_long(size), True) if size > LONGEST_ANSWER else (text, is_error)


def _parts(content: list[Any]) -> Iterator[str]:
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "resource", "resource": {"text": str(text)}}:
                yield text
            case {"type": "resource", "resource": {"uri": uri, "blob": str(blob)}}:
                yield f"[{uri}: {_size(blob)} bytes that are no text]"
            case {"type": "resource_link", "uri": uri}:
                yield f"[{part.get('name') or 'resource'}: {uri}]"
            case {"type": str(kind), "data": str(data)}:
                yield f"[{kind} {part.get('mimeType', '')}: {_size(data)} bytes; agents here get text]"
            case _:
                yield json.dumps(part, ensure_ascii=False)


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,}"
