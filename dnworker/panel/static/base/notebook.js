/* What a widget's notebook lets the panel do. `insertCell` puts a code cell below the one that shows the panel. */

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
