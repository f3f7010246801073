// What a notebook stores: widgets fetch the module once, and one whose kernel is gone holds up no other.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import stub from "../../dnworker/panel/static/stub.js";

const CODE =
  "data:text/javascript,export default { render: ({ el }) => { el.isLive = true; return () => {}; } }";

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  globalThis.dnworkerPanel = undefined;
  globalThis.CSSStyleSheet = class {
    replaceSync() {}
  };
  globalThis.document = {
    adoptedStyleSheets: [],
    createElement: () => ({ textContent: "", remove() {} }),
  };
  URL.createObjectURL = () => CODE;
  URL.revokeObjectURL = () => {};
});

function widget() {
  const model = {
    sent: [],
    listeners: new Set(),
    get: (name) => ({ version: "1", still: "" })[name],
    on: (_, listener) => model.listeners.add(listener),
    off: (_, listener) => model.listeners.delete(listener),
    send: (message) => model.sent.push(message),
    answer: () => {
      for (const listener of [...model.listeners]) listener({ type: "module", text: "", style: "" });
    },
  };
  const el = { append() {} };
  stub.render({ model, el });
  return { model, el };
}

const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

test("a widget whose kernel is gone holds up no other on the page", async () => {
  const dead = widget();
  const live = widget();
  mock.timers.tick(1000);
  assert.deepEqual(live.model.sent, [{ type: "module" }]);
  live.model.answer();
  await settled();
  assert.ok(live.el.isLive && dead.el.isLive);
});

test("ten widgets fetch the module once", async () => {
  const all = Array.from({ length: 10 }, widget);
  all[0].model.answer();
  await settled();
  mock.timers.tick(1000);
  assert.equal(all.flatMap(({ model }) => model.sent).length, 1);
  assert.ok(all.every(({ el }) => el.isLive));
  widget();
  assert.equal(document.adoptedStyleSheets.length, 1);
});

test("a widget that comes later asks at once where nobody answered", () => {
  widget();
  mock.timers.tick(60_000);
  assert.equal(widget().model.sent.length, 1);
});
