"""YAML with positions: plain values, each with its line and column, for the messages about manifests."""

from __future__ import annotations

from typing import Any

import msgspec

Path = tuple[str | int, ...]
"""Keys and list indexes from the root to a value; `(*path, KEY)` is the key itself."""

KEY = "\0key"


class YamlError(ValueError):
    """The text is no YAML; `line` and `column` count from one."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class YamlDocument(msgspec.Struct, frozen=True):
    """A parsed document: its value, its nodes for positions, and the keys that stand twice in a mapping."""

    value: Any
    node: Any = None
    doubled: tuple[tuple[str, int, int], ...] = ()
    """Each key that stands twice, with line and column of the one that counts, the last."""
    _indexes: dict[int, dict[str, tuple[Any, Any]]] = msgspec.field(default_factory=dict)

    def position(self, path: Path) -> tuple[int, int]:
        """Return line and column of `path`, or of the nearest part above it that has one."""
        node = self.node
        if node is None:
            return (1, 1)
        for number, step in enumerate(path):
            is_key = path[number + 1 : number + 2] == (KEY,)
            following = self._step(node, step, is_key=is_key)
            if following is None:
                break
            node = following
            if is_key:
                break
        return node.start_mark.line + 1, node.start_mark.column + 1

    def _step(self, node: Any, step: str | int, *, is_key: bool) -> Any:
        if node.id == "sequence":
            return node.value[step] if isinstance(step, int) and step < len(node.value) else None
        if node.id != "mapping":
            return None
        if id(node) not in self._indexes:
            self._indexes[id(node)] = {k.value: (k, v) for k, v in node.value if k.id == "scalar"}
        pair = self._indexes[id(node)].get(str(step))
        return None if pair is None else pair[0 if is_key else 1]
