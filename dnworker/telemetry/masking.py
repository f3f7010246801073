"""`masked` hides what looks like a secret in text that leaves the machine: errors and lines of logs."""

from __future__ import annotations

import re

from dnworker.core.masking import MASK

# Every repetition has a bound: text of others must not make a search long, which holds all threads.
_NAME = (
    r"[\w-]{0,30}?(?:pass(?:word|wd|phrase)|secret|token|api[_-]?key|credential|private[_-]?key)[\w-]{0,30}"
)
_NAMED = re.compile(
    rf"""(?P<before>\b{_NAME}["']?\s{{0,5}}[:=]\s{{0,5}})(?P<quote>["']?)(?P<value>[^\s"',;&)}}\]]+)""", re.I
)
_BEARER = re.compile(r"(?P<before>\b(?:bearer|basic)\s{1,5})[\w.~+/=-]{6,}", re.I)
_USER = re.compile(r"(?P<before>\b[a-z][\w+.-]{0,20}://)[^\s/@:]{1,200}:[^\s/@]{1,200}(?=@)", re.I)

LONGEST = 20_000
"""Characters that are looked at; the rest is cut."""


def masked(text: str) -> str:
    """Return a text with `***` for the values of secret names, tokens of headers, and passwords in URLs."""
    text = text[:LONGEST]
    text = _BEARER.sub(rf"\g<before>{MASK}", text)
    text = _USER.sub(rf"\g<before>{MASK}", text)
    return _NAMED.sub(rf"\g<before>\g<quote>{MASK}", text)
