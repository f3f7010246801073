"""`extra_needed`: says which extra has a library that is imported late and is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra_needed(what: str, extra: str = "runtime") -> Iterator[None]:
    """Say of a library that the body imports, and that is not installed, what needs it and what installs it.

    Raises:
        ModuleNotFoundError: it is not installed; `name` is its own.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        library = (exc.name or "").partition(".")[0]
        if library in ("", "dnworker"):
            raise
        way_out = f"install it with: pip install 'dnworker[{extra}]'"
        raise ModuleNotFoundError(f"{what} needs {library!r}; {way_out}", name=exc.name) from None
