// What a view keeps of what it is sent.
import assert from "node:assert/strict";
import test from "node:test";
import { Store } from "../../dnworker/panel/static/base/store.js";

function opened() {
  const store = new Store({ on() {}, off() {}, send() {}, get: () => null });
  const toasts = [];
  store.toast = (text) => toasts.push(text);
  return { store, toasts };
}

test("a part that failed is null, said once, and no listener takes it for a value", () => {
  const { store, toasts } = opened();
  const heard = [];
  store.on("map", (value) => heard.push(value));
  const update = (map) => store.take({ type: "update", now: Date.now(), seq: 1, map, clock: { a: 1 } });
  update({ nodes: [] });
  update({ failed: "ValueError: odd" });
  assert.equal(store.value("map").value, null);
  assert.deepEqual(store.value("clock").value, { a: 1 });
  update({ failed: "ValueError: odd" });
  assert.deepEqual(toasts, ["Cannot show map: ValueError: odd"]);
  update({ nodes: [1] });
  assert.deepEqual(store.value("map").value, { nodes: [1] });
  assert.deepEqual(heard, [{ nodes: [] }, { nodes: [1] }]);
  update({ failed: "ValueError: odd" });
  assert.equal(toasts.length, 2);
  store.close();
});

test("a value that counts what failed is a value", () => {
  const { store, toasts } = opened();
  store.take({ type: "update", now: Date.now(), seq: 1, call: { failed: "3", calls: 4 } });
  assert.deepEqual(store.value("call").value, { failed: "3", calls: 4 });
  assert.deepEqual(toasts, []);
  store.close();
});
