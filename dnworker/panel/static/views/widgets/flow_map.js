// The widget `FlowMap`: which kind goes to which worker, as rows to choose; what is chosen is a trait.
import { html } from "../../vendor/vendor.js";
import { count, nameParts } from "../../base/format.js";
import { setTraits, useTraits } from "./traits.js";

/** The flows of each kind together: `[kind, [{ worker, handler, calls, errors }]]`. */
export function byKind(flows) {
  const found = new Map();
  for (const [kind, worker, handler, calls, errors] of flows) {
    if (!found.has(kind)) found.set(kind, []);
    found.get(kind).push({ worker, handler, calls, errors });
  }
  return [...found];
}

function Hearer({ one, isChosen, choose }) {
  const name = nameParts(one.worker)[1];
  return html`<button
    type="button"
    class=${`lnk ${one.errors ? "bad" : ""}`}
    aria-pressed=${String(isChosen)}
    title=${`${one.worker}.${one.handler}`}
    onClick=${() => choose(one.worker)}
  >
    ${name}
  </button>`;
}

export function FlowMap({ model }) {
  const { flows, selected } = useTraits(model, ["flows", "selected"]);
  const choose = (id) => setTraits(model, { selected: id === selected ? null : id });
  if (!flows.length) return html`<p class="t3">No worker listens to anything yet</p>`;
  return html`<ul class="wflows" aria-label="What flows where">
    ${byKind(flows).map(([kind, hearers]) => {
      const calls = hearers.reduce((sum, one) => sum + one.calls, 0);
      const errors = hearers.reduce((sum, one) => sum + one.errors, 0);
      const isChosen = selected === kind || hearers.some((one) => one.worker === selected);
      return html`<li key=${kind} class=${isChosen ? "sel" : ""}>
        <button type="button" class="m el kind" aria-pressed=${String(selected === kind)} title=${kind} onClick=${() => choose(kind)}>
          ${kind}
        </button>
        <span class="t3" aria-hidden="true">→</span>
        <span class="g hearers">
          ${hearers.map((one) => html`<${Hearer} key=${`${one.worker} ${one.handler}`} one=${one} isChosen=${selected === one.worker} choose=${choose} />`)}
        </span>
        <span class=${`s nw ${errors ? "bad" : "t2"}`}>${errors ? `${count(errors)} of ${count(calls)} failed` : calls > 0 && count(calls)}</span>
      </li>`;
    })}
  </ul>`;
}
