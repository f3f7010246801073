// The widget `Waterfall`: one run as the view "Runs" draws it; what is chosen in it is a trait.
import { html, useRef, useState } from "../../vendor/vendor.js";
import { duration } from "../../base/format.js";
import { useLook, useStore } from "../../base/store.js";
import { useAxis } from "../runs/timeline.js";
import { firstToSee, lengthOf, rowOf } from "../runs/tree.js";
import { Waterfall as OneWaterfall } from "../runs/waterfall.js";
import { setTraits, useTraits } from "./traits.js";

function Run({ run, model }) {
  const store = useStore();
  const [chosen, setChosen] = useState(null);
  const [folded, setFolded] = useState(new Set());
  if (run.running) store.tick.value; // its bars grow
  const now = Math.max(0, store.now() - run.at);
  const length = lengthOf(run.rows, run.running ? now : 0);
  const view = useAxis(run.root, length);
  const selected = rowOf(run.rows, chosen) ?? firstToSee(run.rows);
  const choose = (id) => {
    setChosen(id);
    const row = rowOf(run.rows, id);
    const call = row?.type === "call" ? (row.call ?? row.number ?? null) : null;
    setTraits(model, {
      selected_event: row?.event ?? run.root,
      selected_call: Number.isInteger(call) ? call : null,
    });
  };
  const fold = (id, isFolded) => {
    const ids = new Set(folded);
    if (isFolded) ids.add(id);
    else ids.delete(id);
    setFolded(ids);
  };
  return html`<${OneWaterfall}
    run=${run}
    view=${view}
    now=${now}
    chosen=${selected?.id}
    folded=${folded}
    onChoose=${choose}
    onFold=${fold}
  />`;
}

export function Waterfall({ model }) {
  const { event, seq, kind, errors } = useTraits(model, ["event", "seq", "kind", "errors"]);
  const found = useLook("run", { event });
  const kept = useRef(null);
  if (found?.event === event) kept.current = found;
  const run = kept.current?.event === event ? kept.current : null;
  return html`<div class="wrun runs">
    <div class="row">
      <span class="m b el" title=${kind}>${kind}</span><span class="t3">#${seq}</span>
      <span class="g"></span>
      ${errors > 0 && html`<span class="s bad nw">${errors} failed</span>`}
      ${run && !run.gone && !run.running && html`<span class="s t2 nw">${duration(lengthOf(run.rows, 0))}</span>`}
      ${run?.running && html`<span class="s t2 nw">Under way</span>`}
    </div>
    ${run?.gone && html`<p class="t3">This event is kept no longer</p>`}
    ${run && !run.gone && html`<${Run} run=${run} model=${model} />`}
  </div>`;
}
