// What widgets look at, and how they share the store of their page.
import assert from "node:assert/strict";
import test from "node:test";
import { Store } from "../../dnworker/panel/static/base/store.js";
import { selection } from "../../dnworker/panel/static/views/widgets/mount.js";
import { derive } from "../../dnworker/panel/static/views/widgets/shared.js";

function stage(run) {
  const sent = [];
  const model = { send: (message) => sent.push(message), on: () => {}, off: () => {} };
  const store = new Store(model);
  const looks = () => sent.filter(({ type }) => type === "look").map(({ part, wanted }) => [part, wanted]);
  try {
    run({ store, looks });
  } finally {
    store.close();
  }
}

test("when the newest of two looks at a part ends, what the other one wants is asked for again", () =>
  stage(({ store, looks }) => {
    store.look("run", { event: "a" });
    const end = store.look("run", { event: "b" });
    end();
    assert.deepEqual(looks().at(-1), ["run", { event: "a" }]);
    store.look("run", { event: "a" })();
    assert.equal(looks().length, 4); // the same is wanted: nothing is to be said
  }));

test("widgets share a part where they want the same of it, and only there", () =>
  stage(({ store, looks }) => {
    const [one, two] = [derive(store, () => {}), derive(store, () => {})];
    const key = (worker) => JSON.stringify({ worker });
    one.look("tail", { worker: "a" });
    two.look("tail", { worker: "b" });
    assert.notEqual(one.value("tail", key("a")), two.value("tail", key("b")));
    assert.equal(one.value("tail", key("b")), two.value("tail", key("b")));
    assert.notEqual(looks()[0][0], looks()[1][0]);
    assert.equal(one.value("workers", key("a")), store.value("workers"));
  }));

test("a box of the map is selected by its name, whatever its id begins with", () => {
  assert.deepEqual(selection("FlowMap", { node: "kind/shop.sale" }), { selected: "shop.sale" });
  assert.deepEqual(selection("FlowMap", { worker: "shop:till" }), { selected: "shop:till" });
});
