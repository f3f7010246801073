// Runs: the filter as it is written, rows that wait under the pointer, the time axis, the tree, lanes, the diagram.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  escapeXml,
  fitted,
  layout,
  lifelinesOf,
  lineOf,
  stepsOf,
  svgText,
} from "../../dnworker/panel/static/views/runs/diagram.js";
import { chosenRow } from "../../dnworker/panel/static/views/runs/pane.js";
import { RunRows } from "../../dnworker/panel/static/views/runs/rows.js";
import {
  gridOf,
  isWhole,
  moved,
  percentOf,
  stepFor,
  ticksOf,
  wholeOf,
  within,
  zoomed,
} from "../../dnworker/panel/static/views/runs/scale.js";
import {
  filterOf,
  momentOf,
  secondsOf,
  stateOf,
  takeTokens,
  withTokens,
  written,
} from "../../dnworker/panel/static/views/runs/tokens.js";
import {
  above,
  endOf,
  firstToSee,
  labelOf,
  lanes,
  lengthOf,
  rowOf,
  visible,
} from "../../dnworker/panel/static/views/runs/tree.js";
import { markBeside } from "../../dnworker/panel/static/views/runs/waterfall.js";

const NOW = 1_795_703_528_000;

test("tokens are taken out of what is typed, and the words stay", () => {
  const { tokens, rest } = takeTokens('kind:orders.placed ada since:15m "x" session:"desk 4" ', NOW);
  assert.deepEqual(tokens, [
    { name: "kind", value: "orders.placed" },
    { name: "since", value: "15m" },
    { name: "session", value: "desk 4" },
  ]);
  assert.equal(rest.trim(), 'ada "x"');
});

test("what is no token stays a word", () => {
  for (const text of ["http://x", "since:soon", "colour:red", "kind:"])
    assert.deepEqual(takeTokens(text, NOW), { tokens: [], rest: text });
});

test("a newer token takes the place of one of its name", () => {
  const tokens = withTokens([{ name: "since", value: "15m" }], [{ name: "since", value: "1h" }]);
  assert.deepEqual(tokens.map(written), ["since:1h"]);
});

test("times are seconds, moments of the day, or dates", () => {
  assert.deepEqual(["30s", "15m", "2h", "1d", "soon"].map(secondsOf), [30, 900, 7200, 86_400, null]);
  assert.equal(new Date(momentOf("14:27", NOW)).getMinutes(), 27);
  assert.equal(momentOf("25:00", NOW), null);
  assert.equal(momentOf("2026-11-26T14:32:08Z", NOW), NOW);
});

test("a filter is made of tokens, words and a segment", () => {
  const state = {
    tokens: [{ name: "since", value: "15m" }],
    text: "own:yes worker:till ada b",
    outcome: "failed",
    order: "newest",
  };
  assert.deepEqual(filterOf(state, NOW), {
    outcome: "failed",
    order: "newest",
    last: 900,
    own: true,
    worker: "till",
    words: ["ada", "b"],
  });
});

test("a link gives fields or text, and times become the time of the day", () => {
  const state = stateOf({ since: NOW, kind: "a b", outcome: "failed" }, NOW);
  assert.equal(state.outcome, "failed");
  assert.deepEqual(
    state.tokens.map(written).map((text) => text.replace(/\d/g, "0")),
    ['kind:"a b"', "since:00:00:00"],
  );
  assert.equal(filterOf(state, NOW).since, NOW);
  assert.deepEqual(stateOf("since:15m ada", NOW).tokens, [{ name: "since", value: "15m" }]);
  assert.deepEqual(stateOf(null, NOW).tokens, []);
});

const row = (seq, more = {}) => ({ id: `e${seq}`, seq, outcome: "ok", ...more });
const counts = { all: 9, failed: 0, running: 0, unheard: 0 };
const filter = { outcome: "all", order: "newest" };
const part = (rows, more = {}) => ({ rows, gone: [], whole: false, counts, filter, ...more });

test("new rows come on top, and wait while somebody looks", () => {
  const list = new RunRows();
  list.take(part([row(2), row(1)], { whole: true }), false);
  list.take(part([row(3)]), false);
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [3, 2, 1],
  );
  list.take(part([row(5), row(4), row(2, { outcome: "failed" })]), true);
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [3, 2, 1],
  );
  assert.equal(list.rows[1].outcome, "failed");
  assert.equal(list.fresh, 2);
  list.release();
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [5, 4, 3, 2, 1],
  );
  assert.equal(list.fresh, 0);
});

