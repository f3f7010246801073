/* What a widget's notebook lets the panel do. `insertCell` puts a code cell below the one that shows the panel,
   `changeCell` puts there what an agent wrote, or takes it out again. */

/** The notebook's model, by the manager of its widgets; null where there is none, as in VS Code. */
function notebookOf(model) {
  return model.widget_manager?.context?.model?.sharedModel ?? null;
}

export function canInsertCell(model) {
  return typeof notebookOf(model)?.insertCell === "function";
}

/** Insert a cell below the one that `near` is in; tells whether it is there. */
export function insertCell(model, near, source) {
  const notebook = notebookOf(model);
  if (!canInsertCell(model)) return false;
  const cell = near.closest(".jp-Cell");
  const all = [...(near.closest(".jp-Notebook")?.querySelectorAll(".jp-Cell") ?? [])];
  const known = Number(cell?.closest("[data-windowed-list-index]")?.dataset.windowedListIndex ?? Number.NaN);
  const here = Number.isInteger(known) ? known : all.indexOf(cell);
  const at = here < 0 ? notebook.cells.length : Math.min(here + 1, notebook.cells.length);
  notebook.insertCell(at, { cell_type: "code", source, metadata: {} });
  return true;
}

/**
 * Do what the kernel asks of the notebook for an agent, and tell whether it is so now: put a cell in, below the last of
 * those with the ids `below`, or take it out, unless somebody has edited it since.
 */
export function changeCell(model, { op, id, source, by, below = [] }) {
  const notebook = notebookOf(model);
  if (!canInsertCell(model)) return false;
  const cells = [...notebook.cells];
  const at = cells.findIndex((cell) => cell.id === id);
  if (op === "take_out") {
    if (at >= 0 && textOf(cells[at]) !== source) return false;
    if (at >= 0) notebook.deleteCell(at);
    return true;
  }
  if (op !== "put") return false;
  if (at >= 0) return true; // another view of this notebook was faster
  const last = Math.max(-1, ...below.map((one) => cells.findIndex((cell) => cell.id === one)));
  const place = last < 0 ? cells.length : last + 1;
  notebook.insertCell(place, { id, cell_type: "code", source, metadata: { dnworker: { by } } });
  return true;
}

function textOf(cell) {
  return cell.getSource?.() ?? cell.source;
}
