// The pure parts of the inspector: its tabs, what a fold shows, the rows of a state.
import assert from "node:assert/strict";
import test from "node:test";
import { valueRows } from "../../dnworker/panel/static/base/value_tree.js";
import { partsOf } from "../../dnworker/panel/static/views/inspect/diff.js";
import { tabOf, tabsOf } from "../../dnworker/panel/static/views/inspect/inspector.js";

const call = (more = {}) => ({
  wanted: { event: "e", invocation: "i" },
  call: { id: "i" },
  error: null,
  output: { count: 2 },
  log: { count: 1204 },
  state: { count: 0 },
  ...more,
});

test("a call has its tabs with counts, Error only where it failed, and an event its payload alone", () => {
  assert.deepEqual(tabsOf(call()), [
    ["payload", ""],
    ["output", "2"],
    ["log", "1,204"],
    ["source", ""],
    ["state", ""],
  ]);
  assert.deepEqual(tabsOf(call({ error: {}, state: { count: 1 } }))[0], ["error", ""]);
  assert.deepEqual(tabsOf(call({ state: { count: 1 } })).at(-1), ["state", "1 changed"]);
  assert.deepEqual(tabsOf({ call: null, wanted: {} }), [["payload", ""]]);
});

test("Error opens on failure, and otherwise the tab that was chosen before stays", () => {
  assert.equal(tabOf(call(), null), "payload");
  assert.equal(tabOf(call({ error: {} }), null), "error");
  const log = { of: JSON.stringify(["other", "one"]), tab: "log" };
  assert.equal(tabOf(call(), log), "log");
  assert.equal(tabOf(call({ error: {} }), log), "error");
  assert.equal(tabOf(call({ error: {} }), { of: JSON.stringify(["e", "i"]), tab: "log" }), "log");
  assert.equal(tabOf(call(), { of: "", tab: "error" }), "payload");
});

test("a fold shows the first of its equal parts, and how many more there are", () => {
  const text = JSON.stringify(
    { rows: Array.from({ length: 80 }, (_, n) => ({ n })), one: { a: 1, b: [2] } },
    null,
    2,
  );
  const shown = partsOf(text, ["rows"], 10, 60);
  assert.deepEqual([shown.length, shown[0], shown.at(-1)], [51, '{"n":10}', "… 10 more"]);
  assert.deepEqual(partsOf(text, ["one"], 0, 2), ['"a": 1', '"b": [2]']);
  assert.deepEqual(partsOf(null, ["one"], 0, 2), ["(not kept any more)"]);
});

test("a state's first level is open where it is small, and what was closed stays closed", () => {
  const leaf = (key, value) => ({ key, type: "int", value });
  const node = {
    key: "",
    type: "dict",
    children: [
      leaf('"n"', "1"),
      { key: '"seen"', type: "list", size: "2 items", children: [leaf("[0]", "7")], more: 1 },
    ],
  };
  const keys = (rows) => rows.map((row) => (row.more ? `+${row.more}` : row.node.key));
  assert.deepEqual(keys(valueRows(node)), ['"n"', '"seen"', "[0]", "+1"]);
  const seen = valueRows(node)[1];
  assert.deepEqual(keys(valueRows(node, new Set(), new Set([seen.id]))), ['"n"', '"seen"']);
  assert.deepEqual(
    valueRows(node).map((row) => row.level),
    [1, 1, 2, 2],
  );
});

test("the tab that a link names opens for its event, until another one is chosen", () => {
  const part = { ...call({ error: {} }), event: { id: "e1" } };
  const route = { view: "runs", event: "e1", tab: "source" };
  assert.equal(tabOf(part, null, route), "source");
  assert.equal(tabOf({ ...part, event: { id: "e2" } }, null, route), "error");
  const of = JSON.stringify([part.wanted.event, part.wanted.invocation]);
  assert.equal(tabOf(part, { of, tab: "payload", route }, route), "payload");
  assert.equal(tabOf(part, { of, tab: "payload", route: {} }, route), "source"); // the link was followed again
});
