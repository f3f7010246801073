// Finds what somebody means by a few letters; the palette uses it. Pure; node tests it.

const WORD = /[\s.:_/-]/;

/** Where a word begins: at the start, after a separator, and at a capital. */
function beginsWord(text, at) {
  if (at === 0 || WORD.test(text[at - 1])) return true;
  return text[at] !== text[at].toLowerCase() && text[at - 1] === text[at - 1].toLowerCase();
}

/** The whole query in one piece, at the start of a word if there is one. */
function inOnePiece(query, folded, text) {
  let found = null;
  for (let at = folded.indexOf(query); at >= 0; at = folded.indexOf(query, at + 1)) {
    const score = at === 0 ? 100 : beginsWord(text, at) ? 80 : 60;
    if (!found || score > found.score) found = { score, ranges: [[at, at + query.length]] };
    if (score >= 80) break;
  }
  return found;
}

/** The letters of the query in their order, at the starts of words where that can be. */
function inPieces(query, folded, text) {
  const ranges = [];
  let from = 0;
  let gaps = 0;
  for (const letter of query) {
    let at = folded.indexOf(letter, from);
    if (at < 0) return null;
    const last = ranges.at(-1);
    if (!last || at !== last[1]) {
      for (let next = at; next >= 0; next = folded.indexOf(letter, next + 1))
        if (beginsWord(text, next)) {
          if (remains(query, folded, ranges, next)) at = next;
          break;
        }
    }
    if (last && at === last[1]) last[1] = at + 1;
    else {
      ranges.push([at, at + 1]);
      gaps += 1;
    }
    from = at + 1;
  }
  // A lone letter within a word is chance, not meaning.
  if (ranges.some(([start, end]) => end - start < 2 && !beginsWord(text, start))) return null;
  return { score: 40 - Math.min(35, gaps * 5), ranges };
}

/** Whether the rest of the query still comes after a position. */
function remains(query, folded, ranges, at) {
  const taken = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
  let from = at;
  for (const letter of query.slice(taken)) {
    const found = folded.indexOf(letter, from);
    if (found < 0) return false;
    from = found + 1;
  }
  return true;
}

/**
 * How well a text fits a query: `{ score, ranges }`, the ranges being what is to be marked, or null. Each word of the
 * query must be in the text; an empty query fits everything.
 */
export function match(query, text) {
  const folded = text.toLowerCase();
  if (folded.length !== text.length) return matchPlainly(query, text); // marks would be at other letters
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return { score: 0, ranges: [] };
  const found = words.map((word) => inOnePiece(word, folded, text) ?? inPieces(word, folded, text));
  if (found.some((one) => !one)) return null;
  const score = found.reduce((sum, one) => sum + one.score, 0) / found.length;
  return { score: score - text.length / 100, ranges: merge(found.flatMap((one) => one.ranges)) };
}

function matchPlainly(query, text) {
  const at = text.indexOf(query);
  return at < 0 ? null : { score: 50, ranges: query ? [[at, at + query.length]] : [] };
}

/** Ranges in order, those that touch as one. */
function merge(ranges) {
  const merged = [];
  for (const [from, to] of ranges.sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** A text in pieces, `[piece, isMarked]` each. */
export function pieces(text, ranges) {
  const found = [];
  let at = 0;
  for (const [from, to] of ranges) {
    if (from > at) found.push([text.slice(at, from), false]);
    found.push([text.slice(from, to), true]);
    at = to;
  }
  if (at < text.length) found.push([text.slice(at), false]);
  return found;
}
