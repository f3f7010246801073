"""What the catalogue says of a kind, as the API answers it: `KindRow` in a list, `KindEntry` as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from dnworker.catalogue.drift import Drift

SchemaSource = Literal["runtime", "declared", "inferred", "reads", "unknown"]
"""Where a kind's schema is from: dnworker itself, annotations, recorded payloads, or what handlers read."""


class Moment(msgspec.Struct):
    """An event of the kind: its number, id and time."""

    seq: int
    event_id: str
    at: datetime


class KindRow(msgspec.Struct, kw_only=True):
    """One kind in the list."""

    kind: str
    is_runtimes: bool
    """Whether the runtime publishes it: one of the reference's kinds, or one that only dnworker has."""
    when: str = ""
    """When the runtime publishes it, as a sentence."""
    publishers: list[str] = []
    """Who has published it lately, or does by its source: workers, and words such as `HTTP`."""
    listeners: list[str] = []
    """The workers that listen to it, by qualified name."""
    types: list[str] = []
    """The names of the types that handlers declare for its payload."""
    kept: int = 0
    """How many events of it memory has."""
    first_seen: Moment | None = None
    """The first event of it that is kept: in the journal where there is one, else in memory."""
    last_seen: Moment | None = None


class Listener(msgspec.Struct, kw_only=True):
    """One handler that listens to a kind, and what it declares of the payload."""

    worker: str
    handler: str = ""
    """Empty where only its worker is known."""
    type: str = ""
    """The name of the type; empty where the handler declares none."""
    schema: dict[str, Any] | None = None
    note: str = ""
    """Why there is no schema of the type."""
    refuses: bool = False
    """Whether the handler is not run for an event that breaks the type."""


class Publisher(msgspec.Struct, kw_only=True):
    """Who publishes a kind: a worker, or a word such as `HTTP`."""

    name: str
    lately: int = 0
    """Events of the last 15 minutes."""
    is_written: bool = False
    """Whether the source of the worker says so."""


class FieldRow(msgspec.Struct, kw_only=True):
    """One field: what a schema says of it, and what recorded payloads have."""

    path: str
    declared: str = ""
    """Types in words; empty where the schema does not name the field."""
    is_required: bool = False
    description: str = ""
    seen: str = ""
    """Types that recorded payloads have, in words; empty where none has the field."""
    present: int = 0
    """In how many of the recorded payloads it is."""


class Example(msgspec.Struct, kw_only=True):
    """A recorded payload, shortened, with the values of secrets hidden."""

    seq: int
    event_id: str
    at: datetime
    payload: dict[str, Any]


class KindEntry(KindRow, kw_only=True):
    """All that is known of a kind."""

    schema: dict[str, Any] | None = None
    """JSON Schema of the payload; None where nothing is known."""
    schema_source: SchemaSource = "unknown"
    published_by: list[Publisher] = []
    heard_by: list[Listener] = []
    disagreements: list[str] = []
    """Where handlers declare types of a field that exclude each other, in sentences."""
    inferred: dict[str, Any] | None = None
    """JSON Schema of the recorded payloads that were looked at."""
    looked_at: int = 0
    """How many recorded payloads were looked at, the newest."""
    fields: list[FieldRow] = []
    drift: list[Drift] = []
    """How fields have changed, the newest change first."""
    reads: dict[str, Any] = {}
    """A payload with the fields that handlers read, as far as their source is known."""
    examples: list[Example] = []
    """The newest first."""
    suggestion: dict[str, Any] = {}
    """A payload to fire, shortened, and without secrets."""
    suggestion_source: str = ""
    notes: list[str] = []


class KindList(msgspec.Struct, kw_only=True):
    """Kinds in their order, and how many there are."""

    kinds: list[KindRow]
    entries: list[KindEntry] = []
    """All that is known of the same kinds, where that is asked for."""
    total: int
    next: str | None = None
    """The `after` of the next page; None where that is all."""
    notes: list[str] = []
    """What is not looked at, in sentences."""
