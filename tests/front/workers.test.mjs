// The list and the drawer of workers: figures, order, lanes, state, generations, code in colours.
import assert from "node:assert/strict";
import test from "node:test";
import {
  BARS,
  cellsOf,
  figuresOf,
  isIn,
  matches,
  sparkLabel,
  sparkPaths,
  stateWord,
  summaryOf,
  topologyOf,
  triggerText,
} from "../../dnworker/panel/static/views/workers/figures.js";
import {
  barsOf,
  marksOf,
  reasons,
  sentence,
  SPAN,
  stretches,
  ticksOf,
  laneOf,
  nameOf,
} from "../../dnworker/panel/static/views/workers/lanes.js";
import {
  description,
  lineEnds,
  sinceLoad,
  stepsTaken,
} from "../../dnworker/panel/static/views/workers/machine.js";
import {
  groupsOf,
  held,
  offsetsOf,
  rowAt,
  rowsOf,
  segmentCounts,
  sortAfter,
} from "../../dnworker/panel/static/views/workers/order.js";
import { choices } from "../../dnworker/panel/static/views/workers/generations.js";
import { changesOf, valuesOf } from "../../dnworker/panel/static/views/workers/state.js";

const NOW = 1_800_000_000_000; // a bar begins at it
const worker = (name, fields = {}) => ({
  name,
  state: "running",
  topology: "in-process",
  inProcess: true,
  generation: 1,
  restarts: 0,
  error: null,
  gate: {},
  disabled: {},
  ...fields,
});
const spark = (calls, failed = null, end = NOW / 1000) => ({ end, calls, ...(failed ? { failed } : {}) });

test("a sparkline puts two buckets into a bar and the newest at the right edge", () => {
  const found = figuresOf(worker("a:a", { spark: spark([1, 2, 3, 4], [0, 0, 0, 1]) }), NOW - 1);
  assert.equal(found.bars.length, BARS);
  assert.deepEqual(found.bars.slice(-2), [
    [3, 0],
    [7, 1],
  ]);
  assert.deepEqual([found.calls, found.failed], [10, 1]);
});

test("calls move to the left as time goes on, and leave after 15 minutes", () => {
  const one = worker("a:a", { spark: spark([4, 4]) });
  assert.deepEqual(figuresOf(one, NOW + 60_000).bars.at(-4), [8, 0]);
  assert.equal(figuresOf(one, NOW + 15 * 60_000).calls, 0);
});

test("the rate is over the time since the first call, a minute at least and 15 at most", () => {
  assert.equal(figuresOf(worker("a:a", { spark: spark([6]) }), NOW).rate, 0.1);
  assert.equal(
    figuresOf(worker("a:b", { spark: spark([90, ...Array(39).fill(0), 30]) }), NOW).rate,
    120 / (41 * 15),
  );
  assert.equal(figuresOf(worker("a:c"), NOW).rate, 0);
});

test("the figures of a worker are made once a bar", () => {
  const one = worker("a:a", { spark: spark([1]) });
  assert.equal(figuresOf(one, NOW), figuresOf(one, NOW + 29_000));
  assert.notEqual(figuresOf(one, NOW), figuresOf(one, NOW + 31_000));
});

test("the bars with a failed call are drawn apart, and the sparkline is said in words", () => {
  const found = figuresOf(worker("a:a", { spark: spark([2, 0, 4, 0], [0, 0, 1, 0]) }), NOW - 1);
  const { ok, bad } = sparkPaths(found, 120, 20);
  assert.equal(ok, "M112 20v-10.0h3v10.0z");
  assert.equal(bad, "M116 20v-20.0h3v20.0z");
  assert.equal(sparkLabel(found), "6 calls in 15 minutes, 1 failed");
});

test("topologies are words with an icon, whatever the program is", () => {
  assert.deepEqual(topologyOf("in-process"), ["In-process", "inprocess"]);
  assert.deepEqual(topologyOf("subprocess (python3.12), debugger at 127.0.0.1:5678"), ["Python", "python"]);
  assert.deepEqual(topologyOf("subprocess (uv)"), ["uv", "package"]);
  assert.deepEqual(topologyOf("subprocess (<script>)"), ["<script>", "program"]);
});

