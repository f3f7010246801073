"""What `%%worker` lines of cells give: options of workers, and variables of the process; for transactions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.capability.manifest import AUTHORITATIVE, ROOT_REFERENCE, WorkerDefinition
from dnworker.core.retry_policies import parse_retry
from dnworker.engine.engine import Engine
from dnworker_jupyter.syntax.options import Options, merged


@contextlib.contextmanager
def retried(engine: Engine, worker: str, options: Options) -> Iterator[None]:
    """Give a worker of ours events again as its options say; where the block fails, as before."""
    name = f"{engine.capability().name}:{worker}"
    before = engine.retries.of(name)
    engine.retries.put(name, parse_retry(options.retry))
    try:
        yield
    except BaseException:
        engine.retries.put(name, before)
        raise


def definition_of(worker: str, options: Options) -> WorkerDefinition:
    """Return what options say of a worker whose handlers run in this process."""
    return WorkerDefinition(
        worker, when=options.when, keep_state=options.keep_state, check_payloads=options.check_payloads
    )


class CellOptions:
    """The options that each cell gives for each worker: what one does not say, others may have said."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], Options] = {}
        """What counts, by worker and key of the cell."""
        self._begun: dict[tuple[str, str], Options] = {}
        """What a cell gives that has not taken effect yet."""

    def begin(self, worker: str, cell: str, options: Options | None, others: Iterable[str]) -> Options:
        """Return the worker's options once a cell counts; `others` are the keys of those that do."""
        self._begun[worker, cell] = options or Options()
        order = dict.fromkeys([*others, cell])
        said = {key: self._given.get((worker, key), Options()) for key in order}
        return merged((said | {cell: self._begun[worker, cell]}).values())

    def accept(self, worker: str, cell: str) -> None:
        """Let what a cell gives count: it has taken effect."""
        self._given[worker, cell] = self._begun.pop((worker, cell), Options())


class Variables:
    """The variables that lines of cells give to workers, in this process too: live workers run in it.

    What was set outside stays, as the manifest's references to it say.
    """

    def __init__(self) -> None:
        self._set: dict[str, str] = {}

    def set(self, given: Mapping[str, str], root: Path) -> dict[str, str | None]:
        """Set variables that nobody else has set; one that refers to what is not set is left out.

        Returns those that were set, with what they were before: for `put_back`.

        Args:
            given: names and values, which may have references.
            root: the capability's directory.
        """
        environ = {name: value for name, value in os.environ.items() if self._set.get(name) != value}
        before: dict[str, str | None] = {}
        for name, text in given.items():
            if name in AUTHORITATIVE:  # the runtime's own, which no worker sets
                continue
            with contextlib.suppress(UnsetVariable):  # only the user knows its value
                value = interpolate(text.replace(ROOT_REFERENCE, str(root)), environ, name)
                if name not in environ:
                    before[name] = os.environ.get(name)
                    os.environ[name] = self._set[name] = value
        return before

    def put_back(self, before: Mapping[str, str | None]) -> None:
        """Set variables to what they were before `set`, where nobody has set them since."""
        for name, value in before.items():
            if os.environ.get(name) != self._set.get(name):
                continue
            if value is None:
                os.environ.pop(name, None)
                self._set.pop(name, None)
            else:
                os.environ[name] = self._set[name] = value
