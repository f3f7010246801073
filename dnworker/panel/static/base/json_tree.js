/* The rows of a JSON text as a tree of which parts are open; pure, the payload tree draws them. It exports:
 *   idOf(path)                     -> a path as the id of its row
 *   rowsOf(text, open, limits)     -> [{ id, path, level, node, key, isOpen, count, isLast } | { id, path, level, rest }];
 *                                     of what has many parts a window is shown, with a row for the rest on each side
 *   openAtFirst(text, most)        -> the ids that are open at first, as many as give about `most` rows
 *   openTo(path, open, limits)     -> { open, limits } with which the row at a path is shown
 *   widened(limits, row)           -> limits with which more is shown where the row `row` stands for the rest
 */
import { childrenOf, countOf, root } from "./json.js";

export const AT_ONCE = 1000;
/* Parts of one object or list that are shown at first, and more each time. */

const COUNTED = 1_000_000;

export const idOf = (path) => JSON.stringify(path);

/** Which parts of an object or list are shown: the first of them, and how many. */
const windowOf = (limits, id) => limits.get(id) ?? { first: 0, most: AT_ONCE, from: null };

export function rowsOf(text, open, limits = new Map()) {
  const top = root(text);
  if (!top) return [];
  const rows = [];
  const waiting = [{ node: top, path: [], level: 1 }];
  while (waiting.length) {
    const one = waiting.pop();
    if (one.rest) {
      rows.push(one);
      continue;
    }
    const { node, path, level } = one;
    const isNested = node.type === "object" || node.type === "array";
    const id = idOf(path);
    const count = isNested ? countOf(text, node, COUNTED) : 0;
    const isOpen = isNested && count > 0 ? open.has(id) : null;
    rows.push({ id, path, level, node, key: path.at(-1), isOpen, count });
    if (!isOpen) continue;
    const window = windowOf(limits, id);
    if (window.first) window.from ??= childrenOf(text, node, null, window.first).next; // looked for once
    const { children, next } = childrenOf(text, node, window.from ?? null, window.most);
    const rest = count - window.first - children.length;
    if (next) waiting.push({ id: `${id}…`, path, level: level + 1, rest });
    for (const child of children.reverse())
      waiting.push({ node: child, path: [...path, child.key], level: level + 1 });
    if (window.first)
      waiting.push({ id: `…${id}`, path, level: level + 1, rest: window.first, isBefore: true });
  }
  return rows;
}

export function openAtFirst(text, most = 40) {
  const open = new Set();
  const top = root(text);
  let level = top ? [{ node: top, path: [] }] : [];
  let rows = 1;
  while (level.length) {
    const below = [];
    for (const { node, path } of level) {
      if (node.type !== "object" && node.type !== "array") continue;
      const count = countOf(text, node, most + 1);
      if (!count || (path.length && rows + count > most)) continue;
      rows += count;
      open.add(idOf(path));
      const { children } = childrenOf(text, node, null, most);
      below.push(...children.map((child) => ({ node: child, path: [...path, child.key] })));
    }
    level = below;
  }
  return open;
}

export function openTo(path, open, limits) {
  const wider = new Set(open);
  const further = new Map(limits);
  path.forEach((part, n) => {
    const id = idOf(path.slice(0, n));
    wider.add(id);
    const { first, most } = windowOf(further, id);
    if (typeof part === "number" && (part < first || part >= first + most))
      further.set(id, { first: Math.max(0, part - AT_ONCE / 2), most: AT_ONCE, from: null });
  });
  return { open: wider, limits: further };
}

export function widened(limits, row) {
  const id = idOf(row.path);
  const { first, most, from } = windowOf(limits, id);
  const more = row.isBefore ? Math.min(first, AT_ONCE) : 0;
  const wider = row.isBefore
    ? { first: first - more, most: most + more, from: null }
    : { first, most: most + AT_ONCE, from };
  return new Map(limits).set(id, wider);
}
