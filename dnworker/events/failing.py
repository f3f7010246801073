"""`Failing`: what fails now, by handler and error; the engine has one, and the panel's overview shows it.

An entry is made when a call fails, and costs calls that succeed nothing. It ends when its worker is started
anew or its handlers are replaced, when somebody dismisses it, or after a minute of success: the reader, who
knows of workers and handlers, says when that is (`forget`, `drop`). What was dismissed can be restored.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from dnworker.core.handler_error import HandlerError
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.series import Buckets, bucket_of
from dnworker.core.text import shorten

KEPT = 500
"""Entries that are kept; of more, those whose last failure is oldest go."""

LONGEST_TEXT, LONGEST_PLACE = 300, 200
"""Characters of an error and of a line of source, and of a location, that are kept."""

EXIT = "process"
"""What stands for the handler where it is the process, or the start of the worker, that failed."""

_LINE = re.compile(r"line (\d+)")


class Cause(NamedTuple):
    """What makes failures the same: whose they are, the type of the error, and where it was raised."""

    worker: str
    handler: str
    error: str
    place: str


class Failure(msgspec.Struct, eq=False):
    """One thing that fails: a handler with one error, or a worker that did not start or has exited."""

    cause: Cause
    key: HandlerKey | None
    """The handler; None for a worker that failed as a whole."""
    number: int
    text: str
    """What was raised last, in one line."""
    source: str
    """The line of code that raised it; empty where it is not known."""
    event: str | None
    """The id of the event on which it failed last, if there was one."""
    generation: int
    """The generation that failed last."""
    first_generation: int
    first: float
    last: float
    """When it failed first and last, in seconds of the monotonic clock."""
    buckets: Buckets = msgspec.field(default_factory=Buckets)
    """Its failures by bucket, as calls; those whose event comes again count as failed."""

    @property
    def worker(self) -> str:
        """The worker, `capability:name`."""
        return self.cause.worker

    @property
    def handler(self) -> str:
        """The name of the handler, or `process`."""
        return self.cause.handler

    @property
    def line(self) -> int | None:
        """The number of the line of code that raised it."""
        found = _LINE.search(self.cause.place)
        return None if found is None else int(found[1])

    def go_on(self, since: Failure) -> None:
        """Take over what the same cause has made fail since."""
        self.text, self.source, self.event = since.text, since.source, since.event or self.event
        self.generation, self.last = since.generation, since.last
        self.buckets.include(since.buckets)


class Failing:
    """The failures that have not ended, the one that failed last at the end."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Cause, Failure] = OrderedDict()
        self._dismissed: OrderedDict[Cause, tuple[int, Failure]] = OrderedDict()
        self._numbers = itertools.count(1)
        self.revision = 0
        """Changes with every failure and with every entry that ends."""

    def __len__(self) -> int:
        return len(self._entries)

    def all(self) -> list[Failure]:
        """Return the entries."""
        return [*self._entries.values()]

    def note(self, invocation: Invocation, error: HandlerError | None = None) -> None:
        """Note that a call failed, by the error that it has or by one of something that it has started."""
        error = error or invocation.error
        if error is None or invocation.key is None:
            return
        innermost = error.frames[-1] if error.frames else None
        self._note(
            _cause(invocation, error),
            invocation.key,
            shorten(error.summary, LONGEST_TEXT),
            "" if innermost is None else shorten(innermost.source, LONGEST_TEXT),
            None if invocation.event is None else invocation.event.event_id,
            invocation.generation,
        )

    def note_retried(self, invocation: Invocation) -> None:
        """Note that the event of a call that was noted last comes to its handler again."""
        if invocation.error is None:
            return
        failure = self._entries.get(_cause(invocation, invocation.error))
        if failure is not None:
            failure.buckets.note_failed(failure.buckets.newest)
            self.revision += 1

    def note_exit(self, worker: str, text: str, generation: int) -> None:
        """Note that a worker is in state `error`; a handler's failure that says the same is enough."""
        first, *output = [line for line in text.splitlines() if line.strip()] or ["it failed"]
        for failure in self._of(worker):
            if failure.key is not None and (failure.text in text or first[:LONGEST_PLACE] in failure.text):
                return
        head = first.partition("; restarts after")[0].partition("; given up")[0]
        said = f"{head}: {output[-1].strip()}" if output else head
        cause = Cause(worker, EXIT, EXIT, "")
        self._note(cause, None, shorten(said, LONGEST_TEXT), "", None, generation)

    def _note(
        self,
        cause: Cause,
        key: HandlerKey | None,
        text: str,
        source: str,
        event: str | None,
        generation: int,
    ) -> None:
        now = time.monotonic()
        failure = self._entries.get(cause)
        if failure is None:
            failure = self._entries[cause] = Failure(
                cause, key, next(self._numbers), text, source, event, generation, generation, now, now
            )
            if len(self._entries) > KEPT:
                self._entries.popitem(last=False)
        self._entries.move_to_end(cause)
        failure.text, failure.source, failure.event = text, source, event or failure.event
        failure.generation, failure.last = generation, now
        bucket = bucket_of(now)
        if failure.buckets.reach(bucket):
            failure.buckets.add(bucket)
        self.revision += 1

    def forget(self, worker: str) -> None:
        """End what failed in a worker, dismissed or not: it is started anew."""
        self.drop(self._of(worker))
        for cause in [cause for cause in self._dismissed if cause.worker == worker]:
            del self._dismissed[cause]

    def drop(self, failures: Iterable[Failure]) -> None:
        """End entries; what fails again is a new one."""
        for failure in failures:
            if self._entries.pop(failure.cause, None) is not None:
                self.revision += 1

    def dismiss(self, failures: Iterable[Failure], row: int) -> None:
        """End entries that `restore` brings back, all those of one row of a view."""
        for failure in failures:
            self._dismissed.pop(failure.cause, None)  # dismissed again: it moves to the end
            self._dismissed[failure.cause] = row, failure
            if len(self._dismissed) > KEPT:
                self._dismissed.popitem(last=False)
            self.drop([failure])

    def restore(self, row: int) -> list[Failure]:
        """Bring back what was dismissed as a row; returns those, none where it was not dismissed.

        What has failed again since is counted as if it had not been dismissed.
        """
        found = [failure for of_row, failure in self._dismissed.values() if of_row == row]
        for failure in found:
            del self._dismissed[failure.cause]
            if (since := self._entries.get(failure.cause)) is not None:
                failure.go_on(since)
            self._entries[failure.cause] = failure
            self.revision += 1
        by_last = sorted(self._entries.values(), key=lambda failure: failure.last)
        self._entries = OrderedDict((failure.cause, failure) for failure in by_last[-KEPT:])
        return found

    def _of(self, worker: str) -> list[Failure]:
        return [failure for failure in self._entries.values() if failure.worker == worker]


def _cause(invocation: Invocation, error: HandlerError) -> Cause:
    """Return what makes it the same as other failures."""
    kind, place = shorten(error.type, LONGEST_PLACE), shorten(error.place, LONGEST_PLACE)
    return Cause(invocation.worker, invocation.handler, kind, place)
