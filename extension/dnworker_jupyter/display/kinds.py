"""`KindView`: what is known of a kind of events, as text in a terminal and HTML in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from dnworker.catalogue.entries import KindEntry, Listener
from dnworker_jupyter.display.tables import Table

_SOURCES = {
    "runtime": "of dnworker itself",
    "declared": "declared by handlers",
    "inferred": "made of recorded payloads",
    "reads": "guessed by what handlers read",
    "unknown": "not known",
}


class KindView:
    """One kind: who publishes and hears it, its fields, how they changed, examples; `schema` is a dict."""

    def __init__(self, entry: KindEntry) -> None:
        self.kind = entry.kind
        self.schema: dict[str, Any] | None = entry.schema
        self.entry = entry

    def __repr__(self) -> str:
        lines = [*self._head()]
        if self.entry.fields:
            lines += ["", repr(self._fields())]
        lines += [f"! {text}" for text in self._news()]
        lines += [f"#{one.seq}  {_json(one.payload)}" for one in self.entry.examples]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<div>{escape(line)}</div>" for line in self._head())
        news = "".join(f"<li>{escape(text)}</li>" for text in self._news())
        examples = "".join(
            f"<pre>#{one.seq} {escape(_json(one.payload, indent=1))}</pre>" for one in self.entry.examples
        )
        schema = "" if self.schema is None else f"<pre>{escape(_json(self.schema, indent=1))}</pre>"
        return "".join(
            (
                f"<div class='dnt'>{head}",
                self._fields()._repr_html_() if self.entry.fields else "",
                f"<ul>{news}</ul>" if news else "",
                f"<details><summary>Examples</summary>{examples}</details>" if examples else "",
                f"<details><summary>JSON Schema</summary>{schema}</details>" if schema else "",
                "</div>",
            )
        )

    def _head(self) -> Iterable[str]:
        entry = self.entry
        yield f"{entry.kind}: schema {_SOURCES[entry.schema_source]}"
        if entry.when:
            yield entry.when
        yield f"published by: {', '.join(one.name for one in entry.published_by) or 'nobody that is known'}"
        yield f"heard by: {', '.join(map(_heard, entry.heard_by)) or 'nobody'}"
        if entry.first_seen is not None and entry.last_seen is not None:
            first, last = entry.first_seen, entry.last_seen
            yield (
                f"first #{first.seq} ({first.at:%Y-%m-%d %H:%M} UTC), "
                f"last #{last.seq} ({last.at:%Y-%m-%d %H:%M} UTC); {entry.looked_at:,} payloads looked at"
            )

    def _fields(self) -> Table:
        rows = [
            [
                one.path,
                one.declared or "-",
                one.seen or "-",
                "yes" if one.is_required else "",
                one.description,
            ]
            for one in self.entry.fields
        ]
        return Table(["field", "declared", "recorded", "required", "what it is"], rows)

    def _news(self) -> list[str]:
        notes = [one.note for one in self.entry.heard_by if one.note]
        drift = [one.text for one in self.entry.drift]
        return [*self.entry.disagreements, *drift, *notes, *self.entry.notes]


def _heard(one: Listener) -> str:
    name = f"{one.worker}.{one.handler}" if one.handler else one.worker
    refuses = ", refuses others" if one.refuses else ""
    return f"{name} ({one.type}{refuses})" if one.type else name


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
