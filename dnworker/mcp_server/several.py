"""`Several`: the tools of each runtime that runs here; each call says which it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dnworker.client.client import RuntimeClient
from dnworker.mcp_server.answers import Known
from dnworker.mcp_server.api import Api, Refused
from dnworker.mcp_server.tools import Tools
from dnworker.mcp_server.untrusted import clean

MOST_KNOWN = 20


class Finder(Protocol):
    """Finds runtimes."""

    def known(self) -> list[Known]:
        """Return those that run here; empty where the user has named one, which alone counts."""

    def client(self, url: str | None) -> RuntimeClient:
        """Return a client of one, or of the only one.

        Raises:
            UsageError: it cannot be told which is meant, or its token cannot be read.
        """


class Several:
    """Tools by runtime.

    Args:
        finder: finds the runtimes, at every call: they come and go.
        make: makes the tools over one.
    """

    def __init__(self, finder: Finder, make: Callable[[Api], Tools]) -> None:
        self._finder = finder
        self._make = make
        self._by_url: dict[str | None, tuple[Api, Tools]] = {}

    def any(self) -> Tools:
        """Return tools for what no runtime is asked for."""
        return self._make(Api(lambda: self._finder.client(None)))

    def of(self, runtime: str | None) -> tuple[str | None, Tools] | list[Known]:
        """Return the tools of the runtime that is meant and its URL, None where it is the only one.

        Where several run and none is named, return them.

        Args:
            runtime: its URL, or the file of its notebook, or a part of that which only one has.

        Raises:
            Refused: none fits, or several do.
        """
        known = self._finder.known()
        if runtime is not None:
            url: str | None = _meant(runtime, known)["url"]
        elif len(known) > 1:
            return known[:MOST_KNOWN]
        else:
            url = None
        if url not in self._by_url:
            api = Api(lambda: self._finder.client(url))
            self._by_url[url] = api, self._make(api)
        return url, self._by_url[url][1]

    async def close(self) -> None:
        """Close the connections."""
        for api, _ in self._by_url.values():
            await api.close()


def _meant(runtime: str, known: list[Known]) -> Known:
    fitting = [one for one in known if runtime in (one["url"], one["notebook"])]
    fitting = fitting or [
        one for one in known if runtime and runtime in (one["notebook"] or one["directory"])
    ]
    if len(fitting) == 1:
        return fitting[0]
    named = (
        ", ".join(one["url"] for one in (fitting or known)[:MOST_KNOWN]) or "none, or one was named by --url"
    )
    why = "several fit" if fitting else "there is none"
    raise Refused(f"runtime {clean(runtime, 100)!r}: {why}; give one of: {named}")


def list_of(known: list[Known], tool: str) -> dict[str, Any]:
    """Return the answer to a call that did not say which runtime it means."""
    shown = [
        {
            **one,
            "notebook": one["notebook"] and clean(one["notebook"], 300),
            "directory": clean(one["directory"], 300),
        }
        for one in known
    ]
    return {"runtimes": shown, "next": f"{tool} with runtime={known[0]['url']!r}, or another of these"}
