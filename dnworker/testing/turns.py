"""`assert_turn`: what tests say of a turn that an agent has answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

WantedCall = str | tuple[str, Mapping[str, Any]]
"""A tool's name, or its name and those of its arguments that count."""


def assert_turn(
    done: Mapping[str, Any],
    *,
    says: str | re.Pattern[str] | None = None,
    calls: Sequence[WantedCall] | None = None,
    agent: str | None = None,
    stop_reason: str | None = None,
    most_tokens: int | None = None,
) -> None:
    """Check a turn that has ended well; the error says what it was instead.

    Args:
        done: what `run_turn` returns, or the payload of `turn.completed`.
        says: a text within the answer, or a pattern that is found in it.
        calls: all tools that were called, in order: names, or pairs of a name and arguments; arguments that
            are not given may be anything. `[]` for none.
        agent: who answered.
        stop_reason: why the last generation ended, such as `stop`.
        most_tokens: how many it may have taken, of input and output together.

    Raises:
        AssertionError: something is another; the first that is.

    Examples:
        >>> async def reply(turn):
        ...     total = await turn.call_tool("add", {"a": 2, "b": 3}, result=5)
        ...     return f"It is {total}."
        >>> runtime.agents.register("adder", reply)
        >>> done = await client.run_turn(session_id="s", agent="adder", message="2 + 3?")
        >>> assert_turn(done, says="5", calls=[("add", {"a": 2})], agent="adder")
        >>> assert_turn(done, calls=["subtract"])
        Traceback (most recent call last):
        AssertionError: call 1 is add(a=2, b=3), not subtract
    """
    if says is not None:
        text = str(done.get("response_text"))
        if not re.search(says if isinstance(says, re.Pattern) else re.escape(says), text):
            wanted = says.pattern if isinstance(says, re.Pattern) else says
            raise AssertionError(f"the answer is {text!r:.500}, and has no {wanted!r}")
    if calls is not None:
        _check_calls(done.get("tool_calls") or [], calls)
    for name, want in (("agent", agent), ("generation_stop_reason", stop_reason)):
        if want is not None and done.get(name) != want:
            raise AssertionError(f"{name} is {done.get(name)!r}, not {want!r}")
    if most_tokens is not None:
        used = done.get("usage") or {}
        taken = sum(used.get(part) or 0 for part in ("input_tokens", "output_tokens"))
        if taken > most_tokens:
            raise AssertionError(f"it took {taken} tokens, more than {most_tokens}")


def _check_calls(made: Sequence[Mapping[str, Any]], wanted: Sequence[WantedCall]) -> None:
    for number, (call, want) in enumerate(zip(made, wanted, strict=False), 1):
        name, arguments = (want, {}) if isinstance(want, str) else want
        given = call["arguments"] if isinstance(call["arguments"], Mapping) else {}
        is_same = all(key in given and given[key] == value for key, value in arguments.items())
        if call["name"] != name or not is_same:
            raise AssertionError(f"call {number} is {_shown(call['name'], call['arguments'])}, "
                                 f"not {_shown(name, arguments) if arguments else name}")  # fmt: skip
    if len(made) != len(wanted):
        names = ", ".join(call["name"] for call in made) or "none"
        raise AssertionError(f"{len(made)} tools were called, not {len(wanted)}: {names}")


def _shown(name: str, arguments: object) -> str:
    if not isinstance(arguments, Mapping):
        return f"{name}({arguments!r:.200})"
    return f"{name}({', '.join(f'{key}={value!r:.100}' for key, value in arguments.items())})"
