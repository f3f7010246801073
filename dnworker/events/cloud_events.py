"""CloudEvents 1.0 in JSON: `to_cloud_event` and `from_cloud_event`, for files of other programs.

The extension `sequence` has the `seq`; `dnsession`, `dnturn`, `dnterminal` and `dnreplay` have what else an
envelope says. `subject` has the session too, for people; it is not read back: others put anything there.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Any

import msgspec

from dnworker.core.envelope import EventEnvelope, payload_json
from dnworker.core.errors import Invalid
from dnworker.core.text import kind_of, shorten

SPEC_VERSION = "1.0"

SOURCE = "/dnworker"
"""The `source` of events of which the runtime is not known."""

ONE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
"""The media types of one event and of several."""

_ID = re.compile(r"[0-9a-f]{32}")
_JSON_TYPE = re.compile(r"[a-z]+/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.I)
_NOT_IN_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ud800-\udfff]")
"""Characters that an attribute must not have."""

_LONGEST_SHOWN = 40

SEQ_DIGITS = 19
"""Digits of `sequence`: it is a text, and programs compare it as one."""


class _CloudEvent(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A CloudEvent as we write it; readers take the attributes in any order."""

    specversion: str = msgspec.UNSET  # type: ignore[assignment]
    id: str
    source: str
    type: str
    time: datetime
    subject: str | None = None
    datacontenttype: str = msgspec.UNSET  # type: ignore[assignment]
    sequence: str
    dnsession: str | None = None
    dnturn: str | None = None
    dnterminal: bool = False
    dnreplay: bool = False
    data: msgspec.Raw


def is_cloud_event(value: object) -> bool:
    """Return whether what was read of a file is meant as a CloudEvent."""
    return isinstance(value, dict) and "specversion" in value


def to_cloud_event(envelope: EventEnvelope, source: str = SOURCE) -> bytes:
    """Return an event as the JSON of a CloudEvent.

    Args:
        envelope: the event.
        source: where it comes from, as a URI reference such as `/dnworker/rt-1`.

    Raises:
        Invalid: its kind, session or turn is no text that an attribute may be; names it.
    """
    if not envelope.kind:
        raise Invalid("a CloudEvent has a type, and the kind of this event is empty", code="DN222")
    return msgspec.json.encode(
        _CloudEvent(
            specversion=SPEC_VERSION,
            id=envelope.event_id,
            source=source,
            type=_text(envelope.kind, "type"),
            time=envelope.timestamp.astimezone(UTC),
            subject=_text(envelope.session_id, "subject") or None,
            datacontenttype="application/json",
            sequence=f"{envelope.seq:0{SEQ_DIGITS}d}",
            dnsession=_text(envelope.session_id, "dnsession"),
            dnturn=_text(envelope.turn_id, "dnturn"),
            dnterminal=envelope.terminal,
            dnreplay=envelope.replay,
            data=msgspec.Raw(payload_json(envelope)),
        )
    )


def _text(value: Any, attribute: str) -> Any:
    if value is not None and (found := _NOT_IN_TEXT.search(value)) is not None:
        raise Invalid(
            f"{attribute} {shorten(value, _LONGEST_SHOWN)!r} has U+{ord(found[0]):04X}, a character that no "
            "attribute of a CloudEvent has; leave the kind out, or write JSON Lines",
            code="DN222",
        )
    return value


def from_cloud_event(value: dict[str, Any], number: int) -> EventEnvelope:
    """Return a CloudEvent as an event.

    Its id stays where it is one of ours; another becomes 32 digits, the same ones for one `source` and `id`.
    `data` that is no object becomes the field `data` of the payload. A time without a zone is in UTC.

    Args:
        value: the object that was read.
        number: the `seq` of the event where the CloudEvent has no `sequence`.

    Raises:
        Invalid: it is no CloudEvent 1.0; names the attribute.
    """
    version = value.get("specversion")
    if version != SPEC_VERSION:
        raise Invalid(f"specversion is {_shown(version)}; only {SPEC_VERSION} is read", code="DN222")
    id_, source, kind = (_required(value, name) for name in ("id", "source", "type"))
    sequence = _optional(value, "sequence") or ""
    is_number = sequence.isascii() and sequence.isdecimal() and len(sequence) <= SEQ_DIGITS
    seq = int(sequence) if is_number else number
    fields: dict[str, Any] = {} if (at := _time(value)) is None else {"timestamp": at}
    return EventEnvelope(
        seq=seq,
        event_id=id_ if _ID.fullmatch(id_) else _made_id(source, id_),
        kind=kind,
        session_id=_optional(value, "dnsession"),
        turn_id=_optional(value, "dnturn"),
        terminal=value.get("dnterminal") is True,
        replay=value.get("dnreplay") is True,
        payload=_payload(value),
        **fields,
    )


def _made_id(source: str, id_: str) -> str:
    """Return an id of ours for one that is unique with its source only."""
    text = f"{source}\0{id_}".encode("utf-8", "surrogatepass")
    return blake2s(text, digest_size=16).hexdigest()


def _required(value: dict[str, Any], name: str) -> str:
    if name not in value:
        raise Invalid(f"{name} is missing; each CloudEvent has one", code="DN222")
    if not (found := _optional(value, name)):
        raise Invalid(f"{name} is {_shown(value[name])}; it must be text", code="DN222")
    return found


def _optional(value: dict[str, Any], name: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise Invalid(f"{name} is {_shown(found)}; it must be text", code="DN222")
    return found


def _time(value: dict[str, Any]) -> datetime | None:
    if (text := _optional(value, "time")) is None:
        return None
    try:
        found = datetime.fromisoformat(text.upper())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"time is {_shown(text)}; write it as 2026-05-01T14:00:00Z", code="DN222") from None


def _payload(value: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a CloudEvent.

    Raises:
        Invalid: it has data twice, or binary data that is none.
    """
    media = _optional(value, "datacontenttype")
    data, packed = value.get("data"), _optional(value, "data_base64")
    if packed is not None and data is not None:
        raise Invalid("it has both data and data_base64; leave one out", code="DN222")
    if packed is not None:
        return _of_binary(packed, media)
    if data is None:
        return {}
    if isinstance(data, dict):
        return data
    is_json = media is None or _JSON_TYPE.fullmatch(media) is not None
    return {"data": data} if is_json else {"data": data, "datacontenttype": media}


def _of_binary(packed: str, media: str | None) -> dict[str, Any]:
    try:
        raw = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("data_base64 is no Base64", code="DN222") from None
    if media is None or _JSON_TYPE.fullmatch(media) is not None:
        try:
            found = msgspec.json.decode(raw)
            return found if isinstance(found, dict) else {"data": found}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            if media is not None:
                raise Invalid(
                    f"data_base64 is no JSON, as datacontenttype says: {exc}", code="DN222"
                ) from None
    return {"data_base64": packed} | ({} if media is None else {"datacontenttype": media})


def _shown(value: object) -> str:
    return repr(shorten(value, _LONGEST_SHOWN)) if isinstance(value, str) else kind_of(value)
