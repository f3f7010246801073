// The view "Capability".
import { html } from "../../vendor/vendor.js";

export function CapabilityView() {
  return html`<section aria-label="Capability"></section>`;
}
