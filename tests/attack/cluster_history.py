"""What nodes, workers and publishers of a cluster have written down, and which promises it breaks; pure.

Each line is one write to a file that all processes append to, of words between spaces:

    SECONDS accepted EVENT SESSION                    a publisher was answered that the event is accepted
    SECONDS begin WORKER NODE FENCE EVENT SESSION     a handler begins with an event, in the turn FENCE
    SECONDS end WORKER NODE FENCE EVENT SESSION       and ends with it
    SECONDS tick WORKER NODE FENCE WHEN -             a schedule runs; WHEN is when it was due
    SECONDS woke NODE                                 a node that was paused goes on

SECONDS are of the monotonic clock, which all processes of a machine share. EVENT is `KIND:NUMBER`; the numbers
of a session rise in the order in which its events were accepted. NODE is a name and the number of its life.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

AFTER_WAKING = 1.0
"""Seconds in which handlers in the process of a node that was paused may take their last steps."""


class Line(NamedTuple):
    """One line; what it does not have is empty."""

    at: float
    what: str
    worker: str = ""
    node: str = ""
    fence: int = 0
    event: str = ""
    session: str = "-"

    @property
    def kind(self) -> str:
        """The kind of the event."""
        return self.event.partition(":")[0]

    @property
    def number(self) -> int:
        """The number of the event."""
        return int(self.event.partition(":")[2])


class Subject(NamedTuple):
    """One worker that is looked at."""

    kinds: frozenset[str]
    """What it handles."""
    is_process: bool
    """Whether it has a process of its own, which is killed though its node stands still."""


def parse(text: str) -> list[Line]:
    """Return whole lines in the order of their time; a kill leaves no half ones but the last."""
    return sorted(map(_line, text[: text.rfind("\n") + 1].splitlines()), key=lambda line: line.at)


def _line(text: str) -> Line:
    match text.split():
        case [at, "accepted", event, session]:
            return Line(float(at), "accepted", event=event, session=session)
        case [at, "woke", node]:
            return Line(float(at), "woke", node=node)
        case [at, ("begin" | "end" | "tick") as what, worker, node, fence, event, session]:
            return Line(float(at), what, worker, node, int(fence), event, session)
    raise ValueError(f"no line of a history: {text!r}")


def missing(lines: Iterable[Line], subjects: Mapping[str, Subject]) -> dict[str, set[str]]:
    """Return the accepted events that each worker has handled to no end, of the kinds that it handles."""
    accepted, ended = set(), set()
    for line in lines:
        if line.what == "accepted":
            accepted.add(line.event)
        elif line.what == "end":
            ended.add((line.worker, line.event))
    found = {}
    for name, subject in subjects.items():
        due = {event for event in accepted if event.partition(":")[0] in subject.kinds}
        if left := {event for event in due if (name, event) not in ended}:
            found[name] = left
    return found


def violations(lines: list[Line], subjects: Mapping[str, Subject]) -> list[str]:
    """Return a line for each broken promise; empty where all is kept."""
    found = []
    for name, left in missing(lines, subjects).items():
        found.append(f"{name} has not handled {len(left)} accepted events: {', '.join(sorted(left)[:8])}")
    for name, subject in subjects.items():
        own = [line for line in lines if line.worker == name]
        found += [f"{name}: {text}" for rule in _RULES for text in rule(own)]
        found += [f"{name}: {text}" for text in _beside(own, subject, _wakings(lines))]
    return found


def _wakings(lines: Iterable[Line]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line.what == "woke":
            found[line.node].append(line.at)
    return found


def _beside(own: list[Line], subject: Subject, wakings: Mapping[str, list[float]]) -> list[str]:
    """A former holder does nothing once a later one has begun, but for the last steps of one that wakes."""
    found, highest = [], Line(0.0, "")
    for line in own:
        if line.fence >= highest.fence:
            highest = line
            continue
        woke = wakings.get(line.node, ())
        if subject.is_process or not any(0 <= line.at - at <= AFTER_WAKING for at in woke):
            found.append(
                f"{line.node} has {line.what} {line.event} with fence {line.fence} at {line.at:.3f}, after "
                f"{highest.node} had fence {highest.fence} at {highest.at:.3f}"
            )
    return found


def _doubled_fences(own: list[Line]) -> list[str]:
    """A fence has one node."""
    nodes: dict[int, set[str]] = defaultdict(set)
    for line in own:
        nodes[line.fence].add(line.node)
    return [f"fence {n} has {', '.join(sorted(who))}" for n, who in nodes.items() if len(who) > 1]


def _repeated(own: list[Line]) -> list[str]:
    """An event that a holder has handled does not come again in the same turn."""
    ends = Counter((line.fence, line.event) for line in own if line.what == "end")
    return [f"{event} ended {n} times with fence {fence}" for (fence, event), n in ends.items() if n > 1]


def _ticks(own: list[Line]) -> list[str]:
    """A tick runs once, on whichever node."""
    ticks: dict[str, list[Line]] = defaultdict(list)
    for line in own:
        if line.what == "tick":
            ticks[line.event].append(line)
    return [
        f"the tick {when} ran {len(ran)} times: "
        + ", ".join(f"{line.node} with fence {line.fence} at {line.at:.3f}" for line in ran)
        for when, ran in ticks.items()
        if len(ran) > 1
    ]


def _order(own: list[Line]) -> list[str]:
    """The events of a session begin in their order: in each turn, and each for the first time."""
    found, seen, last = [], set(), {}
    for line in own:
        if line.what != "begin" or line.session == "-":
            continue
        chains = [(line.session, line.fence)]
        if line.event not in seen:
            seen.add(line.event)
            chains.append((line.session, -1))
        for chain in chains:
            before = last.get(chain)
            if before is not None and before.number > line.number:
                found.append(
                    f"{line.event} of {line.session} begins at {line.at:.3f} on {line.node} with fence "
                    f"{line.fence}, after {before.event} at {before.at:.3f} on {before.node}"
                )
            last[chain] = line
    return found


_RULES: tuple[Callable[[list[Line]], list[str]], ...] = (_doubled_fences, _repeated, _ticks, _order)
