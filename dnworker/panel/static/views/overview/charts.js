// The four charts of the last 15 minutes: a brush in one selects in all. Used by the overview, and numbers when narrow.
import { html, useRef } from "../../vendor/vendor.js";
import { clock } from "../../base/format.js";
import { beginOf, durations, errorRate, loopLag, movedBrush, throughput } from "./numbers.js";

const WIDTH = 300;
const HEIGHT = 72;
const SPAN = 60;
const STEP = WIDTH / SPAN;
const FEW = 20; // buckets with calls, of which a line would be dots

const y = (value, top) => HEIGHT - Math.min(1, value / top) * HEIGHT;

/** Bars of `[good, bad]`; what is there is seen, however little it is. */
function bars({ bars: all, top }) {
  return all.flatMap(([good, bad], n) => {
    const tall = (value) => (value > 0 ? Math.max(1.5, (Math.min(value, top) / top) * HEIGHT) : 0);
    const [low, high] = [tall(good), tall(bad)];
    const bar = (at, height, fill) =>
      height > 0 &&
      html`<rect x=${n * STEP + 0.5} y=${at} width=${STEP - 1} height=${height} fill=${fill} />`;
    return [
      bar(HEIGHT - low, low, "var(--dn-run-fill)"),
      bar(HEIGHT - low - high, high, "var(--dn-bad-fill)"),
    ];
  });
}

/** The runs of values without a gap, as `[[bucket, value], ...]` each. */
function pieces(values) {
  const found = [];
  values.forEach((value, n) => {
    if (value === null) return;
    if (n && values[n - 1] !== null && found.length) found.at(-1).push([n, value]);
    else found.push([[n, value]]);
  });
  return found;
}

const x = (n) => (n + 0.5) * STEP;

/** The points of a line through values; one value alone is as wide as its bucket. */
function points(piece, top) {
  if (piece.length > 1) return piece.map(([n, value]) => `${x(n)},${y(value, top)}`);
  const [[n, value]] = piece;
  return [`${n * STEP},${y(value, top)}`, `${(n + 1) * STEP},${y(value, top)}`];
}

function line(values, top, stroke, width) {
  return pieces(values).map(
    (piece) => html`<polyline
      points=${points(piece, top).join(" ")}
      fill="none"
      stroke=${stroke}
      stroke-width=${width}
      vector-effect="non-scaling-stroke"
    />`,
  );
}

/** Two lines and the band between them. */
function spread({ p50, p95, top }) {
  const band = pieces(p95).map((piece) => {
    const low = piece.map(([n]) => [n, p50[n] ?? 0]);
    const around = [...points(piece, top), ...points(low, top).reverse()];
    return html`<polygon points=${around.join(" ")} fill="var(--dn-run-fill)" opacity=".14" />`;
  });
  return [band, line(p95, top, "var(--dn-run-fill)", 1.5), line(p50, top, "var(--dn-text-3)", 1)];
}

function lagLine({ lag, top, limit }) {
  const at = y(limit, top);
  return [
    html`<line
      x1="0"
      x2=${WIDTH}
      y1=${at}
      y2=${at}
      stroke="var(--dn-warn-fill)"
      stroke-dasharray="3 3"
      vector-effect="non-scaling-stroke"
    />`,
    line(lag, top, "var(--dn-run-fill)", 1.5),
  ];
}

function drawn(data) {
  if (data.lag) return lagLine(data);
  if (data.p95 && data.p95.filter((one) => one !== null).length < FEW)
    return bars({ bars: data.p95.map((value) => [value ?? 0, 0]), top: data.top });
  return data.p95 ? spread(data) : bars(data);
}

/** The charts that there is something to draw of; a panel of one worker has no durations. */
export function chartsOf(overview, now) {
  const { series, failures } = overview;
  const since = failures.rows[0]?.since?.at ?? failures.rows[0]?.first ?? null;
  const all = [throughput(series, now), errorRate(series, now, since)];
  if (series.recent || series.p95.some((one) => one !== null)) all.push(durations(series));
  else if (!series.calls.some(Boolean)) all.push(durations(series));
  return [...all, loopLag(series)];
}

/** Where generations changed, from 0 to 1, the newest first. */
export function marksOf({ series, marks }) {
  const begin = beginOf(series, 0);
  const whole = series.end - begin;
  return marks
    .map(({ at, worker, n }) => ({ left: (at - begin) / whole, text: `${worker} gen ${n}` }))
    .filter(({ left }) => left >= 0 && left <= 1);
}

function Marks({ marks, labelled }) {
  return marks.map(
    ({ left, text }, n) => html`<div class="genm" style=${{ left: `${left * 100}%` }} title=${text}>
      ${labelled && n === 0 && html`<span class=${left > 0.5 ? "before" : ""}>${text}</span>`}
    </div>`,
  );
}

function Axis({ series }) {
  const times = [0, 20, 40].map((bucket) => clock(beginOf(series, bucket)));
  return html`<div class="xax" aria-hidden="true">
    ${times.map((time) => html`<span>${time}</span>`)}<span>Now</span>
  </div>`;
}

