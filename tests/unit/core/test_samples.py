"""Payloads to fire: those of the runtime's own kinds are as it publishes them."""

from __future__ import annotations

import pytest

from dnworker.core.envelope import RESERVED_PREFIXES
from dnworker.core.samples import (
    SAMPLES,
    TERMINAL_KINDS,
    belongs_to_session,
    belongs_to_turn,
    in_session,
    sample,
)

OF_RUNTIME = ("capabilities.reloaded", "component.state_changed", "notify")


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_kind_belongs_to_a_session_unless_it_is_about_the_runtime(kind):
    assert belongs_to_session(kind) == (kind not in OF_RUNTIME)
    assert belongs_to_turn(kind) == (kind not in OF_RUNTIME and not kind.startswith("session."))


def test_each_reserved_prefix_has_a_kind_to_fire():
    assert {kind.partition(".")[0] + "." for kind in SAMPLES if "." in kind} == {*RESERVED_PREFIXES}


@pytest.mark.parametrize("kind", SAMPLES)
def test_only_a_payload_that_names_a_session_changes_with_it(kind):
    changed = {key for key, value in sample(kind, "X").items() if value != sample(kind)[key]}
    assert changed == ({"session_id"} if kind in ("session.created", "session.deleted") else set())


@pytest.mark.parametrize("kind", sorted(TERMINAL_KINDS))
def test_a_last_event_names_its_turn(kind):
    assert sample(kind)["turn_id"] == "turn-1"


def test_no_sample_is_shared():
    sample("turn.completed")["usage"]["input_tokens"] = -1
    in_session(SAMPLES["turn.completed"], "X")["usage"]["input_tokens"] = -1
    assert SAMPLES["turn.completed"]["usage"]["input_tokens"] > 0
