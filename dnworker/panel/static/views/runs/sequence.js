// The sequence diagram of a run, drawn from the shapes of `diagram.js`; its arrows can be chosen.
import { h, html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { duration } from "../../base/format.js";
import { layout } from "./diagram.js";

const colour = (value) =>
  typeof value === "string" && value.startsWith("@") ? `var(--dn-${value.slice(1)})` : value;

/** Times as they stand at arrows: `0 ms`, `4.1 ms`, `46 ms`. */
function timeOf(ms) {
  return ms >= 9.95 && ms < 999.5 ? `${Math.round(ms)} ms` : duration(ms);
}

function draw(shape, key, options) {
  const { chosen, tabbed, words, onChoose } = options;
  const attrs = Object.fromEntries(Object.entries(shape.attrs).map(([name, value]) => [name, colour(value)]));
  if (shape.tag === "text") {
    attrs.style = { fill: attrs.fill, fontSize: `${attrs["font-size"]}px` }; // the sheet has rules for texts
  }
  const children = (shape.children ?? []).map((child, n) => draw(child, n, options));
  if (shape.title) children.push(h("title", { key: "title" }, shape.title));
  if (shape.text !== undefined) children.push(shape.text);
  if (!shape.row) return h(shape.tag, { key, ...attrs }, children);
  const isArrow = shape.tag === "g";
  return h(
    shape.tag,
    {
      key,
      ...attrs,
      class: `${isArrow ? "arrow" : "bar"} ${shape.row === chosen ? "sel" : ""}`,
      onClick: () => onChoose(shape.row),
      ...(isArrow && {
        role: "button",
        "data-arrow": shape.row,
        "aria-label": words(shape.row),
        "aria-pressed": String(shape.row === chosen),
        tabindex: shape.row === tabbed ? 0 : -1,
      }),
    },
    children,
  );
}

export function Sequence({ run, chosen, onChoose }) {
  const root = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(root.current?.clientWidth ?? 0));
    observer.observe(root.current);
    return () => observer.disconnect();
  }, []);
  const drawn = layout(run.rows, run.source, { width, time: timeOf });
  const byId = new Map(run.rows.map((row) => [row.id, row]));
  const words = (id) => {
    const row = byId.get(id);
    if (row.type !== "call") return `${row.kind} #${row.seq}, nobody listens`;
    return `${byId.get(row.parent)?.kind} #${row.seq} to ${row.worker}, ${row.outcome === "error" ? "failed" : row.outcome}`;
  };
  const arrows = drawn.shapes.filter((shape) => shape.tag === "g").map((shape) => shape.row);
  const tabbed = arrows.includes(chosen) ? chosen : arrows[0];
  const key = (event) => {
    const at = arrows.indexOf(tabbed);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: arrows.length - 1 }[event.key];
    if ((event.key === "Enter" || event.key === " ") && event.target.dataset?.arrow)
      onChoose(event.target.dataset.arrow);
    else if (next === undefined || !(next in arrows)) return;
    else {
      onChoose(arrows[next]);
      root.current.querySelector(`[data-arrow="${CSS.escape(arrows[next])}"]`)?.focus();
    }
    event.preventDefault();
  };
  return html`<div class="sequence" ref=${root} role="group" aria-label=${`Sequence of #${run.seq}`} onKeyDown=${key}>
    <svg width=${drawn.width} height=${drawn.height} viewBox=${`0 0 ${drawn.width} ${drawn.height}`}>
      ${drawn.shapes.map((shape, n) => draw(shape, n, { chosen, tabbed, words, onChoose }))}
    </svg>
    ${drawn.more > 0 && html`<p class="s t2 note">The first ${drawn.shapes.length && arrows.length} arrows; ${drawn.more} more are not drawn</p>`}
  </div>`;
}
