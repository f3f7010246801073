// The widget `FireForm`: an event of one kind, its payload as JSON, and what came of the last one.
import { html, useEffect, useId, useSignal } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button } from "../../base/ui.js";
import { problemOfPayload } from "../fire/draft.js";
import { JsonEditor } from "../fire/editor.js";
import { setTraits, useTraits } from "./traits.js";

const TRAITS = ["kind", "payload", "session", "worker", "seq", "outcome", "error", "calls"];

function Outcome({ seq, outcome, error, calls }) {
  if (seq === null) return null;
  const failed = outcome === "not ok";
  const what = failed ? "failed" : outcome === "ok" ? plural(calls, "call") : outcome;
  return html`<p class=${`s ${failed ? "bad" : "t2"}`} role="status">
    Fired #${seq}${what && `: ${what}`}${error && html`<span class="m el block" title=${error}>${error}</span>`}
  </p>`;
}

export function FireForm({ model }) {
  const store = useStore();
  const id = useId();
  const { kind, payload, session, worker, ...last } = useTraits(model, TRAITS);
  const wrong = useSignal("");
  const isFiring = useSignal(false);
  const reads = useSignal(null);
  useEffect(() => {
    let isOld = false;
    store.request(`Keys of ${kind}`, { type: "suggest", kind }, null).then((answer) => {
      if (answer && !isOld) reads.value = answer.reads;
    });
    return () => {
      isOld = true;
    };
  }, [store, kind]);
  const fire = async () => {
    wrong.value = problemOfPayload(payload || "{}")?.text ?? "";
    if (wrong.value || store.disabled.peek()) return;
    isFiring.value = true;
    const message = { type: "fire", kind, payload: payload || "{}", session, worker };
    const answer = await store.request(`Fire ${kind}`, message, (text) => {
      wrong.value = text;
    });
    isFiring.value = false;
    if (answer) setTraits(model, { event: answer.event, seq: answer.seq, outcome: "under way", error: null });
  };
  const key = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) fire();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const why = store.disabled.value ?? (isFiring.value ? "It is being fired" : null);
  return html`<div class="wfire" onKeyDown=${key}>
    <div class="row">
      <span class="m b el g" title=${kind}>${kind}</span>
      ${worker && html`<span class="s t3 el">to ${worker}</span>`}
      <${Button} primary small icon="fire" why=${why} onClick=${fire}>Fire<//>
    </div>
    <${JsonEditor}
      value=${payload}
      onInput=${(text) => {
        wrong.value = "";
        setTraits(model, { payload: text });
      }}
      problem=${problemOfPayload(payload)}
      reads=${reads.value}
      label=${`Payload of ${kind}`}
      describedBy=${id}
    />
    <p class="s bad" id=${id} role="alert">${wrong.value}</p>
    <${Outcome} ...${last} />
  </div>`;
}
