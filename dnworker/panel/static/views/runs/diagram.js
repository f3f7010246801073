// A run as a sequence diagram: shapes that the panel draws, and the same as the text of an SVG. Pure; node tests it.

const COLUMN = 140; // between two lifelines
const WIDEST_COLUMN = 220;
const EDGE = 84; // from the edge to the first lifeline
const BOX = { width: 128, height: 28, top: 10 };
const FIRST = 66; // where the first arrow is
const STEP = 40;
const BAR = 8;
const CHARACTER = 6.6; // the width of one at 11 px, of a fixed width
const LONGEST_NAME = 18;
export const CALLS_DRAWN = 300;

/** The colours of the light theme, for pictures that leave the panel. */
const COLOURS = {
  bg: "#ffffff",
  text: "#171a21",
  "text-2": "#4f5666",
  "text-3": "#666d7c",
  "line-2": "#d1d1d3",
  "run-fill": "#6f86e8",
  "bad-fill": "#d93a42",
  "bad-tint": "#fcecec",
  bad: "#c22129",
  wait: "#c3c3c5",
};

/** A text that fits: its first part goes first, then its end. */
export function fitted(text, longest = LONGEST_NAME) {
  const whole = [...text];
  if (whole.length <= longest) return text;
  const dot = text.indexOf(".");
  const rest = dot > 0 ? text.slice(dot + 1) : text;
  const short = [...rest];
  return short.length <= longest ? rest : `${short.slice(0, longest - 1).join("")}…`;
}

/** The line of a place: `:41` of `importer.py:41`, `:7` of `cell [3], line 7`. */
export function lineOf(place) {
  const found = /(?::|line )(\d+)\D*$/.exec(place ?? "");
  return found ? `:${found[1]}` : "";
}

/** The steps of a run in the order of time: calls with who published their event, and events that nobody hears. */
export function stepsOf(rows, source) {
  const byId = new Map(rows.map((row) => [row.id, row]));
  const steps = [];
  for (const row of rows) {
    if (row.type === "note") continue;
    const event = row.type === "event" ? row : byId.get(row.parent);
    const call = byId.get(event?.parent);
    const publisher = call?.type === "call" ? call : null;
    const from = publisher?.worker ?? source;
    if (row.type === "call") steps.push({ row, event, publisher, from, to: row.worker, at: row.published });
    else if (!row.heard) steps.push({ row, event, publisher, from, to: null, at: row.marks[0].at });
  }
  return steps.sort((a, b) => a.at - b.at);
}

/** The lifelines: the source, then the workers in the order in which they are called. */
export function lifelinesOf(steps, source) {
  return [...new Set([source, ...steps.flatMap((step) => [step.from, step.to].filter(Boolean))])];
}

/** Lay out a run: `{ width, height, lifelines, shapes, more }`; a shape knows the row that it stands for. */
export function layout(rows, source, { width = 0, time }) {
  const all = stepsOf(rows, source);
  const steps = all.slice(0, CALLS_DRAWN);
  const names = lifelinesOf(steps, source);
  const room = names.length > 1 ? (width - 2 * EDGE) / (names.length - 1) : 0;
  const column = Math.min(WIDEST_COLUMN, Math.max(COLUMN, Math.floor(room)));
  const x = new Map(names.map((name, n) => [name, EDGE + n * column]));
  const bars = barsOf(steps, lengthOf(rows));
  const last = Math.max(
    FIRST,
    ...steps.map((_, n) => FIRST + n * STEP),
    ...[...bars.values()].map((b) => b.to),
  );
  const height = last + 24;
  const failed = new Set(steps.filter(({ row }) => row.outcome === "error").map(({ to }) => to));
  const shapes = [
    ...names.flatMap((name) => lifeline(name, x.get(name), height, failed.has(name))),
    ...steps.flatMap((step) => barShapes(step, bars, x)),
    ...steps.flatMap((step, n) => arrowShapes(step, FIRST + n * STEP, bars, x, time)),
  ];
  const wide = EDGE + (names.length - 1) * column + EDGE - 4;
  return {
    width: Math.max(wide, COLUMN * 2),
    height,
    lifelines: names,
    shapes,
    more: all.length - steps.length,
  };
}

function lengthOf(rows) {
  return Math.max(1e-9, ...rows.map((row) => row.ended ?? row.started ?? 0));
}

