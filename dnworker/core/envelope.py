"""`EventEnvelope`, its JSON, and the checks of kinds and payloads (contract 5.1, 5.4).

The envelopes inside a runtime hold their payload as the bytes of its JSON: parsed, it takes up to thirty
times as much memory. Whoever reads `payload` of such an envelope gets a dict parsed for that; `own` gives
handlers and clients in this process an envelope with a dict that is theirs.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from datetime import UTC, datetime
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dnworker.core.errors import Invalid, KindTooLong, ReservedKind, TooLarge
from dnworker.core.ids import new_id
from dnworker.core.not_json import way_to_json, why_not_json
from dnworker.core.text import is_valid_text, kind_of, shorten

SCHEMA_VERSION = 2
RESERVED_PREFIXES = ("turn.", "prompt.", "session.", "transport.", "capabilities.", "component.")

MAX_PAYLOAD_BYTES = 1_000_000
"""A frame over 1 MiB breaks the reference client's socket (contract 7, 13.19)."""

RECONNECTED = "transport.reconnected"
RESUMED = "transport.resumed"
EVENTS_CUT = "transport.events_cut"
SUBSCRIBER_DROPPED = "transport.subscriber_dropped"


KINDS_REMEMBERED = 10_000
"""Kinds for which a check or a list of subscribers is cached."""
_publishable: set[str] = set()


if TYPE_CHECKING:
    from typing_extensions import TypeVar

    P = TypeVar("P", default=dict[str, Any])

    class _OfPayload(msgspec.Struct, Generic[P], frozen=True):
        """An event whose payload has the type that an annotation declares: a TypedDict, or a dict."""
else:
    P = dict[str, Any]  # what it is for decoders, whatever an annotation declares

    class _OfPayload(msgspec.Struct):
        def __class_getitem__(cls, payload):
            return cls if cls is _OfPayload else GenericAlias(cls, payload)


class EventEnvelope(_OfPayload[P], kw_only=True, frozen=True, gc=False):
    """One event, as a handler gets it and as it goes over the wire.

    `payload` is yours: a change of it reaches nobody else. All other fields are read-only.
    `event: EventEnvelope[OrderPlaced]` declares the payload of a handler's kind, for the catalogue of events:
    by a TypedDict, a dataclass, a msgspec Struct or a pydantic model. It is a dict for all of them.

    Attributes:
        schema_version: of the envelope; always 2.
        connection_id: of the client's own interactive connection; None everywhere else.
        session_id: the session that it belongs to; None for none.
        turn_id: the turn that it belongs to; None for none.
        event_id: 32 hexadecimal digits, different for every event.
        seq: its number in the runtime, from 1; it rises with each event.
        timestamp: when it was published: an aware `datetime` in UTC.
        kind: its name, of at most 512 characters. The reference page of event kinds lists those of the
            runtime.
        replay: whether a client gets it late, after it has reconnected.
        terminal: whether it ends its turn.
        payload: a JSON object as a dict, of at most 1,000,000 bytes of JSON.

    Examples:
        >>> event = make_envelope("demo.greeted", {"name": "Ada"})
        >>> event.kind, event.payload["name"], event.session_id
        ('demo.greeted', 'Ada', None)
    """

    schema_version: int = SCHEMA_VERSION
    connection_id: str | None = None
    session_id: str | None = None
    turn_id: str | None = None
    event_id: str = msgspec.field(default_factory=new_id)
    seq: int
    timestamp: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    kind: str
    replay: bool = False
    terminal: bool = False
    payload: P = msgspec.field(default_factory=dict)  # type: ignore[assignment]

    if TYPE_CHECKING:
        _held: ClassVar[Any]
        """The payload as it is held: JSON as `Raw`, or a dict."""

    @property
    def delivery(self) -> int:
        """How often the worker was given this event by now: 1, where nothing gives it again.

        What is retried comes again, and what a broker has kept for it (`serve --durable`).
        """
        return 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventEnvelope):
            return NotImplemented
        return msgspec.Struct.__eq__(own(self), own(other))

    __hash__ = None  # type: ignore[assignment]  # a payload is mutable

    def __repr__(self) -> str:
        return msgspec.Struct.__repr__(own(self))

    def __reduce__(self) -> Any:
        return msgspec.Struct.__reduce__(own(self))


