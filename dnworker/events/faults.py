"""Injects faults by a seed: duplicates, delays, other orders, failing calls; used by `--chaos`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.invocation import current_invocation
from dnworker.core.text import closest

FIELDS = ("seed", "duplicate", "delay", "reorder", "fail")
_PREFIX = "client."
_SEEDS = 2**32


class Delivery(msgspec.Struct, frozen=True):
    """One delivery of one of the events; `delay` is in seconds after the delivery before."""

    index: int
    delay: float
    is_copy: bool = False


class Fault(msgspec.Struct, frozen=True):
    """Which calls of a client's method fail: the `number`-th, or each with a probability."""

    method: str
    number: int | None = None
    probability: float = 1.0

    def __str__(self) -> str:
        when = f"call {self.number}" if self.number is not None else f"{self.probability:.0%} of calls"
        return f"{when} of {_PREFIX}{self.method}"


class FaultPlan(msgspec.Struct, frozen=True):
    """The faults of one run; the same seed gives the same faults.

    `duplicate` is the probability that an event comes twice, `delay` the longest time in seconds before each.
    """

    seed: int
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: bool = False
    faults: tuple[Fault, ...] = ()

    def deliveries(self, count: int) -> list[Delivery]:
        """Plan the deliveries of `count` events."""
        chance = random.Random(self.seed)  # noqa: S311  to be repeated is its purpose
        planned: list[tuple[int, bool]] = []
        for index in range(count):
            planned.append((index, False))
            if chance.random() < self.duplicate:
                planned.append((index, True))
        if self.reorder:
            chance.shuffle(planned)
        return [Delivery(index, chance.uniform(0, self.delay), copy) for index, copy in planned]

    def describe(self, deliveries: list[Delivery]) -> str:
        """Return the plan as one line, by which a run can be understood and repeated."""
        parts = [f"chaos: seed={self.seed}"]
        if copies := sum(delivery.is_copy for delivery in deliveries):
            parts.append(f"{copies} duplicated")
        if self.reorder:
            parts.append(f"in the order {' '.join(str(delivery.index + 1) for delivery in deliveries)}")
        if self.delay:
            parts.append(f"{sum(delivery.delay for delivery in deliveries):.2f} s of delays")
        parts += [f"failing {fault}" for fault in self.faults]
        return ", ".join(parts)


class FaultInjector:
    """Makes calls of clients fail as a `FaultPlan` says; the calls of all clients count together."""

    def __init__(self, plan: FaultPlan) -> None:
        self.failed: list[str] = []
        self._plan = plan
        self._chance = random.Random(plan.seed)  # noqa: S311  as above
        self._calls: dict[str, int] = {}

    @contextmanager
    def at_work(self, clients: Iterable[Any]) -> Iterator[None]:
        """Let calls of these clients fail while the block runs.

        Raises:
            UsageError: clients have no such method.
        """
        with ExitStack() as undo:
            for client in clients:
                for method in dict.fromkeys(fault.method for fault in self._plan.faults):
                    original = getattr(client, method, None)
                    if method.startswith("_") or not callable(original):
                        near = closest(method, (m for m in dir(client) if not m.startswith("_")))
                        hint = f"; did you mean {_PREFIX}{near}?" if near else ""
                        raise UsageError(
                            f"--chaos fail={_PREFIX}{method}: a client has no such method{hint}", code="DN213"
                        )
                    # On the instance, over the class's own: clients without faults pay nothing.
                    setattr(client, method, partial(self._call, method, original))
                    undo.callback(vars(client).pop, method, None)
            yield

    def _call(self, method: str, original: Callable[..., Any], *args: Any, **fields: Any) -> Any:
        number = self._calls[method] = self._calls.get(method, 0) + 1
        for fault in self._plan.faults:
            if fault.method == method and self._strikes(fault, number):
                invocation = current_invocation.get()
                where = invocation.label if invocation is not None else "a caller outside of handlers"
                self.failed.append(f"call {number} of {_PREFIX}{method}, in {where}")
                import httpx

                raise httpx.ConnectError(
                    f"chaos: call {number} of {_PREFIX}{method} fails (seed={self._plan.seed})"
                )
        return original(*args, **fields)

    def _strikes(self, fault: Fault, number: int) -> bool:
        if fault.number is not None:
            return number == fault.number
        return self._chance.random() < fault.probability


def read_chaos(text: str) -> FaultPlan:
    """Read `seed=7,duplicate=0.2,delay=0.1,reorder,fail=client.publish:3`.

    Without a seed one is chosen. `fail=client.METHOD` makes every call fail; with `:3` after it the third
    call, with `:0.2` a fifth of them. `fail` may come several times.

    Raises:
        UsageError: a word is unknown or its value is out of range; names the nearest word.
    """
    values: dict[str, Any] = {"seed": None, "duplicate": 0.0, "delay": 0.0, "reorder": False}
    faults: list[Fault] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = word.partition("=")
        if name not in FIELDS:
            near = closest(name, FIELDS)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(FIELDS)}"
            raise UsageError(f"--chaos: unknown {name!r}; {hint}", code="DN213")
        if name == "reorder":
            if equals:
                raise UsageError("--chaos: reorder stands alone, as in: seed=7,reorder", code="DN213")
            values[name] = True
        elif name == "fail":
            faults.append(_read_fault(value))
        elif name == "seed":
            values[name] = int(_number(name, value, most=_SEEDS))
        else:
            values[name] = _number(name, value, most=1.0 if name == "duplicate" else 3600.0)
    if values["seed"] is None:
        values["seed"] = random.randrange(1_000_000)  # noqa: S311  a name for a run, not a secret
    return FaultPlan(**values, faults=tuple(faults))


def _read_fault(text: str) -> Fault:
    name, _, when = text.partition(":")
    if not name.startswith(_PREFIX) or not name.removeprefix(_PREFIX).isidentifier():
        raise UsageError(f"--chaos: fail={text!r} is not of the form fail=client.publish:3", code="DN213")
    method = name.removeprefix(_PREFIX)
    if not when:
        return Fault(method)
    if when.isdecimal() and int(when) > 0:
        return Fault(method, number=int(when))
    return Fault(method, probability=_number(f"fail={name}", when, most=1.0))


def _number(name: str, text: str, *, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UsageError(f"--chaos: {name}={text} is not a number from 0 to {most:g}", code="DN213")
    return value
