// `Code`: lines of Python with their numbers, some of them marked.
import { html, useMemo } from "../../vendor/vendor.js";
import { linesOf } from "../../base/python.js";

const CLASSES = { keyword: "kw", string: "js", number: "jn", comment: "t3", "": "" };

/** Lines as `[number, text]` in order; those of `marked` are red, with a bar. */
export function Code({ lines, marked = [], label = "Code" }) {
  const coloured = useMemo(() => linesOf(lines.map(([, text]) => text).join("\n")), [lines]);
  const width = `max(20px, ${String(lines.at(-1)?.[0] ?? "").length}ch)`;
  return html`<div class="code py" role="group" aria-label=${label} tabindex="0">
    ${lines.map(
      ([number], n) => html`<div key=${n} class=${marked.includes(number) ? "h" : ""}>
        <span class="ln" style=${{ width }}>${number}</span
        ><span
          >${marked.includes(number) ? html`<span class="sr">failed here: </span>` : null}${coloured[n]?.map(
            ([kind, text]) => html`<span class=${CLASSES[kind]}>${text}</span>`,
          )}</span
        >
      </div>`,
    )}
  </div>`;
}
