"""`DocumentChecker`: collects the broken rules of one YAML document, with positions; used by `manifest`."""

from __future__ import annotations

from pathlib import Path

from dnworker.capability.yamltree import Path as Where
from dnworker.capability.yamltree import YamlDocument


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
        self.root = root
        self._document = document
        self._source = source
        self._first_line = first_line

    def bad(self, where: Where, message: str, code: str) -> None:
        """Note that the rule `code` is broken at `where`."""
        self.problems.append(f"{self.position(where)}: {message} [CAP-{code}]")

    def position(self, where: Where) -> str:
        """Return `where` as file, line and column."""
        line, column = self._document.position(where)
        return f"{self._source}:{line + self._first_line - 1}:{column}"

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

    def is_inside(self, path: str) -> bool:
        """Return whether a path lies in the capability, after symbolic links; one with a NUL lies nowhere."""
        return "\0" not in path and (self.root / path).resolve().is_relative_to(self.root)


def kind_of(value: object) -> str:
    """Return what a YAML value is, in a user's words."""
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), type(value).__name__)
