"""`DocumentChecker`: collects the broken rules of one YAML document, with positions; used by `manifest`."""

from __future__ import annotations

from pathlib import Path

from dnworker.capability.reading import UnreadableFile, resolved, shown
from dnworker.capability.yamltree import KEY, YamlDocument
from dnworker.capability.yamltree import Path as Where

LONGEST_ARGUMENT = 131_071
"""Bytes of an argument or a variable that Linux takes (MAX_ARG_STRLEN)."""

MOST_PROBLEMS = 100
"""Broken rules of one document that are listed; the rest are counted."""


class DocumentChecker:
    """Collects a message, with file, line, column and code, for every broken rule.

    Args:
        document: the checked document.
        source: what messages call it.
        first_line: the line of `source` on which the document begins.
        root: the capability's directory, resolved.
    """

    def __init__(self, document: YamlDocument, source: str, first_line: int, root: Path) -> None:
        self.problems: list[str] = []
        self.unlisted = 0
        """Broken rules beyond `MOST_PROBLEMS`."""
        self.root = root
        self._document = document
        self._source = source
        self._first_line = first_line

    def bad(self, where: Where, message: str, code: str) -> None:
        """Note that the rule `code` is broken at `where`."""
        if len(self.problems) == MOST_PROBLEMS:
            self.unlisted += 1
            return
        self.problems.append(f"{self.position(where)}: {shown(message)} [CAP-{code}]")

    def position(self, where: Where) -> str:
        """Return `where` as file, line and column."""
        line, column = self._document.position(where)
        return f"{self._source}:{line + self._first_line - 1}:{column}"

    def doubled(self) -> tuple[str, ...]:
        """Return what to say of keys that stand twice in one mapping, of which the last counts."""
        found = self._document.doubled[:MOST_PROBLEMS]
        first = self._first_line - 1
        return tuple(
            f"{self._source}:{line + first}:{column}: {shown(repr(key))} stands twice; the last one counts"
            for key, line, column in found
        )

    def text_list(self, value: object, where: Where, code: str) -> list[tuple[int, str]]:
        """Return the entries of a list that are text, with their indexes; any other entry breaks `code`."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.bad(where, f"{where[-1]} is a list of text, not {kind_of(value)}", code)
            return []
        good = []
        for number, entry in enumerate(value):
            if isinstance(entry, str) and entry.strip():
                good.append((number, entry))
            else:
                self.bad((*where, number), f"{where[-1]} holds text that is not blank, not {entry!r}", code)
        return good

    def no_nul(self, text: str, where: Where, code: str) -> bool:
        """Return whether a text could be part of a path or a command; one with a NUL breaks `code`."""
        if "\0" in text:
            self.bad(where, f"{where[-1]} holds a NUL character, which no path and no command can have", code)
        return "\0" not in text

    def command_texts(self, command: str, args: list[str], env: dict[str, str], where: Where) -> None:
        """Refuse what no process can be started with: a NUL, and a variable without a name."""
        self.no_nul(command, (*where, "command"), "WTOP-004")
        for key, texts in (("command", [command]), ("args", args), ("env", list(env.values()))):
            if any(len(text.encode()) > LONGEST_ARGUMENT for text in texts):
                why = (
                    f"{key} has a text of more than {LONGEST_ARGUMENT:,} bytes, which no process can be given"
                )
                self.bad((*where, key), why, "WTOP-004")
        for number, text in enumerate(args):
            if "\0" in text:
                self.bad(
                    (*where, "args", number),
                    "args hold a NUL character, which no command can have",
                    "WTOP-004",
                )
        for key, value in env.items():
            if not key or "=" in key or "\0" in key:
                why = (
                    f"env names a variable {key!r}; a name has neither = nor NUL, and at least one character"
                )
                self.bad((*where, "env", key, KEY), why, "WTOP-004")
            elif "\0" in value:
                self.bad((*where, "env", key), f"env: the value of {key} holds a NUL character", "WTOP-004")

    def where_is(self, path: str) -> Path | str:
        """Return the place of a path in the capability, without symbolic links, or why it has none."""
        if "\0" in path:
            return "holds a NUL character, which no path can have"
        try:
            place = resolved(self.root / path)
        except UnreadableFile as exc:
            return exc.why
        return place if place.is_relative_to(self.root) else "lies outside the capability"


def kind_of(value: object) -> str:
    """Return what a YAML value is, in a user's words."""
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), type(value).__name__)


def at_most(name: object) -> str:
    """Return what to add to the rule of a name that is too long."""
    return ", at most 128" if len(str(name)) > 128 else ""
