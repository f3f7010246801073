// The widget `WorkerState`: a worker's state and figures, and its commands.
import { html } from "../../vendor/vendor.js";
import { control } from "../../base/acting.js";
import { nameParts, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Dot } from "../../base/ui.js";
import { useTraits } from "./traits.js";

const TRAITS = ["worker", "state", "error", "calls", "errors", "in_flight", "generation", "failing"];
const DOWN = ["stopped", "error", "gated_off"];
const words = (state) => state.replace("_", " ").replace(/^./, (letter) => letter.toUpperCase());

function Commands({ worker, state }) {
  const store = useStore();
  const known = store.workers.value.get(worker);
  const why = (verb) =>
    store.disabled.value ?? (known ? (known.disabled?.[verb] ?? null) : "it is not there");
  const toggle = DOWN.includes(state) ? ["start", "play", "Start"] : ["stop", "stop", "Stop"];
  const all = [["restart", "again", "Restart"], toggle];
  return all.map(
    ([verb, icon, label]) =>
      html`<${Button} key=${verb} icon=${icon} label=${`${label} ${worker}`} why=${why(verb)} onClick=${() => control(store, worker, verb)} />`,
  );
}

export function WorkerState({ model }) {
  const {
    worker,
    state,
    error,
    calls,
    errors,
    in_flight: inFlight,
    generation,
    failing,
  } = useTraits(model, TRAITS);
  const [capability, name] = nameParts(worker);
  const figures = [
    plural(calls, "call"),
    inFlight > 0 && `${inFlight} in flight`,
    generation > 1 && `generation ${generation}`,
  ].filter(Boolean);
  return html`<div class="wstate">
    <div class="row">
      <${Dot} state=${failing.length ? "error" : state} />
      <span class="b el" title=${worker}>${name}</span><span class="s t3 el g">${capability}</span>
      <span class=${`nw ${state === "error" ? "bad" : "t2"}`}>${words(state)}</span>
      <${Commands} worker=${worker} state=${state} />
    </div>
    <div class="s t2">
      ${figures.join(", ")}${errors > 0 && html`, <span class="bad">${plural(errors, "error")}</span>`}
    </div>
    ${error && html`<div class=${`m el ${state === "error" || failing.length ? "bad" : "t3"}`} title=${error}>${error}</div>`}
  </div>`;
}
