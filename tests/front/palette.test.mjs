// Where the items of the palette lead, and what other parts of the panel offer in it.
import assert from "node:assert/strict";
import test from "node:test";
import { offer } from "../../dnworker/panel/static/shell/commands.js";
import { actsOf } from "../../dnworker/panel/static/shell/palette.js";
import { actionsOf } from "../../dnworker/panel/static/views/workers/actions.js";
import { matches } from "../../dnworker/panel/static/views/workers/figures.js";
import { filterOf, stateOf } from "../../dnworker/panel/static/views/runs/tokens.js";

function stage() {
  const went = [];
  const store = { go: (...where) => went.push(where), disabled: { value: null } };
  return { went, store, act: actsOf(store, () => null) };
}

test("the runs with words are those that have the words", () => {
  const { went, act } = stage();
  act.openRuns("ada lovelace");
  const [[view, { filter }]] = went;
  assert.equal(view, "runs");
  assert.deepEqual(filterOf(stateOf(filter, 0), 0).words, ["ada", "lovelace"]);
});

test("a handler opens its worker at that handler", () => {
  const { went, act } = stage();
  act.openWorker("shop:till", "on_sale");
  act.openWorker("shop:till");
  assert.deepEqual(went, [
    ["workers", { worker: "shop:till", handler: "on_sale" }],
    ["workers", { worker: "shop:till" }],
  ]);
});

test("what other parts offer for words is in a group of its own, and nothing without words", () => {
  const done = [];
  const provided = (words) => [
    { group: "Failures", icon: "cross", title: `Dismiss ${words}`, run: () => done.push(words) },
  ];
  const known = { workers: new Map(), found: null, now: 0, why: null, provided };
  const group = offer("till", known, {}).find(({ title }) => title === "Failures");
  group.items[0].run();
  assert.deepEqual([group.items.map(({ title }) => title), done], [["Dismiss till"], ["till"]]);
  assert.ok(offer("", known, {}).every(({ title }) => title !== "Failures"));
  const gone = offer("till", { ...known, why: "it is gone" }, {}).find(({ title }) => title === "Failures");
  assert.equal(gone.items[0].why, "it is gone");
});

test("a worker is shown on the map by the id of its box", () => {
  const { went, store } = stage();
  const worker = { name: "shop:till", state: "running", disabled: {} };
  store.workers = { value: new Map([[worker.name, worker]]) };
  actionsOf(store, worker, null)
    .more.find((one) => one && one.label === "Show on the map")
    .run();
  assert.deepEqual(went, [["map", { node: "worker/shop:till" }]]);
});

test("the word schedules finds the workers that have a next run", () => {
  const worker = { name: "a:b", state: "running", topology: "in-process" };
  assert.equal(matches({ ...worker, nextRun: 5 }, "schedules"), true);
  assert.equal(matches({ ...worker, nextRun: null }, "schedules"), false);
});
