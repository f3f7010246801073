"""What options of `dnworker serve` that name workers have in common, such as `--debug` and `--retry`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.core.text import closest

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def refuse_unknown(runtime: Runtime, names: Iterable[str], option: str) -> None:
    """Refuse names that are no worker, once all is loaded; those of a capability that failed to load stay.

    Raises:
        UsageError: there is no such worker.
    """
    workers = sorted(worker.qualified_name for worker in runtime.workers())
    failed = {capability.name for capability in runtime.capabilities.all() if capability.failure is not None}
    for name in sorted(names):
        if name not in workers and name.partition(":")[0] not in failed:
            near = closest(name, workers, cutoff=0.5)
            hint = f"; did you mean {near}?" if near else ""
            raise UsageError(f"{option} {name}: there is no such worker{hint}")
