// The export of the notebook: where to, for what, and why it was refused, with ways to the cells.
import { html, useRef, useSignal } from "../../vendor/vendor.js";
import { PlaceLink } from "../../base/place.js";
import { useStore } from "../../base/store.js";
import { Button, Seg } from "../../base/ui.js";

const TARGETS = [
  ["dreadnode", "dreadnode"],
  ["dnworker", "dnworker"],
];
const TOPOLOGIES = [
  ["uv", "uv"],
  ["python", "python"],
  ["in-process", "in-process"],
];
const CELL = /^cell \[(\d+)\]/;

const forms = new WeakMap(); // store: what was typed and what came of it, for the next visit

/** A location as `PlaceLink` takes it. */
export function placeOf(text) {
  const number = CELL.exec(text)?.[1];
  return { text, label: text, cell: number ? Number(number) : null };
}

function useForm(store) {
  const first = forms.get(store) ?? {
    path: "out",
    target: "dreadnode",
    topology: "uv",
    force: false,
    problem: "",
    result: null,
  };
  const form = useSignal(first);
  const set = (change) => {
    form.value = { ...form.peek(), ...change };
    forms.set(store, form.peek());
  };
  return [form.value, set];
}

function Result({ result }) {
  if (!result) return null;
  const { text, problems } = result;
  return html`<div class="result" role="status">
    <p class=${`wrap ${problems.length ? "bad b" : "ok"}`}>${text}</p>
    ${
      problems.length > 0 &&
      html`<ul class="plain" aria-label="Problems">
        ${problems.map(
          (problem, n) => html`<li class="problem" key=${n}>
            ${problem.location && html`<${PlaceLink} place=${placeOf(problem.location)} />`}
            <div class="wrap">${problem.text}</div>
          </li>`,
        )}
      </ul>`
    }
  </div>`;
}

export function Export({ whyNot }) {
  const store = useStore();
  const [form, set] = useForm(store);
  const isRunning = useSignal(false);
  const field = useRef(null);
  const run = async () => {
    const path = form.path.trim();
    if (!path) {
      set({ problem: "Name a directory, such as out/demo", result: null });
      field.current.focus();
      return;
    }
    set({ problem: "", result: null });
    isRunning.value = true;
    const { target, topology, force } = form;
    const answer = await store.request("Export", { type: "export", path, target, topology, force }, (text) =>
      set({ problem: text }),
    );
    isRunning.value = false;
    if (answer) set({ result: { text: answer.text, problems: answer.problems } });
  };
  const why = store.disabled.value ?? whyNot ?? (isRunning.value ? "It is being exported" : null);
  return html`<section class="sec export" aria-label="Export">
    <div class="hd"><h2>Export</h2></div>
    ${whyNot && html`<p class="t2 wrap">${whyNot[0].toUpperCase() + whyNot.slice(1)}</p>`}
    <label class="field">
      <span class="s t2">Directory</span>
      <span class="inp">
        <input
          ref=${field}
          class="m"
          type="text"
          aria-label="Directory to export to"
          spellcheck="false"
          value=${form.path}
          onInput=${(event) => set({ path: event.currentTarget.value, problem: "" })}
          onKeyDown=${(event) => event.key === "Enter" && !event.isComposing && !why && run()}
        />
      </span>
    </label>
    <div class="field">
      <span class="s t2">Target</span>
      <${Seg} label="Target" options=${TARGETS} value=${form.target} onChange=${(target) => set({ target })} />
    </div>
    <div class="field">
      <span class="s t2">Topology</span>
      <${Seg} label="Topology" options=${TOPOLOGIES} value=${form.topology} onChange=${(topology) => set({ topology })} />
    </div>
    <label class="row">
      <input type="checkbox" checked=${form.force} onChange=${(event) => set({ force: event.currentTarget.checked })} />
      Overwrite what was edited by hand
    </label>
    <div class="row">
      <${Button} primary icon="download" why=${why} onClick=${run}>${isRunning.value ? "Exporting" : "Export"}<//>
    </div>
    ${form.problem && html`<p class="bad wrap" role="alert">${form.problem}</p>`}
    <${Result} result=${form.result} />
  </section>`;
}
