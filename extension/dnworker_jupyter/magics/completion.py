"""Tab completion of our magics: options, workers, kinds, fields of a payload, flags, agents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dnworker.core.payloads import skeleton
from dnworker.core.samples import TEMPLATES
from dnworker.runtime import LIVE_CAPABILITY
from dnworker_jupyter.display.tables import WORKER_VERBS
from dnworker_jupyter.live.processes import TOPOLOGIES
from dnworker_jupyter.magics.clock import VERBS
from dnworker_jupyter.magics.fire import kinds_heard
from dnworker_jupyter.syntax.options import Parser

if TYPE_CHECKING:
    from dnworker_jupyter.notebook import Notebook

_LINE = re.compile(r"^\s*(?:\w+\s*=\s*)?(%%?)(\w+)(\s.*)?$")


def install_completion(shell: Any, book: Notebook) -> Callable[[], None]:
    """Let IPython ask us too; returns what ends it."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def dnworker_matcher(context: Any) -> Any:
        found = complete(book, context.line_with_cursor[: context.cursor_position], context.token)
        return {
            "completions": [SimpleCompletion(text=text, type="magic") for text in found or ()],
            "suppress": found is not None,  # of a magic's line, Python's own words are no part
        }

    matchers = shell.Completer.custom_matchers
    matchers.append(dnworker_matcher)
    return lambda: matchers.remove(dnworker_matcher) if dnworker_matcher in matchers else None


def complete(book: Notebook, line: str, token: str) -> list[str] | None:
    """Return what may stand in the place of `token` at the end of `line`, where the line is one of ours."""
    match = _LINE.match(line.rpartition("\n")[2])
    if match is None or match[3] is None or "{" in match[3].rpartition(" ")[2]:
        return None
    magic, before = f"{match[1]}{match[2]}", match[3]
    from dnworker_jupyter.magics.magics import parsers  # which need no completion to work

    parser = parsers().get(magic)
    if parser is None:
        return None
    word = before.rpartition(" ")[2]
    words = before.split()
    if before.endswith(word) and word:
        words = words[:-1]
    offered = _offered(book, magic, words, word, parser)
    # IPython may begin its token within our word, as after the dot of a kind.
    skipped = len(word) - len(token) if word.endswith(token) else 0
    return sorted({one[skipped:] for one in offered if one.startswith(word) and len(one) > skipped})


def _offered(book: Notebook, magic: str, words: list[str], word: str, parser: Parser) -> Iterable[str]:
    if words and words[-1] in ("--worker",):
        return _workers(book)
    if words and words[-1] == "--kind":
        return _kinds(book)
    if words and words[-1] == "--when":
        return list(book.runtime.capability(LIVE_CAPABILITY).manifest.flags)
    if words and (choices := parser.choices(words[-1])):
        return choices
    if words and words[-1] == "--session":
        return [session.session_id for session in book.runtime.sessions.list()]
    if word.startswith("-"):
        return parser.options()
    positional = [w for w in words if not w.startswith("-")]
    match magic, positional:
        case (("%fire" | "%%fire"), []):
            return _kinds(book)
        case "%fire", [kind, *given]:
            named = {g.partition("=")[0] for g in given}
            return [f"{field}=" for field in _fields(book, kind) if field not in named]
        case "%%worker", []:
            return [*book.live]
        case "%worker", []:
            return [*_workers(book), *WORKER_VERBS, "list"]
        case "%worker", [verb] if verb in WORKER_VERBS:
            return _workers(book)
        case "%worker", ["topology", _]:
            return TOPOLOGIES
        case "%%agent", []:
            return book.runtime.agents.names()
        case "%replay", []:
            return ["last", *(f"#{e.seq}" for e in book.runtime.history.events(20))]
        case "%clock", []:
            return VERBS
        case "%events", []:
            return ["save"]
        case _, []:
            return parser.words()
    return []


def _workers(book: Notebook) -> list[str]:
    return [worker.name for worker in book.runtime.workers()]


def _kinds(book: Notebook) -> list[str]:
    fired = {e.kind for e in book.runtime.history.events(1_000)}
    return sorted(fired | kinds_heard(book) | TEMPLATES.keys())


def _fields(book: Notebook, kind: str) -> list[str]:
    sources = [
        handler.source
        for live in book.live.values()
        for handler, _ in live.handlers()
        if handler.decorator == "on_event" and handler.what == kind
    ]
    latest = next((e.payload for e in reversed(book.runtime.history.events(1_000)) if e.kind == kind), {})
    return list(dict.fromkeys([*skeleton(sources), *TEMPLATES.get(kind, {}), *latest]))
