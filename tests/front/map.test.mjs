// The pure parts of the flow map: order of ribbons, the way of arrow keys, what the aside says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inOrder, nextNode } from "../../dnworker/panel/static/views/map/shapes.js";
import { sentences } from "../../dnworker/panel/static/views/map/aside.js";

const at = (id, x, y) => ({ id, x, y, width: 100, height: 30 });
const nodes = [at("a", 0, 0), at("b", 200, 0), at("c", 200, 60), at("d", 400, 30)];

test("arrows lead through a column, and to the nearest box of the next one", () => {
  assert.equal(nextNode(nodes, "a", "ArrowRight"), "b");
  assert.equal(nextNode(nodes, "b", "ArrowDown"), "c");
  assert.equal(nextNode(nodes, "d", "ArrowLeft"), "b");
  assert.equal(nextNode(nodes, "d", "ArrowRight"), null);
  assert.equal(nextNode(nodes, "b", "ArrowUp"), null);
  assert.equal(nextNode(nodes, "gone", "ArrowRight"), "a");
  assert.equal(nextNode(nodes, "a", "x"), null);
});

test("every box is reached from every other by arrows", () => {
  const many = Array.from({ length: 60 }, (_, n) => at(`n${n}`, 100 * ((n * 7) % 5), 40 * n));
  for (const start of many) {
    const seen = new Set([start.id]);
    for (const id of seen)
      for (const key of ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]) {
        const next = nextNode(many, id, key);
        if (next) seen.add(next);
      }
    assert.equal(seen.size, many.length);
  }
});

test("what fails is drawn last, so that it lies on top", () => {
  const edge = (tone, core) => ({ tone, core });
  const order = inOrder([edge("run", 2), edge("cycle", 0), edge("run", 0), edge("idle", 0)]);
  assert.deepEqual(
    order.map(({ tone, core }) => [tone, core]),
    [
      ["run", 0],
      ["idle", 0],
      ["cycle", 0],
      ["run", 2],
    ],
  );
});

test("a chosen worker says what it hears and publishes, a few of many", () => {
  const map = {
    minutes: 1,
    nodes: [
      { id: "w", name: "orders:intake", category: "worker", caption: "" },
      ...Array.from({ length: 6 }, (_, n) => ({
        id: `k${n}`,
        name: `k.${n}`,
        category: "kind",
        caption: "",
      })),
    ],
    edges: [
      ...Array.from({ length: 5 }, (_, n) => ({ source: `k${n}`, target: "w", rate: n })),
      { source: "w", target: "k5", rate: 126 },
    ],
  };
  assert.deepEqual(sentences(map, "w"), [
    "Hears k.0; k.1, 1.0/min; k.2, 2.0/min; k.3, 3.0/min; 1 more",
    "Publishes k.5, 2.1/s",
  ]);
  assert.deepEqual(sentences(map, "k5"), ["Published by orders:intake, 2.1/s"]);
});
