"""The keys by which workers make an effect happen once: how they may look, and how long they are kept."""

from __future__ import annotations

from dnworker.core.errors import Invalid
from dnworker.core.text import is_valid_text, shorten

LONGEST_KEY = 512
"""Characters of a key."""

KEY_SECONDS = 86_400.0
"""Seconds for which a key is remembered: a day."""


def check_key(key: object) -> str:
    """Return `key` if it is text of 1 to 512 characters.

    Raises:
        Invalid: it is not.
    """
    if not isinstance(key, str) or not key:
        raise Invalid(
            f"a key is text that names the effect, such as f'mail-{{order}}', not {key!r:.200}", code="DN217"
        )
    if len(key) > LONGEST_KEY:
        raise Invalid(
            f"key {shorten(key, 40)!r} has {len(key):,} characters; at most {LONGEST_KEY} are taken; "
            "use an id, or a hash of it",
            code="DN217",
        )
    if not is_valid_text(key):
        raise Invalid(f"key {key!r} has a lone surrogate, which is not text", code="DN217")
    return key
