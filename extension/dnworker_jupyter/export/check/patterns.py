"""What several runs of the notebook have in common, as patterns that the export must fit; for compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnworker_jupyter.export.check.record import CheckRun, Effect, HandlerRun, Root
from dnworker_jupyter.export.check.values import agrees, blend, varying

STILL: Effect = ("is still running when its time is up", None)

Bucket = tuple[Root, int]
"""What began something: its root, and which of the fired events, for those."""


@dataclass(frozen=True)
class Pattern:
    """What one run of a handler did in every run of the common."""

    who: str
    effects: tuple[tuple[str, Any], ...]
    lanes: tuple[int, ...] = ()
    is_ordered: bool = True
    """Whether it did so in the same order each time."""
    ended: bool = True

    @property
    def all_effects(self) -> list[Effect]:
        """Its effects, and that it had not ended, if so."""
        return [*self.effects, *([] if self.ended else [STILL])]


@dataclass
class Common:
    """What all runs of one side have in common."""

    patterns: dict[Bucket, list[Pattern]] = field(default_factory=dict)
    unstable: dict[Bucket, list[Counter[tuple[str, str]]]] = field(default_factory=dict)
    """Buckets in which even the steps differ from run to run, and the steps of each run."""
    tasks: dict[str, list[Effect]] = field(default_factory=dict)
    """What each task, and each handler that tasks caused to run, did first in every run."""
    prints: dict[tuple[int, str], list[Any] | None] = field(default_factory=dict)
    """Lines by event and worker; None where their number differs from run to run."""

    def varying(self) -> Iterator[str]:
        """Yield what differs between runs of the notebook, such as `bridge.on_turn publishes a.b: at`."""
        for patterns in self.patterns.values():
            for pattern in patterns:
                for action, value in pattern.effects:
                    for path in varying(value):
                        yield f"{pattern.who} {action}{f': {path}' if path else ''}"
        for who, effects in self.tasks.items():
            for action, value in effects:
                yield from (f"{who} {action}{f': {path}' if path else ''}" for path in varying(value))


def pattern_of(run: HandlerRun) -> Pattern:
    """Return the pattern of a single run."""
    return Pattern(run.who, tuple((a, v) for a, v in run.effects), tuple(run.lanes), ended=run.ended)


def buckets_of(run: CheckRun) -> dict[Bucket, list[Pattern]]:
    """Return what handlers did by what began it, but for what has no extent of its own (`tasks_of`)."""
    found: dict[Bucket, list[Pattern]] = {}
    for one in run.runs:
        if not _is_open(run, one):
            found.setdefault((one.root, one.event), []).append(pattern_of(one))
    return found


def tasks_of(run: CheckRun) -> dict[str, list[Effect]]:
    """Return what began with tasks, schedules and events without an end, by handler, in order.

    How far each came depends on how long the run took.
    """
    found: dict[str, list[Effect]] = {}
    for one in run.runs:
        if _is_open(run, one) and one.effects:
            found.setdefault(one.who, []).extend((a, v) for a, v in one.effects)
    return found


def _is_open(run: CheckRun, one: HandlerRun) -> bool:
    if one.root == "unknown":
        return bool(one.who)  # what a worker heard of the runtime itself, such as who starts
    return one.root in ("task", "schedule") or (one.root == "event" and one.event in run.endless)


def prints_of(lines: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str], list[Any]]:
    """Return lines by event and worker."""
    found: dict[tuple[int, str], list[Any]] = {}
    for event, worker, text in lines:
        found.setdefault((event, worker), []).append(text)
    return found


def in_common(runs: Sequence[CheckRun]) -> Common:
    """Return what runs of the same code have in common."""
    common = Common(patterns=buckets_of(runs[0]), tasks=tasks_of(runs[0]))
    common.prints = {**prints_of(runs[0].prints)}
    for run in runs[1:]:
        _blend_buckets(common, buckets_of(run))
        _blend_tasks(common, tasks_of(run))
        _blend_prints(common, prints_of(run.prints))
    for bucket in common.unstable:
        common.unstable[bucket] = [steps(buckets_of(run).get(bucket, [])) for run in runs]
    return common


def steps(patterns: Sequence[Pattern]) -> Counter[tuple[str, str]]:
    """Return how often each handler did what, whatever the values."""
    return Counter((p.who, action) for p in patterns for action, _ in p.all_effects)


def _blend_buckets(common: Common, other: dict[Bucket, list[Pattern]]) -> None:
    for bucket in {**common.patterns, **other}:
        if bucket in common.unstable:
            continue
        blended = blend_patterns(common.patterns.get(bucket, []), other.get(bucket, []))
        if blended is None:
            common.unstable[bucket] = []
            common.patterns.pop(bucket, None)
        else:
            common.patterns[bucket] = blended


def _blend_tasks(common: Common, other: dict[str, list[Effect]]) -> None:
    for who in {**common.tasks, **other}:
        here, there = common.tasks.get(who), other.get(who)
        if here is None or there is None:  # one run was too short for it
            common.tasks[who] = []
            continue
        blended: list[Effect] = []
        for (action, pattern), (same, value) in zip(here, there, strict=False):
            if action != same:
                break
            blended.append((action, blend(pattern, value)))
        common.tasks[who] = blended


def _blend_prints(common: Common, other: dict[tuple[int, str], list[Any]]) -> None:
    for key in {**common.prints, **other}:
        here, there = common.prints.get(key, []), other.get(key, [])
        if here is None:
            continue
        pairs = pair(here, there, lambda a, b: agrees(a, b), lambda a, b: True)
        common.prints[key] = None if pairs is None else [blend(here[a], there[b]) for a, b in pairs]


def blend_patterns(here: Sequence[Pattern], there: Sequence[Pattern]) -> list[Pattern] | None:
    """Return what two runs have in common; None where even the steps differ."""
    pairs = pair(here, there, fits, lambda a, b: a.who == b.who and _blend(a, b) is not None)
    if pairs is None:
        return None
    return [blended for a, b in pairs if (blended := _blend(here[a], there[b])) is not None]


def fits(pattern: Pattern, run: Pattern) -> bool:
    """Return whether a run did all that a pattern says, in whatever order, and nothing else."""
    if pattern.who != run.who or pattern.ended != run.ended:
        return False
    length = len(pattern.effects) if pattern.ended else min(len(pattern.effects), len(run.effects))
    return (
        effect_pairs(
            pattern.effects[:length], run.effects if pattern.ended else run.effects[:length], exact=True
        )
        is not None
    )


def is_in_order(pattern: Pattern, run: Pattern) -> bool:
    """Return whether a run that fits did it in the same order, as far as the notebook's has one."""
    if not pattern.is_ordered:
        return True
    found = effect_pairs(pattern.effects, run.effects, exact=True) or []
    places = dict(found)
    lanes = pattern.lanes or (0,) * len(pattern.effects)
    for lane in set(lanes):
        order = [places[n] for n, other in enumerate(lanes) if other == lane and n in places]
        if order != sorted(order):
            return False
    return True


