"""`LazyDoor`: stands in for `Door` until an agent calls: loading the extension does not load that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker_jupyter.magics.context import MagicContext
    from dnworker_jupyter.magics.door import Door


class LazyDoor:
    """The door of a notebook, made with the first call.

    Args:
        context: the notebook's parts.
    """

    def __init__(self, context: MagicContext) -> None:
        self._context = context
        self._made: Door | None = None

    def open(self) -> Door:
        """Return the door."""
        if self._made is None:
            from dnworker_jupyter.magics.door import Door

            self._made = Door(self._context)
        return self._made
