"""`Retries`: gives a worker an event again whose handler has failed, or makes it a dead letter.

A part of the engine; `Deliveries` tells it of failures.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dnworker.core.clock import Clock
from dnworker.core.errors import NotFound
from dnworker.core.listeners import Listeners
from dnworker.core.retry_policies import RetryPolicies, RetryPolicy
from dnworker.engine.dead_letters import DeadHandler, DeadLetters
from dnworker.events.brokers.base import Outcome
from dnworker.events.next_tries import NextTry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.handler_error import HandlerError
    from dnworker.core.invocation import Invocation
    from dnworker.events.brokers.base import Consumer
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

log = logging.getLogger("dnworker.retries")

NOT_OF_PROCESSES = (
    "its events are not tried again: it is a process, and this runtime keeps events in memory; "
    "dnworker serve --durable and %runtime durable keep them in a file"
)

NOT_OF_SILENT = (
    "its events are not tried again: {}, so nobody knows what fails in it; "
    "it can give events back itself (nak)"
)


class Retries:
    """The retry policies of workers, by their qualified names, and what follows from them.

    Args:
        bus: whose broker gives events again.
        history: is told when.
        clock: what waits go by.
        dead_letters: keeps what is not tried again.
        policies: those that there are from the beginning.
    """

    def __init__(
        self,
        bus: EventBus,
        history: History,
        clock: Clock,
        dead_letters: DeadLetters,
        policies: Mapping[str, RetryPolicies],
    ) -> None:
        self._bus = bus
        self._history = history
        self._clock = clock
        self._dead = dead_letters
        self._policies = dict(policies)
        self.untried: set[str] = set()
        """Workers that run and have policies, of which it was said that nothing is tried again."""
        self.changed: Listeners[[]] = Listeners()
        """Called when a worker has got a policy, or has none any more."""
        self.tried_again: Listeners[[Invocation]] = Listeners()
        """Called with each failed call whose event comes again."""
        history.next_tries.now = clock.monotonic

    def __len__(self) -> int:
        return len(self._policies)

    @property
    def policies(self) -> Mapping[str, RetryPolicies]:
        """The policies that there are, by worker."""
        return self._policies

    def open(self) -> None:
        """Have the broker count the ends of the workers that have policies; called at each start."""
        for worker in self._policies:
            self._bus.broker.count_ends(worker)

    def of(self, worker: str) -> RetryPolicies | None:
        """Return the policies of a worker; None where nothing is tried again."""
        return self._policies.get(worker)

    def why_not_of_process(self, worker: str, silent: str | None) -> str | None:
        """Return why a worker that is a process gets nothing again, though it is to; None where it does.

        Args:
            worker: its qualified name.
            silent: why it says nothing of its handlers; None where it does.
        """
        if worker not in self._policies:
            return None
        if not self._bus.broker.capabilities.redelivers:
            return NOT_OF_PROCESSES
        return None if silent is None else NOT_OF_SILENT.format(silent)

    def put(self, worker: str, policies: RetryPolicies | None) -> None:
        """Let a worker have these policies from now on, or none: what waits then, comes once more."""
        if policies is None:
            if self._policies.pop(worker, None) is not None:
                self._bus.broker.count_ends(worker, is_wanted=False)
                self.changed.notify()
            return
        self._policies[worker] = policies
        self._bus.broker.count_ends(worker)
        self.changed.notify()

    def rename(self, former: str, name: str) -> None:
        """Keep the policies of a capability's workers under its new name."""
        for worker in [one for one in self._policies if one.startswith(f"{former}:")]:
            policies = self._policies[worker]
            self.put(worker, None)
            self.put(name + worker.removeprefix(former), policies)

    # -- what happens ----------------------------------------------------------------------------------

    def note_begin(self, invocation: Invocation, event_id: str) -> None:
        """Note that a worker has an event again."""
        self._history.next_tries.forget(event_id, invocation.worker)

    def note_failure(
        self, consumer: Consumer, invocation: Invocation, event: EventEnvelope, error: HandlerError
    ) -> bool:
        """Decide what becomes of an event whose handler has failed; False where the worker has no policy."""
        policies = self._policies.get(invocation.worker)
        policy = None if policies is None else policies.of(event.kind)
        whole = consumer.event(event.event_id)
        if policy is None or whole is None:
            return False
        is_retried = policy.covers(error.classes or (error.type,))
        if is_retried and invocation.delivery <= policy.times:
            self._try_again(consumer, invocation, policy, whole, error)
        else:
            why = "exhausted" if is_retried else "not retried"
            self._give_up(consumer, invocation, policy, whole, error, why)
        return True

    def _try_again(
        self,
        consumer: Consumer,
        invocation: Invocation,
        policy: RetryPolicy,
        event: EventEnvelope,
        error: HandlerError,
    ) -> None:
        """Give the event back: it comes again to those of its handlers that have not ended well."""
        number = invocation.delivery
        delay = policy.delay(number)
        due = self._clock.monotonic() + delay
        tries = self._history.next_tries
        tries.note(
            NextTry(event.event_id, invocation.worker, (invocation.handler,), due, number, policy.times)
        )
        self.tried_again.notify(invocation)
        consumer.release(event.event_id, delay)
        consumer.note_end(event.event_id, Outcome(invocation.handler, error.summary))

    def _give_up(
        self,
        consumer: Consumer,
        invocation: Invocation,
        policy: RetryPolicy,
        event: EventEnvelope,
        error: HandlerError,
        why: str,
    ) -> None:
        """Make it a dead letter; the handler counts as under way until that is kept."""
        kept = partial(self._note_kept, consumer, invocation.handler, event.event_id, policy, error)
        failed = DeadHandler(invocation.handler, error, invocation.delivery, self._clock.now())
        self._dead.add(invocation.worker, event, failed, why, kept)

    def _note_kept(
        self,
        consumer: Consumer,
        handler: str,
        event_id: str,
        policy: RetryPolicy,
        error: HandlerError,
        exc: BaseException | None,
    ) -> None:
        if exc is None:  # it is taken care of: it must not run again where others of the event do
            consumer.note_end(event_id, Outcome(handler))
            return
        with suppress(NotFound):  # it has been given back meanwhile, and comes again
            consumer.release(event_id, policy.longest)
        consumer.note_end(event_id, Outcome(handler, error.summary))
