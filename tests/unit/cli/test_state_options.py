"""`serve --keep-state`: which workers it names, and what is no worker."""

from __future__ import annotations

import argparse

import pytest

from dnworker import Runtime, Worker
from dnworker.cli.state_options import add_state_arguments, check_kept
from dnworker.core.errors import UsageError


async def test_a_name_that_is_no_worker_is_refused_and_the_near_one_named():
    parser = argparse.ArgumentParser()
    add_state_arguments(parser)
    options = parser.parse_args(["--keep-state", "notebook:bridge", "--keep-state", "notebook:brigde"])
    async with Runtime(port=None, keep_state=options.keep_state) as runtime:
        await runtime.add(Worker("bridge"))
        with pytest.raises(UsageError, match="--keep-state notebook:brigde: .* did you mean notebook:bridge"):
            check_kept(runtime)
        runtime.services.keep_state.discard("notebook:brigde")
        check_kept(runtime)
