"""What options of `dnworker serve` that name workers have in common, such as `--debug` and `--retry`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.engine.named_workers import unknown

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def refuse_unknown(runtime: Runtime, names: Iterable[str], option: str) -> None:
    """Refuse names that are no worker, once all is loaded; those of a capability that failed to load stay.

    Raises:
        UsageError: there is no such worker.
    """
    for text in unknown(runtime.capabilities, names):
        raise UsageError(f"{option} {text}", code="DN301")
