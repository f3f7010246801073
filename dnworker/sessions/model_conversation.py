"""`Conversation`: what a model of pydantic-ai is sent; used by `model_library`."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolReturnPart,
    UserPromptPart,
)

from dnworker.core.tool_files import files_of
from dnworker.sessions.model_answer import Answer, WantedCall

LARGEST_FILES = 4 * 1_048_576
"""Bytes of files in one conversation: each request has them, in base64, in copies. The oldest go first."""

REFUSED = "[not sent: this model refuses it]"


class Conversation:
    """What a model is sent: alternating requests and answers, as all providers take them."""

    def __init__(self) -> None:
        self.messages: list[ModelMessage] = []
        self._files: list[tuple[ToolReturnPart, str, int]] = []
        """The results that have files, with their text and the bytes of the files, the oldest first."""
        self._takes_files = True

    def say(self, role: str, text: str) -> None:
        """Add a message of a role: `system`, `user` or `assistant`."""
        match role:
            case "system":
                self._request(SystemPromptPart(text))
            case "assistant":
                self._respond(text)
            case _:
                self._request(UserPromptPart(text))

    def go_on(self, answer: Answer, results: Iterable[tuple[WantedCall, str]]) -> None:
        """Add an answer of the model, whole, and the results of the tools that it wanted called."""
        assert isinstance(answer.whole, ModelResponse), "an answer that has ended has one"
        self.messages.append(answer.whole)
        for call, result in results:
            part = ToolReturnPart(call.name, str(result), tool_call_id=call.id)
            self._request(part)
            if (files := files_of(result)) and self._takes_files:
                part.content = [
                    part.content,
                    *(BinaryContent(f.data, media_type=f.media_type) for f in files),
                ]
                self._files.append((part, str(result), sum(len(file.data) for file in files)))
            elif files:
                part.content = f"{result} {REFUSED}"
        while sum(size for _, _, size in self._files) > LARGEST_FILES:
            part, text, _ = self._files.pop(0)
            part.content = f"{text} [no longer sent]"

    def refuse_files(self) -> bool:
        """Send no files any more; returns whether there were some."""
        self._takes_files, files, self._files = False, self._files, []
        for part, text, _ in files:
            part.content = f"{text} {REFUSED}"
        return bool(files)

    def _request(self, part: ModelRequestPart) -> None:
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelRequest):
            last.parts = [*last.parts, part]
        else:
            self.messages.append(ModelRequest([part]))

    def _respond(self, text: str) -> None:
        if not text:
            return  # providers refuse an answer without text
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelResponse):
            last.parts = [*last.parts, TextPart(text)]
        else:
            self.messages.append(ModelResponse([TextPart(text)]))
