// The view "Map".
import { html } from "../../vendor/vendor.js";

export function MapView() {
  return html`<section aria-label="Map"></section>`;
}
