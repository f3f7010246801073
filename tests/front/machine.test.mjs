// The picture of a lifecycle: the steps that were taken, its lines, its description.
import assert from "node:assert/strict";
import test from "node:test";
import { description, lineEnds, stepsTaken } from "../../dnworker/panel/static/old/machine.js";

const transitions = (...states) => states.map((state, n) => ({ state, at: n }));

test("the steps that were taken are those between the states", () => {
  assert.deepEqual(
    [...stepsTaken(transitions("loading", "starting", "error"))],
    ["loading>starting", "starting>error"],
  );
  assert.equal(stepsTaken(transitions("loading")).size, 0);
});

test("a line goes from edge to edge of the two states", () => {
  const [x1, y1, x2, y2] = lineEnds("starting", "running");
  assert.ok(x1 < x2);
  assert.equal(y1, y2);
});

test("who does not see the machine is told the state and the way", () => {
  assert.equal(
    description({ state: "error", transitions: transitions("loading", "error") }),
    "state machine: error; the way since it was loaded: loading, error",
  );
});
