"""Which turns `RuntimeClient.run_turn(retry=)` starts again, and how often."""

from __future__ import annotations

from dnworker.core.errors import CommandError, TurnFailedError
from dnworker.core.retry_policies import RetryPolicy

FIRST, LONGEST = 0.5, 30.0
"""Seconds before the first further attempt, and the most before one."""

UNAVAILABLE = 503


def again_of(retry: int) -> RetryPolicy | None:
    """Return the policy that a number of further attempts means; None for none.

    Raises:
        UsageError: the number makes no sense.
    """
    return None if retry == 0 else RetryPolicy(retry, first=FIRST, longest=LONGEST)


def may_start_again(exc: TurnFailedError | CommandError) -> bool:
    """Return whether a turn may be started again without answering twice.

    One whose end was missed may have been answered; only what the runtime says itself counts.
    """
    if isinstance(exc, TurnFailedError):
        return exc.retryable
    return exc.status_code == UNAVAILABLE
