// The view "Workers".
import { html } from "../../vendor/vendor.js";

export function WorkersView() {
  return html`<section aria-label="Workers"></section>`;
}
