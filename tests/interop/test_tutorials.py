"""The exports of the four tutorials: they pass their check, the real SDK loads them, and they run there."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import nbformat
import pytest
from nbclient import NotebookClient

from dnworker.cli.main import main
from dnworker_jupyter.export.slicing.cells import read_notebook

from .environment import LIMIT, PROJECT
from .test_reference import LIST, first_answer, reference_runtime, sdk  # noqa: F401  a fixture

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
NAMES = {
    "01-quickstart": "quickstart",
    "02-events-and-traces": "orders",
    "03-time-and-failure": "nightly",
    "04-agents": "frontdesk",
}
ASKED = {
    "orders": ("capability.orders.placed", {"order_id": "o1", "is_express": True}, "capability.orders.taken"),
    "nightly": ("capability.nightly.item", {"number": 1}, "capability.nightly.taken"),
}
"""What the workers answer that any runtime can ask; the others answer to sessions and turns."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_tutorial_that_ran_passes_the_check_of_its_export_with_the_real_sdk(path, tmp_path):
    """The last cell of each exports; here it also checks, with the events that were fired above."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"%capability check out/{NAMES[path.stem]}"))
    NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    told = "\n".join(
        output.text if output.output_type == "stream" else str(output.get("data", {}).get("text/plain", ""))
        for output in notebook.cells[-1].outputs
    )
    assert "passed" in told, told
    assert "dreadnode 2.0.52 loads it" in told
    assert "fired: notebook and export do the same" in told


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The four capabilities, each exported from its file by the command line, checked."""
    directory = tmp_path_factory.mktemp("capabilities")
    for path in NOTEBOOKS:
        words = ["export", str(path), "-o", str(directory / NAMES[path.stem]), "--check"]
        assert main(words) == 0, path.name
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


async def test_all_four_run_in_the_real_runtime_under_uv_run(exports, sdk, tmp_path, unused_tcp_port):  # noqa: F811
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
