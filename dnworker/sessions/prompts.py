"""Prompts that a turn puts to a human, and their answers (contract 7.2, 9); used by `turns` and the API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec

from dnworker.core.ids import new_id

Decision = Literal["allow", "allow_session", "deny"]


class Option(msgspec.Struct, kw_only=True):
    """One choice of a question."""

    label: str
    description: str = ""


class HumanQuestion(msgspec.Struct, kw_only=True):
    """One question; `choice` has options, `input` takes text."""

    kind: Literal["choice", "input"]
    prompt: str
    header: str = ""
    options: list[Option] = msgspec.field(default_factory=list)
    multiple: bool = False
    custom: bool = True


class ToolApproval(msgspec.Struct, kw_only=True):
    """The tool call that needs a person's permission."""

    tool_name: str
    arguments: dict[str, Any]
    tool_call_id: str
    reason: str = ""


class HumanPrompt(msgspec.Struct, kw_only=True):
    """What a turn waits for."""

    request_id: str = msgspec.field(default_factory=lambda: f"req-{new_id()}")
    questions: list[HumanQuestion] = msgspec.field(default_factory=list)
    tool_approval: ToolApproval | None = None
    source_tool_call_id: str | None = None
    source_tool_name: str | None = None


class QuestionAnswer(msgspec.Struct, kw_only=True):
    """A human's answer to one question."""

    selected_labels: list[str] = msgspec.field(default_factory=list)
    custom_text: str | None = None
    text: str | None = None
    was_custom: bool = False

    @property
    def content(self) -> str:
        """The answer as text, whatever its form."""
        return self.text or self.custom_text or ", ".join(self.selected_labels)


class Response(msgspec.Struct, kw_only=True):
    """The payload of `prompt.respond`: an `action` on a question, or a `decision` on a permission."""

    request_id: Annotated[str, msgspec.Meta(min_length=1)]
    action: Literal["submit", "cancel"] | None = None
    answers: list[QuestionAnswer] | None = None
    decision: Decision | None = None


class PromptCancelled(Exception):
    """The human closed the question without an answer."""


class PendingPrompt(msgspec.Struct, eq=False):
    """A prompt that is open, and the future that gets its answer."""

    prompt: HumanPrompt
    answer: asyncio.Future[Any]

    @property
    def is_permission(self) -> bool:
        """Whether it takes a decision, not answers."""
        return self.prompt.tool_approval is not None


def check_response(payload: object) -> Response:
    """Read the payload of `prompt.respond`.

    Raises:
        ValueError: a field is wrong, or there is not exactly one of `action` and `decision`.
    """
    try:
        response = msgspec.convert(payload, Response)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    if (response.action is None) == (response.decision is None):
        raise ValueError("exactly one of action and decision is wanted")
    if response.action == "submit" and response.answers is None:
        raise ValueError("action 'submit' needs answers")
    if response.action == "cancel" and response.answers is not None:
        raise ValueError("action 'cancel' takes no answers")
    return response
