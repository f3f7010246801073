// The workers that nodes hold, and the timeline of who took what over.
import { html } from "../../vendor/vendor.js";
import { count, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Dot, Link } from "../../base/ui.js";
import { dotOfMove, moveText, moveTime } from "./words.js";

const COLUMNS = {
  wide: ["fence", "backlog", "pending", "handled", "failed"],
  medium: ["fence", "backlog", "pending", "handled", "failed"],
  narrow: ["backlog", "pending"],
};
const HEADS = {
  fence: "Fence",
  backlog: "Backlog",
  pending: "Pending",
  handled: "Handled",
  failed: "Failed",
};
const WHY = {
  fence: "Rises with every holder: who comes with a lower number is late",
  backlog: "Events that wait",
  pending: "Events that handlers work on, and which are not acknowledged",
};

function Worker({ row, columns, isHere }) {
  const store = useStore();
  const open = () => store.go("workers", { worker: row.name });
  return html`<tr>
    <td>
      <span class="row">
        <${Dot} state=${row.state} label=${row.state} />
        ${
          isHere
            ? html`<${Link} cls="el plain" onClick=${open}>${row.name}<//>`
            : html`<span class="el" title=${row.name}>${row.name}</span>`
        }
        ${row.members && html`<span class="s t2 nw">${row.members}</span>`}
        ${row.state !== "running" && html`<span class="s t2 nw">${row.state.replace("_", " ")}</span>`}
      </span>
    </td>
    <td class="t2">${row.node}</td>
    ${columns.map(
      (column) =>
        html`<td key=${column} class=${`r ${column === "failed" ? "bad" : ""}`}>${row[column] ? count(row[column]) : ""}</td>`,
    )}
  </tr>`;
}

/** The workers of all nodes, or of the chosen one. */
export function Held({ found, width, onClear }) {
  const columns = COLUMNS[width];
  const more = found.allWorkers - found.workers.length;
  return html`<section class="sec" aria-label="Held workers">
    <div class="hd">
      <h2>Workers</h2>
      <span class="t3">${count(found.allWorkers)}</span><span class="g"></span>
      ${found.only && html`<span class="s t2 el">of ${found.only}</span><${Link} cls="s" onClick=${onClear}>Show all<//>`}
    </div>
    ${
      found.workers.length
        ? html`<table class="held-table" aria-label="Held workers">
            <thead>
              <tr>
                <th scope="col" class="c-name">Worker</th>
                <th scope="col" class="c-node">Node</th>
                ${columns.map((column) => html`<th scope="col" key=${column} class=${`r c-${column}`} title=${WHY[column]}>${HEADS[column]}</th>`)}
              </tr>
            </thead>
            <tbody>
              ${found.workers.map(
                (row) =>
                  html`<${Worker} key=${`${row.name} ${row.node}`} row=${row} columns=${columns} isHere=${row.node === found.node} />`,
              )}
            </tbody>
          </table>`
        : html`<p class="t2">No node holds a worker.</p>`
    }
    ${more > 0 && found.workers.length > 0 && html`<p class="s t3">and ${plural(more, "more worker")}</p>`}
  </section>`;
}

/** Who joined, left and is gone, and who took which worker over, the newest first. */
export function Timeline({ found }) {
  const store = useStore();
  const now = store.now();
  const older = found.allMoves - found.moves.length;
  return html`<section class="sec" aria-label="Timeline">
    <div class="hd"><h2>Timeline</h2>${found.only && html`<span class="s t2 el">of ${found.only}</span>`}</div>
    <div role="list">
      ${found.moves.map(
        (
          move,
        ) => html`<div class="step" role="listitem" key=${`${move.at} ${move.kind} ${move.node} ${move.worker}`}>
          <span class="s t3 nw">${moveTime(move, now)}</span><${Dot} state=${dotOfMove(move)} />
          <span class="el" title=${move.fence === null ? moveText(move) : `${moveText(move)}, fence ${move.fence}`}>${moveText(move)}</span>
        </div>`,
      )}
    </div>
    ${older > 0 && html`<p class="s t3">and ${plural(older, "older step")}</p>`}
  </section>`;
}
