"""What handlers log: it is kept once, wherever the record goes."""

from __future__ import annotations

import logging
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.log_records import follow_records
from dnworker_jupyter.kernel import output, redirects
from dnworker_jupyter.kernel.output import OutputRouter, Write


@pytest.fixture
def kept():
    return []


@pytest.fixture
def logger(kept):
    """A logger to a routed stream, in a handler."""
    engine = SimpleNamespace(log_line=lambda worker, line, **fields: kept.append(line))
    router = OutputRouter(engine, None)  # type: ignore[arg-type]
    stream: Any = SimpleNamespace(write=Write(router, "stderr", len), flush=lambda: None)
    logger = logging.Logger("theirs")
    logger.addHandler(logging.StreamHandler(stream))
    token = current_invocation.set(Invocation("w", "h", "event"))
    undo = follow_records(router._take_record)
    yield logger
    undo()
    current_invocation.reset(token)


def test_a_record_is_kept_in_the_log(logger, kept):
    logger.warning("once")
    assert kept == ["once"]


def test_a_record_that_no_stream_had_is_kept_with_its_level(logger, kept):
    logger.handlers.clear()
    logger.warning("once")
    assert kept == ["WARNING theirs: once"]


def test_a_record_that_the_handler_redirects_is_not_kept_again(logger, kept):
    buffer = StringIO()
    token = redirects.targets.set({"stderr": buffer})
    logger.warning("once")
    redirects.targets.reset(token)
    assert (buffer.getvalue(), kept) == ("once\n", [])


def test_a_record_of_a_forked_child_is_written_once(logger, kept, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(output, "in_child", lambda: True)
    monkeypatch.setattr(output, "write_in_child", lambda name, text: written.append(text))
    logger.warning("once")
    assert ("".join(written), kept) == ("once\n", [])