/** Where the bar of each call begins and ends, after the last arrow that leaves it. */
function barsOf(steps, length) {
  const bars = new Map();
  const at = new Map(steps.map((step, n) => [step, FIRST + n * STEP]));
  const order = [...steps].reverse(); // what it caused comes after a call
  const lastChild = new Map();
  for (const step of order) {
    const y = at.get(step);
    if (step.publisher) {
      const id = step.publisher.id;
      lastChild.set(id, Math.max(lastChild.get(id) ?? 0, y));
    }
    if (!step.to) continue;
    const waits = (step.row.started - step.row.published) / length >= 0.05;
    const from = y + (waits ? 24 : 0);
    bars.set(step.row.id, {
      top: y,
      from,
      to: Math.max(from + 24, (lastChild.get(step.row.id) ?? 0) + 10),
      level: 0,
    });
  }
  nest(steps, bars);
  return bars;
}

/** Move bars aside that lie over others of the same lifeline. */
function nest(steps, bars) {
  const open = new Map();
  for (const { row, to } of steps) {
    if (!to) continue;
    const bar = bars.get(row.id);
    const under = (open.get(to) ?? []).filter((one) => one.to > bar.top);
    bar.level = under.length ? Math.max(...under.map((one) => one.level)) + 1 : 0;
    open.set(to, [...under, bar]);
  }
}

function lifeline(name, x, height, bad) {
  const stroke = bad ? "@bad-fill" : "@line-2";
  const box = { x: x - BOX.width / 2, y: BOX.top, width: BOX.width, height: BOX.height, rx: 6 };
  return [
    line(x, 44, x, height - 8, { stroke: "@line-2", "stroke-dasharray": "3 3" }),
    { tag: "rect", attrs: { ...box, fill: bad ? "@bad-tint" : "@bg", stroke } },
    text(x, BOX.top + 18, fitted(name), { bold: true, fill: bad ? "@bad" : "@text", title: name }),
  ];
}

const line = (x1, y1, x2, y2, attrs) => ({
  tag: "line",
  attrs: { x1, y1, x2, y2, "stroke-width": 1, ...attrs },
});

function text(x, y, content, { bold, mono, size = 12, fill = "@text", anchor = "middle", title } = {}) {
  const attrs = { x, y, "text-anchor": anchor, "font-size": size, fill };
  if (bold) attrs["font-weight"] = 600;
  if (mono) attrs.class = "k";
  return { tag: "text", attrs, text: content, title: title && title !== content ? title : undefined };
}

function barShapes({ row, to }, bars, x) {
  if (!to) return [];
  const bar = bars.get(row.id);
  const left = x.get(to) - BAR / 2 + bar.level * 5;
  const bad = row.outcome === "error";
  const shapes = [];
  if (bar.from > bar.top)
    shapes.push({
      tag: "rect",
      row: row.id,
      attrs: {
        x: left + 0.5,
        y: bar.top,
        width: BAR - 1,
        height: bar.from - bar.top,
        rx: 2,
        fill: "@bg",
        stroke: "@wait",
        "stroke-dasharray": "2 2",
      },
    });
  const fill = bad ? "@bad-fill" : "@run-fill";
  const open = row.outcome === "running" ? { "fill-opacity": 0.45, stroke: "@run-fill" } : {};
  const box = { x: left, y: bar.from, width: BAR, height: bar.to - bar.from, rx: 2 };
  shapes.push({
    tag: "rect",
    row: row.id,
    attrs: { ...box, fill, ...open },
    title: `${row.worker}.${row.handler}`,
  });
  if (bad) shapes.push(...errorShapes(row, left + BAR + 6, bar.from - 2));
  return shapes;
}

function errorShapes(row, x, y) {
  const words = `${row.error ?? "failed"} ${lineOf(row.place)}`.trim();
  const shown = fitted(words, 28);
  const width = Math.round([...shown].length * CHARACTER + 20);
  return [
    {
      tag: "rect",
      row: row.id,
      attrs: { x, y, width, height: 24, rx: 6, fill: "@bad-tint", stroke: "@bad-fill" },
    },
    text(x + 10, y + 16, shown, { mono: true, size: 11, fill: "@bad", anchor: "start", title: words }),
  ];
}

