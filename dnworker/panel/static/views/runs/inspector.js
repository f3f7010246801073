// What the chosen row of a run holds: the inspector of its event or call, of the run's first event where none is chosen.
import { html } from "../../vendor/vendor.js";
import { Inspector as Inspected } from "../inspect/inspector.js";

/** `run` is the part `run`; `selected` is one of its rows, or null. */
export function Inspector({ run, selected }) {
  const invocation = selected?.type === "call" ? selected.id : null;
  const event = invocation ? selected.event : (selected?.event ?? run.root);
  return html`<${Inspected} selected=${{ event, invocation }} />`;
}
