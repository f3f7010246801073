"""Which names may share objects, so that a change of one is a change of the other; used by `slice`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from dnworker_jupyter.export.slicing.changes import MODULE, Changes, Strength
from dnworker_jupyter.export.slicing.functions import handed_on
from dnworker_jupyter.export.slicing.history import Definition, History, Version
from dnworker_jupyter.export.slicing.statements import Statement


class Sharers:
    """Which versions of names may share objects with which."""

    def __init__(self, history: History, *, maybe: bool) -> None:
        self._history = history
        self._parent: dict[Version, Version] = {}
        for position, statement in enumerate(history.statements):
            self._keep(statement, position)
            for sharing in statement.facts.sharing:
                is_handed_on = maybe or any(history.definition(name, position) for name in sharing.called)
                sources = sharing.sources | (sharing.maybe if is_handed_on else frozenset())
                if maybe:
                    sources |= {name for name in sharing.called if self._hands_on(name, position)}
                for target in sharing.targets:
                    self._join(target, sources, position)
            if maybe:
                self._join_returned(statement, position)

    def group(self, version: Version) -> Version:
        """Return the version that stands for all that may share objects with one."""
        root = self._parent.setdefault(version, version)
        while (above := self._parent[root]) != root:
            root = above
        while version != root:  # a cell that ran a thousand times makes a chain as long
            self._parent[version], version = root, self._parent[version]
        return root

    def _join(self, target: str, sources: Iterable[str], position: int) -> None:
        history = self._history
        bound = target in history.statements[position].binds
        if not bound and history.imported_as(target, position) is not None:
            return
        one = (target, position) if bound else _present(history, target, position)
        for source in sources if one is not None else ():
            if history.imported_as(source, position) is not None:
                continue
            if (version := _present(history, source, position)) is not None:
                self._unite(version, one)
            if source in history.statements[position].binds:  # a part of the statement binds it
                self._unite((source, position), one)

    def _join_returned(self, statement: Statement, position: int) -> None:
        """Note that a function, or what a class makes, hands on objects that have names."""
        function = statement.node.value if isinstance(statement.node, ast.Assign) else statement.node
        for source in handed_on(function) if isinstance(function, Definition | ast.Lambda) else ():
            version = _present(self._history, source, self._history.end)
            if version is not None and self._history.imported_as(source, self._history.end) is None:
                for name in statement.binds:
                    self._unite(version, (name, position))

    def _hands_on(self, name: str, position: int) -> bool:
        """Return whether a name is a function that may return an object of its outside, or such a class."""
        functions = [v for v in self._history.values(name, position) if isinstance(v, ast.Lambda)]
        definition = self._history.definition(name, position)
        return any(map(handed_on, functions)) or (definition is not None and bool(handed_on(definition)))

    def _keep(self, statement: Statement, position: int) -> None:
        """Note that a name which a statement may have bound may be what it was before, too."""
        for name in self._history.bound_by(statement):
            before = _present(self._history, name, position)
            if before is not None and not statement.binds.get(name):
                self._unite(before, (name, position))

    def _unite(self, version: Version, other: Version | None) -> None:
        if other is not None:
            self._parent[self.group(version)] = self.group(other)


def _present(history: History, name: str, position: int) -> Version | None:
    latest = history.latest(name, position)
    return None if latest is None else (name, latest)


def events(history: History, changes: Changes, sharers: Sharers) -> dict[Version, list[tuple[int, Strength]]]:
    """Return the changes in the order in which they ran, by the group of versions that they change."""
    found: dict[Version, list[tuple[int, Strength]]] = {}
    for position in range(history.end):
        mine: dict[Version, Strength] = {}
        for name, strength in changes.of(position).items():
            for version in changed_versions(history, name, position):
                group = sharers.group(version)
                mine[group] = max(strength, mine.get(group, strength))
        for group, strength in mine.items():
            found.setdefault(group, []).append((position, strength))
    return found


def changed_versions(history: History, name: str, position: int) -> Iterator[Version]:
    """Go through the versions of a name whose object a statement changes where it changes the name's."""
    if name.startswith(MODULE):
        return
    if (version := _present(history, name, position)) is not None:
        yield version
    if name in history.statements[position].binds:  # what it binds anew it may change, too
        yield name, position
