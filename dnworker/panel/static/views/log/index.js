// The log, a drawer along the bottom of every view.
import { html } from "../../vendor/vendor.js";

export function LogDrawer() {
  return html`<div class="log"><div class="bar"></div></div>`;
}
