"""What a stranger installs: the wheel in a clean environment, and the steps that a Binder service takes."""

from __future__ import annotations

import os

import pytest

from .building import PROJECT, UV, new_environment, outside, sh

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RUN_TUTORIAL = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
print([o.data["text/plain"] for c in notebook.cells if c.source.startswith("%capability") for o in c.outputs])
"""


def test_a_worker_script_needs_no_jupyter_and_no_server(wheel, tmp_path):
    binaries = new_environment(tmp_path / "venv", str(wheel))
    code = "from dnworker import Worker, RuntimeClient, EventEnvelope; import dnworker.workers.standalone, dnworker.workers.runner; print('ok')"
    assert sh(binaries / "python", "-c", code) == "ok\n"
    installed = sh(UV, "pip", "list", "--python", binaries / "python")
    for heavy in ("ipython", "starlette", "uvicorn", "anywidget", "pyyaml"):
        assert heavy not in installed.lower()


def test_the_wheel_gives_the_tutorial_in_any_jupyter_environment(wheel, tmp_path):
    binaries = new_environment(tmp_path / "venv", f"{wheel}[jupyter]", "nbclient", "nbformat")
    tutorial = PROJECT / "notebooks" / "01-quickstart.ipynb"
    told = sh(
        binaries / "python", "-c", RUN_TUTORIAL, tutorial, tmp_path,
        env=outside(binaries, tmp_path), cwd=tmp_path,
    )  # fmt: skip
    assert "capability quickstart is in out/quickstart" in told


def test_binder_would_open_the_tutorial(checkout, tmp_path):
    binaries = new_environment(tmp_path / "venv", "pip")
    environment = outside(binaries, tmp_path)
    sh(
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        binaries / "python",
        "-r",
        "binder/requirements.txt",
        cwd=checkout,
    )
    sh(checkout / "binder" / "postBuild", env=environment, cwd=checkout)
    url = sh(
        checkout / "binder" / "start", "sh", "-c", "echo $JUPYTERHUB_DEFAULT_URL", env=environment, cwd=checkout
    ).strip()  # fmt: skip
    assert (checkout / url.removeprefix("/lab/tree/")).is_file()
    specs = sh(binaries / "jupyter", "kernelspec", "list", env=environment, cwd=checkout)
    assert "python3" in specs


def test_a_new_capability_works_with_what_its_readme_installs(wheel, tmp_path):
    bin_ = new_environment(tmp_path / "env", f"{wheel}[runtime]", "pytest", "pytest-asyncio")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    here = {"cwd": tmp_path, "env": environ | {"HOME": str(tmp_path)}}
    sh(bin_ / "dnworker", "init", "demo", **here)
    assert "1 passed" in sh(bin_ / "python", "-m", "pytest", "demo", **here)
    assert "ok (1 worker)" in sh(bin_ / "dnworker", "validate", "--strict", "demo", **here)
    sh(bin_ / "dnworker", "pack", "demo", "-o", "demo.tar.gz", **here)
    assert "4 files as listed" in sh(bin_ / "dnworker", "verify", "demo.tar.gz", **here)
