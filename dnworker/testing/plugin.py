"""Fixtures and imports for tests of workers; registered with pytest by the installed distribution.

In a capability, a directory with a `capability.yaml`, tests import its modules as `workers.bridge`; the SDK's
name `dreadnode` is dnworker where the SDK is not installed; and `make_envelope` needs no import.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dnworker.testing.imports import CapabilityImports

if TYPE_CHECKING:
    from dnworker.core.clock import VirtualClock
    from dnworker.runtime import Runtime
    from dnworker.testing import FakeClient, FakeWebSocket

# Other imports stand inside the functions: a plugin is loaded by every pytest run of the environment.

_LENT = "make_envelope"
"""What a test of a capability may use without an import."""

_imports = CapabilityImports()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Let every `conftest.py` import from its capability; the first are imported next."""
    manager = early_config.pluginmanager
    import_conftest = getattr(manager, "_importconftest", None)  # no hook is called before
    if import_conftest is None:
        return

    @functools.wraps(import_conftest)
    def import_in_capability(conftestpath: Path, *args: Any, **fields: Any) -> Any:
        _imports.enter(Path(conftestpath))
        return import_conftest(conftestpath, *args, **fields)

    manager._importconftest = import_in_capability  # type: ignore[method-assign]


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """Let the module that is imported next import from its capability."""
    if isinstance(collector, pytest.Module):
        _imports.enter(collector.path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test import from its capability while it runs, too."""
    if not _imports.enter(item.path):
        return
    names = vars(item.module) if isinstance(item, pytest.Function) else {}
    if _LENT not in names and isinstance(item, pytest.Function):
        from dnworker.testing import make_envelope

        names[_LENT] = make_envelope


def pytest_unconfigure() -> None:
    """Leave `sys.path` as it was."""
    _imports.leave()


@pytest.fixture
def fake_client() -> FakeClient:
    """A client that records what handlers do."""
    from dnworker.testing import FakeClient

    return FakeClient()


@pytest.fixture
def fake_ws() -> FakeWebSocket:
    """A WebSocket that records what handlers send."""
    from dnworker.testing import FakeWebSocket

    return FakeWebSocket()


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that stands still until it is advanced."""
    from dnworker.core.clock import VirtualClock

    return VirtualClock()


try:
    import pytest_asyncio
except ImportError:  # without it there is no async fixture, and the others still work
    pass
else:

    @pytest_asyncio.fixture
    async def runtime(virtual_clock: VirtualClock) -> AsyncIterator[Runtime]:
        """A runtime without a server, on the virtual clock, stopped after the test."""
        from dnworker.runtime import Runtime

        async with Runtime(port=None, clock=virtual_clock, telemetry=False) as started:
            yield started
