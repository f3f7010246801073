"""One capability: loaded once, with its checks."""

from __future__ import annotations

import pytest

from dnworker import ManifestError

from ..capabilities import ECHO, make_capability


async def test_one_capability_is_loaded_once(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    with pytest.raises(ManifestError, match="'demo' is loaded already"):
        await runtime.load(tmp_path)


@pytest.mark.clause("4.2 checks")
async def test_checks_are_run_and_never_block_loading(runtime, tmp_path):
    head = "checks:\n- {name: good, command: 'true'}\n- {name: bad, command: 'echo why >&2; false'}\n"
    capability = await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}, head)
    )
    assert [(c.name, c.status, c.error) for c in capability.checks] == [
        ("good", "ok", None),
        ("bad", "error", "why"),
    ]
