"""When the reports of an observed process are written, on a clock and a loop that stand still."""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace

import pytest

from dnworker.workers.reports import Begin, End, Ran, ReportReader
from dnworker.workers.subprocess_worker import CHILD_HOOK

from .sdk import WORD


class Process:
    """A channel into a pipe, and what its loop is to call later."""

    def __init__(self, monkeypatch) -> None:
        spec = importlib.util.spec_from_file_location("observed_channel", CHILD_HOOK / "channel.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.later = []
        loop = SimpleNamespace(call_later=self._call_later)
        module.asyncio = SimpleNamespace(_get_running_loop=lambda: loop)
        module.time = SimpleNamespace(monotonic=lambda: 100.0)
        self.reading_end, writing_end = os.pipe()
        os.set_blocking(self.reading_end, False)
        self.output = os.fdopen(writing_end, "w")
        monkeypatch.setattr("sys.stdout", self.output)
        monkeypatch.setattr("os.register_at_fork", lambda **_: None)
        nobody = SimpleNamespace(get=lambda: None)
        self.channel = module.Channel(WORD, None, nobody, nobody)

    def _call_later(self, delay, call, context):
        self.later.append(call)
        return SimpleNamespace(cancel=lambda: self.later.remove(call))

    def written(self):
        """Return the reports that are in the pipe, as their kind and number."""
        try:
            data = os.read(self.reading_end, 65_536)
        except BlockingIOError:
            return []
        return [(type(one), int(one.id, 16)) for one in ReportReader(WORD).feed(data)]

    def run(self, number):
        """Return a run of a handler of an event."""
        head = '"key":["on_event","a","on_a"],"cause":"event"'
        facts = {"event_id": "ab" * 16, "is_delivered": True, "took": None, "is_told": False}
        return SimpleNamespace(number=number, id=f"{number:016x}", head=head, **facts)


@pytest.fixture
def process(monkeypatch):
    made = Process(monkeypatch)
    yield made
    made.output.close()
    os.close(made.reading_end)


def test_after_a_pause_the_beginning_of_a_run_is_written_at_once(process):
    process.channel.begin(process.run(1))
    assert process.written() == [(Begin, 1)]


def test_beginnings_right_after_a_write_are_one_write_a_little_later(process):
    process.channel.begin(process.run(1))
    process.written()
    process.channel.begin(process.run(2))
    process.channel.begin(process.run(3))
    assert process.written() == []
    (write,) = process.later
    write()
    assert process.written() == [(Begin, 2), (Begin, 3)]


def test_a_run_that_ends_before_its_beginning_is_written_is_one_report_in_its_place(process):
    first, second, third = (process.run(number) for number in (1, 2, 3))
    process.channel.begin(first)
    process.written()
    process.channel.begin(second)
    process.channel.begin(third)
    process.channel.end(second, 0.001)
    process.channel.end(first, 0.002)
    process.later[0]()
    assert process.written() == [(Ran, 2), (Begin, 3), (End, 1)]
