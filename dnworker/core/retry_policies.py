"""`RetryPolicy`: whether and when a worker is given an event again whose handler has failed.

`serve --retry`, `Runtime(retry=...)` and `%%worker --retry` are read here; `engine/retries.py` goes by them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from dnworker.core.errors import UsageError, code_of
from dnworker.core.schedule import FIRST_DELAY, LONGEST_DELAY

MOST_TIMES = 1_000
"""Further attempts that a policy may ask for."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_CLASS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_LIKE = "write it like 5,backoff=1s..5m,on=httpx.TransportError"

Names = tuple[str, ...]
"""What an exception is called: the qualified names of its classes, its own first; or its name alone."""


@dataclass(frozen=True)
class RetryPolicy:
    """Try again so often after the first attempt, and wait as tasks do: each time twice as long.

    Args:
        times: further attempts.
        first: seconds before the first of them.
        longest: seconds that no wait is longer than.
        on: names of exceptions that are tried again, and those derived from them; none for all.

    Raises:
        UsageError: a number makes no sense; says which.
    """

    times: int
    first: float = FIRST_DELAY
    longest: float = LONGEST_DELAY
    on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.times <= MOST_TIMES:
            raise UsageError(
                f"{self.times} retries: a number from 1 to {MOST_TIMES:,} is wanted; {_LIKE}", code="DN318"
            )
        if not (0 <= self.first <= self.longest < math.inf):
            raise UsageError(
                f"backoff={self.first:g}s..{self.longest:g}s: the longest wait comes last, as in 1s..5m",
                code="DN318",
            )

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt that failed; the first one is number 1."""
        return min(self.first * 2.0 ** min(attempt - 1, 64), self.longest)

    def covers(self, names: Names) -> bool:
        """Return whether an exception of these names is tried again."""
        return not self.on or any(_is_named(name, wanted) for name in names for wanted in self.on)


def _is_named(name: str, wanted: str) -> bool:
    """Return whether an exception is meant: its class, by where it is defined or by its library alone.

    `requests.ConnectionError` means `requests.exceptions.ConnectionError`, too. Where a worker process of an
    earlier version has said no more than the name of the class, that is compared.
    """
    *module, last = name.split(".")
    *wanted_module, wanted_last = wanted.split(".")
    if last != wanted_last:
        return False
    return not module or not wanted_module or module == wanted_module or module[0] == wanted_module[0]


class RetryPolicies(msgspec.Struct, frozen=True):
    """The policies of one worker: of some of its kinds, and of all others."""

    of_kinds: tuple[tuple[str | None, RetryPolicy], ...]

    def of(self, kind: str) -> RetryPolicy | None:
        """Return what goes for a kind; None where nothing is tried again."""
        found = dict(self.of_kinds)
        return found.get(kind) or found.get(None)


def parse_retry(words: Iterable[str], option: str = "--retry") -> RetryPolicies | None:
    """Return the policies of words such as `5`, or `demo.kind=5,backoff=1s..5m,on=OSError`; None without any.

    Raises:
        UsageError: a word makes no sense; quotes it and says how it is written.
    """
    found: dict[str | None, RetryPolicy] = {}
    for word in words:
        kind, policy = _read(word, option)
        if kind in found:
            which = "all kinds" if kind is None else kind
            raise UsageError(
                f"{option} {word}: there is a policy for {which} already; leave one out", code="DN318"
            )
        found[kind] = policy
    return RetryPolicies(tuple(found.items())) if found else None


def parse_worker_retry(words: Iterable[str], option: str = "--retry") -> dict[str, RetryPolicies]:
    """Return the policies by worker of words like `demo:bridge=5`, or `demo:bridge/demo.kind=5,on=OSError`.

    Raises:
        UsageError: a word makes no sense, or names no worker; quotes it and says how it is written.
    """
    of_worker: dict[str, list[str]] = {}
    for word in words:
        target, equals, rest = word.partition("=")
        worker, slash, kind = target.partition("/")
        capability, colon, name = worker.partition(":")
        if not (equals and colon and capability and name) or (slash and not kind):
            raise UsageError(
                f"{option} {word}: name a worker, as in {option} demo:bridge=5, or one of its kinds, "
                f"as in {option} demo:bridge/demo.kind=5",
                code="DN318",
            )
        of_worker.setdefault(worker, []).append(f"{kind}={rest}" if slash else rest)
    return {
        worker: policies
        for worker, own in of_worker.items()
        if (policies := parse_retry(own, f"{option} {worker}:")) is not None
    }


def words_for_worker(worker: str, words: Iterable[str]) -> list[str]:
    """Return what `parse_worker_retry` takes for the words of one worker that `parse_retry` takes."""
    return [f"{worker}/{word}" if "=" in word.partition(",")[0] else f"{worker}={word}" for word in words]


Retry = Mapping[str, "str | int | RetryPolicy | RetryPolicies"] | Iterable[str]
"""Policies by worker, or words as on the command line."""


def retry_policies(given: Retry | None) -> dict[str, RetryPolicies]:
    """Return the policies that are meant, by worker: words as on the command line, or a mapping of workers.

    Raises:
        UsageError: something makes no sense.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return parse_worker_retry([given] if isinstance(given, str) else given, "retry")
    found: dict[str, RetryPolicies] = {}
    for worker, policy in given.items():
        if isinstance(policy, RetryPolicies):
            found[worker] = policy
        elif isinstance(policy, RetryPolicy):
            found[worker] = RetryPolicies(((None, policy),))
        else:
            found |= parse_worker_retry([f"{worker}={policy}"], "retry")
    return found


def _read(word: str, option: str) -> tuple[str | None, RetryPolicy]:
    head, *settings = word.split(",")
    kind, equals, times = head.rpartition("=")
    if equals and not kind:
        raise UsageError(
            f"{option} {word}: a kind is missing before =; {_LIKE}, or demo.kind=5", code="DN318"
        )
    if not times.isdecimal() or len(times) > 6:
        raise UsageError(f"{option} {word}: {times or head!r} is no number of retries; {_LIKE}", code="DN318")
    first, longest, on = FIRST_DELAY, LONGEST_DELAY, list[str]()
    for setting in settings:
        key, _, value = setting.partition("=")
        if key == "backoff":
            first, longest = _bounds(value, f"{option} {word}")
        elif key == "on" and _CLASS.fullmatch(value):
            on.append(value)
        elif key == "on":
            raise UsageError(f"{option} {word}: {value!r} is no name of an exception; {_LIKE}", code="DN318")
        else:
            raise UsageError(
                f"{option} {word}: {setting!r} is neither backoff= nor on=; {_LIKE}", code="DN318"
            )
    try:
        return kind or None, RetryPolicy(int(times), first, longest, tuple(on))
    except UsageError as exc:
        raise UsageError(f"{option} {word}: {exc}", code=code_of(exc) or "DN318") from None


def _bounds(text: str, where: str) -> tuple[float, float]:
    shortest, dots, longest = text.partition("..")
    ends = [_DURATION.fullmatch(one) for one in ([shortest, longest] if dots else [shortest, shortest])]
    if None in ends:
        raise UsageError(
            f"{where}: {text!r} are no two waits; write backoff=1s..5m, or backoff=10s", code="DN318"
        )
    first, last = (float(found[1]) * _SECONDS[found[2]] for found in ends if found is not None)
    return first, last
