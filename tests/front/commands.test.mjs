// What the palette offers: groups, their order, and what each item does.
import assert from "node:assert/strict";
import test from "node:test";
import { effect, named } from "../../dnworker/panel/static/base/acting.js";
import { offer } from "../../dnworker/panel/static/shell/commands.js";

const NOW = 1_000_000;

function stage(more = {}) {
  const done = [];
  const act = new Proxy(
    {},
    {
      get:
        (_, name) =>
        (...given) =>
          done.push([name, ...given]),
    },
  );
  const worker = (name, fields = {}) => [
    name,
    { name, state: "running", topology: "python", generation: 7, errors: 0, disabled: {}, ...fields },
  ];
  const known = {
    workers: new Map([
      worker("csvdrop:importer", { errors: 41, failing: 1, previous: 6 }),
      worker("orders:shipping", { state: "stopped", disabled: { restart: "it is stopped" } }),
    ]),
    found: {
      kinds: ["csvdrop.imported", "orders.placed"],
      fired: [["csvdrop.imported", NOW - 120_000]],
      handlers: [["orders:refunds", "impound"]],
      failing: [["csvdrop:importer", "on_rows", "importer.py:41", "e1"]],
      runs: [["e1", 5, "csvdrop.imported", NOW - 9000, "error"]],
      count: 212,
      sessions: [["s1", "Impossible refund", 1]],
      flags: [["acme", "mail", false, null, ["report"], []]],
      checks: ["acme"],
      cells: [[9, "%%worker importer"]],
    },
    now: NOW,
    why: null,
    ...more,
  };
  return { known, act, done };
}

const titles = (groups) => groups.map(({ title, items }) => [title, items.map((item) => item.title)]);

test("a few letters find workers, what can be done with the first, events, runs", () => {
  const { known, act } = stage();
  const groups = offer("impo", known, act);
  assert.deepEqual(titles(groups).slice(0, 3), [
    ["Workers", ["importer", "impound"]],
    ["Actions on csvdrop:importer", ["Roll back to generation 6", "Restart", "Stop", "Open importer.py:41"]],
    ["Events", ["Fire csvdrop.imported", "Runs with “impo”"]],
  ]);
  assert.deepEqual(
    groups[0].items.map((item) => item.detail),
    ["csvdrop, running, 41 errors", "orders:refunds handler"],
  );
  assert.deepEqual(
    groups[2].items.map((item) => item.detail),
    ["Last fired 2 min ago", "212 in 15 min"],
  );
  assert.deepEqual(groups[0].items[0].ranges, [[0, 4]]);
});

test("Enter opens the form of an event, in the background it is fired", () => {
  const { known, act, done } = stage();
  const [item] = offer("placed", known, act).find(({ title }) => title === "Events").items;
  item.run();
  item.background();
  assert.deepEqual(done, [
    ["openFire", "orders.placed"],
    ["fire", "orders.placed"],
  ]);
});

test("after > there are commands only, those of each worker among them", () => {
  const { known, act, done } = stage();
  const groups = offer(">rest imp", known, act);
  assert.deepEqual(titles(groups), [["Commands", ["Restart csvdrop:importer"]]]);
  groups[0].items[0].run();
  assert.deepEqual(done, [["control", "csvdrop:importer", "restart", {}]]);
  const flag = offer(">mail", known, act)[0].items[0];
  assert.equal(`${flag.title} (${flag.detail})`, "Turn on mail (acme, starts report)");
});

test("what does not apply says why, and while nobody answers no command does", () => {
  const { known, act } = stage({ why: "nobody answers" });
  const [start] = offer(">start shipping", known, act)[0].items;
  assert.equal(start.why, "nobody answers");
  const go = offer("go to runs", known, act).flatMap(({ items }) => items)[0];
  assert.equal(go.why, undefined);
});

test("with nothing typed there are what fails, what was fired, who asks, and commands", () => {
  const { known, act } = stage();
  assert.deepEqual(
    titles(offer("", known, act)).map(([title, all]) => [title, all[0]]),
    [
      ["Workers", "importer"],
      ["Events", "Fire csvdrop.imported"],
      ["Sessions", "Impossible refund"],
      ["Commands", "Fire an event"],
    ],
  );
});

test("before the kernel has answered, workers and views are there", () => {
  const { known, act } = stage({ found: null });
  assert.equal(offer("importer", known, act)[0].title, "Workers");
  assert.deepEqual(offer("zzzz", known, act), []);
});

test("a thousand workers are offered in a moment", () => {
  const { known, act } = stage();
  for (let n = 0; n < 1000; n += 1)
    known.workers.set(`cap:worker-${n}`, {
      name: `cap:worker-${n}`,
      state: "running",
      disabled: {},
      generation: 1,
    });
  assert.equal(offer("worker-999", known, act)[0].items[0].title, "worker-999");
  assert.ok(offer(">", known, act)[0].items.length <= 40);
});

test("names and effects are words", () => {
  assert.equal(named(["a"]), "a");
  assert.equal(named(["a", "b", "c"]), "a, b and c");
  assert.equal(named(["a", "b", "c", "d"]), "a, b and 2 more");
  assert.equal(effect(["a"], ["b", "c"]), "starts a, stops b and c");
  assert.equal(effect(["a"], [], { done: true }), "started a");
  assert.equal(effect([], []), "");
});
