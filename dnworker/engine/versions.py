"""Versions of capabilities, and which of them a cluster is to run; pure, `agreed_versions` asks it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from dnworker.core.text import shorten

SHOWN_DIGITS = 8
"""Characters of a digest that are shown."""

FORMER_KEPT = 200
"""Digests that a target has replaced and that are remembered."""

FAILED_KEPT = 1_000
"""Workers that are noted as failing with a target."""


class Loaded(msgspec.Struct, frozen=True):
    """A capability as a node has loaded it."""

    version: str
    """What its manifest says."""
    digest: str
    """Of the files that run: two nodes with the same have the same code."""

    def __str__(self) -> str:
        return f"{shorten(self.version, 40)} ({self.digest[:SHOWN_DIGITS]})"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of a cluster are to run of one capability."""

    capability: str
    loaded: Loaded
    node: str
    """The node that made it the target."""
    since: float
    """When, in seconds since 1970 by the clock of that node; for people alone."""
    former: list[str] = []
    """The digests that were targets before, the newest last: to start with one of them changes nothing."""
    failed: list[str] = []
    """The workers that do not start with it; they stay with other versions."""


def order(version: str) -> tuple[tuple[int, str], ...]:
    """Return what versions are ordered by: three numbers of any length, as manifests have them."""
    numbers = (part.lstrip("0") if part.isascii() and part.isdigit() else "" for part in version.split("."))
    return tuple((len(number), number) for number in numbers)


def becomes_target(target: Target | None, mine: Loaded, *, is_news: bool) -> bool:
    """Return whether what a node has loaded becomes the target.

    A higher version does, and another content of the same version. What was the target before does not, or a
    node that starts again during an upgrade would turn it back.

    Args:
        target: the present one.
        mine: what the node has loaded.
        is_news: whether its files have changed since the node started, so that somebody reloaded it.
    """
    if target is None:
        return True
    if mine.digest == target.loaded.digest or order(mine.version) < order(target.loaded.version):
        return False
    return is_news or (mine.digest not in target.former and len(target.former) < FORMER_KEPT)


def made_target(
    capability: str, mine: Loaded, before: Target | None, *, node: str, since: float, is_lost: bool = False
) -> Target:
    """Return what a node has loaded as the target.

    Args:
        capability: its name.
        mine: what the node has loaded.
        before: the target that it replaces.
        node: who makes it the target.
        since: when.
        is_lost: whether no node has the former any more; then it may become the target again by a start.
    """
    former = [] if before is None else [one for one in before.former if one != mine.digest]
    if before is not None and not is_lost and before.loaded.digest != mine.digest:
        former.append(before.loaded.digest)
    return Target(capability=capability, loaded=mine, node=node, since=since, former=former[-FORMER_KEPT:])


def with_failed(target: Target, worker: str) -> Target:
    """Return a target with which a worker is noted as failing."""
    return replace(target, failed=sorted({*target.failed, worker})[:FAILED_KEPT])


def newest(loaded: Iterable[Loaded]) -> Loaded | None:
    """Return what is to be the target of what is there; the same on all nodes. None for nothing."""
    return max(loaded, key=lambda one: (order(one.version), one.digest), default=None)
