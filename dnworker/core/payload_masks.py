"""`PayloadMasks`: hides values of payloads that leave a runtime, by rules such as `email,items.*.card`.

A masked value keeps its type, so that handlers go on: a text becomes `***` with twelve digits, an integer and
a number another of its type, a truth value False; null stays. Of lists and objects each value is masked.

Equal values have equal masks for as long as one `PayloadMasks` is used, so that joins still work: a constant
such as 0 would make all customers one. The digits are a hash with a key that nobody keeps, so that values of
which there are few, such as dates of birth, cannot be found by trying them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import closest, shorten

ANY = "*"
"""A step of a rule that any field, and any place in a list, fits."""

RULES_MOST = 200
"""Rules of one set at most."""

FIELDS_REMEMBERED = 5_000
"""Paths of fields that are remembered, to name one that was probably meant."""

SHORTEST_SECRET = 8
"""Characters that a secret has at least that is looked for in texts."""

LONGEST_NAME = 200
"""Characters of a field's name that are looked at for what it says."""

_LONGEST_SHOWN = 60

_Steps = tuple[str, ...]
_Place = tuple[_Steps, int]

_is_secret = lru_cache(4_096)(is_secret)


class PayloadMasks:
    """The masks of one pull or export.

    Args:
        rules: with commas between them. A name is a field at any depth; `a.b` begins at the payload, and `*`
            is one step, into a field or a list. Texts in fields that are named like secrets (`password`,
            `api_key`) are masked without a rule.
        secrets: texts that must not be in any other text, such as the token of the request.

    Raises:
        UsageError: a rule is none.
    """

    def __init__(self, rules: str = "", secrets: Iterable[str] = ()) -> None:
        self._rules = _read(rules)
        self._names = {rule[0] for rule in self._rules if len(rule) == 1 and rule[0] != ANY}
        self._paths: list[_Place] = [(rule, 0) for rule in self._rules if len(rule) > 1 or rule[0] == ANY]
        self._secrets = tuple(one for one in secrets if len(one) >= SHORTEST_SECRET)
        self._key = os.urandom(32)
        # What was found.
        self._matched: set[_Steps] = set()
        self._fields: dict[str, None] = {}
        self.masked = 0
        """How many values were masked."""

    def apply(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return a payload with what is to be hidden masked.

        Raises:
            UsageError: it is nested too deep to look at all of it.
        """
        try:
            masked: dict[str, Any] = self._walk(payload, self._paths, "", is_secret_here=False)
        except RecursionError:
            raise UsageError(
                "a payload is nested too deep to be masked; leave its kind out with --kind", code="DN223"
            ) from None
        return masked

    def check(self) -> None:
        """Check that each rule has masked something.

        Raises:
            UsageError: one has not; names the field that was probably meant.
        """
        for rule in self._rules:
            if rule in self._matched:
                continue
            text = ".".join(rule)
            raise UsageError(
                f"--mask {shorten(text, _LONGEST_SHOWN)}: no payload has such a field{self._near(rule)}; "
                "nothing was written",
                code="DN223",
            )

    def _near(self, rule: _Steps) -> str:
        text = ".".join(rule)
        if (near := closest(text, self._fields)) is None:
            leaves = {path.rpartition(".")[2]: path for path in reversed(self._fields)}
            named = closest(rule[-1], leaves)
            near = None if named is None else named if len(rule) == 1 else leaves[named]
        if near is not None:
            return f"; was {shorten(near, _LONGEST_SHOWN)} meant?"
        shown = ", ".join(shorten(one, 30) for one in [*self._fields][:5])
        return f"; there are {shown}" if shown else "; no payload has any field"

    def _walk(self, value: Any, places: list[_Place], path: str, *, is_secret_here: bool) -> Any:
        """Return a value masked; `places` are the rules that fit up to here, each with its next step."""
        if isinstance(value, dict):
            return {
                key: self._field(key, item, places, f"{path}.{key}" if path else key, is_secret_here)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [
                self._item(str(number), item, places, f"{path}.{ANY}", is_secret_here)
                for number, item in enumerate(value)
            ]
        if isinstance(value, str) and (is_secret_here or any(one in value for one in self._secrets)):
            return self._mask(value)
        return value

    def _field(self, key: str, item: Any, places: list[_Place], path: str, is_secret_here: bool) -> Any:
        if len(self._fields) < FIELDS_REMEMBERED:
            self._fields[path] = None
        inner = self._item(key, item, places, path, is_secret_here or _is_secret(key[:LONGEST_NAME]))
        if key not in self._names:
            return inner
        self._matched.add((key,))
        return self._mask(item)

    def _item(self, key: str, item: Any, places: list[_Place], path: str, is_secret_here: bool) -> Any:
        """Return what is at a step masked: all of it where a rule ends here."""
        further, is_masked = list[_Place](), False
        for rule, step in places:
            if rule[step] not in (key, ANY):
                continue
            if step + 1 < len(rule):
                further.append((rule, step + 1))
            else:
                is_masked = True
                self._matched.add(rule)
        inner = self._walk(item, further, path, is_secret_here=is_secret_here)  # rules that fit in it count
        return self._mask(item) if is_masked else inner

    def _mask(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._mask(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mask(item) for item in value]
        if value is None:
            return None
        self.masked += 1
        if isinstance(value, bool):
            return False
        number = blake2b(msgspec.json.encode(value), key=self._key, digest_size=8).hexdigest()
        if isinstance(value, str):
            return f"{MASK}{number[:12]}"
        whole = int(number, 16) >> 12  # 52 bits, which every reader of JSON takes exactly
        return whole if isinstance(value, int) else whole / 8


def _read(rules: str) -> list[_Steps]:
    """Return the steps of each rule.

    Raises:
        UsageError: one is none, or there are too many.
    """
    if not rules.strip():
        return []
    found = dict.fromkeys(tuple(rule.strip().split(".")) for rule in rules.split(","))
    for rule in found:
        if not all(rule):
            raise UsageError(
                f"--mask {shorten(rules, _LONGEST_SHOWN)!r}: {'.'.join(rule)!r} is no rule; write fields "
                "with commas between them, as in email,*.secret,items.*.card",
                code="DN223",
            )
    if len(found) > RULES_MOST:
        raise UsageError(f"--mask: {len(found):,} rules; at most {RULES_MOST} are taken", code="DN223")
    return [*found]