test("a state is said in words unless the worker runs, with the flags that gate it", () => {
  assert.equal(stateWord(worker("a:a")), null);
  assert.deepEqual(stateWord(worker("a:a", { state: "gated_off", gate: { mail: false, beta: false } })), [
    "Gated by mail or beta",
    "t3",
  ]);
  assert.deepEqual(stateWord(worker("a:a", { state: "error" })), ["Error", "bad"]);
});

test("segments and filters choose workers by what they are and say", () => {
  const one = worker("csvdrop:importer", { state: "gated_off", gate: { mail: false } });
  assert.ok(isIn("off", one) && !isIn("running", one) && !isIn("failing", one) && isIn("all", one));
  assert.ok(matches(one, "IMPORTER gated mail"));
  assert.ok(!matches(one, "importer node"));
  assert.deepEqual(segmentCounts([one, worker("a:b", { failing: 1 })]), {
    all: 2,
    failing: 1,
    running: 1,
    off: 1,
  });
});

test("a trigger is said as people say it", () => {
  assert.equal(triggerText(["on_event", "csvdrop.rows", "f"]), "On csvdrop.rows");
  assert.equal(triggerText(["every", "10m", "f"]), "Every 10 min");
  assert.equal(triggerText(["every", "1h 30m", "f"]), "Every 1 h 30 min");
  assert.equal(triggerText(["every", "0 9 * * 1", "f"]), "At 0 9 * * 1");
  assert.equal(triggerText(["task", "", "f"]), "Task");
});

test("the sentence below the name says since when, how, and that nothing is reported", () => {
  const one = worker("a:a", {
    since: NOW - 300_000,
    process: { pid: 7 },
    topology: "subprocess (node)",
    silent: "it is a program",
  });
  assert.deepEqual(
    summaryOf(one, NOW, (ms) => `${ms} ms`),
    ["Running for 300000 ms", "Node process 7", "generation 1", "no restarts", "runs without reporting"],
  );
  const gated = worker("a:a", { since: NOW, state: "gated_off", gate: { mail: false }, restarts: 1 });
  assert.deepEqual(summaryOf(gated, NOW, String), [
    "Gated by mail",
    "in-process",
    "generation 1",
    "1 restart",
  ]);
});

test("the cells of a worker are named once, in order", () => {
  const handlers = ["cell [9]", "cell [3]", "cell [9]", null].map((origin) => ({ origin }));
  assert.deepEqual(cellsOf({ handlers }), [3, 9]);
});

// -- order -----------------------------------------------------------------------------------------------

const failing = (name, failed) => worker(name, { failing: 1, spark: spark([failed], [failed]) });
const ids = (rows) => rows.map((row) => row.id);

test("groups that fail come first, by their errors, and the others keep their order", () => {
  const all = [worker("c:1"), worker("b:1"), failing("a:1", 2), failing("d:1", 5)];
  assert.deepEqual(
    groupsOf(all, NOW).map((group) => group.name),
    ["d", "a", "c", "b"],
  );
});

test("a group that is folded has no workers below it, and says how many there are", () => {
  const rows = rowsOf([worker("a:1"), worker("a:2"), worker("b:1")], { folded: new Set(["a"]), now: NOW });
  assert.deepEqual(ids(rows), ["g a", "g b", "w b:1"]);
  assert.equal(rows[0].group.workers.length, 2);
});

test("a column sorts within groups, by the most first, then the least, then not at all", () => {
  const all = [worker("a:1", { backlog: 1 }), worker("a:2", { backlog: 9 }), worker("a:3")];
  const by = sortAfter(null, "backlog");
  assert.deepEqual(ids(rowsOf(all, { sort: by, now: NOW })), ["g a", "w a:2", "w a:1", "w a:3"]);
  assert.deepEqual(sortAfter(by, "backlog"), { column: "backlog", up: true });
  assert.equal(sortAfter(sortAfter(by, "backlog"), "backlog"), null);
  assert.deepEqual(sortAfter(by, "name"), { column: "name", up: true });
});

