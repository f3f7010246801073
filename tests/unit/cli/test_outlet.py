"""An outlet keeps order, bounds what waits, counts what it drops, and never waits for long."""

from __future__ import annotations

import errno
import os
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.cli.outlet import Outlet


class Pipe:
    """A pipe whose reader reads when the test says so."""

    def __init__(self, **options):
        self.reading, self.writing = os.pipe()
        self.said = []
        self.outlet = Outlet(self.writing, "standard output", **options)
        self.outlet.start()

    def rest(self):
        """Return all that is written until the outlet is closed; reads on a thread."""
        found = []

        def read():
            while chunk := os.read(self.reading, 65_536):
                found.append(chunk)

        reader = threading.Thread(target=read)
        reader.start()
        self.outlet.close(10)
        os.close(self.writing)
        reader.join()
        os.close(self.reading)
        return b"".join(found)


def test_what_is_written_arrives_in_order():
    pipe = Pipe()
    pipe.outlet.write(b"one ")
    pipe.outlet.write(b"two\n")
    assert pipe.outlet.flush(10)
    assert pipe.rest() == b"one two\n"


def test_a_burst_loses_nothing_to_a_reader_that_reads():
    pipe = Pipe(limit=10_000)
    found = []

    def read():
        while chunk := os.read(pipe.reading, 65_536):
            found.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20_000):
        pipe.outlet.write(b"%d\n" % number)
    pipe.outlet.close(10)
    os.close(pipe.writing)
    reader.join()
    os.close(pipe.reading)
    assert b"".join(found).split() == [b"%d" % number for number in range(20_000)]


def test_what_nobody_reads_is_dropped_and_said_in_its_place():
    pipe = Pipe(limit=5_000)
    for number in range(30_000):
        pipe.outlet.write(b"%09d\n" % number)
    dropped = pipe.outlet.dropped_bytes
    assert dropped > 200_000
    text = pipe.rest()
    said = re.findall(rb"\[dnworker: ([\d,]+) lines \(([\d,]+) bytes\) of standard output were dropped", text)
    assert sum(int(size.replace(b",", b"")) for _, size in said) == dropped
    assert sum(int(count.replace(b",", b"")) for count, _ in said) * 10 == dropped
    kept = [line for line in text.splitlines() if not line.startswith(b"[")]
    assert len(kept) * 10 + dropped == 300_000
    assert kept == sorted(kept)


def test_a_loss_is_told_to_whoever_asked_for_it():
    told = threading.Event()
    lines = []
    pipe = Pipe(limit=5_000, on_loss=lambda text: (lines.append(text), told.set()))
    for _ in range(30_000):
        pipe.outlet.write(b"123456789\n")
    reading = threading.Thread(target=lambda: [os.read(pipe.reading, 65_536) for _ in range(2)])
    reading.start()
    assert told.wait(10)
    reading.join()
    text = pipe.rest()
    assert "lines" in lines[0]
    assert b"dropped" not in text


def test_a_reader_that_is_gone_ends_nothing():
    told = threading.Event()
    pipe = Pipe(on_loss=lambda text: told.set())
    os.close(pipe.reading)
    pipe.outlet.write(b"to nobody\n")
    assert told.wait(10)
    for _ in range(1000):
        pipe.outlet.write(b"to nobody\n")
    assert pipe.outlet.dropped_bytes == 10_010
    pipe.outlet.close(10)
    os.close(pipe.writing)


def test_a_full_disk_that_has_room_again_gets_what_waited(monkeypatch):
    pipe = Pipe()
    write, failures = os.write, [errno.ENOSPC] * 2
    monkeypatch.setattr("dnworker.cli.outlet.RETRY", 0.01)

    def full(fd, data):
        if fd == pipe.writing and failures:
            raise OSError(failures.pop(), "no space left")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    pipe.outlet.write(b"kept\n")
    assert pipe.rest() == b"kept\n"
    assert not failures


def test_after_its_end_writes_are_tried_and_never_wait():
    pipe = Pipe()
    pipe.outlet.close(10)
    for _ in range(1000):
        pipe.outlet.write(b"x" * 1000)  # a pipe holds 64 kB
    os.close(pipe.writing)
    held = len(os.read(pipe.reading, 1_000_000))
    os.close(pipe.reading)
    assert held + pipe.outlet.dropped_bytes == 1_000_000


def test_a_child_made_by_fork_writes_by_itself():
    pipe = Pipe()
    child = os.fork()
    if child == 0:
        pipe.outlet.write(b"from the child\n")
        os._exit(0)
    os.waitpid(child, 0)
    assert pipe.rest() == b"from the child\n"


@settings(max_examples=30, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=3000), max_size=60), limit=st.integers(1, 5000))
def test_whatever_is_written_is_there_or_counted(pieces, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnworker.cli.outlet.PATIENCE", 0.0)
        pipe = Pipe(limit=limit, on_loss=lambda text: None)
        for piece in pieces:
            pipe.outlet.write(piece)
        dropped = pipe.outlet.dropped_bytes
        assert len(pipe.rest()) + dropped == sum(map(len, pieces))
