// What is due next, and what has changed.
import { html } from "../../vendor/vendor.js";
import { ahead, clock, clockSeconds } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Dot, Link } from "../../base/ui.js";
import { changeText, rhythm } from "./words.js";

const SHOWN = { wide: 8, medium: 4, narrow: 4 };

/** When it is due, by the runtime's clock; an absolute time once nobody answers. */
function when(row, store) {
  store.tick.value; // it comes nearer
  if (row.when === null) return "not now";
  return store.liveness.value.state === "gone" ? clockSeconds(row.when) : ahead(row.when, store.clockNow());
}

function Name({ row }) {
  return html`<span class="el" title=${`${row.worker}.${row.name}`}>${row.worker}<span class="t3">.${row.name}</span></span>`;
}

/** Run a schedule, or start a process again, now. */
async function runNow(row, store) {
  const message = row.key
    ? { type: "run", worker: row.worker, key: row.key }
    : { type: "control", verb: "restart", worker: row.worker };
  if (await store.request("Run now", message)) store.toast(`${row.worker}.${row.name} runs`);
}

function Row({ row, isFirst }) {
  const store = useStore();
  const why = store.disabled.value ?? row.whyNotNow;
  return html`<div class="due" role="listitem" title=${row.why ?? undefined}>
    <span class=${`nw ${isFirst ? "b" : "t2"}`}>${when(row, store)}</span>
    <${Name} row=${row} />
    <span class="s t3 r nw el">${row.why ?? rhythm(row)}</span>
    <${Button} icon="play" label="Run now" small why=${why} onClick=${() => runNow(row, store)} />
  </div>`;
}

export function Due({ overview, width }) {
  const store = useStore();
  const rows = overview.due.rows.slice(0, SHOWN[width]);
  if (!rows.length) return null;
  if (width === "medium")
    return html`<section class="sec due-line" aria-label="Due next">
      <h2>Due next</h2>
      <span class="g"></span>
      ${rows
        .filter((row) => row.when !== null)
        .map(
          (row) =>
            html`<span class="s nw"><span class="t2">${when(row, store)}</span> <${Name} row=${row} /></span>`,
        )}
    </section>`;
  return html`<section class="sec" aria-label="Due next">
    <div class="hd">
      <h2>Due next</h2>
      <span class="g"></span>
      ${width === "wide" && html`<${Link} cls="s" onClick=${() => store.go("workers", { filter: "schedules" })}>All schedules<//>`}
    </div>
    <div role="list">
      ${rows.map(
        (row, n) =>
          html`<${Row} key=${`${row.worker} ${row.name}`} row=${row} isFirst=${n === 0 && row.when !== null} />`,
      )}
    </div>
  </section>`;
}

export function Changed({ overview }) {
  const store = useStore();
  if (!overview.changed.length) return null;
  return html`<section class="sec changed" aria-label="Changed">
    <div class="hd"><h2>Changed</h2></div>
    <div role="list">
      ${overview.changed.map(
        (
          change,
        ) => html`<div class="change" role="listitem" key=${`${change.at} ${change.worker} ${change.state}`}>
          <span class="s t3 nw">${clock(change.at)}</span><${Dot} state=${change.state} />
          <${Link} cls="el plain" onClick=${() => store.go("workers", { worker: change.worker })}>${change.worker}<//>
          <span class="s t2 el" title=${changeText(change)}>${changeText(change)}</span>
        </div>`,
      )}
    </div>
  </section>`;
}