test("without groups those that fail come first, and names are sorted as people count", () => {
  const all = [worker("a:w10"), worker("a:w9"), failing("b:x", 1)];
  assert.deepEqual(ids(rowsOf(all, { grouped: false, now: NOW })), ["w b:x", "w a:w10", "w a:w9"]);
  const sort = { column: "name", up: true };
  assert.deepEqual(ids(rowsOf(all, { grouped: false, sort, now: NOW })), ["w a:w9", "w a:w10", "w b:x"]);
});

test("an order that is held stays as it was: what is new comes last in its group, what is gone goes", () => {
  const before = ["g b", "w b:1", "g a", "w a:1", "w a:2"];
  const now = rowsOf([failing("a:2", 9), worker("a:3"), worker("a:1"), worker("c:1"), worker("b:2")], {
    now: NOW,
  });
  assert.deepEqual(ids(held(now, before)), [
    "g b",
    "w b:2",
    "g a",
    "w a:1",
    "w a:2",
    "w a:3",
    "g c",
    "w c:1",
  ]);
});

test("a row is found by the height that it is at", () => {
  const offsets = offsetsOf(rowsOf([worker("a:1"), worker("a:2")], { now: NOW }));
  assert.deepEqual(offsets, [0, 28, 60, 92]);
  assert.deepEqual(
    [0, 27, 28, 59, 60, 91, 500].map((top) => rowAt(offsets, top)),
    [0, 0, 1, 1, 2, 2, 2],
  );
});

test("a thousand workers are put into order in a few milliseconds", () => {
  const all = Array.from({ length: 1000 }, (_, n) =>
    worker(`c${n % 20}:w${n}`, { spark: spark(Array(60).fill(n)) }),
  );
  rowsOf(all, { now: NOW, sort: { column: "rate", up: false } });
  const rows = rowsOf(all, { now: NOW, sort: { column: "rate", up: false } });
  assert.equal(rows.length, 1020);
});

// -- lifecycle -------------------------------------------------------------------------------------------

const step = (state, minutesAgo, reason = null) => ({ state, at: NOW - minutesAgo * 60_000, reason });
const LIFE = [
  step("loading", 40),
  step("running", 40),
  step("stopping", 10, "Restart by hand"),
  step("stopped", 9.999, "Restart by hand"),
  step("loading", 9.998, "Restart by hand"),
  step("starting", 9.997),
  step("running", 9.99, "Started in 410 ms"),
];

test("the bars of a life fill the width, are wide enough to be seen, and never lie over each other", () => {
  const bars = barsOf(LIFE, NOW, 300);
  assert.deepEqual(
    bars.map((bar) => bar.state),
    ["running", "stopping", "stopped", "loading", "starting", "running"],
  );
  assert.equal(bars[0].x, 0);
  for (const [n, bar] of bars.entries()) {
    assert.ok(bar.width >= 8);
    assert.equal(bar.x + bar.width, bars[n + 1]?.x ?? 300);
  }
});

test("two hundred restarts within a minute fit, the oldest are left out", () => {
  const steps = Array.from({ length: 200 }, (_, n) => ({
    state: n % 2 ? "error" : "loading",
    at: NOW - 200 + n,
  }));
  const bars = barsOf(steps, NOW, 300);
  assert.equal(bars.length, 37);
  assert.ok(bars.every((bar) => bar.x >= 0 && bar.width >= 8));
});

test("a clock that is behind gives no bar of negative width", () => {
  const bars = barsOf([step("loading", -5), step("running", -4)], NOW, 300);
  assert.ok(bars.every((bar) => bar.width >= 8 && bar.x + bar.width <= 300));
});

test("what is noted without a step is no bar of its own", () => {
  assert.equal(stretches([step("running", 9), step("running", 4, "Cell [9] ran again")], NOW).length, 1);
  assert.deepEqual(barsOf([], NOW, 300), []);
});

test("failed calls are marked in the bar of the state that the worker was in, and old ones not at all", () => {
  const bars = barsOf(LIFE, NOW, 300);
  const found = ticksOf(
    [
      [NOW - SPAN - 60_000, 1],
      [NOW - 5 * 60_000, 2],
    ],
    15_000,
    bars,
    NOW,
    300,
  );
  assert.deepEqual(
    found.map((tick) => [tick.lane, tick.count]),
    [[2, 2]],
  );
  assert.ok(found[0].x > bars.at(-1).x && found[0].x < 300);
});

