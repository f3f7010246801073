// What a row of a run says when the pointer is over it: its times, its error, what it said.
import { html, useLayoutEffect, useRef } from "../../vendor/vendor.js";
import { duration, plural } from "../../base/format.js";
import { endOf } from "./tree.js";

function linesOf(row, now) {
  if (row.type === "event")
    return [
      row.marks.length > 1
        ? `from ${duration(row.marks[0].at)} to ${duration(row.marks.at(-1).at)}`
        : `at ${duration(row.marks[0].at)}`,
      row.text,
    ];
  const end = endOf(row, now);
  return [
    `waited ${duration(Math.max(0, row.started - row.published))}, ran ${duration(row.ran ?? end - row.started)}`,
    `${duration(row.started)} to ${row.ended === null || row.ended === undefined ? "now" : duration(end)}, for #${row.seq}`,
    row.error && `${row.error}${row.place ? `, ${row.place}` : ""}`,
    row.lines ? plural(row.lines, "line") : null,
    row.text,
  ];
}

/** A small card beside the pointer; `at` is a signal of `{ row, x, y }`, or null for none: only the card is drawn anew. */
export function Hover({ at, now }) {
  const root = useRef(null);
  const hovered = at.value;
  const row = hovered?.row;
  useLayoutEffect(() => {
    const within = root.current?.offsetParent; // a view of the panel, or a widget that is a trace alone
    if (!within) return;
    const view = within.getBoundingClientRect();
    const { width, height } = root.current.getBoundingClientRect();
    const x = Math.min(hovered.x - view.left + 14, view.width - width - 8);
    const y = hovered.y - view.top + 18;
    root.current.style.left = `${Math.max(8, x)}px`;
    root.current.style.top = `${y + height > view.height ? Math.max(0, y - height - 28) : y}px`;
  });
  if (!row || row.type === "note") return null;
  const title = row.type === "call" ? `${row.worker}.${row.handler}` : row.kind;
  return html`<div class="hovercard" ref=${root} aria-hidden="true">
    <div class="b el">${title}</div>
    ${linesOf(row, now)
      .filter(Boolean)
      .map((text) => html`<div class="t2">${text}</div>`)}
  </div>`;
}
