// The banner below the header: shown where what is seen is old, with the reason and what to do.
import { html } from "../vendor/vendor.js";
import { clockSeconds } from "../base/format.js";
import { useStore } from "../base/store.js";
import { Dot } from "../base/ui.js";

export function Banner() {
  const store = useStore();
  const { state, since } = store.liveness.value;
  if (state !== "gone") return null;
  return html`<div class="banner" role="alert">
    <${Dot} state="gone" /><span class="g">No word since ${clockSeconds(since)}. This is what was last seen.</span>
  </div>`;
}
