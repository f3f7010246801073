"""Tab completion of magics: options, workers, kinds, fields of a payload, flags, agents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.topology import TOPOLOGIES
from dnworker_jupyter.display.tables import WORKER_VERBS
from dnworker_jupyter.magics.clock import VERBS
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.dead import VERBS as DEAD_VERBS
from dnworker_jupyter.magics.events import VERBS as EVENTS_VERBS
from dnworker_jupyter.magics.loaded import flags_by_name
from dnworker_jupyter.magics.magics import parsers
from dnworker_jupyter.syntax.options import Parser

_LINE = re.compile(r"^\s*(?:\w+\s*=\s*)?(%%?)(\w+)(\s.*)?$")


def complete(context: MagicContext, line: str, token: str) -> list[str] | None:
    """Return the completions of `token` at the end of `line`; None when the line is no magic of ours."""
    match = _LINE.match(line.rpartition("\n")[2])
    if match is None or match[3] is None or "{" in match[3].rpartition(" ")[2]:
        return None
    magic, before = f"{match[1]}{match[2]}", match[3]
    parser = parsers().get(magic)
    if parser is None:
        return None
    word = before.rpartition(" ")[2]
    words = before.split()
    if before.endswith(word) and word:
        words = words[:-1]
    offered = _offered(context, magic, words, word, parser)
    # IPython may begin its token within our word, as after the dot of a kind.
    skipped = len(word) - len(token) if word.endswith(token) else 0
    return sorted({one[skipped:] for one in offered if one.startswith(word) and len(one) > skipped})


def _offered(context: MagicContext, magic: str, words: list[str], word: str, parser: Parser) -> Iterable[str]:
    if words and words[-1] in ("--worker",):
        return _workers(context)
    if words and words[-1] in ("--before", "--restore"):
        return _kept_before(context, [w for w in words if not w.startswith("-")])
    if words and words[-1] == "--kind":
        return context.suggestions.kinds_known()
    if words and words[-1] == "--when":
        head = context.head.manifest
        return [] if head is None else [*head.flags]
    if words and (choices := parser.choices(words[-1])):
        return choices
    if words and words[-1] == "--session":
        return [session.session_id for session in context.runtime.sessions.list()]
    if word.startswith("-"):
        return parser.options()
    positional = [w for w in words if not w.startswith("-")]
    match magic, positional:
        case (("%fire" | "%%fire"), []):
            return context.suggestions.kinds_known()
        case "%fire", [kind, *given]:
            named = {g.partition("=")[0] for g in given}
            return [f"{field}=" for field in context.suggestions.fields(kind) if field not in named]
        case "%%worker", []:
            return context.live.names()
        case (("%panel" | "%map"), []):
            return _workers(context)
        case "%worker", given:
            return _of_worker(context, given, words, word)
        case "%%agent", []:
            return context.runtime.agents.names()
        case "%replay", []:
            return ["last", *(f"#{e.seq}" for e in context.runtime.history.events(20))]
        case "%clock", []:
            return VERBS
        case "%dead", given:
            return _of_dead(context, given)
        case "%events", given:
            return _of_events(context, given)
        case "%capability", [verb, *given]:
            return _of_capability(context, verb, given)
        case _, []:
            return parser.words()
    return []


def _of_worker(context: MagicContext, given: list[str], words: list[str], word: str) -> Iterable[str]:
    match given:
        case []:
            return [*_workers(context), *WORKER_VERBS, "list"]
        case ["remove"] if "." in word:
            return _handlers(context)
        case ["remove", handler] if words[-1] == "--cell":
            return _cells_of(context, handler)
        case [verb] if verb in WORKER_VERBS:
            return _workers(context)
        case ["topology", _]:
            return TOPOLOGIES
    return []


def _of_events(context: MagicContext, given: list[str]) -> Iterable[str]:
    match given:
        case []:
            return EVENTS_VERBS
        case ["schema"]:
            return context.suggestions.kinds_known()
    return []


def _of_dead(context: MagicContext, given: list[str]) -> Iterable[str]:
    match given:
        case []:
            return DEAD_VERBS
        case ["show" | "retry" | "drop"]:
            return [f"#{one.seq}" for one in context.runtime.dead_letters.all()]
    return []


def _kept_before(context: MagicContext, given: list[str]) -> list[str]:
    """Return the events before which the state of a worker is kept: for `state`, as `logs` takes a line."""
    match given:
        case ["state", name, *_]:
            kept = context.states.snapshots
            return [f"#{one.seq}" for one in kept if name in (one.worker, one.worker.rpartition(":")[2])]
    return []


def _of_capability(context: MagicContext, verb: str, given: list[str]) -> Iterable[str]:
    capabilities = context.runtime.capabilities.all()
    match verb, given:
        case "load", []:
            return _directories_to_load()
        case "reload", []:
            return [capability.name for capability in capabilities]
        case "unload", []:
            return [capability.name for capability in capabilities if not capability.live]
        case "flag", []:
            return flags_by_name(context.runtime)
        case "flag", [_]:
            return ["on", "off"]
    return []


def _directories_to_load() -> list[str]:
    """Return the capabilities near the notebook, by their paths."""
    found = [*Path().glob(f"*/{MANIFEST_NAME}"), *Path().glob(f"*/*/{MANIFEST_NAME}")]
    return [str(path.parent) for path in found]


def _workers(context: MagicContext) -> list[str]:
    return [worker.name for worker in context.runtime.workers()]


def _handlers(context: MagicContext) -> list[str]:
    """Return the handlers of cells, as `%worker remove` takes them; by the qualified name too."""
    found = []
    for managed in context.runtime.workers():
        live = context.live.running(managed)
        names = [handler.key.name for handler, _ in live.handlers()] if live is not None else []
        found += [f"{worker}.{name}" for worker in (managed.name, managed.qualified_name) for name in names]
    return found


def _cells_of(context: MagicContext, handler: str) -> list[str]:
    """Return the numbers of the cells that register a handler."""
    worker, _, name = handler.rpartition(".")
    live = context.live.get(worker.rpartition(":")[2])
    return [str(cell.number) for one, cell in live.handlers() if one.key.name == name] if live else []
