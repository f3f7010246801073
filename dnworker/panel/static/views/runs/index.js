// The view "Runs".
import { html } from "../../vendor/vendor.js";

export function RunsView() {
  return html`<section aria-label="Runs"></section>`;
}
