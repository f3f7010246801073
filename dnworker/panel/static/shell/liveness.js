// Whether somebody answers: the badge in the header, and the banner below it.
import { html } from "../vendor/vendor.js";
import { clockSeconds, span } from "../base/format.js";
import { useStore } from "../base/store.js";
import { Dot } from "../base/ui.js";

/** Live, busy for so long, or gone since. */
export function Liveness() {
  const store = useStore();
  const { state, since } = store.liveness.value;
  if (state === "live") return html`<span class="live" role="status"><${Dot} />Live</span>`;
  if (state === "busy") {
    store.tick.value; // its age grows
    return html`<span class="live" role="status"><${Dot} state="busy" />Busy ${span(Date.now() - since)}</span>`;
  }
  return html`<span class="live" role="status"><${Dot} state="gone" />Gone since ${clockSeconds(since)}</span>`;
}
