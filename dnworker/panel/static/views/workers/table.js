// The list of workers: a grid of which only the rows that can be seen are in the document.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { Icon } from "../../base/ui.js";
import { ROW_HEIGHT, offsetsOf, rowAt, sortAfter } from "./order.js";
import { GroupRow, WorkerRow } from "./row.js";

const BEYOND = 6; // rows drawn above and below what can be seen

const COLUMNS = [
  ["name", "Worker", ""],
  ["topology", "Topology", "c-topology"],
  [null, "15 min", "c-spark"],
  ["rate", "Rate", "c-rate r"],
  ["p95", "p95", "c-p95 r"],
  ["errors", "Errors", "c-errors r"],
  ["inFlight", "In flight", "c-flight r"],
  ["backlog", "Backlog", "c-backlog r"],
  ["nextRun", "Next run", "c-next r"],
];

function Heads({ sort, onSort }) {
  return html`<div role="rowgroup"><div role="row" aria-rowindex="1" class="w-row w-heads">
    ${COLUMNS.map(([column, title, cls], n) => {
      const isBy = sort && sort.column === column;
      const order = isBy ? (sort.up ? "ascending" : "descending") : column ? "none" : undefined;
      return html`<span key=${title} role="columnheader" class=${cls} aria-colindex=${n + 1} aria-sort=${order}>
        ${
          column
            ? html`<button type="button" onClick=${() => onSort(sortAfter(sort, column))}
                >${title}${isBy && html`<${Icon} name=${sort.up ? "up" : "down"} />`}</button
              >`
            : title
        }
      </span>`;
    })}
  </div></div>`;
}

/** What can be seen of the list: where it is scrolled to, and how high it is. */
function useScroll(root) {
  const [view, setView] = useState({ top: 0, height: 600 });
  useEffect(() => {
    const sized = () => setView((before) => ({ ...before, height: root.current?.clientHeight ?? 0 }));
    const observer = new ResizeObserver(sized);
    observer.observe(root.current);
    sized();
    return () => observer.disconnect();
  }, []);
  return [view, () => setView({ top: root.current.scrollTop, height: root.current.clientHeight })];
}

/** One row; drawn anew only where something that it shows is another. */
function Row({ row, index, top, isCurrent, isOpen, isGrouped, id, now, clockNow, paused, onPress }) {
  const isGroup = !row.worker;
  const next = row.worker?.nextRun === undefined ? 0 : Math.floor((row.worker.nextRun - clockNow) / 1000);
  const bar = Math.floor(now / 30_000);
  const group = row.group;
  const content = useMemo(
    () =>
      isGroup
        ? html`<${GroupRow} group=${group} isFolded=${row.isFolded} />`
        : html`<${WorkerRow} worker=${row.worker} isGrouped=${isGrouped} now=${now} clockNow=${clockNow} paused=${paused} />`,
    isGroup
      ? [group.name, row.isFolded, group.workers.length, group.rate, group.errors, bar]
      : [row.worker, isGrouped, next, bar, paused],
  );
  const cls = ["w-row", isGroup ? "w-head" : "", isCurrent ? "at" : "", isOpen ? "sel" : ""].join(" ");
  return html`<div
    role="row"
    id=${id}
    class=${cls}
    aria-rowindex=${index + 2}
    aria-selected=${isGroup ? undefined : String(isOpen)}
    data-id=${row.id}
    style=${{ transform: `translateY(${top}px)` }}
    onClick=${() => onPress(index)}
  >
    ${content}
  </div>`;
}

/** The index that a key leads to; undefined for other keys. */
function target(key, here, count, page) {
  const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page };
  const ends = { Home: 0, End: count - 1 };
  if (key in steps) return Math.min(count - 1, Math.max(0, here + steps[key]));
  return ends[key];
}

/**
 * The grid. `current` is the id of the row with the keys' mark, `open` the worker whose drawer is shown.
 * `onCurrent(id)` moves the mark, `onOpen(name)` opens a worker, `onFold(group, isFolded)` folds one.
 */
export function Table({ rows, current, open, isGrouped, sort, gridRef, onSort, onCurrent, onOpen, onFold }) {
  const store = useStore();
  const body = useRef(null);
  const [view, scrolled] = useScroll(body);
  const prefix = useRef(`dn-w${Math.random().toString(36).slice(2)}`).current;
  store.tick.value; // what is due comes nearer
  const now = store.now();
  const clockNow = store.clockNow();
  const offsets = useMemo(() => offsetsOf(rows), [rows]);
  const here = rows.findIndex((row) => row.id === current);
  const shownFor = useRef(null);
  useLayoutEffect(() => {
    if (here < 0 || shownFor.current === current) return;
    shownFor.current = current;
    const { scrollTop, clientHeight } = body.current;
    if (offsets[here] < scrollTop) body.current.scrollTop = offsets[here];
    else if (offsets[here + 1] > scrollTop + clientHeight)
      body.current.scrollTop = offsets[here + 1] - clientHeight;
  }, [current, here]);
  const press = (index) => {
    const row = rows[index];
    onCurrent(row.id);
    if (row.worker) onOpen(row.worker.name);
    else onFold(row.group.name, !row.isFolded);
  };
  const key = (event) => {
    if (event.target !== gridRef.current || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[here];
    const to = target(event.key, here, rows.length, Math.max(1, Math.floor(view.height / ROW_HEIGHT) - 1));
    if (to !== undefined && rows[to]) onCurrent(rows[to].id, true);
    else if ((event.key === "Enter" || event.key === " ") && row) press(here);
    else if (event.key === "ArrowLeft" && row?.group) {
      onFold(row.group.name, true);
      onCurrent(`g ${row.group.name}`);
    } else if (event.key === "ArrowRight" && row?.group) onFold(row.group.name, false);
    else return;
    event.preventDefault();
  };
  const from = Math.max(0, rowAt(offsets, view.top) - BEYOND);
  const until = Math.min(rows.length, rowAt(offsets, view.top + view.height) + BEYOND + 1);
  return html`<div
    class="w-grid"
    ref=${gridRef}
    role="grid"
    aria-label="Workers"
    aria-rowcount=${rows.length + 1}
    aria-colcount="9"
    tabindex="0"
    aria-activedescendant=${here >= from && here < until ? `${prefix}-${here}` : undefined}
    onKeyDown=${key}
    onFocus=${(event) => event.target === gridRef.current && here < 0 && rows[0] && onCurrent(rows[0].id)}
  >
    <${Heads} sort=${sort} onSort=${onSort} />
    <div class="w-body" role="rowgroup" ref=${body} onScroll=${scrolled}>
      <div role="presentation" style=${{ height: `${offsets.at(-1)}px` }}>
        ${rows.slice(from, until).map(
          (row, n) => html`<${Row}
            key=${row.id}
            id=${`${prefix}-${from + n}`}
            row=${row}
            index=${from + n}
            top=${offsets[from + n]}
            isCurrent=${row.id === current}
            isOpen=${row.worker?.name === open && Boolean(open)}
            isGrouped=${isGrouped}
            now=${now}
            clockNow=${clockNow}
            paused=${store.paused.value}
            onPress=${press}
          />`,
        )}
      </div>
    </div>
  </div>`;
}
