// The tree of a worker's state: what stands behind a key, and which values are new.
import assert from "node:assert/strict";
import { test } from "node:test";
import { detailOf, restOf, valuesOf } from "../../dnworker/panel/static/old/state.js";

const tree = {
  key: "",
  type: "dict",
  children: [
    { key: '"count"', type: "int", value: "1" },
    {
      key: '"users"',
      type: "list",
      size: "2 items",
      children: [{ key: "[0]", type: "str", value: '"ada"' }],
      more: 1,
    },
  ],
};

test("type, size and value stand behind a key, as far as there are any", () => {
  assert.equal(detailOf(tree.children[0]), "int  1");
  assert.equal(detailOf(tree.children[1]), "list  2 items");
});

test("what is not shown is counted, where somebody has counted it", () => {
  assert.equal(restOf(tree.children[1]), "… 1 more");
  assert.equal(restOf({ more: -1 }), "…");
  assert.equal(restOf(tree.children[0]), "");
});

test("a value has one place, by the keys that lead to it", () => {
  const found = valuesOf(tree);
  assert.deepEqual([...found.values()], ["int  1", "list  2 items", 'str  "ada"']);
  const other = { key: "", type: "dict", children: [{ key: '"users"', type: "dict", children: [] }] };
  assert.notDeepEqual([...valuesOf(other).keys()], [...found.keys()].slice(1, 2).concat("x"));
});