class RedeliveredEvent(EventEnvelope, kw_only=True, frozen=True, gc=False):
    """An event that a worker gets again, and how often."""

    delivery: int = 1


class FedEvent(RedeliveredEvent, kw_only=True, frozen=True, gc=False):
    """An event with what a frame says of it to our own client alone."""

    handled_by: tuple[str, ...] = ()
    """The handlers that have ended well with it at an earlier delivery."""
    traceparent: str | None = None
    """The span that sends it, where the runtime sends traces."""


def redelivered(envelope: EventEnvelope, delivery: int) -> EventEnvelope:
    """Return an event as a worker gets it for the second time, or more often; itself for the first."""
    if delivery <= 1:
        return envelope
    fields = {name: getattr(envelope, name) for name in EventEnvelope.__struct_fields__}
    return RedeliveredEvent(**fields, delivery=delivery)


def as_given(envelope: FedEvent) -> EventEnvelope:
    """Return an event as handlers get it, without what its frame says to our client alone."""
    fields = {name: getattr(envelope, name) for name in EventEnvelope.__struct_fields__}
    return redelivered(EventEnvelope(**fields), envelope.delivery)


_payload_slot: Any = EventEnvelope.__dict__["payload"]
_set_payload = _payload_slot.__set__
EventEnvelope._held = _payload_slot  # reading it costs less than a call of `__get__`


def _parsed_payload(envelope: EventEnvelope) -> Any:
    held = envelope._held
    return _from_json(held) if held.__class__ is Raw else held


# The encoder and `copy` read the slot itself: they take the bytes as they are.
EventEnvelope.payload = property(  # type: ignore[misc]
    _parsed_payload, _set_payload, doc="What happened: a JSON object as a dict; it is the handler's own."
)


_set_seq = EventEnvelope.__dict__["seq"].__set__


def number(envelope: EventEnvelope, seq: int) -> None:
    """Give an envelope its number, in place: its publisher has it since before it was accepted."""
    _set_seq(envelope, seq)


def own(envelope: EventEnvelope[Any]) -> EventEnvelope:
    """Return an envelope whose payload is a dict that only its holders share; itself, if it has one."""
    held = envelope._held
    if held.__class__ is not Raw:
        return envelope
    copy = replace(envelope)
    _set_payload(copy, _from_json(held))
    return copy


def bytes_of_payload(envelope: EventEnvelope) -> int:
    """Return the bytes of JSON that an envelope holds as its payload; 0 where it is parsed, or not kept."""
    held = envelope._held
    return len(memoryview(held)) if held.__class__ is Raw and held is not _NOT_KEPT else 0


_OVERHEAD = 700  # bytes of an event without its payload, kind and ids


def bytes_without_payload(envelope: EventEnvelope) -> int:
    """Return about how many bytes of memory an event takes whose payload is dropped."""
    size = _OVERHEAD + envelope.kind.__sizeof__()
    if envelope.session_id is not None:
        size += envelope.session_id.__sizeof__()
    return size if envelope.turn_id is None else size + envelope.turn_id.__sizeof__()


def payload_json(envelope: EventEnvelope) -> bytes:
    """Return the JSON of a payload, without parsing it where the envelope holds it as that."""
    held = envelope._held
    return bytes(held) if held.__class__ is Raw else msgspec.json.encode(held)


NOT_KEPT: dict[str, Any] = {"dreadnode_truncated": True, "reason": "the payload is not kept any more"}
"""The payload of an event whose own the history has dropped; marked like one that was cut (contract 7)."""


def drop_payload(envelope: EventEnvelope) -> None:
    """Replace the payload of an envelope that nobody else holds by a note that it is not kept."""
    _set_payload(envelope, _NOT_KEPT)


def without_payload(envelope: EventEnvelope) -> EventEnvelope:
    """Return a copy of an envelope whose payload is a note that it is not kept."""
    copy = replace(envelope)
    _set_payload(copy, _NOT_KEPT)
    return copy


