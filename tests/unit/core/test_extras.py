"""A library that is imported late and is not installed is named with what installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnworker.core.extras import extra_needed


@pytest.mark.parametrize(
    ("lacking", "code", "said"),
    [
        ("httptools", "async with Runtime(): pass", "the server of a Runtime needs 'httptools'"),
        (
            "starlette",
            "async with Runtime(port=None) as own: await own.client().fetch_runtime_info()",
            "the API of a Runtime needs 'starlette'",
        ),
        (
            "yaml",
            "from dnworker.capability.manifest import parse_manifest\n    parse_manifest('name: a', '/')",
            "a file of a capability needs 'yaml'",
        ),
        (
            "genson",
            "from dnworker.catalogue.inference import infer\n    infer([{}])",
            "a schema of recorded payloads needs 'genson'",
        ),
        (
            "regex",
            "from dnworker.panel.log_rows import TextFinder\n    TextFinder('a', is_regex=False)",
            "a search of logs needs 'regex'",
        ),
    ],
)
def test_the_last_line_of_the_error_names_the_library_and_the_command(lacking, code, said):
    program = (
        f"import asyncio, sys\nsys.modules[{lacking!r}] = None\nfrom dnworker import Runtime\n"
        f"async def main():\n    {code}\nasyncio.run(main())"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    *_, last = answer.stderr.splitlines()
    assert last == f"ModuleNotFoundError: {said}; install it with: pip install 'dnworker[runtime]'"


def test_a_module_of_ours_that_is_not_found_is_a_fault_of_ours():
    with pytest.raises(ModuleNotFoundError, match="No module named"), extra_needed("this"):
        import dnworker.no_such_module  # noqa: F401
