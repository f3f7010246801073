// `Tree`: rows of a tree with the keys that people expect; payloads and states of workers are drawn by it.
import { html, useEffect, useId, useRef } from "../vendor/vendor.js";

const DEEPEST = 16; // levels that are indented; deeper ones stand below each other
const INDENT = 14; // pixels

/**
 * A tree of `rows`: `[{ id, level, isOpen }]`, in order; `isOpen` is null for what has nothing in it. `draw(row)` gives
 * what a row shows. `current` is the id of the chosen row, `onFold(row, isOpen)` opens or closes one, and `onKey(event,
 * row)` hears the keys that the tree has no use for.
 */
export function Tree({ label, rows, draw, current, onCurrent, onFold, onKey, cls = "" }) {
  const root = useRef(null);
  const prefix = useId();
  const here = Math.max(
    0,
    rows.findIndex((row) => row.id === current),
  );
  const isChosen = rows[here]?.id === current;
  useEffect(() => {
    if (isChosen) root.current?.querySelector(".at")?.scrollIntoView?.({ block: "nearest" });
  }, [current, isChosen]);
  const go = (n) => rows[n] && onCurrent(rows[n].id);
  const key = (event) => {
    if (event.target !== root.current || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[here];
    const steps = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 };
    if (event.key in steps)
      go(current === null ? 0 : Math.min(rows.length - 1, Math.max(0, steps[event.key])));
    else if (event.key === "ArrowRight" && row?.isOpen === false) onFold(row, true);
    else if (event.key === "ArrowRight" && row?.isOpen) go(here + 1);
    else if (event.key === "ArrowLeft" && row?.isOpen) onFold(row, false);
    else if (event.key === "ArrowLeft") go(rows.findLastIndex((one, n) => n < here && one.level < row.level));
    else if ((event.key === "Enter" || event.key === " ") && row && row.isOpen !== null)
      onFold(row, !row.isOpen);
    else if (!onKey?.(event, row)) return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div
    class=${`tree ${cls}`}
    ref=${root}
    role="tree"
    aria-label=${label}
    tabindex="0"
    aria-activedescendant=${isChosen ? `${prefix}${here}` : undefined}
    onKeyDown=${key}
  >
    ${rows.map(
      (row, n) => html`<div
        key=${row.id}
        id=${`${prefix}${n}`}
        role="treeitem"
        aria-level=${row.level}
        aria-expanded=${row.isOpen === null || row.isOpen === undefined ? undefined : String(row.isOpen)}
        aria-selected=${String(row.id === current)}
        class=${row.id === current ? "at" : ""}
        style=${{ paddingLeft: `${8 + Math.min(DEEPEST, row.level - 1) * INDENT}px` }}
        onClick=${(event) => {
          if (event.target.closest("button")) return;
          onCurrent(row.id);
          if (row.isOpen !== null && row.isOpen !== undefined) onFold(row, !row.isOpen);
        }}
      >
        <i class=${`twist ${row.isOpen === null || row.isOpen === undefined ? "none" : row.isOpen ? "open" : ""}`}></i>
        ${draw(row)}
      </div>`,
    )}
  </div>`;
}