def has_payload(envelope: EventEnvelope) -> bool:
    """Return whether the payload is the one that was published, and not the note that it is not kept."""
    return envelope._held is not _NOT_KEPT


_NOT_KEPT = Raw(msgspec.json.encode(NOT_KEPT))


class _WithPayload(msgspec.Struct):
    payload: Raw


_payload_decoder = msgspec.json.Decoder(_WithPayload)
_decoder = msgspec.json.Decoder(EventEnvelope)
_caused = msgspec.json.Decoder(tuple[EventEnvelope, str | None])
_fed = msgspec.json.Decoder(FedEvent)
_encoder = msgspec.json.Encoder()


ENVELOPE_BYTES = 340
"""Bytes of an envelope's JSON beside kind and payload."""


def size_of(envelope: EventEnvelope) -> int:
    """Return the bytes that an event counts as where it is queued."""
    return len(payload_json(envelope)) + len(envelope.kind) + ENVELOPE_BYTES


def encode(envelope: EventEnvelope) -> bytes:
    """Return the envelope as UTF-8 JSON."""
    return _encoder.encode(envelope)


def encode_caused(envelope: EventEnvelope, cause: str | None) -> bytes:
    """Return a list of the envelope and the id of what published it as UTF-8 JSON."""
    return _encoder.encode((envelope, cause))


def decode_caused(text: bytes) -> tuple[EventEnvelope, str | None]:
    """Return what `encode_caused` has encoded."""
    return _caused.decode(text)


def decode(frame: str | bytes) -> EventEnvelope:
    """Read an envelope from JSON; keys beyond the known are ignored.

    `session.created` and `session.deleted` of the reference carry the id in the payload only; it is filled
    in here (contract 11.2).

    Raises:
        Invalid: the frame is no envelope.
    """
    return _decode(_decoder, frame)


def decode_fed(frame: str | bytes) -> EventEnvelope:
    """Do the same with a frame that says to a client of ours what a `FedEvent` has."""
    return _decode(_fed, frame)


def _decode(decoder: msgspec.json.Decoder[Any], frame: str | bytes) -> EventEnvelope:
    try:
        envelope: EventEnvelope = decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"not an event envelope: {exc}", code="DN211") from exc
    if envelope.session_id is None and envelope.kind in ("session.created", "session.deleted"):
        named = envelope.payload.get("session_id")
        if isinstance(named, str):
            return replace(envelope, session_id=named)
    return envelope


def decode_stored(frame: str | bytes) -> EventEnvelope:
    """Read an envelope that `encode` wrote; it holds its payload as the bytes of its JSON.

    Raises:
        Invalid: the frame is no envelope.
    """
    envelope = decode(frame)
    _set_payload(envelope, _payload_decoder.decode(frame).payload.copy())
    return envelope


def is_reserved(kind: str) -> bool:
    """Return whether only the runtime may publish `kind`."""
    return kind.startswith(RESERVED_PREFIXES)


NOISE = ("component.", "capabilities.", "transport.")
"""Prefixes of the kinds that a runtime publishes about itself."""


def is_noise(kind: str) -> bool:
    """Return whether the runtime publishes `kind` about itself; such events are not worth firing again."""
    return kind.startswith(NOISE)


LONGEST_KIND = 512
"""Characters of a kind."""


def check_kind(kind: object) -> str:
    """Return `kind` if it is text of at most 512 characters.

    Raises:
        Invalid: it is no text.
        KindTooLong: it is longer.
    """
    if not isinstance(kind, str):
        raise Invalid(f"kind must be text such as 'capability.demo.ready', not {kind!r:.200}", code="DN201")
    if len(kind) > LONGEST_KIND:
        raise KindTooLong(
            f"kind {shorten(kind, 40)!r} has {len(kind):,} characters; at most {LONGEST_KIND} are taken. "
            "A kind names what happened; what it is about belongs in the payload"
        )
    if not is_valid_text(kind):
        raise Invalid(f"kind {kind!r} has a lone surrogate, which is not text", code="DN201")
    return kind


