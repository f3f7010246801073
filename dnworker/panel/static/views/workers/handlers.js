// The handlers of a worker: when each runs and how it does; a row opens to its error, origin and schedule.
import { html, useEffect, useId, useRef, useState } from "../../vendor/vendor.js";
import { ago, ahead, clockSeconds, count, duration, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Link } from "../../base/ui.js";
import { remove, runNow } from "./actions.js";
import { Place } from "./place.js";
import { triggerText } from "./figures.js";

const RUNS_SHOWN = 8;
const none = html`<span class="z">–</span>`;

/** Milliseconds in a column whose head says so: `19.4`, `210`; from a quarter of an hour on in seconds. */
function millis(ms) {
  if (ms >= 999_950) return `${count(ms / 1000)} s`;
  if (ms >= 99.95) return count(ms);
  return ms < 0.095 ? ms.toFixed(2) : ms.toFixed(1);
}

function Runs({ handler, now }) {
  const runs = handler.runs.slice(-RUNS_SHOWN).reverse();
  if (!runs.length && !handler.missed) return null;
  return html`<div>
    <div class="t3 s">
      Last runs${handler.missed ? html`, <span class="warn">${count(handler.missed)} missed</span>` : ""}
    </div>
    <ol class="w-runs" aria-label="Last runs">
      ${runs.map(
        ([at, took, outcome]) => html`<li key=${at} class="s">
          <span class="t3">${clockSeconds(at)}</span>
          <span class=${{ error: "bad", warning: "warn" }[outcome] ?? ""}
            >${{ ok: "Succeeded", warning: "Warned", error: "Failed", cancelled: "Cancelled" }[outcome] ?? outcome}</span
          >
          <span class="t2 r">${took === null ? "" : duration(took)}</span>
          <span class="t3 r">${ago(at, now)}</span>
        </li>`,
      )}
    </ol>
  </div>`;
}

function LastError({ error }) {
  const store = useStore();
  return html`<div class="w-error">
    <div class="errline"><bdi>${error.text}</bdi></div>
    ${error.source && html`<div class="m t2"><bdi>${error.source}</bdi></div>`}
    <div class="row s">
      ${error.location && html`<${Place} text=${error.location} />`}
      ${error.event && html`<${Link} onClick=${() => store.go("runs", { event: error.event })}>Show the run<//>`}
    </div>
  </div>`;
}

/** What a row opens to. */
function Details({ worker, handler, id, now }) {
  const store = useStore();
  const [decorator] = handler.key;
  const gone = store.disabled.value;
  const whyNot = gone ?? (handler.origin ? null : "it is of no cell");
  return html`<tr class="w-more" id=${id}>
    <td colspan="7">
      <div class="row s t2">
        ${handler.origin ? html`From <${Place} text=${handler.origin} />` : html`<span>${triggerText(handler.key)}</span>`}
        ${handler.inFlight > 0 && html`<span>${plural(handler.inFlight, "call")} in flight</span>`}
        ${handler.warnings > 0 && html`<span class="warn">${plural(handler.warnings, "warning")}</span>`}
        ${handler.quantiles && html`<span>longest ${duration(handler.quantiles[2])}</span>`}
        <span class="g"></span>
        ${
          decorator === "every" &&
          html`<${Button}
            small
            icon="play"
            why=${gone ?? worker.disabled.run}
            onClick=${() => runNow(store, worker.name, handler.key)}
            >Run now<//
          >`
        }
        <${Button} small icon="cross" why=${whyNot} onClick=${() => remove(store, worker.name, handler.key)}
          >Remove<//
        >
      </div>
      ${handler.stale && html`<p class="warn s">${handler.stale}</p>`}
      ${handler.error && html`<${LastError} error=${handler.error} />`}
      <${Runs} handler=${handler} now=${now} />
    </td>
  </tr>`;
}

function Handler({ worker, handler, now, clockNow }) {
  const { handler: wanted, worker: wantedOf } = useStore().route.value;
  const isWanted = wanted === handler.key[2] && wantedOf === worker.name; // by a link
  const [open, setOpen] = useState(isWanted);
  const button = useRef(null);
  const id = useId();
  useEffect(() => {
    if (!isWanted) return;
    setOpen(true);
    button.current.focus({ preventScroll: true });
    button.current.scrollIntoView({ block: "nearest" });
  }, [isWanted]);
  const [p50, p95] = handler.key[0] === "task" ? [null, null] : (handler.quantiles ?? [null, null]);
  const due = handler.nextRun && ahead(handler.nextRun, clockNow);
  return html`<tr>
      <td>
        <button
          ref=${button}
          type="button"
          class="w-opens"
          aria-expanded=${String(open)}
          aria-controls=${open ? id : undefined}
          title=${handler.key[2]}
          onClick=${() => setOpen(!open)}
        >
          <bdi class="el">${handler.key[2]}</bdi>${handler.stale && html`<span class="warn s" title=${handler.stale}>stale</span>`}
        </button>
      </td>
      <td class="t2" title=${triggerText(handler.key)}><bdi>${triggerText(handler.key)}</bdi></td>
      <td class="r">${count(handler.calls)}</td>
      <td class="r bad">${handler.errors ? count(handler.errors) : none}</td>
      <td class="r">${p50 === null ? none : millis(p50)}</td>
      <td class="r">${p95 === null ? none : millis(p95)}</td>
      <td class="r t2">${due ?? none}</td>
    </tr>
    ${open && html`<${Details} worker=${worker} handler=${handler} id=${id} now=${now} />`}`;
}

export function Handlers({ worker }) {
  const store = useStore();
  store.tick.value; // what is due comes nearer
  const { handlers } = worker;
  const rest = worker.allHandlers - handlers.length;
  const why = worker.silent
    ? `It runs without reporting: ${worker.silent}. Its events and its output are known.`
    : "It has no handlers yet.";
  return html`<section class="ds" aria-label="Handlers">
    <h3>Handlers</h3>
    ${worker.notRetried && html`<p class="s warn">${worker.notRetried[0].toUpperCase() + worker.notRetried.slice(1)}</p>`}
    ${
      handlers.length
        ? html`<table class="w-handlers">
            <thead>
              <tr>
                <th>Handler</th>
                <th>Runs</th>
                <th class="r">Calls</th>
                <th class="r">Errors</th>
                <th class="r">p50 ms</th>
                <th class="r">p95 ms</th>
                <th class="r">Next</th>
              </tr>
            </thead>
            <tbody>
              ${handlers.map(
                (handler) => html`<${Handler}
                  key=${handler.key.join(" ")}
                  worker=${worker}
                  handler=${handler}
                  now=${store.now()}
                  clockNow=${store.clockNow()}
                />`,
              )}
            </tbody>
          </table>`
        : html`<p class="t2">${why}</p>`
    }
    ${rest > 0 && html`<p class="t3 s">${plural(rest, "handler")} more</p>`}
  </section>`;
}
