"""Names of attributes and metrics by the conventions of one version, and values as protobuf has them.

The conventions for messages and for generative AI are in development, and change: what is sent names the
version. They stand here as text, so that a new version of a library cannot change what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue

from dnworker._version import __version__
from dnworker.core.text import clip, valid_text

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

SYSTEM = "dnworker"
"""`messaging.system`: a value of our own, as the conventions have none for it."""

LONGEST_VALUE = 4_096
"""Characters of a text after which it is cut."""

Value = str | int | float | bool | None


def scope(name: str = "dnworker") -> InstrumentationScope:
    """Return what names us as the source of spans, metrics or records."""
    return InstrumentationScope(name=name, version=__version__)


def pairs(values: Mapping[str, Value]) -> list[KeyValue]:
    """Return attributes, without those that are None."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items() if value is not None]


def any_value(value: str | int | float | bool) -> AnyValue:
    """Return a value; a text is made valid and cut."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=clip(valid_text(value), LONGEST_VALUE))
