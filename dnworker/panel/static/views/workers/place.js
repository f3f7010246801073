// A location in code: one in a cell of the notebook is a way to it.
import { html } from "../../vendor/vendor.js";
import { cellOf, goToCell } from "../../base/place.js";
import { useStore } from "../../base/store.js";
import { Link } from "../../base/ui.js";

export function Place({ text, children = text }) {
  const store = useStore();
  const cell = cellOf(text);
  if (!cell) return html`<bdi class="m t2">${children}</bdi>`;
  return html`<${Link} aria-label=${`Go to ${text}`} onClick=${(event) => goToCell(store, event.currentTarget, cell.number)}
    >${children}<//
  >`;
}
