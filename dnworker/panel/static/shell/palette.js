// The palette: everything that can be done or opened, by typing; Ctrl+K opens it.
import { html } from "../vendor/vendor.js";
import { useStore } from "../base/store.js";

export function Palette() {
  const store = useStore();
  if (!store.paletteOpen.value) return null;
  return html`<div class="pal" role="dialog" aria-label="Search or run"></div>`;
}
