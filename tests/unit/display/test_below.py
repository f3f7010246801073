"""What a stored trace and a comparison leave out is said, and costs no time."""

from __future__ import annotations

from types import SimpleNamespace

from dnworker.workers import shadow
from dnworker.workers.shadow import Comparison, Observation
from dnworker_jupyter.display.printed import LINES_SHOWN, Room, printed
from dnworker_jupyter.display.widget_hub import WidgetHub


def run_of(name, count):
    lines = [SimpleNamespace(text=name, level="info", data=None)] * count
    return SimpleNamespace(label=name, worker="w", handler=name, logs=lines)


def test_lines_of_later_handlers_that_are_not_stored_are_counted():
    html = printed([run_of("a", LINES_SHOWN), run_of("b", 50)], Room(), is_open=True)
    assert "(50 more lines; %worker logs shows them)" in html


def test_of_many_lines_no_similar_ones_are_looked_for_and_they_are_compared_once(monkeypatch):
    monkeypatch.setattr(shadow.difflib, "ndiff", None)
    old, new = ([f"{n} {word}" for n in range(300)] for word in ("old", "new"))
    seen = [[Observation(None), Observation(None, lines)] for lines in (["same", *old], ["same", *new])]
    found = Comparison(*seen, ("a", "b"))
    (diff,) = found.diffs
    assert diff[:2] == ["  same", "- 0 old"]
    assert len(diff) == 601
    assert found.diffs is found.diffs


def test_a_look_that_is_due_before_the_widget_is_known_does_not_keep_it_from_looking():
    hub = WidgetHub(SimpleNamespace(), SimpleNamespace(post=lambda *_: None), lambda: None)
    hub.notify()
    hub._schedule()
    assert not hub._is_due
