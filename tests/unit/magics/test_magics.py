"""The magics together: every one has a parser whose options its record takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnworker_jupyter.magics.agent import AgentOptions
from dnworker_jupyter.magics.capability import CapabilityOptions
from dnworker_jupyter.magics.clock import ClockOptions
from dnworker_jupyter.magics.events import EventsOptions
from dnworker_jupyter.magics.fire import FireOptions
from dnworker_jupyter.magics.head import HeadOptions
from dnworker_jupyter.magics.magics import parsers
from dnworker_jupyter.magics.map import MapOptions
from dnworker_jupyter.magics.panel import PanelOptions
from dnworker_jupyter.magics.replay import ReplayOptions
from dnworker_jupyter.magics.runtime import RuntimeOptions
from dnworker_jupyter.magics.worker import WorkerOptions


@pytest.mark.parametrize(
    ("magic", "kind", "words"),
    [
        ("%worker", WorkerOptions, ["logs", "bridge", "--last", "3", "--drop"]),
        ("%%agent", AgentOptions, ["triage", "--model", "m"]),
        ("%fire", FireOptions, ["demo.a", "n=1", "--times", "2", "--no-wait"]),
        ("%%fire", FireOptions, ["demo.a"]),
        ("%replay", ReplayOptions, ["last", "5", "--edit", "a=1", "--compare"]),
        ("%events", EventsOptions, ["save", "f.jsonl", "--all"]),
        ("%clock", ClockOptions, ["advance", "1h"]),
        ("%panel", PanelOptions, ["bridge", "--dock", "right"]),
        ("%map", MapOptions, ["bridge", "--minutes", "0", "--svg", "-o", "m.svg"]),
        ("%runtime", RuntimeOptions, ["doctor"]),
        ("%capability", CapabilityOptions, ["export", "out"]),
        ("%%capability", HeadOptions, ["--dir", "out"]),
    ],
)
def test_the_options_of_a_magic_are_one_record(magic, kind, words):
    assert isinstance(parsers()[magic].read_as(kind, words), kind)


def test_the_exporter_is_not_loaded_with_the_extension():
    code = "import sys, dnworker_jupyter.loading; print([m for m in sys.modules if '_jupyter.export' in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
