// The rows of one run as a tree that folds, and as lanes of its workers. Pure; node tests it.

const GUIDED = 15; // levels that have lines

/** How far the bar of a call reaches; `now` is the end of one that runs. */
export function endOf(row, now) {
  return row.ended ?? Math.max(now, row.started);
}

/** How long a run lasts by its rows, in milliseconds. */
export function lengthOf(rows, now) {
  let end = 0;
  for (const row of rows) {
    if (row.type === "call") end = Math.max(end, endOf(row, now));
    for (const mark of row.marks ?? []) end = Math.max(end, mark.at);
  }
  return end;
}

/**
 * The rows that can be seen, as `[{ row, level, hasBelow, isOpen, isLast, guides }]`: what lies below one of `folded` is
 * not among them. `level` counts from 1; `guides` are the levels above at which more rows follow below.
 */
export function visible(rows, folded) {
  const below = new Map();
  for (const row of rows) if (row.parent) below.set(row.parent, row.id); // the last child of each
  const hidden = new Set();
  const through = new Map(); // a row's id to the levels whose lines go on below it
  const found = [];
  for (const row of rows) {
    if (hidden.has(row.parent) || folded.has(row.parent)) {
      hidden.add(row.id);
      continue;
    }
    const hasBelow = below.has(row.id);
    const isLast = below.get(row.parent) === row.id;
    const level = row.depth + 1;
    const guides = through.get(row.parent) ?? [];
    const goesOn = level > 1 && level <= GUIDED && !isLast;
    through.set(row.id, goesOn ? [...guides, level] : guides);
    found.push({ row, level, hasBelow, isOpen: hasBelow && !folded.has(row.id), isLast, guides });
  }
  return found;
}

/** The row that a run is opened at: the first call that failed, else the first event. */
export function firstToSee(rows) {
  return rows.find((row) => row.type === "call" && row.outcome === "error") ?? rows[0] ?? null;
}

/** The row of an event or a call by an id: of a row itself, or of one of the events of a row. */
export function rowOf(rows, id) {
  if (!id) return null;
  return (
    rows.find((row) => row.id === id) ?? rows.find((row) => row.marks?.some((mark) => mark.id === id)) ?? null
  );
}

/** The rows that must be open for one to be seen. */
export function above(rows, row) {
  const byId = new Map(rows.map((one) => [one.id, one]));
  const found = [];
  for (let one = byId.get(row?.parent); one; one = byId.get(one.parent)) found.push(one.id);
  return found;
}

/** What stands beside the bar of a call, and on which side: `{ text, side, bad }`; null for nothing. */
export function labelOf(row, axis, now) {
  const length = axis.to - axis.from;
  const end = endOf(row, now);
  const waited = row.started - row.published;
  const share = (at) => (at - axis.from) / length;
  const isFailed = row.outcome === "error";
  const isLong = waited / length >= 0.0199 && waited / Math.max(end - row.published, 1e-9) >= 0.1;
  const text = isFailed ? (row.error ?? "failed") : isLong ? `waited ${waitedText(waited)}` : "";
  if (!text || share(end) < 0 || share(row.published) > 1) return null;
  const hasRoom = share(end) < 0.8;
  if (!hasRoom && (share(row.published) < 0.2 || (!isFailed && waited / length < 0.1))) return null;
  return { text, side: hasRoom ? "right" : "left", bad: isFailed };
}

/** A time that was waited: `38 ms`, `3.0 ms`, `0.40 ms`, `1.2 s`. */
export function waitedText(ms) {
  if (ms >= 60_000) return `${Math.round(ms / 60_000)} min`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms >= 10 ? 0 : ms >= 1 ? 1 : 2)} ms`;
}

/** One lane a worker, in the order of their first calls: calls that overlap lie in sub-rows. */
export function lanes(rows, now) {
  const byWorker = new Map();
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const row of rows) {
    if (row.type === "call") laneOf(byWorker, row.worker).calls.push(row);
    const publisher = row.type === "event" ? byId.get(row.parent) : null;
    if (publisher?.type === "call") laneOf(byWorker, publisher.worker).events.push(row);
  }
  return [...byWorker.values()].map((lane) => packed(lane, now));
}

function laneOf(byWorker, worker) {
  if (!byWorker.has(worker)) byWorker.set(worker, { worker, calls: [], events: [] });
  return byWorker.get(worker);
}

/** Lay the calls of a lane into as few sub-rows as hold them side by side. */
function packed({ worker, calls, events }, now) {
  const ends = [];
  const laid = [...calls]
    .sort((a, b) => a.published - b.published || a.started - b.started)
    .map((row) => {
      let sub = ends.findIndex((end) => end <= row.published);
      if (sub < 0) sub = ends.push(0) - 1;
      ends[sub] = endOf(row, now);
      return { row, sub };
    });
  const failed = calls.filter((row) => row.outcome === "error").length;
  const subs = new Map(laid.map(({ row, sub }) => [row.id, sub]));
  const marks = events.map((row) => ({ row, sub: subs.get(row.parent) ?? 0 }));
  return { worker, calls: laid, events: marks, subs: Math.max(1, ends.length), failed };
}