test("rows that are gone stay under the pointer until it leaves", () => {
  const list = new RunRows();
  list.take(part([row(2), row(1)], { whole: true }), false);
  list.take(part([], { gone: ["e2"] }), true);
  assert.equal(list.rows.length, 2);
  list.take(part([row(3)]), false);
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [3, 1],
  );
});

test("all rows anew do not move what is looked at, unless the filter is another", () => {
  const list = new RunRows();
  list.take(part([row(2), row(1)], { whole: true }), false);
  list.take(part([row(9), row(8)], { whole: true }), true);
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [2, 1],
  );
  assert.equal(list.fresh, 2);
  list.take(part([row(9)], { whole: true, filter: { ...filter, kind: "x" } }), true);
  assert.deepEqual(
    list.rows.map((one) => one.seq),
    [9],
  );
});

test("older rows that were not asked for are left out, and those that were are added", () => {
  const list = new RunRows();
  const hundred = Array.from({ length: 100 }, (_, n) => row(200 - n));
  list.take(part(hundred, { whole: true }), false);
  list.take(part([row(50, { outcome: "failed" })]), false);
  assert.equal(list.rows.length, 100);
  list.append([row(50), row(49)], 200);
  assert.equal(list.rows.at(-1).seq, 49);
  assert.equal(list.complete, true);
});

test("a page keeps two thousand rows at most", () => {
  const list = new RunRows();
  list.take(part([row(1)], { whole: true }), false);
  for (let n = 0; n < 50; n += 1)
    list.take(part(Array.from({ length: 60 }, (_, k) => row(2 + n * 60 + k))), false);
  assert.equal(list.rows.length, 2000);
  assert.equal(list.rows[0].seq, 3001);
});

test("an axis has five parts of a round length", () => {
  assert.deepEqual(
    [142, 0.01, 5010, 10_800_000, 0].map((length) => stepFor(length)).map((n) => Number(n.toPrecision(3))),
    [30, 0.002, 1500, 3_600_000, 0.0002],
  );
  assert.deepEqual(wholeOf(142), { from: 0, to: 150 });
  assert.deepEqual(
    ticksOf(wholeOf(142)).map((tick) => tick.text),
    ["0 ms", "30", "60", "90", "120"],
  );
  assert.deepEqual(
    ticksOf(wholeOf(5010)).map((tick) => tick.text),
    ["0 s", "1.5", "3", "4.5", "6"],
  );
  assert.deepEqual(
    ticksOf(wholeOf(10_800_000)).map((tick) => tick.text),
    ["0 h", "1", "2", "3", "4"],
  );
  assert.deepEqual(
    ticksOf(wholeOf(0.01)).map((tick) => tick.text),
    ["0 ms", "0.002", "0.004", "0.006", "0.008"],
  );
  assert.deepEqual(
    ticksOf({ from: 44, to: 46 }).map((tick) => tick.text),
    ["44 ms", "44.4", "44.8", "45.2", "45.6"],
  );
});

test("the lines of a zoomed axis lie at its ticks", () => {
  const axis = { from: 40, to: 90 };
  const grid = gridOf(axis);
  const first = (grid.position / 100) * (100 - grid.size);
  assert.ok(Math.abs(first - ticksOf(axis)[0].percent) < 1e-6);
});

test("zoom keeps the time under the pointer, and stays within the run", () => {
  const whole = { from: 0, to: 150 };
  const nearer = zoomed(whole, whole, 0.5, 0.2);
  assert.ok(Math.abs(percentOf(30, nearer) - 20) < 1e-9);
  assert.ok(isWhole(zoomed(nearer, whole, 100), whole));
  assert.deepEqual(moved(nearer, whole, 100), { from: 75, to: 150 });
  assert.ok(within({ from: 1, to: 1 }, whole).to > 1);
});

const call = (id, parent, more = {}) => ({
  id,
  type: "call",
  depth: 1,
  parent,
  worker: "w",
  handler: "h",
  outcome: "ok",
  seq: 1,
  published: 0,
  started: 1,
  ended: 3,
  ...more,
});
const event = (id, parent, more = {}) => ({
  id,
  type: "event",
  depth: 0,
  parent,
  kind: "a",
  seq: 1,
  last: 1,
  heard: true,
  marks: [{ id, seq: 1, at: 0 }],
  ...more,
});
const RUN = [
  event("e1", null),
  call("c1", "e1"),
  event("e2", "c1", {
    depth: 2,
    marks: [
      { id: "e2", seq: 2, at: 2 },
      { id: "e3", seq: 3, at: 2.5 },
    ],
    last: 3,
  }),
  call("c2", "e2", {
    depth: 3,
    worker: "v",
    published: 2,
    started: 4,
    ended: 9,
    outcome: "error",
    error: "ValueError",
    place: "importer.py:41",
  }),
  call("c3", "e2", { depth: 3, worker: "v", published: 2.5, started: 4, ended: null, outcome: "running" }),
];

