"""What comes of asking a model: an `Answer`, piece by piece, or a `Retry`; nothing here is of a library."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from dnworker.sessions.transcript import Usage
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.model_endpoint import ModelEndpoint
    from dnworker.sessions.output_schema import OutputSchema
    from dnworker.sessions.tools import Tool


class Piece(msgspec.Struct, frozen=True):
    """One piece of an answer: text, or the reasoning before it."""

    text: str = ""
    reasoning: str = ""


class WantedCall(msgspec.Struct, frozen=True):
    """A tool that the model wants called; arguments that are no object stay text."""

    id: str
    name: str
    arguments: dict[str, Any] | str


class Answer(msgspec.Struct):
    """One streamed answer, as far as it has come.

    Attributes:
        text: its text.
        has_begun: whether the provider has begun to answer.
        calls: what it wants called.
        usage: its tokens.
        cost_usd: what it cost; None where the price is not known.
        stop_reason: `stop`, `tool_calls`, `length`, `content_filter` or `error`.
        whole: what the library keeps of it, for the next request.
    """

    text: str = ""
    has_begun: bool = False
    calls: list[WantedCall] = msgspec.field(default_factory=list)
    usage: Usage = msgspec.field(default_factory=Usage)
    cost_usd: float | None = None
    stop_reason: str | None = None
    whole: Any = None


class Retry(Exception):
    """A request failed, and it may succeed when it is repeated.

    Attributes:
        failure: what ends the turn, if it is not repeated.
        wait: seconds that the provider asks for before it is; None where it asks for none.
        is_worth_repeating: whether another attempt may succeed.
    """

    def __init__(
        self, failure: TurnFailure, wait: float | None = None, *, is_worth_repeating: bool = True
    ) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait = wait
        self.is_worth_repeating = is_worth_repeating


class Talk(Protocol):
    """What a model is sent: all that was said so far."""

    def say(self, role: str, text: str) -> None:
        """Add a message of a role: `system`, `user` or `assistant`."""

    def go_on(self, answer: Answer, results: Iterable[tuple[WantedCall, str]]) -> None:
        """Add an answer of the model, and the results of the tools that it wanted called."""


class AskedModel(Protocol):
    """One model; a talk is of the model that made it."""

    def conversation(self) -> Talk:
        """Return an empty talk."""

    def stream(
        self,
        conversation: Any,
        answer: Answer,
        *,
        tools: Sequence[Tool] = (),
        parameters: Mapping[str, Any] | None = None,
        output: OutputSchema | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """Yield the pieces of an answer as they come, adding everything up in `answer`."""


class Models(Protocol):
    """Gives models, by endpoint and name."""

    async def get(self, endpoint: ModelEndpoint, name: str) -> AskedModel:
        """Return a model; raises `TurnFailure`."""


EXTRA = "pip install 'dnworker[agents]'"


def missing(provider: str = "") -> str:
    """Return what to say where the library, or what it needs for a provider, is not installed."""
    what = (
        f"a model of {provider} needs pydantic-ai and its package"
        if provider
        else "a model agent needs pydantic-ai"
    )
    return f"{what}; install it with: {EXTRA} (DN902)"
