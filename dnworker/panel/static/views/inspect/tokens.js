// JSON text in colours, for payloads and differences.
import { html } from "../../vendor/vendor.js";
import { tokens } from "../../base/json.js";

const CLASSES = { key: "jk", string: "js", number: "jn", word: "kw", punctuation: "", bad: "" };

/** A short piece of JSON text; what is cut or no JSON is plain. */
export function JsonText({ text }) {
  const pieces = [];
  let at = 0;
  for (const { kind, start, end } of tokens(text)) {
    if (start > at) pieces.push(text.slice(at, start));
    pieces.push(
      CLASSES[kind]
        ? html`<span class=${CLASSES[kind]}>${text.slice(start, end)}</span>`
        : text.slice(start, end),
    );
    at = end;
  }
  pieces.push(text.slice(at));
  return html`<bdi>${pieces}</bdi>`;
}
