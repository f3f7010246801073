"""`%explain`: shows what the code at the end of a message means, as text with its example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dnworker.explain.pages import Answer, answer
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser


@dataclass(frozen=True)
class ExplainOptions:
    """The options of an `%explain` line."""

    needs_runtime: ClassVar[bool] = False
    """It answers also where the runtime does not start."""

    word: list[str] = field(default_factory=list)


def explain_parser() -> Parser:
    """Return the parser of the `%explain` line."""
    parser = Parser("%explain", "Show what the code of a message means.")
    parser.add_argument(
        "word", nargs="*", help="codes, such as DN104, or words to search for; all codes when left out"
    )
    return parser


class Explained:
    """An answer as it is displayed: Markdown in a notebook, text in a terminal."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def _repr_markdown_(self) -> str:
        return self._answer.markdown

    def __repr__(self) -> str:
        return self._answer.text


async def run_explain(context: MagicContext, options: ExplainOptions) -> Explained:
    """Return what a line asks for.

    Raises:
        UsageError: there is no such page.
    """
    return Explained(answer(options.word))
