// The lanes of a run: one a worker, with calls that overlap in sub-rows, on the axis of the waterfall.
import { html, useMemo, useRef, useSignal } from "../../vendor/vendor.js";
import { duration, nameParts, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Hover } from "./hover.js";
import { percentOf } from "./scale.js";
import { AxisRow, axisKey, gridStyle, placed, useAxisGestures } from "./timeline.js";
import { endOf, lanes as lanesOf } from "./tree.js";

const CALLS_DRAWN = 1000;
const SUB = 18; // height of a sub-row

/** The call that an arrow leads to: the next in time, or the nearest of the lane above or below. */
export function neighbour(lanes, id, key) {
  const lane = lanes.findIndex((one) => one.calls.some(({ row }) => row.id === id));
  if (lane < 0) return lanes[0]?.calls[0]?.row.id ?? null;
  const { calls } = lanes[lane];
  const at = calls.findIndex(({ row }) => row.id === id);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (step) return calls[Math.min(calls.length - 1, Math.max(0, at + step))].row.id;
  const way = { ArrowDown: 1, ArrowUp: -1 }[key];
  const next =
    way &&
    lanes
      .slice(way > 0 ? lane + 1 : 0, way > 0 ? undefined : lane)
      [way > 0 ? "find" : "findLast"]((one) => one.calls.length);
  if (!next) return id;
  const { started } = calls[at].row;
  const distance = ({ row }) => Math.abs(row.started - started);
  return next.calls.reduce((best, one) => (distance(one) < distance(best) ? one : best)).row.id;
}

function Lane({ lane, view, now, chosen, tabbed, narrow, onChoose, onHover }) {
  const height = 28 + (lane.subs - 1) * SUB;
  return html`<div class="wr lane" role="row" style=${{ height: `${height}px` }}>
    <div class="n" role="rowheader" title=${lane.worker}>
      <i class=${`dot ${lane.failed ? "err" : ""}`}></i>
      <span class=${`nw el ${lane.failed ? "bad" : ""}`}>${narrow ? nameParts(lane.worker)[1] : lane.worker}</span>
    </div>
    <div class="tl" role="gridcell">
      ${lane.calls.map(({ row, sub }) => {
        const end = endOf(row, now);
        const top = `${9 + sub * SUB}px`;
        return html`<i class="q" key=${`${row.id}q`} style=${{ ...placed(view.axis, row.published, row.started), top }}></i>
          <button
            type="button"
            key=${row.id}
            data-call=${row.id}
            class=${`x ${row.outcome === "error" ? "f" : ""} ${row.id === chosen ? "sel" : ""}`}
            aria-label=${`${row.worker}.${row.handler}, ${row.outcome === "error" ? "failed" : row.outcome}, ran ${duration(end - row.started)}`}
            aria-pressed=${String(row.id === chosen)}
            tabindex=${row.id === tabbed ? 0 : -1}
            style=${{ ...placed(view.axis, row.started, end), top }}
            onClick=${() => onChoose(row.id)}
            onPointerMove=${(event) => onHover({ row, x: event.clientX, y: event.clientY })}
            onPointerLeave=${() => onHover(null)}
          ></button>`;
      })}
      ${lane.events.flatMap(({ row, sub }) =>
        row.marks.map(
          (mark) =>
            html`<i
              class="ev"
              key=${mark.id}
              style=${{ left: `${percentOf(mark.at, view.axis).toFixed(3)}%`, top: `${10 + sub * SUB}px` }}
            ></i>`,
        ),
      )}
    </div>
    <div class=${`d nw ${lane.failed ? "bad" : "t2"}`} role="gridcell">${lane.calls.length ? plural(lane.calls.length, "call") : ""}</div>
  </div>`;
}

export function Lanes({ run, view, now, chosen, onChoose }) {
  const store = useStore();
  const root = useRef(null);
  useAxisGestures(root, view);
  const hovered = useSignal(null);
  const setHovered = (one) => {
    hovered.value = one;
  };
  const narrow = store.width.value === "narrow";
  const end = run.running ? now : 0; // what has ended is drawn once
  const isCut = run.rows.length > CALLS_DRAWN;
  const lanes = useMemo(() => lanesOf(run.rows.slice(0, CALLS_DRAWN), end), [run.rows, end]);
  const all = useMemo(() => lanes.flatMap((lane) => lane.calls.map(({ row }) => row.id)), [lanes]);
  const tabbed = all.includes(chosen) ? chosen : all[0];
  const drawn = useMemo(
    () =>
      lanes.map(
        (lane) => html`<${Lane}
          key=${lane.worker}
          lane=${lane}
          view=${view}
          now=${end}
          chosen=${chosen}
          tabbed=${tabbed}
          narrow=${narrow}
          onChoose=${onChoose}
          onHover=${setHovered}
        />`,
      ),
    [lanes, view.axis, end, chosen, tabbed, narrow, run.root],
  );
  const key = (event) => {
    if (
      axisKey(event, view) ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      !event.key.startsWith("Arrow")
    )
      return;
    event.preventDefault();
    const next = neighbour(lanes, tabbed, event.key);
    if (!next) return;
    onChoose(next);
    requestAnimationFrame(() => root.current?.querySelector(`[data-call="${CSS.escape(next)}"]`)?.focus());
  };
  return html`<div
      class=${`wf lanes ${view.isZoomed ? "zoomed" : ""}`}
      ref=${root}
      role="grid"
      aria-label=${`Lanes of #${run.seq}`}
      style=${gridStyle(view.axis, narrow)}
      onKeyDown=${key}
    >
      <${AxisRow} axis=${view.axis} title="Worker" last="Calls" />
      ${drawn}
      ${isCut && html`<p class="s t2 note">Only the first ${CALLS_DRAWN} rows are drawn here</p>`}
      ${!lanes.length && html`<p class="s t2 note">No handler ran</p>`}
    </div>
    <${Hover} at=${hovered} now=${now} />`;
}