function arrowShapes(step, y, bars, x, time) {
  const { row, event, publisher, from, to } = step;
  const bad = row.outcome === "error";
  const stroke = bad ? "@bad-fill" : "@text-2";
  const sender = publisher ? bars.get(publisher.id) : null;
  const start = x.get(from) + (sender ? sender.level * 5 : 0);
  const many = event.last !== event.seq && !to;
  const numbers = `#${to ? row.seq : event.seq}${many ? ` to #${event.last}` : ""}, ${time(step.at)}`;
  const label = (middle, anchor) => [
    text(middle, y - 6, fitted(event.kind), {
      mono: true,
      size: 11,
      fill: bad ? "@bad" : "@text",
      anchor,
      title: event.kind,
    }),
    text(middle, y + 14, to ? numbers : `${numbers}, nobody listens`, { size: 11, fill: "@text-3", anchor }),
  ];
  if (!to) return group(row, [...unheard(start + BAR / 2, y), ...label(start + 46, "start")]);
  const taker = bars.get(row.id);
  const side = x.get(to) >= x.get(from) ? 1 : -1;
  if (to === from)
    return group(row, [
      ...loop(start + BAR / 2, x.get(to) + taker.level * 5 + BAR / 2, y, stroke),
      ...label(start + 52, "start"),
    ]);
  const end = x.get(to) + taker.level * 5 * (side > 0 ? 0 : 1) - side * (BAR / 2 + 1);
  const begin = start + (sender ? (side * BAR) / 2 : 0);
  const shapes = [line(begin, y, end, y, { stroke, "stroke-width": 1.25 }), head(end, y, side, stroke)];
  return group(row, [...shapes, ...label(x.get(to) - side * (COLUMN / 2), "middle")]);
}

/** Tell the shapes of one arrow that they are one. */
function group(row, shapes) {
  return [{ tag: "g", row: row.id, attrs: {}, children: shapes }];
}

function head(x, y, side, stroke) {
  const d = `M${x - side * 6} ${y - 4}l${side * 6} 4 ${-side * 6} 4`;
  return { tag: "path", attrs: { d, fill: "none", stroke, "stroke-width": 1.25 } };
}

function loop(x, end, y, stroke) {
  const d = `M${x} ${y - 10}h34v10H${end + 1}`;
  return [
    { tag: "path", attrs: { d, fill: "none", stroke, "stroke-width": 1.25 } },
    head(end + 1, y, -1, stroke),
  ];
}

function unheard(x, y) {
  const stroke = "@text-3";
  return [
    line(x, y, x + 30, y, { stroke, "stroke-dasharray": "3 2", "stroke-width": 1.25 }),
    {
      tag: "path",
      attrs: { d: `M${x + 30} ${y - 3}l6 6m0-6-6 6`, fill: "none", stroke, "stroke-width": 1.25 },
    },
  ];
}

// -- as text -------------------------------------------------------------------------------------------------

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text as XML takes it: no markup, and no character that XML has no form for. */
export function escapeXml(value) {
  return String(value)
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g, "")
    .replace(/[&<>"']/g, (one) => ENTITIES[one]);
}

const coloured = (value) =>
  typeof value === "string" && value.startsWith("@") ? (COLOURS[value.slice(1)] ?? "#000000") : value;

function shapeText(shape) {
  const { class: cls, ...attrs } = shape.attrs;
  if (cls === "k") attrs["font-family"] = "ui-monospace, Menlo, Consolas, monospace";
  const given = Object.entries(attrs).map(([name, value]) => ` ${name}="${escapeXml(coloured(value))}"`);
  const title = shape.title ? `<title>${escapeXml(shape.title)}</title>` : "";
  const inner = [title, escapeXml(shape.text ?? ""), ...(shape.children ?? []).map(shapeText)].join("");
  return `<${shape.tag}${given.join("")}>${inner}</${shape.tag}>`;
}

/** The diagram as the text of an SVG that stands alone, in light colours. */
export function svgText({ width, height, shapes }, label) {
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  const font = 'font-family="system-ui, sans-serif"';
  const paper = `<rect width="${width}" height="${height}" fill="${COLOURS.bg}"/>`;
  return `${head} role="img" ${font}><title>${escapeXml(label)}</title>${paper}${shapes.map(shapeText).join("")}</svg>`;
}
