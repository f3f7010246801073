"""A module of the user's, beside the notebook."""

import msgspec


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)
