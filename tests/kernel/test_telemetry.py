"""A notebook whose kernel has the standard variables sends what its workers do, and `%runtime` says how it goes."""

from __future__ import annotations

import sys
from contextlib import closing

import pytest

from tests.unit.telemetry.receiver import receiving

from .session import KernelSession

pytestmark = pytest.mark.timeout(120)

CELL = """%%worker bridge
@worker.on_event("demo.go")
async def on_go(event, client): ...
"""


def test_a_kernel_with_the_variables_sends_its_traces_and_says_so(monkeypatch):
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with closing(KernelSession(sys.executable)) as kernel:
            kernel.run("%load_ext dnworker")
            made = kernel.run(CELL)
            assert made.status == "ok", made
            fired = kernel.run("await dn.fire('demo.go')")
            assert fired.status == "ok", fired
            said = kernel.run("%runtime").text
            assert "telemetry:" in said
            assert "traces sent" in said
            kernel.run("%runtime stop")
        assert any(span.name == "process demo.go" for span in receiver.spans())
