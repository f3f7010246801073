// The order of the list of workers: what is shown, in groups, sorted, and held still under the pointer. Pure.
import { nameParts } from "../../base/format.js";
import { figuresOf, isIn, matches } from "./figures.js";

export const GROUP_HEIGHT = 28;
export const ROW_HEIGHT = 32;

/** The columns that can be sorted by; each gives a number or a text of a worker. */
export const SORTS = {
  name: (worker) => worker.name,
  topology: (worker) => worker.topology,
  rate: (worker, now) => figuresOf(worker, now).rate,
  p95: (worker) => worker.p95 ?? 0,
  errors: (worker, now) => figuresOf(worker, now).failed,
  inFlight: (worker) => worker.inFlight ?? 0,
  backlog: (worker) => worker.backlog ?? 0,
  nextRun: (worker) => worker.nextRun ?? Infinity,
};
const UPWARD = new Set(["name", "topology", "nextRun"]); // the others begin with the most

/** What a click on a column makes of the order: by it, the other way round, and as it was. */
export function sortAfter(sort, column) {
  if (sort?.column !== column) return { column, up: UPWARD.has(column) };
  return sort.up === UPWARD.has(column) ? { column, up: !sort.up } : null;
}

const COLLATOR = new Intl.Collator("en", { numeric: true }); // made once: it costs more than a comparison

function compare(a, b) {
  if (typeof a === "string") return COLLATOR.compare(a, b);
  return a === b ? 0 : a < b ? -1 : 1;
}

function sorted(workers, sort, now) {
  if (!sort) return workers;
  const keys = new Map(workers.map((worker) => [worker, SORTS[sort.column](worker, now)]));
  const way = sort.up ? 1 : -1;
  return [...workers].sort((a, b) => way * compare(keys.get(a), keys.get(b)));
}

/** The workers of each capability, and what they are together; groups that fail come first. */
export function groupsOf(workers, now) {
  const groups = new Map();
  for (const worker of workers) {
    const [name] = nameParts(worker.name);
    if (!groups.has(name)) groups.set(name, { name, workers: [], failing: 0, errors: 0, rate: 0 });
    const group = groups.get(name);
    const { failed, rate } = figuresOf(worker, now);
    group.workers.push(worker);
    group.failing += worker.failing ?? 0;
    group.errors += failed;
    group.rate += rate;
  }
  const all = [...groups.values()];
  return all.sort(
    (a, b) => Math.sign(b.failing) - Math.sign(a.failing) || (a.failing ? b.errors - a.errors : 0),
  );
}

/** The rows of the list: `{ id, group }` or `{ id, worker, group }`, in order. */
export function rowsOf(
  workers,
  { filter = "", segment = "all", grouped = true, folded = new Set(), sort = null, now },
) {
  const shown = workers.filter((worker) => isIn(segment, worker) && matches(worker, filter));
  const row = (worker, group) => ({ id: `w ${worker.name}`, worker, group });
  if (!grouped) {
    const failingFirst = sort ? shown : [...shown].sort((a, b) => (b.failing ?? 0) - (a.failing ?? 0));
    return sorted(failingFirst, sort, now).map((worker) => row(worker, null));
  }
  return groupsOf(shown, now).flatMap((group) => {
    const head = { id: `g ${group.name}`, group, isFolded: folded.has(group.name) };
    return head.isFolded
      ? [head]
      : [head, ...sorted(group.workers, sort, now).map((worker) => row(worker, group))];
  });
}

/** Rows in the order that they had, by their ids: what is new comes at the end of its group, what is gone goes. */
export function held(rows, before) {
  const at = new Map(before.map((id, n) => [id, n]));
  if (rows.every((row) => at.has(row.id))) return [...rows].sort((a, b) => at.get(a.id) - at.get(b.id));
  const known = rows.filter((row) => at.has(row.id)).sort((a, b) => at.get(a.id) - at.get(b.id));
  for (const row of rows.filter((one) => !at.has(one.id))) {
    const mates = known.findLastIndex((one) => one.group && row.group && one.group.name === row.group.name);
    known.splice(mates < 0 ? known.length : mates + 1, 0, row);
  }
  return known;
}

/** Where each row begins, in pixels, and at last where they end. */
export function offsetsOf(rows) {
  const found = [0];
  for (const row of rows) found.push(found.at(-1) + (row.worker ? ROW_HEIGHT : GROUP_HEIGHT));
  return found;
}

/** The index of the row at a height; the last one below them all. */
export function rowAt(offsets, top) {
  let low = 0;
  let high = Math.max(0, offsets.length - 2);
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (offsets[middle] <= top) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** How many workers are in each segment. */
export function segmentCounts(workers) {
  const all = { all: 0, failing: 0, running: 0, off: 0 };
  for (const worker of workers) for (const name of Object.keys(all)) all[name] += isIn(name, worker) ? 1 : 0;
  return all;
}
