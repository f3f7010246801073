// The nodes as a table: the name of one chooses it, and its workers and steps are shown alone.
import { html, useRef } from "../../vendor/vendor.js";
import { count, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Dot } from "../../base/ui.js";
import { capabilityText, dotOf, lagText, notesOf, stateText, upFor } from "./words.js";

const COLUMNS = {
  wide: ["version", "capabilities", "labels", "held", "backlog", "pending", "lag", "up"],
  medium: ["capabilities", "labels", "held", "backlog", "pending", "lag"],
  narrow: ["held", "backlog"],
};
const HEADS = {
  version: "Version",
  capabilities: "Capabilities",
  labels: "Labels",
  held: "Workers",
  backlog: "Backlog",
  pending: "Pending",
  lag: "Loop lag",
  up: "Up",
};
const NUMBERS = ["held", "backlog", "pending", "lag", "up"];

function Labels({ row }) {
  if (!row.labels.length) return null;
  return html`<span class="labels" title=${row.labels.join(", ")}>
    ${row.labels.map((label) => html`<span class="tok" key=${label}>${label}</span>`)}
  </span>`;
}

function Capabilities({ row }) {
  const texts = (row.capabilities ?? []).map(capabilityText);
  if (!texts.length || row.state === "gone") return null;
  return html`<span class="el" title=${texts.join(", ")}>${texts.join(", ")}</span>`;
}

function cell(column, row, now) {
  if (column === "version") return row.version;
  if (column === "capabilities") return html`<${Capabilities} row=${row} />`;
  if (column === "labels") return html`<${Labels} row=${row} />`;
  if (column === "lag") return lagText(row);
  if (column === "up") return upFor(row, now);
  return row.state !== "gone" && row[column] ? count(row[column]) : "";
}

/** Keys within the names: arrows, Home and End move between them, Escape shows all again. */
function move(event, root, clear) {
  const all = [...root.querySelectorAll(".pick")];
  const here = all.indexOf(event.target);
  const to = {
    ArrowDown: here + 1,
    j: here + 1,
    ArrowUp: here - 1,
    k: here - 1,
    Home: 0,
    End: all.length - 1,
  }[event.key];
  if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") clear();
  else if (to === undefined) return;
  else all[Math.min(all.length - 1, Math.max(0, to))].focus();
  event.preventDefault();
}

function Row({ row, only, columns, onChoose }) {
  const store = useStore();
  store.tick.value; // it grows older
  const now = store.now();
  const state = stateText(row, now);
  const notes = notesOf(row);
  const isChosen = row.name === only;
  const bad = row.state === "gone" && !row.hasLeft ? "bad" : "t2";
  return html`<tr class=${isChosen ? "sel" : ""} data-node=${row.name}>
    <td>
      <span class="row">
        <${Dot} state=${dotOf(row)} />
        <button type="button" class="pick el" aria-pressed=${String(isChosen)} title=${`${row.host}, process ${row.pid}`} onClick=${() => onChoose(row.name)}>${row.name}</button>
        ${row.isHere && html`<span class="s t3 nw">this one</span>`}
        ${state && html`<span class=${`s el ${bad}`} title=${state}>${state}</span>`}
        ${notes.map((note) => html`<span class="s warn el" key=${note} title=${note}>${note}</span>`)}
      </span>
    </td>
    ${columns.map((column) => html`<td key=${column} class=${NUMBERS.includes(column) ? "r" : ""}>${cell(column, row, now)}</td>`)}
  </tr>`;
}

/** The table; `onChoose(name)` chooses a node, and with null all of them. */
export function NodesTable({ found, width, onChoose }) {
  const root = useRef(null);
  const columns = COLUMNS[width];
  const more = found.all - found.rows.length;
  return html`<section class="sec" aria-label="All nodes">
    <table class="nodes-table" ref=${root} aria-label="Nodes" onKeyDown=${(event) => move(event, root.current, () => onChoose(null))}>
      <thead>
        <tr>
          <th scope="col" class="c-name">Node</th>
          ${columns.map((column) => html`<th scope="col" key=${column} class=${`c-${column} ${NUMBERS.includes(column) ? "r" : ""}`}>${HEADS[column]}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${found.rows.map((row) => html`<${Row} key=${row.name} row=${row} only=${found.only} columns=${columns} onChoose=${onChoose} />`)}
      </tbody>
    </table>
    ${more > 0 && html`<p class="s t3">and ${plural(more, "more node")}</p>`}
  </section>`;
}
