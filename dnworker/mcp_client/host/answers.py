"""`answer_of`: what a tool returns as the text and the images that a model gets; for `session`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from dnworker.core.tool_files import LARGEST_FILES, MOST_FILES, ToolFile, image_type
from dnworker.mcp_client.frames import LONGEST_ANSWER
from dnworker.mcp_client.host.stdio import too_long


class ToolAnswer(NamedTuple):
    """What a tool has answered; an error has no files."""

    text: str
    is_error: bool
    files: list[ToolFile] = []


def answer_of(answer: dict[str, Any], tool: str) -> ToolAnswer:
    """Return a tool's answer.

    Args:
        answer: as the protocol has it: `content`, `structuredContent`, `isError`.
        tool: its name, for an error without a text.
    """
    is_error = bool(answer.get("isError"))
    parts = _Parts()
    text = "\n".join(parts.texts(answer.get("content") or []))
    if not text and answer.get("structuredContent") is not None:
        text = json.dumps(answer["structuredContent"], ensure_ascii=False)
    if not text and is_error:
        text = f"MCP tool '{tool}' reported an error."
    size = len(text.encode(errors="surrogatepass"))
    if size > LONGEST_ANSWER:
        return ToolAnswer(too_long(size), is_error=True)
    return ToolAnswer(text, is_error, [] if is_error else parts.files)


class _Parts:
    """Goes through the content of an answer; the files that it has met are in `files`."""

    def __init__(self) -> None:
        self.files: list[ToolFile] = []
        self._bytes = 0

    def texts(self, content: list[Any]) -> Iterator[str]:
        for part in content:
            match part:
                case {"type": "text", "text": str(text)}:
                    yield text
                case {"type": "resource", "resource": {"text": str(text)}}:
                    yield text
                case {"type": "resource", "resource": {"uri": uri, "blob": str(blob)} as resource}:
                    yield self._file(f"{uri} {resource.get('mimeType') or ''}".rstrip(), blob)
                case {"type": "resource_link", "uri": uri}:
                    yield f"[{part.get('name') or 'resource'}: {uri}]"
                case {"type": str(kind), "data": str(data)}:
                    yield self._file(f"{kind} {part.get('mimeType') or ''}".rstrip(), data)
                case _:
                    yield json.dumps(part, ensure_ascii=False)

    def _file(self, what: str, encoded: str) -> str:
        """Take an image that models can be given, and return a line on it."""
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)  # in lines, as of MIME
        except (binascii.Error, ValueError):
            return f"[{what}: {len(encoded):,} characters that are no base64]"
        line = f"{what}: {len(data):,} bytes"
        if (media_type := image_type(data)) is None:
            return f"[{line}; models here get text and images of PNG, JPEG, GIF and WebP]"
        if len(self.files) >= MOST_FILES or self._bytes + len(data) > LARGEST_FILES:
            most = f"at most {MOST_FILES} images, of {LARGEST_FILES:,} bytes in all"
            return f"[{line}; not given to models: {most}]"
        self._bytes += len(data)
        self.files.append(ToolFile(media_type, data))
        return f"[{line}]"
