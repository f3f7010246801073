// The view "Overview".
import { html } from "../../vendor/vendor.js";

export function OverviewView() {
  return html`<section aria-label="Overview"></section>`;
}
