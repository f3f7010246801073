"""What `%runtime doctor` says of the limits of a runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from dnworker.core.lifecycle import WorkerState
from dnworker.core.limits import Limits
from dnworker.engine.retries import NOT_OF_PROCESSES
from dnworker.engine.usage import Usage
from dnworker_jupyter.magics.doctor import _limits, _workers


def looked_at(usage: Usage) -> list[Any]:
    return list(_limits(cast(Any, SimpleNamespace(runtime=SimpleNamespace(usage=usage)))))


def test_it_says_how_much_of_each_measured_limit_is_used():
    usage = Usage(Limits())
    usage.add("history", lambda: (3_200_000, 0))
    (found,) = looked_at(usage)
    assert (found.subject, found.mark, found.text) == ("limits", "ok", "history 3.2 MB of 64.0 MB")


def test_it_says_what_had_to_go_and_how_to_keep_it():
    usage = Usage(Limits())
    usage.add("log", lambda: (1, 12_345))
    dropped = looked_at(usage)[1]
    assert (dropped.subject, dropped.mark) == ("dropped", "note")
    assert "log: 12,345" in dropped.text
    assert "--limit history=256MB" in dropped.remedy


def test_it_says_which_worker_has_lost_events_or_gets_none_again_and_why():
    def worker(name: str, losses: str | None) -> Any:
        return SimpleNamespace(
            name=name,
            qualified_name=f"demo:{name}",
            state=WorkerState.RUNNING,
            losses=losses,
            why_not_retried=NOT_OF_PROCESSES if name == "slow" else None,
        )

    workers = [worker("good", None), worker("slow", "3 events lost: its queue was full (64 MB)")]
    runtime = SimpleNamespace(workers=lambda: workers)
    _, retries, lost = _workers(cast(Any, SimpleNamespace(runtime=runtime)))
    assert retries.text.startswith("demo:slow: its events are not tried again: it is a process")
    assert "--durable" in retries.remedy
    assert (lost.subject, lost.mark) == ("events", "wrong")
    assert lost.text == "demo:slow: 3 events lost: its queue was full (64 MB)"
    assert "%worker logs slow" in lost.remedy
