"""Checks the names and labels that clients give; used by `store.py`, turns and the API."""

from __future__ import annotations

from collections.abc import Mapping

from dnworker.core.errors import Invalid
from dnworker.core.text import is_valid_text, shorten

LONGEST_NAME = 512
LONGEST_LABELS = 16_384
MOST_LABELS = 1_000
"""Characters of an id, a title or a name, and of all labels of a session, which may be so many."""


def check_names(**names: str | None) -> None:
    """Check ids, titles and names that a client gives.

    Raises:
        Invalid: one is too long, or no text; says which (in the shape of contract 6.1).
    """
    for field, name in names.items():
        if name is None:
            continue
        _check_text(field, name)
        if len(name) > LONGEST_NAME:
            found = {"type": "string_too_long", "loc": ["body", field], "input": shorten(name, 40)}
            raise Invalid(
                [{**found, "msg": f"has {len(name):,} characters; at most {LONGEST_NAME} are taken"}],
                code="DN607",
            )


def check_labels(labels: Mapping[str, list[str]]) -> None:
    """Check the labels that a client gives to a session.

    Raises:
        Invalid: they are too long altogether, or one is no text (in the shape of contract 6.1).
    """
    for name, values in labels.items():
        for text in (name, *values):
            _check_text("labels", text)
    size = sum(len(name) + sum(map(len, values)) for name, values in labels.items())
    count = len(labels) + sum(map(len, labels.values()))
    if size > LONGEST_LABELS or count > MOST_LABELS:
        text = f"take {size:,} characters in {count:,} texts; at most {LONGEST_LABELS:,} in {MOST_LABELS:,}"
        raise Invalid(
            [{"type": "value_error", "loc": ["body", "labels"], "msg": text, "input": None}], code="DN607"
        )


def _check_text(field: str, text: str) -> None:
    if not is_valid_text(text):  # nothing could keep it; HTTP has no form for it, clients in the process have
        what = f"{shorten(text, 40)!r} has a lone surrogate, which is not text"
        raise Invalid(
            [{"type": "string_unicode", "loc": ["body", field], "msg": what, "input": None}], code="DN607"
        )