test("generations are marked where they came, the newest always with its label, none over another", () => {
  const generations = [40, 20, 2.1, 2, 1].map((ago, n) => ({ number: n + 1, at: NOW - ago * 60_000 }));
  const marks = marksOf(generations, NOW, 460);
  assert.deepEqual(
    marks.map((mark) => mark.number),
    [2, 3, 4, 5],
  );
  assert.deepEqual(
    marks.filter((mark) => mark.label !== null).map((mark) => mark.number),
    [2, 5],
  );
  assert.ok(marks.at(-1).label + 72 <= 460 - 28);
});

test("reasons come newest first, and that of a restart is told once", () => {
  assert.deepEqual(
    reasons(LIFE).map((one) => [one.state, one.reason]),
    [
      ["running", "Started in 410 ms"],
      ["loading", "Restart by hand"],
    ],
  );
  assert.equal(reasons([step("stopped", 1, "Stopped by hand")]).length, 1);
});

test("who does not see the lanes is told the state and what failed", () => {
  assert.match(sentence(LIFE, [[NOW, 3]]), /running now, after 6 steps; 3 failed calls$/);
  assert.equal(sentence([], []), "Lifecycle: never started");
});

test("the steps that were taken are those between the states since the worker was loaded", () => {
  assert.deepEqual([...stepsTaken(sinceLoad(LIFE))], ["loading>starting", "starting>running"]);
  assert.equal(stepsTaken([step("loading", 1)]).size, 0);
});

test("a line of the machine goes from edge to edge of two states", () => {
  const [x1, y1, x2, y2] = lineEnds("starting", "running");
  assert.ok(x1 < x2);
  assert.equal(y1, y2);
});

test("who does not see the machine is told the state and the way", () => {
  assert.equal(
    description("error", [step("loading", 1), step("error", 1)]),
    "State machine: error; the way since it was loaded: loading, error",
  );
});

// -- generations and state ---------------------------------------------------------------------------------

test("the choices are the last generations alone and the last change", () => {
  assert.deepEqual(
    choices([5, 6, 7]).map(([, label]) => label),
    ["5", "6", "6 → 7"],
  );
  assert.deepEqual(
    choices([1, 2]).map(([, label]) => label),
    ["1", "1 → 2"],
  );
  assert.deepEqual(choices([4]), [["4", "4", null, 4]]);
  assert.deepEqual(choices([]), []);
});

test("a number says by how much it changed, anything else that it is another", () => {
  const tree = (count, name, more = []) => ({
    children: [{ key: "n", type: "int", value: count }, { key: "s", type: "str", value: name }, ...more],
  });
  const before = valuesOf(tree("47,712", "'a'"));
  const after = valuesOf(tree("48,112", "'b'", [{ key: "new", type: "int", value: "1" }]));
  const changes = changesOf(before, after, new Map(), NOW);
  assert.deepEqual(
    [...changes.values()].map((one) => one.text),
    ["+400", "changed", "new"],
  );
  assert.deepEqual(
    [...changesOf(after, before, changes, NOW + 1).values()].map((one) => one.text),
    ["−400", "changed"],
  );
  assert.equal(changesOf(new Map(), after, new Map(), NOW).size, 0);
});

test("a worker that stands by says why, is off in the list, and lies in the lane of the stopped ones", () => {
  assert.deepEqual(stateWord({ state: "standby", standby: "node a holds it" }), [
    "Standby: node a holds it",
    "t3",
  ]);
  assert.ok(isIn("off", { state: "standby" }));
  assert.equal(laneOf("standby"), laneOf("stopped"));
  assert.equal(nameOf("standby"), "Standby");
  assert.equal(nameOf("gated_off"), "Gated off");
});

test("a worker says which agent wrote it, and that the notebook does not have its cell", () => {
  const of = (agent) => summaryOf(worker("a:a", { since: NOW, agent }), NOW, () => "1 s");
  assert.equal(of({ by: "claude", change: "1", outside: false }).at(-1), "written by agent claude");
  assert.equal(of({ by: "x", outside: true }).at(-1), "written by agent x, in no cell of the notebook");
  assert.ok(!of(undefined).some((part) => part.includes("agent")));
});
