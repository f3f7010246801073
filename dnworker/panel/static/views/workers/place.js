// A location in code: one in a cell of the notebook is a way to it.
import { html } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { cellOf } from "../../base/text.js";
import { Link } from "../../base/ui.js";

/** Go to the cell that had this number when it ran. */
async function goTo(store, near, number) {
  const notebook = near.closest(".jp-Notebook");
  const prompts = [...(notebook?.querySelectorAll(".jp-InputPrompt") ?? [])];
  const cell = prompts.find((node) => node.textContent.trim() === `[${number}]:`)?.closest(".jp-Cell");
  if (cell) {
    cell.scrollIntoView({ block: "center" });
    cell.querySelector(".cm-content")?.focus({ preventScroll: true });
    return;
  }
  const found = (await store.request(`Cell [${number}]`, { type: "locate", number }))?.cell;
  if (found && notebook) {
    // JupyterLab draws only cells that can be seen, and goes to the one that the fragment names.
    history.replaceState(history.state, "", location.pathname + location.search);
    location.hash = `#cell-id=${encodeURIComponent(found)}`;
  } else store.toast(`Cell [${number}] is not in this notebook any more`, { bad: true });
}

export function Place({ text, children = text }) {
  const store = useStore();
  const cell = cellOf(text);
  if (!cell) return html`<bdi class="m t2">${children}</bdi>`;
  return html`<${Link} aria-label=${`Go to ${text}`} onClick=${(event) => goTo(store, event.currentTarget, cell.number)}
    >${children}<//
  >`;
}
