// The view "Sessions".
import { html } from "../../vendor/vendor.js";

export function SessionsView() {
  return html`<section aria-label="Sessions"></section>`;
}
