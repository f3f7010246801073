// The sentences of the nodes.
import assert from "node:assert/strict";
import test from "node:test";
import { offer } from "../../dnworker/panel/static/shell/commands.js";
import * as words from "../../dnworker/panel/static/views/nodes/words.js";

const AT = new Date(2026, 10, 27, 14, 2, 11).getTime();
const ROW = {
  state: "up",
  since: AT,
  goneAt: null,
  seenAt: null,
  hasLeft: false,
  clockOff: null,
  failure: null,
  lag: 1.2,
};
const GONE = { ...ROW, state: "gone", goneAt: AT };
const move = (kind, more = {}) => ({
  at: AT,
  kind,
  node: "b",
  worker: null,
  before: null,
  fence: null,
  ...more,
});

test("the first line says how many are up and who is missing", () => {
  assert.equal(words.headline({ up: 1, lost: [], failure: null }), "One node");
  assert.equal(words.headline({ up: 3, lost: [], failure: null }), "All 3 nodes are up");
  assert.equal(words.headline({ up: 2, lost: ["b"], failure: null }), "2 nodes up, b is gone");
  assert.equal(words.headline({ up: 1, lost: ["b", "c"], failure: null }), "1 node up, 2 nodes are gone");
  assert.match(words.headline({ up: 1, lost: [], failure: "cut" }), /cannot be reached/);
});

test("the second line names the last failover, not the last hand-over", () => {
  const taken = move("failover", { worker: "demo:w", before: "a" });
  const found = { failure: null, moves: [move("moved", { worker: "demo:v", before: "a" }), taken] };
  assert.equal(words.reason(found, AT), "Last failover: demo:w from a to b, at 14:02:11.");
  assert.match(words.reason({ failure: null, moves: [] }, AT), /No worker was taken over/);
  assert.match(words.reason({ failure: "cut off", moves: [taken] }, AT), /^cut off\./);
});

test("a node that is not up says since when, with the day where that is another", () => {
  assert.equal(words.stateText(ROW, AT), "");
  assert.equal(words.stateText(GONE, AT), "gone since 14:02:11");
  assert.equal(words.stateText(GONE, AT + 86_400_000), "gone since 2026-11-27 14:02:11");
  assert.equal(words.stateText({ ...GONE, hasLeft: true }, AT), "left at 14:02:11");
  assert.equal(words.stateText({ ...GONE, goneAt: null, seenAt: AT }, AT), "gone, last seen 14:02:11");
});

test("red is a node that is lost, and not one that left", () => {
  const dots = [ROW, GONE, { ...GONE, hasLeft: true }, { ...ROW, state: "silent" }].map(words.dotOf);
  assert.deepEqual(dots, ["running", "error", "stopped", "busy"]);
});

test("how long a node is up does not count how far its clock is off", () => {
  assert.equal(words.upFor(ROW, AT + 60_000), "1 min");
  assert.equal(words.upFor({ ...ROW, since: AT + 300_000, clockOff: 300 }, AT + 60_000), "1 min");
  assert.deepEqual(words.notesOf({ ...ROW, clockOff: -300 }), ["its clock is 5 min behind"]);
});

test("every step of the timeline has words", () => {
  const of = (kind, more) => words.moveText(move(kind, more));
  assert.equal(of("joined"), "b joined");
  assert.equal(of("left"), "b left");
  assert.equal(of("gone"), "b is gone");
  assert.equal(of("back"), "b is back");
  assert.equal(of("started", { worker: "demo:w" }), "demo:w started on b");
  assert.equal(of("moved", { worker: "demo:w", before: "a" }), "demo:w handed over from a to b");
  assert.equal(of("failover", { worker: "demo:w", before: "a" }), "demo:w failed over from a to b");
});

test("the palette goes to the nodes only where there are some", () => {
  const known = { workers: new Map(), found: null, now: AT, why: null };
  const titles = (hasNodes) =>
    offer("> go to nodes", { ...known, hasNodes }, {}).flatMap((group) =>
      group.items.map((one) => one.title),
    );
  assert.ok(titles(true).includes("Go to Nodes"));
  assert.ok(!titles(false).includes("Go to Nodes"));
});
