// One entry of the log: time, worker, mark and text, and all of it once it is open.
import { html } from "../../vendor/vendor.js";
import { Ansi } from "../../base/ansi.js";
import { clockMillis, clockSeconds, count, nameParts, plural } from "../../base/format.js";
import { Button, Copy } from "../../base/ui.js";
import { Shown } from "./shown.js";

const MARKS = { error: "✗", critical: "✗", warning: "!" };
const NAMES = { error: "Error", critical: "Error", warning: "Warning", debug: "Debug", trace: "Debug" };
const CLASSES = { error: "e", critical: "e", warning: "w", debug: "q", trace: "q" };

/** The class of an entry, by its level. */
export const classOf = (level) => CLASSES[level] ?? "";

/** When an entry was written, by the clock that its worker knows. */
export function timeOf(line, isBrief) {
  return (isBrief ? clockSeconds : clockMillis)(line.clock ?? line.at);
}

/** What is folded: how many lines, or characters, or a display. */
function folded(line) {
  const parts = [];
  if (line.lines > 1) parts.push(plural(line.lines, "line"));
  if (line.cut) parts.push(`${count(line.cut)} more characters`);
  if (line.form) parts.push(line.form);
  return parts.join(", ");
}

/** What can be done with an entry; `actions` are those of the list. */
function Actions({ line, actions }) {
  return html`<span class="acts">
    ${
      line.event &&
      html`<${Button} small icon="waterfall" label="Show run (R)" tabindex="-1" onClick=${() => actions.run(line)} />`
    }
    <${Button} small icon="filter" label=${`Only ${line.worker}`} tabindex="-1" onClick=${() => actions.only(line)} />
    <${Copy} text=${() => actions.text(line)} label="Copy line (C)" />
  </span>`;
}

export function Row({ line, whole, isOpen, isBrief, actions }) {
  const says = folded(line);
  const toggle = (event) => {
    event.stopPropagation();
    actions.toggle(line.position);
  };
  const title = line.clock === null ? null : `${clockMillis(line.at)} by the machine's clock`;
  return html`<span class="t3 at" role="gridcell" title=${title}>${timeOf(line, isBrief)}</span>
    <span class="t2 el by" role="gridcell" title=${line.worker}>${isBrief ? nameParts(line.worker)[1] : line.worker}</span>
    <span class="mk" role="gridcell"
      >${MARKS[line.level]}${NAMES[line.level] && html`<span class="offscreen">${NAMES[line.level]}</span>`}</span
    >
    <span class="say" role="gridcell">
      <span class="tx"><${Ansi} text=${line.text} marks=${line.marks} /></span>
      ${line.image && html`<img class="thumb" src=${line.image} alt=${line.text} />`}
      ${
        says &&
        html`<button
          type="button"
          class=${`fold ${line.within ? "hit" : ""}`}
          tabindex="-1"
          aria-expanded=${String(isOpen)}
          onClick=${toggle}
        >
          ${isOpen ? "Fold" : says}
        </button>`
      }
      <${Actions} line=${line} actions=${actions} />
    </span>
    ${isOpen && html`<div class="whole" role="gridcell"><${Whole} line=${line} whole=${whole} actions=${actions} /></div>`}`;
}

/** All of an entry, and the ways to where it is from. */
function Whole({ line, whole, actions }) {
  if (!whole) return html`<span class="t3">Reading…</span>`;
  const left = whole.lines - whole.rows.length;
  return html`<div class="about">
      <span class="t3">${[clockMillis(line.at), line.worker, line.source, line.level].join(" · ")}</span>
      ${line.event && html`<${Button} small onClick=${() => actions.run(line)}>Show run<//>`}
      <${Button} small onClick=${() => actions.worker(line)}>Show worker<//>
      ${line.invocation && html`<${Button} small onClick=${() => actions.call(line)}>Only this call<//>`}
    </div>
    <pre tabindex="0">${whole.rows.map(
      (row, n) => html`<${Ansi} key=${n} text=${row.text} marks=${row.marks} />${"\n"}`,
    )}</pre>
    ${left > 0 && html`<div class="t3">${plural(left, "more line")}; the file that is downloaded has them</div>`}
    ${whole.shown && html`<${Shown} shown=${whole.shown} label=${whole.text} />`}`;
}
