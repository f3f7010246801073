// What fails now: a row a cause, with what leads to the event, to the line, to the debugger, and fires it again.
import { html, useEffect, useLayoutEffect, useRef } from "../../vendor/vendor.js";
import { dismiss } from "../../base/acting.js";
import { ago, clockSeconds, plural } from "../../base/format.js";
import { insertCell } from "../../base/notebook.js";
import { copy } from "../../base/dom.js";
import { goToCell } from "../../base/place.js";
import { linesOf } from "../../base/python.js";
import { useStore } from "../../base/store.js";
import { Button, Dot, Icon, Link, Spark } from "../../base/ui.js";
import { howOften, listNote, rowSentence } from "./words.js";

const CELL = /cell \[(\d+)\]/;
const COLOURS = { keyword: "kw", string: "js", number: "jn", comment: "jt" };

/** Why no cell can debug an event; null where one can. */
export function whyNoDebugger(overview) {
  if (overview.cells) return null;
  return "There is no notebook here; dnworker serve --debug WORKER waits for a debugger";
}

/** Put what debugs an event into a cell beside `near`, or copy it. */
export async function debugEvent(store, near, event) {
  const answer = await store.request("Debug", { type: "copy", event, form: "debug" });
  if (!answer) return;
  if (insertCell(store.model, near, answer.text)) store.toast(`Inserted ${answer.text}; run that cell`);
  else if (await copy(answer.text, near)) store.toast(`Copied ${answer.text}; run it in a cell`);
  else store.toast(`The browser does not let this page copy; run ${answer.text} in a cell`, { bad: true });
}

/** What can be done about a row, by what it is; `near` is the element that asks. */
function actionsOf(row, overview, store) {
  const gone = store.disabled.value;
  const cell = CELL.exec(row.location ?? "");
  const show = () =>
    row.event ? store.go("runs", { event: row.event }) : store.go("workers", { worker: row.worker });
  const openLine = (near) => {
    if (cell && store.inNotebook) goToCell(store, near, Number(cell[1]));
    else if (row.event) store.go("runs", { event: row.event, tab: "source" });
    else store.openLog({ worker: row.worker });
  };
  const debug = (near) => debugEvent(store, near, row.event);
  const fire = async () => {
    const answer = await store.request("Fire again", { type: "replay", event: row.event });
    if (!answer) return;
    const action = { label: "Show", run: () => store.go("runs", { event: answer.event }) };
    store.toast(`Fired ${answer.kind} #${answer.seq}`, { action });
  };
  const start = async () => {
    const done = await store.request("Start again", { type: "control", verb: "restart", worker: row.worker });
    if (done) store.toast(`${row.worker} is ${done.state}`);
  };
  const noEvent = row.event ? null : "No event caused it";
  const noCells = whyNoDebugger(overview);
  const line = row.location && !row.exit ? `Open ${row.location}` : "Open its log";
  return {
    show: { icon: "search", label: row.event ? "Show the event" : "Show the worker", run: show, why: null },
    line: { icon: "code", label: line, run: openLine, why: null },
    debug: { icon: "bug", label: "Debug this event", run: debug, why: gone ?? noCells ?? noEvent },
    fire: row.exit
      ? { icon: "again", label: "Start again", run: start, why: gone }
      : { icon: "again", label: "Fire again", run: fire, why: gone ?? noEvent },
  };
}

/** Keys of a row: Enter opens; L, D and F act; Delete dismisses; arrows move. */
function onRowKey(event, row, actions, store) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const here = event.currentTarget;
  const act = { l: actions.line, d: actions.debug, f: actions.fire }[event.key.toLowerCase()];
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (step) here[step]?.focus();
  else if (event.key === "Enter" && event.target === here) actions.show.run(here);
  else if (event.key === "Delete" && !store.disabled.value) dismiss(store, row);
  else if (act && !act.why) act.run(here);
  else if (act) store.toast(act.why, { bad: true });
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function Act({ action, small = true, children }) {
  const { icon, label, run, why } = action;
  return html`<${Button} icon=${icon} label=${children ? undefined : label} small=${small} why=${why} onClick=${(event) => run(event.currentTarget)}>${children}<//>`;
}

/** The diamond, which takes its row away when it is pressed. */
function Dismiss({ row }) {
  const store = useStore();
  const why = store.disabled.value;
  return html`<button
    type="button"
    class="dismiss"
    aria-label="Dismiss"
    title=${why ?? "Dismiss; Delete does the same"}
    aria-disabled=${why ? "true" : undefined}
    onClick=${() => !why && dismiss(store, row)}
  >
    <${Dot} state="error" /><${Icon} name="cross" />
  </button>`;
}

/** Whose failure it is: a handler, or how many. */
function Who({ row }) {
  if (row.count > 1) {
    const names = row.handlers.map((one) => `${one.worker}.${one.handler}`).join("\n");
    return html`<span class="el who" title=${names}><span class="b">${plural(row.count, "handler")}</span></span>`;
  }
  return html`<span class="el who" title=${`${row.worker}.${row.handler}`}
    ><span class="b">${row.worker}</span><span class="t2">.${row.handler}</span></span
  >`;
}

const errorText = (row) => (row.exit ? row.error[0].toUpperCase() + row.error.slice(1) : row.error);

function when(row, store) {
  store.tick.value; // it grows older
  return store.liveness.value.state === "gone" ? clockSeconds(row.last) : ago(row.last, store.now());
}

