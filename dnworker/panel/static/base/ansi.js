// Text as programs print it: colours by escape sequences, and marks where something was found.
import { html } from "../vendor/vendor.js";
import { ansi } from "./text.js";

/** The pieces of a line, each of one style and marked or not; `marks` are `[from, until]` of the plain text, in order. */
export function markedPieces(text, marks = []) {
  const pieces = [];
  let at = 0;
  let next = 0;
  for (const { text: plain, style } of ansi(text)) {
    let from = 0;
    while (from < plain.length) {
      while (next < marks.length && marks[next][1] <= at + from) next += 1;
      const [start, end] = marks[next] ?? [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
      const isMarked = start <= at + from;
      const until = Math.min(plain.length, (isMarked ? end : start) - at);
      pieces.push({ text: plain.slice(from, until), style, mark: isMarked });
      from = until;
    }
    at += plain.length;
  }
  return pieces;
}

const WORDS = ["bold", "dim", "italic", "underline", "inverse"];

function classOf(style) {
  const words = WORDS.filter((word) => style[word]);
  if (style.fg) words.push(`fg-${style.fg}`);
  if (style.bg) words.push(`bg-${style.bg}`);
  return words.length ? words.map((word) => `a-${word}`).join(" ") : undefined;
}

/** A line with its colours and marks. */
export function Ansi({ text, marks }) {
  if (!marks?.length && !text.includes("\x1b")) return ansi(text)[0]?.text ?? "";
  return markedPieces(text, marks).map(({ text: piece, style, mark }, n) => {
    const cls = classOf(style);
    if (mark) return html`<mark key=${n} class=${cls}>${piece}</mark>`;
    return cls ? html`<span key=${n} class=${cls}>${piece}</span>` : piece;
  });
}
