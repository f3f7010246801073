// Dead letters: what workers could not handle and gave up, with what fires it again, debugs, edits and drops it.
import { html } from "../../vendor/vendor.js";
import { ago, clockSeconds, count, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Dot } from "../../base/ui.js";
import { debugEvent, whyNoDebugger } from "./failures.js";
import { deadText } from "./words.js";

const message = (row, verb) => ({ type: "dead", verb, event: row.id, worker: row.worker });

/** Deliver it again, to its worker alone. */
async function fireAgain(row, store) {
  const answer = await store.request("Fire again", message(row, "retry"));
  if (!answer) return;
  const action = { label: "Show", run: () => store.go("runs", { event: answer.event }) };
  store.toast(`Fired ${answer.kind} #${answer.seq} for ${row.worker}`, { action });
}

async function editAndFire(row, store) {
  const answer = await store.request(`The payload of #${row.seq}`, message(row, "payload"));
  if (!answer) return;
  if (answer.cut) store.toast(`The payload of #${row.seq} is too long to edit here`, { bad: true });
  else store.openFire({ kind: row.kind, payload: answer.payload, session: row.session, worker: row.worker });
}

async function drop(row, store) {
  if (!(await store.request("Drop", message(row, "drop")))) return;
  const undo = () => store.request("Undo", message(row, "restore"));
  store.toast(`Dropped ${row.kind} #${row.seq}`, { action: { label: "Undo", run: undo } });
}

/** What can be done about a row. */
function actionsOf(row, overview, store) {
  const gone = store.disabled.value;
  const noCells = whyNoDebugger(overview);
  const debug = (near) => debugEvent(store, near, row.id);
  return [
    { icon: "again", label: "Fire again", why: gone, run: () => fireAgain(row, store) },
    { icon: "bug", label: "Debug this event", why: gone ?? noCells, run: debug },
    { icon: "fire", label: "Edit and fire", why: gone, run: () => editAndFire(row, store) },
    { icon: "cross", label: "Drop", why: gone, run: () => drop(row, store) },
  ];
}

function when(row, store) {
  store.tick.value; // it grows older
  return store.liveness.value.state === "gone" ? clockSeconds(row.at) : ago(row.at, store.now());
}

function Row({ row, overview }) {
  const store = useStore();
  const who = `${row.worker}.${row.handlers[0]}`;
  return html`<div class="fl dead" role="group" aria-label=${deadText(row, store.now())} data-dead=${row.id}>
    <${Dot} state="error" />
    <span class="el who" title=${`${row.worker}.${row.handlers.join(", ")}`}><span class="b">${row.kind}</span> <span class="t2">${who}</span></span>
    <span class="m el bad error" title=${row.error}>${row.error}</span>
    <span class="r nw often">${row.why === "exhausted" ? plural(row.attempts, "attempt") : "not retried"}</span>
    <span class="s t3 r nw age">${when(row, store)}</span>
    <span class="row acts">
      ${actionsOf(row, overview, store).map(
        ({ icon, label, why, run }) =>
          html`<${Button} icon=${icon} label=${label} small why=${why} onClick=${(event) => run(event.currentTarget)} />`,
      )}
    </span>
  </div>`;
}

/** The rows of letters, and how many more there are; `shown` says whether there are cells to debug in. */
export function DeadRows({ rows, all, shown }) {
  const more = all - rows.length;
  return html`<div class="fls">
    ${rows.map((row) => html`<${Row} key=${`${row.worker} ${row.id}`} row=${row} overview=${shown} />`)}
    ${more > 0 && html`<div class="s t3">and ${plural(more, "older one")}</div>`}
  </div>`;
}

/** The dead letters of a run, under its head. */
export function DeadOfRun({ run }) {
  const { rows, all } = run.dead ?? { rows: [], all: 0 };
  if (!rows.length) return null;
  return html`<section class="dead-of-run" aria-label="Dead letters"><${DeadRows} rows=${rows} all=${all} shown=${run} /></section>`;
}

export function DeadLetters({ overview, width }) {
  const { rows, all } = overview.dead ?? { rows: [], all: 0 };
  if (!rows.length) return null;
  return html`<section class="sec failures" aria-label="Dead letters">
    <div class="hd">
      <h2>Dead letters</h2>
      <span class="t3">${count(all)}</span><span class="g"></span>
      ${width === "wide" && html`<span class="s t3 el">Handlers gave up on these events</span>`}
    </div>
    <${DeadRows} rows=${rows} all=${all} shown=${overview} />
  </section>`;
}