function Row({ row, overview }) {
  const store = useStore();
  const actions = actionsOf(row, overview, store);
  return html`<div
    class="fl"
    role="group"
    tabindex="0"
    aria-label=${rowSentence(row, store.now())}
    data-row=${row.id}
    onKeyDown=${(event) => onRowKey(event, row, actions, store)}
    onDblClick=${() => actions.show.run()}
  >
    <${Dismiss} row=${row} />
    <${Who} row=${row} />
    <span class="m el bad error" title=${row.error}>${errorText(row)}</span>
    <${Spark} buckets=${row.spark.map((n) => [n, n])} width=${72} height=${16} />
    <span class="r nw often">${howOften(row)}</span>
    <span class="s t3 r nw age">${when(row, store)}</span>
    <span class="row acts">
      <${Act} action=${actions.show} /><${Act} action=${actions.line} /><${Act} action=${actions.debug} /><${Act} action=${actions.fire} />
    </span>
  </div>`;
}

/** A line of Python in colours. */
function Code({ text }) {
  return linesOf(text)[0].map(([kind, piece]) => html`<span class=${COLOURS[kind] ?? ""}>${piece}</span>`);
}

/** One failure alone: its line is shown at once. */
function Single({ row, overview }) {
  const store = useStore();
  const actions = actionsOf(row, overview, store);
  return html`<div
    class="single"
    role="group"
    tabindex="0"
    aria-label=${rowSentence(row, store.now())}
    data-row=${row.id}
    onKeyDown=${(event) => onRowKey(event, row, actions, store)}
  >
    <div class="row">
      <${Dismiss} row=${row} /><span class="b el">${row.worker}.${row.handler}</span>
      ${row.location && html`<${Link} cls="s place el" onClick=${(event) => actions.line.run(event.currentTarget)}>${row.location}<//>`}
      ${row.failed > 1 && html`<span class="s t3 nw">${howOften(row)}, ${when(row, store)}</span>`}
      <span class="g"></span>
      <${Act} action=${actions.show} /><${Act} action=${actions.debug} />
      <${Act} action=${actions.fire}>${actions.fire.label}<//>
    </div>
    <div class="errline">${errorText(row)}</div>
    ${
      row.source &&
      html`<div class="code" role="group" aria-label="Line that failed" tabindex="0"><div class="h"><span class="ln">${row.line ?? ""}</span><span><${Code} text=${row.source} /></span></div></div>`
    }
  </div>`;
}

/** Rows in the order in which they are shown: it stays while the pointer or the focus is among them. */
function useCalmOrder(rows, list) {
  const order = useRef([]);
  const isHeld = list.current?.matches(":hover, :focus-within") ?? false;
  const known = new Map(rows.map((row) => [row.id, row]));
  if (isHeld) {
    const kept = order.current.filter((id) => known.has(id));
    const fresh = rows.map((row) => row.id).filter((id) => !kept.includes(id));
    order.current = [...kept, ...fresh];
  } else order.current = rows.map((row) => row.id);
  return order.current.map((id) => known.get(id));
}

/** The focus goes from a row that is gone to the one that took its place, to the last, or to the section. */
function useFocus(rows, section) {
  const at = useRef(null); // the place of the row that has the focus
  const before = useRef([]);
  const ids = rows.map((row) => row.id);
  useLayoutEffect(() => {
    const id = at.current;
    const place = before.current.indexOf(id);
    before.current = ids;
    if (id === null || place < 0 || ids.includes(id)) return;
    at.current = null;
    const next = ids[Math.min(place, ids.length - 1)];
    const row = [...section.current.querySelectorAll("[data-row]")].find(
      (one) => one.dataset.row === String(next),
    );
    (row ?? section.current).focus();
  }, [ids.join(" ")]);
  const note = (event) => {
    const id = event.target.closest("[data-row]")?.dataset.row;
    at.current = ids.find((one) => String(one) === id) ?? null;
  };
  const leave = (event) => {
    if (event.relatedTarget) at.current = null; // to none: the row was taken away
  };
  return { onFocusIn: note, onFocusOut: leave };
}

/** The palette offers what can be done about each failure. */
function useCommands(overview, store) {
  const latest = useRef(overview);
  latest.current = overview;
  useEffect(
    () =>
      store.commands.add((query) => {
        const wanted = query.toLowerCase();
        return latest.current.failures.rows
          .filter((row) => `dismiss ${row.worker}.${row.handler} ${row.error}`.toLowerCase().includes(wanted))
          .slice(0, 5)
          .map((row) => ({
            group: "Failures",
            icon: "cross",
            title: `Dismiss ${row.worker}.${row.handler}`,
            detail: row.error,
            run: () => dismiss(store, row),
          }));
      }),
    [store],
  );
}

export function Failures({ overview, width }) {
  const store = useStore();
  const list = useRef(null);
  const section = useRef(null);
  const rows = useCalmOrder(overview.failures.rows, list);
  const focus = useFocus(rows, section);
  useCommands(overview, store);
  const isAlone = rows.length === 1 && rows[0].count === 1 && overview.failures.all === 1;
  const showRuns = () => store.go("runs", { filter: { outcome: "failed" } });
  return html`<section class="sec failures" aria-label="Failures" ref=${section} tabindex="-1" ...${focus}>
    ${
      !isAlone &&
      html`<div class="hd">
        <h2>Failing now</h2>
        <span class="t3">${overview.failures.all}</span><span class="g"></span>
        ${width === "wide" && html`<span class="s t3 el">${listNote(overview)}</span>`}
        ${width === "medium" && html`<${Link} cls="s" onClick=${showRuns}>Show failed runs<//>`}
      </div>`
    }
    <div ref=${list} class="fls">
      ${rows.map((row) =>
        isAlone
          ? html`<${Single} key=${row.id} row=${row} overview=${overview} />`
          : html`<${Row} key=${row.id} row=${row} overview=${overview} />`,
      )}
    </div>
  </section>`;
}
