"""Tests of a capability, run by a real pytest in a process of its own, where the SDK is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.capabilities import make_capability

BRIDGE = """
from dreadnode.capabilities.worker import Worker, EventEnvelope, RuntimeClient
from helper import NAME

worker = Worker(name=NAME)

async def forward_result(ws, payload):
    await ws.send(payload)

@worker.on_event("turn.completed")
async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
    await forward_result(worker.state["ws"], event.payload)

if __name__ == "__main__":
    worker.run()
"""

AS_SPECIFIED = """
import pytest
from workers.bridge import worker

@pytest.mark.asyncio
async def test_forward_on_turn_completed(fake_client, fake_ws):
    worker.state["ws"] = fake_ws
    envelope = make_envelope(kind="turn.completed", payload={"turn_id": "t1"})

    for handler in worker._event_handlers["turn.completed"]:
        await handler(envelope, fake_client)

    assert fake_ws.sent == [{"turn_id": "t1"}]
"""


def make_tested(root: Path, name: str = "bridge", files: dict[str, str] | None = None) -> Path:
    """Write a capability with a worker and the test of it."""
    written = {"workers/bridge.py": BRIDGE, "workers/helper.py": f"NAME = {name!r}\n"}
    return make_capability(
        root,
        "bridge: {path: workers/bridge.py}",
        written | {"tests/test_bridge.py": AS_SPECIFIED} | (files or {}),
    )


def run_pytest(directory: Path, *words: str) -> str:
    """Run pytest as a user would; returns its last line, and shows everything where it fails."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pytest")), "-q", *words],
        cwd=directory, env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    return done.stdout.strip().rpartition("\n")[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-p", "no:cacheprovider", "--import-mode=importlib"],
        ["-n", "1", "--strict-markers", "tests"],
        ["tests/test_bridge.py::test_forward_on_turn_completed", "--import-mode=append"],
    ],
    ids=["plain", "importlib", "xdist", "one test"],
)
def test_the_specified_test_runs_as_it_is_written(tmp_path, words):
    assert run_pytest(make_tested(tmp_path / "bridge"), *words).startswith("1 passed")


@pytest.mark.slow
def test_each_of_several_capabilities_has_its_own_workers(tmp_path):
    own = "from workers.bridge import worker\ndef test_it():\n    assert worker.name == 'NAME'\n"
    late = "def test_late():\n    import workers.bridge\n    assert workers.bridge.worker.name == 'NAME'\n"
    for name in ("first", "second"):
        files = {
            f"tests/test_{name}.py": own.replace("NAME", name),
            f"tests/test_late_{name}.py": late.replace("NAME", name),
            f"tests/more/test_more_{name}.py": "def test_more(name):\n    assert name == 'NAME'\n".replace(
                "NAME", name
            ),
            "tests/more/conftest.py": (
                "import pytest\nfrom workers.bridge import worker\n@pytest.fixture\ndef name(): return worker.name\n"
            ),
        }
        make_tested(tmp_path / name, name, files)
        (tmp_path / name / "tests" / "test_bridge.py").unlink()
    outside = "import sys\ndef test_it():\n    assert 'workers' not in sys.modules\n"
    (tmp_path / "test_zz_outside.py").write_text(outside)
    assert run_pytest(tmp_path).startswith("7 passed")
    assert run_pytest(tmp_path, "second/tests/more", "first/tests/more", "-p", "no:randomly").startswith(
        "2 passed"
    )


@pytest.mark.slow
def test_a_first_conftest_imports_from_its_capability(tmp_path):
    files = {
        "conftest.py": "import workers.bridge\nfrom dreadnode.capabilities.worker import Worker\n",
        "tests/conftest.py": "from workers.bridge import worker\nassert worker.name == 'bridge'\n",
    }
    root = make_tested(tmp_path / "bridge", files=files)
    assert run_pytest(root / "tests").startswith("1 passed")
    assert run_pytest(tmp_path, "bridge/tests/test_bridge.py").startswith("1 passed")


@pytest.mark.slow
def test_outside_of_a_capability_nothing_changes(tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest, sys\n"
        "def test_names():\n    with pytest.raises(NameError): make_envelope\n"
        "def test_path():\n    assert not any('workers' in p for p in sys.path)\n"
        "def test_sdk():\n    pytest.importorskip('dreadnode')\n"
    )
    assert run_pytest(tmp_path).startswith("2 passed, 1 skipped")
