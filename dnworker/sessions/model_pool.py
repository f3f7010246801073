"""`ModelPool`: the models of one runtime, with the connections that they share; `Agents` has it.

It imports pydantic-ai on a thread when the first model is asked: the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from dnworker.core.side_threads import SideThreads
from dnworker.sessions.model_answer import missing
from dnworker.sessions.turn import TurnFailure

if TYPE_CHECKING:
    from dnworker.sessions.model_endpoint import ModelEndpoint
    from dnworker.sessions.model_library import Library, LibraryModel

MOST_MODELS = 100
"""Models that are kept ready; a turn may name any."""


class ModelPool:
    """Makes models, and keeps them with their connections until it is closed."""

    def __init__(self) -> None:
        self._threads = SideThreads()
        self._making = asyncio.Lock()
        self._library: Library | None = None
        self._models: dict[tuple[str, str, str | None, str], LibraryModel] = {}

    async def get(self, endpoint: ModelEndpoint, name: str) -> LibraryModel:
        """Return a model at an endpoint.

        Raises:
            TurnFailure: pydantic-ai is not installed, or the model cannot be asked like this.
        """
        key = (endpoint.provider.name, endpoint.base_url, endpoint.api_key, name)
        if (found := self._models.get(key)) is not None:
            return found
        async with self._making:
            if (found := self._models.get(key)) is None:
                found = await self._threads.run(self._make, endpoint, name)
                while len(self._models) >= MOST_MODELS:
                    self._models.pop(next(iter(self._models)))
                self._models[key] = found
        return found

    async def close(self) -> None:
        """Close all connections; a model that is asked afterwards opens others."""
        self._threads.close()
        self._models.clear()
        self._making = asyncio.Lock()  # the next loop may be another
        library, self._library = self._library, None
        if library is not None:
            await library.close()

    def _make(self, endpoint: ModelEndpoint, name: str) -> LibraryModel:
        if self._library is None:
            try:
                module = importlib.import_module("dnworker.sessions.model_library")
            except ImportError as exc:
                if not _is_of_the_extra(exc):
                    raise
                raise TurnFailure(missing(), "ModelNotConfigured") from exc
            self._library = module.Library()
        return self._library.model(endpoint, name)


def _is_of_the_extra(error: ImportError) -> bool:
    """Return whether what is missing comes with pydantic-ai, and is no file of ours."""
    return not (error.name or "").startswith("dnworker")
