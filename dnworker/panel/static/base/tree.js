// `Tree`: rows of a tree with the keys that people expect; payloads and states of workers are drawn by it.
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "../vendor/vendor.js";

const DEEPEST = 16; // levels that are indented; deeper ones stand below each other
const INDENT = 14; // pixels
const ROW = 20;
const PADDING = 8;
const MOST = 200; // rows that are in the document without a look at which can be seen
const BEYOND = 30; // rows above and below those that can be seen

/** The element that scrolls a tree: the nearest that can. */
function scrollerOf(element) {
  let one = element.parentElement;
  while (one && !/auto|scroll/.test(getComputedStyle(one).overflowY)) one = one.parentElement;
  return one ?? document.scrollingElement;
}

/** Which rows can be seen, `[from, until]`, where there are many; all of a few. */
function useSeen(root, count) {
  const [seen, setSeen] = useState([0, MOST]);
  const isLong = count > MOST;
  useLayoutEffect(() => {
    if (!isLong) return undefined;
    const scroller = scrollerOf(root.current);
    const look = () => {
      const top = scroller.getBoundingClientRect().top - root.current.getBoundingClientRect().top - PADDING;
      const from = Math.max(0, Math.floor(top / ROW) - BEYOND);
      const until = Math.ceil((top + scroller.clientHeight) / ROW) + BEYOND;
      setSeen((before) => (before[0] === from && before[1] === until ? before : [from, until]));
    };
    const sized = new ResizeObserver(look);
    sized.observe(scroller);
    scroller.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      sized.disconnect();
      scroller.removeEventListener("scroll", look);
    };
  }, [isLong]);
  return isLong ? [Math.min(seen[0], count), Math.min(seen[1], count)] : [0, count];
}

/** Scroll so that a row can be seen. */
function scrollToRow(root, n) {
  const scroller = scrollerOf(root);
  const at = root.getBoundingClientRect().top + PADDING + n * ROW - scroller.getBoundingClientRect().top;
  const head = root.parentElement?.querySelector(".bar")?.offsetHeight ?? 0;
  const foot = 2 * ROW + (root.parentElement?.querySelector(".chosen")?.offsetHeight ?? 0);
  if (at < head) scroller.scrollTop += at - head;
  else if (at + foot > scroller.clientHeight) scroller.scrollTop += at + foot - scroller.clientHeight;
}

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
    if (isChosen && root.current) scrollToRow(root.current, here);
  }, [current, isChosen]);
  const [from, until] = useSeen(root, rows.length);
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
    aria-activedescendant=${isChosen && here >= from && here < until ? `${prefix}${here}` : undefined}
    onKeyDown=${key}
  >
    <div style=${{ height: `${from * ROW}px` }} role="presentation"></div>
    ${rows.slice(from, until).map((row, i) => {
      const n = from + i;
      return html`<div
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
      </div>`;
    })}
    <div style=${{ height: `${(rows.length - until) * ROW}px` }} role="presentation"></div>
  </div>`;
}
