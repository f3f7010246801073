// `Diff`: two JSON values compared; what only one has is marked, and equal parts are folded.
import { html, useState } from "../../vendor/vendor.js";
import { childrenOf, compact, nodeAt } from "../../base/json.js";
import { JsonText } from "./tokens.js";

const UNFOLDED = 50; // equal parts that are shown when a fold opens
const LONGEST = 200;

/** How the sides are marked: what succeeded against what failed, or any two. */
export const OUTCOMES = { left: ["✓", "add", "succeeded: "], right: ["✗", "del", "failed: "] };
export const SIDES = {
  left: ["−", "del", "only in the first: "],
  right: ["+", "add", "only in the second: "],
};

/**
 * Rows as `core/json_rows.py` makes them. `load()` gives the text of the right value, of which folds show parts;
 * without it they stay folded.
 */
export function Diff({ rows, marks = OUTCOMES, load = null, label = "Difference" }) {
  return html`<div class="code df" role="group" aria-label=${label} tabindex="0">
    ${rows.map((row, n) =>
      row.fold && load && row.fold.start >= 0 && row.fold.count
        ? html`<${FoldRow} key=${n} row=${row} load=${load} />`
        : html`<${Row} key=${n} row=${row} marks=${marks} />`,
    )}
  </div>`;
}

function Row({ row, marks, children = null }) {
  const [sign, cls, words] = marks[row.mark] ?? [" ", "", ""];
  return html`<div class=${cls}>
    <span class="ln" aria-hidden="true">${sign}</span
    ><span style=${{ paddingLeft: `${2 * row.depth}ch` }}
      >${words && html`<span class="sr">${words}</span>`}<${JsonText} text=${row.text ?? ""} />${
        row.fold && (children ?? html`<span class="jt">▸ ${row.fold.text}</span>`)
      }${row.after && html`<${JsonText} text=${row.after} />`}</span
    >
  </div>`;
}

function FoldRow({ row, load }) {
  const [shown, setShown] = useState(null);
  const { path, start, count, text } = row.fold;
  const press = async () => setShown(shown ? null : partsOf(await load(), path, start, count));
  return html`<${Row} row=${row} marks=${{}}>
      <button type="button" class="jt" aria-expanded=${String(Boolean(shown))} onClick=${press}>
        ${shown ? "▾" : "▸"} ${text}
      </button>
    <//>
    ${shown?.map((one, n) => html`<${Row} key=${n} row=${{ depth: row.depth + 1, text: one }} marks=${{}} />`)}`;
}

/** Equal parts as text, a line each: the first of them, and how many more there are. */
export function partsOf(text, path, start, count) {
  const node = text && nodeAt(text, path);
  if (!node) return ["(not kept any more)"];
  const shown = childrenOf(text, node, null, start + Math.min(count, UNFOLDED)).children.slice(start);
  const lines = shown.map((child) => {
    const key = typeof child.key === "string" ? `${JSON.stringify(child.key)}: ` : "";
    const value = compact(text.slice(child.start, child.end));
    return `${key}${value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value}`;
  });
  return count > shown.length
    ? [...lines, `… ${(count - shown.length).toLocaleString("en-US")} more`]
    : lines;
}
