"""The exports of the five tutorials that are for the reference, too: the real SDK loads them, and they run in its runtime."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from dnworker_jupyter.export.slicing.cells import read_notebook

from .environment import LIMIT
from .test_reference import LIST, first_answer, reference_runtime, sdk  # noqa: F401  a fixture
from .test_tutorial_checks import NAMES, NOTEBOOKS

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

ASKED = {
    "orders": ("capability.orders.placed", {"order_id": "o1", "is_express": True}, "capability.orders.taken"),
    "nightly": ("capability.nightly.item", {"number": 1}, "capability.nightly.taken"),
    "till": ("capability.till.paid", {"amount": 30, "guests": 3}, "capability.till.split"),
}
"""What the workers answer that any runtime can ask; the others answer to sessions and turns."""


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The five capabilities, each exported from its file by the command line, checked."""
    directory = tmp_path_factory.mktemp("capabilities")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "dnworker", "export", path, "-o", directory / NAMES[path.stem], "--check"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for path in NOTEBOOKS
    ]
    for path, process in zip(NOTEBOOKS, running, strict=True):  # side by side: each waits most of its time
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, f"{path.name}: {output}"
    return directory


def test_the_references_loader_accepts_each_and_lists_its_workers(exports, sdk):  # noqa: F811
    for path in NOTEBOOKS:
        name = NAMES[path.stem]
        answer = subprocess.run(
            [sdk, "-c", LIST, str(exports / name)], capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr[-2000:]
        told = json.loads(answer.stdout.splitlines()[-1])
        assert told["name"] == name
        assert set(told["workers"]) == workers_of(path)


def workers_of(path: Path) -> set[str]:
    from dnworker_jupyter.export.planning.plan import plan_export

    return set(plan_export(read_notebook(path), default_name="x", beside=path.parent).entries)


async def test_all_five_run_in_the_real_runtime_under_uv_run(exports, sdk, tmp_path, unused_tcp_port):  # noqa: F811
    async with reference_runtime(sdk, tmp_path, exports, unused_tcp_port) as client:
        for name, (kind, payload, answer) in ASKED.items():
            found = await first_answer(client, answer, lambda k=kind, p=payload: client.publish(k, p))
            assert found.kind == answer, name
        for path in NOTEBOOKS:
            for worker in workers_of(path):
                detail = await until_settled(client, NAMES[path.stem], worker)
                assert (detail["state"], detail["process"]["command"]) == ("running", "uv"), detail


async def until_settled(client, capability: str, worker: str) -> dict:
    """Return a worker's detail once it is no more starting."""
    async with asyncio.timeout(LIMIT):
        while True:
            with suppress(httpx.TransportError):  # it closes connections that a busy machine leaves idle
                detail = await client.fetch_worker_detail(capability, worker)
                if detail["state"] not in ("loading", "starting"):
                    return detail
            await asyncio.sleep(0.2)
