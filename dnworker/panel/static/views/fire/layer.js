// What lies behind the text of the JSON editor: colours, the place of an error, the bracket's partner. Used by `editor.js`.
import { html } from "../../vendor/vendor.js";
import { tokens } from "../../base/json.js";

const CLASSES = { key: "jk", string: "js", number: "jn", word: "kw", punctuation: "jt", bad: "jb" };
const LONGEST_LINE = 2000; // characters of a line that are coloured

/** A line as pieces `[class, text]`; `marks` are positions in the text with a class each. */
export function piecesOf(text, from, until, marks) {
  const pieces = [];
  let at = from;
  const add = (cls, end) => {
    while (at < end) {
      const next = marks.find((mark) => mark.at >= at && mark.at < end);
      const stop = next ? (next.at === at ? at + 1 : next.at) : end;
      const names = [cls, next?.at === at && next.cls].filter(Boolean).join(" ");
      pieces.push([names, text.slice(at, stop)]);
      at = stop;
    }
  };
  for (const { kind, start, end } of tokens(text, from, Math.min(until, from + LONGEST_LINE))) {
    add("", Math.min(start, until));
    add(CLASSES[kind], Math.min(end, until));
  }
  add("", until);
  return pieces;
}

/** The lines `[first, last)` of a text, coloured, at their places. */
export function Layer({ text, starts, first, last, rowHeight, marks, errorLine }) {
  const lines = [];
  for (let n = first; n < last; n += 1) {
    const until = n + 1 < starts.length ? starts[n + 1] - 1 : text.length;
    const pieces = piecesOf(text, starts[n], until, marks);
    const isAtEnd = marks.some((mark) => mark.at === until && mark.cls === "err");
    lines.push(html`<div key=${n} class=${n + 1 === errorLine ? "bad-line" : undefined} style=${{ top: `${n * rowHeight}px` }}>
      ${pieces.map(([cls, piece], i) => (cls ? html`<span key=${i} class=${cls}>${piece}</span>` : piece))}
      ${isAtEnd && html`<span class="err">${" "}</span>`}
    </div>`);
  }
  return lines;
}

/** The positions at which the lines of a text begin. */
export function lineStarts(text) {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}