test("what lies below a folded row is hidden, however deep", () => {
  assert.deepEqual(
    visible(RUN, new Set()).map((one) => [one.row.id, one.level, one.hasBelow, one.isLast]),
    [
      ["e1", 1, true, false],
      ["c1", 2, true, true],
      ["e2", 3, true, true],
      ["c2", 4, false, false],
      ["c3", 4, false, true],
    ],
  );
  assert.deepEqual(
    visible(RUN, new Set(["c1"])).map((one) => one.row.id),
    ["e1", "c1"],
  );
});

test("the line of siblings goes on beside what lies below the first of them", () => {
  const rows = [
    event("e1", null),
    call("c1", "e1"),
    event("e2", "c1", { depth: 2 }),
    call("c2", "e2", { depth: 3 }),
    call("c3", "e1"),
  ];
  const guides = Object.fromEntries(visible(rows, new Set()).map((one) => [one.row.id, one.guides]));
  assert.deepEqual(guides, { e1: [], c1: [], e2: [2], c2: [2], c3: [] });
});

test("a run opens at the call that failed, and any event of a row is found", () => {
  assert.equal(firstToSee(RUN).id, "c2");
  assert.equal(rowOf(RUN, "e3").id, "e2");
  assert.equal(rowOf(RUN, "nothing"), null);
  assert.deepEqual(above(RUN, RUN[3]), ["e2", "c1", "e1"]);
});

test("a call that runs ends now", () => {
  assert.equal(endOf(RUN[4], 20), 20);
  assert.equal(lengthOf(RUN, 20), 20);
  assert.equal(lengthOf(RUN, 5), 9);
});

test("a long wait and an error are said beside the bar, where there is room", () => {
  const axis = { from: 0, to: 150 };
  const at = (published, started, ended, more = {}) =>
    labelOf(call("c", "e", { published, started, ended, ...more }), axis, 0);
  assert.deepEqual(at(44, 47, 66.1), { text: "waited 3.0 ms", side: "right", bad: false });
  assert.deepEqual(at(46, 84, 129), { text: "waited 38 ms", side: "left", bad: false });
  assert.equal(at(4.1, 8.2, 62.4), null);
  assert.equal(at(0, 1.1, 4.3), null);
  assert.equal(at(128, 131, 142), null);
  assert.deepEqual(at(61, 66.1, 72.5, { outcome: "error", error: "ValueError" }), {
    text: "ValueError",
    side: "right",
    bad: true,
  });
});

test("a worker is one lane, and calls that overlap lie side by side", () => {
  const found = lanes(RUN, 20);
  assert.deepEqual(
    found.map((lane) => [lane.worker, lane.subs, lane.failed]),
    [
      ["w", 1, 0],
      ["v", 2, 1],
    ],
  );
  assert.deepEqual(
    found[0].events.map(({ row }) => row.id),
    ["e2"],
  );
  assert.deepEqual(
    found[1].calls.map(({ sub }) => sub),
    [0, 1],
  );
});

const ms = (value) => `${value} ms`;

test("workers are lifelines after the source, and events arrows in the order of time", () => {
  const steps = stepsOf(RUN, "Files");
  assert.deepEqual(
    steps.map((step) => [step.from, step.to]),
    [
      ["Files", "w"],
      ["w", "v"],
      ["w", "v"],
    ],
  );
  assert.deepEqual(lifelinesOf(steps, "Files"), ["Files", "w", "v"]);
  const { width, shapes } = layout(RUN, "Files", { time: ms });
  assert.equal(width, 84 + 280 + 80);
  const texts = JSON.stringify(shapes);
  for (const text of ["#1, 0 ms", "ValueError :41", "Files"]) assert.ok(texts.includes(text), text);
});

test("an event that nobody hears is an arrow to nowhere", () => {
  const { shapes } = layout([event("e1", null, { heard: false })], "HTTP", { time: ms });
  assert.ok(JSON.stringify(shapes).includes("nobody listens"));
});

test("a call of itself is a loop, and bars that lie over others are moved aside", () => {
  const own = [
    event("e1", null),
    call("c1", "e1"),
    event("e2", "c1", { depth: 2 }),
    call("c2", "e2", { depth: 3, published: 1, started: 1, ended: 2 }),
  ];
  const { shapes } = layout(own, "HTTP", { time: ms });
  const bars = shapes.filter((shape) => shape.tag === "rect" && shape.attrs.fill === "@run-fill");
  assert.equal(bars[1].attrs.x - bars[0].attrs.x, 5);
});