def effect_pairs(
    pattern: Sequence[Effect], effects: Sequence[Effect], *, exact: bool
) -> list[tuple[int, int]] | None:
    """Return which effect is which, by their places; None where one side has others.

    With `exact` the values must agree; else those that do go together, and others of one action in order.
    """
    return pair(
        pattern,
        effects,
        lambda a, b: a[0] == b[0] and agrees(a[1], b[1]),
        (lambda a, b: False) if exact else lambda a, b: a[0] == b[0],
    )


def _blend(pattern: Pattern, run: Pattern) -> Pattern | None:
    if pattern.ended and run.ended and len(pattern.effects) != len(run.effects):
        return None
    length = len(pattern.effects)
    if not (pattern.ended and run.ended):  # as far as both came
        length = min(length, len(run.effects))
    pairs = effect_pairs(pattern.effects[:length], run.effects[:length], exact=False)
    if pairs is None:
        return None
    effects = tuple(
        (pattern.effects[a][0], blend(pattern.effects[a][1], run.effects[b][1])) for a, b in pairs
    )
    in_order = [b for _, b in pairs] == sorted(b for _, b in pairs)
    return replace(
        pattern,
        effects=effects,
        lanes=pattern.lanes[:length],
        is_ordered=pattern.is_ordered and in_order,
        ended=pattern.ended and run.ended,
    )


def pair(here: Sequence[Any], there: Sequence[Any], best: Any, good: Any) -> list[tuple[int, int]] | None:
    """Pair the items of two lists by their places, `best` ones first; None where one is left over."""
    if len(here) != len(there):
        return None
    found: dict[int, int] = {}
    left = dict.fromkeys(range(len(there)))
    for test in (best, good):
        for a, item in enumerate(here):
            if a in found:
                continue
            # In place first: mostly both lists have one order, and that keeps long ones fast.
            order = [a] if a in left else []
            b = next((n for n in [*order, *left] if test(item, there[n])), None)
            if b is not None:
                found[a] = b
                del left[b]
        if not left:
            return sorted(found.items())
    return None
