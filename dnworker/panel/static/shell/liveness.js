// Whether somebody answers, as the badge in the header; `base/liveness.js` finds it out.
import { html } from "../vendor/vendor.js";
import { clockSeconds, span } from "../base/format.js";
import { useStore } from "../base/store.js";
import { Dot } from "../base/ui.js";

/** Live, busy for so long, or gone since. A screen reader is told of changes, not of each second. */
export function Liveness() {
  const store = useStore();
  const { state, since } = store.liveness.value;
  if (state === "busy") store.tick.value; // its age grows
  const busy = store.inNotebook ? "Kernel busy" : "Busy";
  const [shown, dot] = {
    live: ["Live", "running"],
    busy: [`${busy} ${span(Date.now() - since)}`, "busy"],
    gone: [`Gone since ${clockSeconds(since)}`, "gone"],
  }[state];
  return html`<span class="live" data-state=${state}>
    <span class="offscreen" role="status">${state === "busy" ? busy : shown}</span>
    <${Dot} state=${dot} /><span class="el" aria-hidden="true">${shown}</span>
  </span>`;
}
