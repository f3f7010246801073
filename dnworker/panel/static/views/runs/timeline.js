// The time axis that waterfall and lanes share: its ticks, its zoom by wheel, keys and drag, and the minimap above it.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { duration } from "../../base/format.js";
import { gridOf, isWhole, moved, percentOf, ticksOf, wholeOf, within, zoomed } from "./scale.js";
import { endOf } from "./tree.js";

const WHEEL = 1.0015; // how much a pixel of the wheel zooms
const STEP = 1.5; // how much a key zooms

/** The part of the axis that is seen: null is all of it, which grows while the run goes on. */
export function useAxis(key, length) {
  const [view, setView] = useState({ key, axis: null });
  const whole = wholeOf(length);
  const axis = view.key === key && view.axis ? within(view.axis, whole) : whole;
  const show = (next) => setView({ key, axis: next && !isWhole(next, whole) ? next : null });
  return {
    whole,
    axis,
    isZoomed: !isWhole(axis, whole),
    show,
    fit: () => show(null),
    zoom: (factor, share) => show(zoomed(axis, whole, factor, share)),
    pan: (share) => show(moved(axis, whole, share)),
  };
}

/** What a key does to the axis: + and - zoom, 0 fits all; returns whether it did something. */
export function axisKey(event, view) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === "+" || event.key === "=") view.zoom(1 / STEP);
  else if (event.key === "-") view.zoom(STEP);
  else if (event.key === "0") view.fit();
  else if (event.shiftKey && event.key === "ArrowLeft") view.pan(-0.2);
  else if (event.shiftKey && event.key === "ArrowRight") view.pan(0.2);
  else return false;
  event.preventDefault();
  return true;
}

/** The rectangle that the axis takes within an element, by its header. */
function plotOf(root) {
  return root.querySelector(".wr.ax .tl").getBoundingClientRect();
}

/** Let Ctrl and the wheel zoom an element's axis, the wheel sideways pan it, and a drag move it. */
export function useAxisGestures(rootRef, view) {
  const latest = useRef(view);
  latest.current = view;
  useEffect(() => {
    const root = rootRef.current;
    if (!root) return undefined;
    const wheel = (event) => {
      const plot = plotOf(root);
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      if (event.ctrlKey || event.metaKey) {
        const share = Math.min(1, Math.max(0, (event.clientX - plot.left) / plot.width));
        latest.current.zoom(WHEEL ** (event.deltaY * (event.deltaMode ? 33 : 1)), share);
      } else if (latest.current.isZoomed && Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY))
        latest.current.pan(sideways / plot.width);
      else return;
      event.preventDefault();
    };
    const down = (event) => {
      if (event.button || !latest.current.isZoomed || !event.target.closest?.(".tl")) return;
      const { width } = plotOf(root);
      const from = { x: event.clientX, axis: latest.current.axis };
      const move = (next) => {
        const by = ((from.x - next.clientX) / width) * (from.axis.to - from.axis.from);
        latest.current.show(
          within({ from: from.axis.from + by, to: from.axis.to + by }, latest.current.whole),
        );
      };
      follow(move);
    };
    root.addEventListener("wheel", wheel, { passive: false });
    root.addEventListener("pointerdown", down);
    return () => {
      root.removeEventListener("wheel", wheel);
      root.removeEventListener("pointerdown", down);
    };
  }, []);
}

/** Call `move` with the pointer's events until it is let go. */
function follow(move) {
  const end = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
    window.removeEventListener("pointercancel", end);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
}

/** The header of a timeline: its ticks. */
export function AxisRow({ axis, title, last }) {
  return html`<div class="wr ax" role="row" aria-rowindex="1">
    <div class="n xs t3" role="columnheader">${title}</div>
    <div class="tl" role="columnheader" aria-label="Time">
      ${ticksOf(axis).map(
        (tick, n) => html`<span
          key=${n}
          class=${!n && tick.percent < 2 ? "first" : ""}
          style=${{ left: `${tick.percent.toFixed(3)}%` }}
          >${tick.text}</span
        >`,
      )}
    </div>
    <div class="d xs t3" role="columnheader">${last}</div>
  </div>`;
}