/** What a pointer does on a plot: it draws a brush; a press without a move takes it away. */
function useBrush(brush, setBrush) {
  const began = useRef(null);
  const bucket = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(SPAN - 1, Math.floor(((event.clientX - left) / width) * SPAN)));
  };
  const down = (event) => {
    if (event.button !== 0) return;
    began.current = { at: bucket(event), moved: false };
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event) => {
    if (!began.current) return;
    const [one, other] = [began.current.at, bucket(event)];
    if (one === other && !began.current.moved) return;
    began.current.moved = true;
    setBrush([Math.min(one, other), Math.max(one, other) + 1], true);
  };
  const up = () => {
    if (!began.current) return;
    if (!began.current.moved) setBrush(null);
    else setBrush(brush, false);
    began.current = null;
  };
  return { onPointerDown: down, onPointerMove: move, onPointerUp: up, onPointerCancel: up };
}

export function Chart({ data, overview, brush, setBrush, marks, onOpen }) {
  const pointer = useBrush(brush, setBrush);
  const newest = useRef(brush); // keys may follow each other faster than the chart is drawn
  newest.current = brush;
  const { title, value, sub, bad, ticks, top } = data;
  const key = (event) => {
    if (event.key === "Enter" && newest.current) onOpen();
    else {
      const moved = movedBrush(newest.current, event.key, event.shiftKey);
      if (moved === undefined) return;
      newest.current = moved;
      setBrush(moved, false);
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const [from, until] = brush ?? [0, 0];
  const selected = brush
    ? `; ${clock(beginOf(overview.series, from))} to ${clock(beginOf(overview.series, until))} selected`
    : "";
  return html`<figure class="ch" role="img" tabindex="0" aria-label=${data.label + selected} onKeyDown=${key}>
    <div class="hd"><h2 class="t2">${title}</h2></div>
    <div class="hd">
      <span class=${`v nw ${bad ? "bad" : ""}`}>${value[0]}<span class="s t2"> ${value[1]}</span></span>
      <span class="g"></span><span class="s t3 el sub">${sub}</span>
    </div>
    <div class="plot" ...${pointer}>
      ${brush && html`<div class="brush" style=${{ left: `${(from / SPAN) * 100}%`, width: `${((until - from) / SPAN) * 100}%` }}></div>`}
      <${Marks} marks=${marks} labelled=${title === "Error rate"} />
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        ${[0, 36, 72].map((at) => html`<line class="ax" x1="0" x2=${WIDTH} y1=${at} y2=${at} />`)} ${drawn(data)}
      </svg>
      ${ticks.map(
        ([tick, text]) =>
          html`<span class="y" style=${{ top: `calc(${100 - (tick / top) * 100}% - 6px)` }}>${text}</span>`,
      )}
    </div>
    <${Axis} series=${overview.series} />
  </figure>`;
}

/** The charts, side by side; `brush` is `[from, until)` in buckets, or null. */
export function Charts({ overview, now, brush, setBrush, onOpen }) {
  const marks = marksOf(overview);
  return html`<div class="charts">
    ${chartsOf(overview, now).map(
      (data) => html`<${Chart}
        key=${data.title}
        data=${data}
        overview=${overview}
        brush=${brush}
        setBrush=${setBrush}
        marks=${marks}
        onOpen=${onOpen}
      />`,
    )}
  </div>`;
}

const MINI = 20; // bars of a small chart

/** The same as a bar for three buckets each, as high as the most of them. */
function miniBars(data) {
  const all = data.bars ?? (data.lag ?? data.p95).map((value) => [value ?? 0, 0]);
  const high = Math.max(1e-9, ...all.map(([good, bad]) => good + bad));
  return Array.from({ length: MINI }, (_, n) => {
    const some = all.slice(n * 3, n * 3 + 3);
    const value = Math.max(...some.map(([good, bad]) => good + bad));
    const isBad = data.title === "Error rate";
    const tall = value > 0 ? Math.max(1.5, (value / high) * 18) : 0;
    return (
      tall > 0 &&
      html`<rect x=${n * 3.2} y=${20 - tall} width="2.4" height=${tall} fill=${isBad ? "var(--dn-bad-fill)" : "var(--dn-run-fill)"} />`
    );
  });
}

/** Two by two numbers, where there is no room for charts. */
export function Numbers({ overview, now }) {
  return html`<div class="numbers">
    ${chartsOf(overview, now).map((data) => {
      const [number, unit] = data.value;
      const stat = unit.startsWith("p") ? ` ${unit}` : "";
      return html`<figure class="cell" key=${data.title} role="img" aria-label=${data.label}>
        <div class="g">
          <h2 class="s t2">${data.title}${stat}</h2>
          <span class=${`b ${data.bad ? "bad" : ""}`}>${number}${!stat && unit && unit !== "of calls" && html`<span class="s t2"> ${unit}</span>`}</span>
        </div>
        <svg width="64" height="20" viewBox="0 0 64 20" aria-hidden="true">
          <line class="ax" x1="0" x2="64" y1="19.5" y2="19.5" />${miniBars(data)}
        </svg>
      </figure>`;
    })}
  </div>`;
}
