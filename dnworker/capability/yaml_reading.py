"""Reads YAML by PyYAML into a `YamlDocument`; import it where a file is read, since PyYAML takes long.

A document counts as if its aliases were written out, so that a short text cannot become a large value: it has
at most `MOST_NODES` values, `LONGEST_FILE` characters and `DEEPEST` levels. Reading that takes under 0.1 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dnworker.capability.reading import DEEPEST, LONGEST_FILE, MOST_NODES, TooLarge, refuse_large, shown
from dnworker.capability.yamltree import YamlDocument, YamlError
from dnworker.core.extras import extra_needed

with extra_needed("a file of a capability"):
    import yaml

LONGEST_NUMBER = 300
"""Characters of a number: Python converts none of more than 4,300 digits, and longer ones only slowly."""

_MOST_DIRECTIVES = 100
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Refused(yaml.MarkedYAMLError):
    """A value is not made: it is too large, or cannot be read."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(None, None, problem, mark)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it runs
    """The safe loader, with a limit to what merge keys copy, and positions of what cannot be made."""

    _merged = 0
    """Pairs that merge keys have copied."""
    _merging: tuple[Any, ...] = ()
    """The mappings whose merge keys are being followed."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Make the value of a node."""
        if node.tag in _NUMBERS and isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
            raise _Refused(
                f"a number of {len(node.value):,} characters; quote it if it is text", node.start_mark
            )
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, ArithmeticError) as exc:  # a date such as 2024-13-45
            raise _Refused(f"a value cannot be read: {shown(str(exc))}", node.start_mark) from exc
        except (TypeError, AttributeError, KeyError, IndexError) as exc:  # `!!int []`, `!!timestamp x`
            raise _Refused("a value does not fit its tag", node.start_mark) from exc

    def flatten_mapping(self, node: Any) -> None:
        """Put what the merge keys (`<<`) of a mapping name before its own pairs, as the safe loader does."""
        merges = [(key, value) for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        if node in self._merging:
            raise _Refused("an alias refers to what contains it; write the value out", node.start_mark)
        self._merging = (*self._merging, node)
        for key, value in merges:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(source, yaml.MappingNode):
                    self.flatten_mapping(source)
                    self._merged += len(source.value)
                if self._merged > MOST_NODES:
                    why = f"merge keys copy more than {MOST_NODES:,} pairs; write fewer of them"
                    raise _Refused(why, key.start_mark)
        self._merging = self._merging[:-1]
        super().flatten_mapping(node)


def parse(text: str) -> YamlDocument:
    """Read one YAML document, safely: no tags beyond the standard ones are constructed.

    Raises:
        YamlError: the text is no YAML, uses a tag that is not plain data, or is too large.
    """
    if len(text) > LONGEST_FILE:
        raise YamlError(f"the document is longer than {LONGEST_FILE:,} characters; split it", 1, 1)
    _refuse_directives(text)
    try:
        _refuse_many(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            doubled = _doubled(node)
            value = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
        # The nodes and not the value: they have positions, and merge keys are followed in them by now.
        refuse_large(node, _parts)
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
    except UnicodeEncodeError as exc:  # a lone surrogate, which libyaml is not given
        line = text.count("\n", 0, exc.start) + 1
        raise YamlError(f"character U+{ord(text[exc.start]):04X} is not allowed in YAML", line, 1) from exc
    except TooLarge as exc:
        mark = getattr(exc.part, "start_mark", None)
        raise YamlError(str(exc), mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from exc
    except RecursionError as exc:
        raise YamlError("the document is nested too deep", 1, 1) from exc
    return YamlDocument(value, node, doubled)


def _parts(node: Any) -> Iterator[Any] | None:
    if isinstance(node, yaml.MappingNode):
        return (one for pair in node.value for one in pair)
    return iter(node.value) if isinstance(node, yaml.SequenceNode) else None


def _refuse_directives(text: str) -> None:
    """Refuse what libyaml reads in quadratic time."""
    if text.count("\n%") > _MOST_DIRECTIVES:
        at = [match.start() for match in _DIRECTIVE.finditer(text)][_MOST_DIRECTIVES]
        why = f"more than {_MOST_DIRECTIVES} lines begin with %, as directives do; indent text"
        raise YamlError(why, text.count("\n", 0, at) + 1, 1)


def _refuse_many(text: str) -> None:
    """Refuse a text with too many nodes, or nodes too deep, before any of them is made."""
    count = depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.NodeEvent):
            count += 1
            if count > MOST_NODES:
                raise _Refused(
                    f"the document has more than {MOST_NODES:,} values; split it", event.start_mark
                )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _Refused(f"the document is nested deeper than {DEEPEST} levels", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return  # a second document is refused where the nodes are made, in the loader's words


def _doubled(root: Any) -> tuple[tuple[str, int, int], ...]:
    """Return the keys that stand twice in one mapping, each node looked at once."""
    found: list[tuple[str, int, int]] = []
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        inner: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[tuple[str, str]] = set()
            for key, value in node.value:
                inner += [key, value]
                if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                    if (key.tag, key.value) in keys:
                        found.append((key.value, key.start_mark.line + 1, key.start_mark.column + 1))
                    keys.add((key.tag, key.value))
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        for one in inner:
            if id(one) not in seen:
                seen.add(id(one))
                waiting.append(one)
    return tuple(sorted(found, key=lambda one: one[1:]))


def _explain(text: str, line: int, exc: yaml.MarkedYAMLError) -> str:
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return "a tab stands where YAML wants spaces; indent with spaces"
    problem = exc.problem or exc.context or "not valid YAML"
    return shown(f"{problem} ({exc.context})" if exc.context and exc.problem else problem)