/** The lines of the axis, as properties that the rows' backgrounds take. */
export function gridStyle(axis, narrow) {
  const { size, position } = gridOf(axis, narrow ? 2 : 1);
  return { "--dn-grid": `${size.toFixed(4)}%`, "--dn-grid-at": `${position.toFixed(4)}%` };
}

/** Where something lies on the axis, as a style. */
export function placed(axis, from, to) {
  const left = percentOf(from, axis);
  return { left: `${left.toFixed(3)}%`, width: `${Math.max(0, percentOf(to, axis) - left).toFixed(3)}%` };
}

const MINI = { width: 600, height: 28 };

/** The whole run, small; what is seen of it can be dragged, and so can its edges. */
export function Minimap({ rows, view, now }) {
  const root = useRef(null);
  const { whole, axis } = view;
  const calls = rows.filter((row) => row.type === "call");
  const step = Math.min(1.7, (MINI.height - 8) / Math.max(1, rows.length));
  const left = percentOf(axis.from, whole);
  const right = 100 - percentOf(axis.to, whole);
  const drag = (edge) => (event) => {
    if (event.button) return;
    event.stopPropagation();
    const { width } = root.current.getBoundingClientRect();
    const from = { x: event.clientX, axis };
    follow((next) => {
      const by = ((next.clientX - from.x) / width) * (whole.to - whole.from);
      view.show(dragged(from.axis, edge, by, whole));
    });
  };
  const draw = (event) => {
    const { left: start, width } = root.current.getBoundingClientRect();
    const at = (x) => whole.from + ((x - start) / width) * (whole.to - whole.from);
    const begin = at(event.clientX);
    follow((next) => {
      const end = at(next.clientX);
      view.show(within({ from: Math.min(begin, end), to: Math.max(begin, end) }, whole));
    });
  };
  return html`<div class="minimap" ref=${root} onPointerDown=${view.isZoomed ? draw : undefined}>
    <svg width="100%" height=${MINI.height} viewBox=${`0 0 ${MINI.width} ${MINI.height}`} preserveAspectRatio="none" aria-hidden="true">
      ${calls.slice(0, 400).map((row) => miniBar(row, rows.indexOf(row) * step, whole, now))}
    </svg>
    <div class="brush" style=${{ left: `${left}%`, right: `${right}%` }} onPointerDown=${drag("both")}>
      <${Handle} edge="from" view=${view} onPointerDown=${drag("from")} />
      <${Handle} edge="to" view=${view} onPointerDown=${drag("to")} />
    </div>
  </div>`;
}

function miniBar(row, y, whole, now) {
  const scale = MINI.width / (whole.to - whole.from);
  const fill = row.outcome === "error" ? "var(--dn-bad-fill)" : "var(--dn-run-fill)";
  const width = Math.max(2, (endOf(row, now) - row.published) * scale);
  return html`<rect key=${row.id} x=${row.published * scale} y=${3 + y} width=${width} height="1.6" fill=${fill} />`;
}

function dragged(axis, edge, by, whole) {
  if (edge === "both") return within({ from: axis.from + by, to: axis.to + by }, whole);
  const from = edge === "from" ? Math.min(axis.from + by, axis.to) : axis.from;
  const to = edge === "to" ? Math.max(axis.to + by, axis.from) : axis.to;
  return within({ from, to }, whole);
}

/** One edge of what is seen: a slider. */
function Handle({ edge, view, onPointerDown }) {
  const { axis, whole } = view;
  const name = edge === "from" ? "Start of what is shown" : "End of what is shown";
  const key = (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    view.show(dragged(axis, edge, step * (whole.to - whole.from), whole));
  };
  return html`<i
    class=${`edge ${edge}`}
    role="slider"
    tabindex="0"
    aria-label=${name}
    aria-valuemin="0"
    aria-valuemax=${whole.to}
    aria-valuenow=${axis[edge]}
    aria-valuetext=${duration(axis[edge])}
    onPointerDown=${onPointerDown}
    onKeyDown=${key}
  ></i>`;
}