test("a run of a thousand calls draws three hundred and says how many more there are", () => {
  const many = [event("e1", null), ...Array.from({ length: 1000 }, (_, n) => call(`c${n}`, "e1"))];
  assert.equal(layout(many, "HTTP", { time: ms }).more, 700);
});

test("a diagram as text has no markup of anybody's names", () => {
  const hostile = "</text><script>alert(1)</script>\"'&\u0000\u202e";
  const rows = [
    event("e1", null, { kind: hostile }),
    call("c1", "e1", { worker: hostile, outcome: "error", error: hostile }),
  ];
  const text = svgText(layout(rows, hostile, { time: ms }), hostile);
  assert.ok(!text.includes("<script"));
  assert.ok(!/[\u0000\u202e]/.test(text));
  assert.ok(!text.includes("@"));
  assert.equal(escapeXml("<a b='c'>&\""), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;");
  const tags = [...text.matchAll(/<(\/?)([a-z]+)/g)];
  assert.deepEqual([...new Set(tags.map((one) => one[2]))].sort(), [
    "g",
    "line",
    "path",
    "rect",
    "svg",
    "text",
    "title",
  ]);
});

test("names that do not fit lose their first part, then their end", () => {
  assert.equal(fitted("orders.price_changed"), "price_changed");
  assert.equal(fitted("csvdrop.dropped"), "csvdrop.dropped");
  assert.equal(fitted("x".repeat(30)), `${"x".repeat(17)}…`);
  assert.deepEqual([lineOf("importer.py:41"), lineOf("cell [3], line 7"), lineOf(null)], [":41", ":7", ""]);
});

const storm = (from, until) =>
  Array.from({ length: until - from }, (_, n) => ({ id: `r${until - 1 - n}`, seq: until - 1 - n }));
const sent = (rows, whole) => ({ rows, gone: [], whole, counts: {}, filter: { order: "newest" } });

test("a storm while the list is held replaces all rows when it is let go: none is missing between", () => {
  const list = new RunRows();
  list.take(sent(storm(0, 50), true), false);
  list.take(sent(storm(400, 500), true), true);
  list.take(sent(storm(500, 510), false), true);
  assert.equal(list.rows.length, 50);
  assert.equal(list.freshText, "110+ new");
  list.release();
  assert.deepEqual(
    list.rows.map((row) => row.seq),
    storm(400, 510).map((row) => row.seq),
  );
  assert.equal(list.complete, false);
  assert.equal(list.fresh, 0);
});

test("a whole list that reaches the rows held keeps them", () => {
  const list = new RunRows();
  list.take(sent(storm(0, 50), true), false);
  list.take(sent(storm(20, 120), true), true);
  assert.equal(list.freshText, "70 new");
  list.release();
  assert.equal(list.rows.length, 120);
});

test("a link within a run leads to its row, also after another row was chosen", () => {
  const rows = ["e1", "e2", "e3"].map((id) => ({ id, type: "event", marks: [{ id }] }));
  const run = { root: "e1", rows };
  const [before, link] = [{ event: "e1" }, { event: "e2" }];
  const chosen = { root: "e1", id: "e3", route: before };
  assert.equal(chosenRow(run, chosen, before).id, "e3");
  assert.equal(chosenRow(run, chosen, link).id, "e2");
  assert.equal(chosenRow(run, chosen, { event: "e1", call: "e2" }).id, "e2");
});

test("left and right go through the events that one row stands for", () => {
  const row = { id: "e1", marks: [{ id: "e1" }, { id: "e2" }] };
  assert.equal(markBeside(row, "e1", "ArrowRight"), "e2");
  assert.equal(markBeside(row, "e2", "ArrowLeft"), "e1");
  assert.equal(markBeside(row, "e2", "ArrowRight"), null);
  assert.equal(markBeside(row, "e1", "ArrowDown"), null);
  assert.equal(markBeside({ id: "c1" }, "c1", "ArrowRight"), null);
});

test("a whole list that comes under the pointer needs no filter", () => {
  const list = new RunRows();
  list.take(part([row(2), row(1)], { whole: true, filter: undefined }), false);
  list.take(part([row(3), row(2), row(1)], { whole: true, filter: undefined }), true);
  assert.deepEqual(
    list.rows.map((one) => one.id),
    ["e2", "e1"],
  );
});
