"""What a worker did with one event, there or here, and whether both sides did the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dnworker.attach.facts import Verdict
from dnworker.attach.likeness import difference
from dnworker.attach.shadow_connection import Effect
from dnworker.core.text import shorten
from dnworker.workers.effects import effect_line, published_line

What = Literal["publishes", "raises", "session", "turn", "once", "other"]

SESSION_MADE, TURN_TAKEN, SESSION_DELETED = "session.created", "turn.accepted", "session.deleted"
"""The kinds by which a runtime tells that a handler made a session, started a turn, deleted a session."""

LONGEST_LINE = 4_000

_CUT = re.compile(r" \[cut: [\d,]+ more characters\]\Z")
"""The end of a message that was cut."""

LATE_ACTS = 1_000
"""Things that handlers of one event did, after which what their tasks do is not added."""


@dataclass(frozen=True)
class Act:
    """One thing that a run of a handler did, or would have done."""

    what: What
    line: str
    kind: str = ""
    """Of a published event."""
    payload: Any = None
    session_id: str | None = None
    text: str = ""
    """Of what was raised: type and message."""
    is_deduped: bool = False
    """Whether it has a key by which it happens once."""


@dataclass(frozen=True)
class Run:
    """One run of a handler."""

    handler: str
    acts: tuple[Act, ...]


@dataclass(frozen=True)
class Side:
    """All runs of one worker for one event."""

    runs: tuple[Run, ...]
    lacks: str = ""
    """What is not known of it, in words; empty where it is whole."""

    @property
    def acts(self) -> list[Act]:
        """What all of them did."""
        return [act for run in self.runs for act in run.acts]

    @property
    def lines(self) -> list[str]:
        """The same as text."""
        return [act.line for act in self.acts]

    def with_act(self, handler: str, act: Act) -> Side:
        """Return it with one thing more that a run of a handler did."""
        if len(self.acts) >= LATE_ACTS:
            return replace(self, lacks=self.lacks or "a handler here did too much to keep all of it")
        runs = [*self.runs]
        place = next((n for n, run in enumerate(runs) if run.handler == handler), None)
        if place is None:
            return replace(self, lacks=self.lacks or "a run here is not kept any more")
        runs[place] = Run(handler, (*runs[place].acts, act))
        return replace(self, runs=tuple(runs))


def act_of(effect: Effect) -> Act:
    """Return what a shadow would have done."""
    line = shorten(effect.line, LONGEST_LINE)
    if effect.kind is not None:
        return Act(
            "publishes",
            line,
            effect.kind,
            effect.payload,
            effect.session_id,
            is_deduped=effect.is_deduped,
        )
    named = {"create_session": "session", "run_turn": "turn", "once": "once"}
    what: Any = named.get(effect.line.partition(" ")[0], "other")
    return Act(what, line)


def raised(text: str) -> Act:
    """Return what it is to raise an error, as type and message."""
    return Act("raises", shorten(f"raised {text}", LONGEST_LINE), text=text)


def requested(line: str) -> Act:
    """Return what it is to have a runtime change something that is not compared."""
    return Act("other", shorten(line, LONGEST_LINE))


def published(kind: str, payload: Any, session_id: str | None) -> Act:
    """Return what it is to have published an event; sessions and turns are told by events, too."""
    if kind == SESSION_MADE:
        return Act("session", effect_line("create_session", session_id=session_id))
    if kind == TURN_TAKEN:
        return Act("turn", effect_line("run_turn", session_id=session_id))
    if kind == SESSION_DELETED:
        return requested(f"requests DELETE /api/sessions/{session_id}")
    line = shorten(published_line(kind, payload, session_id), LONGEST_LINE)
    return Act("publishes", line, kind, payload, session_id)


def judge(there: Side, here: Side, known: set[str]) -> tuple[Verdict, str]:
    """Return whether both sides did the same, and why it is so.

    Args:
        there: what the deployed worker did.
        here: what the notebook's did.
        known: the ids of the event that both handled.
    """
    if why := there.lacks or here.lacks:
        return "unknown", why
    if _is_cut_alike(there, here, known):
        return "unknown", "both raise an error that is too long to be compared whole"
    compared = ("publishes", "raises")
    left = [[act for act in run.acts if act.what in compared] for run in there.runs]
    right = [[act for act in run.acts if act.what in compared] for run in here.runs]
    flat = [act for run in left for act in run], [act for run in right for act in run]
    has_once = any(act.what == "once" for act in here.acts)
    if (found := _of_lists(*flat, known, has_once=has_once)) is not None:
        return found
    for what, name in (("session", "sessions"), ("turn", "turns")):
        counts = [sum(act.what == what for act in side.acts) for side in (there, here)]
        if counts[0] != counts[1]:
            return "different", f"it makes {counts[1]} {name}, and {counts[0]} there"
    others = [[act for act in side.acts if act.what == "other"] for side in (there, here)]
    if others[0] and not others[1]:
        return "different", shorten(f"only the deployed one {others[0][0].line}", 300)
    if (first := next((act for act in here.acts if act.what not in (*compared, "once")), None)) is not None:
        return "unknown", shorten(f"nobody knows whether this was done there, too: {first.line}", 200)
    if not _has_same_order(left, right, known):
        return "different", "it does the same in another order"
    return "same", "" if flat[0] else "neither does anything"


def _is_cut_alike(there: Side, here: Side, known: set[str]) -> bool:
    """Return whether an error of the deployed worker was cut, and one here begins like it."""
    texts = [act.text for act in here.acts if act.what == "raises"]
    for act in there.acts:
        if act.what == "raises" and (cut := _CUT.search(act.text)) is not None:
            begin = act.text[: cut.start()]
            if any(difference(begin, text[: len(begin)], known) is None for text in texts):
                return True
    return False


def _of_lists(
    there: Sequence[Act], here: Sequence[Act], known: set[str], *, has_once: bool
) -> tuple[Verdict, str] | None:
    """Return the verdict on what is there or here alone; None where each has its like."""
    left = [*there]
    alone = list[Act]()
    for act in here:
        like = next((n for n, other in enumerate(left) if is_like(other, act, known)), None)
        if like is None:
            alone.append(act)
        else:
            del left[like]
    if not alone and not left:
        return None
    if not left and all(act.is_deduped for act in alone):
        return "unknown", f"{alone[0].kind} has a key, and may have been published before, there"
    if not left and has_once:
        return "unknown", "it asks once(), which may have let it do so only before, there"
    return "different", shorten(_why(left, alone, known), 300)


def _why(there: list[Act], here: list[Act], known: set[str]) -> str:
    for act in here:
        for other in there:
            if act.what == other.what == "publishes" and act.kind == other.kind:
                if act.session_id != other.session_id:
                    return f"{act.kind} is of session {act.session_id}, and of {other.session_id} there"
                return f"{act.kind}: {difference(other.payload, act.payload, known)}"
            if act.what == other.what == "raises":
                return f"it raises {act.text}, and {other.text} there"
    if here:
        more = f" and {len(here) - 1} more" if len(here) > 1 else ""
        return f"only the notebook's {here[0].line}{more}"
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    return f"only the deployed one {there[0].line}{more}"


def is_like(there: Act, here: Act, known: set[str]) -> bool:
    """Return whether two acts are the same but for times and ids."""
    if there.what != here.what or there.kind != here.kind:
        return False
    if there.what == "raises":
        return difference(there.text, here.text, known) is None
    same_session = difference(there.session_id, here.session_id, known) is None
    return same_session and difference(there.payload, here.payload, known) is None


def _has_same_order(there: list[list[Act]], here: list[list[Act]], known: set[str]) -> bool:
    """Return whether each run has its like; runs without any act count for nothing.

    Where one side has more handlers, these may run in any order, and so may what they do.
    """
    left, right = [run for run in there if run], [run for run in here if run]
    if len(left) != len(right):
        return True
    for run in right:
        like = next((n for n, other in enumerate(left) if _is_like_run(other, run, known)), None)
        if like is None:
            return Counter(map(len, left)) != Counter(map(len, right))
        del left[like]
    return True


def _is_like_run(there: list[Act], here: list[Act], known: set[str]) -> bool:
    return len(there) == len(here) and all(is_like(a, b, known) for a, b in zip(there, here, strict=True))
