"""The page of the magics: their arguments and options, from the parsers that read their lines."""

from __future__ import annotations

import argparse

from dnworker_jupyter.display.tables import WORKER_VERBS
from dnworker_jupyter.magics import capability, clock, dead, events, runtime
from dnworker_jupyter.magics.magics import parsers
from dnworker_jupyter.syntax.options import Parser

from .magic_notes import NOTES, Note
from .markdown import argument, fence, items, names, page, sentence

WORDS: dict[str, tuple[str, ...]] = {
    "%worker": WORKER_VERBS,
    "%clock": clock.VERBS,
    "%dead": dead.VERBS,
    "%events": events.VERBS,
    "%capability": capability.VERBS,
    "%runtime": runtime.WORDS,
}
"""The words that the magics take."""

ABOUT = """
Each magic with its arguments and options, as their parsers have them. In a notebook `%fire?` and `%fire --help` say the same, Tab completes, and a mistyped word gets the nearest one.

`%load_ext dnworker` comes first. [Notebook API](notebook-api.md) has the same as functions.
"""

DEBUGGER = """
## %debug, %pdb and breakpoint()

These are IPython's and Python's own; the extension lets them reach handlers.

- `breakpoint()` in a handler stops in the cell that waits for it, such as that of `%fire`. `q` ends the handler as `cancelled`, and the cell goes on.
- `%debug` opens the frame in which a handler failed last, `%debug #12` that of an event, `%debug bridge.on_turn` that of a handler.
- `%pdb on` opens it whenever a handler fails that the cell waits for, once the cell has ended.
- `dn.last_failure` is the exception. The frames of the last 20 failures are kept for an hour.

A breakpoint is not entered where no cell waits, in a thread, in a worker process, and in front ends without standard input; the worker's log says so. [Debug](../how-to/debug.md) goes through one.

## %time, %%capture and other magics around these

`%time`, `%%time` and `%%capture` around a magic wait for what it causes. `%timeit` and `%prun` cannot wait, and are refused.

In a plain function nothing can be awaited: a magic begins there, and the cell that called the function ends when it has ended.
"""


def magics() -> str:
    """Return the page."""
    known = parsers()
    if known.keys() != NOTES.keys():
        raise ValueError(f"magic_notes has not the magics that there are: {known.keys() ^ NOTES.keys()}")
    about = {name: _section(name, known[name], NOTES[name]) for name in NOTES}
    return page("the parsers of `dnworker_jupyter.magics`", "Magics", ABOUT, *about.values(), DEBUGGER)


def _section(name: str, parser: Parser, note: Note) -> str:
    """Return what the page says of a magic."""
    if set(note.words) != set(WORDS.get(name, ())):
        raise ValueError(f"magic_notes: {name} takes the words {WORDS.get(name, ())}")
    actions = [one for one in parser._actions if one.dest != "help"]
    given = [one for one in actions if not one.option_strings and one.help]
    if note.words:  # these say more than the help of the word
        given = [one for one in given if not names(one).startswith("[")]
    options = [one for one in actions if one.option_strings]
    parts = [f"## {name}", sentence(parser.description or ""), fence("", _usage(name, actions))]
    if given:
        parts.append(items(argument(one) for one in given))
    if note.words:
        parts += ["Its words:", items(f"`{word}`: {note.words[word]}" for word in note.words)]
    if options:
        parts += ["Its options:", items(argument(one) for one in options)]
    return "\n\n".join([*parts, note.example.strip()])


def _usage(name: str, actions: list[argparse.Action]) -> str:
    words = [_word(one) for one in actions if not one.option_strings]
    has_options = any(one.option_strings for one in actions)
    return " ".join([name, *words, *(["[options]"] if has_options else [])])


def _word(action: argparse.Action) -> str:
    text = names(action)
    if text.startswith("["):
        return text
    text = text.upper() if action.metavar is None and action.choices is None else text
    return f"[{text} ...]" if action.nargs == "*" else f"[{text}]" if action.nargs == "?" else text
