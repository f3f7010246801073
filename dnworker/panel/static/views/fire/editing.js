// What keys do in the JSON editor: each function takes the text and the selection, and returns an edit or null. Pure.
// An edit is `{ from, to, insert, start, end }`: what is replaced by what, and the selection after it.
import { childrenOf, nodeAt, root, stringOf, tokens } from "../../base/json.js";

const INDENT = "  ";
const PAIRS = { "{": "}", "[": "]", '"': '"' };
const CLOSING = new Set(["}", "]", '"']);

const lineStart = (text, at) => text.lastIndexOf("\n", at - 1) + 1;
const indentOf = (text, at) => /^[ \t]*/.exec(text.slice(lineStart(text, at), at))[0];

/** A tab: more of an indent for the lines of the selection, or less of it. */
export function indent(text, start, end, isLess) {
  const from = lineStart(text, start);
  if (!isLess && start === end)
    return { from: start, to: end, insert: INDENT, start: start + 2, end: start + 2 };
  const last = end > start && text[end - 1] === "\n" ? end - 1 : end;
  const lines = text.slice(from, last).split("\n");
  const changed = lines.map((line) => (isLess ? line.replace(/^ {1,2}|^\t/, "") : line && INDENT + line));
  const insert = changed.join("\n");
  if (insert === lines.join("\n")) return null;
  const first = changed[0].length - lines[0].length;
  const all = insert.length - (last - from);
  return { from, to: last, insert, start: Math.max(from, start + first), end: Math.max(from, end + all) };
}

/** Enter: the next line has the same indent, one more after a bracket, and the closing one a line of its own. */
export function newline(text, start, end) {
  const before = text.slice(0, start).trimEnd().at(-1);
  const after = /^[ \t]*([}\]])/.exec(text.slice(end, end + 200))?.[1];
  const indented = indentOf(text, start);
  const opens = before === "{" || before === "[";
  const inner = `\n${indented}${opens ? INDENT : ""}`;
  const at = start + inner.length;
  const closes = opens && after === PAIRS[before];
  return { from: start, to: end, insert: inner + (closes ? `\n${indented}` : ""), start: at, end: at };
}

/** Whether a position is within a string, and so no pair is wanted. */
function isInString(text, at) {
  const from = lineStart(text, at);
  return tokens(text, from, at).some(
    ({ start, end }) =>
      text[start] === '"' && start < at && (at < end || (at === end && !isWhole(text, start, end))),
  );
}

const isWhole = (text, start, end) => end - start > 1 && /^"(?:[^"\\]|\\.)*"$/.test(text.slice(start, end));

/** A bracket or a quote that is typed: it comes as a pair, around what is selected, or steps over the one there. */
export function typed(text, start, end, char) {
  if (start === end && CLOSING.has(char) && text[start] === char) {
    if (char !== '"' || isInString(text, start))
      return { from: start, to: start, insert: "", start: start + 1, end: start + 1 };
  }
  const closing = PAIRS[char];
  if (!closing) return null;
  if (start !== end) {
    const inner = text.slice(start, end);
    return { from: start, to: end, insert: char + inner + closing, start: start + 1, end: end + 1 };
  }
  if (isInString(text, start) || (text[start] ?? " ").match(/[^\s,:}\]]/)) return null;
  return { from: start, to: end, insert: char + closing, start: start + 1, end: start + 1 };
}

/** Backspace between a pair takes both. */
export function backspace(text, start, end) {
  if (start !== end || !start || PAIRS[text[start - 1]] !== text[start]) return null;
  return { from: start - 1, to: start + 1, insert: "", start: start - 1, end: start - 1 };
}

/** The positions of the bracket at the caret and of its partner; null where there is none. */
export function partners(text, at) {
  const open = [];
  for (const { kind, start } of tokens(text)) {
    if (kind !== "punctuation") continue;
    const char = text[start];
    if (char === "{" || char === "[") open.push(start);
    else if (char === "}" || char === "]") {
      const other = open.pop();
      const isPair = other !== undefined && PAIRS[text[other]] === char;
      if ([other, start].some((one) => one === at || one === at - 1)) return isPair ? [other, start] : null;
    }
  }
  return null;
}

/**
 * Where a key is being written at a position: `{ path, prefix, from, to, taken }`, the path of its object, what is
 * written of it, what an edit replaces, and the keys that the object has; null where no key belongs.
 */
export function keyAt(text, at) {
  const stack = []; // of `{ isObject, key, wants, taken }`
  let found = null;
  for (const { start, end } of tokens(text)) {
    const word = text.slice(start, end);
    const top = stack.at(-1);
    const isHere = found === null && at <= start;
    if (isHere) found = placeOf(stack, text, at, at);
    else if (found === null && word[0] === '"' && start < at && (at < end || !isWhole(text, start, end)))
      found = placeOf(stack, text, start, isWhole(text, start, end) ? end : at, start) ?? false;
    if (word === "{" || word === "[")
      stack.push({ isObject: word === "{", key: null, wants: true, number: 0, taken: [] });
    else if (word === "}" || word === "]") {
      stack.pop();
      if (found && !stack.includes(found.owner)) break;
    } else if (top && word === ",") {
      top.wants = true;
      top.number += 1;
    } else if (top && word === ":") top.wants = false;
    else if (top?.isObject && top.wants && word[0] === '"') {
      top.key = stringOf(text, { start, end });
      if (!(found && found.from === start)) top.taken.push(top.key);
      top.wants = false;
    }
  }
  found ??= placeOf(stack, text, at, at);
  if (!found) return null;
  const { owner, ...place } = found;
  return { ...place, taken: owner.taken };
}

function placeOf(stack, text, from, to, quote = null) {
  const owner = stack.at(-1);
  if (!owner?.isObject || !owner.wants) return null;
  const path = stack.slice(0, -1).map((one) => (one.isObject ? one.key : one.number));
  const prefix = quote === null ? "" : text.slice(quote + 1, to).replace(/"$/, "");
  return { owner, path, prefix, from, to };
}

/** The keys that may be written at a position, of what handlers read (`reads`, JSON), with the value of each as JSON. */
export function keysFor(place, reads) {
  const node = reads && nodeAt(reads, place.path);
  if (node?.type !== "object") return [];
  const wanted = place.prefix.toLowerCase();
  return childrenOf(reads, node)
    .children.filter(({ key }) => key.toLowerCase().startsWith(wanted) && !place.taken.includes(key))
    .map((child) => ({ key: child.key, value: reads.slice(child.start, child.end) }));
}

/** Write a key that was chosen, and its value where there is none yet. */
export function complete(text, place, { key, value }) {
  const written = JSON.stringify(key);
  const hasValue = text.slice(place.to).trimStart().startsWith(":");
  const insert = hasValue ? written : `${written}: ${value}`;
  const end = place.from + insert.length;
  const isText = !hasValue && value.startsWith('"');
  const start = hasValue ? end : end - value.length + (isText ? 1 : 0);
  return { from: place.from, to: place.to, insert, start, end: isText ? end - 1 : end };
}

/** Whether a text is an object: what else may be JSON is no payload. */
export const isObject = (text) => root(text)?.type === "object";
