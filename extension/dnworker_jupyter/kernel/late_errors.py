"""`LateErrors`: errors found after their cell has ended; `dn.settle()` raises the first."""

from __future__ import annotations

from dnworker.core.errors import with_code


class LateErrors:
    """The errors of cells that have ended already, until `settle` raises the first."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []

    def add(self, exc: BaseException) -> None:
        """Keep an error, and print it where its cell's output goes on."""
        self._errors.append(exc)
        print(f"{type(exc).__name__}: {with_code(exc)}")  # noqa: T201  the cell has ended; its output is where people look

    def raise_first(self) -> None:
        """Raise the first error and forget all; return when there is none."""
        errors, self._errors = self._errors, []
        if errors:
            raise errors[0]
