/* Locations in code as links: `PlaceLink` shows one, `goToCell` leads to a cell of the notebook.
 *
 * A location is { text, label, cell }, as `panel/error_json.py` sends it: in words, short, and the number that the cell
 * had when it ran (null in a file). A cell that ran again is found under its newest number, and the toast says so; a
 * location in a file is copied, for a page cannot open it.
 */
import { html } from "../vendor/vendor.js";
import { copy } from "./dom.js";
import { useStore } from "./store.js";
import { Link } from "./ui.js";

/** The notebook that an element is in; beside them all, as in the dock, the one that can be seen. */
export function notebookOf(near) {
  const isSeen = (node) => node.getBoundingClientRect().width > 0;
  const all = near.ownerDocument.querySelectorAll(".jp-NotebookPanel .jp-Notebook");
  return near.closest(".jp-Notebook") ?? [...all].find(isSeen) ?? null;
}

/** Go to the cell that had this number when it ran; says where that leads if it is another one by now. */
export async function goToCell(store, near, number) {
  const found = await store.request(`Cell [${number}]`, { type: "locate", number });
  if (!found) return;
  const { cell: id, newest: now, note } = found;
  const notebook = notebookOf(near);
  const cell = notebook && cellNumbered(notebook, now);
  if (note) store.toast(sentence(note), { bad: !cell && !id });
  if (cell) show(cell);
  else if (id && notebook) {
    // JupyterLab draws only the cells that can be seen, and goes to the one that the fragment names.
    history.replaceState(history.state, "", location.pathname + location.search); // the same one again is no change
    location.hash = `#cell-id=${encodeURIComponent(id)}`;
  } else if (!note) {
    const where = notebook ? "is not in this notebook any more" : "is in the notebook, not on this page";
    store.toast(`Cell [${number}] ${where}`, { bad: true });
  }
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function cellNumbered(notebook, number) {
  const prompts = [...notebook.querySelectorAll(".jp-InputPrompt")];
  return prompts.find((node) => node.textContent.trim() === `[${number}]:`)?.closest(".jp-Cell") ?? null;
}

function show(cell) {
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  cell.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
  cell.classList.add("dnw-found");
  cell.animate?.([{ boxShadow: "0 0 0 2px #6f86e8" }, { boxShadow: "0 0 0 2px transparent" }], 2000);
  setTimeout(() => cell.classList.remove("dnw-found"), 2000);
  cell.querySelector(".cm-content")?.focus({ preventScroll: true });
}

export function PlaceLink({ place, children = place.label, cls = "" }) {
  const store = useStore();
  const press = async (event) => {
    if (place.cell !== null) await goToCell(store, event.currentTarget, place.cell);
    else if (await copy(place.text, event.currentTarget)) store.toast(`Copied ${place.text}`);
  };
  const title = place.cell === null ? `Copy ${place.text}` : `Go to ${place.text}`;
  return html`<${Link} onClick=${press} title=${title} aria-label=${title} cls=${cls}>${children}<//>`;
}

/** The number and line of the cell that a location names, such as `cell [3], line 7`; null for a file. */
export function cellOf(location) {
  const found = /^cell \[(\d+)\](?:, line (\d+))?/.exec(location ?? "");
  return found ? { number: Number(found[1]), line: found[2] ? Number(found[2]) : null } : null;
}
