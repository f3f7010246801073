"""One capability: loaded once, with its checks."""

from __future__ import annotations

import pytest

from dnworker import ManifestError, Runtime
from dnworker.capability.manifest import parse_manifest

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


async def test_flags_of_the_command_line_hold_for_the_name_that_they_were_given_for(tmp_path):
    head = "name: {}\nversion: 0.1.0\ndescription: d\nflags: {{relay: {{description: f}}}}\n"
    async with Runtime(port=None, flags={"given": {"relay": True}}) as runtime:
        for name, source in (("given", "cli"), ("other", "default"), ("given", "cli")):
            await runtime.declare(parse_manifest(head.format(name), tmp_path, is_head=True))
            assert runtime.capability().flags["relay"].source == source