def check_publishable(kind: str) -> str:
    """Return `kind` if a worker may publish it.

    Raises:
        ReservedKind: it starts with one of the six reserved prefixes.
        KindTooLong: it is too long.
    """
    if isinstance(kind, str) and kind in _publishable:
        return kind
    if is_reserved(check_kind(kind)):
        raise ReservedKind(
            f"kind {kind!r} is reserved: {', '.join(RESERVED_PREFIXES)} belong to the runtime; "
            "publish under a prefix of your own, such as 'capability.<name>.<event>'"
        )
    if len(_publishable) < KINDS_REMEMBERED:
        _publishable.add(kind)
    return kind


EMPTY = Raw(b"{}")

SURELY_JSON = 400
"""Characters of our own JSON, without escapes, that cannot be nested too deep to be read again."""

_FLAT = frozenset((str, int, bool))
"""Types of keys and values that have one form in JSON, whoever writes it."""
_FLAT_BYTES = MAX_PAYLOAD_BYTES // 6  # an escape takes up to six characters for one byte of UTF-8


def snapshot(payload: object) -> tuple[dict[str, Any], int]:
    """Return the payload as it will arrive over a wire, and its size in bytes.

    Raises:
        Invalid, TooLarge: as `pack`.
    """
    packed, size = pack(payload)
    return _from_json(packed), size


def pack(payload: object) -> tuple[Raw, int]:
    """Return the payload as the JSON that an envelope holds, and its size in bytes.

    Going through JSON gives handlers in this process exactly what a subprocess worker would see, and keeps
    a publisher from changing an event that is under way.

    Raises:
        Invalid: it is not an object, or holds something JSON has no form for; names the field.
        TooLarge: its JSON is longer than a subscriber can receive.
    """
    if payload is None:
        return EMPTY, 2
    if payload.__class__ is dict and (packed := _pack_flat(payload)) is not None:
        return Raw(packed), len(packed)
    if not isinstance(payload, dict):
        raise Invalid(
            f"a payload is an object, as in {{'key': 'value'}}; "
            f"got {kind_of(payload)}{way_to_json(payload, as_payload=True) or f' {payload!r:.60}'}",
            code="DN204",
        )
    try:
        text = _to_json(payload)
        if len(text) <= SURELY_JSON and "\\u" not in text:
            return Raw(text.encode()), len(text)
        packed = Raw(_encoder.encode(_from_json(text)))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
        raise Invalid(why_not_json(payload) or f"payload is not JSON: {exc}", code="DN204") from None
    if len(text) > MAX_PAYLOAD_BYTES:
        raise TooLarge(
            f"payload is {len(text):,} bytes of JSON; at most {MAX_PAYLOAD_BYTES:,} reach a subscriber. "
            "Store the data and publish where it is",
            code="DN206",
        )
    return packed, len(text)


def _pack_flat(payload: dict[Any, Any]) -> bytes | None:
    """Return the JSON of an object without others in it, at half the cost; None where it is not so plain."""
    if not _FLAT.issuperset(map(type, payload.values())) or not _FLAT.issuperset(map(type, payload)):
        return None
    try:
        packed = _encoder.encode(payload)
    except (TypeError, ValueError):  # such as a lone surrogate
        return None
    return packed if len(packed) <= _FLAT_BYTES else None


def pack_read(payload: object, size: int) -> tuple[Raw, int]:
    """Return a payload that was just read from `size` bytes of JSON as `pack` does, without its checks.

    One that is packed already is returned as it is.
    """
    if payload.__class__ is Raw:
        return payload, size
    if payload is None or size > MAX_PAYLOAD_BYTES:
        return pack(payload)
    return Raw(_encoder.encode(payload)), size


def _make_to_json() -> Callable[[object], str]:
    """Return the strict JSON encoder; made once where the interpreter allows it, which halves its cost."""
    encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    escape = json.encoder.encode_basestring_ascii
    made = make(None, encoder.default, escape, None, ":", ",", False, False, False)
    return lambda value: "".join(made(value, 0))


_to_json = _make_to_json()
_from_json = msgspec.json.Decoder().decode
