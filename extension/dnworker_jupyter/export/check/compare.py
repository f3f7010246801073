"""Compares what an export did with what all runs of the notebook have in common; used by check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dnworker_jupyter.export.check.patterns import (
    Bucket,
    Common,
    Pattern,
    fits,
    in_common,
    is_in_order,
    prints_of,
    steps,
)
from dnworker_jupyter.export.check.record import NO_EVENT, RAISES, CheckRun, Effect
from dnworker_jupyter.export.check.values import agrees, is_reordered, shown, shown_apart

LACKING = (
    "NameError",
    "UnboundLocalError",
    "ImportError",
    "ModuleNotFoundError",
    "AttributeError",
    "KeyError",
)
"""Errors of tasks that say that something is not there; others may come from a service that is not."""


@dataclass(frozen=True)
class Left:
    """Something that only one side did."""

    bucket: Bucket
    who: str
    effect: Effect


@dataclass
class Verdict:
    """What a comparison found."""

    lines: dict[Bucket, list[str]] = field(default_factory=dict)
    """How the sides differ, by what began it."""
    failing: list[tuple[Bucket, str, Effect, Effect]] = field(default_factory=list)
    """Handlers that fail on both sides: what began it, who, and both errors."""
    background: list[str] = field(default_factory=list)
    """Tasks and schedules that fail alike on both sides, for want of a service perhaps."""
    varying: list[str] = field(default_factory=list)
    """Fields that differ between two runs of the notebook, too."""
    varying_there: list[str] = field(default_factory=list)
    """Fields that differ between two runs of the export, too: they depend on the process."""
    unstable: list[Bucket] = field(default_factory=list)
    """What does something else in each run of the notebook."""
    reordered: int = 0
    """How many of the lines say that lists in payloads differ in nothing but their order."""

    @property
    def unstable_events(self) -> int:
        """How many of the fired events do something else in each run."""
        return sum(1 for root, _ in self.unstable if root == "event")

    @property
    def differs(self) -> bool:
        """Whether the sides do not do the same."""
        return bool(self.lines)

    @property
    def is_reordered(self) -> bool:
        """Whether the sides differ in nothing but the order of lists."""
        return self.differs and self.reordered == sum(map(len, self.lines.values()))


def judge(runs: Sequence[CheckRun], exports: Sequence[CheckRun]) -> Verdict:
    """Compare the runs of the notebook with those of the export."""
    notebook, export, verdict = in_common(runs), in_common(exports), Verdict()
    verdict.varying = [*dict.fromkeys(notebook.varying())]
    verdict.varying_there = [one for one in dict.fromkeys(export.varying()) if one not in verdict.varying]
    _compare_endless(runs, exports, verdict)
    missing, extra = _left_over(notebook, export, verdict)
    missing, extra = _without_strays(missing, extra)
    _compare_tasks(notebook, export.tasks, verdict, extra)
    _note_lines(verdict, missing, extra)
    _compare_prints(notebook, export, exports, verdict)
    _note_failing(notebook, export, verdict)
    known = {error for run in runs for error in run.unhandled}
    for error in dict.fromkeys(error for run in exports for error in run.unhandled if error not in known):
        lines = verdict.lines.setdefault(("unknown", NO_EVENT), [])
        lines.append(f"+ a task that a handler started, and nobody awaited, raises {error}")
    return verdict


def _compare_endless(runs: Sequence[CheckRun], exports: Sequence[CheckRun], verdict: Verdict) -> None:
    """Note an event that causes others without an end on one side only."""
    here, there = ({event for run in side for event in run.endless} for side in (runs, exports))
    for event in here ^ there:
        side = "-" if event in here else "+"
        verdict.lines[("event", event)] = [f"{side} it causes other events without an end"]


def _left_over(notebook: Common, export: Common, verdict: Verdict) -> tuple[list[Left], list[Left]]:
    """Return what only the notebook did, and what only the export did."""
    missing: list[Left] = []
    extra: list[Left] = []
    for bucket in {**notebook.patterns, **notebook.unstable, **export.patterns, **export.unstable}:
        if bucket in verdict.lines:
            continue  # what is without an end on one side only
        here, there = notebook.patterns.get(bucket, []), export.patterns.get(bucket, [])
        if bucket in notebook.unstable or bucket in export.unstable:
            verdict.unstable.append(bucket)
            seen = notebook.unstable.get(bucket, [steps(here)]), export.unstable.get(bucket, [steps(there)])
            found = _beyond(*seen, {(p.who, e[0]): e for p in (*here, *there) for e in p.all_effects})
        else:
            found = _compare_bucket(bucket, here, there, verdict)
        missing += [Left(bucket, who, effect) for who, effect in found[0]]
        extra += [Left(bucket, who, effect) for who, effect in found[1]]
    return missing, extra


Steps = Counter[tuple[str, str]]
Sided = tuple[list[tuple[str, Effect]], list[tuple[str, Effect]]]


def _compare_bucket(
    bucket: Bucket, here: Sequence[Pattern], there: Sequence[Pattern], verdict: Verdict
) -> Sided:
    left = [*there]
    unmatched = []
    disorder = []
    for pattern in here:
        same = [run for run in left if fits(pattern, run)]
        found = next((run for run in same if is_in_order(pattern, run)), None)
        if found is None and same:
            found = same[0]
            disorder.append((pattern, found))
        if found is None:
            unmatched.append(pattern)
        else:
            left.remove(found)
    old = [(p.who, e) for p in unmatched for e in p.all_effects]
    new = [(p.who, e) for p in left for e in p.all_effects]
    if not old and not new:
        for pattern, run in disorder:
            verdict.lines.setdefault(bucket, []).extend(_order_lines(pattern, run))
    return _subtract(old, new)


def _subtract(old: list[tuple[str, Effect]], new: list[tuple[str, Effect]]) -> Sided:
    """Return what is left of both sides when what agrees is taken away."""
    missing, left = [], [*new]
    for who, (action, pattern) in old:
        found = next(
            (e for e in left if e[0] in (who, "") and e[1][0] == action and agrees(pattern, e[1][1])), None
        )
        if found is None:
            missing.append((who, (action, pattern)))
        else:
            left.remove(found)
    return missing, left


def _beyond(here: Sequence[Steps], there: Sequence[Steps], effects: dict[tuple[str, str], Effect]) -> Sided:
    """Return what one side does in each of its runs, and the other in none.

    For events with which a side does something else each time: values say nothing then.
    """

    def always(runs: Sequence[Steps], other: Sequence[Steps]) -> list[tuple[str, Effect]]:
        known = {step for run in other for step in run}
        anybody = {action for who, action in known if not who}
        actions = {action for _, action in known}
        return [
            (who, effects.get((who, action), (action, None)))
            for who, action in runs[0]
            if all((who, action) in run for run in runs)
            and (who, action) not in known
            and action not in anybody
            and (who or action not in actions)
        ]

    return always(here, there), always(there, here)


def _without_strays(missing: list[Left], extra: list[Left]) -> tuple[list[Left], list[Left]]:
    """Take away what the export did without saying on whose behalf, where the notebook did it elsewhere."""
    left = [*extra]
    still = []
    for lack in missing:
        action, pattern = lack.effect
        found = next(
            (e for e in left if not e.who and e.effect[0] == action and agrees(pattern, e.effect[1])), None
        )
        if found is None:
            still.append(lack)
        else:
            left.remove(found)
    return still, left


def _compare_tasks(
    notebook: Common, there: dict[str, list[Effect]], verdict: Verdict, extra: list[Left]
) -> None:
    """Compare what tasks and schedules did first: how far each came depends on how long the run took."""
    for who in {**notebook.tasks, **there}:
        here, other = notebook.tasks.get(who), there.get(who, [])
        strays = [e for e in extra if not e.who]
        if here is None:
            here = []
        elif not here:
            continue  # the notebook's own runs have nothing in common
        count = min(len(here), len(other))
        differing = next(
            (n for n in range(count) if here[n][0] != other[n][0] or not agrees(here[n][1], other[n][1])),
            None,
        )
        lines = []
        if differing is not None:
            lines = _pair_lines(who, here[differing], who, other[differing])
        elif not count and here and not any(e.effect[0] == here[0][0] for e in strays):
            lines = [f"- {shown_effect(who, here[0])}"]
        elif not count and other:
            lines = [f"+ {shown_effect(who, other[0])}"]
        for stray in strays:
            if any(action == stray.effect[0] for action, _ in here):
                extra.remove(stray)
        if lines:
            verdict.lines.setdefault(("task", NO_EVENT), []).extend(lines)


def _compare_prints(notebook: Common, export: Common, exports: Sequence[CheckRun], verdict: Verdict) -> None:
    loose = prints_of(exports[0].unattributed)
    skipped = {event for _, event in (*verdict.unstable, *verdict.lines)}  # what differs prints other things
    for key in {**notebook.prints, **export.prints}:
        event, worker = key
        here, there = notebook.prints.get(key, []), export.prints.get(key, [])
        if here is None or there is None or event in skipped or ("event", event) in verdict.lines:
            continue
        left = [*there]
        missing = []
        spare = [text for (_, name), lines in loose.items() if name == worker for text in lines]
        for pattern in here:
            found = next((text for text in left if agrees(pattern, text)), None)
            if found is not None:
                left.remove(found)
            elif not any(agrees(pattern, text) for text in spare):
                missing.append(pattern)
        lines = _sided_lines(
            [(worker, ("prints", text)) for text in missing], [(worker, ("prints", text)) for text in left]
        )
        if lines:
            root: Bucket = ("startup", NO_EVENT) if event == NO_EVENT else ("event", event)
            verdict.lines.setdefault(root, []).extend(lines)


def _note_failing(notebook: Common, export: Common, verdict: Verdict) -> None:
    """Note who fails on both sides: with what it does otherwise, nothing was compared."""
    for bucket, patterns in notebook.patterns.items():
        for pattern in patterns:
            for error in pattern.effects:
                if not error[0].startswith(RAISES):
                    continue
                other = next(
                    (
                        e
                        for p in export.patterns.get(bucket, [])
                        for e in p.effects
                        if p.who == pattern.who and e[0].startswith(RAISES)
                    ),
                    None,
                )
                if other is not None:
                    verdict.failing.append((bucket, pattern.who, error, other))
    others = export.tasks
    for who, effects in notebook.tasks.items():
        here = next((e for e in effects if e[0].startswith(RAISES)), None)
        other = next((e for e in others.get(who, []) if e[0].startswith(RAISES)), None)
        if here is None or other is None:
            continue
        if here[0].removeprefix(RAISES) in LACKING:
            verdict.failing.append((("task", NO_EVENT), who, here, other))
        else:
            verdict.background.append(f"{shown_effect(who, here)}, in the notebook, too")


# -- lines ---------------------------------------------------------------------------------------------


def _note_lines(verdict: Verdict, missing: Sequence[Left], extra: Sequence[Left]) -> None:
    for bucket in dict.fromkeys([*(m.bucket for m in missing), *(e.bucket for e in extra)]):
        old = [(m.who, m.effect) for m in missing if m.bucket == bucket]
        new = [(e.who, e.effect) for e in extra if e.bucket == bucket]
        for a, b in _alike(old, new):
            if a is not None and b is not None and a[1][0] == b[1][0] and is_reordered(a[1][1], b[1][1]):
                verdict.reordered += 2
        verdict.lines.setdefault(bucket, []).extend(_sided_lines(old, new))


def _alike(
    old: Sequence[tuple[str, Effect]], new: Sequence[tuple[str, Effect]]
) -> list[tuple[tuple[str, Effect] | None, tuple[str, Effect] | None]]:
    """Pair what the sides did by handler and action, then errors by handler; others stand alone."""
    left = [*new]
    found: list[tuple[tuple[str, Effect] | None, tuple[str, Effect] | None]] = []
    for one in old:
        same = next((e for e in left if (e[0], e[1][0]) == (one[0], one[1][0])), None)
        if same is None and one[1][0].startswith(RAISES):
            same = next((e for e in left if e[0] == one[0] and e[1][0].startswith(RAISES)), None)
        if same is not None:
            left.remove(same)
        found.append((one, same))
    return [*found, *((None, one) for one in left)]


def _sided_lines(old: Sequence[tuple[str, Effect]], new: Sequence[tuple[str, Effect]]) -> list[str]:
    lines: list[str] = []
    for one, other in _alike(old, new):
        if one is not None and other is not None:
            lines += _pair_lines(one[0], one[1], other[0], other[1])
        elif one is not None:
            lines.append(f"- {shown_effect(*one)}")
        elif other is not None:
            lines.append(f"+ {shown_effect(*other)}")
    return lines


def _pair_lines(who: str, one: Effect, other_who: str, other: Effect) -> list[str]:
    if one[0] == other[0]:
        texts = shown_apart(one[1], other[1])
        return [f"- {_line(who, one[0], texts[0])}", f"+ {_line(other_who, other[0], texts[1])}"]
    return [f"- {shown_effect(who, one)}", f"+ {shown_effect(other_who, other)}"]


def _order_lines(pattern: Pattern, run: Pattern) -> Iterator[str]:
    yield f"- {pattern.who} does, in this order: {', then '.join(_brief(e) for e in pattern.effects)}"
    yield f"+ {run.who} does, in this order: {', then '.join(_brief(e) for e in run.effects)}"


def _brief(effect: Effect) -> str:
    return f"{effect[0]} {shown(effect[1], 60)}" if effect[1] not in (None, {}) else effect[0]


def shown_effect(who: str, effect: Effect) -> str:
    """Return an effect as a line of text, shortened."""
    action, value = effect
    return _line(who, action, None if value is None else shown(value))


def _line(who: str, action: str, text: str | None) -> str:
    name = who or "somebody"
    if text is None:
        return f"{name} {action}"
    colon = ":" if action.startswith((RAISES, "prints", "asks")) else ""
    return f"{name} {action}{colon} {text}".rstrip()
