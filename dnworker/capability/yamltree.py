"""YAML with positions: plain values, each with its line and column, for the messages about manifests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Keys and list indexes from the root to a value; `(*path, KEY)` is the key itself."""

KEY = "\0key"

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(ValueError):
    """The text is no YAML; `line` and `column` count from one."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed document: its value, and the line and column of each part of it."""

    value: Any
    positions: dict[Path, tuple[int, int]]

    def position(self, path: Path) -> tuple[int, int]:
        """Return line and column of `path`, or of the nearest part above it that has one."""
        while path not in self.positions and path:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def parse(text: str) -> YamlDocument:
    """Read one YAML document, safely: no tags beyond the standard ones are constructed.

    Raises:
        YamlError: the text is no YAML, or uses a tag that is not plain data.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        # libyaml puts what is missing at the end on the line after the last
        line = min(mark.line + 1, text.rstrip("\n").count("\n") + 1) if mark else 1
        column = mark.column + 1 if mark else 1
        raise YamlError(_explain(text, line, exc), line, column) from exc
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        # libyaml gives the character's number, PyYAML's own reader the character.
        code = exc.character if isinstance(exc.character, int) else ord(exc.character)
        raise YamlError(f"character U+{code:04X} is not allowed in YAML", line, 1) from exc
    except ValueError as exc:  # a date such as 2024-13-45
        raise YamlError(f"a value cannot be read: {exc}", 1, 1) from exc
    except RecursionError as exc:
        raise YamlError("the document is nested too deep", 1, 1) from exc
    finally:
        loader.dispose()
    positions: dict[Path, tuple[int, int]] = {}
    for path, mark in _walk(node, (), frozenset()):
        positions[path] = (mark.line + 1, mark.column + 1)
    return YamlDocument(value, positions)


def _walk(node: Any, path: Path, above: frozenset[int]) -> Iterator[tuple[Path, Any]]:
    if node is None or id(node) in above:
        return  # empty, or an alias to something that contains it
    yield path, node.start_mark
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark.index)
            yield (*path, name, KEY), key.start_mark
            yield from _walk(value, (*path, name), inside)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*path, number), inside)


def _explain(text: str, line: int, exc: yaml.MarkedYAMLError) -> str:
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return "a tab stands where YAML wants spaces; indent with spaces"
    problem = exc.problem or exc.context or "not valid YAML"
    return f"{problem} ({exc.context})" if exc.context and exc.problem else problem
